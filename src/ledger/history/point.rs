//! Points in time: after a position, or at a time.

use keyledger_events::Timestamp;

use super::{
    super::{
        Ledger,
        replay::{ReplayError, check::check_hash},
    },
    HistoryError,
};

/// As of when something is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AsOf {
    /// Now, after all events.
    #[default]
    Head,
    /// After this event, when it was recorded.
    Position(i64),
    /// After all events that were recorded by then.
    Time(Timestamp),
}

/// A point that there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The last event that counts.
    pub position: i64,
    /// What time it is.
    pub time: Timestamp,
}

impl Ledger {
    /// The point that is meant.
    ///
    /// # Errors
    /// When it is none that there was yet, or the log is damaged.
    pub async fn point(&self, as_of: AsOf) -> Result<Point, HistoryError> {
        let (head, now) = (self.store.head().await?, self.clock.now());
        let last = head.next_position - 1;
        if last < 0 {
            return Err(HistoryError::BeforeAll);
        }
        match as_of {
            AsOf::Head => Ok(Point { position: last, time: now }),
            AsOf::Position(position) if position > last => Err(HistoryError::NotYet(position)),
            AsOf::Position(position) => Ok(Point { position, time: self.recorded_at(position).await? }),
            AsOf::Time(time) if time > now.max(head.recorded_at) => Err(HistoryError::Future),
            AsOf::Time(time) if time >= head.recorded_at => Ok(Point { position: last, time }),
            AsOf::Time(time) => match self.last_recorded_by(time, last).await? {
                position if position < 0 => Err(HistoryError::BeforeAll),
                position => Ok(Point { position, time }),
            },
        }
    }

    /// The last event before `end` that was recorded at a time or earlier; -1 where there is none. Times never run backwards along
    /// positions, so it is found by halving.
    ///
    /// # Errors
    /// When the log is damaged, or the store fails.
    pub async fn last_recorded_by(&self, time: Timestamp, end: i64) -> Result<i64, ReplayError> {
        let (mut before, mut after) = (-1, end);
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if self.recorded_at(middle).await? <= time {
                before = middle;
            } else {
                after = middle;
            }
        }
        Ok(before)
    }

    async fn recorded_at(&self, position: i64) -> Result<Timestamp, ReplayError> {
        let stored = self.store.events(position, 1).await?;
        let stored = stored.first().filter(|event| event.position == position);
        let stored = stored.ok_or_else(|| ReplayError::Difference(format!("event {position} is missing")))?;
        // What it says doesn't matter: it may be of a type that a newer program knows.
        check_hash(stored, self.vault.ledger_id()).map_err(|flaw| flaw.at(position))?;
        Ok(stored.recorded_at)
    }
}
