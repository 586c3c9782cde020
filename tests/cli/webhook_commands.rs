//! `keyledger webhook`, beside a running server.

use crate::support::receiver::Receiver;
use crate::support::{Backend, Running, ServeOptions, both_backends, eventually};

both_backends!(endpoints_are_made_paused_replayed_and_deleted_beside_a_running_server);

async fn endpoints_are_made_paused_replayed_and_deleted_beside_a_running_server(backend: Backend) {
    let on = Running::start_with(backend, ServeOptions::args(&["--allow-outgoing", "127.0.0.0/8"])).await;
    let receiver = Receiver::start().await;
    let webhook = async |args: &[&str]| on.ledger.run(&[&["webhook"][..], args].concat()).await;
    let made = webhook(&["create", "--url", &receiver.url("/"), "--type", "product.*", "--after", "-1"]).await.success();
    let (number, secret) = made.trim_end().split_once('\n').expect("a number and a secret");
    assert!(secret.starts_with("whsec_"), "{made}");
    assert_eq!(webhook(&["secret", number]).await.success().trim_end(), secret);
    on.api.new_product().await;
    receiver.wait_for(1).await;

    let state = async || webhook(&["list"]).await.success().lines().last().unwrap_or_default().split('\t').nth(1).unwrap_or_default().to_owned();
    webhook(&["pause", number]).await.success();
    assert_eq!(state().await, "paused (operator)");
    webhook(&["resume", number]).await.success();
    assert_eq!(state().await, "active");
    webhook(&["replay", number, "--after", "-1"]).await.success();
    receiver.wait_for(2).await;
    let rotated = webhook(&["rotate-secret", number]).await.success();
    assert!(rotated.starts_with("whsec_") && rotated.trim_end() != secret, "{rotated}");
    webhook(&["delete", number]).await.success();
    eventually("it is gone from the list", || async { (webhook(&["list"]).await.success().lines().count() == 1).then_some(()) }).await;
    assert!(webhook(&["pause", number]).await.failure(1).contains("does not exist"));
    assert!(webhook(&["create", "--url", "nonsense"]).await.failure(1).contains("--url"));
    on.ledger.expect_intact().await;
}
