//! The relay to NATS JetStream, with real NATS servers: every event once and in order, whatever is killed.

#[path = "../support/mod.rs"]
mod support;

mod clusters;
mod kills;
mod logins;
mod streams;

use async_nats::jetstream::{Context, message::StreamMessage};
use futures::future::join_all;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::nats::{NatsServer, messages, opened};
use crate::support::{Backend, Client, Ledger, PRODUCT, Running, ServeOptions, both_backends, eventually, fields, raw};

const STREAM: &str = "KEYLEDGER";

both_backends!(
    every_event_is_relayed_once_and_in_order,
    a_log_that_loses_its_end_is_not_relayed_from_there,
    keys_and_personal_data_are_shown_where_that_is_wanted,
);

fn relaying(url: &str) -> ServeOptions {
    ServeOptions::args(&["--nats-url", url])
}

fn position(message: &StreamMessage) -> i64 {
    let id = message.headers.get("Nats-Msg-Id").unwrap_or_else(|| panic!("no id: {message:?}")).to_string();
    id.split_once(':').and_then(|(_, position)| position.parse().ok()).unwrap_or_else(|| panic!("the id {id}"))
}

fn body(message: &StreamMessage) -> Value {
    serde_json::from_slice(&message.payload).expect("JSON")
}

/// Waits until the stream is as far as the log.
async fn caught_up(context: &Context, ledger: &Ledger) -> i64 {
    let events = ledger.event_count().await;
    let last = usize::try_from(events).expect("a count") as u64;
    eventually("the stream has all events", || async {
        let state = context.get_stream(STREAM).await.ok()?.cached_info().state.clone();
        (state.last_sequence >= last).then_some(())
    })
    .await;
    events
}

/// Promises that the stream holds the log: each event once, in order, and nothing else.
async fn expect_whole(context: &Context, ledger: &Ledger) -> Vec<StreamMessage> {
    let events = caught_up(context, ledger).await;
    let messages = messages(context, STREAM).await;
    let gap = messages.iter().map(position).zip(0_i64..).find(|(position, expected)| position != expected);
    assert_eq!(gap, None, "the first event that is not the next, and what would be");
    assert_eq!(messages.len() as i64, events, "as many as the log has");
    messages
}

/// A license with so many activations.
async fn active(api: &Client, product: i64, count: usize) -> String {
    let key = api.new_license(product, fields!(activation_limit: 0)).await;
    for number in 0..count {
        api.activate(&key, &format!("{number}.example")).await.expect(300, PRODUCT);
    }
    key
}

/// Activates with that many callers at a time until it is over, whoever answers; how often it worked.
async fn load(clients: &(impl Fn() -> Client + Sync), license: &str, callers: usize, is_over: &AtomicBool) -> usize {
    let calls = (0..callers).map(|caller| async move {
        let mut done = 0;
        for number in 0.. {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let identifier = format!("{caller}-{number}.example");
            match clients().try_form("activate", fields!(license_key: license, identifier: identifier)).await {
                Ok(answer) if answer.code() == 300 => done += 1,
                _ => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
        done
    });
    join_all(calls).await.into_iter().sum()
}

async fn every_event_is_relayed_once_and_in_order(backend: Backend) {
    let nats = NatsServer::start().await;
    let on = Running::start_with(backend, relaying(&nats.url())).await;
    let product = on.api.new_product().await;
    let key = active(&on.api, product, 20).await;
    // Somebody who sees of the feed what the stream shows.
    let reader = on.caller(&["--capability", "feed:read", "--capability", "verify"]).await;
    let context = nats.context().await;
    let messages = expect_whole(&context, &on.ledger).await;
    let feed = reader.feed_lines("").await;
    assert_eq!(feed.len(), messages.len());
    for (message, of_the_feed) in messages.iter().zip(&feed) {
        let (event, header) = (body(message), |name: &str| message.headers.get(name).map(|value| value.to_string()));
        assert_eq!(&event, of_the_feed);
        let subject = event["subject"].as_str().expect("a subject").replace('/', ".");
        assert_eq!(message.subject.as_str(), format!("keyledger.{subject}.{}", event["eventtype"].as_str().expect("a type")));
        let ledger = event["source"].as_str().expect("a source").trim_start_matches("urn:uuid:");
        assert_eq!(header("Nats-Msg-Id"), Some(format!("{ledger}:{}", position(message))));
        assert_eq!(header("Content-Type").as_deref(), Some("application/cloudevents+json"));
        let text = String::from_utf8_lossy(&message.payload);
        assert!(!text.contains(&key) && !text.contains("7.example"), "keys are masked, personal data is sealed: {text}");
    }
    assert!(messages.iter().any(|message| message.subject.ends_with(".LicenseActivated")));

    let info = opened(&context, STREAM).await.cached_info().config.clone();
    assert_eq!((info.subjects, info.num_replicas), (vec!["keyledger.>".to_owned()], 1));
    let metrics = eventually("the metrics say so", || async {
        let metrics = reqwest::get(format!("{}/metrics", on.server.url)).await.ok()?.text().await.ok()?;
        metrics.contains("keyledger_nats_lag_events 0").then_some(metrics)
    })
    .await;
    let relayed = metrics.lines().find_map(|line| line.strip_prefix("keyledger_nats_relayed_events_total ")).expect("a count");
    assert_eq!(relayed, messages.len().to_string());
    on.server.stop().await;

    // Whoever starts again goes on behind the last message.
    let server = on.ledger.serve_with(relaying(&nats.url())).await;
    active(&server.client(), product, 5).await;
    expect_whole(&context, &on.ledger).await;
    server.stop().await;
    on.ledger.expect_intact().await;
}

/// PostgreSQL fails over to a copy that is behind, say, while the relay is connected; and the log grows beyond what was relayed.
async fn a_log_that_loses_its_end_is_not_relayed_from_there(backend: Backend) {
    let nats = NatsServer::start().await;
    let on = Running::start_with(backend, relaying(&nats.url())).await;
    let product = on.api.new_product().await;
    raw::keep_end(&on.ledger.place).await;
    active(&on.api, product, 10).await;
    let context = nats.context().await;
    let relayed = caught_up(&context, &on.ledger).await;
    raw::put_back(&on.ledger.place).await;
    active(&on.api, product, 20).await;
    assert!(on.ledger.event_count().await > relayed);
    streams::says(&on.server, "is another one than the log's").await;
    assert!(on.server.log_text().contains("the log has fewer events than it had"));
    assert_eq!(messages(&context, STREAM).await.len() as i64, relayed, "nothing was published");
}

async fn keys_and_personal_data_are_shown_where_that_is_wanted(backend: Backend) {
    let nats = NatsServer::start().await;
    let options = ["--nats-url", &nats.url(), "--nats-show", "license-keys,personal-data", "--nats-subject", "vendor.events"];
    let on = Running::start_with(backend, ServeOptions::args(&options)).await;
    let product = on.api.new_product().await;
    let key = active(&on.api, product, 3).await;
    let messages = expect_whole(&nats.context().await, &on.ledger).await;
    let texts: Vec<String> = messages.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect();
    for shown in [key.as_str(), "2.example"] {
        assert!(texts.iter().any(|text| text.contains(shown)), "{shown}");
    }
    assert!(messages.iter().all(|message| message.subject.starts_with("vendor.events.")));
}

#[tokio::test]
async fn what_can_not_be_is_said_at_the_start() {
    let ledger = Ledger::new(Backend::Sqlite).await;
    let refused = async |args: &[&str]| ledger.run(&[&["serve", "--listen", "127.0.0.1:0"][..], args].concat()).await.failure(1);
    for (args, said) in [
        (&["--nats-url", "localhost:4222"][..], "--nats-url: address 1 of it is none: must be nats://host:port"),
        (&["--nats-url", "nats://me:secret@h:99999"], "--nats-url: address 1"),
        (&["--nats-url", "nats://a,nats://me:secret"], "--nats-url: address 2"),
        (&["--nats-url", "nats://h", "--nats-stream", "a.b"], "--nats-stream a.b"),
        (&["--nats-url", "nats://h", "--nats-subject", "a.*"], "--nats-subject a.*"),
        (&["--nats-url", "nats://h", "--nats-replicas", "6"], "--nats-replicas 6: must be 1 to 5"),
        (&["--nats-url", "nats://h", "--nats-show", "everything"], "--nats-show everything"),
        (&["--nats-url", "nats://h", "--nats-credentials", "/nowhere"], "--nats-credentials /nowhere"),
        (&["--nats-url", "nats://h", "--nats-ca", "/nowhere"], "--nats-ca /nowhere"),
    ] {
        let answer = refused(args).await;
        assert!(answer.contains(said) && !answer.contains("secret"), "{args:?}: {answer}");
    }
}
