//! What every event must be by itself: at its place, not before the one before it, and with the hash of what it says. No key is
//! needed for that, and nothing personal is opened.

use keyledger_events::Timestamp;
use uuid::Uuid;

use super::ReplayError;
use crate::{
    ledger::tree::{Hash, leaf_hash},
    store::StoredEvent,
};

/// What is wrong with an event, in words that follow its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("is missing: the next one is {next}")]
    Missing { next: i64 },
    #[error("was recorded before the one before it")]
    BeforeTheLast,
    #[error("does not have the hash it was recorded with")]
    Hash,
}

impl Flaw {
    /// The error of a replay that stops at it.
    #[must_use]
    pub fn at(self, position: i64) -> ReplayError {
        ReplayError::Difference(format!("event {position} {self}"))
    }
}

/// The hash of what an event says.
///
/// # Errors
/// When it is not the one that is stored beside it.
pub fn check_hash(stored: &StoredEvent, ledger_id: Uuid) -> Result<Hash, Flaw> {
    let hash = leaf_hash(stored.leaf(ledger_id).canonical().as_bytes());
    if hash == stored.leaf_hash { Ok(hash) } else { Err(Flaw::Hash) }
}

/// Whether an event stands where one is expected.
///
/// # Errors
/// When those from there up to it are missing.
pub fn check_position(position: i64, expected: i64) -> Result<(), Flaw> {
    if position == expected { Ok(()) } else { Err(Flaw::Missing { next: position }) }
}

/// Whether an event's time fits the one before it.
///
/// # Errors
/// When it is an earlier one.
pub fn check_time(recorded_at: Timestamp, last: Timestamp) -> Result<(), Flaw> {
    if recorded_at >= last { Ok(()) } else { Err(Flaw::BeforeTheLast) }
}
