//! Input that no client should send: a signed answer with the right code that says what is wrong, never a 5xx, never a
//! panic, nothing half-written.

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod parameters;
mod random;
mod raw_sockets;
mod sizes;

use support::{Backend, Client, PRODUCT, Running, fields};

/// A server with one active activation, and the count of events that bad input must leave as it is.
struct Target {
    on: Running,
    product: i64,
    license: String,
    events: i64,
}

impl Target {
    async fn start(backend: Backend) -> Target {
        let on = Running::start(backend).await;
        let product = on.api.new_product().await;
        let license = on.api.new_license(product, fields!()).await;
        on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
        let events = on.ledger.event_count().await;
        Target { on, product, license, events }
    }

    fn api(&self) -> &Client {
        &self.on.api
    }

    /// Promises that the bad input changed nothing, that the server still works, and that the whole ledger is in order.
    async fn expect_untouched(&self) {
        assert_eq!(self.on.ledger.event_count().await, self.events, "bad input has left events");
        self.expect_working().await;
    }

    /// Promises that the server still works and that the whole ledger is in order.
    async fn expect_working(&self) {
        self.api().verify(&self.license, "a.example").await.expect(200, PRODUCT);
        assert_eq!(self.api().plain("/health/live").await.0, 200);
        self.on.ledger.expect_intact().await;
    }
}
