//! The program itself, and the way to check a file by hand that the documentation gives.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use keyledger_evidence::{build, read_archive, write_archive};
use support::{Log, pem, story};

/// A folder of its own with a dispute file, a kept checkpoint and both public keys.
fn folder(name: &str, log: &Log) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    let mut input = log.input();
    input.secrets = Some(log.secrets.clone());
    input.earlier = vec![log.earlier(5)];
    fs::write(folder.join("case.zip"), build(&input).unwrap()).unwrap();
    fs::write(folder.join("kept"), log.note(5)).unwrap();
    fs::write(folder.join("global.pem"), pem(&log.global)).unwrap();
    fs::write(folder.join("vkey"), format!("{}\n", log.vkey())).unwrap();
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_keyledger-evidence")).args(arguments).current_dir(folder).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn the_program_says_what_it_checked_and_ends_with_0_or_1() {
    let log = story(1);
    let folder = folder("program", &log);
    let (code, said, _) = run(&folder, &["verify", "case.zip", "--checkpoint", "kept", "--public-key", "global.pem", "--public-key", "vkey"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("case.zip holds.\n") && said.contains("The given checkpoint of 5 events is of this log."), "{said}");

    let mut files = read_archive(&fs::read(folder.join("case.zip")).unwrap()).unwrap();
    files.get_mut("keys.json").unwrap()[20] ^= 1;
    fs::write(folder.join("altered.zip"), write_archive(&files).unwrap()).unwrap();
    let (code, said, wrong) = run(&folder, &["verify", "altered.zip"]);
    assert_eq!(
        (code, wrong.starts_with("keyledger-evidence: altered.zip does not hold: keys.json is not what the events add up to")),
        (Some(1), true),
        "{wrong}"
    );
    assert!(said.contains("No event of the license is missing"), "what held until then is said: {said}");

    let (code, _, wrong) = run(&folder, &["verify", "no-such.zip"]);
    assert_eq!((code, wrong.contains("no-such.zip can't be read")), (Some(1), true), "{wrong}");
    for arguments in [&[][..], &["verify"], &["verify", "a", "b"], &["verify", "a", "--checkpoint"], &["verify", "a", "--other", "b"]] {
        let (code, _, wrong) = run(&folder, arguments);
        assert_eq!((code, wrong.starts_with("keyledger-evidence: usage:")), (Some(1), true), "{wrong}");
    }
}

/// The blocks of one language in the documentation.
fn blocks(language: &str) -> String {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/evidence.md")).unwrap();
    let blocks: Vec<&str> = text.split(&format!("```{language}\n")).skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    blocks.concat()
}

fn by_hand(program: &str, script: &str, folder: &Path) -> (bool, String) {
    let Output { status, stdout, stderr } = Command::new(program).args(["-c", script]).current_dir(folder).output().unwrap();
    (status.success(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

#[test]
fn a_file_can_be_checked_by_hand_as_documented() {
    let log = story(1);
    let folder = folder("by-hand", &log);
    let (python, shell) = (blocks("python"), format!("set -e\n{}", blocks("sh")));
    let (passes, said) = by_hand("python3", &python, &folder);
    assert!(passes && said.contains("no event of license 1 is missing"), "{said}");
    let (passes, said) = by_hand("sh", &shell, &folder);
    assert!(passes && said.contains("Verified OK") && said.contains("Signature Verified Successfully"), "{said}");

    let files = read_archive(&fs::read(folder.join("case.zip")).unwrap()).unwrap();
    for (name, from, to) in
        [("events.jsonl", "support", "suppert"), ("proof.json", "\"entry\":\"4", "\"entry\":\"5"), ("checkpoint", "\n16\n", "\n17\n")]
    {
        let mut files = files.clone();
        let text = String::from_utf8(files[name].clone()).unwrap();
        assert!(text.contains(from), "{name}: {text}");
        files.insert(name.to_owned(), text.replacen(from, to, 1).into_bytes());
        fs::write(folder.join("case.zip"), write_archive(&files).unwrap()).unwrap();
        assert!(!by_hand("python3", &python, &folder).0 || !by_hand("sh", &shell, &folder).0, "{name}");
    }
}

/// Other tools pack in their own way; what is in the file counts.
#[test]
fn an_archive_packed_again_is_read() {
    let log = story(1);
    let folder = folder("packed", &log);
    let pack = "import zipfile\nold = zipfile.ZipFile('case.zip')\nwith zipfile.ZipFile('again.zip', 'w', zipfile.ZIP_DEFLATED) as new:\n    \
                for name in reversed(old.namelist()):\n        new.writestr(name, old.read(name))\n";
    let (passes, said) = by_hand("python3", pack, &folder);
    assert!(passes, "{said}");
    let (code, _, wrong) = run(&folder, &["verify", "again.zip"]);
    assert_eq!(code, Some(0), "{wrong}");
}
