//! `kill -9` of the server under load: every acknowledged change is there afterwards, and the ledger is in order.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{join, join_all};

use crate::load::Load;
use crate::support::{Backend, Ledger, PRODUCT, ServeOptions, both_backends, eventually, fields, soak_rounds};

const ROUNDS: usize = 20;
const REPETITION_ROUNDS: usize = 8;
const WORKERS: usize = 16;

both_backends!(every_acknowledged_change_survives_kill_9, a_repetition_with_the_same_idempotency_key_after_kill_9_has_one_effect);

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

/// Who got no answer asks again with the same key: the change is made once, whether the first request had made it or not.
async fn a_repetition_with_the_same_idempotency_key_after_kill_9_has_one_effect(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let mut server = ledger.serve().await;
    let product = server.client().new_product().await;
    server.client().ring().product(product).await.expect("the product has its own key pair");
    let license = server.client().new_license(product, fields!(activation_limit: 0)).await;
    for round in 0..REPETITION_ROUNDS {
        let (api, number, open) = (server.client(), AtomicUsize::new(0), Mutex::new(Vec::new()));
        let worker = || async {
            loop {
                let identifier = format!("{round}-{}.example", number.fetch_add(1, Ordering::Relaxed));
                let once = api.with_header("idempotency-key", &identifier);
                let Ok(answer) = once.try_form("activate", fields!(license_key: license, identifier: identifier)).await else {
                    open.lock().expect("no panic under the lock").push(identifier);
                    return;
                };
                answer.expect(300, PRODUCT);
            }
        };
        let kill = async {
            let changes = rand::random_range(20..200);
            eventually("some changes are made", || async { (number.load(Ordering::Relaxed) >= changes).then_some(()) }).await;
            server.kill_9();
        };
        join(kill, join_all((0..WORKERS).map(|_| worker()))).await;
        server = ledger.serve().await;
        for identifier in open.into_inner().expect("no panic under the lock") {
            let once = server.client().with_header("idempotency-key", &identifier);
            once.activate(&license, &identifier).await.expect(300, PRODUCT);
            server.client().activate(&license, &identifier).await.expect(301, PRODUCT);
        }
    }
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
