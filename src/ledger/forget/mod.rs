//! Forgetting a data subject: its key is destroyed, the rows that hold something of its data become what they would be had it
//! never been readable, and the log records that this happened. Events stay as they are, so every proof still verifies.
//!
//! This doesn't go through the executor's queue. Which rows are meant only the whole log tells, so it is read beforehand, without
//! the lock. What came since is read under the lock: so a license in constant use can't put the forgetting off.

mod refold;

use keyledger_events::{
    Event, SubjectKind,
    subject::{self, Subject, SubjectCommand, SubjectError},
};
use keyledger_projections::registry::{COUNTERS, Versions, compare_versions};

use super::{
    CommandResult, ExecuteError, Idempotency, Ledger, Origin, Outcome,
    executor::{ask_after, recall, remember, unavailable},
    workspace::{Workspace, internal},
};
use crate::store::{Lookups, StoreError, StoredSubject};
use refold::Refold;

/// So few events may be left to read under the lock: some milliseconds.
const TAIL_EVENTS: i64 = 1_000;
/// Events of streams that only the tail named, folded under the lock: some tens of milliseconds. A longer stream is folded without it.
const LOCKED_STREAM_EVENTS: i64 = 5_000;
/// How often the events are read that came while others were: each time fewer, unless they come faster than they are read.
const CATCH_UP_ROUNDS: u32 = 16;
/// How often it begins anew because another subject was forgotten meanwhile, through another process, or a long stream came to be meant.
const TRIES_MAX: u32 = 8;
/// Rows that one transaction changes: as many as PostgreSQL was seen to manage within the time that a statement is given.
pub const FORGOTTEN_ROWS_MAX: usize = 100_000;

/// Who shall be forgotten. No `Debug`: an address must not end in a log.
#[derive(Clone)]
pub enum SubjectName {
    /// The owner with this address.
    Email(String),
    Number(SubjectKind, i64),
}

/// A request to forget.
#[derive(Clone)]
pub struct Forget {
    pub subject: SubjectName,
    pub origin: Origin,
    pub idempotency: Option<Idempotency>,
}

/// Why an attempt came to nothing.
enum Stopped {
    /// What was read beforehand no longer does: rows were folded with a key that has since been destroyed, or too much came to be read
    /// under the lock.
    Stale,
    Failed(ExecuteError),
}

impl From<ExecuteError> for Stopped {
    fn from(error: ExecuteError) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Failed(unavailable(error))
    }
}

impl Ledger {
    /// Forgets a data subject durably. Reads the whole log for it.
    ///
    /// # Errors
    /// When there is no outcome; unless the error says otherwise, nothing was done.
    pub async fn forget(&self, forget: Forget) -> Result<Outcome, ExecuteError> {
        let (ledger, runtime) = (self.clone(), tokio::runtime::Handle::current());
        // On a thread of its own, where it holds up nobody: the embedded store works on its caller's.
        let done = tokio::task::spawn_blocking(move || runtime.block_on(ledger.forget_in_turn(&forget))).await;
        done.unwrap_or_else(|_| Err(ExecuteError::Internal("a forgetting was broken off".to_owned())))
    }

    async fn forget_in_turn(&self, forget: &Forget) -> Result<Outcome, ExecuteError> {
        let _turn = self.forgetting.lock().await;
        for _ in 0..TRIES_MAX {
            match self.try_to_forget(forget).await {
                Ok(outcome) => {
                    if let CommandResult::SubjectForgotten { .. } = outcome.result {
                        metrics::counter!("keyledger_subjects_forgotten_total").increment(1);
                    }
                    return Ok(outcome);
                }
                Err(Stopped::Stale) => {}
                Err(Stopped::Failed(error)) => {
                    tracing::warn!(%error, "a data subject was not forgotten");
                    return Err(error);
                }
            }
        }
        Err(ExecuteError::Unavailable("others are forgotten, or much is recorded of this one, at the same time".to_owned()))
    }

    async fn try_to_forget(&self, forget: &Forget) -> Result<Outcome, Stopped> {
        let subject = self.named(&forget.subject).await?;
        let mut refold = subject.as_ref().map(|subject| Refold::new(&self.store, &self.vault, subject.id));
        if let Some(refold) = &mut refold {
            for _ in 0..CATCH_UP_ROUNDS {
                let next_position = self.store.head().await?.next_position;
                if next_position - refold.read_to() <= TAIL_EVENTS && refold.read_to() > 0 {
                    break;
                }
                refold.advance(next_position, i64::MAX).await?;
            }
            if refold.keys().len() > FORGOTTEN_ROWS_MAX {
                return Err(ExecuteError::Unavailable(format!("its data is in more than {FORGOTTEN_ROWS_MAX} rows")).into());
            }
        }
        self.forget_under_lock(forget, subject.zip(refold)).await
    }

    async fn named(&self, name: &SubjectName) -> Result<Option<StoredSubject>, StoreError> {
        let mut lookups = Lookups::default();
        match name {
            SubjectName::Email(email) => lookups.owners_by_email.push(self.vault.email_index(email)),
            SubjectName::Number(kind, number) => lookups.subjects.push((*kind, *number)),
        }
        // The transaction is given up again: this only looks.
        let (_, _, found) = self.store.begin(&lookups).await?;
        Ok(found.subjects.into_iter().next())
    }

    /// Reads what came since, and writes all of it as one transaction.
    async fn forget_under_lock(&self, forget: &Forget, subject: Option<(StoredSubject, Refold)>) -> Result<Outcome, Stopped> {
        let mut lookups = Lookups { rows: vec![COUNTERS], ..Lookups::default() };
        lookups.requests.extend(forget.idempotency.as_ref().map(|idempotency| idempotency.id.clone()));
        if let Some((subject, refold)) = &subject {
            lookups.subjects.push((subject.kind, subject.number));
            lookups.rows.extend(refold.keys());
            lookups.rows.sort_unstable();
        }
        let (mut transaction, head, found) = self.store.begin(&lookups).await?;
        if compare_versions(&head.projections) != Versions::Same {
            let text = "the projections in the database are of another version than this program's";
            return Err(ExecuteError::Unavailable(text.to_owned()).into());
        }
        let (next_position, decided_at) = (head.next_position, self.clock.now());
        let mut workspace = Workspace::new(&self.vault, head, decided_at)?;
        workspace.add(&lookups, found)?;
        if let Some(recorded) = forget.idempotency.as_ref().and_then(|idempotency| recall(&workspace, idempotency)) {
            return Ok(recorded?);
        }
        // Someone else may have been faster.
        let subject = subject.filter(|(subject, _)| workspace.subject_id(subject.kind, subject.number) == Some(subject.id));

        let request_hash = forget.idempotency.as_ref().map(|idempotency| idempotency.id.as_slice());
        let outcome = if let Some((subject, mut refold)) = subject {
            refold.advance(next_position, LOCKED_STREAM_EVENTS).await?;
            let mut further = Lookups::default();
            further.rows.extend(refold.keys().filter(|key| lookups.rows.binary_search(key).is_err()));
            if !further.is_empty() {
                let found = transaction.load(&further).await?;
                workspace.add(&further, found)?;
            }
            let known = Subject { kind: subject.kind, number: subject.number, id: subject.id };
            let event = subject::decide(Some(&known), SubjectCommand::Forget).map_err(internal)?;
            let mut staged = workspace.stage(&forget.origin, request_hash, decided_at)?;
            let (sealed, mut rows) = (refold.sealed(), 0);
            for (key, row) in refold.into_rows() {
                rows += i64::from(staged.fold_anew(key, row)?);
            }
            staged.append(Event::Subject(event))?;
            let (first_position, events) = staged.positions();
            staged.finish();
            workspace.forget(subject.id);
            let result = CommandResult::SubjectForgotten { kind: subject.kind, number: subject.number, sealed, rows };
            Outcome { result, key_pair: None, first_position, events, receipt: None }
        } else {
            Outcome {
                result: CommandResult::SubjectRefused(SubjectError::Unknown),
                key_pair: None,
                first_position: next_position,
                events: 0,
                receipt: None,
            }
        };
        if let Some(idempotency) = &forget.idempotency {
            remember(&mut workspace, idempotency, &outcome)?;
        }
        let Some(write) = workspace.into_write_set(None) else { return Ok(outcome) };
        let first_event = write.events.first().map(|event| (event.position, event.event_id));
        let position = write.head.next_position;
        match transaction.commit(&write).await {
            Ok(()) => {}
            Err(StoreError::CommitUnknown(error)) => ask_after(self.store.as_ref(), first_event, error).await?,
            Err(error) => return Err(error.into()),
        }
        self.shared.move_to(position);
        Ok(outcome)
    }
}
