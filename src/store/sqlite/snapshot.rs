//! A view of the whole database that stands still.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use keyledger_projections::{Row, Table};
use rusqlite::Connection;
use uuid::Uuid;

use super::{
    connection::{OrStoreError, Role, open},
    read::{self, ReadSql},
};
use crate::store::{Head, Portion, Snapshot, StoreError, StoredEvent, StoredSubject};

const CACHE_KIB: i64 = 4 * 1024;

/// A read transaction on a connection of its own. While it lasts, what others write stays in the log of changes.
pub(super) struct SqliteSnapshot {
    connection: Connection,
    sql: Arc<ReadSql>,
}

impl SqliteSnapshot {
    pub(super) fn begin(path: &Path, sql: Arc<ReadSql>) -> Result<Self, StoreError> {
        let connection = open(path, Role::Reader { cache_kib: CACHE_KIB })?;
        connection.execute_batch("BEGIN").or_store_error()?;
        // The first read decides what is seen.
        read::head(&connection)?;
        Ok(Self { connection, sql })
    }
}

#[async_trait]
impl Snapshot for SqliteSnapshot {
    async fn head(&mut self) -> Result<Head, StoreError> {
        read::head(&self.connection)
    }

    async fn events(&mut self, from: i64, limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
        read::events(&self.connection, from, Portion::however_long(limit))
    }

    async fn subjects(&mut self, ids: &[Uuid]) -> Result<Vec<StoredSubject>, StoreError> {
        read::subjects(&self.connection, &self.sql, ids)
    }

    async fn rows(&mut self, table: Table, from: i64, limit: i64) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        read::rows(&self.connection, table, &self.sql.table(table)?.page, &[&from, &limit], &mut rows)?;
        Ok(rows)
    }
}
