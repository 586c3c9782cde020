//! Administration: generators, contracts, and remote deactivation with the messages that it sends.

use serde_json::json;

use crate::support::receiver::Receiver;
use crate::support::{Backend, Client, PRODUCT, Running, ServeOptions, both_backends, eventually, fields};

both_backends!(
    generators_are_made_changed_and_deleted,
    what_a_generator_cannot_be_is_said,
    contracts_are_made_changed_and_deleted,
    an_activation_is_ended_remotely_and_told,
    a_delivery_that_was_given_up_is_tried_again,
);

async fn generators_are_made_changed_and_deleted(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let usual = on.api.admin_post("generators", json!({ "product": product })).await;
    let path = format!("generators/{}", usual.expect(201)["number"]);
    assert_eq!(usual.headers["location"], format!("/admin/v1/{path}"));
    assert_eq!((&usual.expect(201)["method"], &usual.expect(201)["active"]), (&json!("uuid"), &json!(true)));
    assert_eq!((&usual.expect(201)["activation_limit"], &usual.expect(201)["validity_days"]), (&json!(1), &json!(0)));

    let changes = json!({ "method": "chunk-system", "number_of_chunks": 2, "chunk_length": 3, "charset": "AB", "prefix": "K-", "validity_days": 30 });
    let changed = on.api.admin_patch(&path, changes.clone()).await.expect(200).clone();
    for (name, value) in changes.as_object().expect("an object") {
        assert_eq!(&changed[name], value);
    }
    assert_eq!(on.api.admin_get(&path).await.expect(200), &changed);
    let answer = on.api.form("generate", fields!(generator_id: changed["number"], quantity: 3)).await;
    let keys = answer.expect(815, PRODUCT).response.at("licenseKeys").items();
    assert!(keys.len() == 3 && keys.iter().all(|key| key.text().starts_with("K-") && key.text().len() == 9), "{}", answer.response);

    let custom = json!({ "product": product, "method": "custom", "function_name": "pattern", "pattern": "##-@@", "active": false });
    on.api.admin_post("generators", custom).await.expect(201);
    assert_eq!(on.api.admin_list("generators", 1).await.len(), 2);
    let events = on.ledger.event_count().await;
    on.api.admin_patch(&path, json!({ "prefix": "K-" })).await.expect(200);
    assert_eq!(on.ledger.event_count().await, events, "nothing changed");
    on.api.admin_delete(&path).await.expect(204);
    for answer in [on.api.admin_delete(&path).await, on.api.admin_get(&path).await, on.api.admin_patch(&path, json!({})).await] {
        answer.expect_problem(404, "not-found");
    }
    assert_eq!(on.api.admin_list("generators", 500).await.len(), 1);
    on.ledger.expect_intact().await;
}

async fn what_a_generator_cannot_be_is_said(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let events = on.ledger.event_count().await;
    let create = async |new| on.api.admin_post("generators", new).await;
    create(json!({})).await.expect_invalid(&["/product"]);
    create(json!({ "product": 999_999 })).await.expect_invalid(&["/product"]);
    create(json!({ "product": product, "activation_limit": -1, "prefix": "x".repeat(256) })).await.expect_invalid(&["/activation_limit", "/prefix"]);
    create(json!({ "product": product, "method": "chunk-system", "charset": "" })).await.expect_problem(422, "invalid-parameters");
    create(json!({ "product": product, "method": "chunk-system", "number_of_chunks": 65 })).await.expect_problem(422, "invalid-parameters");
    create(json!({ "product": product, "method": "custom", "function_name": "fly" })).await.expect_problem(422, "invalid-parameters");
    create(json!({ "product": product, "method": "magic" })).await.expect_problem(422, "invalid-parameters");
    assert_eq!(on.ledger.event_count().await, events);
}

async fn contracts_are_made_changed_and_deleted(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    on.new_generator(product, &[]).await;
    let terms = |key: &str, quantity: i64| {
        json!({
            "key": key, "name": "A reseller", "information": "-", "product": product, "license_keys_quantity": quantity, "active": true,
            "can_get_info": true, "can_generate": true, "can_destroy": false, "can_destroy_all": false,
        })
    };
    let made = on.api.admin_post("contracts", terms("RESELLER-1", 2)).await;
    let path = format!("contracts/{}", made.expect(201)["number"]);
    assert_eq!(made.headers["location"], format!("/admin/v1/{path}"));
    assert_eq!((&made.expect(201)["terms"], &made.expect(201)["license_keys"]), (&terms("RESELLER-1", 2), &json!(0)));
    on.api.form("contracts/generate", fields!(contract_key: "RESELLER-1", quantity: 2)).await;
    assert_eq!(on.api.admin_get(&path).await.expect(200)["license_keys"], 2);

    assert_eq!(on.api.admin_put(&path, terms("RESELLER-2", 1)).await.expect(200)["terms"], terms("RESELLER-2", 1));
    on.api.admin_post("contracts", terms("RESELLER-2", 1)).await.expect_problem(409, "conflict");
    on.api.admin_post("contracts", terms("OTHER", 1)).await.expect(201);
    on.api.admin_put(&path, terms("OTHER", 1)).await.expect_problem(409, "conflict");
    let wrong = changed(terms(" ", 0), &[("name", json!("")), ("information", json!(" "))]);
    on.api.admin_post("contracts", wrong).await.expect_invalid(&["/key", "/name", "/information", "/license_keys_quantity"]);
    on.api.admin_post("contracts", changed(terms("X", 1), &[("product", json!(999_999))])).await.expect_invalid(&["/product"]);
    assert_eq!(on.api.admin_list("contracts", 1).await.len(), 2);
    on.api.admin_delete(&path).await.expect(204);
    for answer in [on.api.admin_delete(&path).await, on.api.admin_get(&path).await, on.api.admin_put(&path, terms("Y", 1)).await] {
        answer.expect_problem(404, "not-found");
    }
    on.ledger.expect_intact().await;
}

/// The terms with some members changed.
fn changed(mut terms: serde_json::Value, changes: &[(&str, serde_json::Value)]) -> serde_json::Value {
    for (name, value) in changes {
        terms[*name] = value.clone();
    }
    terms
}

fn open() -> ServeOptions {
    ServeOptions::args(&["--allow-outgoing", "127.0.0.0/8"])
}

/// A license that is active for an identifier; gives the path of the activation.
async fn active(api: &Client, product: i64, identifier: &str, post_url: &str) -> String {
    let key = api.new_license(product, fields!()).await;
    api.form("activate", fields!(license_key: key, identifier: identifier, post_url: post_url)).await.expect(300, PRODUCT);
    let found = api.admin_get(&format!("licenses?license_key={key}")).await;
    let license = format!("licenses/{}", found.expect(200)["items"][0]["number"]);
    let activation = api.admin_get(&license).await.expect(200)["activations"]["items"][0]["number"].clone();
    format!("{license}/activations/{activation}")
}

async fn an_activation_is_ended_remotely_and_told(backend: Backend) {
    let on = Running::start_with(backend, open()).await;
    let (client, vendor) = (Receiver::start().await, Receiver::start().await);
    let product = on.api.new_product_with(fields!(post_url: vendor.url("/vendor"))).await;
    let path = active(&on.api, product, "a.example", &client.url("/client")).await;

    let ended = on.api.admin_post(&format!("{path}/deactivate"), json!(null)).await;
    assert_eq!(ended.expect(200)["active"], false);
    assert!(ended.expect(200)["deactivated_at"].is_string());
    for receiver in [&client, &vendor] {
        let received = receiver.wait_for(1).await;
        assert!(received[0].headers.contains_key("webhook-signature"), "{received:?}");
        assert!(received[0].body.contains("a.example"), "{received:?}");
    }
    let delivered = || on.api.admin_list("deliveries?state=delivered", 1);
    let deliveries = eventually("both are delivered", || async { Some(delivered().await).filter(|items| items.len() == 2) }).await;
    let numbers: Vec<_> = deliveries.iter().filter_map(|item| item["number"].as_i64()).collect();
    assert!(numbers.is_sorted_by(|one, next| one > next), "newest first: {numbers:?}");
    let shown = on.api.admin_get(&format!("deliveries/{}", numbers[0])).await;
    assert_eq!(shown.expect(200), &deliveries[0]);
    assert_eq!((&deliveries[0]["attempts"], &deliveries[0]["last_status"], &deliveries[0]["due_at"]), (&json!(1), &json!(200), &json!(null)));
    assert!(!format!("{deliveries:?}").contains("127.0.0.1"), "where it went is the receiver's own business");

    // Ended already: nothing happens, and nobody is told.
    let events = on.ledger.event_count().await;
    on.api.admin_post(&format!("{path}/deactivate"), json!(null)).await.expect_problem(409, "conflict");
    assert_eq!(on.ledger.event_count().await, events);
    for path in ["licenses/999999/activations/1", "licenses/1/activations/999999"] {
        on.api.admin_post(&format!("{path}/deactivate"), json!(null)).await.expect_problem(404, "not-found");
    }
    on.ledger.expect_intact().await;
}

async fn a_delivery_that_was_given_up_is_tried_again(backend: Backend) {
    let on = Running::start_with(backend, open()).await;
    let vendor = Receiver::start().await;
    let product = on.api.new_product_with(fields!(post_url: vendor.url("/vendor"))).await;
    let path = active(&on.api, product, "a.example", "").await;
    // Attempts fail, and when the next is due there is nowhere to send it: that is final.
    vendor.answer_with(&[503; 4]);
    on.api.admin_post(&format!("{path}/deactivate"), json!(null)).await.expect(200);
    let pending = eventually("an attempt has failed", || async {
        on.api.admin_list("deliveries?state=pending", 10).await.pop().filter(|delivery| delivery["last_status"] == 503)
    })
    .await;
    assert!(pending["due_at"].is_string() && pending["last_error"] == "status", "{pending}");
    let shown = format!("deliveries/{}", pending["number"]);
    on.api.admin_post(&format!("{shown}/retry"), json!(null)).await.expect_problem(409, "conflict");
    let of_product = format!("products/{product}");
    on.api.admin_patch(&of_product, json!({ "post_url": "" })).await.expect(200);
    let given_up = eventually("it is given up", || async { on.api.admin_list("deliveries?state=given_up", 10).await.pop() }).await;
    assert_eq!((&given_up["number"], &given_up["last_error"], &given_up["due_at"]), (&pending["number"], &json!("no_url"), &json!(null)));

    vendor.answer_with(&[]);
    on.api.admin_patch(&of_product, json!({ "post_url": vendor.url("/vendor") })).await.expect(200);
    assert_eq!(on.api.admin_post(&format!("{shown}/retry"), json!(null)).await.expect(200)["number"], pending["number"]);
    vendor.wait_for(2).await;
    eventually("it is delivered", || async { (on.api.admin_get(&shown).await.body["state"] == "delivered").then_some(()) }).await;
    on.api.admin_post("deliveries/999999/retry", json!(null)).await.expect_problem(404, "not-found");
    on.api.admin_get("deliveries/999999").await.expect_problem(404, "not-found");
    on.api.admin_get("deliveries?state=lost").await.expect_problem(422, "invalid-parameters");
    on.ledger.expect_intact().await;
}
