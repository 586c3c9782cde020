//! Holds a replayed log against its evidence: every tile, every recorded stream map, every checkpoint.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use keyledger_events::{
    Event, Personal, Recorded, aggregate_type,
    stream_map::{StreamMapEvent, StreamMapRecorded},
    subject::SubjectEvent,
};
use uuid::Uuid;

use super::{
    EvidenceError, checkpoints,
    compare::LogTiles,
    fold::{StreamEnd, license_of, number, put_end},
    newest_checkpoint, secrets, size,
    tiles::{Tiles, Tree},
};
use crate::{
    ledger::{
        replay::{self, Auditor, Progress, ReplayError, Verified},
        tree::{Edge, Hash},
    },
    signer::{NoteSigner, NotedCheckpoint},
    store::{Store, StoreError, StoredCheckpoint},
    vault::Vault,
};

/// Events read at a time where part of the log is read again.
const PAGE_EVENTS: i64 = 2_000;
/// Events that are read before a recorded map is checked: nodes that publish at once record out of order, and a map only goes forward.
/// So many are some seconds' at full load; a record that is later still has its map made from the log.
const LATE_EVENTS_MAX: i64 = 100_000;
/// Ends of streams that wait for a record, some 50 bytes each: where a log was not published for long, they go into the map before it.
const ENDS_MAX: usize = 1_000_000;
/// Checkpoints read at a time.
const PAGE_CHECKPOINTS: i64 = 1_000;

struct Audit {
    store: Arc<dyn Store>,
    signer: NoteSigner,
    /// Events that the tiles are of.
    folded: i64,
    tiles: LogTiles,
    /// What the log says the stream map is, and the ends that are not in it yet: a record tells of fewer events than come before it.
    map: Tiles,
    licenses: i64,
    /// Events that the map is of.
    mapped: i64,
    ends: VecDeque<(i64, StreamEnd)>,
    /// Recorded maps that are not checked yet, by size and by position.
    records: BTreeMap<(i64, i64), StreamMapRecorded>,
    /// Subjects whose data did not open, each with the first event that it was in, until an event says that they were forgotten.
    closed: HashMap<Uuid, i64>,
    /// Those to come.
    checkpoints: VecDeque<StoredCheckpoint>,
    last_read: i64,
    /// The newest when this began: a server that runs may add more.
    newest: i64,
    /// Checkpoints that somebody else kept, smallest first.
    held: VecDeque<NotedCheckpoint>,
    /// Checkpoints found right.
    checked: i64,
}

fn difference(text: String) -> ReplayError {
    ReplayError::Difference(text)
}

fn of_fold(error: EvidenceError) -> ReplayError {
    match error {
        EvidenceError::Store(error) => error.into(),
        EvidenceError::Damaged(text) => difference(text),
        error => ReplayError::Interrupted(error.to_string()),
    }
}

/// Holds what an event recorded of the map against the map of so many licenses.
async fn check_map(position: i64, record: &StreamMapRecorded, map: &mut Tiles, licenses: i64) -> Result<(), ReplayError> {
    let root = map.root(Tree::StreamMap, number(record.licenses)).await;
    if record.licenses == licenses && root.map(hex::encode).ok().as_deref() == Some(&record.root) {
        return Ok(());
    }
    Err(difference(format!("event {position} records a stream map that is not that of the first {} events", record.size)))
}

impl Audit {
    /// Before the log is read. `held` are checkpoints that somebody else kept.
    ///
    /// # Errors
    /// When the store fails.
    async fn new(store: Arc<dyn Store>, signer: NoteSigner, mut held: Vec<NotedCheckpoint>) -> Result<Self, StoreError> {
        let folded = size(&store).await?.events;
        let newest = newest_checkpoint(&store).await?.map_or(0, |newest| newest.size);
        held.sort_by_key(|checkpoint| checkpoint.size);
        Ok(Self {
            tiles: LogTiles::new(Arc::clone(&store)),
            store,
            signer,
            folded,
            map: Tiles::in_memory(),
            licenses: 0,
            mapped: 0,
            ends: VecDeque::new(),
            records: BTreeMap::new(),
            closed: HashMap::new(),
            checkpoints: VecDeque::new(),
            last_read: i64::MIN,
            newest,
            held: held.into(),
            checked: 0,
        })
    }

    async fn event(&mut self, recorded: &Recorded, hash: &Hash, edge: &Edge) -> Result<(), ReplayError> {
        let position = recorded.position;
        if position < self.folded {
            self.tiles.push(position, hash).await?;
        }
        if let Some(Personal::Sealed(sealed)) = recorded.event.personal() {
            self.closed.entry(sealed.subject).or_insert(position);
        }
        match &recorded.event {
            Event::Subject(SubjectEvent::SubjectForgotten(forgotten)) => {
                self.closed.remove(&forgotten.subject);
            }
            Event::License(event) => {
                let end = StreamEnd { stream: recorded.aggregate_id, sequence: recorded.sequence, position };
                self.ends.push_back((event.license(), end));
                if self.ends.len() > ENDS_MAX {
                    // A record of fewer events than these has its map made from the log.
                    self.map_to(position - LATE_EVENTS_MAX).await?;
                }
            }
            Event::StreamMap(StreamMapEvent::StreamMapRecorded(record)) if record.size > position => {
                return Err(difference(format!("event {position} records a stream map of {} events, which were not there yet", record.size)));
            }
            Event::StreamMap(StreamMapEvent::StreamMapRecorded(record)) if record.size < self.mapped => {
                let (mut map, licenses) = map_of(&self.store, record.size).await?;
                check_map(position, record, &mut map, licenses).await?;
            }
            Event::StreamMap(StreamMapEvent::StreamMapRecorded(record)) => {
                self.records.insert((record.size, position), record.clone());
            }
            _ => {}
        }
        self.check_maps(position - LATE_EVENTS_MAX).await?;
        self.compare_checkpoint(edge).await
    }

    /// Checks the recorded maps of at most so many events.
    async fn check_maps(&mut self, size_max: i64) -> Result<(), ReplayError> {
        while let Some(first) = self.records.first_entry().filter(|first| first.key().0 <= size_max) {
            let ((size, position), record) = first.remove_entry();
            self.map_to(size).await?;
            check_map(position, &record, &mut self.map, self.licenses).await?;
        }
        Ok(())
    }

    /// Takes the ends of the first `size` events into the map.
    async fn map_to(&mut self, size: i64) -> Result<(), ReplayError> {
        while let Some((license, end)) = self.ends.front().copied().filter(|(_, end)| end.position < size) {
            self.ends.pop_front();
            self.licenses = put_end(&mut self.map, self.licenses, license, &end).await.map_err(of_fold)?;
        }
        self.mapped = self.mapped.max(size);
        self.map.settle(Tree::StreamMap).await?;
        self.map.set_unchanged();
        Ok(())
    }

    async fn compare_checkpoint(&mut self, edge: &Edge) -> Result<(), ReplayError> {
        if self.checkpoints.is_empty() && self.last_read != i64::MAX {
            self.checkpoints = checkpoints(&self.store, self.last_read, PAGE_CHECKPOINTS).await?.into();
            self.last_read = self.checkpoints.back().map_or(i64::MAX, |last| last.size);
        }
        while let Some(held) = self.held.front().filter(|held| number(held.size) <= edge.size()) {
            if number(held.size) == edge.size() && held.root != edge.root() {
                return Err(difference(format!("the first {} events are not those of the checkpoint that was kept", held.size)));
            }
            self.held.pop_front();
            self.checked += 1;
        }
        let Some(checkpoint) = self.checkpoints.front().filter(|checkpoint| number(checkpoint.size) <= edge.size()) else { return Ok(()) };
        let size = checkpoint.size;
        if number(size) < edge.size() || edge.root() != checkpoint.root {
            return Err(difference(format!("the first {size} events are not those that the checkpoint of {size} events was signed over")));
        }
        if !self.signer.is_own_note(&checkpoint.note, &NotedCheckpoint { size, root: checkpoint.root }) {
            return Err(difference(format!("the checkpoint of {size} events is not signed by this ledger")));
        }
        self.checkpoints.pop_front();
        self.checked += 1;
        Ok(())
    }
}

#[async_trait]
impl Auditor for Audit {
    async fn events(&mut self, events: &[Recorded], hashes: &[Hash], edge: &mut Edge) -> Result<(), ReplayError> {
        for (recorded, hash) in events.iter().zip(hashes) {
            edge.push(*hash);
            self.event(recorded, hash, edge).await?;
        }
        Ok(())
    }

    async fn end(&mut self, events: i64) -> Result<(), ReplayError> {
        if self.folded > events {
            return Err(difference(format!("the tiles are of {} events, the head is at {events}", self.folded)));
        }
        let ahead = self.checkpoints.front().map(|checkpoint| checkpoint.size).filter(|size| *size <= self.newest);
        if let Some(ahead) = ahead.or(self.held.front().map(|held| held.size)) {
            return Err(difference(format!("there is a checkpoint of {ahead} events, the head is at {events}: events were cut off")));
        }
        if let Some(position) = self.closed.values().min() {
            let text = "has no key any more, and no event says that its subject was forgotten";
            return Err(difference(format!("the personal data of event {position} {text}")));
        }
        self.check_maps(events).await?;
        self.map_to(self.folded).await?;
        let compared = self.tiles.finish(&self.map).await;
        let stored = size(&self.store).await?;
        if stored.events != self.folded {
            // A server went on meanwhile: what it wrote since is the next verification's.
            return Ok(());
        }
        compared?;
        if stored.licenses != self.licenses {
            return Err(difference(format!("the stream map is of {} licenses, the log has {}", stored.licenses, self.licenses)));
        }
        Ok(())
    }
}

/// The stream map of the first `size` events, made from the log: for a record that came long after another node's, of more events.
async fn map_of(store: &Arc<dyn Store>, size: i64) -> Result<(Tiles, i64), ReplayError> {
    let (mut map, mut licenses, mut next) = (Tiles::in_memory(), 0, 0);
    while next < size {
        let page = store.events(next, PAGE_EVENTS.min(size - next)).await?;
        let Some(last) = page.last() else { break };
        next = last.position + 1;
        for event in page.iter().filter(|event| event.aggregate_type == aggregate_type::LICENSE) {
            let license = license_of(event).map_err(of_fold)?;
            licenses = put_end(&mut map, licenses, license, &StreamEnd::of(event)).await.map_err(of_fold)?;
        }
    }
    map.settle(Tree::StreamMap).await?;
    Ok((map, licenses))
}

/// Verifies a ledger together with its evidence: what was found whole, and how many checkpoints.
///
/// # Errors
/// With the first thing that is wrong.
pub async fn verify(
    store: &Arc<dyn Store>,
    vault: &Arc<Vault>,
    held: Vec<NotedCheckpoint>,
    progress: Progress<'_>,
) -> Result<(Verified, i64), ReplayError> {
    let signer = NoteSigner::new(vault, "").map_err(|error| ReplayError::Interrupted(error.to_string()))?;
    let mut audit = Audit::new(Arc::clone(store), signer, held).await?;
    let verified = replay::verify(store, vault, &mut audit, progress).await?;
    secrets::check(store, vault).await?;
    Ok((verified, audit.checked))
}

#[cfg(test)]
mod tests {
    use keyledger_events::product::ProductFields;
    use keyledger_events::{license::Status, values::LicenseKey};

    use super::*;
    use crate::{
        clock::Clock,
        evidence::Publisher,
        ledger::{Command, Ledger, Options, Origin, OwnerInput, Request},
        store::sqlite::SqliteStore,
        vault::MasterKey,
    };

    /// What a record is held against that comes so late that the map has gone on.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_map_of_any_size_is_made_from_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.path().join("ledger.db"), Default::default()).unwrap());
        let ledger = Ledger::open(Arc::clone(&store), &MasterKey::random().unwrap(), Options::default()).await.unwrap();
        let run = async |command| ledger.execute(Request { command, origin: Origin::operator(), idempotency: None }).await.unwrap();
        let fields = ProductFields { name: "Doors".into(), description: "x".into(), ..ProductFields::default() };
        run(Command::CreateProduct { fields, key_pair: None }).await;
        let signer = Arc::new(NoteSigner::new(ledger.vault(), "test.example/ledger").unwrap());
        let publisher = Publisher::new(ledger.clone(), Clock::default(), signer);
        for number in 0..3 {
            let keys = vec![LicenseKey::parse(&format!("KEY-{number}")).unwrap()];
            let (owner, status) = (OwnerInput::default(), Status::Assigned);
            let licenses = Command::CreateLicenses { keys, product: 1, owner, activation_limit: 0, validity_days: 0, status, assigned_at: None };
            run(licenses).await;
            publisher.publish().await.unwrap();
        }
        let head = store.head().await.unwrap().next_position;
        let mut records = Vec::new();
        for recorded in replay::recorded(&store, ledger.vault(), 0, head).await.unwrap() {
            if let Event::StreamMap(StreamMapEvent::StreamMapRecorded(record)) = recorded.event {
                records.push((recorded.position, record));
            }
        }
        assert_eq!(records.len(), 3);
        for (position, record) in &records {
            let (mut map, licenses) = map_of(&store, record.size).await.unwrap();
            check_map(*position, record, &mut map, licenses).await.unwrap();
            let wrong = StreamMapRecorded { root: "00".repeat(32), ..record.clone() };
            check_map(*position, &wrong, &mut map, licenses).await.unwrap_err();
        }
    }
}
