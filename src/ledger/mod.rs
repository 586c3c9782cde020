//! The ledger: commands in, outcomes out, and the reads that answers are made of. A request's write path is
//! [`Ledger::execute`] → `executor` → `decide` → the rules in the events crate.

mod catalog;
mod command;
mod decide;
mod executor;
mod forget;
pub mod history;
mod listing;
mod needs;
mod open;
mod outcome;
mod reads;
mod recent;
mod release_reads;
pub mod replay;
mod supply;
mod telemetry;
pub mod tree;
mod workspace;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keyledger_events::{
    Metadata, Timestamp,
    license::AccessRefusal,
    values::{Identifier, LicenseKey},
};
use keyledger_projections::registry::{Versions, compare_versions};
use tokio::sync::{mpsc, oneshot, watch};

pub use catalog::ProductName;
pub use command::*;
pub use executor::{QUEUE_COMMANDS_MAX, QUEUE_WEIGHT_MAX};
pub use forget::{FORGOTTEN_ROWS_MAX, Forget, SubjectName};
pub use open::{OpenError, Options, open_vault};
pub use outcome::*;
pub use reads::{
    Backlog, ContractView, LicenseFilter, LicenseUse, LicenseView,
    webhooks::{WEBHOOK_LAST_FAILURES, WEBHOOK_PLACE, WebhookAttempt, WebhookEndpointView, place_name},
};
pub use release_reads::DomainView;
pub use telemetry::TelemetryFilter;

use crate::{clock::Clock, store::Store, vault::Vault};
use executor::{Job, Shared};
use recent::Recent;

/// Refusals remembered so that a repeated one isn't even queued: one entry for each license, reason and minute.
const REFUSALS_REMEMBERED_MAX: u64 = 10_000;

/// A ledger that is open for reading and writing. Cloning shares it.
#[derive(Clone)]
pub struct Ledger {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    clock: Clock,
    queue: mpsc::Sender<Job>,
    shared: Arc<Shared>,
    recent_refusals: moka::sync::Cache<(String, AccessRefusal), ()>,
    /// True once the executor has stopped.
    executor: watch::Receiver<bool>,
    closing: Arc<watch::Sender<bool>>,
    /// Who forgets a data subject has it: one at a time.
    forgetting: Arc<tokio::sync::Mutex<()>>,
}

impl Ledger {
    /// Executes a command durably: when this returns an outcome, it is on disk.
    ///
    /// # Errors
    /// When there is no outcome; unless the error says otherwise, nothing was done.
    pub async fn execute(&self, request: Request) -> Result<Outcome, ExecuteError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job::new(request, Some(reply)))?;
        answer.await.unwrap_or_else(|_| Err(ExecuteError::Unavailable("the server is stopping".to_owned())))
    }

    fn submit(&self, job: Job) -> Result<(), ExecuteError> {
        let weight = job.weight;
        // A single command is always taken when nothing waits, whatever it weighs.
        if self.shared.queued_weight.fetch_add(weight, Ordering::Relaxed) > QUEUE_WEIGHT_MAX {
            self.shared.queued_weight.fetch_sub(weight, Ordering::Relaxed);
            return Err(ExecuteError::Overloaded);
        }
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(job).map_err(|error| {
            self.shared.queued.fetch_sub(1, Ordering::Relaxed);
            self.shared.queued_weight.fetch_sub(weight, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(_) => ExecuteError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => ExecuteError::Unavailable("the server is stopping".to_owned()),
            }
        })
    }

    /// Has a refusal that a query found recorded, without waiting for it. One for each license, reason and minute; when
    /// the queue is full, none: the query's answer doesn't depend on it.
    pub fn record_refusal(&self, key: &LicenseKey, identifier: Option<&Identifier>, reason: AccessRefusal, block: Option<i64>, origin: Origin) {
        let entry = (format!("{} {}", self.clock.now().minute(), key.as_str()), reason);
        if self.recent_refusals.contains_key(&entry) {
            return;
        }
        let command = Command::RecordRefusal { key: key.clone(), identifier: identifier.cloned(), reason, block };
        if self.submit(Job::new(Request { command, origin, idempotency: None }, None)).is_ok() {
            self.recent_refusals.insert(entry, ());
        }
    }

    #[must_use]
    pub fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Commands that wait.
    #[must_use]
    pub fn queue_length(&self) -> usize {
        self.shared.queued.load(Ordering::Relaxed)
    }

    /// The position after the last event that this process wrote or found at its start.
    #[must_use]
    pub fn head_position(&self) -> i64 {
        *self.shared.head.borrow()
    }

    /// How many events there are, as far as this process knows; tells of each more.
    #[must_use]
    pub fn moved(&self) -> watch::Receiver<i64> {
        self.shared.head.subscribe()
    }

    /// Whether anybody waits for events.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.shared.is_followed()
    }

    /// The end of the log, as far as it is kept for those who follow it.
    #[must_use]
    pub fn recent(&self) -> &Recent {
        &self.shared.recent
    }

    /// Another process appended: so many events there are now.
    pub fn note_moved(&self, next_position: i64) {
        self.shared.move_to(next_position);
    }

    /// There are so many events now, and were so many when that was asked: where they are fewer, those that follow the log learn of it.
    pub fn note_head(&self, known: i64, next_position: i64) {
        self.shared.note_head(known, next_position);
    }

    /// How often there were fewer events than before.
    #[must_use]
    pub fn times_went_back(&self) -> u64 {
        self.shared.went_back.load(Ordering::Relaxed)
    }

    /// Whether commands can be executed now.
    ///
    /// # Errors
    /// Why not.
    pub async fn is_ready(&self) -> Result<(), String> {
        if self.has_stopped() {
            return Err("the executor has stopped".to_owned());
        }
        let head = self.store.head().await.map_err(|error| error.to_string())?;
        match compare_versions(&head.projections) {
            Versions::Same => Ok(()),
            Versions::Older | Versions::Newer => Err("the projections in the database are of another version than this program's".to_owned()),
        }
    }

    /// Takes no more commands, and waits until those that are queued are done. False when that took too long.
    pub async fn close(&self, patience: Duration) -> bool {
        self.closing.send_replace(true);
        tokio::time::timeout(patience, self.stopped()).await.is_ok()
    }

    /// Whether the executor has stopped; before [`Ledger::close`], only a defect does that.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        *self.executor.borrow()
    }

    /// Resolves when the executor has stopped: after [`Ledger::close`], or because a defect ended it.
    pub async fn stopped(&self) {
        let mut executor = self.executor.clone();
        // The executor's end of the channel being gone is the same news.
        let _ = executor.wait_for(|stopped| *stopped).await;
    }
}

/// The metadata of a command's events.
fn metadata(origin: &Origin, request_hash: Option<&[u8]>, decided_at: Timestamp) -> Metadata {
    let (actor, source) = match origin.actor {
        Actor::ApiKey(number) => (format!("api_key:{number}"), "api"),
        Actor::License(number) => (format!("license:{number}"), "license_service"),
        Actor::Contract(number) => (format!("contract:{number}"), "api"),
        Actor::Operator => ("operator".to_owned(), "command_line"),
        Actor::System => ("system".to_owned(), "server"),
    };
    let mut metadata = BTreeMap::from([
        ("actor".to_owned(), actor),
        ("correlation_id".to_owned(), crate::clock::new_id().to_string()),
        ("decided_at".to_owned(), decided_at.to_string()),
        ("request_id".to_owned(), origin.request_id.to_string()),
        ("source".to_owned(), source.to_owned()),
    ]);
    metadata.extend(request_hash.map(|hash| ("idempotency_key_hash".to_owned(), hex::encode(hash))));
    metadata.extend(origin.operation.map(|operation| ("operation".to_owned(), operation.to_owned())));
    metadata.extend(origin.operator.clone().map(|operator| ("operator".to_owned(), operator)));
    metadata.extend(origin.reason.clone().map(|reason| ("reason".to_owned(), reason)));
    metadata
}
