//! The write side's rules, pure: one folder per aggregate with its commands, events, state and decisions.
//!
//! What must not enter: databases, HTTP, async runtimes, clocks, randomness, the environment. Time, numbers and random
//! keys arrive in a command's [`Context`].

pub mod api_key;
pub mod assignment_job;
pub mod block;
mod context;
pub mod contract;
pub mod delivery;
mod domain;
pub mod download_token;
pub mod envelope;
mod event;
pub mod generator;
pub mod key_pair;
pub mod ledger;
pub mod license;
pub mod personal;
pub mod product;
pub mod public;
pub mod release;
pub mod settings;
pub mod stream_map;
pub mod subject;
pub mod telemetry;
mod time;
pub mod upcast;
pub mod values;
pub mod verification_count;
pub mod webhook_endpoint;

pub use context::{Context, Numbers};
pub use envelope::{EventId, Leaf, Metadata, Recorded};
pub use event::{DecodeError, Event, aggregate_type};
pub use personal::{Personal, PersonalData, Sealed, SubjectKind};
pub use time::Timestamp;
