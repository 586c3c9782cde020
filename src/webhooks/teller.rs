//! One endpoint told of events: read, called with, tried again, and the place moved on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyledger_events::{
    Timestamp,
    webhook_endpoint::{PauseReason, WebhookEndpointCommand},
};
use keyledger_projections::WebhookEndpointRow;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep_until, timeout, timeout_at};

use super::{
    attempts,
    times::Times,
    window::{EVENTS_MAX, Failed, Remembered, Window},
};
use crate::{
    app::App,
    clock::passed,
    feed::{Claim, Facts, FeedError, Filter, Kept, Lane, RENEW_EVERY, Sight, Unreadable, Upcast},
    ledger::{Command, CommandResult, Origin, Request, WebhookAttempt},
    outgoing::webhook::{self, NotTaken},
    store::{Portion, StoreError, StoredEvent},
    vault::VaultError,
};

/// Calls of one endpoint at the same time: a receiver that takes a tenth of a second is told 160 times a second.
pub(super) const CALLS_MAX: usize = 16;
/// What is read at a time: a hundred kilobytes usually.
const CHUNK: Portion = Portion { events: 100, bytes: 512 * 1024 };
/// How often the place is stored while something is delivered.
const STORE_EVERY: Duration = Duration::from_secs(1);
/// Attempts after which the place is stored in any case.
const UNSTORED_MAX: usize = EVENTS_MAX / 2;
/// How long to wait where the log or the database can't be read.
const TROUBLE_PAUSE: Duration = Duration::from_secs(10);
/// The status by which a receiver says that it is gone for good.
const GONE: u16 = 410;
/// How long an endpoint that is left is waited for.
const ANSWERED_WITHIN: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a call was broken off: {0}")]
    Call(#[from] JoinError),
}

impl From<Unreadable> for TellError {
    fn from(error: Unreadable) -> Self {
        Self::Feed(error.into())
    }
}

fn not_ready(error: impl std::fmt::Display, position: i64) -> NotTaken {
    tracing::warn!(%error, position, "a message to a web hook endpoint could not be made ready");
    NotTaken { error: "not_ready", status: None }
}

/// What came of one call.
struct Ended {
    position: i64,
    at: Timestamp,
    took: Duration,
    result: Result<u16, NotTaken>,
}

pub(super) struct Teller {
    app: Arc<App>,
    times: Times,
    row: Arc<WebhookEndpointRow>,
    claim: Claim,
    filter: Filter,
    window: Window,
    /// Events read that the window had no room for yet.
    ahead: VecDeque<Arc<StoredEvent>>,
    calls: JoinSet<Ended>,
    /// Attempts not stored yet, and the last one's number.
    unstored: Vec<WebhookAttempt>,
    last_number: i64,
    /// When it was last tried to store the place, and when that was done.
    tried_at: Instant,
    held_at: Instant,
}

impl Teller {
    /// Tells an endpoint of events, for as long as this server holds its place and is not asked to end.
    pub(super) async fn tell(app: Arc<App>, times: Times, row: WebhookEndpointRow, claim: Claim, ending: Arc<Notify>) {
        let endpoint = row.number();
        let told = match Self::begin(app, times, row, claim.clone()).await {
            Ok(Some(mut teller)) => {
                let told = tokio::select! {
                    told = teller.go_on() => Some(told),
                    () = ending.notified() => None,
                };
                if told.as_ref().is_none_or(Result::is_err) {
                    teller.leave().await;
                }
                match told {
                    Some(told) => told,
                    None => return,
                }
            }
            Ok(None) => return,
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::error!(%error, endpoint, "a web hook endpoint can't be told of events; it is tried again");
            // Another server may be able to.
            claim.give_back().await;
            // Whoever asks it to end meanwhile need not wait.
            let _ = timeout(TROUBLE_PAUSE, ending.notified()).await;
        }
    }

    /// `None` where another server holds the place.
    async fn begin(app: Arc<App>, times: Times, row: WebhookEndpointRow, claim: Claim) -> Result<Option<Self>, TellError> {
        // Counted from before it was written.
        let held_at = Instant::now();
        let Some(place) = claim.take(row.endpoint.after).await? else { return Ok(None) };
        // Another server may have come further than this one knew that the log goes.
        app.feed.next_position().await?;
        let newest = app.ledger.webhook_attempts(row.number(), false, i64::MAX, 1).await?;
        let taken = app.ledger.webhook_taken(&row, place).await?;
        let failed = app.ledger.webhook_failed(&row, place).await?;
        let (now, now_instant) = (app.clock.now(), Instant::now());
        let mut remembered = Remembered { taken, ..Remembered::default() };
        // Since somebody changed the endpoint, it is another one.
        for attempt in failed.into_iter().filter(|attempt| attempt.at >= row.updated_at) {
            let due = now_instant + times.wait(attempt.attempt).saturating_sub(passed(attempt.at, now));
            let since = attempt.failing_since.unwrap_or(attempt.at);
            remembered.failed.insert(attempt.position, Failed { attempts: attempt.attempt, since, due });
        }
        Ok(Some(Self {
            app,
            times,
            filter: Filter::from(&row.endpoint.fields.filter),
            row: Arc::new(row),
            claim,
            window: Window::new(place, remembered),
            ahead: VecDeque::new(),
            calls: JoinSet::new(),
            unstored: Vec::new(),
            last_number: newest.first().map_or(0, |attempt| attempt.number),
            tried_at: held_at,
            held_at,
        }))
    }

    /// Stores how far it came, with what was on its way where that is answered soon: the less comes again.
    async fn leave(&mut self) {
        let by = Instant::now() + ANSWERED_WITHIN;
        while let Ok(Some(Ok(ended))) = timeout_at(by.into(), self.calls.join_next()).await {
            // Whether it is to be paused, whoever goes on will find.
            self.take_in(ended);
        }
        self.store().await;
    }

    /// Until another server holds the place.
    async fn go_on(&mut self) -> Result<(), TellError> {
        let mut moved = self.app.feed.moved();
        loop {
            moved.mark_unchanged();
            if self.window.read() >= self.app.ledger.head_position() {
                // An old copy of the log was put back: begun anew, it goes on from the place that stands there.
                tracing::error!(endpoint = self.row.number(), read = self.window.read(), "a web hook endpoint was told of events that are gone");
                return Ok(());
            }
            let has_more = self.read_on().await?;
            // Before the calls: a server that stood still may have lost the place.
            if self.store_by() <= Instant::now() && !self.store().await {
                return Ok(());
            }
            let next_due = self.call();
            if has_more {
                tokio::task::yield_now().await;
            } else {
                let store_by = self.store_by();
                let wake_at = next_due.map_or(store_by, |due| due.min(store_by));
                tokio::select! {
                    Some(ended) = self.calls.join_next() => if self.take_in_or_pause(ended?).await {
                        return Ok(());
                    },
                    changed = moved.changed(), if !self.window.is_full() => if changed.is_err() {
                        return Ok(());
                    },
                    () = sleep_until(wake_at.into()) => {}
                }
            }
            while let Some(ended) = self.calls.try_join_next() {
                if self.take_in_or_pause(ended?).await {
                    return Ok(());
                }
            }
        }
    }

    /// Looks at the next events. `false` where there are none, or there is no room.
    async fn read_on(&mut self) -> Result<bool, TellError> {
        if self.window.is_full() {
            return Ok(false);
        }
        if self.ahead.is_empty() {
            let (read, known) = (self.window.read(), self.app.ledger.head_position());
            if read + 1 >= known {
                return Ok(false);
            }
            self.ahead = match self.app.feed.after(read, CHUNK).await {
                Err(FeedError::Unreadable(_)) if self.window.has_untaken() => return Ok(false),
                read => read?.into(),
            };
        }
        let has_some = !self.ahead.is_empty();
        while !self.window.is_full()
            && let Some(event) = self.ahead.front()
        {
            let lane = match self.lane(event) {
                // What is before a damaged event can still go.
                Err(_) if self.window.has_untaken() => return Ok(false),
                lane => lane?,
            };
            self.window.look_at(event, lane);
            self.ahead.pop_front();
        }
        Ok(has_some)
    }

    /// In which order an event stands; `None` for one that is not wanted.
    fn lane(&self, event: &StoredEvent) -> Result<Option<Lane>, Unreadable> {
        if !self.filter.may_take(event) {
            return Ok(None);
        }
        let upcast = Upcast::of(event)?;
        let facts = Facts::read(event, &upcast)?;
        Ok(self.filter.takes(&facts).then(|| facts.lane()))
    }

    /// Makes the calls that are due; when the next one is.
    fn call(&mut self) -> Option<Instant> {
        let (events, next_due) = self.window.due(CALLS_MAX.saturating_sub(self.calls.len()), Instant::now());
        for event in events {
            let (app, row) = (Arc::clone(&self.app), Arc::clone(&self.row));
            self.calls.spawn(async move {
                let (at, begun) = (app.clock.now(), Instant::now());
                let result = deliver(&app, &row, &event).await;
                Ended { position: event.position, at, took: begun.elapsed(), result }
            });
        }
        next_due
    }

    /// Notes what came of a call. `true` where the endpoint is told no more.
    async fn take_in_or_pause(&mut self, ended: Ended) -> bool {
        match self.take_in(ended) {
            Some((reason, position)) => self.pause(reason, position).await,
            None => false,
        }
    }

    /// Notes what came of a call; for what reason, and at which event, the endpoint is to be paused.
    fn take_in(&mut self, ended: Ended) -> Option<(PauseReason, i64)> {
        let Ended { position, at, took, result } = ended;
        let endpoint = self.row.number();
        let attempt = self.window.attempts(position) + 1;
        let (status, error) = match result {
            Ok(status) => {
                self.window.taken(position);
                (Some(status), None)
            }
            Err(not_taken) => {
                self.window.not_taken(position, at, self.times.wait(attempt));
                tracing::info!(
                    endpoint,
                    position,
                    attempt,
                    error = not_taken.error,
                    status = not_taken.status,
                    "a web hook endpoint took no message"
                );
                (not_taken.status, Some(not_taken.error))
            }
        };
        metrics::counter!("keyledger_webhook_attempts_total", "outcome" => if error.is_none() { "delivered" } else { "failed" }).increment(1);
        self.last_number += 1;
        // While the database is away, the oldest ones are forgotten.
        if self.unstored.len() >= EVENTS_MAX {
            self.unstored.remove(0);
        }
        self.unstored.push(WebhookAttempt {
            number: self.last_number,
            position,
            attempt,
            at,
            took_ms: i64::try_from(took.as_millis()).unwrap_or(i64::MAX),
            status: status.map(i64::from),
            error: error.map(str::to_owned),
            failing_since: error.and_then(|_| self.window.failing_since(position)),
        });
        error?;
        let first = self.window.first().filter(|(first, _)| *first == position);
        if status == Some(GONE) {
            return Some((PauseReason::Gone, position));
        }
        let is_too_long = first.and_then(|(_, since)| since).is_some_and(|since| self.times.is_too_long(since, self.app.clock.now()));
        is_too_long.then_some((PauseReason::Failing, position))
    }

    /// When the place is stored next.
    fn store_by(&self) -> Instant {
        let is_held = self.held_at >= self.tried_at;
        if is_held && self.unstored.len() >= UNSTORED_MAX {
            return self.tried_at;
        }
        self.tried_at + if is_held && self.unstored.is_empty() { RENEW_EVERY } else { STORE_EVERY }
    }

    /// Stores the place and the attempts. `false` where the place is another server's, or may be soon.
    async fn store(&mut self) -> bool {
        let place = self.window.place();
        let statements = attempts::keep(&self.row, place, &self.unstored);
        self.tried_at = Instant::now();
        match self.claim.keep(place, statements, &mut self.held_at).await {
            Kept::Stored => {
                self.unstored.clear();
                self.window.stored(place);
                true
            }
            Kept::Unstored(error) => {
                tracing::warn!(%error, endpoint = self.row.number(), "how far a web hook endpoint was told can't be stored yet");
                true
            }
            Kept::Lost(error) => {
                let error = error.as_ref().map(tracing::field::display);
                tracing::info!(error, endpoint = self.row.number(), "the place of a web hook endpoint is another server's, or may be");
                false
            }
        }
    }

    /// Has the endpoint paused, and waits until the pause is noticed by whoever began this task. `true` where the place is another server's;
    /// goes on where it can't be recorded.
    async fn pause(&mut self, reason: PauseReason, position: i64) -> bool {
        let endpoint = self.row.number();
        if !self.store().await {
            return true;
        }
        let command = WebhookEndpointCommand::Pause { reason, position: Some(position) };
        let command = Command::ChangeWebhookEndpoint { endpoint, sequence: Some(self.row.sequence), command };
        let origin = Origin { operation: Some("tell-webhook-endpoint"), ..Origin::system() };
        match self.app.ledger.execute(Request { command, origin, idempotency: None }).await.map(|outcome| outcome.result) {
            Ok(CommandResult::WebhookEndpointSet { .. }) => {
                tracing::warn!(endpoint, position, reason = reason.as_str(), "a web hook endpoint is paused");
                self.calls.abort_all();
                std::future::pending::<()>().await;
            }
            // Somebody changed it meanwhile: whoever began this task begins it anew.
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, endpoint, "a web hook endpoint can't be paused yet"),
        }
        false
    }
}

/// Sends one event.
async fn deliver(app: &App, row: &WebhookEndpointRow, event: &Arc<StoredEvent>) -> Result<u16, NotTaken> {
    let (endpoint, position) = (&row.endpoint, event.position);
    let sight = Sight { keys: endpoint.fields.license_keys, personal: endpoint.fields.personal_data };
    let body = app.feed.message(event, sight).await.map_err(|error| not_ready(error, position))?;
    let now = app.clock.now();
    let old = endpoint.old_salt.iter().filter(|(_, until)| now < *until).map(|(salt, _)| salt);
    let secrets: Result<Vec<_>, VaultError> =
        std::iter::once(&endpoint.salt).chain(old).map(|salt| app.ledger.vault().endpoint_secret(salt)).collect();
    let secrets = secrets.map_err(|error| not_ready(error, position))?;
    let id = format!("{}-{position}", app.feed.ledger_id());
    let [id, timestamp, signature] = webhook::headers(&secrets, &id, now, &body);
    let headers = [id, timestamp, signature, ("content-type", "application/cloudevents+json".to_owned())];
    webhook::post(&app.outgoing, &endpoint.fields.url, &headers, body).await
}
