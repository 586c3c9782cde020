//! Fresh projection tables beside the ones in use, and their swap.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use keyledger_projections::{Row, RowKey, Table};
use rusqlite::{Connection, TransactionBehavior};
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
    time::sleep,
};

use super::{
    connection::{OrStoreError, Role, commit_error, open},
    lock_writer, migrate,
    read::{self, by_table},
    sql::TableSql,
    transaction::roll_back,
    write,
};
use crate::store::{Head, Rebuild, StoreError};

/// What the names of the tables being filled end in.
const SUFFIX: &str = "__rebuild";
/// Rows of a rebuild are written in the order of their keys, some thousands at a time.
const CACHE_KIB: i64 = 8 * 1024;
/// How often the lock is asked for, within one second.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Holds the lock that makes it the only rebuild; writes on a connection of its own, but only while it has the
/// writing connection too, so that it waits in line within the process.
pub(super) struct SqliteRebuild {
    connection: Connection,
    tables: Vec<TableSql>,
    writer: Arc<AsyncMutex<Connection>>,
    /// Held from [`Rebuild::lock`] on.
    guard: Option<OwnedMutexGuard<Connection>>,
    is_swapped: bool,
    _only_one: File,
}

impl SqliteRebuild {
    pub(super) async fn begin(path: &Path, writer: Arc<AsyncMutex<Connection>>) -> Result<Self, StoreError> {
        let only_one = wait_for_lock(path).await?;
        let mut connection = open(path, Role::Writer { cache_kib: CACHE_KIB })?;
        // A crash of the machine costs nothing but the rebuild; the swap makes everything durable.
        connection.pragma_update(None, "synchronous", 1).or_store_error()?;
        let guard = lock_writer(&writer).await?;
        drop_tables(&mut connection)?;
        migrate::create_tables(&connection, SUFFIX)?;
        drop(guard);
        Ok(Self { connection, tables: TableSql::all(SUFFIX), writer, guard: None, is_swapped: false, _only_one: only_one })
    }
}

/// Waits for one that looks for something to clear away, but not for another rebuild.
async fn wait_for_lock(path: &Path) -> Result<File, StoreError> {
    for _ in 0..LOCK_TRIES {
        if let Some(file) = lock_file(path)? {
            return Ok(file);
        }
        sleep(LOCK_PAUSE).await;
    }
    Err(StoreError::Unavailable("another rebuild is running".to_owned()))
}

/// The lock that a rebuild holds, also against other processes; `None` where another has it.
fn lock_file(path: &Path) -> Result<Option<File>, StoreError> {
    let mut name = OsString::from(path);
    name.push("-rebuild");
    let name = PathBuf::from(name);
    let unsuitable = |error: std::io::Error| StoreError::Unsuitable(format!("{} can't be locked: {error}", name.display()));
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&name).map_err(unsuitable)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(unsuitable(error)),
    }
}

/// Drops what a rebuild left that did not end: its rows would outlive their forgetting.
pub(super) fn clear_stale(path: &Path, connection: &mut Connection) -> Result<(), StoreError> {
    if tables(connection)?.is_empty() {
        return Ok(());
    }
    match lock_file(path)? {
        Some(_lock) => drop_tables(connection),
        None => Ok(()),
    }
}

/// The tables of a rebuild, by name.
fn tables(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, -length(?1)) = ?1";
    let mut statement = connection.prepare(sql).or_store_error()?;
    statement.query_map([SUFFIX], |row| row.get(0)).and_then(Iterator::collect).or_store_error()
}

fn drop_tables(connection: &mut Connection) -> Result<(), StoreError> {
    let names = tables(connection)?;
    if names.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).or_store_error()?;
    for name in names {
        transaction.execute_batch(&format!("DROP TABLE IF EXISTS {name}")).or_store_error()?;
    }
    transaction.commit().or_store_error()
}

impl Drop for SqliteRebuild {
    fn drop(&mut self) {
        if self.is_swapped {
            return;
        }
        roll_back(&self.connection);
        if let Err(error) = drop_tables(&mut self.connection) {
            tracing::warn!(%error, "the tables of a rebuild that did not end are dropped at the next start");
        }
    }
}

fn put(connection: &Connection, tables: &[TableSql], fresh: &[Row], changed: &[Row], deletes: &[RowKey]) -> Result<(), StoreError> {
    write::delete_rows(connection, tables, deletes)?;
    write::put_rows(connection, tables, changed)?;
    write::insert_rows(connection, tables, fresh)
}

#[async_trait]
impl Rebuild for SqliteRebuild {
    async fn load(&mut self, keys: &[RowKey]) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::with_capacity(keys.len());
        for key in keys {
            read::rows(&self.connection, key.0, &by_table(&self.tables, key.0)?.select, &[&key.1], &mut rows)?;
        }
        Ok(rows)
    }

    async fn write(&mut self, fresh: &[Row], changed: &[Row], deletes: &[RowKey]) -> Result<(), StoreError> {
        if self.guard.is_some() {
            return put(&self.connection, &self.tables, fresh, changed, deletes);
        }
        let _guard = lock_writer(&self.writer).await?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).or_store_error()?;
        put(&transaction, &self.tables, fresh, changed, deletes)?;
        transaction.commit().or_store_error()
    }

    async fn index(&mut self) -> Result<(), StoreError> {
        let generation = migrate::free_generation(&self.connection)?;
        // Nobody can write while an index is made; between two of them, others have their turn.
        for sql in migrate::index_statements(SUFFIX, generation) {
            let _guard = lock_writer(&self.writer).await?;
            self.connection.execute_batch(&sql).or_store_error()?;
        }
        Ok(())
    }

    async fn lock(&mut self) -> Result<Head, StoreError> {
        let guard = lock_writer(&self.writer).await?;
        self.connection.pragma_update(None, "synchronous", 2).or_store_error()?;
        self.connection.execute_batch("BEGIN IMMEDIATE").or_store_error()?;
        let head = read::head(&self.connection)?;
        self.guard = Some(guard);
        Ok(head)
    }

    async fn swap(&mut self, projections: &str) -> Result<bool, StoreError> {
        if self.guard.is_none() {
            return Err(StoreError::Refused("the tables of a rebuild can only be swapped under the lock".to_owned()));
        }
        for table in Table::ALL {
            let name = table.name();
            let sql = format!("DROP TABLE IF EXISTS {name}; ALTER TABLE {name}{SUFFIX} RENAME TO {name}");
            self.connection.execute_batch(&sql).or_store_error()?;
        }
        self.connection.execute("UPDATE head SET projections = ?1 WHERE id = 1", [projections]).or_store_error()?;
        self.connection.execute_batch("COMMIT").map_err(|error| commit_error(&error))?;
        self.is_swapped = true;
        self.guard = None;
        Ok(true)
    }
}
