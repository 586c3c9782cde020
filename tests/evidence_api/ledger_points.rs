//! A license as it was at a point in time, and what verify would have answered then.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Backend, GLOBAL, PRODUCT, Running, both_backends, fields};

both_backends!(
    a_license_is_shown_as_it_was,
    a_key_means_the_license_that_had_it,
    a_point_that_never_was_is_refused,
    an_answer_of_then_names_the_event_that_decided,
    the_block_list_of_then_counts,
    an_expiry_is_decided_by_what_set_it,
    activations_come_in_pages,
);

/// The position of the last event.
async fn now(on: &Running) -> i64 {
    on.api.ledger_get("head").await.expect(200)["size"].as_i64().expect("a size") - 1
}

async fn state(on: &Running, license: &str, query: &str) -> Value {
    on.api.ledger_get(&format!("licenses/{license}/state?{query}")).await.expect(200).clone()
}

async fn verdict(on: &Running, license: &str, query: &str) -> Value {
    on.api.ledger_get(&format!("licenses/{license}/verify?{query}")).await.expect(200).clone()
}

async fn license_number(on: &Running, key: &str) -> i64 {
    let found = on.api.admin_get(&format!("licenses?license_key={key}")).await;
    found.expect(200)["items"][0]["number"].as_i64().expect("a number")
}

async fn a_license_is_shown_as_it_was(backend: Backend) {
    let on = Running::start(backend).await;
    let (product, other) = (on.api.new_product().await, on.api.new_product().await);
    let before = now(&on).await;
    let key = on.api.new_license(product, fields!(owner_name: "Ada", owner_email: "ada@a.example", activation_limit: 2)).await;
    let made = now(&on).await;
    on.api.activate(&key, "a.example").await.expect(300, PRODUCT);
    let meta = fields!(license_key: key, identifier: "a.example", key: "COLOR", value: "red");
    on.api.form("create-license-key-meta", meta).await.expect(453, PRODUCT);
    let used = now(&on).await;
    let changes = fields!(product_id: other, owner_email: "bob@b.example", activation_limit: 7, validity: 30, status: "blocked");
    on.api.update_license(&key, changes).await.expect(950, PRODUCT);
    on.api.update_license(&key, fields!(status: "available")).await.expect(950, PRODUCT);
    on.api.form("delete-license-key", fields!(license_key: key)).await.expect(850, PRODUCT);

    on.api.ledger_get(&format!("licenses/{key}/state?as_of={before}")).await.expect_problem(404, "not-found");
    let at_first = state(&on, &key, &format!("as_of={made}")).await;
    assert_eq!((&at_first["license_key"], &at_first["product"], &at_first["status"]), (&json!(key), &json!(product), &json!("assigned")));
    assert_eq!((&at_first["activation_limit"], &at_first["active_count"]), (&json!(2), &json!(0)));
    assert_eq!((&at_first["as_of"]["position"], &at_first["last_event"]["position"]), (&json!(made), &json!(made)));
    let used_state = state(&on, &key, &format!("as_of={used}")).await;
    let owner = &used_state["owner"];
    assert_eq!((&owner["name"], &owner["email"], &owner["personal_data"]), (&json!("Ada"), &json!("ada@a.example"), &json!("open")));
    let activations = used_state["activations"]["items"].as_array().expect("activations");
    assert_eq!(activations.len(), 1);
    assert_eq!(
        (&activations[0]["identifier"], &activations[0]["active"], &activations[0]["since"]),
        (&json!("a.example"), &json!(true), &json!(made + 1))
    );
    assert_eq!(used_state["meta"], json!([{ "key": "COLOR", "value": "red", "personal_data": "open" }]));
    // The same by the time of that event, with an offset, and by number and id.
    let time = used_state["last_event"]["time"].as_str().expect("a time").to_owned();
    let by_time = state(&on, &key, &format!("as_of={}", time.replace('Z', "%2B00:00"))).await;
    assert_eq!(by_time, used_state);
    for name in [used_state["number"].to_string(), used_state["id"].as_str().expect("an id").to_owned()] {
        assert_eq!(state(&on, &name, &format!("as_of={used}")).await, used_state);
    }
    let at_last = state(&on, &key, "").await;
    assert_eq!((&at_last["deleted"], &at_last["status"], &at_last["product"]), (&json!(true), &json!("available"), &json!(other)));
    assert_eq!((&at_last["owner"]["email"], &at_last["active_count"]), (&json!(null), &json!(0)));
    let ended = &at_last["activations"]["items"][0];
    assert!(ended["active"] == false && ended["since"].as_i64() > Some(used), "{ended}");
    on.ledger.expect_intact().await;
}

async fn a_key_means_the_license_that_had_it(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let key = "SHARED-KEY-1".to_owned();
    let make = async |limit: i64| on.api.new_licenses(product, std::slice::from_ref(&key), fields!(activation_limit: limit)).await;
    make(1).await;
    let first = (now(&on).await, license_number(&on, &key).await);
    let replaced = on.api.admin(Method::PUT, &format!("licenses/{}/license-key", first.1), json!({ "license_key": "OTHER-KEY-1" })).await;
    replaced.expect(200);
    let between = now(&on).await;
    make(2).await;
    let second = (now(&on).await, license_number(&on, &key).await);
    on.api.form("delete-license-key", fields!(license_key: key)).await.expect(850, PRODUCT);
    let deleted = now(&on).await;

    let number = async |text: &str, position: i64| state(&on, text, &format!("as_of={position}")).await["number"].as_i64().expect("a number");
    assert_eq!(number(&key, first.0).await, first.1);
    assert_eq!(number(&key, second.0).await, second.1);
    assert_eq!(number(&key, deleted).await, second.1, "who had it when it was deleted");
    on.api.ledger_get(&format!("licenses/{key}/state?as_of={between}")).await.expect_problem(404, "not-found");
    on.api.ledger_get(&format!("licenses/OTHER-KEY-1/state?as_of={}", first.0)).await.expect_problem(404, "not-found");
    assert_eq!(number("OTHER-KEY-1", deleted).await, first.1);
    let code = async |text: &str, position: i64| verdict(&on, text, &format!("as_of={position}&identifier=a.example")).await["code"].clone();
    let codes = [(first.0, 202), (between, 210), (second.0, 202), (deleted, 210)];
    for (position, expected) in codes {
        assert_eq!(code(&key, position).await, expected, "as of {position}");
    }

    // A history by a key that one license was deleted with and another one had before is of neither alone.
    on.api.ledger_get(&format!("licenses/{key}/history")).await.expect_problem(409, "conflict");
    make(3).await;
    let of_live = on.api.history(&format!("licenses/{key}/history"), 50).await;
    assert_eq!(of_live[0]["facts"]["activation_limit"], 3, "the license that has it now");
    on.api.form("delete-license-key", fields!(license_key: key)).await.expect(850, PRODUCT);
    let refused = on.api.ledger_get(&format!("licenses/{key}/state")).await;
    refused.expect_problem(409, "conflict");
    let detail = refused.body["detail"].as_str().expect("text");
    assert!(detail.contains(&second.1.to_string()), "{detail}");
    // A key can look like a number.
    on.api.new_licenses(product, &[first.1.to_string()], fields!()).await;
    on.api.ledger_get(&format!("licenses/{}/history", first.1)).await.expect_problem(409, "conflict");
    on.api.ledger_get(&format!("licenses/{}/verify", first.1)).await.expect_problem(409, "conflict");
}

async fn a_point_that_never_was_is_refused(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let key = on.api.new_license(product, fields!()).await;
    for what in ["state", "verify"] {
        let asked = async |query: &str| on.api.ledger_get(&format!("licenses/{key}/{what}?{query}")).await;
        for query in ["as_of=999999999", "as_of=2999-01-01", "as_of=soon", "as_of=-1", "as_of="] {
            asked(query).await.expect_invalid(&["as_of"]);
        }
        asked("as_of=1971-01-01T00:00:00Z").await.expect_problem(404, "not-found");
        asked("at_of=1").await.expect_problem(422, "invalid-parameters");
        on.api.ledger_get(&format!("licenses/NONE/{what}")).await.expect_problem(404, "not-found");
    }
    let asked = async |query: &str| on.api.ledger_get(&format!("licenses/{key}/verify?{query}")).await;
    asked("ip=here").await.expect_invalid(&["ip"]);
    asked(&format!("identifier={}", "x".repeat(256))).await.expect_invalid(&["identifier"]);
    asked("at=2024-01-01").await.expect_invalid(&["at"]);
    asked("as_of=0&at=2024-01-01").await.expect_invalid(&["at"]);
    asked("as_of=0&at=2999-01-01").await.expect_invalid(&["at"]);
}

async fn an_answer_of_then_names_the_event_that_decided(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let key = on.api.new_license(product, fields!(status: "available")).await;
    let number = license_number(&on, &key).await;
    let mut expected = vec![(now(&on).await, 201, "LicenseCreated")];
    // Each step with the code that verify gives after it, and the type of the event that decided it.
    on.api.assign(&key).await.expect(800, GLOBAL);
    expected.push((now(&on).await, 202, "LicenseAssigned"));
    on.api.activate(&key, "a.example").await.expect(300, PRODUCT);
    expected.push((now(&on).await, 200, "LicenseActivated"));
    on.api.update_license(&key, fields!(activation_limit: 9)).await.expect(950, PRODUCT);
    expected.push((now(&on).await, 200, "LicenseActivated"));
    on.api.admin_post(&format!("licenses/{number}/block"), json!(null)).await.expect(200);
    expected.push((now(&on).await, 204, "LicenseBlocked"));
    on.api.set_product_status(product, "inactive").await;
    expected.push((now(&on).await, 203, "ProductUpdated"));
    on.api.admin_post(&format!("licenses/{number}/unblock"), json!(null)).await.expect(200);
    expected.push((now(&on).await, 203, "ProductUpdated"));
    on.api.set_product_status(product, "active").await;
    expected.push((now(&on).await, 200, "ProductUpdated"));
    on.api.deactivate(&key, "a.example").await.expect("400", GLOBAL);
    expected.push((now(&on).await, 202, "LicenseDeactivated"));
    on.api.form("delete-license-key", fields!(license_key: key)).await.expect(850, PRODUCT);
    expected.push((now(&on).await, 210, "LicenseDeleted"));

    let mut decided = Vec::new();
    for (position, code, name) in &expected {
        let found = verdict(&on, &key, &format!("identifier=a.example&as_of={position}")).await;
        assert_eq!((&found["code"], &found["decided_by"]["type"]), (&json!(code), &json!(name)), "as of {position}: {found}");
        let by = found["decided_by"]["position"].as_i64().expect("a position");
        assert!(by <= *position && (!decided.contains(&by) || found["code"] == 200 || found["code"] == 203), "{found}");
        decided.push(by);
        let (explanation, at) = (found["explanation"].as_str().expect("text"), found["decided_by"]["recorded_at"].as_str().expect("a time"));
        assert!(explanation.starts_with(&format!("{code}: ")) && explanation.ends_with(&format!("by event {by} ({name}) on {at}")), "{explanation}");
    }
    // With nothing asked for, and of a license that was not there yet.
    let assigned = expected[1].0;
    let unnamed = verdict(&on, &key, &format!("as_of={assigned}&identifier=%20")).await;
    assert_eq!((&unnamed["code"], &unnamed["decided_by"]["type"]), (&json!(215), &json!("LicenseAssigned")));
    let before = verdict(&on, &key, &format!("as_of={}", expected[0].0 - 1)).await;
    assert_eq!((&before["code"], &before["decided_by"], &before["license"]), (&json!(210), &json!(null), &json!(null)));
    // The head is now, and says what verify says.
    let live = on.api.new_license(product, fields!()).await;
    on.api.activate(&live, "a.example").await.expect(300, PRODUCT);
    for identifier in ["a.example", "b.example", ""] {
        let found = verdict(&on, &live, &format!("identifier={identifier}")).await;
        let answer = on.api.verify(&live, identifier).await;
        assert_eq!((&found["code"], &found["message"]), (&json!(answer.code()), &json!(answer.response.at("message").text())));
    }
}

async fn the_block_list_of_then_counts(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let key = on.api.new_license(product, fields!()).await;
    on.api.activate(&key, "a.example").await.expect(300, PRODUCT);
    let free = now(&on).await;
    let add = async |kind: &str, value: &str| {
        let made = on.api.admin_post("block-list", json!({ "kind": kind, "value": value })).await;
        made.expect(201)["number"].as_i64().expect("a number")
    };
    add("identifier", "b.example").await;
    let identifier = add("identifier", "a.example").await;
    let added = now(&on).await;
    let network = add("ip", "203.0.113.0/24").await;
    let both = now(&on).await;
    for block in [identifier, network] {
        on.api.admin_delete(&format!("block-list/{block}")).await.expect(204);
    }
    let code = async |position: i64, ip: &str| {
        let found = verdict(&on, &key, &format!("identifier=a.example&as_of={position}{ip}")).await;
        (found["code"].as_i64().expect("a code"), found["decided_by"]["position"].as_i64().expect("a position"))
    };
    assert_eq!(code(free, "").await, (200, free));
    assert_eq!(code(added, "").await, (150, added));
    assert_eq!(code(both, "&ip=203.0.113.9").await, (150, added), "blocked since the first of both");
    assert_eq!(code(both + 1, "").await, (200, both + 1));
    assert_eq!(code(both + 1, "&ip=203.0.113.9").await, (150, added), "the network still holds it");
    assert_eq!(code(both + 1, "&ip=::ffff:203.0.113.9").await, (150, added));
    assert_eq!(code(both + 1, "&ip=198.51.100.1").await, (200, both + 1));
    assert_eq!(code(both + 2, "&ip=203.0.113.9").await, (200, both + 2));
    let by = verdict(&on, &key, &format!("identifier=a.example&as_of={added}")).await;
    assert_eq!((&by["decided_by"]["aggregate_type"], &by["message"]), (&json!("block"), &json!("Access denied")));
}

async fn an_expiry_is_decided_by_what_set_it(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let key = on.api.new_license(product, fields!(validity: 10, assigned_at: "2024-01-01 00:00:00")).await;
    let made = now(&on).await;
    let first = verdict(&on, &key, "identifier=a.example").await;
    assert_eq!((&first["code"], &first["decided_by"]["position"]), (&json!(205), &json!(made)));
    assert_eq!(first["expires_at"], "2024-01-11T00:00:00.000000Z");
    let explanation = first["explanation"].as_str().expect("text");
    assert!(explanation.starts_with("205: expired at 2024-01-11T00:00:00.000000Z"), "{explanation}");
    on.api.update_license(&key, fields!(validity: 36_500)).await.expect(950, PRODUCT);
    let longer = now(&on).await;
    on.api.activate(&key, "a.example").await.expect(300, PRODUCT);
    on.api.update_license(&key, fields!(validity: 20)).await.expect(950, PRODUCT);
    let shorter = now(&on).await;
    on.api.update_license(&key, fields!(activation_limit: 20)).await.expect(950, PRODUCT);
    let decided = async |query: &str| {
        let found = verdict(&on, &key, &format!("identifier=a.example&{query}")).await;
        (found["code"].as_i64().expect("a code"), found["decided_by"]["position"].as_i64().expect("a position"))
    };
    assert_eq!(decided(&format!("as_of={longer}")).await, (202, longer));
    assert_eq!(decided(&format!("as_of={}", longer + 1)).await, (200, longer + 1));
    assert_eq!(decided("").await, (205, shorter));
    assert!(state(&on, &key, "").await["is_expired"] == true && state(&on, &key, &format!("as_of={longer}")).await["is_expired"] == false);
    // What time it is can be said.
    let time = first["as_of"]["time"].as_str().expect("a time");
    assert_eq!(decided(&format!("as_of={made}&at={time}")).await, (205, made));
}

async fn activations_come_in_pages(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let key = on.api.new_license(product, fields!(activation_limit: 0)).await;
    for n in 0..7 {
        on.api.activate(&key, &format!("{n}.example")).await.expect(300, PRODUCT);
    }
    on.api.deactivate(&key, "2.example").await.expect("400", GLOBAL);
    let all = state(&on, &key, "limit=500").await["activations"]["items"].as_array().expect("items").clone();
    assert_eq!(all.len(), 7);
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = state(&on, &key, &format!("limit=3{after}")).await["activations"].clone();
        found.extend(page["items"].as_array().expect("items").iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(found, all);
    let active: Vec<_> = all.iter().map(|activation| activation["active"] == true).collect();
    assert_eq!(active, [true, true, false, true, true, true, true]);
}
