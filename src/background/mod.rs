//! What a server does by itself: queued assignments, and deliveries to web hooks. All of it is in the ledger, so that another
//! server, or this one after a restart, goes on where one was stopped.

mod deliveries;
mod jobs;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::app::App;

/// How often the ledger is asked for something to do: what another server queued, and what is due again, waits no longer. What
/// this server queues itself is done at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the backlog is counted for the metrics.
const COUNT_EVERY: Duration = Duration::from_secs(15);
/// Calls to web hooks at the same time: they mostly wait.
const CALLS_MAX: usize = 32;

/// Works until it is dropped. What is interrupted is done again: an assignment is one transaction, and a call that was made
/// but not recorded is made once more.
pub async fn run(app: Arc<App>) {
    let mut calls = JoinSet::new();
    let mut counted: Option<Instant> = None;
    loop {
        jobs::do_waiting(&app).await;
        deliveries::start_due(&app, &mut calls, CALLS_MAX).await;
        if counted.is_none_or(|at| at.elapsed() >= COUNT_EVERY) {
            count(&app).await;
            counted = Some(Instant::now());
        }
        tokio::select! {
            () = app.wake.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            Some(_) = calls.join_next(), if !calls.is_empty() => {}
        }
        while calls.try_join_next().is_some() {}
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; these are far below 2^53")]
async fn count(app: &App) {
    match app.ledger.backlog().await {
        Ok(backlog) => {
            metrics::gauge!("keyledger_deliveries_pending").set(backlog.deliveries_pending as f64);
            metrics::gauge!("keyledger_deliveries_given_up").set(backlog.deliveries_given_up as f64);
            metrics::gauge!("keyledger_assignment_jobs_waiting").set(backlog.jobs_waiting as f64);
        }
        Err(error) => tracing::debug!(%error, "the backlog can't be counted"),
    }
}
