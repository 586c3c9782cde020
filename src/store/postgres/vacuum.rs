//! Tables written anew, so that nothing that was deleted is left in their files.

use keyledger_projections::Table;

use super::{error::OrStoreError, session::Session};
use crate::store::StoreError;

/// The ledger's own tables that rows are deleted from.
const OWN_TABLES: [&str; 2] = ["subject", "request"];
/// Only a role that may do this to it does: the server warns others, and goes on.
const OWNS_DATABASE: &str = "SELECT rolsuper OR pg_has_role(datdba, 'MEMBER') FROM pg_database, pg_roles \
                             WHERE datname = current_database() AND rolname = current_user";

pub(super) async fn vacuum(session: &Session) -> Result<(), StoreError> {
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
