//! What a first start makes: the master key, and the API key of KEYLEDGER_BOOTSTRAP_API_KEY.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{ApiKey, Backend, GLOBAL, Ledger, ServeOptions, both_backends, eventually, fields};

const BOOTSTRAP: &str = "KEYLEDGER_BOOTSTRAP_API_KEY";

both_backends!(a_new_bootstrap_key_replaces_the_earlier_one, without_a_bootstrap_key_there_is_none);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_key_is_made_once_and_only_its_owner_can_read_it() {
    let ledger = Ledger::new(Backend::Sqlite).await;
    let file = ledger.place.data_dir.join("master.key");
    assert!(!file.exists());
    ledger.serve().await.stop().await;
    let key = std::fs::read_to_string(&file).expect("the master key is made at the first start");
    assert_eq!(key.trim_end_matches('\n').len(), 64);
    assert!(key.trim_end_matches('\n').chars().all(|character| character.is_ascii_hexdigit()));
    let mode = std::fs::metadata(&file).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "mode {mode:o}");
    for name in ["ledger.db", "serve.lock"] {
        assert!(ledger.place.data_dir.join(name).exists(), "no {name}");
    }
    ledger.serve().await.stop().await;
    assert_eq!(std::fs::read_to_string(&file).expect("it is still there"), key, "a later start keeps it");
    let public = ledger.run(&["public-key"]).await.success();
    assert!(public.starts_with("-----BEGIN PUBLIC KEY-----\n") && public.ends_with("-----END PUBLIC KEY-----\n"), "{public}");

    // Lost, it is not made anew: what it sealed could never be opened again.
    std::fs::remove_file(&file).expect("it can be removed");
    let said = ledger.run(&["serve", "--listen", "127.0.0.1:0"]).await.failure(1);
    assert!(said.to_lowercase().contains("master"), "{said}");
}

async fn a_new_bootstrap_key_replaces_the_earlier_one(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let (earlier, later) = ("earlier-bootstrap-key", "later-bootstrap-key");
    let code_of = async |server: &crate::support::Server, key: &str| {
        server.client().with_key(ApiKey::Header(key.to_string())).form("verify", fields!()).await.code()
    };

    let server = ledger.serve_with(ServeOptions::environment(BOOTSTRAP, earlier)).await;
    assert_eq!((code_of(&server, earlier).await, code_of(&server, later).await), (210, 100));
    let caller = server.client().with_key(ApiKey::Header(earlier.to_string()));
    caller.form("create-product", fields!(name: "A", description: "B")).await.expect(750, GLOBAL);
    server.stop().await;

    let server = ledger.serve_with(ServeOptions::environment(BOOTSTRAP, later)).await;
    assert_eq!((code_of(&server, earlier).await, code_of(&server, later).await), (101, 210));
    server.stop().await;
    let events = ledger.event_count().await;

    let server = ledger.serve_with(ServeOptions::environment(BOOTSTRAP, later)).await;
    assert_eq!((code_of(&server, earlier).await, code_of(&server, later).await), (101, 210));
    server.stop().await;
    assert_eq!(ledger.event_count().await, events, "the same value again changes nothing");

    let server = ledger.serve_with(ServeOptions::environment(BOOTSTRAP, earlier)).await;
    assert_eq!((code_of(&server, earlier).await, code_of(&server, later).await), (210, 101), "an earlier value may come back");
    drop(server);
    ledger.expect_intact().await;
}

async fn without_a_bootstrap_key_there_is_none(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let server = ledger.serve_with(ServeOptions::environment(BOOTSTRAP, "the-first-of-all-keys")).await;
    server.stop().await;
    // An empty value is no value, and takes nothing away either.
    let server = ledger.serve_with(ServeOptions::environment(BOOTSTRAP, "")).await;
    let nobody = server.client().with_key(ApiKey::Header(String::new()));
    nobody.form("verify", fields!()).await.expect(100, GLOBAL);
    let made = ledger.create_api_key(&["--capability", "verify"]).await;
    let caller = server.client().with_key(ApiKey::Header(made));
    eventually("the key works", || async { (caller.form("verify", fields!()).await.code() == 210).then_some(()) }).await;
    let first = server.client().with_key(ApiKey::Header("the-first-of-all-keys".to_string()));
    first.form("verify", fields!()).await.expect(210, GLOBAL);
}
