//! Web hook endpoints: given what happened, when somebody wants something, then what follows.

use cqrs_es::test::TestFramework;
use keyledger_events::{Context, Personal, Timestamp, webhook_endpoint::*};

type Event = WebhookEndpointEvent;
type Command = WebhookEndpointCommand;
type Error = WebhookEndpointError;

const ALL: MaySend = MaySend { license_keys: true, personal_data: true };

fn fields() -> EndpointFields {
    let filter = WantedEvents { license: None, product: Some(2), types: vec!["license.*".into()] };
    EndpointFields { filter, license_keys: false, personal_data: false, url: "https://vendor.example/hook".into() }
}

fn create(fields: EndpointFields, may: MaySend, others: i64) -> Command {
    Command::Create { fields, may, salt: "one".into(), after: 7, others }
}

fn created_with(fields: EndpointFields) -> Event {
    Event::EndpointCreated(EndpointCreated { after: 7, endpoint: 1, fields, personal: Personal::None, salt: "one".into() })
}

fn created() -> Event {
    created_with(fields())
}

fn paused(reason: PauseReason, position: Option<i64>) -> Event {
    Event::EndpointPaused(EndpointPaused { endpoint: 1, personal: Personal::None, position, reason })
}

fn resumed() -> Event {
    Event::EndpointResumed(EndpointResumed { endpoint: 1, personal: Personal::None })
}

fn deleted() -> Event {
    Event::EndpointDeleted(EndpointDeleted { endpoint: 1, personal: Personal::None })
}

fn given(events: Vec<Event>) -> cqrs_es::test::AggregateTestExecutor<WebhookEndpoint> {
    TestFramework::with(Context { now: Timestamp(1_000_000), ..Context::default() }).given(events)
}

#[test]
fn an_endpoint_is_made_changed_and_deleted() {
    given(vec![]).when(create(fields(), MaySend::default(), 99)).then_expect_events(vec![created()]);
    given(vec![]).when(create(fields(), MaySend::default(), ENDPOINTS_MAX)).then_expect_error(Error::TooMany);
    given(vec![created()]).when(create(fields(), ALL, 0)).then_expect_error(Error::Exists);
    let at = |url: &str| EndpointFields { url: url.into(), ..fields() };
    let update = |url: &str| Command::Update { fields: at(url), may: MaySend::default() };
    let moved = at("https://vendor.example/new");
    let updated = Event::EndpointUpdated(EndpointUpdated { endpoint: 1, fields: moved, personal: Personal::None });
    given(vec![created()]).when(update("https://vendor.example/new")).then_expect_events(vec![updated]);
    given(vec![created()]).when(update("https://vendor.example/hook")).then_expect_events(vec![]);
    given(vec![created()]).when(Command::Delete).then_expect_events(vec![deleted()]);
    for command in [update("https://vendor.example/new"), Command::Delete, Command::Resume, Command::Replay { after: 0 }] {
        given(vec![]).when(command.clone()).then_expect_error(Error::Unknown);
        given(vec![created(), deleted()]).when(command).then_expect_error(Error::Unknown);
    }
}

#[test]
fn nobody_has_sent_what_they_may_not_see() {
    let keys = || EndpointFields { license_keys: true, ..fields() };
    let personal = || EndpointFields { personal_data: true, ..fields() };
    given(vec![]).when(create(keys(), MaySend { license_keys: false, ..ALL }, 0)).then_expect_error(Error::MayNotSendKeys);
    given(vec![]).when(create(personal(), MaySend { personal_data: false, ..ALL }, 0)).then_expect_error(Error::MayNotSendPersonalData);
    given(vec![]).when(create(keys(), ALL, 0)).then_expect_events(vec![created_with(keys())]);
    // Neither can they have it sent elsewhere: they can only end that it is sent.
    let update = |fields| Command::Update { fields, may: MaySend::default() };
    let elsewhere = EndpointFields { url: "https://elsewhere.example/".into(), ..keys() };
    given(vec![created_with(keys())]).when(update(elsewhere)).then_expect_error(Error::MayNotSendKeys);
    let no_more = EndpointFields { url: "https://elsewhere.example/".into(), ..fields() };
    let updated = Event::EndpointUpdated(EndpointUpdated { endpoint: 1, fields: no_more.clone(), personal: Personal::None });
    given(vec![created_with(keys())]).when(update(no_more)).then_expect_events(vec![updated]);
}

#[test]
fn it_is_paused_and_resumed() {
    let pause = |reason, position| Command::Pause { reason, position };
    let failing = || paused(PauseReason::Failing, Some(9));
    given(vec![created()]).when(pause(PauseReason::Failing, Some(9))).then_expect_events(vec![failing()]);
    given(vec![created(), failing()]).when(pause(PauseReason::Operator, None)).then_expect_events(vec![]);
    given(vec![created(), failing()]).when(Command::Resume).then_expect_events(vec![resumed()]);
    // What waits is tried at once, also where nobody paused it.
    given(vec![created()]).when(Command::Resume).then_expect_events(vec![resumed()]);
    let by_hand = paused(PauseReason::Operator, None);
    given(vec![created(), failing(), resumed()]).when(pause(PauseReason::Operator, None)).then_expect_events(vec![by_hand]);
}

#[test]
fn a_new_secret_leaves_the_old_one_a_day() {
    let old_until = Timestamp(1_000_000 + OLD_SECRET_FOR_S * 1_000_000);
    let rotated = Event::EndpointSecretRotated(EndpointSecretRotated { endpoint: 1, old_until, personal: Personal::None, salt: "two".into() });
    given(vec![created()]).when(Command::RotateSecret { salt: "two".into() }).then_expect_events(vec![rotated.clone()]);
    let state = [created(), rotated].iter().fold(None, WebhookEndpoint::fold).unwrap_or_default();
    assert_eq!((state.salt.as_str(), state.old_salt), ("two", Some(("one".to_owned(), old_until))));
}

#[test]
fn a_replay_is_a_beginning_of_its_own() {
    let replayed = |after| Event::EndpointReplayed(EndpointReplayed { after, endpoint: 1, personal: Personal::None });
    given(vec![created()]).when(Command::Replay { after: -1 }).then_expect_events(vec![replayed(-1)]);
    let state = [created(), replayed(-1), replayed(3)].iter().fold(None, WebhookEndpoint::fold).unwrap_or_default();
    assert_eq!((state.after, state.replays), (3, 2));
}
