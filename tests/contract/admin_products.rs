//! Administration: products and licenses.

use serde_json::json;

use crate::support::{Backend, GLOBAL, PRODUCT, Running, both_backends, fields};

both_backends!(
    products_are_made_changed_and_deleted,
    what_a_product_cannot_be_is_said,
    licenses_are_searched,
    a_license_is_shown_with_its_activations
);

async fn products_are_made_changed_and_deleted(backend: Backend) {
    let on = Running::start(backend).await;
    let least = on.api.admin_post("products", json!({ "name": "Least", "description": "No more than it takes" })).await;
    let product = least.expect(201).clone();
    let path = format!("products/{}", product["number"]);
    assert_eq!(least.headers["location"], format!("/admin/v1/{path}"));
    assert_eq!((&product["source"], &product["status"], &product["require_non_expired"]), (&json!("internal"), &json!("active"), &json!(false)));
    assert!(product["key_pair"].is_i64(), "a key pair of its own: {product}");

    let number = product["number"].as_i64().expect("a number");
    on.api.ring().note_product(number);
    on.api.new_license(number, fields!(status: "available")).await;
    on.api.form("create-product-meta", fields!(product_id: number, key: "colour", value: "blue")).await.expect(273, PRODUCT);
    let shown = on.api.admin_get(&path).await;
    assert_eq!(shown.expect(200)["licenses"], json!({ "available": 1, "assigned": 0, "reserved": 0, "blocked": 0 }));
    assert_eq!(shown.expect(200)["meta"], json!([{ "key": "colour", "value": "blue" }]));

    let changes =
        json!({ "name": "Größe/Ω", "status": "inactive", "source": "envato", "post_url": "https://a.example/x", "require_non_expired": true });
    let changed = on.api.admin_patch(&path, changes.clone()).await.expect(200).clone();
    for (name, value) in changes.as_object().expect("an object") {
        assert_eq!(&changed[name], value);
    }
    assert_eq!(changed["description"], "No more than it takes");
    let events = on.ledger.event_count().await;
    assert_eq!(on.api.admin_patch(&path, json!({})).await.expect(200)["name"], changed["name"]);
    assert_eq!(on.ledger.event_count().await, events, "nothing changed");
    assert_eq!(on.api.admin_patch(&path, json!({ "post_url": "" })).await.expect(200)["post_url"], "");

    on.api.admin_delete(&path).await.expect_problem(409, "conflict");
    let unused = on.api.admin_post("products", json!({ "name": "A", "description": "B", "own_key_pair": false })).await;
    assert!(unused.expect(201)["key_pair"].is_null());
    let path = format!("products/{}", unused.expect(201)["number"]);
    on.api.admin_delete(&path).await.expect(204);
    for answer in [on.api.admin_delete(&path).await, on.api.admin_get(&path).await, on.api.admin_patch(&path, json!({})).await] {
        answer.expect_problem(404, "not-found");
    }
    on.ledger.expect_intact().await;
}

async fn what_a_product_cannot_be_is_said(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let events = on.ledger.event_count().await;
    let wrong = json!({ "name": " ", "description": "", "external_reference": "\u{1}", "post_url": "ftp://a.example" });
    let pointers = ["/name", "/description", "/external_reference", "/post_url"];
    on.api.admin_post("products", wrong.clone()).await.expect_invalid(&pointers);
    on.api.admin_patch(&format!("products/{product}"), wrong).await.expect_invalid(&pointers);
    on.api.admin_post("products", json!({ "name": "A", "description": "x".repeat(16_385) })).await.expect_invalid(&["/description"]);
    on.api.admin_patch(&format!("products/{product}"), json!({ "status": "sold" })).await.expect_problem(422, "invalid-parameters");
    assert_eq!(on.ledger.event_count().await, events);
}

async fn licenses_are_searched(backend: Backend) {
    let on = Running::start(backend).await;
    let (one, two) = (on.api.new_product().await, on.api.new_product().await);
    let ada = fields!(owner_name: "Ada Lovelace", owner_email: "ada@a.example");
    let adas = on.api.new_license(one, ada.clone()).await;
    let adas_of_two = on.api.new_license(two, ada).await;
    let available = on.api.new_license(one, fields!(status: "available")).await;
    let deleted = on.api.new_license(one, fields!()).await;
    on.api.form("delete-license-key", fields!(license_key: deleted)).await.expect(850, PRODUCT);
    let found = async |query: &str| -> Vec<String> {
        let items = on.api.admin_list(&format!("licenses?{query}"), 1).await;
        items.iter().map(|item| item["license_key"].as_str().expect("a key").to_owned()).collect()
    };
    assert_eq!(found("").await, [&*adas, &adas_of_two, &available]);
    assert_eq!(found(&format!("product={one}")).await, [&*adas, &available]);
    assert_eq!(found("status=available").await, [&*available]);
    assert_eq!(found("owner_email=ada%40a.example").await, [&*adas, &adas_of_two]);
    assert_eq!(found(&format!("owner_name=Ada+Lovelace&product={two}&status=assigned")).await, [&*adas_of_two]);
    assert_eq!(found(&format!("license_key={available}")).await, [&*available]);
    assert!(found(&format!("license_key={deleted}")).await.is_empty());
    on.api.admin_get("licenses?status=sold").await.expect_problem(422, "invalid-parameters");
    on.api.admin_get("licenses?owner_name=").await.expect_invalid(&["owner_name"]);
}

async fn a_license_is_shown_with_its_activations(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let key = on.api.new_license(product, fields!(activation_limit: 0, validity: 1, assigned_at: "2024-02-28")).await;
    let number = on.api.admin_get(&format!("licenses?license_key={key}")).await.expect(200)["items"][0]["number"].clone();
    let path = format!("licenses/{number}");
    let shown = on.api.admin_get(&path).await;
    assert_eq!(shown.expect(200)["license_key"], key);
    assert!(shown.expect(200)["expires_at"].as_str().is_some_and(|at| at.starts_with("2024-02-29T00:00:00")), "{shown:?}");
    on.api.update_license(&key, fields!(validity: 0)).await.expect(950, PRODUCT);
    for identifier in ["a.example", "b.example", "c.example"] {
        let answer = on.api.form("activate", fields!(license_key: key, identifier: identifier, post_url: "https://a.example/hook")).await;
        answer.expect(300, PRODUCT);
    }
    on.api.deactivate(&key, "b.example").await.expect("400", GLOBAL);
    on.api
        .form("create-license-key-meta", fields!(license_key: key, identifier: "a.example", key: "colour", value: "blue"))
        .await
        .expect(453, PRODUCT);

    let shown = on.api.admin_get(&path).await.expect(200).clone();
    assert_eq!((&shown["active_count"], &shown["expires_at"]), (&json!(2), &json!(null)));
    assert_eq!(shown["meta"], json!([{ "key": "colour", "value": "blue" }]));
    let listed = on.api.admin_list(&format!("{path}/activations"), 2).await;
    assert_eq!(&json!(listed), &shown["activations"]["items"]);
    let states: Vec<_> = listed.iter().map(|item| (item["identifier"].as_str().unwrap_or_default(), item["active"] == true)).collect();
    assert_eq!(states, [("a.example", true), ("b.example", false), ("c.example", true)]);
    assert_eq!(listed[0]["post_url"], "https://a.example/hook");
    assert!(listed[0]["deactivated_at"].is_null() && listed[1]["deactivated_at"].is_string());
    // Made available again, none of them counts.
    on.api.update_license(&key, fields!(status: "available")).await.expect(950, PRODUCT);
    assert!(on.api.admin_list(&format!("{path}/activations"), 500).await.iter().all(|item| item["active"] == false));
    on.api.admin_get("licenses/999999").await.expect_problem(404, "not-found");
    on.api.admin_get("licenses/999999/activations").await.expect_problem(404, "not-found");
}
