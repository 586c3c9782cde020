//! The write transaction of a batch.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::OwnedMutexGuard;

use super::{
    connection::{OrStoreError, commit_error},
    read::{self, ReadSql},
    write,
};
use crate::store::{Found, Head, Lookups, StoreError, Transaction, WriteSet};

/// Owns the writing connection until it ends. SQLite has one lock for all writes: whoever has it, has the head's.
pub(super) struct SqliteTransaction {
    writer: OwnedMutexGuard<Connection>,
    sql: Arc<ReadSql>,
}

impl SqliteTransaction {
    pub(super) fn begin(writer: OwnedMutexGuard<Connection>, sql: Arc<ReadSql>) -> Result<(Self, Head), StoreError> {
        writer.prepare_cached("BEGIN IMMEDIATE").or_store_error()?.execute([]).or_store_error()?;
        let transaction = Self { writer, sql };
        let head = read::head(&transaction.writer)?;
        Ok((transaction, head))
    }
}

impl Drop for SqliteTransaction {
    fn drop(&mut self) {
        roll_back(&self.writer);
    }
}

/// Ends whatever transaction is open. There is nobody to tell of a failure: the next BEGIN meets it.
pub(super) fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "a transaction could not be rolled back");
    }
}

#[async_trait]
impl Transaction for SqliteTransaction {
    async fn load(&mut self, lookups: &Lookups) -> Result<Found, StoreError> {
        read::load(&self.writer, &self.sql, lookups)
    }

    async fn commit(self: Box<Self>, write: &WriteSet) -> Result<(), StoreError> {
        write::write_set(&self.writer, self.sql.tables(), write)?;
        let mut commit = self.writer.prepare_cached("COMMIT").or_store_error()?;
        commit.execute([]).map_err(|error| commit_error(&error))?;
        Ok(())
    }
}
