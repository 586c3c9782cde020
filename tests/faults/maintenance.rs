//! The command line works beside a server under load: what it finds and makes is right, and the load doesn't suffer.

use crate::load::Load;
use crate::support::{ApiKey, Backend, Ledger, both_backends, eventually, fields};

both_backends!(rebuild_and_verify_beside_a_server_under_load, api_keys_are_made_beside_a_server_under_load);

const ROUNDS: usize = 8;
const WORKERS: usize = 16;

async fn rebuild_and_verify_beside_a_server_under_load(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let server = ledger.serve().await;
    let product = server.client().new_product().await;
    server.client().ring().product(product).await.expect("the product has its own key pair");
    let mut load = Load::new(product, WORKERS);
    for _ in 0..ROUNDS {
        let running = load.start(&[server.client()]);
        running.wait_for(rand::random_range(50..200)).await;
        // The log grows while it is read: what verify and rebuild see must be of one moment.
        ledger.run(&["verify"]).await.success();
        ledger.run(&["rebuild"]).await.success();
        ledger.run(&["verify"]).await.success();
        running.wait_for_more(20).await;
        load = running.stop().await;
        load.expect_all_answered();
        load.check_touched(&server.client()).await;
        ledger.expect_intact().await;
    }
    load.check_everything(&server.client()).await;
    server.stop().await;
}

async fn api_keys_are_made_beside_a_server_under_load(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let server = ledger.serve().await;
    let product = server.client().new_product().await;
    server.client().ring().product(product).await.expect("the product has its own key pair");
    let running = Load::new(product, WORKERS).start(&[server.client()]);
    running.wait_for(50).await;
    let mut keys = Vec::new();
    for _ in 0..ROUNDS {
        keys.push(ledger.create_api_key(&["--capability", "*"]).await);
        ledger.run(&["block", "add", "--identifier", &format!("{}.example", keys.len())]).await.success();
    }
    running.wait_for_more(20).await;
    let mut load = running.stop().await;
    load.expect_all_answered();
    for key in keys {
        let caller = server.client().with_key(ApiKey::Header(key));
        eventually("the key works", || async { (caller.form("verify", fields!()).await.code() == 210).then_some(()) }).await;
    }
    let blocks = ledger.run(&["block", "list"]).await.success();
    assert_eq!(blocks.matches(".example").count(), ROUNDS, "{blocks}");
    load.check_everything(&server.client()).await;
    ledger.expect_intact().await;
    server.stop().await;
}
