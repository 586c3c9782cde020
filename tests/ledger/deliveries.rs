//! Activations ended by an operator, the deliveries that tell of them, and how a delivery is given up: with a clock that stands
//! where it is put.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keyledger::files::Files;
use keyledger::{
    app::{App, HttpConfig},
    background,
    clock::Clock,
    ledger::{Command, CommandResult},
    outgoing::Allowed,
};
use keyledger_events::{
    delivery::{ATTEMPTS_MAX, DeliveryCommand, DeliveryError, DeliveryKind, DeliveryState},
    license::LicenseError,
    product::UpdateProduct,
    values::Identifier,
};

use super::{Backend, Fixture, key, receiver::Receiver};

const SECOND: i64 = 1_000_000;

both_backends!(
    whoever_gave_a_url_is_told_of_a_deactivation,
    nobody_is_told_where_nobody_wants_to_be,
    a_delivery_is_given_up_after_a_day_and_tried_again_when_an_operator_wants_it,
    of_two_servers_one_makes_an_attempt,
);

impl Fixture {
    async fn activated(&self, identifier: &str, post_url: Option<String>) -> i64 {
        let identifier = Identifier::parse(identifier).unwrap();
        let activate = Command::Activate { key: key("KEY-1"), identifier: Some(identifier.clone()), post_url };
        assert_eq!(self.run(activate).await, CommandResult::Activated);
        self.ledger.find_license(&key("KEY-1"), Some(&identifier)).await.unwrap().unwrap().activation.unwrap().number()
    }

    async fn post_url_of_product(&self, url: &str) {
        let update = UpdateProduct { post_url: Some(url.to_owned()), ..UpdateProduct::default() };
        assert_eq!(self.run(Command::UpdateProduct { product: 1, update }).await, CommandResult::ProductUpdated);
    }

    async fn end(&self, activation: i64) -> CommandResult {
        self.run(Command::EndActivation { license: 1, activation }).await
    }

    async fn deliver(&self, command: DeliveryCommand) -> CommandResult {
        self.run(Command::Delivery { delivery: 1, command }).await
    }
}

async fn whoever_gave_a_url_is_told_of_a_deactivation(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    let receiver = Receiver::start().await;
    fixture.post_url_of_product(&receiver.url("/product")).await;
    let activation = fixture.activated("a.example", Some(receiver.url("/activation"))).await;
    assert_eq!(fixture.end(activation).await, CommandResult::Deactivated);
    assert_eq!(fixture.end(activation).await, CommandResult::AlreadyInactive);
    assert_eq!(fixture.end(99).await, CommandResult::LicenseRefused(LicenseError::NoActivation));

    let config = HttpConfig { allow_outgoing: Allowed::parse(["127.0.0.1"]).unwrap(), ..HttpConfig::default() };
    let folder = tempfile::tempdir().unwrap();
    let files = Arc::new(Files::open(None, folder.path(), 1024).unwrap());
    let app = Arc::new(App::new(fixture.ledger.clone(), Clock::Manual(Arc::clone(&fixture.time)), files, config, None).await.unwrap());
    let working = tokio::spawn(background::run(app));
    let mut received = receiver.wait_for(2).await;
    received.sort_by(|a, b| a.line.cmp(&b.line));
    assert_eq!(received[0].line, "POST /activation HTTP/1.1");
    assert_eq!(received[1].line, "POST /product HTTP/1.1");
    for received in &received {
        let envelope: serde_json::Value = serde_json::from_str(&received.body).unwrap();
        let response = &envelope["response"];
        assert_eq!((&response["code"], &response["license_key"], &response["identifier"]), (&"400".into(), &"KEY-1".into(), &"a.example".into()));
        assert_eq!((&response["product_id"], &envelope["private_key_used"]), (&1.into(), &"global".into()));
        assert!(envelope["signature"].as_str().is_some_and(|signature| signature.len() > 300));
        assert!(received.headers["webhook-signature"].starts_with("v1,"));
    }
    assert_ne!(received[0].headers["webhook-id"], received[1].headers["webhook-id"]);
    crate::poll::eventually("both are recorded as delivered", || async {
        let delivered = fixture.ledger.deliveries(Some(DeliveryState::Delivered), i64::MAX, 10).await.unwrap();
        (delivered.len() == 2).then_some(())
    })
    .await;
    working.abort();
    fixture.verify().await;
}

async fn nobody_is_told_where_nobody_wants_to_be(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    let first = fixture.activated("a.example", None).await;
    assert_eq!(fixture.end(first).await, CommandResult::Deactivated);
    // The client itself, deactivating, is not told of it.
    fixture.post_url_of_product("https://vendor.example/receive").await;
    fixture.activated("b.example", Some("https://b.example/receive".to_owned())).await;
    let deactivate = Command::Deactivate { key: key("KEY-1"), identifier: Some(Identifier::parse("b.example").unwrap()) };
    assert_eq!(fixture.run(deactivate).await, CommandResult::Deactivated);
    assert!(fixture.ledger.deliveries(None, i64::MAX, 10).await.unwrap().is_empty());
    // One URL is told once.
    let third = fixture.activated("c.example", Some("https://vendor.example/receive".to_owned())).await;
    fixture.end(third).await;
    let deliveries = fixture.ledger.deliveries(Some(DeliveryState::Pending), i64::MAX, 10).await.unwrap();
    assert_eq!(deliveries.iter().map(|row| row.delivery.kind).collect::<Vec<_>>(), [DeliveryKind::ActivationEnded]);
    fixture.verify().await;
}

async fn a_delivery_is_given_up_after_a_day_and_tried_again_when_an_operator_wants_it(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    let activation = fixture.activated("a.example", Some("https://a.example/".to_owned())).await;
    fixture.end(activation).await;
    let started = fixture.time.load(Ordering::Relaxed);
    for attempt in 1..=ATTEMPTS_MAX {
        assert_eq!(fixture.deliver(DeliveryCommand::Start).await, CommandResult::DeliveryStarted { attempt });
        assert_eq!(fixture.deliver(DeliveryCommand::Start).await, CommandResult::DeliveryRefused(DeliveryError::NotDue));
        let fail = DeliveryCommand::Fail { attempt, error: "status", status: Some(503), jitter: 500, is_final: false };
        assert_eq!(fixture.deliver(fail).await, CommandResult::DeliveryDone);
        let row = fixture.ledger.delivery(1).await.unwrap().unwrap().delivery;
        assert_eq!((row.attempts, row.status, row.error.as_deref()), (attempt, Some(503), Some("status")));
        let now = keyledger_events::Timestamp(fixture.time.load(Ordering::Relaxed));
        if attempt < ATTEMPTS_MAX {
            assert!(fixture.ledger.due_deliveries(now, 10).await.unwrap().is_empty(), "not before it is due");
            fixture.time.store(row.due_at.0, Ordering::Relaxed);
            assert_eq!(fixture.ledger.due_deliveries(row.due_at, 10).await.unwrap().len(), 1);
        }
    }
    let took = (fixture.time.load(Ordering::Relaxed) - started) / SECOND / 3_600;
    assert!((20..26).contains(&took), "{took} hours");
    let backlog = fixture.ledger.backlog().await.unwrap();
    assert_eq!((backlog.deliveries_pending, backlog.deliveries_given_up), (0, 1));
    assert_eq!(fixture.deliver(DeliveryCommand::Start).await, CommandResult::DeliveryRefused(DeliveryError::NotDue));
    assert_eq!(fixture.deliver(DeliveryCommand::Retry).await, CommandResult::DeliveryDone);
    assert_eq!(fixture.deliver(DeliveryCommand::Retry).await, CommandResult::DeliveryRefused(DeliveryError::Pending));
    assert_eq!(fixture.deliver(DeliveryCommand::Start).await, CommandResult::DeliveryStarted { attempt: 1 });
    assert_eq!(fixture.deliver(DeliveryCommand::Succeed { attempt: 1, status: 204 }).await, CommandResult::DeliveryDone);
    let unknown = Command::Delivery { delivery: 9, command: DeliveryCommand::Retry };
    assert_eq!(fixture.run(unknown).await, CommandResult::DeliveryRefused(DeliveryError::Unknown));
    fixture.verify().await;
}

async fn of_two_servers_one_makes_an_attempt(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    let other = fixture.reopened(false).await.unwrap();
    let mut calls = Vec::new();
    for n in 1..=8 {
        let activation = fixture.activated(&format!("{n}.example"), Some(format!("https://{n}.example/"))).await;
        fixture.end(activation).await;
        for ledger in [&fixture.ledger, &other, &fixture.ledger, &other] {
            let ledger = ledger.clone();
            let command = Command::Delivery { delivery: n, command: DeliveryCommand::Start };
            calls.push(tokio::spawn(async move { super::execute(&ledger, command).await.unwrap() }));
        }
    }
    let mut started = 0;
    for call in calls {
        started += usize::from(matches!(call.await.unwrap(), CommandResult::DeliveryStarted { attempt: 1 }));
    }
    assert_eq!(started, 8);
}
