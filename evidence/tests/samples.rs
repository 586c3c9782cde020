//! Files that were given out are out of our hands: each sample here must verify for ever. What would change a single byte of what is made
//! from the events, the report's wording included, is a new format beside the old one. `KEYLEDGER_NEW_SAMPLES=1` writes a missing sample;
//! none is ever edited.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

use std::{fs, path::Path};

use keyledger_evidence::{Given, build, time, verify};
use support::{BEGIN, MINUTE, everything};

const SAMPLES: [&str; 1] = ["case.v1.zip"];

#[test]
fn every_file_ever_given_out_still_verifies() {
    for name in SAMPLES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name);
        if !path.exists() && std::env::var_os("KEYLEDGER_NEW_SAMPLES").is_some() {
            let log = everything(1);
            let mut input = log.input();
            input.earlier = vec![log.earlier(5), log.earlier(9)];
            (input.from, input.to) = (Some(time::write(BEGIN + 11 * MINUTE)), Some(time::write(BEGIN + 20 * MINUTE)));
            input.secrets = Some(log.secrets.clone());
            fs::write(&path, build(&input).unwrap()).unwrap();
        }
        let verdict = verify(&fs::read(&path).unwrap(), &Given::default());
        assert_eq!(verdict.wrong, None, "{name}");
    }
}
