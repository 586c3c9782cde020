//! Deliveries: what is due is begun, sent, and what came of it recorded. Beginning an attempt is a command, decided under the
//! head lock: of several servers one makes it.

use std::sync::Arc;
use std::time::Duration;

use keyledger_events::delivery::{DeliveryCommand, DeliveryKind};
use keyledger_projections::DeliveryRow;
use tokio::task::JoinSet;

use crate::{
    app::App,
    http::webhook::{BodyError, assignment_body, deactivation_body},
    ledger::{Command, CommandResult, ExecuteError, Origin, Request},
    outgoing::webhook::{self, NotTaken},
    store::StoreError,
    vault,
};

/// How often the end of an attempt is tried to be recorded. After that the attempt counts as lost, and is made again.
const RECORD_TRIES: u32 = 5;
const RECORD_PAUSE: Duration = Duration::from_secs(2);

/// What became of one attempt.
#[derive(Debug)]
enum Ended {
    Taken { status: u16 },
    Failed { error: &'static str, status: Option<u16>, is_final: bool },
}

impl Ended {
    fn failed(error: &'static str) -> Self {
        Self::Failed { error, status: None, is_final: false }
    }

    /// There is nothing that could be sent, or nowhere to send it.
    fn hopeless(error: &'static str) -> Self {
        Self::Failed { error, status: None, is_final: true }
    }
}

/// Begins the attempts that are due, as far as there is room for their calls.
pub(super) async fn start_due(app: &Arc<App>, calls: &mut JoinSet<()>, calls_max: usize) {
    let room = calls_max.saturating_sub(calls.len());
    if room == 0 {
        return;
    }
    let due = match app.ledger.due_deliveries(app.clock.now(), room as i64).await {
        Ok(due) => due,
        Err(error) => return tracing::warn!(%error, "due deliveries can't be read"),
    };
    for row in due {
        match execute(app, row.delivery.number, DeliveryCommand::Start).await {
            Ok(CommandResult::DeliveryStarted { attempt }) => {
                let app = Arc::clone(app);
                calls.spawn(async move { attempt_and_record(&app, &row, attempt).await });
            }
            // Another server began it, or it was given up.
            Ok(_) => {}
            Err(error) => return tracing::warn!(%error, "deliveries wait"),
        }
    }
}

async fn execute(app: &App, delivery: i64, command: DeliveryCommand) -> Result<CommandResult, ExecuteError> {
    let origin = Origin { operation: Some("deliver"), ..Origin::system() };
    let request = Request { command: Command::Delivery { delivery, command }, origin, idempotency: None };
    app.ledger.execute(request).await.map(|outcome| outcome.result)
}

async fn attempt_and_record(app: &App, row: &DeliveryRow, attempt: i64) {
    let number = row.delivery.number;
    let ended = send(app, row).await.unwrap_or_else(|error| {
        tracing::warn!(%error, delivery = number, "a delivery could not be made ready");
        Ended::failed("not_ready")
    });
    let (outcome, command) = match ended {
        Ended::Taken { status } => ("delivered", DeliveryCommand::Succeed { attempt, status: status.into() }),
        Ended::Failed { error, status, is_final } => {
            tracing::info!(delivery = number, attempt, error, status, "an attempt to deliver failed");
            ("failed", DeliveryCommand::Fail { attempt, error, status: status.map(i64::from), jitter: jitter(), is_final })
        }
    };
    metrics::counter!("keyledger_delivery_attempts_total", "outcome" => outcome).increment(1);
    for _ in 0..RECORD_TRIES {
        match execute(app, number, command.clone()).await {
            Ok(_) => return,
            Err(error) => tracing::warn!(%error, delivery = number, "the end of an attempt to deliver can't be recorded yet"),
        }
        tokio::time::sleep(RECORD_PAUSE).await;
    }
}

/// 0 to 1,000.
fn jitter() -> i64 {
    vault::random::<4>().map_or(500, |bytes| i64::from(u32::from_be_bytes(bytes) % 1_001))
}

#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Body(#[from] BodyError),
}

async fn send(app: &App, row: &DeliveryRow) -> Result<Ended, NotReady> {
    let (url, body) = match message(app, row).await? {
        Ok(message) => message,
        Err(ended) => return Ok(ended),
    };
    let id = row.id.to_string();
    let [id, timestamp, signature] = app.ledger.vault().webhook_secret().headers(&id, app.clock.now(), &body);
    let headers = [id, timestamp, signature, ("content-type", "application/json".to_owned())];
    Ok(match webhook::post(&app.outgoing, &url, &headers, body).await {
        Ok(status) => Ended::Taken { status },
        Err(NotTaken { error, status }) => Ended::Failed { error, status, is_final: false },
    })
}

/// Where it goes and what it says, as the rows have it now.
async fn message(app: &App, row: &DeliveryRow) -> Result<Result<(String, Vec<u8>), Ended>, NotReady> {
    let delivery = &row.delivery;
    match delivery.kind {
        DeliveryKind::AssignmentJob => {
            let job = app.ledger.assignment_job(delivery.job.unwrap_or_default()).await?;
            let Some((job, url)) = job.and_then(|job| job.job.webhook_url.clone().map(|url| (job, url))) else {
                return Ok(Err(Ended::hopeless("no_url")));
            };
            let body = assignment_body(app, &job).await?;
            Ok(Ok((url, body)))
        }
        DeliveryKind::ActivationEnded | DeliveryKind::ProductActivationEnded => {
            let activation = app.ledger.activation(delivery.activation.unwrap_or_default()).await?;
            let license = app.ledger.license_even_deleted(delivery.license.unwrap_or_default()).await?;
            let (Some(activation), Some(license)) = (activation, license) else { return Ok(Err(Ended::hopeless("no_activation"))) };
            let url = if delivery.kind == DeliveryKind::ActivationEnded {
                activation.activation.post_url.clone()
            } else {
                app.ledger.product(delivery.product).await?.map(|row| row.product.post_url)
            };
            let Some(url) = url.filter(|url| !url.is_empty()) else { return Ok(Err(Ended::hopeless("no_url"))) };
            let body = deactivation_body(app, &license, &activation).await?;
            Ok(Ok((url, body)))
        }
    }
}
