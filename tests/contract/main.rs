//! The HTTP contract as clients in the field see it: every recorded example replayed, and every rule of the operations'
//! semantics, on both backends.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod activations;
mod assigning;
mod check_order;
mod envelope;
mod examples;
mod expiry;
mod health;
mod idempotency;
mod license_keys;
mod license_meta;
mod listings;
mod product_meta;
mod products;
mod requests;
mod scenarios;
