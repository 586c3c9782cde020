//! Migrations of the ledger's own tables, and the projections' tables in their present shape.

use super::{
    error::OrStoreError,
    session::Session,
    sql::{Part, projections},
};
use crate::store::StoreError;

/// In order; never edited once released. The table `migration` says which ones the database has.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/postgres/0001_ledger.sql"),
    include_str!("../../../migrations/postgres/0002_evidence.sql"),
    include_str!("../../../migrations/postgres/0003_replaced_keys.sql"),
    include_str!("../../../migrations/postgres/0004_consumers.sql"),
    include_str!("../../../migrations/postgres/0005_statistics.sql"),
    include_str!("../../../migrations/postgres/0006_webhooks.sql"),
    include_str!("../../../migrations/postgres/0007_licenses_of_a_day.sql"),
    include_str!("../../../migrations/postgres/0008_revisions.sql"),
];
/// Held while migrating: "keyledg" and "m".
const MIGRATION_LOCK: &str = "7738711811024905069";

/// Brings the database up to date; others that try at the same time wait.
pub(super) async fn migrate(session: &Session) -> Result<(), StoreError> {
    let client = &session.client;
    let begin = format!(
        "BEGIN; SELECT pg_advisory_xact_lock({MIGRATION_LOCK}); \
         SET LOCAL client_min_messages = warning; \
         CREATE TABLE IF NOT EXISTS migration (number bigint PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
    );
    client.batch_execute(&begin).await.or_store_error()?;
    let last: i64 = client.query_one("SELECT coalesce(max(number), 0) FROM migration", &[]).await.and_then(|row| row.try_get(0)).or_store_error()?;
    let done = usize::try_from(last).ok().filter(|done| *done <= MIGRATIONS.len()).ok_or_else(|| {
        StoreError::Unsuitable(format!("the database was migrated by a newer program: it has migration {last}, this one knows {}", MIGRATIONS.len()))
    })?;
    for (i, migration) in MIGRATIONS.iter().enumerate().skip(done) {
        client.batch_execute(migration).await.or_store_error()?;
        client.execute("INSERT INTO migration (number) VALUES ($1)", &[&(i as i64 + 1)]).await.or_store_error()?;
    }
    if done == 0 {
        client.batch_execute(projections(Part::Tables)).await.or_store_error()?;
        client.batch_execute(projections(Part::Indexes)).await.or_store_error()?;
    }
    client.batch_execute("COMMIT").await.or_store_error()
}
