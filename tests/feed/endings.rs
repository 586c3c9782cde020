//! Who gets no further: clients that take nothing or little, keys that end, a log that was put back.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::events::{life, long_events, much};
use crate::support::feed::{EventStream, positions};
use crate::support::{ApiKey, Backend, Running, ServeOptions, both_backends, eventually, fields, raw};

both_backends!(
    a_stream_ends_with_the_key_that_it_was_opened_with,
    a_client_that_takes_nothing_is_disconnected,
    a_client_that_was_too_slow_is_told,
    what_a_slow_client_was_sent_is_whole,
    a_page_that_nobody_takes_ends_with_its_connection,
    no_more_ranges_are_read_at_once_than_there_is_room_for,
    a_range_ends_with_the_key_that_it_was_asked_with,
    who_waits_with_a_key_that_ends_gets_nothing,
    who_is_ahead_of_a_log_that_was_put_back_is_told,
);

pub fn quick() -> ServeOptions {
    ServeOptions::args(&["--feed-heart-beat", "1", "--feed-patience", "1", "--write-timeout", "6"])
}

/// A connection on which everything is asked for, and nothing read yet.
async fn asked(on: &Running, accept: &str, key: &str) -> TcpStream {
    let mut socket = TcpStream::connect(on.api.address()).await.expect("a connection");
    let request = format!("GET /feed/v1/events HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("a request");
    socket
}

/// The same on a connection that holds nothing for a client which doesn't read.
async fn asked_narrowly(on: &Running, query: &str, accept: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut socket = socket.connect(on.api.address().parse().expect("an address")).await.expect("a connection");
    let key = &on.ledger.bootstrap_key;
    let request =
        format!("GET /feed/v1/events?{query} HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("a request");
    socket
}

/// What still comes, until the connection is closed.
async fn rest(mut socket: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut rest)).await;
    read.expect("the connection is closed").ok();
    rest
}

async fn ended(on: &Running, reason: &str) {
    let metric = format!("keyledger_feed_ended_total{{reason=\"{reason}\"}} 1");
    eventually("it is given up", || async { on.api.plain("/metrics").await.1.contains(&metric).then_some(()) }).await;
}

async fn a_stream_ends(on: &Running, stream: &mut EventStream) {
    let mut beats = 0;
    while beats < 2 {
        beats += u32::from(stream.next().await.expect("a heart-beat").id.is_some());
    }
    let number = on.ledger.api_key_number("the consumer").await;
    on.ledger.run(&["api-key", "disable", &number]).await.success();
    let ended = loop {
        let message = stream.next().await.expect("a goodbye");
        if message.event.is_some() {
            break message;
        }
    };
    assert_eq!((ended.event.as_deref(), &ended.json()["reason"]), (Some("end"), &json!("not_permitted")));
}

async fn a_stream_ends_with_the_key_that_it_was_opened_with(backend: Backend) {
    let on = Running::start_with(backend, quick()).await;
    let key = on.ledger.create_named_api_key("the consumer", &["--capability", "feed:read", "--capability", "verify"]).await;
    let consumer = on.api.with_key(ApiKey::Header(key));
    // Much happens, and nothing of it is wanted: the heart-beat comes all the same, and with it a look at the key.
    let mut stream = eventually("the key is known", || async { consumer.try_feed_stream("type=contract.*", None).await.ok() }).await;
    let product = on.api.new_product().await;
    let writing = async {
        loop {
            on.api.new_license(product, fields!()).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = a_stream_ends(&on, &mut stream) => {}
        () = writing => {}
    }
}

/// A client that asked for much and reads nothing: what it doesn't take is not kept for it.
async fn a_client_that_takes_nothing_is_disconnected(backend: Backend) {
    let on = Running::start_with(backend, quick()).await;
    much(&on).await;
    let socket = asked(&on, "text/event-stream", &on.ledger.bootstrap_key).await;
    ended(&on, "too_slow").await;
    // Others are served, and the connection is closed though the client never read.
    assert_eq!(on.api.feed_page("limit=1").await.1.len(), 1);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let rest = rest(socket).await;
    assert!(rest.len() < 20 * 1024 * 1024, "{}", rest.len());
}

async fn a_client_that_was_too_slow_is_told(backend: Backend) {
    let on = Running::start_with(backend, quick()).await;
    much(&on).await;
    let given_up = async |accept: &str, which: usize| {
        let socket = asked(&on, accept, &on.ledger.bootstrap_key).await;
        let metric = format!("keyledger_feed_ended_total{{reason=\"too_slow\"}} {which}\n");
        eventually("it is given up", || async { on.api.plain("/metrics").await.1.contains(&metric).then_some(()) }).await;
        rest(socket).await
    };
    // Who reads on soon enough is told why it ends, and where it was.
    let stream = given_up("text/event-stream", 1).await;
    let stream = String::from_utf8_lossy(&stream);
    assert!(stream.contains("event: end\ndata: {\"reason\":\"too_slow\"}\n\n"), "{}", &stream[stream.len().saturating_sub(300)..]);
    // A range is not whole: its last chunk is missing.
    let range = given_up("application/x-ndjson", 2).await;
    assert!(!range.is_empty() && !range.ends_with(b"0\r\n\r\n"));
}

/// The body of an answer that was sent in chunks.
fn unchunked(answer: &[u8]) -> String {
    let begin = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let (mut left, mut body) = (&answer[begin..], Vec::new());
    while let Some(end) = left.windows(2).position(|window| window == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&left[..end]).expect("a length"), 16).expect("a length");
        body.extend_from_slice(&left[end + 2..end + 2 + length]);
        left = &left[end + 2 + length + 2..];
    }
    String::from_utf8(body).expect("text")
}

/// Long events are cut off nowhere: half of one, with the goodbye behind it, would be taken for an event, and its other half never be asked for.
async fn what_a_slow_client_was_sent_is_whole(backend: Backend) {
    let on = Running::start_with(backend, quick()).await;
    long_events(&on, 400).await;
    let socket = asked_narrowly(&on, "", "text/event-stream").await;
    ended(&on, "too_slow").await;
    let answer = rest(socket).await;
    let body = unchunked(&answer);
    let mut messages: Vec<&str> = body.split_terminator("\n\n").collect();
    assert_eq!(messages.pop(), Some("event: end\ndata: {\"reason\":\"too_slow\"}"));
    let events = messages.iter().filter_map(|message| message.split_once("data: ")).map(|(_, data)| data).filter(|data| !data.is_empty());
    let events: Vec<Value> = events.map(|data| serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"))).collect();
    assert_eq!(positions(&events), (0..events.len() as i64).collect::<Vec<_>>());
    assert!(events.len() > 20, "{}", events.len());
}

async fn a_page_that_nobody_takes_ends_with_its_connection(backend: Backend) {
    let on = Running::start_with(backend, quick()).await;
    long_events(&on, 320).await;
    let socket = asked_narrowly(&on, "limit=1000", "application/cloudevents-batch+json").await;
    // Also a busy machine has made it by then, and given it up.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let page = rest(socket).await;
    let page = String::from_utf8_lossy(&page);
    let length = page.split_once("content-length: ").and_then(|(_, rest)| rest.split_once('\r')).expect("a length").0;
    let length: usize = length.parse().expect("a number");
    assert!(length > 4_000_000 && page.len() < length, "{} of {length}", page.len());
}

async fn no_more_ranges_are_read_at_once_than_there_is_room_for(backend: Backend) {
    let on = Running::start_with(backend, ServeOptions::args(&["--feed-patience", "120", "--write-timeout", "120"])).await;
    much(&on).await;
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(asked_narrowly(&on, "", "application/x-ndjson").await);
    }
    let range = || on.api.request(Method::GET, "/feed/v1/events").header("accept", "application/x-ndjson");
    let all_are_taken = || async { (range().send().await.expect("an answer").status() == 503).then_some(()) };
    eventually("all turns are taken", all_are_taken).await;
    let refused = on.api.admin_answer(range()).await;
    refused.expect_problem(503, "unavailable");
    assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
    // Whoever goes leaves its turn; pages need none.
    assert_eq!(on.api.feed_page("limit=1").await.1.len(), 1);
    drop(held);
    assert!(on.api.feed_lines("").await.len() > 10_000);
}

async fn a_range_ends_with_the_key_that_it_was_asked_with(backend: Backend) {
    let on = Running::start_with(backend, ServeOptions::args(&["--feed-heart-beat", "1"])).await;
    much(&on).await;
    let key = on.ledger.create_named_api_key("the analyst", &["--capability", "feed:read", "--capability", "verify"]).await;
    eventually("the key is known", || async { on.api.with_key(ApiKey::Header(key.clone())).try_feed_stream("", None).await.ok() }).await;
    let socket = asked(&on, "application/x-ndjson", &key).await;
    let number = on.ledger.api_key_number("the analyst").await;
    on.ledger.run(&["api-key", "disable", &number]).await.success();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    // What was on its way still comes, and then it breaks off.
    let rest = rest(socket).await;
    assert!(rest.starts_with(b"HTTP/1.1 200") && !rest.ends_with(b"0\r\n\r\n"));
    ended(&on, "not_permitted").await;
}

async fn who_waits_with_a_key_that_ends_gets_nothing(backend: Backend) {
    let on = Running::start(backend).await;
    let all = &["--capability", "feed:read", "--capability", "feed:subscriptions", "--capability", "verify"];
    let key = on.ledger.create_named_api_key("the analyst", all).await;
    let api = on.api.with_key(ApiKey::Header(key));
    eventually("the key is known", || async { api.try_feed_stream("", None).await.ok() }).await;
    // The end of the key is an event too, but not one of those.
    let subscription = |method, path: &str, body: Value| api.request(method, &format!("/feed/v1/subscriptions/all{path}")).json(&body);
    let made = json!({ "types": ["product.*"], "from_now": true, "partitions": 1 });
    api.admin_answer(subscription(Method::PUT, "", made)).await.expect(200);
    let last = on.ledger.event_count().await - 1;
    let page = api.request(Method::GET, &format!("/feed/v1/events?after={last}&type=product.*&timeout=30000"));
    let next = subscription(Method::POST, "/next", json!({ "timeout": 30_000 }));
    let ends = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let number = on.ledger.api_key_number("the analyst").await;
        on.ledger.run(&["api-key", "disable", &number]).await.success();
        // Known everywhere within a second.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        on.api.new_product().await;
    };
    let (page, next, ()) = tokio::join!(api.admin_answer(page), api.admin_answer(next), ends);
    page.expect_problem(401, "invalid-api-key");
    next.expect_problem(401, "invalid-api-key");
    // Nothing was handed out to it.
    let next = on.api.request(Method::POST, "/feed/v1/subscriptions/all/next").json(&json!({}));
    assert_eq!(on.api.admin_answer(next).await.expect(200)["events"][0]["type"], "product.created");
}

async fn who_is_ahead_of_a_log_that_was_put_back_is_told(backend: Backend) {
    let on = Running::start(backend).await;
    raw::keep_end(&on.ledger.place).await;
    life(&on).await;
    let count = on.ledger.event_count().await;
    let mut stream = on.api.feed_stream("", None).await;
    for _ in 0..count {
        stream.event().await.expect("an event");
    }
    raw::put_back(&on.ledger.place).await;
    let goodbye = loop {
        let message = stream.next().await.expect("a goodbye");
        if message.event.is_some() {
            break message;
        }
    };
    assert_eq!(goodbye.json(), json!({ "reason": "failed" }));
    on.api.feed_get(&format!("after={}", count - 1)).await.expect_problem(409, "conflict");
    assert!(on.server.log_text().contains("the log has fewer events than it had"));
}
