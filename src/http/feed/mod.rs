//! The feed under `/feed/v1`: the log as others follow it. It speaks as the administration does where it refuses.

pub mod events;
mod request;
mod sending;
pub mod statistics;
pub mod subscriptions;

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::admin::{AdminCall, Check, Kind, Problem, Replied};
use crate::feed::{FeedError, Sight};

/// The capability that reads events.
pub const READ: &str = "feed:read";
/// The capability that shows license keys whole.
pub const LICENSE_KEYS: &str = "feed:license-keys";
/// The capability that shows personal data.
pub const PERSONAL_DATA: &str = "feed:personal-data";
/// The capability that makes subscriptions and takes their events.
pub const SUBSCRIPTIONS: &str = "feed:subscriptions";

/// Longest wait for events, in milliseconds: shorter than proxies commonly wait for an answer.
const TIMEOUT_MAX_MS: i64 = 55_000;

/// Streams, ranges and waiting pages at the same time: each has a connection, half of those that there may be, and a few hundred kilobytes at
/// most under way.
const FOLLOWERS_MAX: usize = 4_000;
static FOLLOWERS: Semaphore = Semaphore::const_new(FOLLOWERS_MAX);

/// # Errors
/// When too many follow already.
fn to_follow() -> Replied<SemaphorePermit<'static>> {
    FOLLOWERS.try_acquire().map_err(|_| Problem::unavailable("Too many follow the feed at the moment."))
}

/// Who waited may have lost its key meanwhile.
///
/// # Errors
/// When the key is disabled, expired or blocked by now.
async fn still_permitted(call: &AdminCall, capability: &str) -> Replied<()> {
    if call.is_still_permitted(capability).await? {
        return Ok(());
    }
    Err(Problem::new(Kind::InvalidApiKey, "The API key became invalid while it waited."))
}

/// How long to wait for events.
fn timeout(check: &mut Check, pointer: &str, ms: i64) -> Duration {
    if !(0..=TIMEOUT_MAX_MS).contains(&ms) {
        check.wrong(pointer, format!("must be 0 to {TIMEOUT_MAX_MS} milliseconds."));
    }
    Duration::from_millis(ms.clamp(0, TIMEOUT_MAX_MS).unsigned_abs())
}

/// What the caller's key may see.
async fn sight(call: &AdminCall) -> Replied<Sight> {
    Ok(Sight { keys: call.may(LICENSE_KEYS).await?, personal: call.may(PERSONAL_DATA).await? })
}

impl From<FeedError> for Problem {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Store(error) => error.into(),
            FeedError::Unreadable(error) if error.is_newer => {
                tracing::warn!(%error, "the log has events that this program does not know");
                Self::new(
                    Kind::Unavailable,
                    format!("Event {} can't be read: {}. Ask another server, or update this one.", error.position, error.problem),
                )
            }
            FeedError::Unreadable(error) => {
                tracing::error!(%error, "the log is damaged");
                Self::new(Kind::InternalError, format!("The log is damaged: {error}."))
            }
            FeedError::Table(error) => {
                tracing::error!(%error, "a table can't be made");
                Self::new(Kind::InternalError, "The table could not be made.")
            }
            FeedError::Replay(error) => crate::ledger::history::HistoryError::from(error).into(),
        }
    }
}
