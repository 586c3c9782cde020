//! The feed: every event once and in order, from any point, in every form.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::endings::quick;
use crate::support::feed::{Message, position, positions, tells_of_jane, types};
use crate::support::{ApiKey, Backend, GLOBAL, PRODUCT, Running, ServeOptions, both_backends, fields, raw};

both_backends!(
    all_forms_tell_the_same_events_from_any_point,
    an_event_is_a_cloud_event,
    filters_leave_out_what_is_not_wanted_and_say_how_far_they_came,
    a_page_waits_for_its_first_event,
    a_stream_goes_on_and_comes_again_where_it_was,
    keys_and_personal_data_need_capabilities,
    what_is_forgotten_is_in_no_form,
    what_was_never_there_is_refused,
    long_events_are_whole_in_every_form,
    what_is_left_out_is_marked,
    what_has_come_to_its_end_is_not_asked_for_again,
    a_missing_event_is_not_passed_over,
    a_damaged_event_is_not_passed_over,
    damaged_personal_data_is_not_passed_over,
);

/// A product with a license that is activated, refused at its limit and deactivated.
pub async fn life(on: &Running) -> (i64, String) {
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!(activation_limit: 1, owner_name: "Jane Doe", owner_email: "jane@shop.example")).await;
    on.api.activate(&license, "jane.example").await.expect(300, PRODUCT);
    on.api.activate(&license, "other.example").await.expect(302, PRODUCT);
    on.api.deactivate(&license, "jane.example").await.expect("400", GLOBAL);
    (product, license)
}

async fn all_forms_tell_the_same_events_from_any_point(backend: Backend) {
    let on = Running::start(backend).await;
    life(&on).await;
    let count = on.ledger.event_count().await;
    let (at, all) = on.api.feed_page("limit=1000").await;
    assert_eq!((at, positions(&all)), (count - 1, (0..count).collect::<Vec<_>>()));
    assert_eq!(on.api.feed_lines("").await, all);
    let mut stream = on.api.feed_stream("", None).await;
    for event in &all {
        assert_eq!(stream.event().await.as_ref(), Some(event));
    }
    for after in [-1, 0, 3, count - 2, count - 1] {
        let rest = &all[usize::try_from(after + 1).expect("an index")..];
        assert_eq!(on.api.feed_page(&format!("after={after}")).await, (count - 1, rest.to_vec()));
        assert_eq!(on.api.feed_page(&format!("lastEventId={after}")).await.1, rest);
        assert_eq!(on.api.feed_lines(&format!("after={after}")).await, rest);
        assert_eq!(on.api.feed_page(&format!("after={after}&through={}", count - 2)).await.1, rest[..rest.len().saturating_sub(1)]);
    }
    // Page by page.
    let (mut after, mut read) = (-1, Vec::new());
    while read.len() < all.len() {
        let (at, page) = on.api.feed_page(&format!("after={after}&limit=3")).await;
        assert!(page.len() <= 3 && at == position(page.last().expect("events")));
        after = at;
        read.extend(page);
    }
    assert_eq!(read, all);
    assert_eq!(on.api.feed_lines("limit=2").await, all[..2]);
    // The log's own verification agrees on the end.
    assert!(on.ledger.run(&["verify"]).await.success().contains(&format!("{count} events")));
}

async fn an_event_is_a_cloud_event(backend: Backend) {
    let on = Running::start(backend).await;
    let (product, license) = life(&on).await;
    let (_, events) = on.api.feed_page("type=license.*,activation.failed").await;
    assert_eq!(types(&events), ["license.created", "license.activated", "activation.failed", "license.deactivated"]);
    let event = &events[0];
    let verifier_key = on.ledger.run(&["evidence", "verifier-key"]).await.success();
    let (ledger_id, _) = verifier_key.strip_prefix("keyledger/").and_then(|rest| rest.split_once('+')).expect("the ledger's id");
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["source"], format!("urn:uuid:{ledger_id}"));
    assert_eq!(event["datacontenttype"], "application/json");
    assert!(event["subject"].as_str().is_some_and(|subject| subject.starts_with("license/")), "{event}");
    assert_eq!((&event["eventtype"], &event["streamsequence"]), (&json!("LicenseCreated"), &json!(1)));
    assert_eq!(event["data"]["key"], Value::from(license), "the test's key may see it");
    assert_eq!((&event["data"]["product"], &event["data"]["license"]), (&json!(product), &json!(1)));
    assert_eq!(event["data"]["personal"]["owner_email"], "jane@shop.example");
    // The attributes' names are what the specification allows.
    for (name, value) in event.as_object().expect("an object") {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) && name.len() <= 20, "{name}");
        assert!(name == "data" || value.is_string() || value.is_i64(), "{name}: {value}");
    }
    // It is the event of the history, by position and time.
    let history = on.api.history("licenses/1/history", 10).await;
    for (event, told) in events.iter().zip(&history) {
        assert_eq!((position(event), &event["time"]), (told["position"].as_i64().expect("a position"), &told["recorded_at"]));
        assert_eq!((&event["actor"], &event["requestid"]), (&json!("api_key:1"), &told["request_id"]));
    }
}

async fn filters_leave_out_what_is_not_wanted_and_say_how_far_they_came(backend: Backend) {
    let on = Running::start(backend).await;
    let (product, _) = life(&on).await;
    let (other, _) = life(&on).await;
    let last = on.ledger.event_count().await - 1;
    let of = async |query: &str| {
        let (at, events) = on.api.feed_page(query).await;
        assert_eq!(at, last, "{query}");
        assert_eq!(on.api.feed_lines(query).await, events, "{query}");
        events
    };
    let of_product = of(&format!("product={product}")).await;
    let license = ["license.created", "license.activated", "activation.failed", "license.deactivated"];
    assert_eq!(types(&of_product), [&["key_pair.created", "product.created", "product.slug_set"][..], &license].concat());
    assert_eq!(types(&of(&format!("product={other}&type=activation.failed")).await), ["activation.failed"]);
    let second = of("license=2").await;
    assert!(second.iter().all(|event| event["data"]["license"] == 2) && second.len() == 4, "{second:?}");
    assert_eq!(of("license=77").await, [Value::Null; 0]);
    assert_eq!(
        types(&of("type=license.activated&type=product.*").await),
        ["product.created", "product.slug_set", "license.activated", "product.created", "product.slug_set", "license.activated"]
    );
    // From and to a time.
    let time = |at: usize| second[at]["time"].as_str().expect("a time").to_string();
    let (_, between) = on.api.feed_page(&format!("license=2&from={}&to={}", time(1), time(2))).await;
    assert_eq!(positions(&between), positions(&second[1..3]));
    assert_eq!(on.api.feed_lines(&format!("from={}", time(3))).await.last().map(position), Some(last));
    on.api.feed_get("type=license.exploded").await.expect_invalid(&["type"]);
    on.api.feed_get("after=x&limit=0&timeout=60000&from=soon").await.expect_invalid(&["after", "limit", "timeout", "from"]);
    on.api.feed_get("unknown=1").await.expect_problem(422, "invalid-parameters");
}

async fn a_page_waits_for_its_first_event(backend: Backend) {
    let on = Running::start(backend).await;
    let (product, license) = life(&on).await;
    let last = on.ledger.event_count().await - 1;
    let started = Instant::now();
    assert_eq!(on.api.feed_page(&format!("after={last}&timeout=300")).await, (last, Vec::new()));
    assert!(started.elapsed() >= Duration::from_millis(300));
    let query = format!("after={last}&timeout=20000&type=license.activated");
    let (page, ()) = tokio::join!(on.api.feed_page(&query), async {
        // Not wanted, then wanted.
        on.api.new_license(product, fields!()).await;
        on.api.activate(&license, "late.example").await.expect(300, PRODUCT);
    });
    assert_eq!((page.0, types(&page.1)), (last + 2, vec!["license.activated"]));
    assert!(started.elapsed() < Duration::from_secs(15));
}

async fn a_stream_goes_on_and_comes_again_where_it_was(backend: Backend) {
    let on = Running::start_with(backend, quick()).await;
    let (product, license) = life(&on).await;
    let mut stream = on.api.feed_stream("type=license.activated", None).await;
    let first = stream.event().await.expect("an event");
    on.api.activate(&license, "second.example").await.expect(300, PRODUCT);
    let second = stream.event().await.expect("an event");
    assert_eq!(types(&[first, second.clone()]), ["license.activated"; 2]);
    // What another process appends comes too.
    on.ledger.run(&["block", "add", "--identifier", "never.example"]).await.success();
    let mut all = on.api.feed_stream("", Some(position(&second))).await;
    assert_eq!(all.event().await.expect("an event")["type"], "block.added");
    on.ledger.run(&["block", "add", "--identifier", "ever.example"]).await.success();
    assert_eq!(all.event().await.expect("an event")["type"], "block.added");
    // A mark tells a filtered consumer how far the log was looked through, so that coming again it needn't be again.
    on.api.new_license(product, fields!()).await;
    let last = on.ledger.event_count().await - 1;
    loop {
        let message = stream.next().await.expect("a heart-beat");
        assert_eq!((message.event, message.data.as_str()), (None, ""));
        if message.id == Some(last) {
            break;
        }
    }
    // A server that stops says so.
    let Running { server, .. } = on;
    let started = Instant::now();
    let (stopped, ended) = tokio::join!(server.stop(), async {
        loop {
            match all.next().await {
                Some(message) if message.event.as_deref() == Some("end") => break message.json(),
                Some(_) => {}
                None => panic!("the stream ended without a word"),
            }
        }
    });
    let () = stopped;
    assert_eq!(ended["reason"], "stopping");
    assert!(started.elapsed() < Duration::from_secs(10), "streams hold up no stop");
}

/// The middle one of many, since a test may wait for a core: BENCHMARKS.md has the slowest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_commits_another_pushes_at_once() {
    let on = Running::start(Backend::Postgres).await;
    let other = on.ledger.serve_at(&on.ledger.place.another_node("other"), ServeOptions::default()).await;
    let product = on.api.new_product().await;
    let last = on.ledger.event_count().await - 1;
    let mut stream = other.client().feed_stream("type=license.created", Some(last)).await;
    let mut waits = Vec::new();
    for _ in 0..15 {
        on.api.new_license(product, fields!()).await;
        let answered = Instant::now();
        assert_eq!(stream.event().await.expect("an event")["type"], "license.created");
        waits.push(answered.elapsed());
    }
    waits.sort_unstable();
    // A heart-beat, with which it would come at the latest, is after fifteen seconds.
    assert!(waits[waits.len() / 2] < Duration::from_secs(1), "{waits:?}");
}

async fn keys_and_personal_data_need_capabilities(backend: Backend) {
    let on = Running::start(backend).await;
    let (product, license) = life(&on).await;
    // A report says which license key a program has; it may be anybody's.
    let report = fields!(
        data_type: "text", text_data: "started", product_id: product, user_identifier: "jane-7", license_key: &license,
        activation_identifier: "jane.example", product_version: "1.0", data_group: "starts",
    );
    on.api.form("send-telemetry-data", report).await.expect(830, GLOBAL);
    let contract = json!({
        "key": "RESELLER-KEY-1", "name": "A reseller", "information": "-", "product": product, "license_keys_quantity": 2, "active": true,
        "can_get_info": true, "can_generate": true, "can_destroy": false, "can_destroy_all": false,
    });
    on.api.admin_post("contracts", contract).await.expect(201);
    let plain = on.caller(&["--capability", "feed:read"]).await;
    let with_keys = on.caller(&["--capability", "feed:read", "--capability", "feed:license-keys"]).await;
    let personal = on.caller(&["--capability", "feed:read", "--capability", "feed:personal-data"]).await;
    let text = async |api: &crate::support::Client| Value::from(api.feed_lines("").await).to_string();
    let (plain, with_keys, personal) = (text(&plain).await, text(&with_keys).await, text(&personal).await);
    let (has_license, has_contract) = (|text: &str| text.contains(&license), |text: &str| text.contains("RESELLER-KEY-1"));
    assert!(!has_license(&plain) && !has_contract(&plain) && !tells_of_jane(&plain) && plain.contains("\"personal\":\"sealed\""));
    assert!(has_license(&with_keys) && has_contract(&with_keys) && !tells_of_jane(&with_keys));
    assert!(!has_license(&personal) && !has_contract(&personal) && personal.contains("jane@shop.example") && personal.contains("jane.example"));
    let other = on.caller(&["--capability", "ledger:read"]).await;
    let refused = other.feed_get("").await;
    refused.expect_problem(403, "not-permitted");
    assert_eq!(refused.body["detail"], "The API key lacks the capability feed:read.");
    on.api.with_key(ApiKey::Missing).feed_get("").await.expect_problem(401, "invalid-api-key");
}

async fn what_is_forgotten_is_in_no_form(backend: Backend) {
    let on = Running::start(backend).await;
    life(&on).await;
    let mut stream = on.api.feed_stream("", None).await;
    assert_eq!(stream.event().await.map(|event| position(&event)), Some(0));
    on.api.admin_post("subjects/forget", json!({ "email": "jane@shop.example" })).await.expect(200);
    let (_, page) = on.api.feed_page("").await;
    let lines = on.api.feed_lines("").await;
    assert_eq!(page, lines);
    assert!(!tells_of_jane(&Value::from(lines).to_string()));
    assert_eq!(page.iter().filter(|event| event["data"]["personal"] == "erased").count(), 4);
    // Whoever can't open anything can't tell what is gone.
    let blind = on.caller(&["--capability", "feed:read", "--capability", "verify"]).await;
    assert!(blind.feed_lines("").await.iter().all(|event| event["data"].get("personal").is_none_or(|personal| personal == "sealed")));
    let mut again = on.api.feed_stream("", None).await;
    for event in &page {
        assert_eq!(again.event().await.as_ref(), Some(event));
    }
}

async fn what_was_never_there_is_refused(backend: Backend) {
    let on = Running::start(backend).await;
    let count = on.ledger.event_count().await;
    let refused = on.api.feed_get(&format!("after={count}")).await;
    refused.expect_problem(409, "conflict");
    assert!(refused.body["detail"].as_str().is_some_and(|detail| detail.contains(&format!("the last one is {}", count - 1))), "{}", refused.body);
    for accept in ["text/event-stream", "application/x-ndjson"] {
        let request = on.api.request(Method::GET, &format!("/feed/v1/events?after={count}")).header("accept", accept);
        on.api.admin_answer(request).await.expect_problem(409, "conflict");
    }
    let request = on.api.request(Method::GET, "/feed/v1/events").header("accept", "image/png");
    on.api.admin_answer(request).await.expect_problem(406, "not-acceptable");
    on.api.admin_answer(on.api.request(Method::POST, "/feed/v1/events")).await.expect_problem(405, "method-not-allowed");
    on.api.admin_answer(on.api.request(Method::GET, "/feed/v1/nothing")).await.expect_problem(404, "not-found");
}

/// More events than a connection takes by itself.
pub async fn much(on: &Running) {
    let product = on.api.new_product().await;
    let keys: Vec<String> = (0..10_000).map(|number| format!("SLOW-{number:06}-{}", "x".repeat(200))).collect();
    on.api.new_licenses(product, &keys, fields!()).await;
}

/// Events of the greatest length that is usual: a page of them is full before it has a thousand.
pub async fn long_events(on: &Running, count: usize) {
    let product = on.api.new_product().await;
    for number in 0..count {
        let value = format!("{number:03} {}", "long ".repeat(3_200));
        on.api.form("create-product-meta", fields!(product_id: product, key: format!("K{number}"), value: value)).await.expect(273, PRODUCT);
    }
}

async fn long_events_are_whole_in_every_form(backend: Backend) {
    let on = Running::start(backend).await;
    long_events(&on, 150).await;
    let count = on.ledger.event_count().await;
    let all: Vec<i64> = (0..count).collect();
    let lines = on.api.feed_lines("").await;
    assert_eq!(positions(&lines), all);
    assert_eq!(on.api.feed_lines("limit=100").await, lines[..100]);
    assert_eq!(on.api.feed_page("limit=1000").await, (count - 1, lines.clone()));
    let mut stream = on.api.feed_stream("", None).await;
    for event in &lines {
        assert_eq!(stream.event().await.as_ref(), Some(event));
    }
    let table = on.api.request(Method::GET, "/feed/v1/events").header("accept", "application/vnd.apache.parquet").send().await.expect("an answer");
    let table = table.bytes().await.expect("a table");
    let rows = parquet::file::serialized_reader::SerializedFileReader::new(table).expect("a table");
    assert_eq!(parquet::file::reader::FileReader::metadata(&rows).file_metadata().num_rows(), count);
}

/// A stream that is of nothing says all the same how far it has come.
async fn what_is_left_out_is_marked(backend: Backend) {
    let on = Running::start(backend).await;
    much(&on).await;
    let mut stream = on.api.feed_stream("type=contract.*", None).await;
    let started = Instant::now();
    let mut marks = Vec::new();
    while marks.last().is_none_or(|mark| *mark < 9_990) {
        let message = stream.next().await.expect("a mark");
        assert_eq!(message.data, "");
        marks.extend(message.id);
    }
    assert!(started.elapsed() < Duration::from_secs(15), "before the first heart-beat");
    let again = on.api.feed_stream("type=contract.*", marks.last().copied()).await;
    drop(again);
}

/// What an EventSource asks again and again would never end.
async fn what_has_come_to_its_end_is_not_asked_for_again(backend: Backend) {
    let on = Running::start(backend).await;
    life(&on).await;
    let last = on.ledger.event_count().await - 1;
    let mut stream = on.api.feed_stream(&format!("through={last}&type=contract.*"), None).await;
    let mut messages = Vec::new();
    while messages.last().is_none_or(|message: &Message| message.event.is_none()) {
        messages.push(stream.next().await.expect("a goodbye"));
    }
    let end = messages.pop().expect("a goodbye");
    assert_eq!(end.json(), json!({ "reason": "complete" }));
    assert!(messages.iter().all(|message| message.data.is_empty()) && messages.last().and_then(|mark| mark.id) == Some(last), "{messages:?}");
    assert!(stream.next().await.is_none());
    let again = |query: String| on.api.request(Method::GET, &format!("/feed/v1/events?{query}")).header("accept", "text/event-stream");
    let answer = again(format!("through={last}")).header("last-event-id", last.to_string()).send().await.expect("the server answers");
    assert_eq!(answer.status(), 204);
    // Of a time long ago nothing more can come either.
    let started = Instant::now();
    let (at, events) = on.api.feed_page(&format!("after={last}&to=2020-01-01&timeout=20000")).await;
    assert_eq!((at, events.len()), (last, 0));
    assert_eq!(again("to=2020-01-01".to_owned()).send().await.expect("the server answers").status(), 204);
    assert!(started.elapsed() < Duration::from_secs(10));
}

async fn a_missing_event_is_not_passed_over(backend: Backend) {
    nothing_is_passed_over(backend, |position| format!("DELETE FROM events WHERE position = {position}")).await;
}

async fn a_damaged_event_is_not_passed_over(backend: Backend) {
    nothing_is_passed_over(backend, |position| format!("UPDATE events SET metadata = '\"x\"' WHERE position = {position}")).await;
}

async fn damaged_personal_data_is_not_passed_over(backend: Backend) {
    let (from, to) = ("'\"ciphertext\":\"'", "'\"ciphertext\":\"AAAA'");
    let other = match backend {
        Backend::Sqlite => format!("replace(payload, {from}, {to})"),
        Backend::Postgres => format!("replace(payload::text, {from}, {to})::json"),
    };
    nothing_is_passed_over(backend, |position| format!("UPDATE events SET payload = {other} WHERE position = {position}")).await;
}

/// What is before a bad event is told in every form but a range, which is whole or breaks off; the event itself stops all.
async fn nothing_is_passed_over(backend: Backend, damage: impl Fn(i64) -> String) {
    let on = Running::start(backend).await;
    life(&on).await;
    let bad = on.ledger.event_count().await - 3;
    let history = on.api.history("licenses/1/history", 10).await;
    let time = history.iter().find(|told| told["position"] == bad).and_then(|told| told["recorded_at"].as_str()).expect("a time");
    // A server keeps the newest events that it has read.
    let Running { server, ledger, .. } = on;
    server.stop().await;
    raw::tamper(&ledger.place, &damage(bad)).await;
    let server = ledger.serve().await;
    let api = server.client();
    let (at, before) = api.feed_page("limit=1000").await;
    assert_eq!((at, positions(&before)), (bad - 1, (0..bad).collect()));
    let named = |answer: &crate::support::AdminAnswer| {
        assert!(answer.expect_problem(500, "internal-error").body.to_string().contains(&format!("event {bad} ")), "{}", answer.body);
    };
    named(&api.feed_get(&format!("after={}", bad - 1)).await);
    let range = api.request(Method::GET, "/feed/v1/events").header("accept", "application/x-ndjson");
    assert!(range.send().await.expect("a head").text().await.is_err(), "it breaks off");
    let subscription = |method, path: &str, body: Value| api.request(method, &format!("/feed/v1/subscriptions/all{path}")).json(&body);
    api.admin_answer(subscription(Method::PUT, "", json!({ "partitions": 1 }))).await.expect(200);
    let batch = api.admin_answer(subscription(Method::POST, "/next", json!({ "limit": 1000 }))).await.expect(200).clone();
    assert_eq!(positions(batch["events"].as_array().expect("events")), (0..bad).collect::<Vec<_>>());
    api.admin_answer(subscription(Method::POST, "/acknowledge", json!({ "lease": batch["lease"] }))).await.expect(204);
    named(&api.admin_answer(subscription(Method::POST, "/next", json!({}))).await);
    // Also where what is wanted ends with it, and later events are there.
    for query in [String::new(), format!("to={time}")] {
        let mut stream = api.feed_stream(&query, None).await;
        for position in 0..bad {
            assert_eq!(stream.event().await.map(|event| self::position(&event)), Some(position), "{query}");
        }
        let goodbye = loop {
            let message = stream.next().await.expect("a goodbye");
            if message.event.is_some() {
                break message.json();
            }
        };
        assert_eq!(goodbye, json!({ "reason": "failed" }), "{query}");
    }
}
