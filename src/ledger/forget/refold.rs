//! Rows folded anew from the log without one data subject's key: what they are once it is forgotten, and what a rebuild will make
//! of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use keyledger_events::{Event, Personal, Recorded, Timestamp};
use keyledger_projections::{ReadError, Row, RowKey, Value, Values, fold, touches};
use uuid::Uuid;

use super::Stopped;
use crate::{
    ledger::workspace::internal,
    store::{Store, StoreError},
    vault::{SubjectKey, Vault},
};

/// Events looked through with one query, so that none runs long.
const SEARCHED_EVENTS: i64 = 20_000;
/// Events of a stream read at a time.
const STREAM_EVENTS: i64 = 1_000;

/// The sealed objects that name a subject. A log has no index of them: forgetting is rare, and appending must not pay for it.
const NAMING: &str = "SELECT aggregate_type, aggregate_id, position, sequence, event_type, event_version, CAST(payload AS TEXT) FROM events \
                      WHERE CAST(payload AS TEXT) LIKE $1 AND position >= $2 AND position < $3 ORDER BY position";
const MOVED: &str = "SELECT DISTINCT aggregate_type, aggregate_id FROM events WHERE position >= $1 AND position < $2";
const STREAM: &str = "SELECT position, sequence, event_id, event_type, event_version, recorded_at, CAST(payload AS TEXT) FROM events \
                      WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > $3 ORDER BY sequence LIMIT $4";

/// A stream's aggregate type and id.
type StreamName = (String, Uuid);

pub(super) struct Refold {
    source: Source,
    subject: Uuid,
    /// The events before this position were looked through.
    read_to: i64,
    /// How many sealed objects name the subject.
    sealed: i64,
    keys: HashSet<RowKey>,
    /// A stream comes again where rows of it turn out to be meant after others.
    folds: Vec<StreamFold>,
}

/// Rows of a stream that turn out to be meant.
#[derive(Default)]
struct NewRows {
    keys: BTreeSet<RowKey>,
    /// The sequence of the last event that was new for one: so many must be folded.
    sequence: i64,
}

/// Some rows of a stream, folded from its beginning.
struct StreamFold {
    stream: StreamName,
    sequence: i64,
    rows: BTreeMap<RowKey, Option<Row>>,
}

/// Where events come from, and what opens them.
struct Source {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    /// `None` for subjects that are forgotten, or are about to be.
    keys: HashMap<Uuid, Option<SubjectKey>>,
}

impl Refold {
    pub(super) fn new(store: &Arc<dyn Store>, vault: &Arc<Vault>, subject: Uuid) -> Self {
        let source = Source { store: Arc::clone(store), vault: Arc::clone(vault), keys: HashMap::from([(subject, None)]) };
        Self { source, subject, read_to: 0, sealed: 0, keys: HashSet::new(), folds: Vec::new() }
    }

    pub(super) fn read_to(&self) -> i64 {
        self.read_to
    }

    pub(super) fn sealed(&self) -> i64 {
        self.sealed
    }

    /// The rows that hold, or held, something of the subject's.
    pub(super) fn keys(&self) -> impl ExactSizeIterator<Item = RowKey> {
        self.keys.iter().copied()
    }

    pub(super) fn into_rows(self) -> impl Iterator<Item = (RowKey, Option<Row>)> {
        self.folds.into_iter().flat_map(|fold| fold.rows)
    }

    /// Takes in the events before a position. Streams are read to their present end: only under the lock that is this position.
    /// Those that were not folded before may have this many events.
    pub(super) async fn advance(&mut self, to: i64, events_max: i64) -> Result<(), Stopped> {
        let from = self.read_to;
        if from > 0 {
            let moved = self.moved(from, to).await?;
            let is_stale = |(kind, id): &StreamName| kind == "subject" && self.source.keys.get(id).is_some_and(Option::is_some);
            if moved.iter().any(is_stale) {
                return Err(Stopped::Stale);
            }
            for fold in self.folds.iter_mut().filter(|fold| moved.contains(&fold.stream)) {
                fold.advance(&mut self.source).await?;
            }
        }
        let found = self.search(from, to).await?;
        if found.values().map(|new| new.sequence).sum::<i64>() > events_max {
            return Err(Stopped::Stale);
        }
        for (stream, NewRows { keys, .. }) in found {
            let mut fold = StreamFold { stream, sequence: 0, rows: keys.into_iter().map(|key| (key, None)).collect() };
            fold.advance(&mut self.source).await?;
            self.folds.push(fold);
        }
        self.read_to = to;
        Ok(())
    }

    /// The streams that have events in `from..to`.
    async fn moved(&self, from: i64, to: i64) -> Result<HashSet<StreamName>, Stopped> {
        let mut moved = HashSet::new();
        for from in (from..to).step_by(SEARCHED_EVENTS as usize) {
            for row in self.source.store.query(MOVED, &[from.into(), (from + SEARCHED_EVENTS).min(to).into()]).await? {
                moved.insert(stream_name(&mut Values::from(row)).map_err(unreadable)?);
            }
        }
        Ok(moved)
    }

    /// Looks for sealed objects of the subject in `from..to`; the rows that they are new for, by stream.
    async fn search(&mut self, from: i64, to: i64) -> Result<BTreeMap<StreamName, NewRows>, Stopped> {
        let naming = format!("%\"subject\":\"{}\"%", self.subject.hyphenated());
        let mut streams: BTreeMap<StreamName, NewRows> = BTreeMap::new();
        for from in (from..to).step_by(SEARCHED_EVENTS as usize) {
            let parameters = [naming.as_str().into(), from.into(), (from + SEARCHED_EVENTS).min(to).into()];
            for row in self.source.store.query(NAMING, &parameters).await? {
                let mut values = Values::from(row);
                let stream = stream_name(&mut values).map_err(unreadable)?;
                let (position, sequence) = (values.int().map_err(unreadable)?, values.int().map_err(unreadable)?);
                let event = event(&stream.0, position, &mut values)?;
                let is_named = matches!(event.personal(), Some(Personal::Sealed(sealed)) if sealed.subject == self.subject);
                if !is_named {
                    // The words stand in a text of the event.
                    continue;
                }
                self.sealed += 1;
                for key in touches(&event).into_iter().filter(|key| key.0.holds_personal_data()) {
                    if self.keys.insert(key) {
                        let new = streams.entry(stream.clone()).or_default();
                        new.sequence = sequence;
                        new.keys.insert(key);
                    }
                }
            }
        }
        Ok(streams)
    }
}

impl StreamFold {
    /// Folds what the stream has beyond what was folded.
    async fn advance(&mut self, source: &mut Source) -> Result<(), Stopped> {
        loop {
            let (kind, id) = &self.stream;
            let parameters = [kind.as_str().into(), (*id).into(), self.sequence.into(), STREAM_EVENTS.into()];
            let rows = source.store.query(STREAM, &parameters).await?;
            let is_last = (rows.len() as i64) < STREAM_EVENTS;
            let mut events = Vec::with_capacity(rows.len());
            for row in rows {
                let recorded = recorded(&self.stream, row)?;
                if recorded.sequence != self.sequence + 1 {
                    return Err(internal(format_args!("event {} is not the next of its stream", recorded.position)).into());
                }
                self.sequence = recorded.sequence;
                let keys: Vec<RowKey> = touches(&recorded.event).into_iter().filter(|key| self.rows.contains_key(key)).collect();
                if !keys.is_empty() {
                    events.push((recorded, keys));
                }
            }
            source.learn(events.iter().map(|(recorded, _)| recorded)).await?;
            for (mut recorded, keys) in events {
                source.open(&mut recorded)?;
                for key in keys {
                    let row = self.rows.remove(&key).flatten();
                    self.rows.insert(key, fold(key, row, &recorded).map_err(internal)?);
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

impl Source {
    /// Fetches the keys of the subjects that events name and that aren't known yet.
    async fn learn(&mut self, events: impl Iterator<Item = &Recorded>) -> Result<(), Stopped> {
        let mut missing = Vec::new();
        for recorded in events {
            if let Some(Personal::Sealed(sealed)) = recorded.event.personal()
                && !self.keys.contains_key(&sealed.subject)
            {
                self.keys.insert(sealed.subject, None);
                missing.push(sealed.subject);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        for subject in self.store.subjects(&missing).await? {
            let key = self.vault.open_subject(subject.kind, subject.id, &subject.sealed_key).map_err(internal)?;
            self.keys.insert(subject.id, Some(key));
        }
        Ok(())
    }

    fn open(&self, recorded: &mut Recorded) -> Result<(), Stopped> {
        let event_id = recorded.event_id;
        let Some(personal) = recorded.event.personal_mut() else { return Ok(()) };
        if let Personal::Sealed(sealed) = &*personal
            && let Some(Some(key)) = self.keys.get(&sealed.subject)
        {
            let data = self.vault.unseal(key, event_id, sealed);
            *personal = Personal::Open(data.map_err(|_| internal(format_args!("the personal data of event {} does not open", recorded.position)))?);
        }
        Ok(())
    }
}

fn unreadable(source: ReadError) -> Stopped {
    StoreError::Read { table: "events", source }.into()
}

/// SQLite keeps a stream's id as bytes, PostgreSQL, like postgres-es, as text.
fn stream_name(values: &mut Values) -> Result<StreamName, ReadError> {
    let kind = values.text()?;
    Ok((kind, values.uuid_or_text()?))
}

fn event(aggregate_type: &str, position: i64, values: &mut Values) -> Result<Event, Stopped> {
    let mut text = || values.text().map_err(unreadable);
    let (event_type, event_version, payload) = (text()?, text()?, text()?);
    let event = Event::decode(aggregate_type, &event_type, &event_version, &payload);
    event.map_err(|error| internal(format_args!("event {position} cannot be read: {error}")).into())
}

fn recorded((aggregate_type, aggregate_id): &StreamName, row: Vec<Value>) -> Result<Recorded, Stopped> {
    let mut values = Values::from(row);
    let values = &mut values;
    let (position, sequence) = (values.int().map_err(unreadable)?, values.int().map_err(unreadable)?);
    let event_id = values.uuid().map_err(unreadable)?;
    let mut text = || values.text().map_err(unreadable);
    let (event_type, event_version) = (text()?, text()?);
    let recorded_at: Timestamp = values.time().map_err(unreadable)?;
    let payload = values.text().map_err(unreadable)?;
    let event = Event::decode(aggregate_type, &event_type, &event_version, &payload);
    let event = event.map_err(|error| internal(format_args!("event {position} cannot be read: {error}")))?;
    Ok(Recorded { position, aggregate_id: *aggregate_id, sequence, event_id, recorded_at, event })
}
