//! `Idempotency-Key`: the same request again gives the first answer again and no second effect.

use futures::future::join_all;

use crate::support::world::{fresh_key, new_license_fields};
use crate::support::{Answer, Backend, Client, Fields, GLOBAL, PRODUCT, Running, ServeOptions, both_backends, fields};

both_backends!(
    a_repeated_request_gets_the_first_answer_and_no_second_effect,
    a_refusal_is_repeated_too,
    the_same_key_with_other_parameters_is_a_conflict,
    the_key_is_scoped_to_the_api_key_and_the_path,
    concurrent_requests_with_one_key_have_one_effect,
    the_record_survives_a_restart,
    every_mutation_honours_the_key_and_no_query_does,
);

fn keyed(api: &Client, key: &str) -> Client {
    api.with_header("idempotency-key", key)
}

/// Promises that two answers carry the same `response` but for the time.
#[track_caller]
fn expect_same(first: &Answer, again: &Answer) {
    assert_eq!(first.response.without("timestamp"), again.response.without("timestamp"));
    assert_eq!((first.status, &first.private_key_used), (again.status, &again.private_key_used));
}

async fn a_repeated_request_gets_the_first_answer_and_no_second_effect(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let keys = [fresh_key(), fresh_key()];
    let request = new_license_fields(product, &keys, fields!());
    let caller = keyed(&on.api, "order-4711");

    let first = caller.form("create-license-keys", request.clone()).await;
    assert_eq!(first.expect(900, PRODUCT).response.at("created").integer(), 2);
    let events = on.ledger.event_count().await;
    expect_same(&first, &caller.form("create-license-keys", request.clone()).await);
    expect_same(&first, &caller.multipart("create-license-keys", request.clone()).await);
    // The record outlives what it made.
    on.api.form("delete-license-key", fields!(license_key: keys[0])).await.expect(850, PRODUCT);
    expect_same(&first, &caller.form("create-license-keys", request.clone()).await);
    assert_eq!(on.ledger.event_count().await, events + 1, "only the deletion was new");
    on.api.form("create-license-keys", request).await.expect(900, PRODUCT);

    let license = on.api.new_license(product, fields!()).await;
    let activate = fields!(license_key: license, identifier: "a.example");
    let first = keyed(&on.api, "activation").form("activate", activate.clone()).await;
    first.expect(300, PRODUCT);
    expect_same(&first, &keyed(&on.api, "activation").form("activate", activate.clone()).await);
    on.api.form("activate", activate).await.expect(301, PRODUCT);
    on.ledger.expect_intact().await;
}

async fn a_refusal_is_repeated_too(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!(activation_limit: 1)).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    let request = fields!(license_key: license, identifier: "b.example");
    let caller = keyed(&on.api, "at-the-limit");
    caller.form("activate", request.clone()).await.expect(302, PRODUCT);
    on.api.deactivate(&license, "a.example").await.expect("400", GLOBAL);
    caller.form("activate", request.clone()).await.expect(302, PRODUCT);
    on.api.verify(&license, "b.example").await.expect(202, PRODUCT);
    on.api.form("activate", request).await.expect(300, PRODUCT);

    let key = fresh_key();
    let caller = keyed(&on.api, "too-early");
    caller.form("assign-license-key", fields!(license_key: key)).await.expect(801, GLOBAL);
    on.api.new_licenses(product, std::slice::from_ref(&key), fields!(status: "available")).await;
    caller.form("assign-license-key", fields!(license_key: key)).await.expect(801, GLOBAL);
    on.api.form("assign-license-key", fields!(license_key: key)).await.expect(800, GLOBAL);
}

async fn the_same_key_with_other_parameters_is_a_conflict(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!(activation_limit: 0)).await;
    let caller = keyed(&on.api, "one-order");
    let activate = |identifier: &str| fields!(license_key: license, identifier: identifier);
    caller.form("activate", activate("a.example")).await.expect(300, PRODUCT);
    let events = on.ledger.event_count().await;
    caller.form("activate", activate("b.example")).await.expect_error(409);
    caller.form("activate", fields!(license_key: license)).await.expect_error(409);
    assert_eq!(on.ledger.event_count().await, events);
    on.api.verify(&license, "b.example").await.expect(202, PRODUCT);
    caller.form("activate", activate("a.example")).await.expect(300, PRODUCT);

    // The order of parameters, the kind of body and unknown parameters are not the request.
    let swapped = fields!(identifier: "a.example", campaign: "spring", license_key: license);
    caller.form("activate", swapped).await.expect(300, PRODUCT);
    let json = serde_json::json!({"identifier": "a.example", "license_key": license});
    caller.json("activate", json).await.expect(300, PRODUCT);
}

async fn the_key_is_scoped_to_the_api_key_and_the_path(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    let other_caller = on.caller(&["--capability", "*"]).await;
    let request = fields!(license_key: license, identifier: "a.example");

    keyed(&on.api, "k").form("activate", request.clone()).await.expect(300, PRODUCT);
    keyed(&other_caller, "k").form("activate", request.clone()).await.expect(301, PRODUCT);
    keyed(&on.api, "k").form("deactivate", request.clone()).await.expect("400", GLOBAL);
    keyed(&on.api, "k").form("activate", request.clone()).await.expect(300, PRODUCT);
    on.api.form("verify", request.clone()).await.expect(202, PRODUCT);
    keyed(&other_caller, "k").form("activate", request).await.expect(301, PRODUCT);
}

async fn concurrent_requests_with_one_key_have_one_effect(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    for round in 0..10 {
        let caller = keyed(&on.api, &format!("round-{round}"));
        let create = || caller.form("create-product", fields!(name: "Once", description: format!("round {round}"), own_key_pair: 0));
        let answers = join_all((0..16).map(|_| create())).await;
        for answer in &answers {
            expect_same(answers[0].expect(750, GLOBAL), answer);
        }

        let license = on.api.new_license(product, fields!(activation_limit: 1)).await;
        let request = fields!(license_key: license, identifier: "a.example");
        let answers = join_all((0..16).map(|_| caller.form("activate", request.clone()))).await;
        for answer in &answers {
            answer.expect(300, PRODUCT);
        }
    }
    let products = on.api.get("get-all-products", fields!()).await;
    assert_eq!(products.expect(810, GLOBAL).response.at("products").items().len(), 11, "one product a round");
    on.ledger.expect_intact().await;
}

async fn the_record_survives_a_restart(backend: Backend) {
    let on = Running::start(backend).await;
    let request: Fields = fields!(name: "Once", description: "Before the restart");
    let first = keyed(&on.api, "restart").form("create-product", request.clone()).await;
    first.expect(750, GLOBAL);
    let Running { api, server, ledger } = on;
    drop(api);
    server.kill_9();
    let server = ledger.serve_with(ServeOptions::default()).await;
    expect_same(&first, &keyed(&server.client(), "restart").form("create-product", request).await);
}

async fn every_mutation_honours_the_key_and_no_query_does(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let mutations = [
        "activate",
        "assign-license-key",
        "assign-and-activate-license-key",
        "deactivate",
        "create-license-keys",
        "update-license-key",
        "delete-license-key",
        "create-product",
        "update-product",
        "delete-product",
        "create-license-key-meta",
        "update-license-key-meta",
        "delete-license-key-meta",
        "create-product-meta",
        "update-product-meta",
        "delete-product-meta",
    ];
    for route in mutations {
        let caller = keyed(&on.api, "a-key");
        // Refused for what is missing, which is an outcome like any other; another request under that key is a conflict.
        let first = caller.form(route, fields!(product_id: product)).await;
        assert_eq!(first.status, 200, "{route}: {}", first.response);
        if route == "delete-product" {
            first.expect(550, GLOBAL);
        }
        expect_same(&first, &caller.form(route, fields!(product_id: product)).await);
        let other = fields!(product_id: 999_999_999, license_key: "no such key", name: "A", identifier: "a.example", key: "colour");
        caller.form(route, other).await.expect_error(409);
    }
    for route in ["verify", "get-license-key-details"] {
        let caller = keyed(&on.api, "a-key");
        caller.form(route, fields!(license_key: "one")).await;
        assert_eq!(caller.form(route, fields!(license_key: "two")).await.status, 200, "{route} changes nothing");
    }
}
