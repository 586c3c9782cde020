//! Checkpoints, tiles, proofs and receipts over HTTP: who sees them, what is refused, when they come.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tlog_tiles::{Hash, check_record, record_hash};

use crate::support::{ApiKey, Backend, Client, PRODUCT, Running, ServeOptions, both_backends, eventually, fields, poll, raw};

both_backends!(
    an_auditors_key_opens_the_log_and_nothing_else,
    proofs_are_for_everybody_where_it_is_configured,
    checkpoints_are_listed_and_the_newest_is_given,
    what_is_no_tile_is_not_there,
    a_proof_of_what_is_not_covered_is_refused,
    a_receipt_proves_an_event_that_no_checkpoint_covered,
    checkpoints_come_by_themselves_while_events_arrive,
);

/// What holds hashes alone; for everybody, where that is configured.
const HASHES: [&str; 7] =
    ["checkpoint", "verifier-key", "checkpoints", "tile/0/000.p/1", "proofs/inclusion?position=0", "proofs/consistency?from=1", "receipts/0"];
/// What holds events, and with them license keys.
const ENTRIES: [&str; 2] = ["tile/entries/000.p/1", "events/0"];

async fn get(api: &Client, path: &str) -> (u16, HeaderMap, Vec<u8>) {
    api.bytes(&format!("/ledger/v1/{path}")).await
}

fn type_of(headers: &HeaderMap) -> &str {
    headers["content-type"].to_str().expect("text")
}

fn cache_of(headers: &HeaderMap) -> &str {
    headers["cache-control"].to_str().expect("text")
}

async fn text(api: &Client, path: &str) -> String {
    let (status, _, body) = get(api, path).await;
    assert_eq!(status, 200, "{path}");
    String::from_utf8(body).expect("text")
}

/// A problem, checked as far as every one must hold.
async fn expect_problem(api: &Client, path: &str, status: u16, kind: &str) {
    api.ledger_get(path).await.expect_problem(status, kind);
}

/// Has a checkpoint made that covers every event so far, and gives its size.
async fn covered(on: &Running) -> i64 {
    let last = on.ledger.event_count().await - 1;
    on.api.ledger_get(&format!("receipts/{last}")).await.expect(200)["size"].as_i64().expect("a size")
}

async fn an_auditors_key_opens_the_log_and_nothing_else(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    covered(&on).await;
    let events = on.ledger.event_count().await;
    let auditor = on.caller(&["--capability", "ledger:read", "--capability", "ledger:entries"]).await;
    let reader = on.caller(&["--capability", "ledger:read"]).await;
    let other = on.caller(&["--capability", "verify"]).await;
    for path in HASHES {
        for api in [&auditor, &reader] {
            assert_eq!(get(api, path).await.0, 200, "{path}");
        }
        expect_problem(&other, path, 403, "not-permitted").await;
    }
    for path in ENTRIES {
        assert_eq!(get(&auditor, path).await.0, 200, "{path}");
        expect_problem(&reader, path, 403, "not-permitted").await;
    }
    // Nobody who shows no key, or one that isn't.
    for key in [ApiKey::Missing, ApiKey::Header("made-up".to_owned())] {
        let stranger = on.api.with_key(key);
        for path in HASHES.into_iter().chain(ENTRIES) {
            expect_problem(&stranger, path, 401, "invalid-api-key").await;
        }
    }
    // A dispute file is made of entries.
    let export = |api: &Client| api.request(Method::POST, &format!("/ledger/v1/licenses/{license}/evidence")).json(&json!({}));
    let refused = reader.admin_answer(export(&reader)).await;
    refused.expect_problem(403, "not-permitted");
    assert_eq!(refused.body["detail"], "The API key lacks the capability ledger:entries.");
    // The auditor reads; beyond that, nothing.
    for path in ["licenses", "products", "api-keys", "block-list", "products/1/key-pairs", "settings"] {
        auditor.admin_get(path).await.expect_problem(403, "not-permitted");
    }
    for route in ["verify", "activate", "deactivate", "create-license-keys", "get-all-products"] {
        assert_eq!(auditor.call(route, fields!(license_key: license, identifier: "a.example")).await.code(), 102, "{route}");
    }
    // No look at it is an event; the three keys are.
    assert_eq!(on.ledger.event_count().await, events + 3);
    assert_eq!(export(&auditor).send().await.expect("an answer").status(), 200);
}

async fn proofs_are_for_everybody_where_it_is_configured(backend: Backend) {
    let on = Running::start_with(backend, ServeOptions::args(&["--public-proofs"])).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    covered(&on).await;
    let nobody = on.api.with_key(ApiKey::Missing);
    for path in HASHES {
        let (status, _, body) = get(&nobody, path).await;
        let body = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(status, 200, "{path}: {body}");
        assert!(!body.contains(&license), "{path}");
    }
    let closed = [format!("licenses/{license}/history"), format!("licenses/{license}/state"), "head".to_owned()];
    for path in ENTRIES.into_iter().chain(closed.iter().map(String::as_str)) {
        expect_problem(&nobody, path, 401, "invalid-api-key").await;
    }
    assert_eq!(cache_of(&get(&nobody, "tile/0/000.p/1").await.1), "public, max-age=31536000, immutable");
    // A key that is shown must be one.
    let stranger = on.api.with_key(ApiKey::Header("made-up".to_owned()));
    expect_problem(&stranger, "checkpoint", 401, "invalid-api-key").await;
    // Who is blocked sees nothing of it either.
    on.api.admin_post("block-list", json!({ "kind": "ip", "value": "127.0.0.1" })).await.expect(201);
    eventually("the address is blocked", || async { (get(&nobody, "checkpoint").await.0 == 403).then_some(()) }).await;
    expect_problem(&nobody, "tile/0/000.p/1", 403, "access-denied").await;
}

async fn checkpoints_are_listed_and_the_newest_is_given(backend: Backend) {
    let on = Running::start(backend).await;
    let vkey = text(&on.api, "verifier-key").await;
    assert_eq!(vkey, on.ledger.run(&["evidence", "verifier-key"]).await.success());
    assert!(vkey.starts_with("keyledger/") && vkey.ends_with('\n') && vkey.matches('+').count() >= 2, "{vkey}");

    let product = on.api.new_product().await;
    let mut sizes = Vec::new();
    for _ in 0..3 {
        on.api.new_license(product, fields!()).await;
        sizes.push(covered(&on).await);
        assert_eq!(*sizes.last().expect("a size"), on.ledger.event_count().await, "it covers its own stream map");
    }
    let listed = on.api.history("checkpoints", 1).await;
    let listed: Vec<&Value> = listed.iter().filter(|made| made["size"].as_i64() >= Some(sizes[0])).collect();
    assert_eq!(listed.iter().map(|made| made["size"].as_i64().expect("a size")).collect::<Vec<_>>(), sizes, "oldest first");
    let times: Vec<&str> = listed.iter().map(|made| made["made_at"].as_str().expect("a time")).collect();
    assert!(times.is_sorted() && times[0].ends_with('Z'), "{times:?}");
    for made in &listed {
        let root = STANDARD.encode(hex::decode(made["root"].as_str().expect("a root")).expect("hexadecimal"));
        let name = vkey.split('+').next().expect("a name");
        let note = made["note"].as_str().expect("a note");
        assert!(note.starts_with(&format!("{name}\n{}\n{root}\n\n— {name} ", made["size"])) && note.ends_with('\n'), "{note}");
        assert_eq!(note.lines().count(), 5, "{note}");
    }
    let (status, headers, body) = get(&on.api, "checkpoint").await;
    assert_eq!((status, body), (200, listed[2]["note"].as_str().expect("a note").as_bytes().to_vec()));
    assert_eq!((type_of(&headers), cache_of(&headers)), ("text/plain; charset=utf-8", "no-cache"));

    expect_problem(&on.api, "checkpoints?limit=0", 422, "invalid-parameters").await;
    on.api.ledger_get("checkpoints?after=x").await.expect_invalid(&["after"]);
    expect_problem(&on.api, "checkpoints?size=3", 422, "invalid-parameters").await;
    on.ledger.expect_intact().await;
}

async fn what_is_no_tile_is_not_there(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    on.api.new_license(product, fields!()).await;
    let size = covered(&on).await;
    // Recorded, and not covered by a checkpoint yet: no tile has it.
    on.api.new_license(product, fields!()).await;
    assert!(on.ledger.event_count().await > size);
    for what in ["0/", "entries/"] {
        let (status, headers, body) = get(&on.api, &format!("tile/{what}000.p/{size}")).await;
        assert_eq!(status, 200);
        assert!(what != "0/" || body.len() == usize::try_from(size).expect("a size") * 32, "{}", body.len());
        assert_eq!((type_of(&headers), cache_of(&headers)), ("application/octet-stream", "private, max-age=31536000, immutable"));
        let shorter = get(&on.api, &format!("tile/{what}000.p/{}", size - 1)).await.2;
        assert!(body.starts_with(&shorter) && shorter.len() < body.len(), "a narrower tile is a part of it");
        let beyond = format!("000.p/{}", size + 1);
        let wrong = [
            "000",
            "001",
            "001.p/1",
            &beyond,
            "000.p/0",
            "000.p/256",
            "000.p/01",
            "000.p/-1",
            "000.p/",
            "000.p",
            "0",
            "00",
            "0000",
            "x000/000",
            "001/000",
            "x/000",
            "abc",
            "000/",
            "+00",
            "%2e%2e",
            "999.p/255",
            "x999/x999/x999/x999/x999/x999/x999/999",
        ];
        for path in wrong {
            expect_problem(&on.api, &format!("tile/{what}{path}"), 404, "not-found").await;
        }
    }
    for path in
        ["tile", "tile/", "tile/0", "tile/entries", "tile/1/000.p/1", "tile/8/000.p/1", "tile/00/000.p/1", "tile/-1/000.p/1", "tile/x/000.p/1"]
    {
        expect_problem(&on.api, path, 404, "not-found").await;
    }
    expect_problem(&on.api, "tile/data/000.p/1", 404, "not-found").await;
    let posted = on.api.admin_answer(on.api.request(Method::POST, "/ledger/v1/tile/0/000.p/1")).await;
    posted.expect_problem(405, "method-not-allowed");
}

async fn a_proof_of_what_is_not_covered_is_refused(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    on.api.new_license(product, fields!()).await;
    let size = covered(&on).await;
    on.api.new_license(product, fields!()).await;
    let head = on.ledger.event_count().await;
    assert!(head > size);

    let newest = on.api.ledger_get("proofs/inclusion?position=1").await.expect(200).clone();
    assert_eq!((&newest["position"], &newest["size"]), (&json!(1), &json!(size)));
    let whole = on.api.ledger_get(&format!("proofs/consistency?from={size}")).await.expect(200).clone();
    assert_eq!((&whole["from"], &whole["to"], &whole["hashes"]), (&json!(size), &json!(size), &json!([])));
    let empty = on.api.ledger_get("proofs/consistency?from=0").await.expect(200).clone();
    assert_eq!(empty["hashes"], json!([]));
    assert_eq!(on.api.ledger_get("proofs/inclusion?position=0&size=1").await.expect(200)["hashes"], json!([]));

    for query in [format!("position={}", head - 1), format!("position=0&size={head}"), "position=3&size=3".to_owned(), "position=0&size=0".to_owned()]
    {
        expect_problem(&on.api, &format!("proofs/inclusion?{query}"), 409, "conflict").await;
    }
    for query in ["position=999999", "position=-1", "position=9223372036854775807"] {
        expect_problem(&on.api, &format!("proofs/inclusion?{query}"), 404, "not-found").await;
    }
    for query in [format!("from={head}"), format!("from=1&to={head}"), "from=3&to=2".to_owned(), "from=-1".to_owned(), "from=0&to=-1".to_owned()] {
        expect_problem(&on.api, &format!("proofs/consistency?{query}"), 409, "conflict").await;
    }
    let bad = ["inclusion", "inclusion?position=", "inclusion?position=x", "inclusion?position=1&size=x", "inclusion?position=1.5", "inclusion?at=1"];
    for path in
        bad.into_iter().chain(["consistency", "consistency?from=x", "consistency?to=1", "consistency?from=1&to=", "consistency?from=1&size=2"])
    {
        expect_problem(&on.api, &format!("proofs/{path}"), 422, "invalid-parameters").await;
    }
    for what in ["receipts", "events"] {
        for position in ["999999", "-1", "x", "1x", "9223372036854775808", "+1", "1.0"] {
            expect_problem(&on.api, &format!("{what}/{position}"), 404, "not-found").await;
        }
    }
    assert_eq!(on.ledger.event_count().await, head, "what is refused makes no checkpoint");
    on.ledger.expect_intact().await;
}

async fn a_receipt_proves_an_event_that_no_checkpoint_covered(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    let before = covered(&on).await;
    let activated = on.api.with_header("X-Ledger-Receipt", "1").activate(&license, "a.example").await;
    activated.expect(300, PRODUCT);
    let header = |name: &str| activated.headers[name].to_str().expect("text").to_owned();
    let position: i64 = header("x-ledger-position").parse().expect("a position");
    assert!(position >= before, "no checkpoint covers it");

    let receipt = on.api.ledger_get(&format!("receipts/{position}")).await.expect(200).clone();
    let (size, root) = (receipt["size"].as_u64().expect("a size"), receipt["checkpoint"]["root"].as_str().expect("a root"));
    assert_eq!((&receipt["position"], &receipt["leaf_hash"]), (&json!(position), &json!(header("x-ledger-leaf-hash"))));
    assert_eq!((&receipt["checkpoint"]["size"], size > position.unsigned_abs()), (&json!(size), true));
    let hash = |text: &str| Hash(hex::decode(text).expect("hexadecimal").try_into().expect("32 bytes"));
    let proof = receipt["hashes"].as_array().expect("hashes").iter().map(|text| hash(text.as_str().expect("a hash"))).collect();

    let shown = on.api.ledger_get(&format!("events/{position}")).await.expect(200).clone();
    let leaf = STANDARD.decode(shown["leaf"].as_str().expect("a leaf")).expect("Base64");
    assert_eq!((&shown["position"], &shown["leaf_hash"]), (&receipt["position"], &receipt["leaf_hash"]));
    check_record(&proof, size, hash(root), position.unsigned_abs(), record_hash(&leaf)).expect("the event is in the log");
    let event: Value = serde_json::from_slice(&leaf).expect("an event is JSON");
    assert_eq!((&event["event_type"], &event["position"]), (&json!("LicenseActivated"), &json!(position)));
    assert!(!String::from_utf8_lossy(&leaf).contains("a.example"), "personal data is sealed");

    // The same again makes nothing new, and is the newest checkpoint for everybody.
    let events = on.ledger.event_count().await;
    assert_eq!(on.api.ledger_get(&format!("receipts/{position}")).await.expect(200), &receipt);
    assert_eq!(on.ledger.event_count().await, events);
    assert_eq!(text(&on.api, "checkpoint").await, receipt["checkpoint"]["note"].as_str().expect("a note"));
    on.ledger.expect_intact().await;
}

/// A checkpoint covers an event after at most so long.
const PROMISED: Duration = Duration::from_secs(10);

async fn checkpoints_come_by_themselves_while_events_arrive(backend: Backend) {
    let on = Running::start_with(backend, ServeOptions::args(&["--checkpoint-interval", "4"])).await;
    let help = on.ledger.run(&["serve", "--help"]).await.success();
    let help = help.split("--checkpoint-interval").nth(1).expect("it is an option");
    assert!(help.split("\n\n").next().is_some_and(|about| about.contains("[default: 4]")), "{help}");
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!(activation_limit: 0)).await;

    // Events that keep coming hold no checkpoint up.
    let (started, mut waiting, mut seats, mut checkpoints) = (Instant::now(), None, 0, 0);
    while checkpoints < 2 || started.elapsed() < PROMISED {
        on.api.activate(&license, &format!("{seats}.example")).await.expect(300, PRODUCT);
        seats += 1;
        let (since, position) = *waiting.get_or_insert((Instant::now(), on.ledger.event_count().await - 1));
        if newest(&on).await > position {
            checkpoints += 1;
            waiting = None;
        } else {
            assert!(since.elapsed() < PROMISED, "event {position} waits for a checkpoint");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    // And when none come, none is made: the stream map of a checkpoint is covered by it.
    let last = eventually("the last event is covered", || async {
        let events = on.ledger.event_count().await;
        (newest(&on).await == events).then_some(events)
    })
    .await;
    assert!(poll::DEADLINE > PROMISED && started.elapsed() < 5 * PROMISED, "{:?}", started.elapsed());
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!((on.ledger.event_count().await, newest(&on).await), (last, last));
    let maps = raw::number(&on.ledger.place, "select count(*) from events where event_type = 'StreamMapRecorded'").await;
    assert_eq!(maps, i64::try_from(on.api.history("checkpoints", 50).await.len()).expect("a few"), "one for each checkpoint");
    on.ledger.expect_intact().await;
}

/// The size of the newest checkpoint, 0 where there is none yet.
async fn newest(on: &Running) -> i64 {
    let (status, _, body) = get(&on.api, "checkpoint").await;
    if status == 404 {
        return 0;
    }
    String::from_utf8(body).expect("text").lines().nth(1).and_then(|size| size.parse().ok()).expect("a size")
}
