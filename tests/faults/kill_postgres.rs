//! PostgreSQL dies under load and comes back: 503 while it is gone, recovery without a restart, nothing acknowledged lost.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::load::Load;
use crate::support::cluster::Cluster;
use crate::support::feed::{position, positions};
use crate::support::receiver::Receiver;
use crate::support::{Client, GLOBAL, Ledger, PRODUCT, ServeOptions, eventually, fields, soak_rounds};

const ROUNDS: usize = 20;
const WORKERS: usize = 16;
/// Rounds in which those who follow the log are watched.
const FOLLOWED_ROUNDS: usize = 4;
/// In every so manieth round PostgreSQL stays away until the server has given up on every change that was on its way.
const LONG_OUTAGE_EVERY: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_change_survives_the_death_of_postgresql() {
    let cluster = Cluster::start().await;
    let ledger = Ledger::on_postgres(&cluster.url());
    let mut server = ledger.serve().await;
    let api = server.client();
    let product = api.new_product().await;
    let license = api.new_license(product, fields!()).await;
    api.activate(&license, "a.example").await.expect(300, PRODUCT);
    let mut load = Load::new(product, WORKERS);
    for round in 0..soak_rounds(ROUNDS) {
        let running = load.start(std::slice::from_ref(&api));
        running.wait_for(rand::random_range(1..200)).await;
        if round % 4 == 3 {
            cluster.kill_9();
        } else {
            cluster.stop_immediately();
        }
        if round % LONG_OUTAGE_EVERY == 0 {
            load = running.until_unanswered().await;
            expect_unavailable(&api, product, &license).await;
            cluster.restart().await;
        } else {
            // Back while the server still asks what has become of the last COMMIT, and while the load goes on.
            eventually("PostgreSQL is missed", || async { (api.verify(&license, "a.example").await.status == 503).then_some(()) }).await;
            assert_eq!(api.plain("/health/live").await.0, 200);
            cluster.restart().await;
            load = running.stop().await;
        }
        eventually("the server has recovered", || async { (api.verify(&license, "a.example").await.code() == 200).then_some(()) }).await;
        eventually("the server is ready", || async { (api.plain("/health/ready").await.0 == 200).then_some(()) }).await;
        let changed = fields!(product_id: product, key: format!("round {round}"), value: "back");
        eventually("changes work again", || async { (api.form("create-product-meta", changed.clone()).await.code() != 9503).then_some(()) }).await;
        assert!(server.is_running(), "the same process has recovered");
        load.check_touched(&api).await;
        if round % 5 == 0 {
            ledger.expect_intact().await;
        }
    }
    load.check_everything(&api).await;
    ledger.expect_intact().await;
    server.stop().await;
}

/// While the database is gone: a signed 503 for whatever needs it, and a process that lives and says that it isn't ready.
async fn expect_unavailable(api: &Client, product: i64, license: &str) {
    api.verify(license, "a.example").await.expect_error(503);
    api.activate(license, "b.example").await.expect_error(503);
    api.form("create-product", fields!(name: "A", description: "B")).await.expect_error(503);
    api.get("get-license-keys", fields!(product_id: product)).await.expect_error(503);
    assert_eq!(api.plain("/health/live").await.0, 200);
    assert_eq!(api.plain("/health/ready").await.0, 503);
    api.get("no-such-route", fields!()).await.expect_error(404);
    assert_eq!(api.plain("/metrics").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_finds_no_postgresql_at_start_says_so() {
    let cluster = Cluster::start().await;
    let ledger = Ledger::on_postgres(&cluster.url());
    ledger.serve().await.client().form("create-product", fields!(name: "A", description: "B")).await.expect(750, GLOBAL);
    cluster.stop_immediately();
    let said = ledger.run(&["serve", "--listen", "127.0.0.1:0"]).await.failure(1);
    assert!(said.to_lowercase().contains("postgres") || said.to_lowercase().contains("database"), "{said}");
    cluster.restart().await;
    ledger.expect_intact().await;
}

/// As when all is started again at once: what was counted is recorded when the database is back, if that is soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_counted_outlasts_a_database_that_is_away_while_the_server_stops() {
    let cluster = Cluster::start().await;
    let ledger = Ledger::on_postgres(&cluster.url());
    let server = ledger.serve_with(ServeOptions::environment("KEYLEDGER_COUNT_INTERVAL", "60")).await;
    let api = server.client();
    let product = api.new_product().await;
    let license = api.new_license(product, fields!()).await;
    for _ in 0..5 {
        api.verify(&license, "a.example").await.expect(202, PRODUCT);
    }
    cluster.stop_immediately();
    let back = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        cluster.restart().await;
    };
    tokio::join!(server.stop(), back);
    let server = ledger.serve().await;
    let counted = server.client().feed_lines("type=verification.counted").await;
    assert_eq!(counted.len(), 1, "{counted:?}");
    assert_eq!(counted[0]["data"]["counts"], json!({ "202": 5 }));
    ledger.expect_intact().await;
}

/// Whoever follows the log goes on when PostgreSQL is back: a stream and a subscription with every event once, an endpoint with every event
/// at least once, the statistics with what the log has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_follow_the_log_lose_nothing_when_postgresql_dies() {
    let cluster = Cluster::start().await;
    let ledger = Ledger::on_postgres(&cluster.url());
    let receiver = Receiver::start().await;
    let server = ledger.serve_with(ServeOptions::args(&["--allow-outgoing", "127.0.0.0/8", "--webhook-hurry", "100"])).await;
    let api = server.client();
    let product = api.new_product().await;
    let license = api.new_license(product, fields!(activation_limit: 0)).await;
    let endpoint = api.admin_post("webhook-endpoints", json!({ "url": receiver.url("/"), "after": -1 })).await.expect(201)["number"].clone();
    let subscription = |method, path: &str| api.request(method, &format!("/feed/v1/subscriptions/all{path}"));
    api.admin_answer(subscription(Method::PUT, "").json(&json!({ "partitions": 1 }))).await.expect(200);
    let (is_over, end) = (AtomicBool::new(false), AtomicI64::new(i64::MAX));

    let writing = async {
        for number in 0.. {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let identifier = format!("{number}.example");
            // What comes of it while PostgreSQL is away is not what is looked at here.
            let _ = api.try_form("activate", fields!(license_key: &license, identifier: identifier)).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let killing = async {
        for round in 0..soak_rounds(FOLLOWED_ROUNDS) {
            tokio::time::sleep(Duration::from_millis(rand::random_range(1_000..2_500))).await;
            if round % 2 == 0 {
                cluster.kill_9();
            } else {
                cluster.stop_immediately();
            }
            eventually("PostgreSQL is missed", || async { (api.verify(&license, "0.example").await.status == 503).then_some(()) }).await;
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..2_000))).await;
            cluster.restart().await;
            eventually("the server has recovered", || async { (api.verify(&license, "0.example").await.code() == 200).then_some(()) }).await;
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let is_done = |seen: &[i64]| i64::try_from(seen.len()).expect("a count") >= end.load(Ordering::Relaxed);
    let streaming = async {
        let mut seen: Vec<i64> = Vec::new();
        while !is_done(&seen) {
            let Ok(mut stream) = api.with_own_connections().try_feed_stream("", seen.last().copied()).await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            while !is_done(&seen)
                && let Some(event) = stream.event().await
            {
                seen.push(position(&event));
            }
        }
        seen
    };
    let working = async {
        let mut seen: Vec<i64> = Vec::new();
        while !is_done(&seen) {
            let batch = api.admin_answer(subscription(Method::POST, "/next").json(&json!({ "timeout": 200, "seconds": 2 }))).await;
            if batch.status != 200 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            let events = positions(batch.body["events"].as_array().expect("events"));
            // The first word on it counts: said again, it may say that it was heard the first time.
            let done = json!({ "lease": batch.body["lease"] });
            while !matches!(api.admin_answer(subscription(Method::POST, "/acknowledge").json(&done)).await.status, 204 | 409) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // Handed out again, it begins where it began before: what was seen is told by its position.
            let new = seen.last().map_or(0, |last| last + 1);
            seen.extend(events.into_iter().filter(|position| *position >= new));
        }
        seen
    };
    let ending = async {
        futures::future::join(writing, killing).await;
        let count = ledger.event_count().await;
        end.store(count, Ordering::Relaxed);
        // One event more wakes those who wait.
        api.new_license(product, fields!()).await;
        count
    };
    let (count, streamed, worked) = tokio::join!(ending, streaming, working);
    let all: Vec<i64> = (0..count).collect();
    assert!(count > 100, "hardly anything was written: {count}");
    assert_eq!(streamed[..all.len()], all, "each once and in order");
    assert_eq!(worked[..all.len()], all, "in order and without gaps");
    let lag = || async { (api.admin_get(&format!("webhook-endpoints/{endpoint}")).await.expect(200)["lag"] == 0).then_some(()) };
    eventually("the endpoint was told of all", lag).await;
    let told: BTreeSet<i64> =
        receiver.received().iter().map(|received| position(&serde_json::from_str::<Value>(&received.body).expect("an event"))).collect();
    assert!(all.iter().all(|position| told.contains(position)), "at least once");
    let activations = eventually("the statistics are of the whole log", || async {
        let page = api.admin_answer(api.request(Method::GET, "/feed/v1/statistics")).await.expect(200).clone();
        let items = page["items"].as_array().expect("items").clone();
        (page["position"] == page["head"]).then(|| items.iter().filter_map(|item| item["activations"].as_i64()).sum::<i64>())
    })
    .await;
    let activated = api.feed_lines("type=license.activated").await.len();
    assert_eq!(usize::try_from(activations).expect("a count"), activated);
    ledger.expect_intact().await;
    server.stop().await;
}
