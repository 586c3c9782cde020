//! Queued assignments, done one after the other.

use crate::{
    app::App,
    ledger::{Assignment, Command, CommandResult, ExecuteError, Origin, OwnerInput, Request},
};
use keyledger_projections::AssignmentJobRow;

/// Jobs read at a time.
const PAGE: i64 = 100;

/// Does all jobs that wait. One that fails doesn't hold up the others; it is tried again with the next look.
pub(super) async fn do_waiting(app: &App) {
    let mut after = 0;
    loop {
        let jobs = match app.ledger.waiting_jobs(after, PAGE).await {
            Ok(jobs) => jobs,
            Err(error) => return tracing::warn!(%error, "queued assignments can't be read"),
        };
        let Some(last) = jobs.last() else { return };
        after = last.job.number;
        for row in jobs {
            let number = row.job.number;
            match run(app, row).await {
                Ok(CommandResult::JobFinished(result)) => {
                    metrics::counter!("keyledger_assignment_jobs_total", "result" => result.as_str()).increment(1);
                    app.wake.notify_one();
                }
                // Another server was first.
                Ok(_) => {}
                Err(error @ (ExecuteError::Unavailable(_) | ExecuteError::Overloaded | ExecuteError::Unknown(_))) => {
                    return tracing::warn!(%error, "queued assignments wait");
                }
                Err(error) => tracing::error!(%error, job = number, "a queued assignment failed"),
            }
        }
    }
}

async fn run(app: &App, row: AssignmentJobRow) -> Result<CommandResult, ExecuteError> {
    let job = row.job;
    let assignment = Assignment {
        product: job.product,
        quantity: job.quantity,
        generate: job.generate,
        owner: OwnerInput { name: job.owner_name, email: job.owner_email },
    };
    let command = Command::RunJob { job: job.number, assignment, supply: None };
    let origin = Origin { operation: Some("run-assignment-job"), ..Origin::system() };
    let outcome = app.ledger.execute_supplied(Request { command, origin, idempotency: None }, None).await?;
    Ok(outcome.result)
}
