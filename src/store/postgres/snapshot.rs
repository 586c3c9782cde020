//! A view of the whole database that stands still.

use std::sync::Arc;

use async_trait::async_trait;
use keyledger_projections::{Row, Table};
use uuid::Uuid;

use super::{
    error::OrStoreError,
    read,
    session::{Connector, Role, Session},
    sql::Sql,
};
use crate::store::{Head, Portion, Snapshot, StoreError, StoredEvent, StoredSubject};

/// A read transaction on a connection of its own, which ends with it.
pub(super) struct PostgresSnapshot {
    session: Session,
    sql: Arc<Sql>,
}

impl PostgresSnapshot {
    pub(super) async fn begin(connector: &Connector, sql: Arc<Sql>) -> Result<Self, StoreError> {
        let session = connector.open(Role::Long).await?;
        // The locks come before the view is fixed: a rebuild can't put other tables in these ones' place while it is looked at.
        let tables = Table::ALL.iter().map(|table| table.name()).collect::<Vec<_>>().join(", ");
        let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE {tables} IN ACCESS SHARE MODE");
        session.client.batch_execute(&begin).await.or_store_error()?;
        read::read_head(&session).await?;
        Ok(Self { session, sql })
    }
}

#[async_trait]
impl Snapshot for PostgresSnapshot {
    async fn head(&mut self) -> Result<Head, StoreError> {
        read::read_head(&self.session).await
    }

    async fn events(&mut self, from: i64, limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
        read::events(&self.session, from, Portion::however_long(limit), false).await
    }

    async fn subjects(&mut self, ids: &[Uuid]) -> Result<Vec<StoredSubject>, StoreError> {
        read::subjects(&self.session, &self.sql, ids).await
    }

    async fn rows(&mut self, table: Table, from: i64, limit: i64) -> Result<Vec<Row>, StoreError> {
        read::page(&self.session, &self.sql, table, from, limit).await
    }
}
