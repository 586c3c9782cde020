//! The embedded store: SQLite, one writing connection, a few that read.
//!
//! Nothing here waits for a network, so everything runs on the caller's thread: a look-up takes microseconds. What takes
//! longer (a page of thousands of events, waiting for another process) belongs on a thread of the caller's own.

mod connection;
mod evidence;
mod migrate;
mod read;
mod rebuild;
mod snapshot;
mod sql;
mod transaction;
mod write;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::available_parallelism,
};

use async_trait::async_trait;
use keyledger_projections::Value;
use rusqlite::{Connection, TransactionBehavior};
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
    time::timeout,
};
use uuid::Uuid;

use self::{
    connection::{BUSY_TIMEOUT, OrStoreError, Role, open},
    read::ReadSql,
    rebuild::SqliteRebuild,
    snapshot::SqliteSnapshot,
    transaction::SqliteTransaction,
};
use super::{
    Found, Head, Lookups, Portion, Publication, Rebuild, Snapshot, Statement, Store, StoreError, StoredEvent, StoredHandOut, StoredSubject,
    Transaction, aside,
};

/// A few readers are enough: each is busy for microseconds. Those who read the log from far behind keep one more busy than there are
/// cores, nine at most; another one is there for everybody else.
const READERS_MIN: usize = 2;
const READERS_MAX: usize = 10;
/// A vacuum reads from one end to the other.
const VACUUM_CACHE_KIB: i64 = 2 * 1024;

/// How much of the database the store keeps in memory. The operating system keeps the rest.
#[derive(Clone, Copy, Debug)]
pub struct SqliteOptions {
    /// KiB for the writing connection.
    pub writer_cache_kib: i64,
    /// KiB for all reading connections together.
    pub reader_cache_kib: i64,
    /// Reading connections; two more than the machine has cores, within reason, where it is not said.
    pub readers: Option<usize>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { writer_cache_kib: 16 * 1024, reader_cache_kib: 48 * 1024, readers: None }
    }
}

impl SqliteOptions {
    /// For a command that runs once: it reads from one end to the other, or little.
    pub const SMALL: Self = Self { writer_cache_kib: 2 * 1024, reader_cache_kib: 4 * 1024, readers: None };
}

/// A ledger in one file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    sql: Arc<ReadSql>,
    writer: Arc<AsyncMutex<Connection>>,
    readers: Vec<Mutex<Connection>>,
    next_reader: AtomicUsize,
}

impl SqliteStore {
    /// Opens the file, makes it where there is none, and brings its tables up to date.
    ///
    /// # Errors
    /// When the file can't be used, SQLite can't be set as the ledger needs it, or a newer program migrated the file.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        let mut writer = open(path, Role::Writer { cache_kib: options.writer_cache_kib })?;
        migrate::migrate(&mut writer)?;
        rebuild::clear_stale(path, &mut writer)?;
        let cores = available_parallelism().map_or(1, usize::from);
        let count = options.readers.unwrap_or(cores + 2).clamp(READERS_MIN, READERS_MAX);
        let cache_kib = options.reader_cache_kib / i64::try_from(count).unwrap_or(1);
        let readers = (0..count).map(|_| open(path, Role::Reader { cache_kib }).map(Mutex::new)).collect::<Result<_, _>>()?;
        Ok(Self {
            path: path.to_owned(),
            sql: Arc::new(ReadSql::new()),
            writer: Arc::new(AsyncMutex::new(writer)),
            readers,
            next_reader: AtomicUsize::new(0),
        })
    }

    /// Runs something on a reader that is free; where none is, on one of them as soon as it is.
    fn read<T>(&self, job: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let start = self.next_reader.fetch_add(1, Ordering::Relaxed) % self.readers.len().max(1);
        let (before, from) = self.readers.split_at(start);
        for reader in from.iter().chain(before) {
            match reader.try_lock() {
                Ok(connection) => return job(&connection),
                // A panic while reading leaves nothing behind.
                Err(TryLockError::Poisoned(poisoned)) => return job(&poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        let reader = self.readers.get(start).ok_or_else(|| StoreError::Unavailable("there is no reading connection".to_owned()))?;
        job(&reader.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The writing connection, once nobody else in this process writes.
async fn lock_writer(writer: &Arc<AsyncMutex<Connection>>) -> Result<OwnedMutexGuard<Connection>, StoreError> {
    timeout(BUSY_TIMEOUT, Arc::clone(writer).lock_owned()).await.map_err(|_| StoreError::Unavailable("the writing connection is busy".to_owned()))
}

#[async_trait]
impl Store for SqliteStore {
    fn backend(&self) -> &'static str {
        "sqlite"
    }

    fn is_embedded(&self) -> bool {
        true
    }

    async fn initialize(&self, head: &Head, sealed_secret: &[u8]) -> Result<bool, StoreError> {
        let mut writer = lock_writer(&self.writer).await?;
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate).or_store_error()?;
        let is_ours = write::initialize(&transaction, head, sealed_secret)?;
        transaction.commit().or_store_error()?;
        Ok(is_ours)
    }

    async fn sealed_secret(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT sealed FROM ledger_secret WHERE id = 1").or_store_error()?;
            let mut rows = statement.query([]).or_store_error()?;
            rows.next().or_store_error()?.map(|row| row.get(0).or_store_error()).transpose()
        })
    }

    async fn begin(&self, lookups: &Lookups) -> Result<(Box<dyn Transaction>, Head, Found), StoreError> {
        let writer = lock_writer(&self.writer).await?;
        let (mut transaction, head) = SqliteTransaction::begin(writer, Arc::clone(&self.sql))?;
        let found = transaction.load(lookups).await?;
        Ok((Box::new(transaction), head, found))
    }

    async fn query(&self, sql: &'static str, parameters: &[Value]) -> Result<Vec<Vec<Value>>, StoreError> {
        self.read(|connection| read::query_values(connection, sql, parameters))
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.read(read::head)
    }

    async fn portion(&self, from: i64, portion: Portion) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(|connection| read::events(connection, from, portion))
    }

    async fn stream(&self, aggregate_type: &str, aggregate_id: Uuid, from: i64, limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(|connection| read::stream(connection, aggregate_type, aggregate_id, from, limit))
    }

    async fn streams(&self, aggregate_type: &str, after: (Uuid, i64), limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(|connection| read::streams(connection, aggregate_type, after, limit))
    }

    async fn licenses_before_replacement(&self, key: &str, limit: i64) -> Result<Vec<Uuid>, StoreError> {
        self.read(|connection| read::licenses_before_replacement(connection, key, limit))
    }

    async fn subjects(&self, ids: &[Uuid]) -> Result<Vec<StoredSubject>, StoreError> {
        self.read(|connection| read::subjects(connection, &self.sql, ids))
    }

    async fn publish(&self, publication: &Publication) -> Result<bool, StoreError> {
        let mut writer = lock_writer(&self.writer).await?;
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate).or_store_error()?;
        let is_ours = evidence::publish(&transaction, publication)?;
        transaction.commit().or_store_error()?;
        Ok(is_ours)
    }

    async fn keep_hand_out(&self, hand_out: &StoredHandOut) -> Result<(), StoreError> {
        evidence::keep_hand_out(&*lock_writer(&self.writer).await?, hand_out)
    }

    async fn change(&self, statements: &[Statement]) -> Result<Vec<Vec<Value>>, StoreError> {
        let (mut writer, statements) = (lock_writer(&self.writer).await?, statements.to_vec());
        // Those who ask serve others meanwhile, and a commit takes as long as the disk does.
        aside(async move {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate).or_store_error()?;
            let mut returned = None;
            for statement in statements {
                let rows = read::query_values(&transaction, statement.sql, &statement.parameters)?;
                if returned.get_or_insert(rows).is_empty() {
                    return Ok(Vec::new());
                }
            }
            transaction.commit().or_store_error()?;
            Ok(returned.unwrap_or_default())
        })
        .await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(SqliteSnapshot::begin(&self.path, Arc::clone(&self.sql))?))
    }

    async fn rebuild(&self) -> Result<Box<dyn Rebuild>, StoreError> {
        Ok(Box::new(SqliteRebuild::begin(&self.path, Arc::clone(&self.writer)).await?))
    }

    async fn vacuum(&self) -> Result<(), StoreError> {
        // In line with others of this process, on a connection of its own: what is copied goes to a file, not into memory.
        let _in_line = lock_writer(&self.writer).await?;
        let connection = open(&self.path, Role::Writer { cache_kib: VACUUM_CACHE_KIB })?;
        connection.pragma_update(None, "temp_store", 1).or_store_error()?;
        connection.execute_batch("VACUUM").or_store_error()?;
        // The copy is in the log of changes; the old pages are gone when it is moved into the database and cut to nothing.
        let is_busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).or_store_error()?;
        if is_busy {
            let text = "somebody reads the database for so long (a backup, a verification) that what was deleted can't be cleared away yet";
            return Err(StoreError::Unavailable(text.to_owned()));
        }
        Ok(())
    }
}
