//! One stream read from the log, event by event: each checked against its hash, its place in the stream and the time
//! before it, and opened where that was asked for. Chunks are small, so memory stays bounded however long the stream is.

use std::collections::VecDeque;
use std::sync::Arc;

use keyledger_events::{Event, Metadata, Personal, Recorded, Timestamp, aggregate_type};
use serde_json::{Map, Value};
use tokio::{runtime::Handle, task::spawn_blocking};
use uuid::Uuid;

use super::super::{
    Ledger,
    replay::{
        ReplayError,
        reader::{Opener, Source, decode, sealed_for},
    },
};
use crate::store::{Store, StoreError, StoredEvent};

/// Events read at first: most streams end before.
const FIRST_CHUNK_EVENTS: i64 = 64;
/// Events read at a time from there on: a megabyte or less, unless their texts are as long as they can be.
const CHUNK_EVENTS: i64 = 500;

/// Which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream {
    pub aggregate_type: &'static str,
    pub id: Uuid,
}

impl Stream {
    #[must_use]
    pub fn license(id: Uuid) -> Self {
        Self { aggregate_type: aggregate_type::LICENSE, id }
    }

    #[must_use]
    pub fn product(id: Uuid) -> Self {
        Self { aggregate_type: aggregate_type::PRODUCT, id }
    }

    #[must_use]
    pub fn contract(id: Uuid) -> Self {
        Self { aggregate_type: aggregate_type::CONTRACT, id }
    }

    #[must_use]
    pub fn api_key(id: Uuid) -> Self {
        Self { aggregate_type: aggregate_type::API_KEY, id }
    }
}

/// What became of an event's personal data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secrecy {
    /// It has none.
    #[default]
    None,
    /// It was opened.
    Open,
    /// It can be opened, and was not.
    Sealed,
    /// Its key is destroyed: nobody can open it any more.
    Erased,
}

/// An event with what surrounds it.
#[derive(Clone, Debug)]
pub struct Told {
    pub recorded: Recorded,
    pub metadata: Metadata,
    pub secrecy: Secrecy,
    /// The stored payload, in the version that it was stored in.
    payload: String,
}

impl Told {
    /// The payload's facts, apart from what is personal.
    #[must_use]
    pub fn facts(&self) -> Map<String, Value> {
        let payload: Value = serde_json::from_str(&self.payload).unwrap_or_default();
        let Some(Value::Object(mut facts)) = payload.get(self.recorded.event.event_type()).cloned() else { return Map::new() };
        facts.remove("personal");
        facts
    }
}

/// Which events are opened.
pub(super) type Opens = fn(&Event) -> bool;

pub(super) const NOTHING: Opens = |_| false;
pub(super) const EVERYTHING: Opens = |_| true;

/// Reads events, and checks and decodes them, on a thread where it holds up nobody: the embedded store works on its caller's.
pub(super) async fn decoded(
    ledger_id: Uuid,
    read: impl Future<Output = Result<Vec<StoredEvent>, StoreError>> + Send + 'static,
) -> Result<Vec<(Recorded, StoredEvent)>, ReplayError> {
    let runtime = Handle::current();
    let decoded = spawn_blocking(move || {
        let stored = runtime.block_on(read)?;
        stored.into_iter().map(|stored| Ok((decode(&stored, ledger_id)?.0, stored))).collect()
    });
    decoded.await.map_err(|error| ReplayError::Interrupted(error.to_string()))?
}

/// Reads a stream ahead, in order.
pub(super) struct StreamReader {
    store: Arc<dyn Store>,
    ledger_id: Uuid,
    stream: Stream,
    /// The last position that counts.
    up_to: i64,
    opens: Opens,
    opener: Opener,
    /// The sequence that comes next.
    next: i64,
    limit: i64,
    /// Position and time of the last event read.
    last: (i64, Timestamp),
    read: VecDeque<Told>,
    is_at_end: bool,
}

impl StreamReader {
    /// Reads from a sequence on, no further than a position.
    pub(super) fn new(ledger: &Ledger, stream: Stream, from: i64, up_to: i64, opens: Opens) -> Self {
        Self {
            store: Arc::clone(&ledger.store),
            ledger_id: ledger.vault.ledger_id(),
            stream,
            up_to,
            opens,
            opener: Opener::new(Arc::clone(&ledger.vault)),
            next: from,
            limit: FIRST_CHUNK_EVENTS,
            last: (-1, Timestamp(0)),
            read: VecDeque::new(),
            is_at_end: false,
        }
    }

    /// The next event; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Told>, ReplayError> {
        self.fill().await?;
        Ok(self.read.pop_front())
    }

    /// Where the next event is in the log.
    pub(super) async fn next_position(&mut self) -> Result<Option<i64>, ReplayError> {
        self.fill().await?;
        Ok(self.read.front().map(|told| told.recorded.position))
    }

    async fn fill(&mut self) -> Result<(), ReplayError> {
        while self.read.is_empty() && !self.is_at_end {
            self.chunk().await?;
        }
        Ok(())
    }

    async fn chunk(&mut self) -> Result<(), ReplayError> {
        let (store, stream, from, limit) = (Arc::clone(&self.store), self.stream, self.next, self.limit);
        let decoded = decoded(self.ledger_id, async move { store.stream(stream.aggregate_type, stream.id, from, limit).await }).await?;
        self.is_at_end = i64::try_from(decoded.len()).is_ok_and(|count| count < limit);
        self.limit = CHUNK_EVENTS;
        let subjects = decoded.iter().filter_map(|(recorded, _)| sealed_for(recorded)).collect();
        self.opener.learn(&mut Source::Store(Arc::clone(&self.store)), subjects).await?;
        for (recorded, stored) in decoded {
            self.check(&recorded)?;
            if recorded.position > self.up_to {
                self.is_at_end = true;
                break;
            }
            self.next = recorded.sequence + 1;
            self.last = (recorded.position, recorded.recorded_at);
            let told = self.told(recorded, stored)?;
            self.read.push_back(told);
        }
        Ok(())
    }

    fn check(&self, recorded: &Recorded) -> Result<(), ReplayError> {
        let Stream { aggregate_type, id } = self.stream;
        let (position, sequence, expected) = (recorded.position, recorded.sequence, self.next);
        if sequence != expected {
            return Err(ReplayError::Difference(format!(
                "event {position} is number {sequence} of {aggregate_type} {id}, whose number {expected} is missing"
            )));
        }
        if position <= self.last.0 || recorded.recorded_at < self.last.1 {
            return Err(ReplayError::Difference(format!("event {position} of {aggregate_type} {id} stands before the one before it")));
        }
        Ok(())
    }

    fn told(&self, recorded: Recorded, stored: StoredEvent) -> Result<Told, ReplayError> {
        let position = recorded.position;
        let metadata = serde_json::from_str(&stored.metadata)
            .map_err(|_| ReplayError::Difference(format!("the metadata of event {position} is not what metadata is")))?;
        let subject = sealed_for(&recorded);
        let recorded = if (self.opens)(&recorded.event) { self.opener.open_one(recorded)? } else { recorded };
        let secrecy = match recorded.event.personal() {
            None | Some(Personal::None) => Secrecy::None,
            Some(Personal::Open(_)) => Secrecy::Open,
            Some(Personal::Sealed(_)) if subject.is_some_and(|subject| self.opener.has_key(subject)) => Secrecy::Sealed,
            Some(Personal::Sealed(_)) => Secrecy::Erased,
        };
        Ok(Told { recorded, metadata, secrecy, payload: stored.payload })
    }
}
