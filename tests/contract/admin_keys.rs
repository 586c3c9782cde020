//! Administration: key pairs, slugs, switches, settings, and what an operator does with a license.

use rsa::RsaPrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};
use serde_json::{Value, json};

use crate::support::keyring::PublicKey;
use crate::support::{Backend, GLOBAL, PRODUCT, Running, both_backends, fields};

both_backends!(
    key_pairs_are_rotated_and_retired,
    a_private_key_is_taken_over,
    a_slug_and_switches_are_set,
    the_settings_are_changed,
    a_license_is_blocked_and_unblocked,
    a_license_gets_another_key,
);

/// The answer of interface A about a product, and whether this key pair signed it.
async fn is_signed_by(on: &Running, product: i64, pair: &Value) -> bool {
    let request = on.api.post("delete-product-meta").form(&[("product_id", product.to_string()), ("key", "none".to_owned())]);
    let answer: Value = serde_json::from_str(&request.send().await.expect("the server answers").text().await.expect("a body")).expect("JSON");
    assert_eq!(answer["private_key_used"], "product");
    let text = |name: &str| answer[name].as_str().expect("text").to_owned();
    PublicKey::from_pem(pair["public_key"].as_str().expect("a PEM")).verifies(&text("response_base64"), &text("signature"))
}

async fn key_pairs_are_rotated_and_retired(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let path = format!("products/{product}/key-pairs");
    let pairs = async || on.api.admin_get(&path).await.expect(200)["items"].as_array().expect("a list").clone();
    let first = pairs().await[0].clone();
    assert_eq!((&first["current"], &first["retired"], &first["algorithm"]), (&json!(true), &json!(false), &json!("RSA-2048")));
    assert!(is_signed_by(&on, product, &first).await);
    assert!(!format!("{first}").contains("PRIVATE"), "the private half is never shown");

    let second = on.api.admin_post(&path, json!({})).await.expect(201).clone();
    assert_eq!(second["current"], true);
    assert!(is_signed_by(&on, product, &second).await);
    let third = on.api.admin_post(&path, json!({ "make_current": false })).await.expect(201).clone();
    assert!(is_signed_by(&on, product, &second).await, "the third waits");
    let states: Vec<_> = pairs().await.iter().map(|pair| (pair["number"].clone(), pair["current"] == true)).collect();
    assert_eq!(states, [(first["number"].clone(), false), (second["number"].clone(), true), (third["number"].clone(), false)]);

    let act = async |pair: &Value, what: &str| on.api.admin_post(&format!("{path}/{}/{what}", pair["number"]), json!(null)).await;
    assert_eq!(act(&first, "use").await.expect(200)["current"], true);
    assert!(is_signed_by(&on, product, &first).await);
    act(&first, "retire").await.expect_problem(409, "conflict");
    assert_eq!(act(&second, "retire").await.expect(200)["retired"], true);
    act(&second, "retire").await.expect_problem(409, "conflict");
    act(&second, "use").await.expect_problem(409, "conflict");

    // A pair of another product is none of this one's.
    let other = on.api.new_product().await;
    let of_other = format!("products/{other}/key-pairs/{}", third["number"]);
    for what in ["use", "retire"] {
        on.api.admin_post(&format!("{of_other}/{what}"), json!(null)).await.expect_problem(404, "not-found");
    }
    on.api.admin_get("products/999999/key-pairs").await.expect_problem(404, "not-found");
    on.api.admin_post("products/999999/key-pairs", json!({})).await.expect_problem(404, "not-found");
    on.ledger.expect_intact().await;
}

async fn a_private_key_is_taken_over(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product_with(fields!(own_key_pair: 0)).await;
    let path = format!("products/{product}/key-pairs");
    let key = |bits| tokio::task::spawn_blocking(move || RsaPrivateKey::new(&mut rsa::rand_core::OsRng, bits).expect("a key"));
    let own = key(2048).await.expect("a key");
    let import = async |pem: &str| on.api.admin_post(&format!("{path}/import"), json!({ "private_key": pem, "make_current": true })).await;
    let pem = own.to_pkcs1_pem(LineEnding::LF).expect("PEM");
    let pair = import(&pem).await.expect(201).clone();
    assert_eq!(pair["current"], true);
    assert!(is_signed_by(&on, product, &pair).await);
    let small = key(1024).await.expect("a key").to_pkcs8_pem(LineEnding::LF).expect("PEM");
    for wrong in ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &small, pair["public_key"].as_str().expect("a PEM")]
    {
        import(wrong).await.expect_invalid(&["/private_key"]);
    }
    assert!(!on.server.log_text().contains("PRIVATE KEY"), "keys are never logged");
    on.ledger.expect_intact().await;
}

async fn a_slug_and_switches_are_set(backend: Backend) {
    let on = Running::start(backend).await;
    let first = on.api.admin_post("products", json!({ "name": "Doors 98", "description": "-", "own_key_pair": false })).await.expect(201).clone();
    let second = on.api.admin_post("products", json!({ "name": "Doors 98", "description": "-", "own_key_pair": false })).await.expect(201).clone();
    assert_eq!((&first["slug"], &first["changelog"], &first["api_download"]), (&json!("doors-98"), &json!(true), &json!(true)));
    assert_ne!(second["slug"], first["slug"]);
    let path = |product: &Value| format!("products/{}", product["number"]);
    let changed = on.api.admin_patch(&path(&first), json!({ "slug": "doors", "api_download": false, "name": "Doors" })).await.expect(200).clone();
    assert_eq!((&changed["slug"], &changed["changelog"], &changed["api_download"]), (&json!("doors"), &json!(true), &json!(false)));
    assert_eq!(changed["name"], "Doors");
    // Taken, or none: then nothing of the request is done.
    on.api.admin_patch(&path(&second), json!({ "slug": "doors", "name": "Changed" })).await.expect_problem(409, "conflict");
    on.api.admin_patch(&path(&second), json!({ "slug": "Doors 7", "name": "Changed" })).await.expect_invalid(&["/slug"]);
    assert_eq!(on.api.admin_get(&path(&second)).await.expect(200)["name"], "Doors 98");
    on.ledger.expect_intact().await;
}

async fn the_settings_are_changed(backend: Backend) {
    let on = Running::start(backend).await;
    assert_eq!(on.api.admin_get("settings").await.expect(200), &json!({ "changelog": true }));
    for (change, after) in [(json!({ "changelog": false }), false), (json!({}), false), (json!({ "changelog": true }), true)] {
        assert_eq!(on.api.admin_patch("settings", change).await.expect(200), &json!({ "changelog": after }));
        assert_eq!(on.api.admin_get("settings").await.expect(200), &json!({ "changelog": after }));
    }
    on.api.admin_patch("settings", json!({ "colour": "red" })).await.expect_problem(422, "invalid-parameters");
    on.ledger.expect_intact().await;
}

async fn license_path(on: &Running, key: &str) -> String {
    let found = on.api.admin_get(&format!("licenses?license_key={key}")).await;
    format!("licenses/{}", found.expect(200)["items"][0]["number"])
}

async fn a_license_is_blocked_and_unblocked(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let key = on.api.new_license(product, fields!(owner_email: "ada@a.example", assigned_at: "2024-02-28")).await;
    on.api.activate(&key, "a.example").await.expect(300, PRODUCT);
    let path = license_path(&on, &key).await;
    let act = async |what: &str, body: Value| on.api.admin_post(&format!("{path}/{what}"), body).await;

    act("unblock", json!(null)).await.expect_problem(409, "conflict");
    assert_eq!(act("block", json!(null)).await.expect(200)["status"], "blocked");
    on.api.verify(&key, "a.example").await.expect(204, PRODUCT);
    act("block", json!(null)).await.expect_problem(409, "conflict");
    let shown = act("unblock", json!(null)).await.expect(200).clone();
    assert_eq!((&shown["status"], &shown["active_count"], &shown["owner_email"]), (&json!("assigned"), &json!(1), &json!("ada@a.example")));
    assert!(shown["assigned_at"].as_str().is_some_and(|at| at.starts_with("2024-02-28")), "no new start: {shown}");
    on.api.verify(&key, "a.example").await.expect(200, PRODUCT);
    // To be given away again.
    act("block", json!(null)).await.expect(200);
    let shown = act("unblock", json!({ "status": "available" })).await.expect(200).clone();
    assert_eq!((&shown["status"], &shown["active_count"], &shown["owner_email"]), (&json!("available"), &json!(0), &json!(null)));
    // One that nobody ever had is available again.
    act("block", json!(null)).await.expect(200);
    act("unblock", json!({ "status": "blocked" })).await.expect_problem(422, "invalid-parameters");
    on.api.admin_post("licenses/999999/block", json!(null)).await.expect_problem(404, "not-found");
    let unused = on.api.new_license(product, fields!(status: "available")).await;
    let unused = license_path(&on, &unused).await;
    on.api.admin_post(&format!("{unused}/block"), json!(null)).await.expect(200);
    assert_eq!(on.api.admin_post(&format!("{unused}/unblock"), json!(null)).await.expect(200)["status"], "available");
    on.ledger.expect_intact().await;
}

async fn a_license_gets_another_key(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let key = on.api.new_license(product, fields!()).await;
    let taken = on.api.new_license(product, fields!()).await;
    on.api.activate(&key, "a.example").await.expect(300, PRODUCT);
    let path = license_path(&on, &key).await;
    let replace = async |new: &str| on.api.admin_put(&format!("{path}/license-key"), json!({ "license_key": new })).await;

    let shown = replace(" ANOTHER-KEY ").await.expect(200).clone();
    assert_eq!(shown["license_key"], "ANOTHER-KEY");
    assert!(shown["key_replaced_at"].is_string(), "{shown}");
    on.api.verify("ANOTHER-KEY", "a.example").await.expect(200, PRODUCT);
    on.api.verify(&key, "a.example").await.expect(210, GLOBAL);
    replace(&taken).await.expect_problem(409, "conflict");
    replace(" ").await.expect_invalid(&["/license_key"]);
    // The old key is free for another license.
    on.api.new_licenses(product, std::slice::from_ref(&key), fields!()).await;
    replace(&key).await.expect_problem(409, "conflict");
    on.api.admin_put("licenses/999999/license-key", json!({ "license_key": "X" })).await.expect_problem(404, "not-found");
    on.ledger.expect_intact().await;
}
