//! Web hook endpoints: where each has come to, and what came of its attempts.

use std::collections::HashSet;
use std::sync::LazyLock;

use keyledger_events::{Timestamp, webhook_endpoint::ENDPOINTS_MAX};
use keyledger_projections::{ReadError, Table, Value, Values, WebhookEndpointRow};

use super::{columns, read};
use crate::{ledger::Ledger, store::StoreError};

/// An endpoint, and the last event that it is done with.
#[derive(Clone, Debug)]
pub struct WebhookEndpointView {
    pub row: WebhookEndpointRow,
    pub position: i64,
    /// How many events there are behind it, wanted or not.
    pub lag: i64,
}

/// One call of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookAttempt {
    pub number: i64,
    pub position: i64,
    /// Which one it is of its event.
    pub attempt: i64,
    pub at: Timestamp,
    pub took_ms: i64,
    pub status: Option<i64>,
    /// A class of errors; none where it was taken.
    pub error: Option<String>,
    /// When the first attempt of its event was made that failed.
    pub failing_since: Option<Timestamp>,
}

/// The events behind a place that were taken since the endpoint began for the last time: not more than go beyond a place.
const TAKEN: &str = "SELECT position FROM webhook_attempt WHERE endpoint = $1 AND replays = $2 AND position > $3 AND error IS NULL";

/// Of the events behind a place, the number of the last attempt that failed since the endpoint began for the last time.
pub const WEBHOOK_LAST_FAILURES: &str = "SELECT max(number) FROM webhook_attempt WHERE endpoint = $1 AND replays = $2 AND position > $3 \
                                         AND error IS NOT NULL GROUP BY position";

static FAILED: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {ATTEMPT_COLUMNS} FROM webhook_attempt WHERE endpoint = $1 AND number IN ({WEBHOOK_LAST_FAILURES})"));

/// What the place in the log of an endpoint `t` is called, as [`place_name`] has it.
pub const WEBHOOK_PLACE: &str = "'webhook/' || t.number || '/' || t.replays";

/// What the place in the log is called: each beginning has a place of its own.
#[must_use]
pub fn place_name(row: &WebhookEndpointRow) -> String {
    format!("webhook/{}/{}", row.endpoint.number, row.endpoint.replays)
}

fn views(condition: &str) -> String {
    format!(
        "SELECT {}, coalesce(c.position, t.begun_after), (SELECT next_position FROM head) - 1 - coalesce(c.position, t.begun_after) \
         FROM webhook_endpoint t LEFT JOIN consumer c ON c.name = {WEBHOOK_PLACE} \
         WHERE NOT t.deleted AND {condition}",
        columns(Table::WebhookEndpoint, "t")
    )
}

static ENDPOINT: LazyLock<String> = LazyLock::new(|| views("t.number = $1"));
static ENDPOINTS: LazyLock<String> = LazyLock::new(|| views("t.number > $1 ORDER BY t.number LIMIT $2"));

static ACTIVE: LazyLock<String> = LazyLock::new(|| {
    let columns = columns(Table::WebhookEndpoint, "t");
    format!("SELECT {columns} FROM webhook_endpoint t WHERE NOT t.deleted AND t.paused IS NULL ORDER BY t.number LIMIT $1")
});

const ATTEMPT_COLUMNS: &str = "number, position, attempt, at, took_ms, status, error, failing_since";

static ATTEMPTS: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {ATTEMPT_COLUMNS} FROM webhook_attempt WHERE endpoint = $1 AND number < $2 ORDER BY number DESC LIMIT $3"));

static FAILURES: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT {ATTEMPT_COLUMNS} FROM webhook_attempt WHERE endpoint = $1 AND number < $2 AND error IS NOT NULL ORDER BY number DESC LIMIT $3")
});

fn view(values: &mut Values) -> Result<WebhookEndpointView, ReadError> {
    Ok(WebhookEndpointView { row: WebhookEndpointRow::read(values)?, position: values.int()?, lag: values.int()? })
}

fn attempt(values: &mut Values) -> Result<WebhookAttempt, ReadError> {
    Ok(WebhookAttempt {
        number: values.int()?,
        position: values.int()?,
        attempt: values.int()?,
        at: values.time()?,
        took_ms: values.int()?,
        status: values.maybe_int()?,
        error: values.maybe_text()?,
        failing_since: values.maybe_time()?,
    })
}

impl Ledger {
    /// A web hook endpoint that is not deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn webhook_endpoint(&self, number: i64) -> Result<Option<WebhookEndpointView>, StoreError> {
        let row = self.store.query(ENDPOINT.as_str(), &[number.into()]).await?.pop();
        row.map(|row| read(Table::WebhookEndpoint, row, view)).transpose()
    }

    /// Web hook endpoints that are not deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn webhook_endpoints(&self, after: Option<i64>, limit: i64) -> Result<Vec<WebhookEndpointView>, StoreError> {
        let rows = self.query_list(ENDPOINTS.as_str(), vec![after.unwrap_or(0).into(), limit.into()]).await?;
        rows.into_iter().map(|row| read(Table::WebhookEndpoint, row, view)).collect()
    }

    /// Web hook endpoints that are told of events at present.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn active_webhook_endpoints(&self) -> Result<Vec<WebhookEndpointRow>, StoreError> {
        let rows = self.store.query(ACTIVE.as_str(), &[ENDPOINTS_MAX.into()]).await?;
        rows.into_iter().map(|row| read(Table::WebhookEndpoint, row, WebhookEndpointRow::read)).collect()
    }

    /// The events behind the place of an endpoint that were taken all the same.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn webhook_taken(&self, row: &WebhookEndpointRow, place: i64) -> Result<HashSet<i64>, StoreError> {
        let rows = self.query_list(TAKEN, vec![row.number().into(), row.endpoint.replays.into(), place.into()]).await?;
        rows.into_iter().map(|row| read(Table::WebhookEndpoint, row, Values::int)).collect()
    }

    /// The events behind the place of an endpoint that were not taken: the last attempt of each. There are no more than go beyond a place.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn webhook_failed(&self, row: &WebhookEndpointRow, place: i64) -> Result<Vec<WebhookAttempt>, StoreError> {
        let rows = self.query_list(FAILED.as_str(), vec![row.number().into(), row.endpoint.replays.into(), place.into()]).await?;
        rows.into_iter().map(|row| read(Table::WebhookEndpoint, row, attempt)).collect()
    }

    /// The attempts of an endpoint, newest first, below a number: all of them, or those that failed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn webhook_attempts(&self, endpoint: i64, failed: bool, below: i64, limit: i64) -> Result<Vec<WebhookAttempt>, StoreError> {
        let sql = if failed { &FAILURES } else { &ATTEMPTS };
        let rows: Vec<Vec<Value>> = self.query_list(sql.as_str(), vec![endpoint.into(), below.into(), limit.into()]).await?;
        rows.into_iter().map(|row| read(Table::WebhookEndpoint, row, attempt)).collect()
    }
}
