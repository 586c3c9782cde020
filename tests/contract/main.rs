//! The HTTP contract as clients in the field see it: every recorded example replayed, and every rule of the operations'
//! semantics, on both backends.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod activations;
mod admin;
mod admin_access;
mod admin_generators;
mod admin_keys;
mod admin_products;
mod admin_releases;
mod admin_subjects;
mod assigning;
mod changelog;
mod check_order;
mod contracts;
mod downloads;
mod envato;
mod envelope;
mod examples;
mod expiry;
mod generators;
mod handing_out;
mod health;
mod idempotency;
mod license_keys;
mod license_meta;
mod license_service;
mod listings;
mod openapi;
mod product_info;
mod product_meta;
mod products;
mod random_assign;
mod rate_limits;
mod requests;
mod s3;
mod scenarios;
mod telemetry;
