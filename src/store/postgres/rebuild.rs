//! Fresh projection tables beside the ones in use, and their swap.

use std::{pin::pin, sync::Arc};

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use futures::SinkExt;
use keyledger_projections::{ColumnType, Row, RowKey, Table};
use tokio_postgres::{
    error::SqlState,
    types::{IsNull, ToSql, Type},
};

use super::{
    error::{OrStoreError, pipeline_error, store_error},
    read,
    session::{Connector, Role, Session},
    sql::{HEAD_LOCKED, Part, Sql, projections},
    value::Cell,
    write,
};
use crate::store::{Head, Rebuild, StoreError};

/// The fresh tables' schema.
const SCHEMA: &str = "keyledger_rebuild";
/// Held by the one rebuild: "keyledg" and "r".
const REBUILD_LOCK: &str = "7738711811024905074";
/// How long the swap waits for those who use the tables. Meanwhile it holds the head lock, and other readers wait behind it.
const SWAP_PATIENCE: &str = "200ms";

/// What the server may take for sorting an index.
const INDEX_MEMORY: &str = "128MB";
/// The beginning of a binary COPY: its signature, no flags, no extension.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Handed to the connection at a time.
const COPY_PIECE_BYTES: usize = 64 * 1024;

/// Has a connection of its own, on which the fresh tables come before the ones in use, so that the same SQL finds them.
pub(super) struct PostgresRebuild {
    session: Session,
    sql: Arc<Sql>,
    /// Where the tables in use are, quoted.
    schema: String,
    /// The tables in use, of those there are, and the fresh ones: what the swap has to lock.
    tables: String,
    /// Whether the fresh tables have their primary keys: they get them once they are full, or once rows are looked for.
    has_keys: bool,
    is_locked: bool,
}

impl PostgresRebuild {
    pub(super) async fn begin(connector: &Connector, sql: Arc<Sql>) -> Result<Self, StoreError> {
        let session = connector.open(Role::Long).await?;
        lock(&session).await?;
        let schema = session.client.query_one("SELECT quote_ident(current_schema())", &[]).await.and_then(|row| row.try_get(0)).or_store_error()?;
        // Until the swap nothing has to be durable, and the swap's commit makes durable what came before it.
        let sql_begin = format!(
            "SET client_min_messages = warning; SET synchronous_commit = off; SET maintenance_work_mem = '{INDEX_MEMORY}'; \
             SET search_path = {SCHEMA}, {schema}; DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}; {}; {}",
            projections(Part::Tables),
            for_all(|name| format!("ALTER TABLE {SCHEMA}.{name} DROP CONSTRAINT {name}_pkey"))
        );
        session.client.batch_execute(&sql_begin).await.or_store_error()?;
        // A table that this version is the first to have is not in use yet.
        let names: Vec<&str> = Table::ALL.iter().map(|table| table.name()).collect();
        let sql_tables = "SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') FROM pg_tables \
                          WHERE quote_ident(schemaname) IN ($1, $2) AND tablename = ANY($3)";
        let tables = session.client.query_one(sql_tables, &[&schema, &SCHEMA, &names]).await.and_then(|row| row.try_get(0)).or_store_error()?;
        Ok(Self { session, sql, schema, tables, has_keys: false, is_locked: false })
    }

    async fn lock_tables(&self, mode: &str) -> Result<(), tokio_postgres::Error> {
        self.session.client.batch_execute(&format!("LOCK TABLE {} IN {mode} MODE", self.tables)).await
    }

    /// Makes the primary keys, unless they are there.
    async fn make_keys(&mut self) -> Result<(), StoreError> {
        if !self.has_keys {
            let keys = Table::ALL.iter().filter_map(|table| Some((table.name(), table.columns().first()?.name)));
            let sql = keys.map(|(table, key)| format!("ALTER TABLE {SCHEMA}.{table} ADD CONSTRAINT {table}_pkey PRIMARY KEY ({key})"));
            self.session.client.batch_execute(&sql.collect::<Vec<_>>().join("; ")).await.or_store_error()?;
            self.has_keys = true;
        }
        Ok(())
    }

    async fn copy(&self, table: Table, rows: &[&Row]) -> Result<(), StoreError> {
        let types: Vec<Type> = table.columns().iter().map(|column| column_type(column.ty)).collect();
        let statement = self.session.statement(&self.sql.table(table)?.copy).await.or_store_error()?;
        let mut sink = pin!(self.session.client.copy_in::<_, Bytes>(&statement).await.or_store_error()?);
        let mut piece = BytesMut::from(COPY_HEADER);
        for row in rows {
            put_row(row, &types, &mut piece).map_err(|error| StoreError::Refused(format!("a row can't be written: {error}")))?;
            if piece.len() >= COPY_PIECE_BYTES {
                sink.send(piece.split().freeze()).await.or_store_error()?;
            }
        }
        piece.put_i16(-1);
        sink.send(piece.freeze()).await.or_store_error()?;
        sink.finish().await.map(drop).or_store_error()
    }
}

/// A row as a binary COPY has it: how many values, and before each its length, -1 for none.
fn put_row(row: &Row, types: &[Type], into: &mut BytesMut) -> Result<(), Box<dyn std::error::Error + Sync + Send>> {
    into.put_i16(types.len().try_into()?);
    for (value, ty) in row.values().iter().zip(types) {
        let at = into.len();
        into.put_i32(-1);
        if let IsNull::No = Cell::from(value).to_sql(ty, into)? {
            let length = i32::try_from(into.len() - at - size_of::<i32>())?;
            into[at..at + size_of::<i32>()].copy_from_slice(&length.to_be_bytes());
        }
    }
    Ok(())
}

/// A statement for every table, by its name.
fn for_all(statement: impl Fn(&str) -> String) -> String {
    Table::ALL.iter().map(|table| statement(table.name())).collect::<Vec<_>>().join("; ")
}

/// Makes this session the one that rebuilds. One that looks for something to clear away is waited for, and one whose connection
/// is about to close.
async fn lock(session: &Session) -> Result<(), StoreError> {
    let sql = format!("SET lock_timeout = '1s'; SELECT pg_advisory_lock({REBUILD_LOCK}); SET lock_timeout = '10s'");
    session.client.batch_execute(&sql).await.map_err(|error| match error.code() {
        Some(&SqlState::LOCK_NOT_AVAILABLE) => StoreError::Unavailable("another rebuild is running".to_owned()),
        _ => store_error(&error),
    })
}

/// Drops what a rebuild left that did not end: its rows would outlive their forgetting.
pub(super) async fn clear_stale(session: &Session) -> Result<(), StoreError> {
    let client = &session.client;
    let sql = format!("SELECT to_regnamespace('{SCHEMA}') IS NOT NULL AND pg_try_advisory_lock({REBUILD_LOCK})");
    let is_stale: bool = client.query_one(&sql, &[]).await.and_then(|row| row.try_get(0)).or_store_error()?;
    if is_stale {
        let sql = format!("SET client_min_messages = warning; DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; SELECT pg_advisory_unlock({REBUILD_LOCK})");
        client.batch_execute(&sql).await.or_store_error()?;
    }
    Ok(())
}

fn column_type(ty: ColumnType) -> Type {
    match ty {
        ColumnType::Int => Type::INT8,
        ColumnType::Bool => Type::BOOL,
        ColumnType::Text => Type::TEXT,
        ColumnType::Bytes => Type::BYTEA,
        ColumnType::Time => Type::TIMESTAMPTZ,
        ColumnType::Uuid => Type::UUID,
    }
}

#[async_trait]
impl Rebuild for PostgresRebuild {
    async fn load(&mut self, keys: &[RowKey]) -> Result<Vec<Row>, StoreError> {
        self.make_keys().await?;
        read::rows(&self.session, &self.sql, keys).await
    }

    async fn write(&mut self, fresh: &[Row], changed: &[Row], deletes: &[RowKey]) -> Result<(), StoreError> {
        if !(changed.is_empty() && deletes.is_empty()) {
            self.make_keys().await?;
        }
        let changed = write::WrittenRows::new(&[], changed);
        let mut calls = Vec::new();
        write::delete_calls(&self.sql, deletes, &mut calls)?;
        write::row_calls(&self.sql, &changed, &mut calls)?;
        self.session.query_all(&calls).await.or_store_error()?;
        for table in Table::ALL {
            let rows: Vec<&Row> = fresh.iter().filter(|row| row.key().0 == *table).collect();
            if !rows.is_empty() {
                self.copy(*table, &rows).await?;
            }
        }
        Ok(())
    }

    async fn index(&mut self) -> Result<(), StoreError> {
        self.make_keys().await?;
        let client = &self.session.client;
        client.batch_execute(projections(Part::Indexes)).await.or_store_error()?;
        client.batch_execute(&for_all(|name| format!("ANALYZE {SCHEMA}.{name}"))).await.or_store_error()
    }

    async fn lock(&mut self) -> Result<Head, StoreError> {
        const BEGIN: &str = "BEGIN; SET LOCAL synchronous_commit = on";
        // Not under the lock: what is done there may be undone.
        self.make_keys().await?;
        let client = &self.session.client;
        // From here on others wait, so a rebuild that comes to a halt ends by itself.
        client.batch_execute(&format!("SET idle_in_transaction_session_timeout = '30s'; {BEGIN}")).await.or_store_error()?;
        // Stops an autovacuum and keeps others from starting, which would outlast the swap's patience; neither readers nor
        // writers notice.
        match self.lock_tables("SHARE UPDATE EXCLUSIVE").await {
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                client.batch_execute(&format!("ROLLBACK; {BEGIN}")).await.or_store_error()?;
            }
            result => result.or_store_error()?,
        }
        let head = read::head(&self.session.query(HEAD_LOCKED, &[]).await.or_store_error()?)?;
        self.is_locked = true;
        Ok(head)
    }

    async fn swap(&mut self, projections: &str) -> Result<bool, StoreError> {
        if !self.is_locked {
            return Err(StoreError::Refused("the tables of a rebuild can only be swapped under the lock".to_owned()));
        }
        let client = &self.session.client;
        // Unlike lock_timeout, this is for all tables together.
        client.batch_execute(&format!("SET LOCAL statement_timeout = '{SWAP_PATIENCE}'")).await.or_store_error()?;
        if let Err(error) = self.lock_tables("ACCESS EXCLUSIVE").await {
            if error.code() != Some(&SqlState::QUERY_CANCELED) {
                return Err(store_error(&error));
            }
            client.batch_execute("ROLLBACK").await.or_store_error()?;
            self.is_locked = false;
            return Ok(false);
        }
        client.batch_execute("SET LOCAL statement_timeout = 0").await.or_store_error()?;
        let swaps = Table::ALL.iter().map(|table| {
            let (name, schema) = (table.name(), &self.schema);
            format!("DROP TABLE IF EXISTS {schema}.{name}; ALTER TABLE {SCHEMA}.{name} SET SCHEMA {schema};")
        });
        client.batch_execute(&swaps.collect::<String>()).await.or_store_error()?;
        client.execute("UPDATE head SET projections = $1 WHERE id = 1", &[&projections]).await.or_store_error()?;
        client.batch_execute(&format!("DROP SCHEMA {SCHEMA}")).await.or_store_error()?;
        client.batch_execute("COMMIT").await.map_err(|error| pipeline_error(&error, true))?;
        self.is_locked = false;
        Ok(true)
    }
}
