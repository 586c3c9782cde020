//! Tables written anew, so that nothing that was deleted is left in their files.

use std::time::Duration;

use keyledger_projections::Table;
use tokio::time::{Instant, sleep};

use super::{error::OrStoreError, session::Session};
use crate::store::StoreError;

/// A row that was deleted stays for as long as somebody might see it: a transaction that writes and began before, in whichever database of
/// the server, since a view of one counts those of all; in this database also one that only reads; and a replica for which a slot stands.
const NOW: &str = "SELECT pg_current_xact_id()::text";
const IS_PAST: &str = "SELECT pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8 \
                       AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE (datname = current_database() OR datname IS NULL) \
                       AND pid <> pg_backend_pid() AND age(backend_xmin) > age($1::text::xid8::xid)) \
                       AND NOT EXISTS (SELECT FROM pg_replication_slots \
                       WHERE greatest(age(xmin), age(catalog_xmin)) > age($1::text::xid8::xid))";
/// How long they are waited for: they are short, but for what somebody does by hand.
const PAST_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The ledger's own tables that rows are deleted from.
const OWN_TABLES: [&str; 2] = ["subject", "request"];
/// Only a role that may do this to it does: the server warns others, and goes on.
const OWNS_DATABASE: &str = "SELECT rolsuper OR pg_has_role(datdba, 'MEMBER') FROM pg_database, pg_roles \
                             WHERE datname = current_database() AND rolname = current_user";

/// Waits until nobody can see any more what was deleted by now.
async fn until_past(session: &Session) -> Result<(), StoreError> {
    let now: String = session.client.query_one(NOW, &[]).await.and_then(|row| row.try_get(0)).or_store_error()?;
    let until = Instant::now() + PAST_WITHIN;
    loop {
        let is_past: bool = session.client.query_one(IS_PAST, &[&now]).await.and_then(|row| row.try_get(0)).or_store_error()?;
        if is_past {
            return Ok(());
        }
        if Instant::now() >= until {
            let text = "a transaction on the PostgreSQL server, maybe in another database of it, is open for so long that what was deleted \
                        can't be cleared away yet (xact_start in pg_stat_activity shows it); or a replica is far behind (pg_replication_slots)";
            return Err(StoreError::Unavailable(text.to_owned()));
        }
        sleep(LOOK_EVERY).await;
    }
}

pub(super) async fn vacuum(session: &Session) -> Result<(), StoreError> {
    until_past(session).await?;
    let with_personal_data = Table::ALL.iter().filter(|table| table.holds_personal_data()).map(|table| table.name());
    for table in with_personal_data.chain(OWN_TABLES) {
        session.client.batch_execute(&format!("VACUUM (FULL, ANALYZE) {table}")).await.or_store_error()?;
    }
    // The planner's statistics hold samples of what is in the columns. The fresh ones are in place; the old ones go here.
    let owns: bool = session.client.query_one(OWNS_DATABASE, &[]).await.and_then(|row| row.try_get(0)).or_store_error()?;
    if !owns {
        let text = "the tables are done, but the planner's statistics, which hold samples of their values, only the database's owner can clear: \
                    VACUUM FULL pg_catalog.pg_statistic";
        return Err(StoreError::Unsuitable(text.to_owned()));
    }
    session.client.batch_execute("VACUUM FULL pg_catalog.pg_statistic").await.or_store_error()
}
