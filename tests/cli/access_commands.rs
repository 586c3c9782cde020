//! `keyledger api-key` and `keyledger block`, beside a running server.

use std::time::Instant;

use crate::support::{ApiKey, Backend, GLOBAL, PRODUCT, Running, both_backends, eventually, fields};

both_backends!(
    api_keys_are_made_listed_and_disabled_beside_a_running_server,
    what_an_api_key_cannot_be_is_said,
    blocks_are_added_listed_and_removed_beside_a_running_server,
    what_a_block_cannot_be_is_said,
);

/// What the command line changes is seen by the server within a second; more than that is for a busy machine.
const SEEN_WITHIN_S: u64 = 20;

#[track_caller]
fn expect_soon(since: Instant, what: &str) {
    assert!(since.elapsed().as_secs() < SEEN_WITHIN_S, "{what} took {:?}", since.elapsed());
}

async fn api_keys_are_made_listed_and_disabled_beside_a_running_server(backend: Backend) {
    let on = Running::start(backend).await;
    let arguments = ["--capability", "verify", "--capability", "activate", "--allow-ip", "127.0.0.0/8", "--expires-at", "2099-01-01T00:00:00Z"];
    let made = on.ledger.run(&[&["api-key", "create", "--name", "the shop"][..], &arguments].concat()).await;
    let key = made.stdout.strip_suffix('\n').expect("one line").to_string();
    assert!(key.len() >= 16 && key.chars().all(|character| character.is_ascii_graphic()), "the key alone on stdout: {:?}", made.stdout);
    assert!(!made.stderr.contains(&key), "the key is printed once");
    assert_ne!(on.ledger.create_named_api_key("another", &["--capability", "*"]).await, key);

    let since = Instant::now();
    let caller = on.api.with_key(ApiKey::Header(key.clone()));
    eventually("the key works", || async { (caller.form("verify", fields!()).await.code() == 210).then_some(()) }).await;
    expect_soon(since, "a new key");
    caller.form("deactivate", fields!()).await.expect(102, GLOBAL);

    let list = on.ledger.run(&["api-key", "list"]).await.success();
    let line = list.lines().find(|line| line.contains("the shop")).unwrap_or_else(|| panic!("not listed: {list}"));
    for shown in ["verify", "activate", "127.0.0.0/8", "2099-01-01"] {
        assert!(line.contains(shown), "{shown} is not in {line}");
    }
    assert!(!list.contains(&key) && !list.contains(&on.ledger.bootstrap_key), "keys are never shown again");

    let number = on.ledger.api_key_number("the shop").await;
    on.ledger.run(&["api-key", "disable", &number]).await.success();
    let since = Instant::now();
    eventually("the key is disabled", || async { (caller.form("verify", fields!()).await.code() == 101).then_some(()) }).await;
    expect_soon(since, "disabling a key");
    let list = on.ledger.run(&["api-key", "list"]).await.success();
    assert!(list.contains("the shop"), "a disabled key stays in the list: {list}");
    on.ledger.expect_intact().await;
}

async fn what_an_api_key_cannot_be_is_said(backend: Backend) {
    let on = Running::start(backend).await;
    let events = on.ledger.event_count().await;
    let create = ["api-key", "create", "--name", "never"];
    let wrong: [&[&str]; 7] = [
        &[],
        &["--capability", "fly"],
        &["--capability", ""],
        &["--capability", "verify", "--allow-ip", "127.0.0.1/33"],
        &["--capability", "verify", "--allow-ip", "localhost"],
        &["--capability", "verify", "--expires-at", "tomorrow"],
        &["--capability", "verify", "--name"],
    ];
    for arguments in wrong {
        let output = on.ledger.run(&[&create[..], arguments].concat()).await;
        assert!(output.stdout.is_empty(), "{arguments:?} prints {}", output.stdout);
        let code = output.code;
        assert!(matches!(code, 1 | 2), "{arguments:?} exits with {code}");
        output.failure(code);
    }
    let said = on.ledger.run(&["api-key", "disable", "999999"]).await.failure(1);
    assert!(said.contains("999999"), "{said}");
    assert_eq!(on.ledger.event_count().await, events);
}

async fn blocks_are_added_listed_and_removed_beside_a_running_server(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    let verify = || on.api.verify(&license, "a.example");

    on.ledger.run(&["block", "add", "--identifier", "a.example"]).await.success();
    let since = Instant::now();
    eventually("the identifier is blocked", || async { (verify().await.code() == 150).then_some(()) }).await;
    expect_soon(since, "a block");
    on.ledger.run(&["block", "add", "--ip", "127.0.0.0/8"]).await.success();
    let list = on.ledger.run(&["block", "list"]).await.success();
    assert!(list.contains("a.example") && list.contains("127.0.0.0/8"), "{list}");

    on.ledger.run(&["block", "remove", "--identifier", "a.example"]).await.success();
    eventually("the address is blocked", || async { (on.api.verify(&license, "b.example").await.code() == 150).then_some(()) }).await;
    verify().await.expect(150, GLOBAL);
    on.ledger.run(&["block", "remove", "--ip", "127.0.0.0/8"]).await.success();
    let since = Instant::now();
    eventually("nothing is blocked", || async { (verify().await.code() == 200).then_some(()) }).await;
    expect_soon(since, "removing a block");
    let list = on.ledger.run(&["block", "list"]).await.success();
    assert!(!list.contains("a.example") && !list.contains("127.0.0.0/8"), "{list}");
    on.ledger.expect_intact().await;
}

async fn what_a_block_cannot_be_is_said(backend: Backend) {
    let on = Running::start(backend).await;
    let events = on.ledger.event_count().await;
    let wrong: [&[&str]; 6] = [
        &["add"],
        &["add", "--ip", "here"],
        &["add", "--ip", "10.0.0.0/99"],
        &["add", "--identifier", ""],
        &["add", "--ip", "10.0.0.1", "--identifier", "both"],
        &["remove"],
    ];
    for arguments in wrong {
        let output = on.ledger.run(&[&["block"][..], arguments].concat()).await;
        let code = output.code;
        assert!(matches!(code, 1 | 2), "{arguments:?} exits with {code}");
        output.failure(code);
    }
    let said = on.ledger.run(&["block", "remove", "--identifier", "never blocked"]).await.failure(1);
    assert!(said.contains("never blocked"), "{said}");
    assert_eq!(on.ledger.event_count().await, events);
}
