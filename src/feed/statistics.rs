//! What happened on each day, for each product: added up from the log, behind it, so that charts don't scan it. The sums and the place
//! up to which they are move together, so each event counts once, whoever is killed when.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

use keyledger_events::{
    Event,
    license::{LicenseEvent, Status},
    verification_count::VerificationCountEvent,
};
use keyledger_projections::{Value, Values};
use tokio::time::Instant;

use super::{Claim, FeedError, Unreadable, position_of};
use crate::{
    app::App,
    clock::Clock,
    store::{Portion, Statement, Store, StoreError, StoredEvent, aside},
};

/// The name of the place in the log.
const CONSUMER: &str = "statistics";
/// How long events wait to be added up together: each time costs a transaction, whether of one event or of a thousand.
const FOLD_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked for what another server or a command line did. To be told of it at once would mean to ask all the time.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Events added up in one transaction, each of another day and product at worst: the writers of an embedded ledger wait for it.
const CHUNK: Portion = Portion { events: 1_000, bytes: 2 * 1024 * 1024 };
/// What writers are given between two chunks.
const PAUSE: Duration = Duration::from_millis(10);

const ADD: &str = "INSERT INTO daily_statistics (day, product, created, assigned, activations, deactivations, refusals, verifications, licenses) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (day, product) DO UPDATE SET \
                   created = daily_statistics.created + excluded.created, assigned = daily_statistics.assigned + excluded.assigned, \
                   activations = daily_statistics.activations + excluded.activations, \
                   deactivations = daily_statistics.deactivations + excluded.deactivations, \
                   refusals = daily_statistics.refusals + excluded.refusals, \
                   verifications = daily_statistics.verifications + excluded.verifications, \
                   licenses = daily_statistics.licenses + excluded.licenses";
const FORGET_ALL: &str = "DELETE FROM daily_statistics";
const PAGE: &str = "SELECT day, product, created, assigned, activations, deactivations, refusals, verifications, licenses FROM daily_statistics \
                    WHERE day >= $1 AND day <= $2 AND (day, product) > ($3, $4) ORDER BY day, product LIMIT $5";
const PAGE_OF_PRODUCT: &str = "SELECT day, product, created, assigned, activations, deactivations, refusals, verifications, licenses \
                               FROM daily_statistics WHERE product = $1 AND day >= $2 AND day <= $3 AND day > $4 ORDER BY day LIMIT $5";

/// What happened on one day to one product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub created: i64,
    /// Licenses that became assigned, or were made so.
    pub assigned: i64,
    pub activations: i64,
    /// Activations that ended, one by one or all of a license.
    pub deactivations: i64,
    /// Refusals that were recorded: one for each license, reason and minute.
    pub refusals: i64,
    pub verifications: i64,
    /// How many more licenses the product has, or fewer.
    pub licenses: i64,
}

/// A day, since 1970-01-01, and a product.
pub type DayOfProduct = (i64, i64);

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.created += other.created;
        self.assigned += other.assigned;
        self.activations += other.activations;
        self.deactivations += other.deactivations;
        self.refusals += other.refusals;
        self.verifications += other.verifications;
        self.licenses += other.licenses;
    }
}

/// What an event of a license counts as, for its product. No wildcard: a new one makes the compiler ask.
fn counts_of(event: &LicenseEvent) -> Option<Counts> {
    let none = Counts::default();
    match event {
        LicenseEvent::LicenseCreated(event) => {
            Some(Counts { created: 1, assigned: i64::from(event.status == Status::Assigned), licenses: 1, ..none })
        }
        // It left another one, which is counted beside this.
        LicenseEvent::LicenseProductChanged(_) => Some(Counts { licenses: 1, ..none }),
        LicenseEvent::LicenseDeleted(_) => Some(Counts { licenses: -1, ..none }),
        LicenseEvent::LicenseAssigned(_) => Some(Counts { assigned: 1, ..none }),
        LicenseEvent::LicenseActivated(_) => Some(Counts { activations: 1, ..none }),
        LicenseEvent::LicenseDeactivated(_) => Some(Counts { deactivations: 1, ..none }),
        LicenseEvent::ActivationsEnded(event) => Some(Counts { deactivations: event.ended, ..none }),
        LicenseEvent::ActivationRefused(_) | LicenseEvent::AccessRefused(_) => Some(Counts { refusals: 1, ..none }),
        LicenseEvent::LicenseReserved(_)
        | LicenseEvent::LicenseBlocked(_)
        | LicenseEvent::LicenseMadeAvailable(_)
        | LicenseEvent::OwnerChanged(_)
        | LicenseEvent::OwnerCleared(_)
        | LicenseEvent::ActivationLimitChanged(_)
        | LicenseEvent::ValidityChanged(_)
        | LicenseEvent::AssignedAtChanged(_)
        | LicenseEvent::LicenseMetaCreated(_)
        | LicenseEvent::LicenseMetaUpdated(_)
        | LicenseEvent::LicenseMetaDeleted(_)
        | LicenseEvent::LicenseKeyReplaced(_)
        | LicenseEvent::ReleaseDownloaded(_) => None,
    }
}

/// Adds up events.
///
/// # Errors
/// When an event can't be read.
pub fn fold(events: &[impl Borrow<StoredEvent>]) -> Result<BTreeMap<DayOfProduct, Counts>, Unreadable> {
    let mut days = BTreeMap::<DayOfProduct, Counts>::new();
    for stored in events.iter().map(Borrow::borrow) {
        let event = Event::decode(&stored.aggregate_type, &stored.event_type, &stored.event_version, &stored.payload);
        let event = event.map_err(|error| Unreadable::damaged(stored.position, error.to_string()))?;
        match &event {
            Event::License(event) => {
                if let LicenseEvent::LicenseProductChanged(event) = event {
                    days.entry((stored.recorded_at.day(), event.from)).or_default().licenses -= 1;
                }
                if let Some(counts) = counts_of(event) {
                    *days.entry((stored.recorded_at.day(), event.product())).or_default() += counts;
                }
            }
            // They were answered before they were recorded, maybe the day before.
            Event::VerificationCount(VerificationCountEvent::VerificationsCounted(event)) => {
                days.entry((event.minute.day(), event.product)).or_default().verifications += event.counts.values().sum::<i64>();
            }
            Event::Ledger(_)
            | Event::KeyPair(_)
            | Event::ApiKey(_)
            | Event::Block(_)
            | Event::Product(_)
            | Event::Settings(_)
            | Event::Telemetry(_)
            | Event::Release(_)
            | Event::DownloadToken(_)
            | Event::Generator(_)
            | Event::Contract(_)
            | Event::AssignmentJob(_)
            | Event::Delivery(_)
            | Event::WebhookEndpoint(_)
            | Event::StreamMap(_)
            | Event::Subject(_) => {}
        }
    }
    Ok(days)
}

fn additions(days: BTreeMap<DayOfProduct, Counts>) -> Vec<Statement> {
    let addition = |((day, product), counts): (DayOfProduct, Counts)| {
        let Counts { created, assigned, activations, deactivations, refusals, verifications, licenses } = counts;
        let values = [day, product, created, assigned, activations, deactivations, refusals, verifications, licenses];
        Statement::new(ADD, values.map(Value::Int))
    };
    days.into_iter().map(addition).collect()
}

/// The last event that the statistics are of; -1 where they are of none.
///
/// # Errors
/// When the store fails.
pub async fn position(store: &dyn Store) -> Result<i64, StoreError> {
    position_of(store, CONSUMER).await
}

/// Days from one to another, both included, in the order of day and product: so many after a place in it.
///
/// # Errors
/// When the store fails.
pub async fn page(
    store: &Arc<dyn Store>,
    product: Option<i64>,
    (from, to): (i64, i64),
    after: DayOfProduct,
    limit: i64,
) -> Result<Vec<(DayOfProduct, Counts)>, StoreError> {
    let store = Arc::clone(store);
    let (sql, parameters) = match product {
        Some(product) => (PAGE_OF_PRODUCT, [product, from, to, after.0, limit]),
        None => (PAGE, [from, to, after.0, after.1, limit]),
    };
    let rows = aside(async move { store.query(sql, &parameters.map(Value::Int)).await }).await?;
    rows.into_iter()
        .map(|row| {
            let mut values = Values::from(row);
            let mut next = || values.int().map_err(|source| StoreError::Read { table: "daily_statistics", source });
            Ok((
                (next()?, next()?),
                Counts {
                    created: next()?,
                    assigned: next()?,
                    activations: next()?,
                    deactivations: next()?,
                    refusals: next()?,
                    verifications: next()?,
                    licenses: next()?,
                },
            ))
        })
        .collect()
}

/// Forgets all sums, and has the log added up from its beginning.
///
/// # Errors
/// When the store fails.
pub async fn begin_anew(store: Arc<dyn Store>) -> Result<(), StoreError> {
    Claim::new(store, Clock::default(), CONSUMER).begin_anew(vec![Statement::new(FORGET_ALL, [])]).await
}

/// The work of one server on the statistics.
struct Folding {
    app: Arc<App>,
    claim: Claim,
    is_held: bool,
}

/// Adds up what is new, until the server stops.
pub async fn run(app: Arc<App>) {
    let claim = Claim::new(Arc::clone(app.feed.store()), app.clock.clone(), CONSUMER);
    let mut folding = Folding { app, claim, is_held: false };
    let (mut seen, mut looked): (i64, Option<Instant>) = (-1, None);
    loop {
        let head = folding.app.ledger.head_position();
        let mut pause = FOLD_EVERY;
        if head != seen || looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            (seen, looked) = (head, Some(Instant::now()));
            match folding.catch_up().await {
                Ok(true) => {}
                // Another server does it.
                Ok(false) => pause = LOOK_EVERY,
                Err(error) => {
                    match &error {
                        FeedError::Store(error) => tracing::warn!(%error, "the statistics can't be added up"),
                        error => tracing::error!(%error, "the statistics stand still"),
                    }
                    // A server that can read the event, since it is newer, may go on.
                    folding.give_back().await;
                    pause = LOOK_EVERY;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = folding.app.stopped() => break,
        }
    }
    folding.give_back().await;
}

impl Folding {
    /// Adds up what there is. `false` where that is another server's work.
    async fn catch_up(&mut self) -> Result<bool, FeedError> {
        let store = Arc::clone(self.app.feed.store());
        let last = store.head().await?.next_position - 1;
        let mut position = position(store.as_ref()).await?;
        note_lag(last - position);
        while position < last && !self.app.is_stopping() {
            if !self.is_held {
                let Some(held) = self.claim.take(-1).await? else { return Ok(false) };
                (position, self.is_held) = (held, true);
            }
            let events = self.app.feed.after(position, CHUNK).await?;
            let Some(through) = events.last().map(|event| event.position) else { break };
            self.is_held = self.claim.move_to(through, additions(fold(&events)?)).await?;
            // Else it was taken away: by another server, or to begin anew.
            if !self.is_held {
                continue;
            }
            position = through;
            note_lag(last - position);
            if position < last {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(true)
    }

    async fn give_back(&mut self) {
        if std::mem::take(&mut self.is_held) {
            self.claim.give_back().await;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; this is far below 2^53")]
fn note_lag(events: i64) {
    metrics::gauge!("keyledger_statistics_lag_events").set(events.max(0) as f64);
}

#[cfg(test)]
mod tests {
    use keyledger_events::{
        Personal, Timestamp,
        license::{
            AccessRefusal, AccessRefused, ActivationRefused, ActivationsEnded, LicenseActivated, LicenseCreated, LicenseDeactivated, LicenseDeleted,
            LicenseProductChanged,
        },
        verification_count::VerificationsCounted,
    };
    use uuid::Uuid;

    use super::*;

    const DAY_MICROS: i64 = 86_400_000_000;

    fn stored(recorded_at: i64, event: Event) -> StoredEvent {
        StoredEvent {
            position: 7,
            aggregate_type: event.aggregate_type().to_owned(),
            aggregate_id: Uuid::nil(),
            sequence: 1,
            event_id: Uuid::nil(),
            event_type: event.event_type().to_owned(),
            event_version: event.event_version().to_owned(),
            recorded_at: Timestamp(recorded_at),
            payload: event.payload().unwrap(),
            metadata: "{}".to_owned(),
            leaf_hash: [0; 32],
        }
    }

    fn created(product: i64, status: Status) -> Event {
        Event::License(LicenseEvent::LicenseCreated(LicenseCreated {
            activation_limit: 1,
            assigned_at: None,
            contract: None,
            job: None,
            key: "KEY".to_owned(),
            license: 1,
            owner: None,
            personal: Personal::None,
            product,
            status,
            validity_days: 0,
        }))
    }

    fn on_license(event: LicenseEvent) -> Event {
        Event::License(event)
    }

    fn counted(minute: i64, counts: &[(&str, i64)]) -> Event {
        let counts = counts.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect();
        let counted = VerificationsCounted { counts, minute: Timestamp(minute), product: 2 };
        Event::VerificationCount(VerificationCountEvent::VerificationsCounted(counted))
    }

    #[test]
    fn events_count_by_day_and_product() {
        let (license, personal, product) = (1, Personal::None, 2);
        let activated = || LicenseActivated { activation: 1, active: 1, epoch: 0, license, personal: Personal::None, product };
        let deactivated = LicenseDeactivated { activation: 1, active: 0, license, personal: Personal::None, product };
        let ended = ActivationsEnded { ended: 3, epoch: 1, license, personal: Personal::None, product };
        let at_limit = ActivationRefused { active: 1, license, limit: 1, personal: Personal::None, product };
        let expired = AccessRefused { block: None, license, personal, product, reason: AccessRefusal::LicenseExpired };
        let events = [
            stored(0, created(2, Status::Available)),
            stored(1, created(2, Status::Assigned)),
            stored(2, created(3, Status::Available)),
            stored(DAY_MICROS - 1, on_license(LicenseEvent::LicenseActivated(activated()))),
            stored(DAY_MICROS, on_license(LicenseEvent::LicenseActivated(activated()))),
            stored(DAY_MICROS, on_license(LicenseEvent::LicenseDeactivated(deactivated))),
            stored(DAY_MICROS, on_license(LicenseEvent::ActivationsEnded(ended))),
            stored(DAY_MICROS, on_license(LicenseEvent::ActivationRefused(at_limit))),
            stored(DAY_MICROS, on_license(LicenseEvent::AccessRefused(expired))),
        ];
        let expected = [
            ((0, 2), Counts { created: 2, assigned: 1, activations: 1, licenses: 2, ..Counts::default() }),
            ((0, 3), Counts { created: 1, licenses: 1, ..Counts::default() }),
            ((1, 2), Counts { activations: 1, deactivations: 4, refusals: 2, ..Counts::default() }),
        ];
        assert_eq!(fold(&events).unwrap(), expected.into());
    }

    #[test]
    fn a_license_that_is_moved_leaves_one_product_and_comes_to_another() {
        let moved = LicenseProductChanged { from: 2, license: 1, personal: Personal::None, status: Status::Available, to: 3 };
        let deleted = LicenseDeleted { contract: None, from: Status::Available, license: 1, personal: Personal::None, product: 3 };
        let events = [
            stored(0, on_license(LicenseEvent::LicenseProductChanged(moved))),
            stored(DAY_MICROS, on_license(LicenseEvent::LicenseDeleted(deleted))),
        ];
        let licenses = |licenses| Counts { licenses, ..Counts::default() };
        assert_eq!(fold(&events).unwrap(), [((0, 2), licenses(-1)), ((0, 3), licenses(1)), ((1, 3), licenses(-1))].into());
    }

    #[test]
    fn verifications_count_when_they_were_answered() {
        let events =
            [stored(DAY_MICROS + 5, counted(DAY_MICROS - 60_000_000, &[("200", 40), ("205", 2)])), stored(DAY_MICROS + 9, counted(0, &[("200", 1)]))];
        assert_eq!(fold(&events).unwrap(), [((0, 2), Counts { verifications: 43, ..Counts::default() })].into());
    }

    #[test]
    fn what_happened_to_nothing_of_a_product_makes_no_row() {
        let owner = keyledger_events::license::OwnerCleared { license: 1, personal: Personal::None, product: 2 };
        assert_eq!(fold(&[stored(0, on_license(LicenseEvent::OwnerCleared(owner)))]).unwrap(), BTreeMap::new());
    }

    #[test]
    fn a_damaged_event_is_named() {
        let damaged = StoredEvent { payload: "{".to_owned(), ..stored(0, created(2, Status::Available)) };
        assert_eq!(fold(&[damaged]).unwrap_err().position, 7);
    }
}
