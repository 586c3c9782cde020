//! What the black-box tests share: a real server process on either backend, a client that checks every answer's signature,
//! and a view of the database from outside.
//!
//! Nothing in here calls into the server's own code: what these tests promise, they promise about the program as shipped.
#![allow(dead_code, unused_imports, unused_macros, reason = "each test binary uses its own part of the support")]

pub mod admin;
pub mod answer;
pub mod client;
pub mod cluster;
pub mod codes;
pub mod feed;
pub mod json;
pub mod keyring;
pub mod ledger;
pub mod nats;
pub mod outside;
pub mod poll;
pub mod ports;
pub mod postgres;
pub mod raw;
pub mod receiver;
pub mod releases;
pub mod routes;
pub mod server;
pub mod world;

pub use admin::AdminAnswer;
pub use answer::{Answer, GLOBAL, PRODUCT, SignedBy};
pub use client::{ApiKey, Client};
pub use json::Json;
pub use ledger::{Backend, CliOutput, Ledger, Place, Running};
pub use poll::{eventually, soak_rounds};
pub use routes::{ROUTES, is_get};
pub use server::{ServeOptions, Server};
pub use world::Fields;

/// Runs each named `async fn name(backend: Backend)` as two tests, `sqlite::name` and `postgres::name`.
macro_rules! both_backends {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::support::Backend::Sqlite).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::support::Backend::Postgres).await;
            })+
        }
    };
}
pub(crate) use both_backends;

/// Parameters of one request: `fields!(license_key: key, identifier: "a.example")`.
macro_rules! fields {
    ($($name:ident : $value:expr),* $(,)?) => {
        vec![$((stringify!($name).to_string(), $value.to_string())),*] as crate::support::Fields
    };
}
pub(crate) use fields;
