//! Where the ledger is kept: one small trait, two backends. A backend knows tables, transactions and types; it knows
//! nothing of commands, HTTP or keys.

pub mod postgres;
pub mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use keyledger_events::{Leaf, SubjectKind, Timestamp, block::BlockKind};
use keyledger_projections::{ReadError, Row, RowKey, Table, Value};
use uuid::Uuid;

/// The end of the log, moved by every batch in its transaction. Whoever holds its lock is the only writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub ledger_id: Uuid,
    /// The position that the next event gets, so also the number of events.
    pub next_position: i64,
    /// When the last event was recorded; time never runs backwards along the log.
    pub recorded_at: Timestamp,
    /// The right edge of the Merkle tree over all events: 32-byte hashes of the perfect subtrees, largest first.
    pub tree_edge: Vec<u8>,
    /// The versions of the projections that the rows are of.
    pub projections: String,
}

/// An event as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    pub position: i64,
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    pub sequence: i64,
    pub event_id: Uuid,
    pub event_type: String,
    pub event_version: String,
    pub recorded_at: Timestamp,
    /// Canonical JSON, byte for byte as hashed.
    pub payload: String,
    /// Canonical JSON, byte for byte as hashed.
    pub metadata: String,
    /// RFC 6962 leaf hash.
    pub leaf_hash: [u8; 32],
}

/// How much is read at a time: so many events, or fewer, where those have so many bytes together.
#[derive(Clone, Copy, Debug)]
pub struct Portion {
    pub events: i64,
    /// The event that reaches it is the last one.
    pub bytes: usize,
}

impl Portion {
    pub const ONE: Self = Self::however_long(1);

    #[must_use]
    pub const fn however_long(events: i64) -> Self {
        Self { events, bytes: usize::MAX }
    }

    #[must_use]
    pub fn at_most(self, events: i64) -> Self {
        Self { events: self.events.min(events), ..self }
    }
}

impl StoredEvent {
    /// What it takes in memory, counted by what can be long.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.payload.len() + self.metadata.len()
    }

    /// What is hashed of it.
    #[must_use]
    pub fn leaf(&self, ledger_id: Uuid) -> Leaf<'_> {
        Leaf {
            ledger_id,
            position: self.position,
            aggregate_type: &self.aggregate_type,
            aggregate_id: self.aggregate_id,
            sequence: self.sequence,
            event_id: self.event_id,
            event_type: &self.event_type,
            event_version: &self.event_version,
            recorded_at: self.recorded_at,
            payload: &self.payload,
            metadata: &self.metadata,
        }
    }
}

/// The key of one data subject. Destroying the row is forgetting the subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSubject {
    pub kind: SubjectKind,
    /// The owner's, license's, API key's or block entry's number.
    pub number: i64,
    pub id: Uuid,
    /// Sealed by the master key.
    pub sealed_key: Vec<u8>,
    /// Keyed hash of the e-mail address: owners only.
    pub email_index: Option<Vec<u8>>,
}

/// The record of one request that carried an `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRequest {
    /// Keyed hash of API key, path and idempotency key.
    pub id: Vec<u8>,
    /// Keyed hash of the parameters.
    pub parameters: Vec<u8>,
    /// What the command came to, as JSON.
    pub outcome: String,
    pub expires_at: Timestamp,
}

/// The keyed hash under which an API key's value is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeySecret {
    pub hmac: Vec<u8>,
    pub api_key: i64,
}

/// A private key, sealed by the master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPairSecret {
    pub key_pair: i64,
    pub sealed: Vec<u8>,
}

/// What a batch wants to see under the lock. Everything is looked up by an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    pub rows: Vec<RowKey>,
    /// Licenses that are not deleted, by key string.
    pub licenses: Vec<String>,
    /// License number and identifier.
    pub activations: Vec<(i64, String)>,
    /// License number and meta key.
    pub license_meta: Vec<(i64, String)>,
    /// Product number and meta key.
    pub product_meta: Vec<(i64, String)>,
    pub blocks: Vec<(BlockKind, String)>,
    /// Products that are not deleted, by slug.
    pub slugs: Vec<String>,
    /// Product number and numeric version, of releases that are not withdrawn.
    pub releases: Vec<(i64, i64)>,
    /// Product number and version as people read it, of releases that are not withdrawn.
    pub release_versions: Vec<(i64, String)>,
    pub subjects: Vec<(SubjectKind, i64)>,
    pub owners_by_email: Vec<Vec<u8>>,
    pub requests: Vec<Vec<u8>>,
    /// Product number, and how many of its available licenses, in ascending number.
    pub available: Vec<(i64, i64)>,
    /// Products whose active generators are wanted, the first [`GENERATORS_MAX`] of each.
    pub generators: Vec<i64>,
    /// Contracts that are not deleted, by key.
    pub contracts: Vec<String>,
    /// Contract number, and how many of its licenses, in ascending number.
    pub contract_licenses: Vec<(i64, i64)>,
}

/// Active generators of one product that a batch looks at: the first is used, and a batch hardly changes more than a few.
pub const GENERATORS_MAX: i64 = 16;

/// How events of one stream are found: by the index that keeps its sequences unique.
pub const STREAM: &str = "aggregate_type = $1 AND aggregate_id = $2 AND sequence >= $3 ORDER BY sequence LIMIT $4";
/// How those of all streams of a type are.
pub const STREAMS: &str = "aggregate_type = $1 AND (aggregate_id, sequence) > ($2, $3) ORDER BY aggregate_id, sequence LIMIT $4";

impl Lookups {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What was found of it, in no order.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub rows: Vec<Row>,
    pub subjects: Vec<StoredSubject>,
    pub requests: Vec<StoredRequest>,
}

/// All that one batch writes.
#[derive(Clone, Debug)]
pub struct WriteSet {
    pub head: Head,
    /// With consecutive positions from the locked head's `next_position` on.
    pub events: Vec<StoredEvent>,
    /// Rows that are not in the database yet.
    pub inserts: Vec<Row>,
    /// Rows that are, in their new state.
    pub updates: Vec<Row>,
    pub deletes: Vec<RowKey>,
    pub subjects: Vec<StoredSubject>,
    /// Ids of subjects whose keys go, with all that their rows hold.
    pub forgotten: Vec<Uuid>,
    /// Records of requests to insert; one of the same id that has expired is replaced.
    pub requests: Vec<StoredRequest>,
    pub api_key_secrets: Vec<ApiKeySecret>,
    pub key_pair_secrets: Vec<KeyPairSecret>,
    /// Request records that expired before this go (a bounded number at a time).
    pub requests_expired_before: Option<Timestamp>,
}

/// How far the log is folded into tiles, and how many licenses they tell of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvidenceSize {
    pub events: i64,
    pub licenses: i64,
}

/// A tile of one of the evidence's trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileKey {
    pub tree: i64,
    pub level: i64,
    pub number: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCheckpoint {
    pub size: i64,
    pub root: [u8; 32],
    pub made_at: Timestamp,
    /// As signed.
    pub note: String,
}

/// What those outside gave back for a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHandOut {
    pub destination: String,
    pub size: i64,
    pub made_at: Timestamp,
    pub answer: Vec<u8>,
}

/// One step of the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// What it goes on from: where that is no longer so, nothing is written.
    pub from: EvidenceSize,
    pub to: EvidenceSize,
    /// In their new state.
    pub tiles: Vec<(TileKey, Vec<u8>)>,
    pub checkpoint: Option<StoredCheckpoint>,
}

/// A statement that changes what is kept for those who read the log: their places in it, leases, statistics. The SQL is the same for
/// both backends.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    pub sql: &'static str,
    pub parameters: Vec<Value>,
}

impl Statement {
    #[must_use]
    pub fn new(sql: &'static str, parameters: impl Into<Vec<Value>>) -> Self {
        Self { sql, parameters: parameters.into() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database can't be reached or is busy: the same call may work later.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The connection broke while COMMIT was on its way: done or not done, only the log can tell.
    #[error("the connection broke at COMMIT: {0}")]
    CommitUnknown(String),
    /// The database refused what it was given, or holds what it must not.
    #[error("the database refused the operation: {0}")]
    Refused(String),
    #[error("table {table}: {source}")]
    Read {
        table: &'static str,
        #[source]
        source: ReadError,
    },
    /// A setting or version under which the ledger must not run.
    #[error("{0}")]
    Unsuitable(String),
}

/// A backend.
#[async_trait]
pub trait Store: Send + Sync {
    /// `sqlite` or `postgres`.
    fn backend(&self) -> &'static str;

    /// Whether it works on its caller's thread, instead of waiting for somebody else.
    fn is_embedded(&self) -> bool;

    /// Founds the ledger: inserts its head and its secret, sealed by the master key. Safe when several nodes start at once.
    /// Returns whether this call did it; `false` where the ledger was founded before.
    async fn initialize(&self, head: &Head, sealed_secret: &[u8]) -> Result<bool, StoreError>;

    /// The ledger's secret as [`Store::initialize`] was given it.
    async fn sealed_secret(&self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Starts a write transaction, locks the head row in it and looks things up under the lock. Waits for it, but not for ever.
    async fn begin(&self, lookups: &Lookups) -> Result<(Box<dyn Transaction>, Head, Found), StoreError>;

    /// Runs a query. The SQL is the same for both backends: parameters are `$1`, `$2`, … and appear first in that order.
    async fn query(&self, sql: &'static str, parameters: &[Value]) -> Result<Vec<Vec<Value>>, StoreError>;

    /// The head without a lock.
    async fn head(&self) -> Result<Head, StoreError>;

    /// Events from a position on, in order: a portion, where there are so many.
    async fn portion(&self, from: i64, portion: Portion) -> Result<Vec<StoredEvent>, StoreError>;

    /// Events from a position on, in order, however long they are.
    async fn events(&self, from: i64, limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
        self.portion(from, Portion::however_long(limit)).await
    }

    /// Events of one stream from a sequence on, in order.
    async fn stream(&self, aggregate_type: &str, aggregate_id: Uuid, from: i64, limit: i64) -> Result<Vec<StoredEvent>, StoreError>;

    /// Events of all streams of one type, one stream after the other in the order of their ids, each in the order of its
    /// sequences: those after the stream and sequence of `after`. So few streams are found among very many events of others.
    async fn streams(&self, aggregate_type: &str, after: (Uuid, i64), limit: i64) -> Result<Vec<StoredEvent>, StoreError>;

    /// The streams of licenses whose key was this one until it was replaced, each once, in the order of their ids.
    async fn licenses_before_replacement(&self, key: &str, limit: i64) -> Result<Vec<Uuid>, StoreError>;

    /// The subjects of these ids, as far as they still exist.
    async fn subjects(&self, ids: &[Uuid]) -> Result<Vec<StoredSubject>, StoreError>;

    /// Takes the evidence one step on, in one transaction. `false` where another node was first: the evidence is elsewhere already,
    /// or has a checkpoint of as many events.
    async fn publish(&self, publication: &Publication) -> Result<bool, StoreError>;

    /// Keeps what was given back for a checkpoint; the first answer stays.
    async fn keep_hand_out(&self, hand_out: &StoredHandOut) -> Result<(), StoreError>;

    /// Runs statements as one transaction, and gives the rows that the first one returns. Where it returns none, nothing is done.
    async fn change(&self, statements: &[Statement]) -> Result<Vec<Vec<Value>>, StoreError>;

    /// A view of the whole database that stands still while others write.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// Fresh, empty tables of all projections beside the ones in use.
    async fn rebuild(&self) -> Result<Box<dyn Rebuild>, StoreError>;

    /// Writes the database's files anew where they can hold what was deleted. Nobody can write meanwhile.
    async fn vacuum(&self) -> Result<(), StoreError>;
}

/// Has a store do what takes longer, on a thread where it holds up nobody: the embedded one works on its caller's.
///
/// # Errors
/// The work's own; and when it was broken off.
pub async fn aside<T: Send + 'static, E: From<StoreError> + Send + 'static>(
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E> {
    let runtime = tokio::runtime::Handle::current();
    let done = tokio::task::spawn_blocking(move || runtime.block_on(work)).await;
    done.unwrap_or_else(|_| Err(StoreError::Unavailable("the read was broken off".to_owned()).into()))
}

/// Events in order, from a position on; read where that keeps nobody waiting.
///
/// # Errors
/// When the store fails.
pub async fn events_aside(store: Arc<dyn Store>, from: i64, portion: Portion) -> Result<Vec<StoredEvent>, StoreError> {
    if store.is_embedded() { aside(async move { store.portion(from, portion).await }).await } else { store.portion(from, portion).await }
}

/// An open write transaction that holds the head lock. Dropping it rolls back.
#[async_trait]
pub trait Transaction: Send {
    async fn load(&mut self, lookups: &Lookups) -> Result<Found, StoreError>;

    /// Writes everything and commits.
    async fn commit(self: Box<Self>, write: &WriteSet) -> Result<(), StoreError>;
}

/// A read transaction on one version of the database.
#[async_trait]
pub trait Snapshot: Send {
    async fn head(&mut self) -> Result<Head, StoreError>;
    async fn events(&mut self, from: i64, limit: i64) -> Result<Vec<StoredEvent>, StoreError>;
    async fn subjects(&mut self, ids: &[Uuid]) -> Result<Vec<StoredSubject>, StoreError>;
    /// Rows of a table in ascending order of their primary key, which is `from` or greater.
    async fn rows(&mut self, table: Table, from: i64, limit: i64) -> Result<Vec<Row>, StoreError>;
}

/// Fresh projection tables being filled. Dropping it leaves the tables in use as they are.
#[async_trait]
pub trait Rebuild: Send {
    async fn load(&mut self, keys: &[RowKey]) -> Result<Vec<Row>, StoreError>;

    /// Inserts or replaces rows and deletes others. Commits at once, unless [`Rebuild::lock`] was called: then with the swap.
    /// `fresh` rows are known not to be there yet.
    async fn write(&mut self, fresh: &[Row], changed: &[Row], deletes: &[RowKey]) -> Result<(), StoreError>;

    /// Makes the indexes, which were left out until now. Takes long, and others append meanwhile. Tables swapped without it
    /// have none: for those that are only read through.
    async fn index(&mut self) -> Result<(), StoreError>;

    /// Takes the head lock: from here on nobody appends until the swap.
    async fn lock(&mut self) -> Result<Head, StoreError>;

    /// Puts the fresh tables in the place of the old ones, notes the versions, commits. `false` where somebody's long
    /// transaction keeps the old ones: then the lock is given back and what was written under it undone, to be tried again.
    async fn swap(&mut self, projections: &str) -> Result<bool, StoreError>;
}
