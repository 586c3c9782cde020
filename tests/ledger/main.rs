//! What the ledger promises to those who use it as a library, where only a clock that stands still, or a second ledger
//! on the same database, shows it.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

macro_rules! both_backends {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Backend::Sqlite).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Backend::Postgres).await;
            })+
        }
    };
}

mod deliveries;
mod forgetting;
mod history;
#[path = "../support/poll.rs"]
mod poll;
#[path = "../support/receiver.rs"]
mod receiver;
#[path = "../model/store.rs"]
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use keyledger::{
    clock::Clock,
    evidence,
    ledger::{
        Actor, Command, CommandResult, ExecuteError, Idempotency, Ledger, OpenError, Options, Origin, OwnerInput, QUEUE_COMMANDS_MAX, Request, replay,
    },
    store::{Lookups, Store},
    vault::MasterKey,
};
use keyledger_events::{
    Event,
    license::{AccessRefusal, LicenseEvent, Status},
    product::ProductFields,
    values::{Identifier, LicenseKey},
};
use keyledger_projections::{
    Value,
    registry::{Versions, compare_versions},
};
use store::{Backend, Opened};

const START: i64 = 1_700_000_000_000_000;

struct Fixture {
    opened: Opened,
    master: MasterKey,
    time: Arc<AtomicI64>,
    ledger: Ledger,
}

impl Fixture {
    async fn new(backend: Backend) -> Self {
        let opened = store::open(backend).await;
        let (master, time) = (MasterKey::random().unwrap(), Arc::new(AtomicI64::new(START)));
        let options = Options { clock: Clock::Manual(Arc::clone(&time)), rebuild_older: false };
        let ledger = Ledger::open(Arc::clone(&opened.store), &master, options).await.unwrap();
        Self { opened, master, time, ledger }
    }

    async fn reopened(&self, rebuild_older: bool) -> Result<Ledger, OpenError> {
        let options = Options { clock: Clock::Manual(Arc::clone(&self.time)), rebuild_older };
        Ledger::open(Arc::clone(&self.opened.store), &self.master, options).await
    }

    async fn run(&self, command: Command) -> CommandResult {
        execute(&self.ledger, command).await.unwrap()
    }

    async fn with_license(backend: Backend, limit: i64) -> Self {
        let fixture = Self::new(backend).await;
        let fields = ProductFields { name: "Doors".into(), description: "x".into(), ..ProductFields::default() };
        fixture.run(Command::CreateProduct { fields, key_pair: None }).await;
        fixture.run(create(&["KEY-1"], limit)).await;
        fixture
    }

    async fn verify(&self) {
        evidence::verify(self.ledger.store(), self.ledger.vault(), Vec::new(), &mut |_, _| {}).await.unwrap();
    }

    async fn license_events(&self) -> Vec<LicenseEvent> {
        let head = self.ledger.store().head().await.unwrap();
        let events = replay::recorded(self.ledger.store(), self.ledger.vault(), 0, head.next_position).await.unwrap();
        let license = |event| if let Event::License(event) = event { Some(event) } else { None };
        events.into_iter().filter_map(|recorded| license(recorded.event)).collect()
    }
}

async fn execute(ledger: &Ledger, command: Command) -> Result<CommandResult, ExecuteError> {
    let request = Request { command, origin: Origin::operator(), idempotency: None };
    ledger.execute(request).await.map(|outcome| outcome.result)
}

fn key(text: &str) -> LicenseKey {
    LicenseKey::parse(text).unwrap()
}

fn create(keys: &[&str], limit: i64) -> Command {
    Command::CreateLicenses {
        keys: keys.iter().map(|text| key(text)).collect(),
        product: 1,
        owner: OwnerInput::default(),
        activation_limit: limit,
        validity_days: 0,
        status: Status::Assigned,
        assigned_at: None,
    }
}

fn activate(identifier: &str) -> Command {
    Command::Activate { key: key("KEY-1"), identifier: Some(Identifier::parse(identifier).unwrap()), post_url: None }
}

mod key_pairs;
mod proofs;
mod tampering;

both_backends!(
    an_idempotency_key_is_remembered_for_a_day_and_then_deleted,
    a_refusal_at_the_limit_is_recorded_once_a_minute,
    a_refusal_of_a_query_is_recorded_without_waiting,
    older_projections_are_rebuilt_only_where_that_is_wanted,
    a_node_of_another_version_does_not_append,
    two_ledgers_on_one_database_take_turns,
    a_full_queue_refuses_and_loses_nothing,
    a_million_seats_would_end_as_one_event,
    time_never_runs_backwards_along_the_log,
);

async fn an_idempotency_key_is_remembered_for_a_day_and_then_deleted(backend: Backend) {
    let fixture = Fixture::with_license(backend, 1).await;
    let hash = |text: &str| fixture.ledger.vault().request_hash(&[text.as_bytes()]);
    let request = |parameters: &str, command| Request {
        command,
        origin: Origin::operator(),
        idempotency: Some(Idempotency { id: hash("id"), parameters: hash(parameters) }),
    };
    let first = fixture.ledger.execute(request("a", activate("a.example"))).await.unwrap();
    assert_eq!(first.result, CommandResult::Activated);
    let again = fixture.ledger.execute(request("a", activate("a.example"))).await.unwrap();
    assert_eq!(again, first, "the first outcome, not that it is active already");
    let other = fixture.ledger.execute(request("b", activate("b.example"))).await;
    assert!(matches!(other, Err(ExecuteError::IdempotencyMismatch)));

    fixture.time.fetch_add(24 * 3_600 * 1_000_000, Ordering::Relaxed);
    let later = fixture.ledger.execute(request("b", activate("a.example"))).await.unwrap();
    assert_eq!(later.result, CommandResult::AlreadyActive, "a day later the key is a new one");
    let rows = fixture.ledger.store().query("SELECT count(*) FROM request", &[]).await.unwrap();
    assert_eq!(rows, vec![vec![Value::Int(1)]]);
}

async fn a_refusal_at_the_limit_is_recorded_once_a_minute(backend: Backend) {
    let fixture = Fixture::with_license(backend, 1).await;
    fixture.run(activate("a.example")).await;
    for n in 0..20 {
        fixture.run(activate(&format!("{n}.example"))).await;
    }
    let refusals = |events: Vec<LicenseEvent>| events.iter().filter(|event| matches!(event, LicenseEvent::ActivationRefused(_))).count();
    assert_eq!(refusals(fixture.license_events().await), 1);
    fixture.time.fetch_add(60 * 1_000_000, Ordering::Relaxed);
    fixture.run(activate("b.example")).await;
    assert_eq!(refusals(fixture.license_events().await), 2);
}

async fn a_refusal_of_a_query_is_recorded_without_waiting(backend: Backend) {
    let fixture = Fixture::with_license(backend, 1).await;
    for _ in 0..20 {
        let origin = Origin { actor: Actor::Operator, ..Origin::operator() };
        fixture.ledger.record_refusal(&key("KEY-1"), None, AccessRefusal::BlockListed, Some(1), origin);
    }
    // A refusal for a license that doesn't exist is nobody's history.
    fixture.ledger.record_refusal(&key("UNKNOWN"), None, AccessRefusal::BlockListed, Some(1), Origin::operator());
    fixture.run(activate("a.example")).await;
    let recorded = fixture.license_events().await.into_iter().filter(|event| matches!(event, LicenseEvent::AccessRefused(_))).count();
    assert_eq!(recorded, 1);
}

async fn set_versions(store: &dyn Store, versions: &str) {
    // Through a transaction of the store itself: what another program of another version would write.
    let (transaction, mut head, _) = store.begin(&Lookups::default()).await.unwrap();
    head.projections = versions.to_owned();
    let write = keyledger::store::WriteSet {
        head,
        events: Vec::new(),
        inserts: Vec::new(),
        updates: Vec::new(),
        deletes: Vec::new(),
        subjects: Vec::new(),
        forgotten: Vec::new(),
        requests: Vec::new(),
        api_key_secrets: Vec::new(),
        key_pair_secrets: Vec::new(),
        requests_expired_before: None,
    };
    transaction.commit(&write).await.unwrap();
}

async fn older_projections_are_rebuilt_only_where_that_is_wanted(backend: Backend) {
    let fixture = Fixture::with_license(backend, 3).await;
    fixture.run(activate("a.example")).await;
    let current = fixture.ledger.store().head().await.unwrap().projections;
    set_versions(fixture.ledger.store().as_ref(), &current.replace("api_key=1", "api_key=0")).await;
    assert!(matches!(fixture.reopened(false).await, Err(OpenError::Older)));
    let rebuilt = fixture.reopened(true).await.unwrap();
    assert_eq!(rebuilt.store().head().await.unwrap().projections, current);
    assert_eq!(execute(&rebuilt, activate("a.example")).await.unwrap(), CommandResult::AlreadyActive);
    evidence::verify(rebuilt.store(), rebuilt.vault(), Vec::new(), &mut |_, _| {}).await.unwrap();
}

async fn a_node_of_another_version_does_not_append(backend: Backend) {
    let fixture = Fixture::with_license(backend, 3).await;
    let current = fixture.ledger.store().head().await.unwrap().projections;
    let newer = format!("{current} future=1");
    assert_eq!(compare_versions(&newer), Versions::Newer);
    set_versions(fixture.ledger.store().as_ref(), &newer).await;
    assert!(matches!(execute(&fixture.ledger, activate("a.example")).await, Err(ExecuteError::Unavailable(_))));
    assert!(matches!(fixture.reopened(true).await, Err(OpenError::Newer)), "nor does it rebuild what a newer program made");
    set_versions(fixture.ledger.store().as_ref(), &current).await;
    assert_eq!(execute(&fixture.ledger, activate("a.example")).await.unwrap(), CommandResult::Activated);
}

async fn two_ledgers_on_one_database_take_turns(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    let second = fixture.reopened(false).await.unwrap();
    let mut calls = Vec::new();
    for n in 0..200 {
        let ledger = if n % 2 == 0 { fixture.ledger.clone() } else { second.clone() };
        calls.push(tokio::spawn(async move { execute(&ledger, activate(&format!("{}.example", n / 4))).await.unwrap() }));
    }
    let mut activated = 0;
    for call in calls {
        activated += usize::from(call.await.unwrap() == CommandResult::Activated);
    }
    assert_eq!(activated, 50, "each identifier once, whichever ledger it came through");
    evidence::verify(second.store(), second.vault(), Vec::new(), &mut |_, _| {}).await.unwrap();
}

async fn a_full_queue_refuses_and_loses_nothing(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    // The head lock held from outside stops the executor, and the queue fills.
    let (lock, _, _) = fixture.ledger.store().begin(&Lookups::default()).await.unwrap();
    let calls: Vec<_> = (0..QUEUE_COMMANDS_MAX + 2_000)
        .map(|n| {
            let ledger = fixture.ledger.clone();
            tokio::spawn(async move { execute(&ledger, activate(&format!("{n}.example"))).await })
        })
        .collect();
    while fixture.ledger.queue_length() < QUEUE_COMMANDS_MAX {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(lock);
    let (mut done, mut refused) = (0, 0);
    for call in calls {
        match call.await.unwrap() {
            Ok(CommandResult::Activated) => done += 1,
            Err(ExecuteError::Overloaded) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 0, "more was asked for than may wait");
    let activated = fixture.license_events().await.iter().filter(|event| matches!(event, LicenseEvent::LicenseActivated(_))).count();
    assert_eq!(activated, done);
}

async fn a_million_seats_would_end_as_one_event(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    for n in 0..30 {
        fixture.run(activate(&format!("{n}.example"))).await;
    }
    let before = fixture.license_events().await.len();
    let changes = keyledger::ledger::LicenseChanges { status: Some(Status::Available), ..Default::default() };
    fixture.run(Command::UpdateLicense { key: key("KEY-1"), changes }).await;
    assert_eq!(fixture.license_events().await.len() - before, 2, "made available, activations ended; there was no owner");
    let owner = OwnerInput::default();
    let identifier = Some(Identifier::parse("3.example").unwrap());
    let again = fixture.run(Command::AssignAndActivate { key: key("KEY-1"), owner, identifier, post_url: None }).await;
    assert_eq!(again, CommandResult::Activated, "an identifier of before is not active still");
    let view = fixture.ledger.find_license(&key("KEY-1"), None).await.unwrap().unwrap();
    assert_eq!(view.license.license.active_count, 1);
}

async fn time_never_runs_backwards_along_the_log(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    fixture.time.fetch_sub(3_600 * 1_000_000, Ordering::Relaxed);
    fixture.run(activate("a.example")).await;
    let head = fixture.ledger.store().head().await.unwrap();
    let events = fixture.ledger.store().events(0, head.next_position).await.unwrap();
    assert!(events.windows(2).all(|pair| pair[0].recorded_at <= pair[1].recorded_at));
    assert!(events.last().unwrap().metadata.contains("2023-11-14T21:13:20.000000Z"), "when it was decided stands beside it");
}
