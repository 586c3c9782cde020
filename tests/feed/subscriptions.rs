//! Named subscriptions: the server keeps the place, hands out events with leases, and lets workers share them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::feed::{position, positions, tells_of_jane, types};
use crate::support::{AdminAnswer, Backend, Client, PRODUCT, Running, ServeOptions, both_backends, fields, raw};

both_backends!(
    a_subscription_keeps_its_place,
    a_lease_that_runs_out_is_handed_out_again,
    part_of_a_lease_can_be_done_with,
    workers_share_a_subscription_and_each_license_keeps_its_order,
    who_waits_gets_what_comes,
    a_subscription_is_changed_moved_and_deleted,
    another_filter_takes_back_what_is_handed_out,
    what_is_rarely_wanted_is_found,
    who_has_seen_everything_lags_behind_nothing,
    a_lease_outlives_the_server_that_gave_it,
    what_is_before_a_damaged_event_is_handed_out,
    what_cannot_be_is_said,
);

async fn call(api: &Client, method: Method, path: &str, body: Value) -> AdminAnswer {
    let mut request = api.request(method, &format!("/feed/v1/subscriptions{path}"));
    if !body.is_null() {
        request = request.json(&body);
    }
    api.admin_answer(request).await
}

async fn put(api: &Client, name: &str, body: Value) -> AdminAnswer {
    call(api, Method::PUT, &format!("/{name}"), body).await
}

async fn next(api: &Client, name: &str, body: Value) -> Option<Value> {
    let answer = call(api, Method::POST, &format!("/{name}/next"), body).await;
    (answer.status != 204).then(|| answer.expect(200).clone())
}

async fn acknowledge(api: &Client, name: &str, lease: &Value) -> AdminAnswer {
    call(api, Method::POST, &format!("/{name}/acknowledge"), json!({ "lease": lease })).await
}

fn events(batch: &Value) -> &[Value] {
    batch["events"].as_array().expect("events")
}

/// Everything that is there, taken and acknowledged.
async fn drain(api: &Client, name: &str) -> Vec<Value> {
    let mut all = Vec::new();
    while let Some(batch) = next(api, name, json!({ "limit": 7 })).await {
        all.extend_from_slice(events(&batch));
        acknowledge(api, name, &batch["lease"]).await.expect(204);
    }
    all
}

async fn a_subscription_keeps_its_place(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    for _ in 0..5 {
        let license = on.api.new_license(product, fields!()).await;
        on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    }
    let made = put(&on.api, "billing", json!({ "partitions": 1 })).await.expect(200).clone();
    assert_eq!((&made["position"], &made["partitions"][0]["leased_until"]), (&json!(-1), &Value::Null));
    let (_, all) = on.api.feed_page("limit=1000").await;
    assert_eq!(drain(&on.api, "billing").await, all, "one partition keeps the order of all");
    let shown = call(&on.api, Method::GET, "/billing", Value::Null).await.expect(200).clone();
    assert_eq!((&shown["position"], &shown["lag"]), (&json!(all.len() - 1), &json!(0)));
    // Whatever becomes of the server.
    let Running { server, ledger, .. } = on;
    server.kill_9();
    let server = ledger.serve().await;
    let api = server.client();
    assert_eq!(next(&api, "billing", json!({})).await, None);
    api.new_license(product, fields!()).await;
    assert_eq!(types(&drain(&api, "billing").await), ["license.created"]);
    // From now on, and filtered.
    put(&api, "crm", json!({ "from_now": true, "types": ["license.activated"] })).await.expect(200);
    let license = api.new_license(product, fields!()).await;
    api.activate(&license, "b.example").await.expect(300, PRODUCT);
    assert_eq!(types(&drain(&api, "crm").await), ["license.activated"]);
    ledger.expect_intact().await;
}

async fn a_lease_that_runs_out_is_handed_out_again(backend: Backend) {
    let on = Running::start(backend).await;
    on.api.new_product().await;
    put(&on.api, "jobs", json!({ "partitions": 1 })).await.expect(200);
    let first = next(&on.api, "jobs", json!({ "seconds": 3, "limit": 2 })).await.expect("events");
    assert_eq!(next(&on.api, "jobs", json!({})).await, None, "its only partition is handed out");
    // Held for longer, nobody else gets it.
    call(&on.api, Method::POST, "/jobs/extend", json!({ "lease": first["lease"], "seconds": 6 })).await.expect(200);
    tokio::time::sleep(Duration::from_millis(3_200)).await;
    assert_eq!(next(&on.api, "jobs", json!({})).await, None);
    let again = next(&on.api, "jobs", json!({ "timeout": 20_000, "limit": 2 })).await.expect("events again");
    assert_eq!(again["events"], first["events"]);
    assert_ne!(again["lease"], first["lease"]);
    // Who comes too late is told; who has it now is heard.
    acknowledge(&on.api, "jobs", &first["lease"]).await.expect_problem(409, "conflict");
    let extend = json!({ "lease": first["lease"] });
    call(&on.api, Method::POST, "/jobs/extend", extend).await.expect_problem(409, "conflict");
    acknowledge(&on.api, "jobs", &again["lease"]).await.expect(204);
    acknowledge(&on.api, "jobs", &again["lease"]).await.expect_problem(409, "conflict");
    // A lease that ran out is as good, while nobody else has the events.
    let late = next(&on.api, "jobs", json!({ "seconds": 1 })).await.expect("events");
    assert_eq!(position(&events(&late)[0]), 2);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    acknowledge(&on.api, "jobs", &late["lease"]).await.expect(204);
    assert_eq!(next(&on.api, "jobs", json!({})).await, None);
}

async fn part_of_a_lease_can_be_done_with(backend: Backend) {
    let on = Running::start(backend).await;
    on.api.new_product().await;
    put(&on.api, "jobs", json!({ "partitions": 1 })).await.expect(200);
    let batch = next(&on.api, "jobs", json!({})).await.expect("events");
    let all = positions(events(&batch));
    let part = |through: i64| json!({ "lease": batch["lease"], "through": through });
    let beyond = all.last().expect("events") + 1;
    call(&on.api, Method::POST, "/jobs/acknowledge", part(beyond)).await.expect_invalid(&["/through"]);
    call(&on.api, Method::POST, "/jobs/acknowledge", part(all[1])).await.expect(204);
    let rest = next(&on.api, "jobs", json!({})).await.expect("the rest");
    assert_eq!(positions(events(&rest)), all[2..]);
}

async fn workers_share_a_subscription_and_each_license_keeps_its_order(backend: Backend) {
    let on = Running::start(backend).await;
    // Where there can be two servers, workers come to both.
    let other = match backend {
        Backend::Sqlite => None,
        Backend::Postgres => Some(on.ledger.serve_at(&on.ledger.place.another_node("other"), ServeOptions::default()).await),
    };
    let product = on.api.new_product().await;
    put(&on.api, "shared", json!({ "partitions": 4, "types": ["license.*"] })).await.expect(200);
    let is_written = &AtomicBool::new(false);
    let writing = async {
        let mut licenses = Vec::new();
        for _ in 0..24 {
            licenses.push(on.api.new_license(product, fields!()).await);
        }
        for identifier in ["a.example", "b.example", "c.example"] {
            for license in &licenses {
                on.api.activate(license, identifier).await.expect(300, PRODUCT);
            }
        }
        is_written.store(true, Ordering::Relaxed);
    };
    let worker = |number: u64| {
        let api = other.as_ref().filter(|_| number > 0).map_or_else(|| on.api.with_own_connections(), |other| other.client());
        async move {
            let (mut seen, mut idle) = (Vec::new(), 0);
            while idle < 8 {
                match next(&api, "shared", json!({ "limit": 5, "timeout": 250 })).await {
                    Some(batch) => {
                        idle = 0;
                        tokio::time::sleep(Duration::from_millis(number * 3)).await;
                        acknowledge(&api, "shared", &batch["lease"]).await.expect(204);
                        seen.extend(events(&batch).iter().map(|event| (batch["partition"].clone(), event.clone())));
                    }
                    None => idle += usize::from(is_written.load(Ordering::Relaxed)),
                }
            }
            seen
        }
    };
    let ((), first, second, third) = tokio::join!(writing, worker(0), worker(1), worker(2));
    let mut partitions: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    let mut all = Vec::new();
    for (worker, seen) in [&first, &second, &third].into_iter().enumerate() {
        let mut last: BTreeMap<i64, i64> = BTreeMap::new();
        for (partition, event) in seen {
            let license = event["data"]["license"].as_i64().expect("a license");
            let before = last.insert(license, position(event));
            assert!(before.is_none_or(|before| before < position(event)), "worker {worker} gets license {license} out of order");
            partitions.entry(license).or_default().insert(partition.to_string());
            all.push(position(event));
        }
    }
    all.sort_unstable();
    let expected = positions(&on.api.feed_lines("type=license.*").await);
    assert_eq!(all, expected, "every event once");
    assert!(partitions.values().all(|partitions| partitions.len() == 1), "a license is in one partition");
    assert!(partitions.values().flatten().collect::<BTreeSet<_>>().len() > 1, "licenses are spread");
}

async fn who_waits_gets_what_comes(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    put(&on.api, "late", json!({ "from_now": true })).await.expect(200);
    let (batch, _) = tokio::join!(next(&on.api, "late", json!({ "timeout": 20_000 })), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        on.api.new_license(product, fields!()).await
    });
    assert_eq!(types(events(&batch.expect("events"))), ["license.created"]);
}

async fn a_subscription_is_changed_moved_and_deleted(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    on.api.new_license(product, fields!()).await;
    put(&on.api, "b", json!({ "partitions": 2 })).await.expect(200);
    put(&on.api, "a", json!({})).await.expect(200);
    let list = call(&on.api, Method::GET, "", Value::Null).await.expect(200).clone();
    let names: Vec<&str> = list["items"].as_array().expect("items").iter().filter_map(|item| item["name"].as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let all = drain(&on.api, "b").await.len();
    // Another filter, the same place; another number of partitions is refused.
    let changed = put(&on.api, "b", json!({ "partitions": 2, "types": ["license.created"] })).await.expect(200).clone();
    assert_eq!(changed["filter"], json!({ "types": ["license.created"] }));
    assert_eq!(next(&on.api, "b", json!({})).await, None);
    put(&on.api, "b", json!({ "partitions": 3 })).await.expect_problem(409, "conflict");
    // Back to the beginning, whatever is handed out.
    call(&on.api, Method::POST, "/b/seek", json!({ "after": -1 })).await.expect(204);
    let held = next(&on.api, "b", json!({})).await.expect("the license");
    call(&on.api, Method::POST, "/b/seek", json!({ "after": -1 })).await.expect(204);
    acknowledge(&on.api, "b", &held["lease"]).await.expect_problem(409, "conflict");
    assert_eq!(types(&drain(&on.api, "b").await), ["license.created"]);
    call(&on.api, Method::DELETE, "/b", Value::Null).await.expect(204);
    call(&on.api, Method::DELETE, "/b", Value::Null).await.expect_problem(404, "not-found");
    call(&on.api, Method::POST, "/b/next", json!({})).await.expect_problem(404, "not-found");
    // Made anew it begins at the beginning.
    put(&on.api, "b", json!({ "partitions": 3 })).await.expect(200);
    assert_eq!(drain(&on.api, "b").await.len(), all);
}

async fn another_filter_takes_back_what_is_handed_out(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    put(&on.api, "a", json!({ "partitions": 1, "types": ["license.created"] })).await.expect(200);
    // The same again changes nothing.
    let held = next(&on.api, "a", json!({})).await.expect("the license");
    put(&on.api, "a", json!({ "partitions": 1, "types": ["license.created"] })).await.expect(200);
    call(&on.api, Method::POST, "/a/extend", json!({ "lease": held["lease"] })).await.expect(200);
    put(&on.api, "a", json!({ "partitions": 1, "types": ["product.created", "license.created"] })).await.expect(200);
    acknowledge(&on.api, "a", &held["lease"]).await.expect_problem(409, "conflict");
    assert_eq!(types(&drain(&on.api, "a").await), ["product.created", "license.created"], "what the first filter left out is not lost");
    // Whoever waits meanwhile, waits for what is wanted now.
    put(&on.api, "b", json!({ "partitions": 1, "types": ["contract.*"] })).await.expect(200);
    let (batch, ()) = tokio::join!(next(&on.api, "b", json!({ "timeout": 20_000 })), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
        put(&on.api, "b", json!({ "partitions": 1, "types": ["license.*"] })).await.expect(200);
    });
    assert_eq!(types(events(&batch.expect("events"))), ["license.created", "license.activated"]);
}

/// More events than one look goes through, of which the last one alone is wanted.
async fn what_is_rarely_wanted_is_found(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let mut last = String::new();
    for call in 0..3 {
        let keys: Vec<String> = (0..8_000).map(|number| format!("RARE-{call}-{number:04}")).collect();
        on.api.new_licenses(product, &keys, fields!()).await;
        last.clone_from(keys.last().expect("keys"));
    }
    on.api.activate(&last, "a.example").await.expect(300, PRODUCT);
    put(&on.api, "rare", json!({ "partitions": 1, "types": ["license.activated"] })).await.expect(200);
    let batch = next(&on.api, "rare", json!({})).await.expect("without another call");
    assert_eq!(types(events(&batch)), ["license.activated"]);
    acknowledge(&on.api, "rare", &batch["lease"]).await.expect(204);
    assert_eq!(next(&on.api, "rare", json!({})).await, None);
}

/// Whichever partition would have nothing before it.
async fn what_is_before_a_damaged_event_is_handed_out(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    for _ in 0..4 {
        on.api.new_license(product, fields!()).await;
    }
    put(&on.api, "all", json!({ "types": ["license.*"] })).await.expect(200);
    let bad = on.ledger.event_count().await - 1;
    let Running { server, ledger, .. } = on;
    server.stop().await;
    raw::tamper(&ledger.place, &format!("UPDATE events SET metadata = '\"x\"' WHERE position = {bad}")).await;
    let server = ledger.serve().await;
    let api = server.client();
    let mut before = Vec::new();
    let bad_answer = loop {
        let answer = call(&api, Method::POST, "/all/next", json!({})).await;
        if answer.status != 200 {
            break answer;
        }
        before.extend_from_slice(events(&answer.body));
        acknowledge(&api, "all", &answer.body["lease"]).await.expect(204);
    };
    bad_answer.expect_problem(500, "internal-error");
    before.sort_by_key(position);
    assert_eq!(positions(&before), (bad - 3..bad).collect::<Vec<_>>());
}

async fn who_has_seen_everything_lags_behind_nothing(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    put(&on.api, "rare", json!({ "partitions": 4, "types": ["license.activated"] })).await.expect(200);
    let license = on.api.new_license(product, fields!()).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    assert_eq!(types(&drain(&on.api, "rare").await), ["license.activated"]);
    on.api.new_license(product, fields!()).await;
    let shown = async || call(&on.api, Method::GET, "/rare", Value::Null).await.expect(200).clone();
    assert!(shown().await["lag"].as_i64() > Some(0), "nobody looked yet");
    assert_eq!(drain(&on.api, "rare").await, Vec::<Value>::new());
    let shown = shown().await;
    let last = on.ledger.event_count().await - 1;
    assert_eq!((&shown["position"], &shown["lag"]), (&json!(last), &json!(0)));
    put(&on.api, "all", json!({ "partitions": 1 })).await.expect(200);
    let list = call(&on.api, Method::GET, "", Value::Null).await.expect(200)["items"].clone();
    assert_eq!((&list[0]["name"], list.as_array().map(Vec::len)), (&json!("all"), Some(2)));
    assert_eq!(list[1], shown, "the list shows the same");
    // With another filter, others may be wanted.
    let shown = put(&on.api, "rare", json!({ "types": ["license.*"] })).await.expect(200).clone();
    assert_eq!(shown["partitions"].as_array().map(Vec::len), Some(4), "their number stays, also where nothing is said of it");
    assert!(shown["lag"].as_i64() > Some(0), "{shown}");
    assert_eq!(types(&drain(&on.api, "rare").await), ["license.created"]);
}

async fn a_lease_outlives_the_server_that_gave_it(backend: Backend) {
    let on = Running::start(backend).await;
    on.api.new_product().await;
    put(&on.api, "jobs", json!({ "partitions": 1 })).await.expect(200);
    let held = next(&on.api, "jobs", json!({ "seconds": 3, "limit": 2 })).await.expect("events");
    let Running { server, ledger, .. } = on;
    server.kill_9();
    let server = ledger.serve().await;
    let api = server.client();
    let again = next(&api, "jobs", json!({ "timeout": 20_000, "limit": 2 })).await.expect("events again");
    assert_eq!(again["events"], held["events"]);
    acknowledge(&api, "jobs", &held["lease"]).await.expect_problem(409, "conflict");
    // One that was not handed out again is acknowledged at whichever server.
    acknowledge(&api, "jobs", &again["lease"]).await.expect(204);
    let held = next(&api, "jobs", json!({ "limit": 1 })).await.expect("events");
    server.kill_9();
    let server = ledger.serve().await;
    acknowledge(&server.client(), "jobs", &held["lease"]).await.expect(204);
    let rest = next(&server.client(), "jobs", json!({})).await.expect("events");
    assert_eq!(position(&events(&rest)[0]), position(&events(&held)[0]) + 1);
}

async fn what_cannot_be_is_said(backend: Backend) {
    let on = Running::start(backend).await;
    let last = on.ledger.event_count().await - 1;
    put(&on.api, "a%20b", json!({})).await.expect_invalid(&["subscription"]);
    put(&on.api, &"x".repeat(101), json!({})).await.expect_invalid(&["subscription"]);
    put(&on.api, "a", json!({ "partitions": 65, "after": last + 1, "types": ["nothing"] })).await.expect_invalid(&[
        "/partitions",
        "/after",
        "/types",
    ]);
    put(&on.api, "a", json!({ "unknown": 1 })).await.expect_problem(422, "invalid-parameters");
    put(&on.api, "a", json!({})).await.expect(200);
    let wrong = json!({ "limit": 0, "timeout": 60_000, "seconds": 0 });
    call(&on.api, Method::POST, "/a/next", wrong).await.expect_invalid(&["/limit", "/timeout", "/seconds"]);
    call(&on.api, Method::POST, "/a/seek", json!({ "after": -2 })).await.expect_invalid(&["/after"]);
    call(&on.api, Method::POST, "/a/acknowledge", json!({ "lease": "none" })).await.expect_problem(422, "invalid-parameters");
    let unknown = json!({ "lease": "01890000-0000-7000-8000-000000000000" });
    call(&on.api, Method::POST, "/a/acknowledge", unknown.clone()).await.expect_problem(409, "conflict");
    call(&on.api, Method::POST, "/nobody/acknowledge", unknown).await.expect_problem(404, "not-found");
    let reader = on.caller(&["--capability", "feed:read"]).await;
    call(&reader, Method::GET, "/a", Value::Null).await.expect_problem(403, "not-permitted");
    // What a worker's key may not see it isn't given.
    on.api.new_product().await;
    let worker = on.caller(&["--capability", "feed:subscriptions"]).await;
    on.api.new_license(1, fields!(owner_email: "jane@shop.example")).await;
    let batch = drain(&worker, "a").await;
    assert!(!tells_of_jane(&Value::from(batch).to_string()));
}
