//! NATS servers are killed, alone and in a cluster, and come back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join;

use crate::support::nats::{NatsCluster, NatsServer, free_port, opened};
use crate::support::{Backend, Ledger, Running, ServeOptions, both_backends, eventually, fields, soak_rounds};
use crate::{STREAM, active, caught_up, expect_whole, load, relaying};

const ROUNDS: usize = 3;
const CALLERS: usize = 16;

both_backends!(a_cluster_that_loses_its_leader_goes_on);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_server_that_is_killed_is_waited_for() {
    let nats = NatsServer::start().await;
    let on = Running::start_with(Backend::Sqlite, relaying(&nats.url())).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!(activation_limit: 0)).await;
    let (clients, is_over) = (|| on.api.clone(), AtomicBool::new(false));
    let killing = async {
        for _ in 0..soak_rounds(ROUNDS) {
            tokio::time::sleep(Duration::from_millis(rand::random_range(500..1_500))).await;
            nats.kill_9();
            tokio::time::sleep(Duration::from_millis(rand::random_range(100..2_000))).await;
            nats.restart();
            nats.is_up().await;
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let (done, ()) = join(load(&clients, &license, CALLERS, &is_over), killing).await;
    assert!(done > 100, "hardly anything was written: {done}");
    expect_whole(&nats.context().await, &on.ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_starts_without_nats_and_relays_when_it_is_there() {
    let nats = NatsServer::new("late", free_port(), "");
    let on = Running::start_with(Backend::Sqlite, relaying(&nats.url())).await;
    let product = on.api.new_product().await;
    active(&on.api, product, 10).await;
    let away = "events can't be relayed to NATS at the moment";
    eventually("the log says that NATS is away", || async { on.server.log_text().contains(away).then_some(()) }).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    nats.restart();
    nats.is_up().await;
    expect_whole(&nats.context().await, &on.ledger).await;
    let again = "events are relayed to NATS again";
    eventually("the log says that NATS is back", || async { on.server.log_text().contains(again).then_some(()) }).await;
    let log = on.server.log_text();
    assert_eq!((log.matches(away).count(), log.matches(again).count()), (1, 1), "{log}");
    assert!(!log.contains("async_nats"), "the library says nothing by itself: {log}");
    on.server.stop().await;
}

async fn a_cluster_that_loses_its_leader_goes_on(backend: Backend) {
    let cluster = NatsCluster::start().await;
    let ledger = Ledger::new(backend).await;
    let server = ledger.serve_with(ServeOptions::args(&["--nats-url", &cluster.url(), "--nats-replicas", "3"])).await;
    let api = server.client();
    let product = api.new_product().await;
    let license = api.new_license(product, fields!(activation_limit: 0)).await;
    let context = cluster.context().await;
    assert_eq!(opened(&context, STREAM).await.cached_info().config.num_replicas, 3);
    caught_up(&context, &ledger).await;
    let (clients, is_over) = (|| api.clone(), AtomicBool::new(false));
    let killing = async {
        for _ in 0..soak_rounds(ROUNDS) {
            tokio::time::sleep(Duration::from_millis(rand::random_range(500..1_500))).await;
            let leader = cluster.leader(STREAM).await;
            leader.kill_9();
            // The two that are left go on without it.
            let before = cluster_sequence(&cluster).await;
            eventually("the cluster goes on with two nodes", || async { (cluster_sequence(&cluster).await > before + 20).then_some(()) }).await;
            leader.restart();
            leader.is_up().await;
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let (done, ()) = join(load(&clients, &license, 4, &is_over), killing).await;
    assert!(done > 50, "hardly anything was written: {done}");
    expect_whole(&cluster.context().await, &ledger).await;
    assert!(!server.log_text().contains("until somebody does something"), "{}", server.log_text());
    server.stop().await;
    ledger.expect_intact().await;
}

async fn cluster_sequence(cluster: &NatsCluster) -> u64 {
    eventually("the cluster says how far the stream is", || async {
        let context = cluster.context().await;
        Some(context.get_stream(STREAM).await.ok()?.cached_info().state.last_sequence)
    })
    .await
}
