//! The dependency rules of ARCHITECTURE.md: which layer may not know what. A line that breaks one is named.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    fn walk(path: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    assert!(!found.is_empty(), "{folder} has no sources: this test looks in the wrong place");
    found
}

/// No line of the folder's code, comments and unit tests apart, contains one of these.
fn forbid(folder: &str, forbidden: &[&str]) {
    for (path, text) in sources(folder) {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            for word in forbidden {
                assert!(!line.contains(word), "{}:{}: this layer must not know {word:?}: {line}", path.display(), number + 1);
            }
        }
    }
}

fn dependencies(manifest: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(manifest)).unwrap();
    let (_, list) = text.split_once("[dependencies]").unwrap();
    let list = list.split("\n[").next().unwrap();
    list.lines().filter_map(|line| line.split(['=', '.']).next()).map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

#[test]
fn the_pure_crates_depend_on_nothing_that_does_io() {
    let allowed: BTreeSet<&str> = ["cqrs-es", "deunicode", "jiff", "serde", "serde_json", "serde_json_canonicalizer", "thiserror", "uuid"].into();
    for name in dependencies("events/Cargo.toml") {
        assert!(allowed.contains(name.as_str()), "events must not depend on {name}");
    }
    let allowed: BTreeSet<&str> = ["keyledger-events", "thiserror", "uuid"].into();
    for name in dependencies("projections/Cargo.toml") {
        assert!(allowed.contains(name.as_str()), "projections must not depend on {name}");
    }
}

/// Who checks a dispute file relies on nothing that made it: the crate knows none of ours.
#[test]
fn the_verifier_stands_alone() {
    let allowed: BTreeSet<&str> = [
        "aes-gcm",
        "base64",
        "ed25519-dalek",
        "hex",
        "hkdf",
        "miniz_oxide",
        "rsa",
        "serde",
        "serde_json",
        "serde_json_canonicalizer",
        "sha2",
        "thiserror",
    ]
    .into();
    for name in dependencies("evidence/Cargo.toml") {
        assert!(allowed.contains(name.as_str()), "evidence must not depend on {name}");
    }
    forbid("evidence/src", &["keyledger_events", "keyledger_projections", "std::net", "std::time", "tokio", "RsaPrivateKey", "SigningKey"]);
    for (path, text) in sources("evidence/src") {
        assert!(text.lines().count() < 400, "{} is too long for who has to read it all", path.display());
    }
}

#[test]
fn the_pure_crates_read_no_clock_environment_or_file() {
    for folder in ["events/src", "projections/src"] {
        forbid(
            folder,
            &[
                "std::time",
                "std::env",
                "std::fs",
                "std::net",
                "std::thread",
                "Timestamp::now",
                "now_v7",
                "new_v4",
                "tokio::",
                "sqlx",
                "rusqlite",
                "axum",
            ],
        );
    }
}

#[test]
fn http_never_sees_a_backend_or_a_private_key() {
    forbid(
        "src/http",
        &["rusqlite", "tokio_postgres", "SqliteStore", "PostgresStore", "store::sqlite", "store::postgres", "aws_lc_rs::rsa", "open_private_key"],
    );
}

#[test]
fn the_store_never_sees_http_commands_or_keys() {
    forbid("src/store", &["axum", "hyper", "crate::http", "crate::ledger", "crate::vault", "crate::signer", "crate::access"]);
}

#[test]
fn the_ledger_never_sees_http_or_a_backends_types() {
    forbid("src/ledger", &["axum", "hyper", "crate::http", "rusqlite", "tokio_postgres"]);
}

#[test]
fn only_the_signer_opens_private_keys() {
    for folder in ["src/ledger", "src/http", "src/store", "src/cli"] {
        forbid(folder, &["open_private_key", "from_pkcs8", "RsaPrivateKey"]);
    }
}

#[test]
fn sql_stays_in_few_places() {
    forbid("src/http", &["SELECT ", "INSERT INTO", "UPDATE "]);
}

#[test]
fn the_system_clock_is_read_in_one_file() {
    for (path, text) in sources("src") {
        if path.ends_with("src/clock.rs") {
            continue;
        }
        for word in ["SystemTime::now", "Uuid::now_v7", "Timestamp::now()"] {
            assert!(!text.contains(word), "{} reads the clock: {word}", path.display());
        }
    }
}

#[test]
fn files_can_be_read_in_one_sitting() {
    for folder in ["src", "events/src", "evidence", "projections/src", "tests"] {
        for (path, text) in sources(folder) {
            let lines = text.lines().count();
            assert!(lines <= 600, "{} has {lines} lines", path.display());
        }
    }
}
