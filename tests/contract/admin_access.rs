//! Administration: API keys and the block list.

use serde_json::json;

use crate::support::{ApiKey, Backend, GLOBAL, PRODUCT, Running, both_backends, eventually, fields};

both_backends!(
    api_keys_are_made_listed_and_disabled,
    a_key_gives_no_more_than_it_has,
    what_an_api_key_cannot_be_is_said_parameter_by_parameter,
    the_block_list_is_changed,
);

async fn api_keys_are_made_listed_and_disabled(backend: Backend) {
    let on = Running::start(backend).await;
    let new = json!({
        "name": " the shop ", "capabilities": ["verify", "activate", "verify"], "allow_ips": ["127.0.0.1", "10.1.2.3/8"], "expires_at": "2099-01-01",
    });
    let made = on.api.admin_post("api-keys", new).await;
    let body = made.expect(201).clone();
    let value = body["value"].as_str().expect("the key's value").to_owned();
    let path = format!("api-keys/{}", body["number"]);
    assert_eq!(made.headers["location"], format!("/admin/v1/{path}"));
    assert_eq!((&body["name"], &body["capabilities"]), (&json!("the shop"), &json!(["verify", "activate"])));
    assert_eq!((&body["allow_ips"], &body["state"]), (&json!(["127.0.0.1/32", "10.0.0.0/8"]), &json!("active")));
    assert!(body["expires_at"].as_str().is_some_and(|text| text.starts_with("2099-01-01T00:00:00")), "{body}");

    let caller = on.api.with_key(ApiKey::Header(value.clone()));
    eventually("the key works", || async { (caller.form("verify", fields!()).await.code() == 210).then_some(()) }).await;
    caller.form("deactivate", fields!()).await.expect(102, GLOBAL);
    let listed = on.api.admin_list("api-keys", 1).await;
    let shown = listed.iter().find(|key| key["number"] == body["number"]).expect("it is listed");
    assert_eq!(on.api.admin_get(&path).await.expect(200), shown);
    assert!(shown.get("value").is_none() && !format!("{listed:?}").contains(&value), "its value is never shown again");
    assert!(listed.iter().any(|key| key["bootstrap"] == true));

    assert_eq!(on.api.admin_post(&format!("{path}/disable"), json!(null)).await.expect(200)["state"], "disabled");
    eventually("the key is disabled", || async { (caller.form("verify", fields!()).await.code() == 101).then_some(()) }).await;
    on.api.admin_post(&format!("{path}/disable"), json!(null)).await.expect_problem(409, "conflict");
    on.api.admin_post("api-keys/999999/disable", json!(null)).await.expect_problem(404, "not-found");
    on.api.admin_get("api-keys/999999").await.expect_problem(404, "not-found");

    let expired = json!({ "name": "old", "capabilities": ["*"], "expires_at": "2001-01-01T00:00:00Z" });
    assert_eq!(on.api.admin_post("api-keys", expired).await.expect(201)["state"], "expired");
    on.ledger.expect_intact().await;
}

async fn a_key_gives_no_more_than_it_has(backend: Backend) {
    let on = Running::start(backend).await;
    let caller = on.caller(&["--capability", "admin:api-keys", "--capability", "verify"]).await;
    let new = |capabilities: &[&str]| json!({ "name": "A", "capabilities": capabilities });
    for more in [&["*"][..], &["activate"], &["verify", "admin:products"]] {
        caller.admin_post("api-keys", new(more)).await.expect_problem(403, "not-permitted");
    }
    caller.admin_post("api-keys", new(&["verify", "admin:api-keys"])).await.expect(201);
    // What may write may read.
    caller.admin_post("api-keys", new(&["admin:api-keys:read"])).await.expect(201);
}

async fn what_an_api_key_cannot_be_is_said_parameter_by_parameter(backend: Backend) {
    let on = Running::start(backend).await;
    let events = on.ledger.event_count().await;
    let create = async |new| on.api.admin_post("api-keys", new).await;
    create(json!({ "name": " ", "capabilities": [], "expires_at": "tomorrow" })).await.expect_invalid(&["/name", "/capabilities", "/expires_at"]);
    create(json!({ "name": "A", "capabilities": ["verify", "fly", ""] })).await.expect_invalid(&["/capabilities/1", "/capabilities/2"]);
    create(json!({ "name": "A\u{7}", "capabilities": ["*"], "allow_ips": ["::1", "here"] })).await.expect_invalid(&["/name", "/allow_ips/1"]);
    create(json!({ "name": "A", "capabilities": ["*"], "allow_ips": vec!["::1"; 101] })).await.expect_invalid(&["/allow_ips"]);
    create(json!({ "name": "n".repeat(256), "capabilities": ["*"] })).await.expect_invalid(&["/name"]);
    assert_eq!(on.ledger.event_count().await, events);
}

async fn the_block_list_is_changed(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    let add = async |kind: &str, value: &str| on.api.admin_post("block-list", json!({ "kind": kind, "value": value })).await;

    let added = add("identifier", " a.example ").await;
    let entry = added.expect(201).clone();
    assert_eq!((&entry["kind"], &entry["value"]), (&json!("identifier"), &json!("a.example")));
    eventually("the identifier is blocked", || async { (on.api.verify(&license, "a.example").await.code() == 150).then_some(()) }).await;
    assert_eq!(add("ip", "10.1.2.3/8").await.expect(201)["value"], "10.0.0.0/8");
    add("ip", "10.9.9.9/8").await.expect_problem(409, "conflict");
    add("ip", "here").await.expect_invalid(&["/value"]);
    add("identifier", "").await.expect_invalid(&["/value"]);
    add("colour", "red").await.expect_problem(422, "invalid-parameters");

    let path = format!("block-list/{}", entry["number"]);
    assert_eq!(on.api.admin_get(&path).await.expect(200), &entry);
    assert_eq!(on.api.admin_list("block-list", 1).await.len(), 2);
    on.api.admin_delete(&path).await.expect(204);
    for answer in [on.api.admin_delete(&path).await, on.api.admin_get(&path).await] {
        answer.expect_problem(404, "not-found");
    }
    eventually("the identifier is free", || async { (on.api.verify(&license, "a.example").await.code() == 200).then_some(()) }).await;
    // The same value again is another entry.
    assert_ne!(add("identifier", "a.example").await.expect(201)["number"], entry["number"]);
    on.ledger.expect_intact().await;
}
