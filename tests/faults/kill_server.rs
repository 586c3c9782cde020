//! `kill -9` of the server under load: every acknowledged change is there afterwards, and the ledger is in order.

use crate::load::Load;
use crate::support::{Backend, Ledger, ServeOptions, both_backends, soak_rounds};

const ROUNDS: usize = 20;
const WORKERS: usize = 16;

both_backends!(every_acknowledged_change_survives_kill_9);

async fn every_acknowledged_change_survives_kill_9(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let mut server = ledger.serve().await;
    let product = server.client().new_product().await;
    server.client().ring().product(product).await.expect("the product has its own key pair");
    let mut load = Load::new(product, WORKERS);
    for _ in 0..soak_rounds(ROUNDS) {
        let running = load.start(&[server.client()]);
        running.wait_for(rand::random_range(1..300)).await;
        server.kill_9();
        load = running.until_unanswered().await;
        // Before any server has run again: the log on the disk is in order as the kill left it.
        ledger.expect_intact().await;
        server = ledger.serve().await;
        load.check_touched(&server.client()).await;
    }
    load.check_everything(&server.client()).await;
    ledger.expect_intact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_does_not_hold_up_the_other() {
    let ledger = Ledger::new(Backend::Postgres).await;
    let survivor = ledger.serve().await;
    let product = survivor.client().new_product().await;
    survivor.client().ring().product(product).await.expect("the product has its own key pair");
    let mut load = Load::new(product, WORKERS);
    for round in 0..5 {
        let node = ledger.place.another_node(&format!("node-{round}"));
        let victim = ledger.serve_at(&node, ServeOptions::default()).await;
        let running = load.start(&[survivor.client(), victim.client()]);
        running.wait_for(rand::random_range(50..200)).await;
        victim.kill_9();
        running.wait_for(400).await;
        load = running.stop().await;
        load.check_touched(&survivor.client()).await;
    }
    load.check_everything(&survivor.client()).await;
    ledger.expect_intact().await;
}
