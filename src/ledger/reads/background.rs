//! What is done in the background: queued assignments and deliveries.

use std::sync::LazyLock;

use keyledger_events::{Timestamp, delivery::DeliveryState};
use keyledger_projections::{ActivationRow, AssignmentJobRow, DeliveryRow, LicenseRow, Table, Value};

use super::{columns, read};
use crate::{
    ledger::{LICENSES_MAX, Ledger},
    store::StoreError,
};

static WAITING_JOBS: LazyLock<String> = LazyLock::new(|| {
    let columns = columns(Table::AssignmentJob, "j");
    format!("SELECT {columns} FROM assignment_job j WHERE j.result IS NULL AND j.number > $1 ORDER BY j.number LIMIT $2")
});

static JOB: LazyLock<String> = LazyLock::new(|| format!("SELECT {} FROM assignment_job j WHERE j.number = $1", columns(Table::AssignmentJob, "j")));

static LICENSES_OF_JOB: LazyLock<String> = LazyLock::new(|| {
    let columns = columns(Table::License, "l");
    format!("SELECT {columns} FROM license l WHERE l.job = $1 AND l.job IS NOT NULL AND NOT l.deleted ORDER BY l.number LIMIT $2")
});

static DUE: LazyLock<String> = LazyLock::new(|| {
    let columns = columns(Table::Delivery, "d");
    format!("SELECT {columns} FROM delivery d WHERE d.due_at <= $1 AND d.state = 'pending' ORDER BY d.due_at LIMIT $2")
});

static DELIVERY: LazyLock<String> = LazyLock::new(|| format!("SELECT {} FROM delivery d WHERE d.number = $1", columns(Table::Delivery, "d")));

fn deliveries(condition: &str) -> String {
    let columns = columns(Table::Delivery, "d");
    format!("SELECT {columns} FROM delivery d WHERE d.number < $1 {condition} ORDER BY d.number DESC LIMIT $2")
}

static DELIVERIES: LazyLock<String> = LazyLock::new(|| deliveries(""));
static DELIVERIES_PENDING: LazyLock<String> = LazyLock::new(|| deliveries("AND d.state = 'pending'"));
static DELIVERIES_GIVEN_UP: LazyLock<String> = LazyLock::new(|| deliveries("AND d.state = 'given_up'"));
static DELIVERIES_DELIVERED: LazyLock<String> = LazyLock::new(|| deliveries("AND d.state = 'delivered'"));

static UNDELIVERED: &str = "SELECT (SELECT count(*) FROM delivery WHERE state = 'pending'), (SELECT count(*) FROM delivery WHERE state = 'given_up'), \
                            (SELECT count(*) FROM assignment_job WHERE result IS NULL)";

static ACTIVATION: LazyLock<String> = LazyLock::new(|| format!("SELECT {} FROM activation a WHERE a.number = $1", columns(Table::Activation, "a")));

/// How much there is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub deliveries_pending: i64,
    pub deliveries_given_up: i64,
    pub jobs_waiting: i64,
}

fn delivery(row: Vec<Value>) -> Result<DeliveryRow, StoreError> {
    read(Table::Delivery, row, DeliveryRow::read)
}

impl Ledger {
    /// Queued assignments that are not done, in their order, after one of them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn waiting_jobs(&self, after: i64, limit: i64) -> Result<Vec<AssignmentJobRow>, StoreError> {
        let rows = self.query_list(WAITING_JOBS.as_str(), vec![after.into(), limit.into()]).await?;
        rows.into_iter().map(|row| read(Table::AssignmentJob, row, AssignmentJobRow::read)).collect()
    }

    /// # Errors
    /// When the store fails.
    pub async fn assignment_job(&self, number: i64) -> Result<Option<AssignmentJobRow>, StoreError> {
        let mut rows = self.store.query(JOB.as_str(), &[number.into()]).await?;
        rows.pop().map(|row| read(Table::AssignmentJob, row, AssignmentJobRow::read)).transpose()
    }

    /// The licenses that a queued assignment gave to their present owners.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn licenses_of_job(&self, job: i64) -> Result<Vec<LicenseRow>, StoreError> {
        let rows = self.query_list(LICENSES_OF_JOB.as_str(), vec![job.into(), (LICENSES_MAX as i64).into()]).await?;
        rows.into_iter().map(|row| read(Table::License, row, LicenseRow::read)).collect()
    }

    /// Deliveries whose next attempt is due, longest due first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn due_deliveries(&self, now: Timestamp, limit: i64) -> Result<Vec<DeliveryRow>, StoreError> {
        let rows = self.query_list(DUE.as_str(), vec![now.into(), limit.into()]).await?;
        rows.into_iter().map(delivery).collect()
    }

    /// # Errors
    /// When the store fails.
    pub async fn delivery(&self, number: i64) -> Result<Option<DeliveryRow>, StoreError> {
        self.store.query(DELIVERY.as_str(), &[number.into()]).await?.pop().map(delivery).transpose()
    }

    /// Deliveries, newest first, of one state or of all, below a number.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn deliveries(&self, state: Option<DeliveryState>, below: i64, limit: i64) -> Result<Vec<DeliveryRow>, StoreError> {
        let sql = match state {
            None => &DELIVERIES,
            Some(DeliveryState::Pending) => &DELIVERIES_PENDING,
            Some(DeliveryState::GivenUp) => &DELIVERIES_GIVEN_UP,
            Some(DeliveryState::Delivered) => &DELIVERIES_DELIVERED,
        };
        let rows = self.query_list(sql.as_str(), vec![below.into(), limit.into()]).await?;
        rows.into_iter().map(delivery).collect()
    }

    /// # Errors
    /// When the store fails.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        let row = self.query_list(UNDELIVERED, Vec::new()).await?.pop().unwrap_or_default();
        read(Table::Delivery, row, |values| {
            Ok(Backlog { deliveries_pending: values.int()?, deliveries_given_up: values.int()?, jobs_waiting: values.int()? })
        })
    }

    /// An activation, in force or not.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn activation(&self, number: i64) -> Result<Option<ActivationRow>, StoreError> {
        let mut rows = self.store.query(ACTIVATION.as_str(), &[number.into()]).await?;
        rows.pop().map(|row| read(Table::Activation, row, ActivationRow::read)).transpose()
    }
}
