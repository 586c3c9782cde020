//! Folds the log into the evidence's tiles: every event's hash into the log's, the end of every license's stream into the
//! stream map. Off the append path, from where the last fold ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyledger_events::Event;
use uuid::Uuid;

use super::{
    EvidenceError,
    tiles::{ENTRY_BYTES, Tiles, Tree},
};
use crate::{
    ledger::replay::check::{Flaw, check_hash, check_position},
    store::{EvidenceSize, Publication, Store, StoredEvent},
};

/// Events folded in one step: what they and the tiles they change take in memory, and how long the step's transaction writes.
const STEP_EVENTS: i64 = 2_000;
/// Tiles changed in one step, of 8 KiB each. Events of so many licenses far apart end a step early.
const STEP_TILES: usize = 1_024;

/// What a license's aggregates are stored as.
const LICENSE: &str = "license";

/// Where a license's stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamEnd {
    pub stream: Uuid,
    pub sequence: i64,
    pub position: i64,
}

impl StreamEnd {
    /// With this event of it.
    pub fn of(event: &StoredEvent) -> Self {
        Self { stream: event.aggregate_id, sequence: event.sequence, position: event.position }
    }

    /// The entry of the stream map: the stream's id, its last sequence and its last position, big endian.
    pub fn entry(&self) -> [u8; ENTRY_BYTES] {
        let mut entry = [0; ENTRY_BYTES];
        let parts = self.stream.as_bytes().iter().copied().chain(self.sequence.to_be_bytes()).chain(self.position.to_be_bytes());
        entry.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
        entry
    }
}

/// One step towards `to`; what is to be written of it. An event that is not what its hash says goes into neither tree: the map is made
/// of what events say, and what it says is signed.
pub async fn step(store: &Arc<dyn Store>, ledger_id: Uuid, from: EvidenceSize, to: i64) -> Result<Publication, EvidenceError> {
    let damaged = |position: i64, flaw: Flaw| EvidenceError::Damaged(format!("event {position} {flaw}"));
    let mut tiles = Tiles::new(Arc::clone(store));
    let mut size = from;
    let mut ends: BTreeMap<i64, StreamEnd> = BTreeMap::new();
    for event in store.events(from.events, STEP_EVENTS.min(to - from.events)).await? {
        check_position(event.position, size.events).map_err(|flaw| damaged(size.events, flaw))?;
        let hash = check_hash(&event, ledger_id).map_err(|flaw| damaged(event.position, flaw))?;
        tiles.put(Tree::Log, number(event.position), &hash).await?;
        size.events += 1;
        if event.aggregate_type == LICENSE {
            ends.insert(license_of(&event)?, StreamEnd::of(&event));
        }
        if ends.len() >= STEP_TILES {
            break;
        }
    }
    if size.events == from.events && to > from.events {
        return Err(EvidenceError::Damaged(format!("event {} is missing; the head says that there are {to} events", from.events)));
    }
    for (license, end) in ends {
        size.licenses = put_end(&mut tiles, size.licenses, license, &end).await?;
    }
    tiles.settle(Tree::Log).await?;
    tiles.settle(Tree::StreamMap).await?;
    Ok(Publication { from, to: size, tiles: tiles.changed(), checkpoint: None })
}

/// Writes where a license's stream ends into a map of so many licenses; of how many it is then. Numbers are drawn under the head lock,
/// by the event that uses them, so none is left out: a new license has the next one.
pub async fn put_end(map: &mut Tiles, licenses: i64, license: i64, end: &StreamEnd) -> Result<i64, EvidenceError> {
    if !(1..=licenses + 1).contains(&license) {
        return Err(EvidenceError::Damaged(format!("event {} is of license {license}, and there are {licenses} before it", end.position)));
    }
    map.put(Tree::StreamMap, number(license - 1), &end.entry()).await?;
    Ok(licenses.max(license))
}

pub fn license_of(event: &StoredEvent) -> Result<i64, EvidenceError> {
    let decoded = Event::decode(&event.aggregate_type, &event.event_type, &event.event_version, &event.payload);
    match decoded {
        Ok(Event::License(decoded)) => Ok(decoded.license()),
        Ok(_) => Err(EvidenceError::Damaged(format!("event {} names no license", event.position))),
        Err(error) => Err(EvidenceError::Damaged(format!("event {} cannot be read: {error}", event.position))),
    }
}

pub fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}
