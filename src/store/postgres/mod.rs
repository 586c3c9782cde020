//! The store of several nodes: PostgreSQL over `tokio-postgres`, because it can send statements without waiting for the
//! answers of those before.
//!
//! Connections live on the runtime that [`PostgresStore::connect`] was called on; the store may be used from any thread
//! that can wait for a future in a runtime's context.

mod aside;
mod error;
mod migrate;
mod pool;
mod read;
mod rebuild;
mod session;
mod snapshot;
mod sql;
mod tls;
mod transaction;
mod vacuum;
mod value;
mod write;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::available_parallelism,
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use keyledger_projections::Value;
use uuid::Uuid;

use self::{
    aside::Aside,
    error::OrStoreError,
    pool::{Readers, Writers},
    rebuild::PostgresRebuild,
    session::{Connector, Role, Session, in_time},
    snapshot::PostgresSnapshot,
    sql::{INSERT_HEAD, INSERT_SECRET, SECRET, Sql},
    transaction::PostgresTransaction,
    value::{Cell, Parameter},
};
use super::{
    Found, Head, Lookups, Portion, Publication, Rebuild, Snapshot, Statement, Store, StoreError, StoredEvent, StoredHandOut, StoredSubject,
    Transaction,
};

/// Queries that share a connection cost less than those that each have one, and the server works on one of them at a time.
const READERS_MIN: usize = 2;
const READERS_MAX: usize = 8;

#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// Certificates of the authorities to check the server's with, as PEM; the system's, where it is not said.
    pub ca_file: Option<PathBuf>,
    /// Connections that queries share; each carries many at a time. About as many as the machine has cores, where it is not
    /// said.
    pub readers: Option<usize>,
}

/// A ledger in a PostgreSQL database.
pub struct PostgresStore {
    connector: Connector,
    sql: Arc<Sql>,
    readers: Readers,
    writers: Writers,
    /// Tiles and checkpoints.
    publisher: Aside,
    /// What readers of the log keep.
    changer: Aside,
    /// Whether the portion that was read last was full of long events.
    has_long_events: AtomicBool,
}

impl PostgresStore {
    /// Connects, and brings the database's tables up to date.
    ///
    /// # Errors
    /// When the server can't be reached, is not set to keep what it acknowledged, or a newer program migrated the database.
    pub async fn connect(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        let connector = Connector::new(url, options.ca_file)?;
        let session = connector.open(Role::Long).await?;
        migrate::migrate(&session).await?;
        rebuild::clear_stale(&session).await?;
        let cores = available_parallelism().map_or(READERS_MIN, usize::from);
        let readers = Readers::new(options.readers.unwrap_or(cores.clamp(READERS_MIN, READERS_MAX)));
        let writers = Writers::new(connector.clone());
        let (publisher, changer) = (Aside::new(connector.clone()), Aside::new(connector.clone()));
        Ok(Self { connector, sql: Arc::new(Sql::new()), readers, writers, publisher, changer, has_long_events: AtomicBool::new(false) })
    }

    /// Runs something that only reads: once more where the connection broke.
    async fn read<'a, T>(&'a self, job: impl Fn(Arc<Session>) -> BoxFuture<'a, Result<T, StoreError>>) -> Result<T, StoreError> {
        let shared = self.readers.get(&self.connector).await?;
        let result = in_time(job(Arc::clone(&shared.session))).await;
        if !(matches!(result, Err(StoreError::Unavailable(_))) && shared.session.is_closed()) {
            return result;
        }
        let shared = self.readers.get(&self.connector).await?;
        in_time(job(Arc::clone(&shared.session))).await
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn backend(&self) -> &'static str {
        "postgres"
    }

    fn is_embedded(&self) -> bool {
        false
    }

    async fn initialize(&self, head: &Head, sealed_secret: &[u8]) -> Result<bool, StoreError> {
        let session = self.connector.open(Role::Writer).await?;
        let client = &session.client;
        client.batch_execute("BEGIN").await.or_store_error()?;
        // Another node that inserts at the same time is waited for.
        let inserted = session.execute(INSERT_HEAD, &write::head_parameters(head)).await.or_store_error()?;
        if inserted == 1 {
            session.execute(INSERT_SECRET, &[Parameter::One(Cell::Bytes(sealed_secret))]).await.or_store_error()?;
        }
        client.batch_execute("COMMIT").await.or_store_error()?;
        Ok(inserted == 1)
    }

    async fn sealed_secret(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|session| {
            Box::pin(async move {
                let rows = session.query(SECRET, &[]).await.or_store_error()?;
                rows.first().map(|row| row.try_get(0).or_store_error()).transpose()
            })
        })
        .await
    }

    async fn begin(&self, lookups: &Lookups) -> Result<(Box<dyn Transaction>, Head, Found), StoreError> {
        let (transaction, head, found) = in_time(PostgresTransaction::begin(&self.writers, Arc::clone(&self.sql), lookups)).await?;
        Ok((Box::new(transaction), head, found))
    }

    async fn query(&self, sql: &'static str, parameters: &[Value]) -> Result<Vec<Vec<Value>>, StoreError> {
        self.read(|session| {
            Box::pin(async move {
                let parameters: Vec<Parameter<'_>> = parameters.iter().map(|value| Parameter::One(Cell::from(value))).collect();
                session.refresh_plans().await.or_store_error()?;
                session.query(sql, &parameters).await.or_store_error()?.iter().map(read::values).collect()
            })
        })
        .await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.read(|session| Box::pin(async move { read::read_head(&session).await })).await
    }

    async fn portion(&self, from: i64, portion: Portion) -> Result<Vec<StoredEvent>, StoreError> {
        // PostgreSQL sends what was asked for, also what is beyond the bytes and thrown away here, while others wait for the connection.
        // Having it count them takes a quarter longer: so it does where events are long.
        let counts = self.has_long_events.load(Ordering::Relaxed) && portion.bytes < usize::MAX;
        let events = self.read(|session| Box::pin(async move { read::events(&session, from, portion, counts).await })).await?;
        if portion.bytes < usize::MAX {
            self.has_long_events.store(events.iter().map(StoredEvent::bytes).sum::<usize>() >= portion.bytes, Ordering::Relaxed);
        }
        Ok(events)
    }

    async fn stream(&self, aggregate_type: &str, aggregate_id: Uuid, from: i64, limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(|session| Box::pin(async move { read::stream(&session, aggregate_type, aggregate_id, from, limit).await })).await
    }

    async fn streams(&self, aggregate_type: &str, after: (Uuid, i64), limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(|session| Box::pin(async move { read::streams(&session, aggregate_type, after, limit).await })).await
    }

    async fn licenses_before_replacement(&self, key: &str, limit: i64) -> Result<Vec<Uuid>, StoreError> {
        self.read(|session| Box::pin(async move { read::licenses_before_replacement(&session, key, limit).await })).await
    }

    async fn subjects(&self, ids: &[Uuid]) -> Result<Vec<StoredSubject>, StoreError> {
        self.read(|session| Box::pin(async move { read::subjects(&session, &self.sql, ids).await })).await
    }

    async fn publish(&self, publication: &Publication) -> Result<bool, StoreError> {
        self.publisher.publish(publication).await
    }

    async fn keep_hand_out(&self, hand_out: &StoredHandOut) -> Result<(), StoreError> {
        self.publisher.keep_hand_out(hand_out).await
    }

    async fn change(&self, statements: &[Statement]) -> Result<Vec<Vec<Value>>, StoreError> {
        self.changer.change(statements).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(PostgresSnapshot::begin(&self.connector, Arc::clone(&self.sql)).await?))
    }

    async fn rebuild(&self) -> Result<Box<dyn Rebuild>, StoreError> {
        Ok(Box::new(PostgresRebuild::begin(&self.connector, Arc::clone(&self.sql)).await?))
    }

    async fn vacuum(&self) -> Result<(), StoreError> {
        vacuum::vacuum(&self.connector.open(Role::Long).await?).await
    }
}
