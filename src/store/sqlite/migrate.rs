//! Migrations of the ledger's own tables, and the projections' tables in their present shape.

use rusqlite::{Connection, TransactionBehavior};

use super::connection::OrStoreError;
use crate::store::StoreError;

/// In order; never edited once released. The database's `user_version` is how many it has.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/0001_ledger.sql"),
    include_str!("../../../migrations/sqlite/0002_evidence.sql"),
    include_str!("../../../migrations/sqlite/0003_replaced_keys.sql"),
    include_str!("../../../migrations/sqlite/0004_consumers.sql"),
    include_str!("../../../migrations/sqlite/0005_statistics.sql"),
    include_str!("../../../migrations/sqlite/0006_webhooks.sql"),
    include_str!("../../../migrations/sqlite/0007_licenses_of_a_day.sql"),
    include_str!("../../../migrations/sqlite/0008_revisions.sql"),
];
const PROJECTIONS: &str = include_str!("../../../migrations/sqlite/projections.sql");
/// Divides `projections.sql`.
const INDEXES_MARK: &str = "-- indexes";
/// Marks the file as a ledger of ours: "KLGR".
const APPLICATION_ID: i64 = 0x4b4c_4752;
/// The endings of index names, of which one is in use.
const GENERATIONS: [&str; 2] = ["_a", "_b"];

/// Brings the database up to date; others that try at the same time wait.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).or_store_error()?;
    let pragma = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).or_store_error();
    let is_ours = pragma("application_id")? == APPLICATION_ID;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).or_store_error()?;
    if !is_ours && tables > 0 {
        return Err(StoreError::Unsuitable("the file is a database of another program".to_owned()));
    }
    let version = pragma("user_version")?;
    let done = usize::try_from(version).ok().filter(|done| *done <= MIGRATIONS.len()).ok_or_else(|| {
        StoreError::Unsuitable(format!(
            "the database was migrated by a newer program: it has migration {version}, this one knows {}",
            MIGRATIONS.len()
        ))
    })?;
    for migration in &MIGRATIONS[done..] {
        transaction.execute_batch(migration).or_store_error()?;
    }
    if done == 0 {
        create_tables(&transaction, "")?;
        create_indexes(&transaction, "", GENERATIONS[0])?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).or_store_error()?;
    }
    if done < MIGRATIONS.len() {
        transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64).or_store_error()?;
    }
    transaction.commit().or_store_error()
}

/// Makes the projections' tables, with names that end in `suffix`.
pub(super) fn create_tables(connection: &Connection, suffix: &str) -> Result<(), StoreError> {
    let (tables, _) = PROJECTIONS.split_once(INDEXES_MARK).unwrap_or((PROJECTIONS, ""));
    connection.execute_batch(&tables.replace("{suffix}", suffix)).or_store_error()
}

/// Makes their indexes.
fn create_indexes(connection: &Connection, suffix: &str, generation: &str) -> Result<(), StoreError> {
    index_statements(suffix, generation).iter().try_for_each(|sql| connection.execute_batch(sql).or_store_error())
}

/// One statement for each index.
pub(super) fn index_statements(suffix: &str, generation: &str) -> Vec<String> {
    let (_, indexes) = PROJECTIONS.split_once(INDEXES_MARK).unwrap_or_default();
    // What follows the mark in its line is text.
    let statements = indexes.lines().skip(1).collect::<Vec<_>>().join("\n").replace("{suffix}", suffix).replace("{generation}", generation);
    statements.split_terminator(';').map(str::trim).filter(|sql| !sql.is_empty()).map(str::to_owned).collect()
}

/// The ending of index names that is not in use.
pub(super) fn free_generation(connection: &Connection) -> Result<&'static str, StoreError> {
    let mut statement = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'index'").or_store_error()?;
    let names = statement.query_map([], |row| row.get::<_, String>(0)).or_store_error()?;
    for name in names {
        if name.or_store_error()?.ends_with(GENERATIONS[1]) {
            return Ok(GENERATIONS[0]);
        }
    }
    Ok(GENERATIONS[1])
}
