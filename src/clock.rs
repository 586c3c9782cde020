//! The one place that reads the system clock and draws ids, so that everything else is given them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyledger_events::Timestamp;
use uuid::Uuid;

/// A clock. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    System,
    /// Stands where it is put: for tests of what time decides.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The time now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system clock")]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
            }
            Self::Manual(micros) => Timestamp(micros.load(Ordering::Relaxed)),
        }
    }
}

/// So much later.
#[must_use]
pub fn later(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp(time.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
}

/// What passed from one time to another; nothing where the other is before.
#[must_use]
pub fn passed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0))
}

/// A UUID version 7: ids made one after another sort in that order.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that draws ids")]
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}
