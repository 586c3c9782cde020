//! Dispute files: what happened to one license, in a form that anyone can check without trusting whoever runs the ledger.
//!
//! This crate makes such a file ([`build`]) and checks it ([`verify`]): what is made is what is checked. It is a second
//! implementation: it shares no code with the server, knows no database, no network and no clock, and reads nothing but the
//! files that it is told. `docs/evidence.md` describes the format and how to check it by hand.
//!
//! Read in this order: [`verify`] says what is checked; [`tree`], [`note`] and [`rsa_check`] are the mathematics; `event`,
//! `state` and `keys` are what the events mean; `report` writes it down.

mod answer;
mod archive;
mod case;
pub mod command;
mod context;
mod event;
mod facts;
mod keys;
mod map;
pub mod note;
mod open;
mod proof;
mod report;
pub mod rsa_check;
mod state;
pub mod time;
pub mod tree;
mod verify;
mod words;

pub use archive::{read as read_archive, write as write_archive};
pub use case::{CaseInput, EVENTS_MAX, Earlier, ProvenEvent, build};
pub use map::entry as map_entry;
pub use verify::{Given, Verdict, verify};

/// The leaf's format, and part of what seals an event's personal data.
pub const LEAF_FORMAT: &str = "keyledger/1";
/// The dispute file's format.
pub const CASE_FORMAT: &str = "keyledger-case/1";

/// The first thing wrong, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Wrong(pub String);

/// Says what is wrong where something does not hold.
pub(crate) fn ensure(holds: bool, sentence: impl FnOnce() -> String) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err(Wrong(sentence())) }
}

/// RFC 8785 JSON: one way to write a value.
pub(crate) fn canonical(value: &impl serde::Serialize) -> Result<String, Wrong> {
    serde_json_canonicalizer::to_string(value).map_err(|error| Wrong(format!("a value can't be written as JSON: {error}")))
}
