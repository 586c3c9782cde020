//! Wrong usage is answered with what would be right.

use crate::support::ledger::{bare_command, finish};
use crate::support::{Backend, Ledger, ServeOptions};

#[tokio::test]
async fn wrong_arguments_are_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let cases: [&[&str]; 7] = [
        &["fly"],
        &["serve", "--no-such-option"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--trusted-proxy", "10.0.0.0/99"],
        &["api-key", "disable", "first"],
        &["public-key", "--product", "first"],
        &["block", "add", "--nothing"],
    ];
    for arguments in cases {
        let output = finish(bare_command(arguments, directory.path())).await;
        assert!(output.stdout.is_empty(), "{arguments:?} prints {}", output.stdout);
        let code = output.code;
        assert!(matches!(code, 1 | 2), "{arguments:?} exits with {code}");
        let said = output.failure(code);
        assert!(said.contains(arguments.last().expect("an argument")), "{arguments:?}: {said}");
    }
    let left: Vec<_> = std::fs::read_dir(directory.path()).expect("it is there").flatten().collect();
    assert!(left.is_empty(), "wrong usage makes nothing: {left:?}");
}

#[tokio::test]
async fn help_names_every_command() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let help = finish(bare_command(&["--help"], directory.path())).await.success();
    for command in ["demo", "serve", "api-key", "block", "product", "verify", "rebuild", "public-key"] {
        assert!(help.contains(command), "{command} is not in:\n{help}");
    }
    let help = finish(bare_command(&["serve", "--help"], directory.path())).await.success();
    for named in ["--listen", "KEYLEDGER_LISTEN", "--data-dir", "KEYLEDGER_DATA_DIR", "--database-url", "KEYLEDGER_DATABASE_URL", "--public-url"] {
        assert!(help.contains(named), "{named} is not in:\n{help}");
    }
    let version = finish(bare_command(&["--version"], directory.path())).await.success();
    assert!(version.starts_with("keyledger "), "{version}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_no_database_is_refused() {
    let ledger = Ledger::new(Backend::Sqlite).await;
    for url in ["mysql://localhost/x", "nonsense", "postgres://"] {
        let key_file = ledger.directory().join("test.key");
        std::fs::write(&key_file, "0".repeat(64)).expect("a file can be written");
        let mut command = ledger.place.command(&["serve", "--listen", "127.0.0.1:0", "--database-url", url]);
        command.env("KEYLEDGER_MASTER_KEY_FILE", &key_file);
        finish(command).await.failure(1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_in_the_database_address_is_not_shown() {
    let ledger = Ledger::new(Backend::Sqlite).await;
    let key_file = ledger.directory().join("test.key");
    std::fs::write(&key_file, "0".repeat(64)).expect("a file can be written");
    let mut command = ledger.place.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("KEYLEDGER_MASTER_KEY_FILE", &key_file);
    command.env("KEYLEDGER_DATABASE_URL", "postgres://user:a-secret-password@127.0.0.1:1/x");
    let said = finish(command).await.failure(1);
    assert!(!said.contains("a-secret-password"), "{said}");
}

/// Compose files and unit files set variables to nothing where there is no value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_variable_is_as_good_as_none() {
    let ledger = Ledger::new(Backend::Sqlite).await;
    let variables = ["DATABASE_URL", "DATABASE_CA_FILE", "MASTER_KEY_FILE", "PUBLIC_URL", "TRUSTED_PROXY", "BOOTSTRAP_API_KEY"];
    let environment = variables.map(|name| (format!("KEYLEDGER_{name}"), String::new())).into();
    let server = ledger.serve_with(ServeOptions { environment, ..ServeOptions::default() }).await;
    assert_eq!(server.client().plain("/health/ready").await.0, 200);
    assert!(ledger.place.sqlite_file().exists() && ledger.place.data_dir.join("master.key").exists());
    server.stop().await;
}
