//! The write transaction of a batch: two round trips, and a third where more has to be looked up.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join3;
use tokio::time::timeout;

use super::{
    error::{OrStoreError, pipeline_error, store_error},
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
    pub(super) async fn begin(writers: &Writers, sql: Arc<Sql>, lookups: &Lookups) -> Result<(Self, Head, Found), StoreError> {
        if let Some(lease) = writers.idle() {
            match lock_head(&lease.session, &sql, lookups).await {
                // The connection broke while it was idle: nothing is lost with it.
                Err(StoreError::Unavailable(_)) if lease.session.is_closed() => {}
                locked => return locked.map(|(head, found)| (Self { lease, sql }, head, found)),
            }
        }
        let lease = writers.open().await?;
        let (head, found) = lock_head(&lease.session, &sql, lookups).await?;
        Ok((Self { lease, sql }, head, found))
    }
}

/// Begins, locks the head and looks up in one round trip. At READ COMMITTED, what comes after the lock sees everything that
/// was committed by those who had it before.
async fn lock_head(session: &Session, sql: &Sql, lookups: &Lookups) -> Result<(Head, Found), StoreError> {
    let lookups = read::Asked::new(sql, lookups)?;
    let locked = async {
        session.statement(HEAD_LOCKED).await?;
        session.prepare_all(lookups.calls()).await?;
        let (begun, rows, found) =
            join3(session.client.batch_execute("BEGIN"), session.query(HEAD_LOCKED, &[]), session.query_all(lookups.calls())).await;
        begun?;
        Ok((rows?, found?))
    };
    let (head, found) = locked.await.or_store_error()?;
    Ok((read::head(&head)?, lookups.found(found)?))
}

#[async_trait]
impl Transaction for PostgresTransaction {
    async fn load(&mut self, lookups: &Lookups) -> Result<Found, StoreError> {
        in_time(read::load(&self.lease.session, &self.sql, lookups)).await
    }

    async fn commit(self: Box<Self>, write: &WriteSet) -> Result<(), StoreError> {
        let Self { lease, sql } = *self;
        let rows = write::WrittenRows::new(&write.inserts, &write.updates);
        let calls = write::calls(&sql, write, &rows)?;
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
