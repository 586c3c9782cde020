//! Fields and bodies that are too large.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;

use crate::Target;
use crate::support::{ApiKey, Backend, Fields, GLOBAL, PRODUCT, both_backends, fields};

both_backends!(oversized_fields_are_bad_requests, oversized_bodies_are_refused, only_creating_keys_takes_a_large_body);

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

async fn oversized_fields_are_bad_requests(backend: Backend) {
    let target = Target::start(backend).await;
    let license = &target.license;
    let (long, longest) = ("ü".repeat(256), "ü".repeat(255));
    let meta = |key: &str, value: &str| fields!(license_key: license, identifier: "a.example", key: key, value: value);
    let cases: [(&str, Fields); 6] = [
        ("activate", fields!(license_key: long, identifier: "b.example")),
        ("activate", fields!(license_key: license, identifier: long)),
        ("create-license-key-meta", meta(&long, "v")),
        ("create-license-key-meta", meta("k", &"v".repeat(16 * KIB + 1))),
        ("create-product-meta", fields!(product_id: target.product, key: long, value: "v")),
        ("create-product-meta", fields!(product_id: target.product, key: "k", value: "ü".repeat(8 * KIB + 1))),
    ];
    for (route, request) in cases {
        target.api().form(route, request).await.expect_error(400);
    }
    let caller = target.api().with_key(ApiKey::Parameter(long));
    caller.form("activate", fields!(license_key: license, identifier: "b.example")).await.expect_error(400);
    for size in [256, 5_000] {
        let caller = target.api().with_header("idempotency-key", &"k".repeat(size));
        caller.form("activate", fields!(license_key: license, identifier: "b.example")).await.expect_error(400);
    }
    target.expect_untouched().await;

    // Exactly as large as it may be.
    target.api().form("verify", fields!(license_key: longest, identifier: "a.example")).await.expect(210, GLOBAL);
    target.api().activate(license, &longest).await.expect(300, PRODUCT);
    target.api().form("create-license-key-meta", meta(&longest, &"v".repeat(16 * KIB))).await.expect(453, PRODUCT);
    let caller = target.api().with_header("idempotency-key", &"k".repeat(255));
    caller.deactivate(license, &longest).await.expect("400", GLOBAL);
    target.expect_working().await;
}

async fn oversized_bodies_are_refused(backend: Backend) {
    let target = Target::start(backend).await;
    let license = &target.license;
    let filler = |size: usize| format!("license_key={license}&identifier=b.example&whatever={}", "w".repeat(size));
    let form = |route: &str, body: reqwest::Body| target.api().post(route).header("content-type", "application/x-www-form-urlencoded").body(body);
    for size in [MIB, 10 * MIB] {
        for route in ["activate", "verify", "create-product"] {
            target.api().answer(form(route, filler(size).into())).await.expect_error(413);
            target.api().answer(form(route, chunked(filler(size).into_bytes()))).await.expect_error(413);
        }
    }
    let multipart = fields!(license_key: license, identifier: "b.example", whatever: "w".repeat(10 * MIB));
    target.api().multipart("activate", multipart).await.expect_error(413);
    let json = serde_json::json!({"license_key": license, "identifier": "b.example", "whatever": "w".repeat(10 * MIB)});
    target.api().json("activate", json).await.expect_error(413);
    target.api().answer(form("no-such-route", filler(10 * MIB).into())).await.expect_error(404);
    target.expect_untouched().await;

    // Just below the limit it is an ordinary request.
    let small_enough = MIB - filler(0).len();
    target.api().answer(form("activate", filler(small_enough).into())).await.expect(300, PRODUCT);
}

/// A body sent in chunks, without a length said in advance.
fn chunked(bytes: Vec<u8>) -> reqwest::Body {
    let chunks: Vec<Bytes> = bytes.chunks(64 * KIB).map(Bytes::copy_from_slice).collect();
    let frames = futures::stream::iter(chunks.into_iter().map(|chunk| Ok::<_, Infallible>(Frame::data(chunk))));
    reqwest::Body::wrap(StreamBody::new(frames))
}

async fn only_creating_keys_takes_a_large_body(backend: Backend) {
    let target = Target::start(backend).await;
    let keys: Vec<String> = (0..6_000).map(|number| format!("{number:0>250}")).collect();
    let size = keys.iter().map(|key| key.len() + 3).sum::<usize>();
    assert!((MIB..8 * MIB).contains(&size));
    target.api().new_licenses(target.product, &keys, fields!(status: "available")).await;
    let count = target.api().get("get-available-license-keys-count", fields!(product_id: target.product)).await;
    assert_eq!(count.expect(741, GLOBAL).response.at("count").integer(), 6_000);

    let events = target.on.ledger.event_count().await;
    let list = serde_json::to_string(&["k".repeat(8 * MIB)]).expect("JSON");
    let request = fields!(license_keys: list, product_id: target.product, activation_limit: 0, validity: 0, status: "available");
    target.api().form("create-license-keys", request).await.expect_error(413);
    assert_eq!(target.on.ledger.event_count().await, events);
    target.expect_working().await;
}
