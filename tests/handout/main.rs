//! Checkpoints handed out: to files that never go back, to a witness that really checks what it cosigns, to a time-stamping authority
//! whose tokens `openssl` accepts.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "../support/outside/mod.rs"]
mod outside;
#[path = "../support/poll.rs"]
mod poll;

mod destinations;
mod files;
mod log;
mod timestamps;
mod witnesses;

use keyledger::outgoing::{Allowed, Outgoing};

/// A client for calls to this machine, which is where the tests' servers are.
fn outgoing() -> Outgoing {
    Outgoing::new(Allowed::parse(["127.0.0.1"]).unwrap()).unwrap()
}
