//! Administration: data subjects are forgotten.

use serde_json::{Value, json};

use crate::support::{Backend, PRODUCT, Running, both_backends, fields};

both_backends!(an_owner_is_forgotten, who_cannot_be_forgotten_is_said, forgetting_takes_its_own_capability);

async fn an_owner_is_forgotten(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!(owner_name: "Jane Doe", owner_email: "jane@shop.example")).await;
    on.api.activate(&license, "jane.example").await.expect(300, PRODUCT);
    let number = on.api.admin_list("licenses", 10).await[0]["number"].clone();

    let once = on.api.with_header("idempotency-key", "request 7");
    let asked = json!({ "email": "Jane@Shop.example" });
    let first = once.admin_post("subjects/forget", asked.clone()).await;
    let events = on.ledger.event_count().await;
    assert_eq!(first.expect(200), &json!({ "kind": "owner", "number": 1, "events": 2, "rows": 2, "position": events - 1 }));
    assert_eq!(once.admin_post("subjects/forget", asked.clone()).await.expect(200), first.expect(200), "the same answer again");
    once.admin_post("subjects/forget", json!({ "email": "bob@shop.example" })).await.expect_problem(409, "idempotency-conflict");
    let again = on.api.admin_post("subjects/forget", asked).await;
    again.expect_problem(404, "not-found");
    assert!(!again.body.to_string().to_lowercase().contains("jane"), "{}", again.body);
    assert_eq!(on.ledger.event_count().await, events);

    let shown = on.api.admin_get(&format!("licenses/{number}")).await.expect(200).clone();
    assert_eq!((&shown["owner_name"], &shown["owner_email"], &shown["active_count"]), (&Value::Null, &Value::Null, &json!(1)));
    assert_eq!(shown["activations"]["items"][0]["identifier"], Value::Null);
    on.api.verify(&license, "jane.example").await.expect(202, PRODUCT);
    // Nobody can name its activation any more; by its number it is ended.
    on.api.admin_post(&format!("licenses/{number}/activations/1/deactivate"), json!(null)).await.expect(200);
    on.api.activate(&license, "jane.example").await.expect(300, PRODUCT);
    on.api.verify(&license, "jane.example").await.expect(200, PRODUCT);
    let forgotten = on.api.admin_post("subjects/forget", json!({ "owner": 1 })).await.expect(200).clone();
    assert_eq!((&forgotten["kind"], &forgotten["number"]), (&json!("owner"), &json!(1)), "what came after it, under a key of its own");
    on.ledger.expect_intact().await;
}

async fn who_cannot_be_forgotten_is_said(backend: Backend) {
    let on = Running::start(backend).await;
    let events = on.ledger.event_count().await;
    let forget = async |asked| on.api.admin_post("subjects/forget", asked).await;
    for asked in
        [json!({ "email": "nobody@shop.example" }), json!({ "owner": 1 }), json!({ "license": 1 }), json!({ "block": 1 }), json!({ "api_key": 99 })]
    {
        forget(asked).await.expect_problem(404, "not-found");
    }
    for asked in [json!({}), json!({ "email": "a@b.example", "owner": 1 }), json!({ "license": 1, "block": 1 })] {
        forget(asked).await.expect_invalid(&[""]);
    }
    forget(json!({ "email": " " })).await.expect_invalid(&["/email"]);
    forget(json!({ "name": "Jane" })).await.expect_problem(422, "invalid-parameters");
    assert_eq!(on.ledger.event_count().await, events);
}

async fn forgetting_takes_its_own_capability(backend: Backend) {
    let on = Running::start(backend).await;
    let others = on.caller(&["--capability", "admin:licenses", "--capability", "verify"]).await;
    others.admin_post("subjects/forget", json!({ "owner": 1 })).await.expect_problem(403, "not-permitted");
    let own = on.caller(&["--capability", "admin:subjects", "--capability", "verify"]).await;
    own.admin_post("subjects/forget", json!({ "owner": 1 })).await.expect_problem(404, "not-found");
}
