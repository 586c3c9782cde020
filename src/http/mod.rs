//! The HTTP layer: [`router`] lists every route, one file per resource handles it, [`envelope`] signs the answer. A request
//! goes router → endpoint → handler → ledger and back.
//!
//! What must not enter: SQL, a backend, a private key, rules about licenses. Events are never answers: what an answer
//! says is written here, field by field.

mod admin;
mod assignments;
mod body;
mod changelog;
mod client_ip;
pub mod codes;
mod contract_api;
mod contracts;
mod doc;
mod docs;
mod download;
mod endpoint;
mod envelope;
mod extract;
mod feed;
mod generators;
mod health;
mod items;
mod jwks;
mod ledger;
mod license;
mod license_keys;
mod license_meta;
mod license_service;
mod lists;
mod meters;
mod openapi;
mod operation;
mod parameters;
pub mod php_json;
mod product;
mod product_info;
mod product_meta;
mod receipt;
mod router;
mod serve;
mod telemetry;
mod transfer;
mod turns;
mod validate;
pub mod webhook;

pub use endpoint::capabilities;
pub use router::router;
pub use serve::{raise_descriptor_limit, serve};
pub use validate::is_url;
