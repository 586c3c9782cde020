//! The calls that were made, as they are kept: bounded for each endpoint.

use std::sync::{Arc, LazyLock};

use keyledger_projections::{Value, WebhookEndpointRow};

use crate::{
    ledger::{WEBHOOK_LAST_FAILURES, WEBHOOK_PLACE, WebhookAttempt},
    store::{Statement, Store, StoreError},
};

/// Attempts kept of an endpoint: the newest ones, as many of the newest that failed, and beside them what is behind the place.
const KEPT_MAX: i64 = 1_000;

const COLUMNS: [&str; 10] = ["endpoint", "replays", "number", "position", "attempt", "at", "took_ms", "status", "error", "failing_since"];
/// Attempts that one statement inserts: each takes a round trip, on the one connection that all endpoints share.
const TOGETHER: usize = 16;

static INSERT_ONE: LazyLock<String> = LazyLock::new(|| insert_sql(1));
static INSERT_TOGETHER: LazyLock<String> = LazyLock::new(|| insert_sql(TOGETHER));

fn insert_sql(rows: usize) -> String {
    let row = |row: usize| (1..=COLUMNS.len()).map(|at| format!("${}", row * COLUMNS.len() + at)).collect::<Vec<_>>().join(", ");
    let rows = (0..rows).map(|at| format!("({})", row(at))).collect::<Vec<_>>().join(", ");
    // After a replay two servers may write for a moment; a line of the log is then left out.
    format!("INSERT INTO webhook_attempt ({}) VALUES {rows} ON CONFLICT (endpoint, number) DO NOTHING", COLUMNS.join(", "))
}

/// What was taken beyond the place stays: it is not to be sent again.
const PRUNE_TAKEN: &str = "DELETE FROM webhook_attempt WHERE endpoint = $1 AND number <= $2 AND position <= $3 AND error IS NULL";
/// The last failure of an event behind the place stays: it says since when it fails, and when it is tried again.
static PRUNE_FAILED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "DELETE FROM webhook_attempt WHERE endpoint = $1 AND error IS NOT NULL AND number NOT IN ({WEBHOOK_LAST_FAILURES}) AND number <= \
         (SELECT number FROM webhook_attempt WHERE endpoint = $1 AND error IS NOT NULL ORDER BY number DESC LIMIT 1 OFFSET $4)"
    )
});

const TIDY_ATTEMPTS: &str =
    "DELETE FROM webhook_attempt WHERE endpoint NOT IN (SELECT number FROM webhook_endpoint WHERE NOT deleted) RETURNING endpoint";
static TIDY_PLACES: LazyLock<String> = LazyLock::new(|| {
    format!(
        "DELETE FROM consumer WHERE name LIKE 'webhook/%' AND name NOT IN \
         (SELECT {WEBHOOK_PLACE} FROM webhook_endpoint t WHERE NOT t.deleted) RETURNING name"
    )
});

/// What keeps these attempts, and no more than are kept.
pub(super) fn keep(row: &WebhookEndpointRow, place: i64, attempts: &[WebhookAttempt]) -> Vec<Statement> {
    let (endpoint, replays) = (row.number(), row.endpoint.replays);
    let Some(last) = attempts.last() else { return Vec::new() };
    let values = |attempt: &WebhookAttempt| -> [Value; COLUMNS.len()] {
        let WebhookAttempt { number, position, attempt, at, took_ms, status, error, failing_since } = attempt;
        [
            endpoint.into(),
            replays.into(),
            (*number).into(),
            (*position).into(),
            (*attempt).into(),
            (*at).into(),
            (*took_ms).into(),
            (*status).into(),
            error.as_deref().into(),
            (*failing_since).into(),
        ]
    };
    let (many, rest) = attempts.as_chunks::<TOGETHER>();
    let mut statements: Vec<Statement> =
        many.iter().map(|many| Statement::new(INSERT_TOGETHER.as_str(), many.iter().flat_map(values).collect::<Vec<_>>())).collect();
    statements.extend(rest.iter().map(|attempt| Statement::new(INSERT_ONE.as_str(), values(attempt))));
    statements.push(Statement::new(PRUNE_TAKEN, vec![endpoint.into(), (last.number - KEPT_MAX).into(), place.into()]));
    if attempts.iter().any(|attempt| attempt.error.is_some()) {
        statements.push(Statement::new(PRUNE_FAILED.as_str(), vec![endpoint.into(), replays.into(), place.into(), KEPT_MAX.into()]));
    }
    statements
}

/// Clears away what belonged to deleted endpoints, and places that a replay has left.
pub(super) async fn tidy(store: &Arc<dyn Store>) -> Result<(), StoreError> {
    for sql in [TIDY_ATTEMPTS, TIDY_PLACES.as_str()] {
        store.change(&[Statement::new(sql, Vec::new())]).await?;
    }
    Ok(())
}
