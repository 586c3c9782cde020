//! Web hook endpoints, with receivers that listen on real sockets: what they are sent, in which order, and what becomes of those that
//! don't take it.

#[path = "../support/mod.rs"]
mod support;

mod documents;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::receiver::{Received, Receiver};
use crate::support::{Backend, Client, Ledger, PRODUCT, Running, ServeOptions, Server, both_backends, eventually, fields, raw};

both_backends!(
    events_are_sent_signed_and_in_order,
    a_filter_chooses_and_switches_show,
    a_license_that_fails_holds_up_no_other,
    an_endpoint_that_hangs_holds_up_no_other,
    an_endpoint_that_is_gone_is_paused_at_once,
    an_endpoint_that_fails_for_long_is_paused,
    events_are_sent_again_from_a_position,
    a_new_secret_leaves_the_old_one_a_while,
    a_forbidden_address_is_never_called,
    waits_grow_and_outlive_the_server,
    a_resumed_endpoint_is_tried_at_once,
    what_fails_is_remembered_whatever_fails_behind_it,
    what_was_taken_behind_a_failure_is_not_sent_again,
    nothing_is_lost_when_the_server_is_killed,
    what_an_endpoint_cannot_be_is_said,
);

/// Waits of a hundredth: 50 milliseconds, 300, 1.2 seconds. By the factor 100,000 three days are 2.6 seconds.
fn hurried(factor: u32) -> ServeOptions {
    ServeOptions::args(&["--allow-outgoing", "127.0.0.0/8", "--webhook-hurry", &factor.to_string()])
}

struct Endpoint {
    path: String,
    secret: String,
}

impl Endpoint {
    async fn new(api: &Client, given: Value) -> Endpoint {
        let made = api.admin_post("webhook-endpoints", given).await;
        let path = format!("webhook-endpoints/{}", made.expect(201)["number"]);
        assert_eq!(made.headers["location"], format!("/admin/v1/{path}"));
        Endpoint { path, secret: made.body["secret"].as_str().expect("a secret").to_owned() }
    }

    async fn shown(&self, api: &Client) -> Value {
        api.admin_get(&self.path).await.expect(200).clone()
    }

    async fn post(&self, api: &Client, what: &str, body: Value) -> Value {
        api.admin_post(&format!("{}/{what}", self.path), body).await.expect(200).clone()
    }

    /// Waits until the endpoint was told of everything.
    async fn caught_up(&self, api: &Client) -> Value {
        eventually("the endpoint is told of all", || async { Some(self.shown(api).await).filter(|shown| shown["lag"] == 0) }).await
    }

    async fn in_state(&self, api: &Client, state: &str) -> Value {
        eventually("the endpoint is in another state", || async { Some(self.shown(api).await).filter(|shown| shown["state"] == state) }).await
    }

    async fn failures(&self, api: &Client) -> Vec<Value> {
        api.admin_list(&format!("{}/attempts?failed=true", self.path), 500).await
    }
}

fn event(received: &Received) -> Value {
    serde_json::from_str(&received.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", received.body))
}

fn position(received: &Received) -> i64 {
    event(received)["id"].as_str().expect("a text").parse().expect("a position")
}

/// Whose order counts: the license's, or the stream's where it is about none, or names it once only.
fn lane(received: &Received) -> String {
    let event = event(received);
    let subject = event["subject"].as_str().expect("a subject").to_owned();
    match event["data"]["license"].as_i64() {
        Some(license) if !subject.starts_with("delivery/") => format!("license {license}"),
        _ => subject,
    }
}

/// The positions of the events in the order in which they first came.
fn by_lane(received: &[Received]) -> BTreeMap<String, Vec<i64>> {
    let (mut seen, mut lanes) = (BTreeSet::new(), BTreeMap::<String, Vec<i64>>::new());
    for received in received {
        if seen.insert(position(received)) {
            lanes.entry(lane(received)).or_default().push(position(received));
        }
    }
    lanes
}

fn expect_in_order(received: &[Received]) {
    for (lane, positions) in by_lane(received) {
        assert!(positions.is_sorted(), "{lane}: {positions:?}");
    }
}

/// The rule of Standard Webhooks, written out.
fn is_signed_with(received: &Received, secret: &str) -> bool {
    let header = |name: &str| received.headers.get(name).map(String::as_str).unwrap_or_default();
    let secret = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("Base64");
    let signed = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), received.body);
    let expected = STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes()));
    header("webhook-signature").split(' ').any(|signature| signature == format!("v1,{expected}"))
}

/// A license with so many activations.
async fn active(api: &Client, product: i64, count: usize) -> String {
    let key = api.new_license(product, fields!()).await;
    for number in 0..count {
        api.activate(&key, &format!("{number}.example")).await.expect(300, PRODUCT);
    }
    key
}

async fn events_are_sent_signed_and_in_order(backend: Backend) {
    let on = Running::start_with(backend, hurried(100)).await;
    let receiver = Receiver::start().await;
    let endpoint = Endpoint::new(&on.api, json!({ "url": receiver.url("/hook") })).await;
    let before = on.ledger.event_count().await;
    receiver.answer_with(&[500, 302]);
    let product = on.api.new_product().await;
    let (one, _) = (active(&on.api, product, 3).await, active(&on.api, product, 3).await);
    let shown = endpoint.caught_up(&on.api).await;
    assert_eq!((shown["position"].as_i64(), &shown["state"]), (Some(on.ledger.event_count().await - 1), &json!("active")));

    let received = receiver.received();
    let positions: BTreeSet<i64> = received.iter().map(position).collect();
    assert_eq!(positions, (before..on.ledger.event_count().await).collect(), "all of them, and not its own making");
    assert_eq!(received.len(), positions.len() + 2, "two were sent again");
    expect_in_order(&received);
    for received in &received {
        assert!(received.line.starts_with("POST /hook "), "{}", received.line);
        assert_eq!(received.headers["content-type"], "application/cloudevents+json");
        let (source, id) = (event(received)["source"].as_str().expect("a source").to_owned(), position(received));
        assert_eq!(received.headers["webhook-id"], format!("{}-{id}", source.strip_prefix("urn:uuid:").expect("the ledger")));
        assert!(is_signed_with(received, &endpoint.secret), "{received:?}");
        assert!(!received.body.contains(&one), "keys are masked");
    }
    assert!(received.iter().any(|received| event(received)["type"] == "license.activated"));
    let failures = endpoint.failures(&on.api).await;
    let errors: BTreeSet<&str> = failures.iter().filter_map(|attempt| attempt["error"].as_str()).collect();
    assert_eq!(errors, BTreeSet::from(["redirected", "status"]));
    assert_eq!(shown["last_failure"], failures[0]);
    let attempts = on.api.admin_list(&format!("{}/attempts", endpoint.path), 3).await;
    assert_eq!(attempts.len(), received.len());
    assert!(
        attempts.iter().any(|attempt| attempt["attempt"].as_i64() > Some(1) && attempt["status"] == 200 && attempt["error"] == json!(null)),
        "{attempts:?}"
    );
    on.ledger.expect_intact().await;
}

async fn a_filter_chooses_and_switches_show(backend: Backend) {
    let on = Running::start_with(backend, hurried(100)).await;
    let (some, all) = (Receiver::start().await, Receiver::start().await);
    let (product, other) = (on.api.new_product().await, on.api.new_product().await);
    let chosen = json!({ "url": some.url("/"), "types": ["license.created", "activation.*"], "product": product });
    let some_endpoint = Endpoint::new(&on.api, chosen).await;
    let everything = json!({ "url": all.url("/"), "license_keys": true, "personal_data": true, "after": -1 });
    let all_endpoint = Endpoint::new(&on.api, everything).await;
    let key = on.api.new_license(product, fields!(activation_limit: 1, owner_email: "o@a.example")).await;
    on.api.activate(&key, "a.example").await.expect(300, PRODUCT);
    on.api.activate(&key, "b.example").await;
    active(&on.api, other, 1).await;
    some_endpoint.caught_up(&on.api).await;
    let types: Vec<String> = some.received().iter().map(|received| event(received)["type"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(types, ["license.created", "activation.failed"]);
    assert!(some.received().iter().all(|received| !received.body.contains("a.example") && !received.body.contains(&key)));
    all_endpoint.caught_up(&on.api).await;
    let received = all.received();
    assert_eq!(received.len() as i64, on.ledger.event_count().await, "from the first event on");
    for shown in ["o@a.example", "a.example", &key] {
        assert!(received.iter().any(|received| received.body.contains(shown)), "{shown}");
    }
    // Sent when it is forgotten, it says so.
    on.api.admin_post("subjects/forget", json!({ "email": "o@a.example" })).await.expect(200);
    all_endpoint.post(&on.api, "replay", json!({ "after": -1 })).await;
    eventually("all are sent again", || async { (all.received().len() > received.len() * 2).then_some(()) }).await;
    assert!(all.received()[received.len()..].iter().all(|received| !received.body.contains("o@a.example")));
}

async fn a_license_that_fails_holds_up_no_other(backend: Backend) {
    let on = Running::start_with(backend, hurried(100)).await;
    let receiver = Receiver::start().await;
    let product = on.api.new_product().await;
    let license = async || on.api.new_license(product, fields!(activation_limit: 8)).await;
    let (one, two) = (license().await, license().await);
    let number = on.api.admin_get(&format!("licenses?license_key={one}")).await.expect(200)["items"][0]["number"].clone();
    let failing = format!("license {number}");
    let is_down = Arc::new(AtomicBool::new(true));
    let (down, of) = (Arc::clone(&is_down), failing.clone());
    receiver.answer_by(move |received| Some(if lane(received) == of && down.load(Ordering::Relaxed) { 503 } else { 200 }));
    let endpoint = Endpoint::new(&on.api, json!({ "url": receiver.url("/") })).await;
    for round in 0..8 {
        for key in [&one, &two] {
            on.api.activate(key, &format!("{round}.example")).await.expect(300, PRODUCT);
        }
    }
    eventually("the other license is told of", || async {
        by_lane(&receiver.received()).iter().any(|(lane, positions)| *lane != failing && positions.len() == 8).then_some(())
    })
    .await;
    assert_eq!(by_lane(&receiver.received())[&failing].len(), 1, "its later events wait");
    assert_ne!(endpoint.shown(&on.api).await["lag"], 0);
    is_down.store(false, Ordering::Relaxed);
    endpoint.caught_up(&on.api).await;
    expect_in_order(&receiver.received());
    assert_eq!(by_lane(&receiver.received())[&failing].len(), 8);
}

async fn an_endpoint_that_hangs_holds_up_no_other(backend: Backend) {
    let on = Running::start_with(backend, hurried(100)).await;
    let (hangs, works) = (Receiver::start().await, Receiver::start().await);
    hangs.answer_by(|_| None);
    let hanging = Endpoint::new(&on.api, json!({ "url": hangs.url("/") })).await;
    let working = Endpoint::new(&on.api, json!({ "url": works.url("/") })).await;
    let product = on.api.new_product().await;
    for _ in 0..4 {
        active(&on.api, product, 2).await;
    }
    working.caught_up(&on.api).await;
    assert!(hangs.connections() > 0 && hanging.failures(&on.api).await.is_empty(), "the calls are still waited for");
    let failed = eventually("a call takes too long", || async { hanging.failures(&on.api).await.pop() }).await;
    assert_eq!((&failed["error"], &failed["status"]), (&json!("timed_out"), &json!(null)));
    assert!(failed["took_ms"].as_i64() >= Some(19_000), "{failed}");
    hangs.answer_by(|_| Some(200));
    hanging.caught_up(&on.api).await;
    expect_in_order(&hangs.received());
}

async fn an_endpoint_that_is_gone_is_paused_at_once(backend: Backend) {
    let on = Running::start_with(backend, hurried(1)).await;
    let receiver = Receiver::start().await;
    receiver.answer_by(|_| Some(410));
    let endpoint = Endpoint::new(&on.api, json!({ "url": receiver.url("/") })).await;
    let product = on.api.new_product().await;
    let shown = endpoint.in_state(&on.api, "gone").await;
    assert_eq!((&shown["last_failure"]["status"], &shown["last_failure"]["attempt"]), (&json!(410), &json!(1)));
    active(&on.api, product, 1).await;
    let connections = receiver.connections();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(receiver.connections(), connections, "nobody calls it any more");
    receiver.answer_by(|_| Some(200));
    endpoint.post(&on.api, "resume", json!(null)).await;
    endpoint.caught_up(&on.api).await;
    let types: BTreeSet<String> =
        receiver.received().iter().map(|received| event(received)["type"].as_str().unwrap_or_default().to_owned()).collect();
    for wanted in ["product.created", "license.activated", "webhook_endpoint.paused", "webhook_endpoint.resumed"] {
        assert!(types.contains(wanted), "{wanted} of {types:?}");
    }
}

async fn an_endpoint_that_fails_for_long_is_paused(backend: Backend) {
    let on = Running::start_with(backend, hurried(100_000)).await;
    let receiver = Receiver::start().await;
    receiver.answer_by(|_| Some(500));
    let endpoint = Endpoint::new(&on.api, json!({ "url": receiver.url("/") })).await;
    on.api.new_product().await;
    let shown = endpoint.in_state(&on.api, "failing").await;
    assert_eq!(shown["last_failure"]["status"], 500);
    assert!(shown["last_failure"]["attempt"].as_i64() > Some(7), "{shown}");
    // Paused or not, an operator's pause changes nothing more.
    let events = on.ledger.event_count().await;
    endpoint.post(&on.api, "pause", json!(null)).await;
    assert_eq!(on.ledger.event_count().await, events);
    receiver.answer_by(|_| Some(200));
    endpoint.post(&on.api, "resume", json!(null)).await;
    endpoint.caught_up(&on.api).await;
    endpoint.post(&on.api, "pause", json!(null)).await;
    // What comes until the server sees that may still be delivered.
    let behind = eventually("nothing more is delivered", || async {
        on.api.new_product().await;
        Some(endpoint.shown(&on.api).await).filter(|shown| shown["lag"].as_i64() > Some(1))
    })
    .await;
    assert_eq!(behind["state"], "paused");
    endpoint.post(&on.api, "resume", json!(null)).await;
    endpoint.caught_up(&on.api).await;
    let positions: BTreeSet<i64> = receiver.received().iter().map(position).collect();
    assert_eq!(positions.last(), Some(&(on.ledger.event_count().await - 1)));
    assert_eq!(positions.len() as i64, positions.last().unwrap_or(&0) - positions.first().unwrap_or(&0) + 1, "none is left out");
    on.api.admin_delete(&endpoint.path).await.expect(204);
    on.api.admin_get(&endpoint.path).await.expect_problem(404, "not-found");
    assert!(on.api.admin_list("webhook-endpoints", 10).await.is_empty());
    on.ledger.expect_intact().await;
}

async fn events_are_sent_again_from_a_position(backend: Backend) {
    let on = Running::start_with(backend, hurried(100)).await;
    let receiver = Receiver::start().await;
    let endpoint = Endpoint::new(&on.api, json!({ "url": receiver.url("/") })).await;
    let product = on.api.new_product().await;
    active(&on.api, product, 3).await;
    endpoint.caught_up(&on.api).await;
    let (first, after) = (receiver.received(), on.ledger.event_count().await - 3);
    endpoint.post(&on.api, "replay", json!({ "after": after })).await;
    eventually("the last ones are sent again", || async { (receiver.received().len() >= first.len() + 3).then_some(()) }).await;
    endpoint.caught_up(&on.api).await;
    let again: Vec<Received> = receiver.received()[first.len()..].to_vec();
    assert_eq!(again.iter().map(position).collect::<BTreeSet<_>>(), (after + 1..on.ledger.event_count().await).collect());
    for again in again.iter().filter(|again| position(again) <= after + 2) {
        let before = first.iter().find(|first| position(first) == position(again)).expect("it was sent before");
        assert_eq!((&before.headers["webhook-id"], &before.body), (&again.headers["webhook-id"], &again.body));
    }
    let replay = async |after: i64| on.api.admin_post(&format!("{}/replay", endpoint.path), json!({ "after": after })).await;
    for wrong in [-2, 999_999_999] {
        replay(wrong).await.expect_invalid(&["/after"]);
    }
}

async fn a_new_secret_leaves_the_old_one_a_while(backend: Backend) {
    let on = Running::start_with(backend, hurried(100)).await;
    let receiver = Receiver::start().await;
    let endpoint = Endpoint::new(&on.api, json!({ "url": receiver.url("/") })).await;
    let secret = format!("{}/secret", endpoint.path);
    assert_eq!(on.api.admin_get(&secret).await.expect(200), &json!({ "secret": endpoint.secret, "old_secret": null, "old_until": null }));
    let rotated = endpoint.post(&on.api, "rotate-secret", json!(null)).await;
    assert_eq!(rotated["old_secret"], endpoint.secret);
    assert_ne!(rotated["secret"], endpoint.secret);
    assert_eq!(on.api.admin_get(&secret).await.expect(200), &rotated);
    // As soon as the server sees it.
    eventually("messages are signed with both", || async {
        on.api.new_product().await;
        endpoint.caught_up(&on.api).await;
        let last = receiver.received().pop().expect("a message");
        assert!(is_signed_with(&last, &endpoint.secret), "the old one is good all the time");
        is_signed_with(&last, rotated["secret"].as_str().expect("a secret")).then_some(())
    })
    .await;
    // After its time, which is made to be over, the old one is good no more.
    let Running { server, ledger, .. } = on;
    server.stop().await;
    let over = if backend == Backend::Sqlite { "1" } else { "to_timestamp(1)" };
    let sql = format!("UPDATE webhook_endpoint SET old_salt_until = {over} WHERE old_salt IS NOT NULL");
    raw::execute(&ledger.place, &sql).await.expect("an update");
    let server = ledger.serve_with(hurried(100)).await;
    let on = Running { api: server.client(), server, ledger };
    on.api.new_product().await;
    endpoint.caught_up(&on.api).await;
    let last = receiver.received().pop().expect("a message");
    assert!(!is_signed_with(&last, &endpoint.secret) && is_signed_with(&last, rotated["secret"].as_str().expect("a secret")));
    // Nothing of either is in the log.
    let reader = on.caller(&["--capability", "admin:webhooks:read", "--capability", "verify"]).await;
    reader.admin_get(&endpoint.path).await.expect(200);
    reader.admin_get(&secret).await.expect_problem(403, "not-permitted");
    reader.admin_delete(&endpoint.path).await.expect_problem(403, "not-permitted");
}

async fn a_forbidden_address_is_never_called(backend: Backend) {
    let on = Running::start_with(backend, ServeOptions::args(&["--webhook-hurry", "100"])).await;
    let receiver = Receiver::start().await;
    let endpoint = Endpoint::new(&on.api, json!({ "url": receiver.url("/") })).await;
    on.api.new_product().await;
    let failed = eventually("a call is not permitted", || async { endpoint.failures(&on.api).await.pop() }).await;
    assert_eq!(failed["error"], "not_permitted");
    assert_eq!(receiver.connections(), 0);
}

async fn waits_grow_and_outlive_the_server(backend: Backend) {
    // Waits of a three-hundredth: 17 milliseconds, 100, 400, 2 seconds; a fifth shorter or longer.
    let on = Running::start_with(backend, hurried(300)).await;
    let receiver = Receiver::start().await;
    receiver.answer_by(|_| Some(503));
    let given = json!({ "url": receiver.url("/"), "types": ["product.created"] });
    let endpoint = Endpoint::new(&on.api, given).await;
    on.api.new_product().await;
    eventually("it failed four times", || async { (endpoint.failures(&on.api).await.len() >= 4).then_some(()) }).await;
    let Running { server, ledger, .. } = on;
    server.stop().await;
    let server = ledger.serve_with(hurried(300)).await;
    let failures = eventually("it fails again", || async { Some(endpoint.failures(&server.client()).await).filter(|all| all.len() >= 5) }).await;
    let attempts: Vec<_> = failures.iter().rev().map(|failure| failure["attempt"].as_i64()).collect();
    assert_eq!(attempts[..5], [Some(1), Some(2), Some(3), Some(4), Some(5)]);
    let received = receiver.received();
    let waits: Vec<u128> = received.windows(2).map(|pair| (pair[1].at - pair[0].at).as_millis()).collect();
    // The last one is counted from when the call began, and here from when it came.
    for (wait, least) in waits.iter().zip([13, 80, 320, 1_000]) {
        assert!(*wait >= least, "{waits:?}");
    }
    receiver.answer_by(|_| Some(200));
    endpoint.post(&server.client(), "resume", json!(null)).await;
    endpoint.caught_up(&server.client()).await;
}

async fn a_resumed_endpoint_is_tried_at_once(backend: Backend) {
    // Waits of a half: 2.5 seconds, and then 15.
    let on = Running::start_with(backend, hurried(2)).await;
    let receiver = Receiver::start().await;
    receiver.answer_by(|_| Some(503));
    let endpoint = Endpoint::new(&on.api, json!({ "url": receiver.url("/"), "types": ["product.created"] })).await;
    on.api.new_product().await;
    receiver.wait_for(2).await;
    eventually("it is noted", || async { (endpoint.failures(&on.api).await.len() == 2).then_some(()) }).await;
    receiver.answer_by(|_| Some(200));
    let resumed = Instant::now();
    endpoint.post(&on.api, "resume", json!(null)).await;
    endpoint.caught_up(&on.api).await;
    assert!(resumed.elapsed() < Duration::from_secs(10), "{:?}", resumed.elapsed());
    assert_eq!(receiver.received().len(), 3);
}

/// The log of calls is bounded, and what a restart needs of it stays.
async fn what_fails_is_remembered_whatever_fails_behind_it(backend: Backend) {
    let on = Running::start_with(backend, hurried(300)).await;
    let receiver = Receiver::start().await;
    receiver.answer_by(|_| Some(503));
    let given = json!({ "url": receiver.url("/"), "types": ["product.updated", "license.created"] });
    let product = on.api.new_product().await;
    let endpoint = Endpoint::new(&on.api, given).await;
    on.api.set_product_status(product, "inactive").await;
    let first = on.ledger.event_count().await - 1;
    let of_first = async |api: &Client| {
        let failures = endpoint.failures(api).await;
        failures.into_iter().filter(|failure| failure["position"] == first).collect::<Vec<_>>()
    };
    // The seventh is twelve seconds later: the failures of others come between.
    let before = eventually("the first one fails for a while", || async { Some(of_first(&on.api).await).filter(|all| all.len() >= 6) }).await;
    on.api.set_product_status(product, "active").await;
    let keys: Vec<String> = (0..250).map(|number| format!("FAILS-{number}")).collect();
    on.api.new_licenses(product, &keys, fields!()).await;
    let many = || receiver.received().len() > 1_200;
    eventually("more fail than are kept", || async { many().then_some(()) }).await;
    let Running { server, ledger, .. } = on;
    server.stop().await;
    let kept = format!("SELECT count(*) FROM webhook_attempt WHERE position = {first}");
    assert!(raw::number(&ledger.place, &kept).await > 0, "its last failure stays");
    let all = raw::number(&ledger.place, "SELECT count(*) FROM webhook_attempt").await;
    assert!(all < 2_000 + 256, "the log is bounded: {all}");
    let behind = format!("SELECT count(*) FROM webhook_attempt WHERE position > {first}");
    assert!(raw::number(&ledger.place, &behind).await >= 1_000, "and is not among the newest thousand");
    let last = raw::number(&ledger.place, "SELECT max(number) FROM webhook_attempt").await;
    let server = ledger.serve_with(hurried(300)).await;
    let again = eventually("the first one fails again", || async {
        let all = of_first(&server.client()).await;
        all.into_iter().find(|failure| failure["number"].as_i64() > Some(last))
    })
    .await;
    assert_eq!(again["attempt"], json!(before.len() + 1), "it is not begun anew");
}

/// Behind an event that is not taken so many others are sent as a window holds, and none of them twice when the server is stopped.
async fn what_was_taken_behind_a_failure_is_not_sent_again(backend: Backend) {
    let on = Running::start_with(backend, hurried(300)).await;
    let receiver = Receiver::start().await;
    let product = on.api.new_product().await;
    let (failing, working) = (on.api.new_license(product, fields!()).await, on.api.new_license(product, fields!(activation_limit: 0)).await);
    receiver.answer_by(|received| Some(if lane(received) == "license 1" { 503 } else { 200 }));
    let endpoint = Endpoint::new(&on.api, json!({ "url": receiver.url("/"), "types": ["license.activated"] })).await;
    on.api.activate(&failing, "a.example").await.expect(300, PRODUCT);
    for number in 0..260 {
        on.api.activate(&working, &format!("{number}.example")).await.expect(300, PRODUCT);
    }
    let taken = || receiver.received().iter().filter(|received| lane(received) != "license 1").count();
    eventually("the window is full", || async { (taken() == 255).then_some(()) }).await;
    let Running { server, ledger, .. } = on;
    server.stop().await;
    let server = ledger.serve_with(hurried(300)).await;
    // It goes on where it was; the failing event waits for its time.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(taken(), 255);
    receiver.answer_by(|_| Some(200));
    endpoint.caught_up(&server.client()).await;
    assert_eq!(taken(), 260, "each once");
    expect_in_order(&receiver.received());
}

/// A server that stands still for longer than it holds the place, and comes back, sends nothing late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stood_still_or_stops_leaves_the_endpoint_to_another() {
    let ledger = Ledger::new(Backend::Postgres).await;
    let receiver = Receiver::start().await;
    let one = ledger.serve_with(hurried(100)).await;
    let endpoint = Endpoint::new(&one.client(), json!({ "url": receiver.url("/") })).await;
    let product = one.client().new_product().await;
    let other: Server = ledger.serve_at(&ledger.place.another_node("other"), hurried(100)).await;
    active(&other.client(), product, 3).await;
    endpoint.caught_up(&one.client()).await;
    one.signal(Signal::SIGSTOP);
    active(&other.client(), product, 3).await;
    endpoint.caught_up(&other.client()).await;
    one.signal(Signal::SIGCONT);
    active(&one.client(), product, 3).await;
    endpoint.caught_up(&one.client()).await;
    let received = receiver.received();
    assert_eq!(received.len(), received.iter().map(position).collect::<BTreeSet<_>>().len(), "each once");
    expect_in_order(&received);
    // One that is stopped leaves it at once, not when its claim ends.
    other.stop().await;
    let started = Instant::now();
    active(&one.client(), product, 3).await;
    endpoint.caught_up(&one.client()).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(receiver.received().len(), receiver.received().iter().map(position).collect::<BTreeSet<_>>().len(), "each once");
}

async fn nothing_is_lost_when_the_server_is_killed(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let receiver = Receiver::start().await;
    let server = ledger.serve_with(hurried(100)).await;
    let endpoint = Endpoint::new(&server.client(), json!({ "url": receiver.url("/") })).await;
    let product = server.client().new_product().await;
    for _ in 0..10 {
        active(&server.client(), product, 5).await;
    }
    server.kill_9();
    let server = ledger.serve_with(hurried(100)).await;
    for _ in 0..10 {
        active(&server.client(), product, 5).await;
    }
    // What is not sent yet, the next server sends; one that is stopped leaves its place at once.
    server.stop().await;
    let server = ledger.serve_with(hurried(100)).await;
    endpoint.caught_up(&server.client()).await;
    let received = receiver.received();
    expect_in_order(&received);
    let positions: BTreeSet<i64> = received.iter().map(position).collect();
    let first = *positions.first().expect("a message");
    assert_eq!(positions, (first..ledger.event_count().await).collect());
    assert!(received.len() - positions.len() <= 256, "{} were sent again", received.len() - positions.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_servers_one_sends_and_the_other_goes_on() {
    let ledger = Ledger::new(Backend::Postgres).await;
    let receiver = Receiver::start().await;
    let one = ledger.serve_with(hurried(100)).await;
    let endpoint = Endpoint::new(&one.client(), json!({ "url": receiver.url("/") })).await;
    let product = one.client().new_product().await;
    endpoint.caught_up(&one.client()).await;
    let other: Server = ledger.serve_at(&ledger.place.another_node("other"), hurried(100)).await;
    for server in [&one, &other, &one] {
        active(&server.client(), product, 5).await;
    }
    endpoint.caught_up(&other.client()).await;
    let received = receiver.received();
    let positions: BTreeSet<i64> = received.iter().map(position).collect();
    assert_eq!(received.len(), positions.len(), "one server sends");
    expect_in_order(&received);
    one.kill_9();
    active(&other.client(), product, 5).await;
    endpoint.caught_up(&other.client()).await;
    let positions: BTreeSet<i64> = receiver.received().iter().map(position).collect();
    assert_eq!(positions, (*positions.first().expect("a message")..ledger.event_count().await).collect());
    expect_in_order(&receiver.received());
}

async fn what_an_endpoint_cannot_be_is_said(backend: Backend) {
    let on = Running::start_with(backend, hurried(1)).await;
    let events = on.ledger.event_count().await;
    let create = async |given| on.api.admin_post("webhook-endpoints", given).await;
    for url in ["", "vendor.example", "ftp://vendor.example/", "https://user:word@vendor.example/"] {
        create(json!({ "url": url })).await.expect_invalid(&["/url"]);
    }
    create(json!({ "url": "https://vendor.example/", "types": ["license.*", "nonsense"] })).await.expect_invalid(&["/types"]);
    for after in [-2, 999_999_999] {
        create(json!({ "url": "https://vendor.example/", "after": after })).await.expect_invalid(&["/after"]);
    }
    create(json!({ "url": "https://vendor.example/", "colour": "red" })).await.expect_problem(422, "invalid-parameters");
    assert_eq!(on.ledger.event_count().await, events);

    // Nobody has sent what they may not see themselves, neither by making nor by changing.
    let writer = on.caller(&["--capability", "admin:webhooks", "--capability", "verify"]).await;
    let given = |more: &str| json!({ "url": "https://vendor.example/", more: true });
    for more in ["license_keys", "personal_data"] {
        writer.admin_post("webhook-endpoints", given(more)).await.expect_problem(403, "not-permitted");
        let endpoint = Endpoint::new(&on.api, given(more)).await;
        writer.admin_put(&endpoint.path, given(more)).await.expect_problem(403, "not-permitted");
        assert_eq!(writer.admin_put(&endpoint.path, json!({ "url": "https://new.example/" })).await.expect(200)[more], false);
        writer.admin_put(&endpoint.path, json!({ "url": "https://new.example/", "after": 0 })).await.expect_invalid(&["/after"]);
    }
    for path in ["webhook-endpoints/999", "webhook-endpoints/999/attempts", "webhook-endpoints/999/secret"] {
        on.api.admin_get(path).await.expect_problem(404, "not-found");
    }
    for what in ["pause", "resume", "rotate-secret"] {
        on.api.admin_post(&format!("webhook-endpoints/999/{what}"), json!(null)).await.expect_problem(404, "not-found");
    }
    on.ledger.expect_intact().await;
}
