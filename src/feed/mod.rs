//! The log as others follow it: one reader over positions, on which feed, subscriptions, web hooks and relays rest.
//!
//! Positions have no gaps and are in commit order, so the last position that somebody has is all that must be remembered of them.

mod claim;
mod cloud_event;
mod filter;
mod json;
mod range;
pub mod statistics;
mod subscription;
mod table;

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use keyledger_events::{PersonalData, Timestamp};
use tokio::sync::{Semaphore, oneshot, watch};
use uuid::Uuid;

pub use claim::{CLAIM_FOR, Claim, Kept, RENEW_EVERY, position_of};
pub use cloud_event::{CloudEvents, Facts, Lane, Shown, Sight, Unreadable, Upcast, masked};
pub use filter::{Filter, FilterError};
pub use json::{Frame, Json};
pub use range::{Form, Piece, Range};
pub use subscription::{Batch, Next, PARTITIONS_MAX, Place, SUBSCRIPTIONS_MAX, SubscribeError, Subscription, Subscriptions};
pub use table::{Table, TableError};

use crate::{
    ledger::{
        Ledger,
        replay::{ReplayError, personal::SealedPart},
    },
    store::{Portion, Store, StoreError, StoredEvent, events_aside},
};

/// How often it is looked whether another server, or a command line, appended something, while anybody waits for it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Parts of the log that lie behind which are worked on at once: the embedded store has one reader more than that.
const TURNS_MAX: usize = 9;

/// Who is so near to the end follows it.
const NEAR_EVENTS: i64 = 1_000;

/// Why there are no events.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Where events go that are shown to somebody.
pub trait Sink: Send {
    /// What may be seen there.
    fn sight(&self) -> Sight;

    /// # Errors
    /// When the event is damaged.
    fn put(&mut self, facts: &Facts<'_>, upcast: &Upcast, shown: &Shown) -> Result<(), Unreadable>;
}

/// What of the configuration concerns those who follow the log.
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// How often a stream on which nothing happens says that it is there; its caller's key is checked again then.
    pub heart_beat: Duration,
    /// How long a client may take nothing: what it misses meanwhile is not kept for it.
    pub patience: Duration,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self { heart_beat: Duration::from_secs(15), patience: Duration::from_secs(20) }
    }
}

/// The reader.
pub struct Feed {
    ledger: Ledger,
    turns: Arc<Semaphore>,
    looked_through: LookedThrough,
}

/// How far it was looked for the events of a partition (of which subscription, its number, revision and position, and how often the log
/// went back) without finding any, as long as it is not worth the writing: so nobody looks at the same ones again.
type LookedThrough = moka::sync::Cache<LookedThroughKey, i64>;
type LookedThroughKey = (String, i64, i64, i64, u64);
/// A few hundred bytes each.
const LOOKED_THROUGH_MAX: u64 = 10_000;

impl Feed {
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger, turns: Arc::new(Semaphore::new((cores() + 1).min(TURNS_MAX))), looked_through: LookedThrough::new(LOOKED_THROUGH_MAX) }
    }

    #[must_use]
    pub fn ledger_id(&self) -> Uuid {
        self.ledger.vault().ledger_id()
    }

    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        self.ledger.store()
    }

    /// How many events there are, and later how many there are then.
    #[must_use]
    pub fn moved(&self) -> watch::Receiver<i64> {
        self.ledger.moved()
    }

    /// How many events there are, as far as is known here.
    #[must_use]
    pub fn head_position(&self) -> i64 {
        self.ledger.head_position()
    }

    /// How many events there are, asked of the store: what another server appended counts too.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn next_position(&self) -> Result<i64, StoreError> {
        let known = self.ledger.head_position();
        let next_position = self.store().head().await?.next_position;
        self.ledger.note_head(known, next_position);
        Ok(next_position)
    }

    /// Looks for what others append, for as long as somebody waits for it. Ends when it is dropped.
    pub async fn watch_others(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if !self.ledger.is_followed() {
                continue;
            }
            if let Err(error) = self.next_position().await {
                tracing::debug!(%error, "the head can't be read");
                tokio::time::sleep(LOOK_EVERY * 20).await;
            }
        }
    }

    /// Events after one, in order and without gaps: some, where there are any, and a portion at most. What was just appended is read once for
    /// all who follow; who is far behind reads alone.
    ///
    /// # Errors
    /// When one is missing, or the store fails.
    pub async fn after(&self, position: i64, portion: Portion) -> Result<Vec<Arc<StoredEvent>>, FeedError> {
        let mut events = if self.ledger.head_position().saturating_sub(position) <= NEAR_EVENTS {
            self.ledger.recent().after(self.store(), position, portion).await?
        } else {
            let events = self.in_turn(events_aside(Arc::clone(self.store()), position.saturating_add(1), portion)).await?;
            events.into_iter().map(Arc::new).collect::<Vec<_>>()
        };
        if let Err(missing) = without_gaps(position, &events) {
            // What is before the gap is told still.
            events.truncate(usize::try_from(missing.position - position - 1).unwrap_or(0));
            if events.is_empty() {
                return Err(missing.into());
            }
        }
        if let Some(last) = events.last() {
            // Some may be younger than what was known of the log's end.
            self.ledger.note_moved(last.position + 1);
        }
        Ok(events)
    }

    /// Works on a part of the log that lies behind: for all who do that together, on as many parts as keep the cores busy. A turn ends with its
    /// work, also where nobody waits for that any more, or looks at it.
    async fn in_turn<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        let turns = Arc::clone(&self.turns);
        // Who is gone waits for no turn; who is only not looking does.
        let (mut wanted, _wanted) = oneshot::channel::<()>();
        let done = tokio::spawn(async move {
            let _turn = tokio::select! {
                turn = turns.acquire() => turn,
                () = wanted.closed() => return Err(StoreError::Unavailable("nobody waits for it any more".to_owned()).into()),
            };
            work.await
        });
        done.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the read was broken off".to_owned()).into()))
    }

    /// The last event that was recorded by a time; -1 where there is none.
    ///
    /// # Errors
    /// When the log is damaged, or the store fails.
    pub async fn last_by(&self, time: Timestamp) -> Result<i64, FeedError> {
        Ok(self.ledger.last_recorded_by(time, self.next_position().await?).await?)
    }

    /// The last event that was recorded before a time; -1 where there is none.
    ///
    /// # Errors
    /// When the log is damaged, or the store fails.
    pub async fn last_before(&self, time: Timestamp) -> Result<i64, FeedError> {
        // Times are whole microseconds.
        self.last_by(Timestamp(time.0.saturating_sub(1))).await
    }

    /// One event, as the body of a message.
    ///
    /// # Errors
    /// When the event is damaged, or the store fails.
    pub async fn message(&self, event: &Arc<StoredEvent>, sight: Sight) -> Result<Vec<u8>, FeedError> {
        let mut out = Vec::new();
        self.write(std::slice::from_ref(event), &Filter::default(), 1, &mut self.json(sight, Frame::Bare, &mut out)).await?;
        Ok(out)
    }

    /// Writes as JSON, behind what is there already, those of the events that a filter takes, so many at most: up to one that is damaged, where
    /// another one is before it.
    ///
    /// # Errors
    /// When the first one is damaged, or the store fails. Then nothing is written.
    pub async fn write_json(
        &self,
        events: &[Arc<StoredEvent>],
        filter: &Filter,
        room: usize,
        (sight, frame): (Sight, Frame),
        out: &mut Vec<u8>,
    ) -> Result<Written, FeedError> {
        let begin = out.len();
        let mut written = self.write(events, filter, room, &mut self.json(sight, frame, out)).await;
        if let Err(FeedError::Unreadable(damaged)) = &written {
            let readable = events.partition_point(|event| event.position < damaged.position);
            if readable > 0 {
                out.truncate(begin);
                written = self.write(&events[..readable], filter, room, &mut self.json(sight, frame, out)).await;
            }
        }
        if written.is_err() {
            out.truncate(begin);
        }
        written
    }

    /// Writes JSON behind what is there already.
    pub fn json<'a>(&self, sight: Sight, frame: Frame, out: &'a mut Vec<u8>) -> Json<'a> {
        Json::new(self.format(sight), frame, out)
    }

    fn format(&self, sight: Sight) -> CloudEvents {
        CloudEvents::new(self.ledger_id(), sight)
    }

    /// Passes on those of the events that a filter takes, so many at most.
    ///
    /// # Errors
    /// When an event is damaged, or the store fails.
    pub async fn write<E: Borrow<StoredEvent> + Sync>(
        &self,
        events: &[E],
        filter: &Filter,
        room: usize,
        sink: &mut impl Sink,
    ) -> Result<Written, FeedError> {
        let upcasts = events.iter().map(|event| Upcast::of(event.borrow())).collect::<Result<Vec<_>, _>>()?;
        let (mut wanted, mut position) = (Vec::with_capacity(events.len()), -1);
        for (event, upcast) in events.iter().map(Borrow::borrow).zip(&upcasts) {
            if wanted.len() == room {
                break;
            }
            position = event.position;
            if !filter.may_take(event) {
                continue;
            }
            let facts = Facts::read(event, upcast)?;
            if filter.takes(&facts) {
                wanted.push((event, facts, upcast));
            }
        }
        let mut sealed = Vec::new();
        if sink.sight().personal {
            for (event, facts, _) in &wanted {
                sealed.extend(facts.sealed()?.map(|sealed| (event.position, event.event_id, sealed)));
            }
        }
        let opened = if sealed.is_empty() { Vec::new() } else { self.open(&sealed).await? };
        let mut opened = sealed.iter().map(|(position, ..)| *position).zip(opened).peekable();
        for (event, facts, upcast) in &wanted {
            let shown = match opened.next_if(|(position, _)| *position == event.position) {
                Some((_, Some(data))) => Shown::open(data, sink.sight()),
                Some((_, None)) => Shown::Erased,
                None => Shown::Closed,
            };
            sink.put(facts, upcast, &shown)?;
        }
        Ok(Written { events: wanted.len(), position })
    }

    /// Opens what events have sealed. Where that is damaged, the first event is named of which it is.
    async fn open(&self, sealed: &[SealedPart]) -> Result<Vec<Option<PersonalData>>, FeedError> {
        let damaged = match self.ledger.open_sealed(sealed).await {
            Err(ReplayError::Difference(problem)) => problem,
            opened => return Ok(opened?),
        };
        for part in sealed {
            if let Err(ReplayError::Difference(problem)) = self.ledger.open_sealed(std::slice::from_ref(part)).await {
                return Err(Unreadable::damaged(part.0, problem).into());
            }
        }
        Err(ReplayError::Difference(damaged).into())
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Whether events follow one another after a position.
fn without_gaps<E: Borrow<StoredEvent>>(after: i64, events: &[E]) -> Result<(), Unreadable> {
    let expected = after.saturating_add(1)..;
    match expected.zip(events).find(|(position, event)| *position != (*event).borrow().position) {
        Some((position, _)) => Err(missing(position)),
        None => Ok(()),
    }
}

fn missing(position: i64) -> Unreadable {
    Unreadable::damaged(position, "it is missing")
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub events: usize,
    /// The last event that was looked at.
    pub position: i64,
}
