//! keyledger is killed, stopped and continued: another goes on, nothing is lost, nothing is there twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use futures::future::join;
use nix::sys::signal::Signal;

use crate::support::nats::NatsServer;
use crate::support::{Backend, Ledger, Server, both_backends, eventually, fields, soak_rounds};
use crate::{STREAM, active, expect_whole, load, relaying};

/// Kills in the middle of a load; after each, the place has to become free.
const ROUNDS: usize = 2;
const CALLERS: usize = 16;
/// A window so short that no server remembers an event that another relay has published.
const TINY_WINDOW: Duration = Duration::from_millis(100);

both_backends!(a_server_killed_again_and_again_neither_loses_nor_doubles);

/// A NATS server whose stream forgets ids at once: what is published twice is refused by the condition alone.
async fn forgetful() -> NatsServer {
    let nats = NatsServer::start().await;
    let subjects = vec!["keyledger.>".to_owned()];
    let config = Config { name: STREAM.to_owned(), subjects, duplicate_window: TINY_WINDOW, ..Config::default() };
    nats.context().await.create_stream(config).await.expect("the stream can be made");
    nats
}

async fn a_server_killed_again_and_again_neither_loses_nor_doubles(backend: Backend) {
    let (ledger, nats) = (Ledger::new(backend).await, forgetful().await);
    let server = ledger.serve_with(relaying(&nats.url())).await;
    let product = server.client().new_product().await;
    let license = server.client().new_license(product, fields!(activation_limit: 0)).await;
    let mut server = Some(server);
    for _ in 0..soak_rounds(ROUNDS) {
        let running = server.take().expect("it runs");
        let (client, is_over) = (running.client(), AtomicBool::new(false));
        let clients = || client.clone();
        let killing = async {
            eventually("it relays", || async { running.log_text().contains("events are relayed to NATS").then_some(()) }).await;
            tokio::time::sleep(Duration::from_millis(rand::random_range(300..1_500))).await;
            is_over.store(true, Ordering::Relaxed);
            running.kill_9();
        };
        join(load(&clients, &license, CALLERS, &is_over), killing).await;
        server = Some(ledger.serve_with(relaying(&nats.url())).await);
    }
    // The place of the one that was killed is free after a while; no server waits for more than that.
    expect_whole(&nats.context().await, &ledger).await;
    ledger.expect_intact().await;
}

/// Two nodes of one ledger that relay to one stream.
async fn two_nodes(nats: &NatsServer) -> (Ledger, Server, Server, String) {
    let ledger = Ledger::new(Backend::Postgres).await;
    let one = ledger.serve_with(relaying(&nats.url())).await;
    eventually("the first one relays", || async { one.log_text().contains("events are relayed to NATS").then_some(()) }).await;
    let other = ledger.serve_at(&ledger.place.another_node("other"), relaying(&nats.url())).await;
    let product = one.client().new_product().await;
    let license = one.client().new_license(product, fields!(activation_limit: 0)).await;
    (ledger, one, other, license)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_relaying_node_is_killed_the_other_goes_on() {
    let nats = forgetful().await;
    let (ledger, one, other, license) = two_nodes(&nats).await;
    let (first, second, is_over) = (one.client(), other.client(), AtomicBool::new(false));
    let clients = || if rand::random() { first.clone() } else { second.clone() };
    let killing = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!other.log_text().contains("events are relayed to NATS"), "one node relays: {}", other.log_text());
        one.kill_9();
        let died = std::time::Instant::now();
        eventually("the other one relays", || async { other.log_text().contains("events are relayed to NATS").then_some(()) }).await;
        assert!(died.elapsed() < Duration::from_secs(30), "it took {:?}", died.elapsed());
        tokio::time::sleep(Duration::from_secs(1)).await;
        is_over.store(true, Ordering::Relaxed);
    };
    join(load(&clients, &license, 4, &is_over), killing).await;
    expect_whole(&nats.context().await, &ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_relaying_node_stands_still_the_other_goes_on_and_is_not_disturbed() {
    let nats = forgetful().await;
    let (ledger, one, other, license) = two_nodes(&nats).await;
    let (first, second, is_over) = (one.client(), other.client(), AtomicBool::new(false));
    let clients = || if rand::random_range(0..4) == 0 { first.clone() } else { second.clone() };
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // In the middle of what it publishes.
        one.signal(Signal::SIGSTOP);
        is_over.store(true, Ordering::Relaxed);
    };
    let (_, ()) = join(
        async {
            // Calls to the stopped node are given up.
            let _ = tokio::time::timeout(Duration::from_secs(4), load(&clients, &license, CALLERS, &is_over)).await;
        },
        stopping,
    )
    .await;
    eventually("the other one relays", || async { other.log_text().contains("events are relayed to NATS").then_some(()) }).await;
    for _ in 0..3 {
        active(&second, 1, 5).await;
    }
    one.signal(Signal::SIGCONT);
    let lost = || async { one.log_text().contains("another server relays").then_some(()) };
    let is_over = AtomicBool::new(false);
    let clients = || second.clone();
    let waiting = async {
        eventually("the one that stood still sees that it lost its place", lost).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        is_over.store(true, Ordering::Relaxed);
    };
    join(load(&clients, &license, CALLERS, &is_over), waiting).await;
    expect_whole(&nats.context().await, &ledger).await;
    // One that is stopped leaves its place at once.
    let count = one.log_text().matches("events are relayed to NATS").count();
    other.stop().await;
    active(&one.client(), 1, 5).await;
    let again = || async { (one.log_text().matches("events are relayed to NATS").count() > count).then_some(()) };
    let left = std::time::Instant::now();
    eventually("the first one relays again", again).await;
    assert!(left.elapsed() < Duration::from_secs(12), "it took {:?}", left.elapsed());
    expect_whole(&nats.context().await, &ledger).await;
}
