//! Forgetting while others use what is forgotten, rebuild it, or forget somebody else.

use keyledger::ledger::{Assignment, Forget, LicenseChanges, SubjectName};
use keyledger_events::SubjectKind;
use tokio::sync::oneshot;

use super::{
    Actor, Arc, Backend, Command, CommandResult, ExecuteError, Fixture, Idempotency, Identifier, Ledger, Ordering, Origin, OwnerInput, Request,
    Status, Value, execute, key, replay,
};

both_backends!(
    a_license_in_constant_use_is_forgotten,
    two_owners_of_one_license_are_forgotten_at_once,
    a_rebuild_that_had_read_the_data_begins_anew,
    a_repeated_request_forgets_nobody_else,
    a_queued_assignment_does_not_bring_its_owner_back,
    what_an_operator_undoes_later_stays_forgotten,
);

fn owned(keys: &[String], email: &str) -> Command {
    Command::CreateLicenses {
        keys: keys.iter().map(|text| key(text)).collect(),
        product: 1,
        owner: OwnerInput { name: Some("Jane Doe".into()), email: Some(email.into()) },
        activation_limit: 0,
        validity_days: 0,
        status: Status::Assigned,
        assigned_at: None,
    }
}

fn activate(license: &str, identifier: &str) -> Command {
    Command::Activate { key: key(license), identifier: Some(Identifier::parse(identifier).unwrap()), post_url: None }
}

fn deactivate(license: &str, identifier: &str) -> Command {
    Command::Deactivate { key: key(license), identifier: Some(Identifier::parse(identifier).unwrap()) }
}

fn by_email(email: &str) -> Forget {
    Forget { subject: SubjectName::Email(email.into()), origin: Origin::operator(), idempotency: None }
}

async fn forget(ledger: &Ledger, email: &str) -> CommandResult {
    ledger.forget(by_email(email)).await.unwrap().result
}

async fn count(ledger: &Ledger, sql: &'static str) -> i64 {
    match ledger.store().query(sql, &[]).await.unwrap()[0][0] {
        Value::Int(count) => count,
        ref other => panic!("{other:?}"),
    }
}

async fn a_license_in_constant_use_is_forgotten(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    fixture.run(owned(&["OWNED".to_owned()], "jane@a.example")).await;
    for round in 0..3 {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let users: Vec<_> = (0..4)
            .map(|user| {
                let (ledger, stop) = (fixture.ledger.clone(), Arc::clone(&stop));
                tokio::spawn(async move {
                    let mut uses = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let identifier = format!("{round}-{user}-{}.example", uses / 3);
                        let command = if uses % 3 == 1 { deactivate("OWNED", &identifier) } else { activate("OWNED", &identifier) };
                        execute(&ledger, command).await.unwrap();
                        uses += 1;
                    }
                    uses
                })
            })
            .collect();
        // Those that hold data: a round's first are used while the round before is ending.
        while count(&fixture.ledger, "SELECT count(*) FROM activation WHERE identifier IS NOT NULL").await < 20 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let subject = if round == 0 { SubjectName::Email("jane@a.example".into()) } else { SubjectName::Number(SubjectKind::Owner, 1) };
        let forgotten = fixture.ledger.forget(Forget { subject, ..by_email("") }).await.unwrap().result;
        let CommandResult::SubjectForgotten { kind: SubjectKind::Owner, number: 1, sealed, rows } = forgotten else { panic!("{forgotten:?}") };
        assert!(sealed >= 20 && rows > 0, "{sealed} {rows}");
        stop.store(true, Ordering::Relaxed);
        for user in users {
            assert!(user.await.unwrap() > 0);
        }
        fixture.verify().await;
    }
    assert!(count(&fixture.ledger, "SELECT count(*) FROM activation WHERE identifier IS NULL").await >= 60);
}

async fn two_owners_of_one_license_are_forgotten_at_once(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    let second = fixture.reopened(false).await.unwrap();
    for round in 0..8 {
        let (license, jane, bob) = (format!("OWNED-{round}"), format!("jane{round}@a.example"), format!("bob{round}@a.example"));
        fixture.run(owned(std::slice::from_ref(&license), &jane)).await;
        fixture.run(activate(&license, "jane.example")).await;
        let changes = LicenseChanges { owner_email: Some(Some(bob.clone())), ..LicenseChanges::default() };
        fixture.run(Command::UpdateLicense { key: key(&license), changes }).await;
        fixture.run(activate(&license, "bob.example")).await;
        let (first, other) = tokio::join!(forget(&fixture.ledger, &jane), forget(&second, &bob));
        for forgotten in [first, other] {
            assert!(matches!(forgotten, CommandResult::SubjectForgotten { .. }), "{forgotten:?}");
        }
    }
    assert_eq!(count(&fixture.ledger, "SELECT count(*) FROM activation WHERE identifier IS NOT NULL").await, 0);
    assert_eq!(count(&fixture.ledger, "SELECT count(*) FROM license WHERE owner_email IS NOT NULL OR owner_name IS NOT NULL").await, 0);
    assert_eq!(count(&fixture.ledger, "SELECT count(*) FROM subject WHERE kind = 'owner'").await, 0);
    fixture.verify().await;
}

async fn a_rebuild_that_had_read_the_data_begins_anew(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    // So many that they are not all read under the lock.
    let keys: Vec<String> = (0..2_500).map(|number| format!("OWNED-{number}")).collect();
    fixture.run(owned(&keys, "jane@a.example")).await;
    let (has_read, read) = oneshot::channel();
    let (is_forgotten, forgotten) = std::sync::mpsc::channel();
    let (store, vault) = (Arc::clone(fixture.ledger.store()), Arc::clone(fixture.ledger.vault()));
    let mut has_read = Some(has_read);
    let rebuilding = tokio::spawn(async move {
        let mut progress = move |_, _| {
            if let Some(has_read) = has_read.take() {
                has_read.send(()).unwrap();
                tokio::task::block_in_place(|| forgotten.recv().unwrap());
            }
        };
        replay::rebuild(&store, &vault, &mut progress).await.unwrap()
    });
    read.await.unwrap();
    assert!(matches!(forget(&fixture.ledger, "jane@a.example").await, CommandResult::SubjectForgotten { sealed: 2_500, rows: 2_500, .. }));
    is_forgotten.send(()).unwrap();
    rebuilding.await.unwrap();
    assert_eq!(count(&fixture.ledger, "SELECT count(*) FROM license WHERE owner_email IS NOT NULL").await, 0);
    fixture.verify().await;
}

async fn a_repeated_request_forgets_nobody_else(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    let hash = |text: &str| fixture.ledger.vault().request_hash(&[text.as_bytes()]);
    let request = |email: &str| Forget { idempotency: Some(Idempotency { id: hash("id"), parameters: hash(email) }), ..by_email(email) };
    fixture.run(owned(&["FIRST".to_owned()], "jane@a.example")).await;
    let first = fixture.ledger.forget(request("jane@a.example")).await.unwrap();
    assert!(matches!(first.result, CommandResult::SubjectForgotten { sealed: 1, rows: 1, .. }), "{first:?}");
    assert_eq!(first.first_position, fixture.ledger.store().head().await.unwrap().next_position - 1);
    // Somebody with the same address comes afterwards: the repetition doesn't mean them.
    fixture.run(owned(&["SECOND".to_owned()], "jane@a.example")).await;
    assert_eq!(fixture.ledger.forget(request("jane@a.example")).await.unwrap(), first);
    assert!(matches!(fixture.ledger.forget(request("bob@a.example")).await, Err(ExecuteError::IdempotencyMismatch)));
    assert_eq!(count(&fixture.ledger, "SELECT count(*) FROM license WHERE owner_email IS NOT NULL").await, 1);
    let outcomes = fixture.ledger.store().query("SELECT outcome FROM request", &[]).await.unwrap();
    assert!(!format!("{outcomes:?}").contains("jane"), "{outcomes:?}");
    fixture.verify().await;
}

async fn a_queued_assignment_does_not_bring_its_owner_back(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    let mut available = owned(&["AVAILABLE".to_owned()], "");
    if let Command::CreateLicenses { status, owner, .. } = &mut available {
        (*status, *owner) = (Status::Available, OwnerInput::default());
    }
    fixture.run(available).await;
    let owner = OwnerInput { name: Some("Jane Doe".into()), email: Some("jane@a.example".into()) };
    let assignment = Assignment { product: 1, quantity: 1, generate: false, owner };
    fixture.run(Command::QueueAssignment { assignment: assignment.clone(), identifier: Some("jane's".into()), webhook_url: None }).await;
    forget(&fixture.ledger, "jane@a.example").await;
    // A server that had read the job before does it now.
    let done = fixture.run(Command::RunJob { job: 1, assignment, supply: None }).await;
    assert!(matches!(done, CommandResult::JobFinished(_)), "{done:?}");
    assert_eq!(count(&fixture.ledger, "SELECT count(*) FROM license WHERE job = 1").await, 1);
    assert_eq!(count(&fixture.ledger, "SELECT count(*) FROM license WHERE owner IS NOT NULL OR owner_email IS NOT NULL").await, 0);
    assert_eq!(count(&fixture.ledger, "SELECT count(*) FROM assignment_job WHERE owner_email IS NOT NULL OR identifier IS NOT NULL").await, 0);
    fixture.verify().await;
}

async fn what_an_operator_undoes_later_stays_forgotten(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    fixture.run(owned(&["OWNED".to_owned()], "jane@a.example")).await;
    fixture.run(activate("OWNED", "jane.example")).await;
    forget(&fixture.ledger, "jane@a.example").await;
    // An activation that nobody can name any more is still ended by its number, and frees its seat.
    let by_license = Origin { actor: Actor::License(2), client_ip: Some([192, 0, 2, 7].into()), ..Origin::system() };
    let command = Command::EndActivation { license: 2, activation: 1 };
    let ended = fixture.ledger.execute(Request { command, origin: by_license, idempotency: None }).await.unwrap();
    assert_eq!(ended.result, CommandResult::Deactivated);
    let changes = LicenseChanges { owner_name: Some(Some("Somebody".into())), ..LicenseChanges::default() };
    fixture.run(Command::UpdateLicense { key: key("OWNED"), changes }).await;
    fixture.run(activate("OWNED", "jane.example")).await;
    assert_eq!(count(&fixture.ledger, "SELECT active_count FROM license WHERE number = 2").await, 1);
    assert_eq!(count(&fixture.ledger, "SELECT count(*) FROM activation").await, 2, "the same identifier, known as another");
    fixture.verify().await;
    replay::rebuild(fixture.ledger.store(), fixture.ledger.vault(), &mut |_, _| {}).await.unwrap();
    fixture.verify().await;
}
