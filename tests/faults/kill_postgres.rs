//! PostgreSQL dies under load and comes back: 503 while it is gone, recovery without a restart, nothing acknowledged lost.

use crate::load::Load;
use crate::support::cluster::Cluster;
use crate::support::{Client, GLOBAL, Ledger, PRODUCT, eventually, fields, soak_rounds};

const ROUNDS: usize = 20;
const WORKERS: usize = 16;
/// In every so manieth round PostgreSQL stays away until the server has given up on every change that was on its way.
const LONG_OUTAGE_EVERY: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_change_survives_the_death_of_postgresql() {
    let cluster = Cluster::start().await;
    let ledger = Ledger::on_postgres(&cluster.url());
    let mut server = ledger.serve().await;
    let api = server.client();
    let product = api.new_product().await;
    let license = api.new_license(product, fields!()).await;
    api.activate(&license, "a.example").await.expect(300, PRODUCT);
    let mut load = Load::new(product, WORKERS);
    for round in 0..soak_rounds(ROUNDS) {
        let running = load.start(std::slice::from_ref(&api));
        running.wait_for(rand::random_range(1..200)).await;
        if round % 4 == 3 {
            cluster.kill_9();
        } else {
            cluster.stop_immediately();
        }
        if round % LONG_OUTAGE_EVERY == 0 {
            load = running.until_unanswered().await;
            expect_unavailable(&api, product, &license).await;
            cluster.restart().await;
        } else {
            // Back while the server still asks what has become of the last COMMIT, and while the load goes on.
            eventually("PostgreSQL is missed", || async { (api.verify(&license, "a.example").await.status == 503).then_some(()) }).await;
            assert_eq!(api.plain("/health/live").await.0, 200);
            cluster.restart().await;
            load = running.stop().await;
        }
        eventually("the server has recovered", || async { (api.verify(&license, "a.example").await.code() == 200).then_some(()) }).await;
        eventually("the server is ready", || async { (api.plain("/health/ready").await.0 == 200).then_some(()) }).await;
        let changed = fields!(product_id: product, key: format!("round {round}"), value: "back");
        eventually("changes work again", || async { (api.form("create-product-meta", changed.clone()).await.code() != 9503).then_some(()) }).await;
        assert!(server.is_running(), "the same process has recovered");
        load.check_touched(&api).await;
        if round % 5 == 0 {
            ledger.expect_intact().await;
        }
    }
    load.check_everything(&api).await;
    ledger.expect_intact().await;
    server.stop().await;
}

/// While the database is gone: a signed 503 for whatever needs it, and a process that lives and says that it isn't ready.
async fn expect_unavailable(api: &Client, product: i64, license: &str) {
    api.verify(license, "a.example").await.expect_error(503);
    api.activate(license, "b.example").await.expect_error(503);
    api.form("create-product", fields!(name: "A", description: "B")).await.expect_error(503);
    api.get("get-license-keys", fields!(product_id: product)).await.expect_error(503);
    assert_eq!(api.plain("/health/live").await.0, 200);
    assert_eq!(api.plain("/health/ready").await.0, 503);
    api.get("no-such-route", fields!()).await.expect_error(404);
    assert_eq!(api.plain("/metrics").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_finds_no_postgresql_at_start_says_so() {
    let cluster = Cluster::start().await;
    let ledger = Ledger::on_postgres(&cluster.url());
    ledger.serve().await.client().form("create-product", fields!(name: "A", description: "B")).await.expect(750, GLOBAL);
    cluster.stop_immediately();
    let said = ledger.run(&["serve", "--listen", "127.0.0.1:0"]).await.failure(1);
    assert!(said.to_lowercase().contains("postgres") || said.to_lowercase().contains("database"), "{said}");
    cluster.restart().await;
    ledger.expect_intact().await;
}
