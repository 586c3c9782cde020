//! The write transaction of a batch: three round trips.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join;
use tokio::time::timeout;

use super::{
    error::{OrStoreError, is_broken, pipeline_error, store_error},
    pool::{Lease, Writers},
    read,
    session::{ANSWER_TIMEOUT, Sent, Session, in_time},
    sql::{HEAD_LOCKED, Sql},
    write,
};
use crate::store::{Found, Head, Lookups, StoreError, Transaction, WriteSet};

/// Holds the head row's lock on a connection of its own.
pub(super) struct PostgresTransaction {
    lease: Lease,
    sql: Arc<Sql>,
}

impl PostgresTransaction {
    pub(super) async fn begin(writers: &Writers, sql: Arc<Sql>) -> Result<(Self, Head), StoreError> {
        if let Some(lease) = writers.idle() {
            match lock_head(&lease.session).await {
                // The connection broke while it was idle: nothing is lost with it.
                Err(error) if is_broken(&error) => {}
                rows => return Self::new(lease, sql, rows),
            }
        }
        let lease = writers.open().await?;
        let rows = lock_head(&lease.session).await;
        Self::new(lease, sql, rows)
    }

    fn new(lease: Lease, sql: Arc<Sql>, rows: Result<Vec<tokio_postgres::Row>, tokio_postgres::Error>) -> Result<(Self, Head), StoreError> {
        let head = read::head(&rows.or_store_error()?)?;
        Ok((Self { lease, sql }, head))
    }
}

/// Begins and locks the head in one round trip. At READ COMMITTED, what comes after the lock sees everything that was
/// committed by those who had it before.
async fn lock_head(session: &Session) -> Result<Vec<tokio_postgres::Row>, tokio_postgres::Error> {
    session.statement(HEAD_LOCKED).await?;
    let (begun, rows) = join(session.client.batch_execute("BEGIN"), session.query(HEAD_LOCKED, &[])).await;
    begun.and(rows)
}

#[async_trait]
impl Transaction for PostgresTransaction {
    async fn load(&mut self, lookups: &Lookups) -> Result<Found, StoreError> {
        in_time(read::load(&self.lease.session, &self.sql, lookups)).await
    }

    async fn commit(self: Box<Self>, write: WriteSet) -> Result<(), StoreError> {
        let Self { lease, sql } = *self;
        let upserts = write::table_values(&write.upserts);
        let calls = write::calls(&sql, &write, &upserts)?;
        let session = &*lease.session;
        in_time(async { session.prepare_all(&calls).await.or_store_error() }).await?;
        let mut sent = Sent::default();
        for call in &calls {
            sent.send(async { session.execute(call.sql, &call.parameters).await.map(drop) });
        }
        // COMMIT goes with the others, but only if every one of them has gone.
        if let Some(error) = sent.unsent() {
            return Err(store_error(error));
        }
        sent.send(session.client.batch_execute("COMMIT"));
        let answers = timeout(ANSWER_TIMEOUT, sent.answers()).await;
        let answers = answers.map_err(|_| StoreError::CommitUnknown("the server does not answer".to_owned()))?;
        for (i, answer) in answers.into_iter().enumerate() {
            answer.map_err(|error| pipeline_error(&error, i == calls.len()))?;
        }
        lease.release();
        Ok(())
    }
}
