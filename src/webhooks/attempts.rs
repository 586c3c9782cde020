//! The calls that were made, as they are kept: bounded for each endpoint.

use std::sync::Arc;

use crate::{
    ledger::WebhookAttempt,
    store::{Statement, Store, StoreError},
};

/// Attempts kept of an endpoint: the newest ones, and as many of the newest that failed.
pub(super) const KEPT_MAX: i64 = 1_000;

const INSERT: &str = "INSERT INTO webhook_attempt (endpoint, number, position, attempt, at, took_ms, status, error, failing_since) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const PRUNE_TAKEN: &str = "DELETE FROM webhook_attempt WHERE endpoint = $1 AND number <= $2 AND error IS NULL";
const PRUNE_FAILED: &str = "DELETE FROM webhook_attempt WHERE endpoint = $1 AND error IS NOT NULL AND number <= \
                            (SELECT number FROM webhook_attempt WHERE endpoint = $1 AND error IS NOT NULL ORDER BY number DESC LIMIT 1 OFFSET $2)";

const TIDY_ATTEMPTS: &str =
    "DELETE FROM webhook_attempt WHERE endpoint NOT IN (SELECT number FROM webhook_endpoint WHERE NOT deleted) RETURNING endpoint";
const TIDY_PLACES: &str = "DELETE FROM consumer WHERE name LIKE 'webhook/%' AND name NOT IN \
                           (SELECT 'webhook/' || number || '/' || replays FROM webhook_endpoint WHERE NOT deleted) RETURNING name";

/// What keeps these attempts, and no more than are kept.
pub(super) fn keep(endpoint: i64, attempts: &[WebhookAttempt]) -> Vec<Statement> {
    let Some(last) = attempts.last() else { return Vec::new() };
    let insert = |attempt: &WebhookAttempt| {
        let WebhookAttempt { number, position, attempt, at, took_ms, status, error, failing_since } = attempt;
        let values = vec![
            endpoint.into(),
            (*number).into(),
            (*position).into(),
            (*attempt).into(),
            (*at).into(),
            (*took_ms).into(),
            (*status).into(),
            error.as_deref().into(),
            (*failing_since).into(),
        ];
        Statement::new(INSERT, values)
    };
    let mut statements: Vec<Statement> = attempts.iter().map(insert).collect();
    statements.push(Statement::new(PRUNE_TAKEN, vec![endpoint.into(), (last.number - KEPT_MAX).into()]));
    if attempts.iter().any(|attempt| attempt.error.is_some()) {
        statements.push(Statement::new(PRUNE_FAILED, vec![endpoint.into(), KEPT_MAX.into()]));
    }
    statements
}

/// Clears away what belonged to deleted endpoints, and places that a replay has left.
pub(super) async fn tidy(store: &Arc<dyn Store>) -> Result<(), StoreError> {
    for sql in [TIDY_ATTEMPTS, TIDY_PLACES] {
        store.change(&[Statement::new(sql, Vec::new())]).await?;
    }
    Ok(())
}
