//! How fast a log that is there is relayed: printed, and no promise but that it is not absurdly slow.

use std::time::Instant;

use crate::support::nats::{NatsCluster, NatsServer};
use crate::support::world::fresh_key;
use crate::support::{Backend, Ledger, ServeOptions, fields};
use crate::{caught_up, relaying};

const LICENSES: usize = 20_000;

async fn measured(what: &str, options: ServeOptions, ledger: &Ledger, context: &async_nats::jetstream::Context) {
    let begun = Instant::now();
    let server = ledger.serve_with(options).await;
    let events = caught_up(context, ledger).await;
    let rate = events as f64 / begun.elapsed().as_secs_f64();
    println!("{what}: {events} events, {rate:.0} a second");
    assert!(rate > 200.0, "{rate} events a second");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_there_is_relayed_fast() {
    let ledger = Ledger::new(Backend::Sqlite).await;
    let server = ledger.serve().await;
    let product = server.client().new_product().await;
    for _ in 0..LICENSES / 5_000 {
        let keys: Vec<String> = (0..5_000).map(|_| fresh_key()).collect();
        server.client().new_licenses(product, &keys, fields!()).await;
    }
    server.stop().await;
    let nats = NatsServer::start().await;
    measured("one NATS server", relaying(&nats.url()), &ledger, &nats.context().await).await;
    let cluster = NatsCluster::start().await;
    let options = ServeOptions::args(&["--nats-url", &cluster.url(), "--nats-replicas", "3"]);
    measured("a cluster of three", options, &ledger, &cluster.context().await).await;
}
