//! The serial executor: it takes the commands that wait, decides them one after another under the head lock, and writes
//! them as one transaction. While a commit is on its way the next batch fills.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keyledger_events::Timestamp;
use keyledger_projections::registry::{Versions, compare_versions};
use metrics::{Counter, Histogram};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    command::{CommandResult, ExecuteError, Idempotency, Outcome, Request},
    decide::execute,
    needs::{disturbs, further_needs, needs},
    recent::Recent,
    workspace::Workspace,
};
use crate::{
    clock::Clock,
    store::{Lookups, Store, StoreError, StoredRequest, Transaction},
    vault::Vault,
};

/// Commands that may wait. At 20,000 commands a second it is a fifth of a second's work; more would only wait longer.
pub const QUEUE_COMMANDS_MAX: usize = 4_096;
/// What all waiting commands together may weigh: 16 calls of 10,000 licenses.
pub const QUEUE_WEIGHT_MAX: usize = 160_000;
/// Commands in one transaction. Beyond a few hundred the cost of the commit is spread thin enough.
const BATCH_COMMANDS_MAX: usize = 512;
/// What the commands of a transaction may weigh together: it bounds its events, so its memory and the time of the lock.
const BATCH_WEIGHT_MAX: usize = 20_000;
/// How long a batch waits in all for the callers that the last one answered, and how long after the last that came. They
/// ask again within a tenth of a millisecond; a batch without them costs as much as one with them.
const FILL_WAIT_MAX: Duration = Duration::from_micros(400);
const FILL_QUIET: Duration = Duration::from_micros(60);
/// How long an idempotency key is remembered.
const REQUEST_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How often expired idempotency records are cleared away, a thousand at a time: as fast as they can be made.
const REQUEST_CLEANUP_EVERY: Duration = Duration::from_millis(100);
/// How long the fate of a commit is asked after when the connection broke: longer than a stalled transaction may hold
/// the lock and a restart of the database takes.
const FATE_ASKED_FOR: Duration = Duration::from_secs(30);
const FATE_ASKED_EVERY: Duration = Duration::from_millis(250);

pub(super) type Reply = oneshot::Sender<Result<Outcome, ExecuteError>>;

/// A command on its way.
pub(super) struct Job {
    pub request: Request,
    /// Nobody waits for the answer of a recorded refusal.
    pub reply: Option<Reply>,
    pub weight: usize,
}

impl Job {
    pub(super) fn new(request: Request, reply: Option<Reply>) -> Self {
        let weight = request.command.weight();
        Self { request, reply, weight }
    }
}

/// What the executor and those who ask it share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub queued: AtomicUsize,
    pub queued_weight: AtomicUsize,
    /// How many events this process knows of.
    pub head: watch::Sender<i64>,
    /// How often it knew of more than there were.
    pub went_back: AtomicU64,
    pub recent: Recent,
}

impl Shared {
    pub fn is_followed(&self) -> bool {
        self.head.receiver_count() > 0
    }

    pub fn move_to(&self, next_position: i64) {
        self.head.send_if_modified(|known| {
            let is_further = *known < next_position;
            *known = next_position.max(*known);
            is_further
        });
    }

    /// So many events there are, where so many were known.
    pub fn note_head(&self, known: i64, next_position: i64) {
        if next_position < known {
            tracing::error!(known, next_position, "the log has fewer events than it had: was an old copy put back?");
            self.went_back.fetch_add(1, Ordering::Relaxed);
            self.recent.clear();
            self.head.send_replace(next_position);
        }
        self.move_to(next_position);
    }
}

struct Meters {
    batch_commands: Histogram,
    batch_events: Histogram,
    batch_seconds: Histogram,
    commits: Counter,
    failures: Counter,
}

pub(super) struct Executor {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    clock: Clock,
    shared: Arc<Shared>,
    meters: Meters,
    cleaned_up: Instant,
}

type Results = Vec<Result<Outcome, ExecuteError>>;

impl Executor {
    pub(super) fn new(store: Arc<dyn Store>, vault: Arc<Vault>, clock: Clock, shared: Arc<Shared>) -> Self {
        let meters = Meters {
            batch_commands: metrics::histogram!("keyledger_commit_batch_commands"),
            batch_events: metrics::histogram!("keyledger_commit_batch_events"),
            batch_seconds: metrics::histogram!("keyledger_commit_seconds"),
            commits: metrics::counter!("keyledger_commits_total"),
            failures: metrics::counter!("keyledger_commit_failures_total"),
        };
        Self { store, vault, clock, shared, meters, cleaned_up: Instant::now() }
    }

    /// Runs until it is told to close, or the last sender is gone, and the queue is empty.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Job>, mut closing: watch::Receiver<bool>) {
        let mut open = true;
        let mut expected = 0;
        loop {
            let first = tokio::select! {
                biased;
                job = queue.recv() => match job {
                    Some(job) => job,
                    None => break,
                },
                _ = closing.wait_for(|closing| *closing), if open => {
                    // Nothing more comes in; what waits is done still.
                    queue.close();
                    open = false;
                    continue;
                }
            };
            fill(&queue, expected);
            let mut weight = first.weight;
            let mut jobs = vec![first];
            while jobs.len() < BATCH_COMMANDS_MAX && weight < BATCH_WEIGHT_MAX {
                let Ok(job) = queue.try_recv() else { break };
                weight += job.weight;
                jobs.push(job);
            }
            self.shared.queued.fetch_sub(jobs.len(), Ordering::Relaxed);
            self.shared.queued_weight.fetch_sub(weight, Ordering::Relaxed);
            self.meters.batch_commands.record(jobs.len() as f64);
            let requests: Vec<&Request> = jobs.iter().map(|job| &job.request).collect();
            let results = self.execute_batch(&requests).await;
            let answered = jobs.len();
            for (job, result) in jobs.into_iter().zip(results) {
                if let Some(reply) = job.reply {
                    // Who asked may be gone; the effect stays.
                    let _ = reply.send(result);
                }
            }
            // Those who were answered, and those who wait already.
            expected = (answered + queue.len()).min(BATCH_COMMANDS_MAX);
        }
    }

    async fn execute_batch(&mut self, requests: &[&Request]) -> Results {
        let started = Instant::now();
        let result = self.attempt(requests).await;
        let results = match result {
            Ok(results) => results,
            // What the database refuses is one command's doing: alone, each gets its own answer.
            Err(ExecuteError::Internal(error)) if requests.len() > 1 => {
                tracing::error!(error, commands = requests.len(), "a batch was refused; its commands are executed one by one");
                self.meters.failures.increment(1);
                let mut results = Vec::with_capacity(requests.len());
                for request in requests {
                    results.push(match self.attempt(std::slice::from_ref(request)).await {
                        Ok(mut alone) => alone.pop().unwrap_or_else(|| Err(super::workspace::internal("no result"))),
                        Err(error) => Err(error),
                    });
                }
                results
            }
            Err(error) => {
                self.meters.failures.increment(1);
                tracing::warn!(%error, commands = requests.len(), "a batch was not executed");
                requests.iter().map(|_| Err(error.clone())).collect()
            }
        };
        self.meters.batch_seconds.record(started.elapsed().as_secs_f64());
        results
    }

    /// One transaction. An error means that nothing was written, unless it says that this is not known.
    async fn attempt(&mut self, requests: &[&Request]) -> Result<Results, ExecuteError> {
        let mut lookups = Lookups::default();
        for request in requests {
            needs(request, &self.vault, &mut lookups);
        }
        // What others of the batch may take before has to be there once more.
        let disturbed: i64 = requests.iter().map(|request| disturbs(&request.command)).sum();
        add_up(&mut lookups.available, disturbed);
        dedup(&mut lookups);
        let (mut transaction, head, found) = self.store.begin(&lookups).await.map_err(unavailable)?;
        if head.next_position > 0 && compare_versions(&head.projections) != Versions::Same {
            return Err(ExecuteError::Unavailable("the projections in the database are of another version than this program's".to_owned()));
        }
        // Under the lock nobody is ahead of it. What is appended now may make up for what is gone: then nobody would notice later.
        let known = *self.shared.head.borrow();
        self.shared.note_head(known, head.next_position);
        let decided_at = self.clock.now();
        let mut workspace = Workspace::new(&self.vault, head, decided_at)?;
        workspace.add(&lookups, found)?;
        load_further(transaction.as_mut(), requests, &lookups, &mut workspace).await?;
        let results: Results = requests.iter().map(|request| execute_one(&mut workspace, request, decided_at)).collect();

        let events = workspace.event_count();
        let cleanup = (self.cleaned_up.elapsed() >= REQUEST_CLEANUP_EVERY).then_some(workspace.now());
        let Some(write) = workspace.into_write_set(cleanup) else { return Ok(results) };
        if cleanup.is_some() {
            self.cleaned_up = Instant::now();
        }
        let first_event = write.events.first().map(|event| (event.position, event.event_id));
        let position = write.head.next_position;
        match transaction.commit(&write).await {
            Ok(()) => {}
            Err(StoreError::CommitUnknown(error)) => ask_after(self.store.as_ref(), first_event, error).await?,
            Err(error) => return Err(unavailable(error)),
        }
        self.meters.commits.increment(1);
        self.meters.batch_events.record(events as f64);
        if self.shared.is_followed() {
            // They need not read back what is in memory here.
            self.shared.recent.keep(write.events);
        }
        self.shared.move_to(position);
        Ok(results)
    }
}

/// The connection broke while COMMIT was on its way. Under the head lock, which the broken transaction can't hold any more, the
/// log says whether it was done: the first event is there, or it is not.
pub(super) async fn ask_after(store: &dyn Store, first_event: Option<(i64, uuid::Uuid)>, cause: String) -> Result<(), ExecuteError> {
    tracing::warn!(cause, "the connection broke at COMMIT; asking the log whether it was done");
    let Some((position, event_id)) = first_event else {
        // Without events there was an idempotency record at most; a repetition comes to the same.
        return Err(ExecuteError::Unavailable(cause));
    };
    let asked = Instant::now();
    loop {
        match is_recorded(store, position, event_id).await {
            Ok(true) => return Ok(()),
            Ok(false) => return Err(ExecuteError::Unavailable(format!("nothing was done: {cause}"))),
            Err(error) if asked.elapsed() < FATE_ASKED_FOR => {
                tracing::warn!(%error, "the database does not answer yet");
                tokio::time::sleep(FATE_ASKED_EVERY).await;
            }
            Err(error) => return Err(ExecuteError::Unknown(error.to_string())),
        }
    }
}

async fn is_recorded(store: &dyn Store, position: i64, event_id: uuid::Uuid) -> Result<bool, StoreError> {
    let (_lock, head, _) = store.begin(&Lookups::default()).await?;
    if head.next_position <= position {
        return Ok(false);
    }
    let events = store.events(position, 1).await?;
    Ok(events.first().is_some_and(|event| event.position == position && event.event_id == event_id))
}

/// Looks up what follows from the rows found: it is loaded when those are known.
async fn load_further(
    transaction: &mut dyn Transaction,
    requests: &[&Request],
    loaded: &Lookups,
    workspace: &mut Workspace<'_>,
) -> Result<(), ExecuteError> {
    let mut further = Lookups::default();
    for request in requests {
        further_needs(request, workspace, &mut further);
    }
    // What was loaded in the first round need not be loaded again.
    further.rows.retain(|key| loaded.rows.binary_search(key).is_err());
    dedup(&mut further);
    if further.is_empty() {
        return Ok(());
    }
    let found = transaction.load(&further).await.map_err(unavailable)?;
    workspace.add(&further, found)
}

/// Waits, on the executor's own thread, until the queue holds what is expected, or nothing more comes. Who is alone never
/// waits: one is answered, one is expected, one is there.
fn fill(queue: &mpsc::Receiver<Job>, expected: usize) {
    let started = Instant::now();
    let (mut waiting, mut changed) = (queue.len(), started);
    while waiting + 1 < expected {
        std::thread::yield_now();
        let now = Instant::now();
        if queue.len() != waiting {
            (waiting, changed) = (queue.len(), now);
        }
        if now - changed > FILL_QUIET || now - started > FILL_WAIT_MAX {
            return;
        }
    }
}

pub(super) fn unavailable(error: StoreError) -> ExecuteError {
    match error {
        StoreError::Unavailable(error) | StoreError::Unsuitable(error) => ExecuteError::Unavailable(error),
        StoreError::CommitUnknown(error) => ExecuteError::Unknown(error),
        error @ (StoreError::Refused(_) | StoreError::Read { .. }) => ExecuteError::Internal(error.to_string()),
    }
}

/// One entry for each product, with what all commands of the batch together may take.
fn add_up(available: &mut Vec<(i64, i64)>, disturbed: i64) {
    let mut sums = BTreeMap::<i64, i64>::new();
    for (product, count) in available.drain(..) {
        *sums.entry(product).or_insert(disturbed) += count;
    }
    available.extend(sums);
}

fn dedup(lookups: &mut Lookups) {
    fn unique<T: Ord>(values: &mut Vec<T>) {
        values.sort_unstable();
        values.dedup();
    }
    unique(&mut lookups.rows);
    unique(&mut lookups.licenses);
    unique(&mut lookups.activations);
    unique(&mut lookups.license_meta);
    unique(&mut lookups.product_meta);
    unique(&mut lookups.slugs);
    unique(&mut lookups.releases);
    unique(&mut lookups.release_versions);
    unique(&mut lookups.owners_by_email);
    unique(&mut lookups.requests);
    unique(&mut lookups.generators);
    unique(&mut lookups.contracts);
    unique(&mut lookups.contract_licenses);
    lookups.subjects.sort_unstable_by_key(|(kind, number)| (kind.as_str(), *number));
    lookups.subjects.dedup();
    lookups.blocks.sort_unstable_by(|a, b| (a.0.as_str(), &a.1).cmp(&(b.0.as_str(), &b.1)));
    lookups.blocks.dedup();
}

fn execute_one(workspace: &mut Workspace<'_>, request: &Request, decided_at: Timestamp) -> Result<Outcome, ExecuteError> {
    if let Some(recorded) = request.idempotency.as_ref().and_then(|idempotency| recall(workspace, idempotency)) {
        return recorded;
    }
    let request_hash = request.idempotency.as_ref().map(|idempotency| idempotency.id.as_slice());
    let mut staged = workspace.stage(&request.origin, request_hash, decided_at)?;
    let outcome = execute(&mut staged, &request.command).inspect_err(|error| {
        if !matches!(error, ExecuteError::Again { .. }) {
            tracing::error!(%error, "a command failed");
        }
    })?;
    staged.finish();
    debug_assert!(outcome.events > 0 || !matches!(outcome.result, CommandResult::Activated), "an activation has an event");
    if let Some(idempotency) = &request.idempotency {
        remember(workspace, idempotency, &outcome)?;
    }
    Ok(outcome)
}

/// What the request of an idempotency key came to, where it was asked before.
pub(super) fn recall(workspace: &Workspace<'_>, idempotency: &Idempotency) -> Option<Result<Outcome, ExecuteError>> {
    let recorded = workspace.request(&idempotency.id)?;
    if recorded.parameters != idempotency.parameters {
        return Some(Err(ExecuteError::IdempotencyMismatch));
    }
    Some(serde_json::from_str(&recorded.outcome).map_err(super::workspace::internal))
}

/// Records what it came to now.
pub(super) fn remember(workspace: &mut Workspace<'_>, idempotency: &Idempotency, outcome: &Outcome) -> Result<(), ExecuteError> {
    let kept = i64::try_from(REQUEST_KEPT.as_micros()).unwrap_or(i64::MAX);
    let expires_at = Timestamp(workspace.now().0.saturating_add(kept));
    let outcome = serde_json::to_string(outcome).map_err(super::workspace::internal)?;
    workspace.record_request(StoredRequest { id: idempotency.id.clone(), parameters: idempotency.parameters.clone(), outcome, expires_at });
    Ok(())
}
