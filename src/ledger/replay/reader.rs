//! Reads a range of the log ahead of whoever folds it: checks each event's place and hash, decodes it, opens what is
//! personal. A few chunks at most are under way, so memory stays bounded.

use std::collections::{HashMap, hash_map::Entry};
use std::sync::Arc;

use futures::future::join;
use keyledger_events::{Event, Personal, PersonalData, Recorded, Sealed, Timestamp};
use tokio::{sync::mpsc, task::JoinHandle};
use uuid::Uuid;

use super::{
    CHUNK_EVENTS, ReplayError,
    check::{check_hash, check_position, check_time},
};
use crate::{
    ledger::tree::Hash,
    store::{Snapshot, Store, StoreError, StoredEvent, StoredSubject},
    vault::{SubjectKey, Vault},
};

/// Subject keys kept opened, a hundred bytes each.
const SUBJECTS_MAX: usize = 200_000;
/// Chunks read ahead.
const CHUNKS_AHEAD: usize = 1;

/// Where events come from.
pub(in crate::ledger) enum Source {
    Store(Arc<dyn Store>),
    Snapshot(Box<dyn Snapshot>),
}

impl Source {
    async fn events(&mut self, from: i64, limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
        match self {
            Self::Store(store) => store.events(from, limit).await,
            Self::Snapshot(snapshot) => snapshot.events(from, limit).await,
        }
    }

    async fn subjects(&mut self, ids: &[Uuid]) -> Result<Vec<StoredSubject>, StoreError> {
        match self {
            Self::Store(store) => store.subjects(ids).await,
            Self::Snapshot(snapshot) => snapshot.subjects(ids).await,
        }
    }
}

pub(super) struct Chunk {
    pub events: Vec<Recorded>,
    pub hashes: Vec<Hash>,
}

pub(super) struct Reader {
    chunks: mpsc::Receiver<Result<Chunk, ReplayError>>,
    task: JoinHandle<Source>,
}

impl Reader {
    /// Starts reading the events of `from..to`.
    pub(super) fn start(source: Source, vault: Arc<Vault>, from: i64, to: i64, ledger_id: Uuid) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        let task = tokio::spawn(read(source, vault, from, to, ledger_id, sender));
        Self { chunks, task }
    }

    /// The next events, in order; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Chunk>, ReplayError> {
        self.chunks.recv().await.transpose()
    }

    /// Gives the source back when all is read.
    pub(super) async fn finish(self) -> Result<Source, ReplayError> {
        self.task.await.map_err(|error| ReplayError::Interrupted(error.to_string()))
    }
}

async fn read(
    mut source: Source,
    vault: Arc<Vault>,
    from: i64,
    to: i64,
    ledger_id: Uuid,
    sender: mpsc::Sender<Result<Chunk, ReplayError>>,
) -> Source {
    let mut opener = Opener::new(vault);
    let mut log = Log { next: from, to };
    let mut last = Timestamp(0);
    let mut stored = log.chunk(&mut source).await;
    loop {
        // While one chunk is decoded, the next is fetched.
        let (result, following) = match stored {
            Ok(stored) if stored.is_empty() => break,
            Ok(stored) => {
                let decoding = in_parallel(stored, move |stored| decode(&stored, ledger_id));
                let (decoded, following) = join(decoding, log.chunk(&mut source)).await;
                match decoded.and_then(|decoded| in_time(decoded, &mut last)) {
                    Ok(decoded) => (opener.open(&mut source, decoded).await, following),
                    Err(error) => (Err(error), following),
                }
            }
            Err(error) => (Err(error), Ok(Vec::new())),
        };
        let failed = result.is_err();
        if sender.send(result).await.is_err() || failed {
            break;
        }
        stored = following;
    }
    source
}

/// What is to be read yet.
struct Log {
    next: i64,
    to: i64,
}

impl Log {
    /// The next events, in order; none after the last.
    async fn chunk(&mut self, source: &mut Source) -> Result<Vec<StoredEvent>, ReplayError> {
        let (from, to) = (self.next, self.to);
        if from >= to {
            return Ok(Vec::new());
        }
        let stored = source.events(from, CHUNK_EVENTS.min(to - from)).await?;
        let Some(last) = stored.last() else {
            return Err(ReplayError::Difference(format!("event {from} is missing; the head says that there are {to} events")));
        };
        let next = last.position.saturating_add(1);
        (from..).zip(&stored).try_for_each(|(expected, event)| check_position(event.position, expected).map_err(|flaw| flaw.at(expected)))?;
        self.next = next;
        Ok(stored)
    }
}

/// Opens what is personal, with the keys of the data subjects: each is asked for once.
pub(in crate::ledger) struct Opener {
    vault: Arc<Vault>,
    /// Opened keys; `None` for subjects that were forgotten.
    subjects: HashMap<Uuid, Option<SubjectKey>>,
}

impl Opener {
    pub(in crate::ledger) fn new(vault: Arc<Vault>) -> Self {
        Self { vault, subjects: HashMap::new() }
    }

    /// Whether the key of a subject that was asked for is still there.
    pub(in crate::ledger) fn has_key(&self, subject: Uuid) -> bool {
        self.subjects.get(&subject).is_some_and(Option::is_some)
    }

    /// Opens what an event has sealed for a subject that was asked for; `None` where it was forgotten.
    pub(in crate::ledger) fn unseal(&self, position: i64, event_id: Uuid, sealed: &Sealed) -> Result<Option<PersonalData>, ReplayError> {
        unseal(&self.vault, &self.subjects, position, event_id, sealed)
    }

    /// Opens one event whose subject was asked for; one that was forgotten stays sealed.
    pub(in crate::ledger) fn open_one(&self, recorded: Recorded) -> Result<Recorded, ReplayError> {
        open(&self.vault, &self.subjects, recorded)
    }

    async fn open(&mut self, source: &mut Source, decoded: Vec<(Recorded, Hash)>) -> Result<Chunk, ReplayError> {
        self.learn(source, decoded.iter().filter_map(|(recorded, _)| sealed_for(recorded)).collect()).await?;
        let vault = Arc::clone(&self.vault);
        let subjects = Arc::new(std::mem::take(&mut self.subjects));
        let known = Arc::clone(&subjects);
        let opened = in_parallel(decoded, move |(recorded, hash)| open(&vault, &known, recorded).map(|recorded| (recorded, hash))).await?;
        self.subjects = Arc::try_unwrap(subjects).unwrap_or_default();
        let (events, hashes) = opened.into_iter().unzip();
        Ok(Chunk { events, hashes })
    }

    /// Fetches the keys of the subjects that a chunk names and that aren't known yet.
    pub(in crate::ledger) async fn learn(&mut self, source: &mut Source, subjects: Vec<Uuid>) -> Result<(), ReplayError> {
        if self.subjects.len() > SUBJECTS_MAX {
            self.subjects.clear();
        }
        let mut missing = Vec::new();
        for subject in subjects {
            if let Entry::Vacant(entry) = self.subjects.entry(subject) {
                entry.insert(None);
                missing.push(subject);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        for subject in source.subjects(&missing).await? {
            let key = self
                .vault
                .open_subject(subject.kind, subject.id, &subject.sealed_key)
                .map_err(|_| ReplayError::Difference(format!("the key of data subject {} does not open", subject.id)))?;
            self.subjects.insert(subject.id, Some(key));
        }
        Ok(())
    }
}

/// The subject whose key opens an event.
pub(in crate::ledger) fn sealed_for(recorded: &Recorded) -> Option<Uuid> {
    match recorded.event.personal()? {
        Personal::Sealed(sealed) => Some(sealed.subject),
        Personal::None | Personal::Open(_) => None,
    }
}

/// Applies a function to all values on two threads, keeping their order; the first error in order wins.
async fn in_parallel<T, U>(mut values: Vec<T>, apply: impl Fn(T) -> Result<U, ReplayError> + Clone + Send + 'static) -> Result<Vec<U>, ReplayError>
where
    T: Send + 'static,
    U: Send + 'static,
{
    let second = values.split_off(values.len() / 2);
    let work = |values: Vec<T>| {
        let apply = apply.clone();
        tokio::task::spawn_blocking(move || values.into_iter().map(apply).collect::<Result<Vec<U>, _>>())
    };
    let (first, second) = (work(values), work(second));
    let interrupted = |error: tokio::task::JoinError| ReplayError::Interrupted(error.to_string());
    let (first, second) = (first.await.map_err(interrupted)?, second.await.map_err(interrupted)?);
    let mut results = first?;
    results.extend(second?);
    Ok(results)
}

/// Checks that no event is from before the one before it: after the hashes, so that the event whose time was changed is named, not the
/// next.
fn in_time(decoded: Vec<(Recorded, Hash)>, last: &mut Timestamp) -> Result<Vec<(Recorded, Hash)>, ReplayError> {
    for (recorded, _) in &decoded {
        check_time(recorded.recorded_at, *last).map_err(|flaw| flaw.at(recorded.position))?;
        *last = recorded.recorded_at;
    }
    Ok(decoded)
}

/// Checks an event against the hash it was recorded with, and reads it.
pub(in crate::ledger) fn decode(stored: &StoredEvent, ledger_id: Uuid) -> Result<(Recorded, Hash), ReplayError> {
    let position = stored.position;
    let hash = check_hash(stored, ledger_id).map_err(|flaw| flaw.at(position))?;
    let event = Event::decode(&stored.aggregate_type, &stored.event_type, &stored.event_version, &stored.payload)
        .map_err(|source| ReplayError::Decode { position, source })?;
    let recorded = Recorded {
        position,
        aggregate_id: stored.aggregate_id,
        sequence: stored.sequence,
        event_id: stored.event_id,
        recorded_at: stored.recorded_at,
        event,
    };
    Ok((recorded, hash))
}

fn open(vault: &Vault, subjects: &HashMap<Uuid, Option<SubjectKey>>, mut recorded: Recorded) -> Result<Recorded, ReplayError> {
    let (position, event_id) = (recorded.position, recorded.event_id);
    if let Some(personal) = recorded.event.personal_mut()
        && let Personal::Sealed(sealed) = &*personal
        && let Some(data) = unseal(vault, subjects, position, event_id, sealed)?
    {
        *personal = Personal::Open(data);
    }
    Ok(recorded)
}

fn unseal(
    vault: &Vault,
    subjects: &HashMap<Uuid, Option<SubjectKey>>,
    position: i64,
    event_id: Uuid,
    sealed: &Sealed,
) -> Result<Option<PersonalData>, ReplayError> {
    let Some(Some(key)) = subjects.get(&sealed.subject) else { return Ok(None) };
    if key.kind != sealed.of {
        return Err(ReplayError::Difference(format!("data subject {} is not of the kind that event {position} says", sealed.subject)));
    }
    let data = vault.unseal(key, event_id, sealed);
    data.map(Some).map_err(|_| ReplayError::Difference(format!("the personal data of event {position} does not open")))
}
