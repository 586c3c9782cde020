//! Every response code of the contract is reached by some test the way a client would reach it: over HTTP, in a signed
//! envelope whose signature was checked. The tests note the codes that they are answered; this one runs after all of them.

#[path = "support/mod.rs"]
mod support;

use support::codes::{all, seen_folder};

/// Codes that no client can reach, with the reason. The list may only shrink: a code in it that was reached fails the test too.
const EXCEPTIONS: [(i64, &str); 2] =
    [(502, "license files are named in the table of codes alone: no operation of the contract gives one"), (503, "as 502")];

#[test]
#[ignore = "looks at what all other tests noted: scripts/test runs it after them"]
fn every_response_code_is_reached() {
    let folder = seen_folder();
    let seen = |code: i64| folder.join(code.to_string()).exists();
    assert!(folder.exists(), "the other tests come first");
    let excepted = |code: i64| EXCEPTIONS.iter().any(|(known, _)| *known == code);
    let unreached: Vec<String> =
        all().into_iter().filter(|(code, _)| !seen(*code) && !excepted(*code)).map(|(code, name)| format!("{code} {name}")).collect();
    assert!(unreached.is_empty(), "no test is answered: {}", unreached.join(", "));
    for (code, reason) in EXCEPTIONS {
        assert!(!seen(code), "{code} is reached, so it is no exception any more ({reason})");
    }
}
