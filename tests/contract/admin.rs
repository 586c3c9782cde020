//! What holds for the whole administration: who may call it, how it refuses, pages, idempotency, the history's reasons.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ApiKey, Backend, Running, ServeOptions, both_backends, eventually, fields, raw};

both_backends!(
    who_may_not_call_it_is_told_in_a_problem,
    reading_and_writing_are_two_capabilities,
    what_cannot_be_read_is_a_problem,
    lists_have_pages_and_cursors,
    a_repeated_request_changes_nothing,
    a_reason_is_kept_in_the_history,
);

/// Every path of the administration with one of its methods.
const PATHS: [&str; 6] = ["products", "products/1", "licenses", "licenses/1/activations", "api-keys", "block-list"];

async fn who_may_not_call_it_is_told_in_a_problem(backend: Backend) {
    let options = ServeOptions::args(&["--trusted-proxy", "127.0.0.0/8"]);
    let on = Running::start_with(backend, options).await;
    for path in PATHS {
        for key in [ApiKey::Missing, ApiKey::Header("wrong".to_owned()), ApiKey::Header("w\u{fc}rong".to_owned())] {
            on.api.with_key(key).admin_get(path).await.expect_problem(401, "invalid-api-key");
        }
    }
    // The parameter is interface A's alone.
    let in_query = format!("products?api_key={}", on.ledger.bootstrap_key);
    on.api.with_key(ApiKey::Missing).admin_get(&in_query).await.expect_problem(401, "invalid-api-key");

    let key = on.ledger.create_named_api_key("to be disabled", &["--capability", "*"]).await;
    let number = on.ledger.api_key_number("to be disabled").await;
    on.ledger.run(&["api-key", "disable", &number]).await.success();
    let caller = on.api.with_key(ApiKey::Header(key));
    eventually("a disabled key is inactive", || async {
        (caller.admin_get("products").await.body["type"] == "/docs#problem-inactive-api-key").then_some(())
    })
    .await;

    on.caller(&["--capability", "*", "--allow-ip", "192.0.2.0/24"]).await.admin_get("products").await.expect_problem(403, "address-not-allowed");
    let verify_only = on.caller(&["--capability", "verify"]).await;
    for path in PATHS {
        verify_only.admin_get(path).await.expect_problem(403, "not-permitted");
    }
    on.ledger.run(&["block", "add", "--ip", "198.51.100.0/24"]).await.success();
    let blocked = on.api.with_header("x-forwarded-for", "198.51.100.7");
    eventually("the block is known", || async { (blocked.admin_get("products").await.status == 403).then_some(()) }).await;
    blocked.admin_get("products").await.expect_problem(403, "access-denied");
}

async fn reading_and_writing_are_two_capabilities(backend: Backend) {
    let on = Running::start(backend).await;
    let product = || json!({ "name": "A", "description": "B", "own_key_pair": false });
    let reader = on.caller(&["--capability", "admin:products:read", "--capability", "verify"]).await;
    reader.admin_get("products").await.expect(200);
    reader.admin_post("products", product()).await.expect_problem(403, "not-permitted");
    reader.admin_get("licenses").await.expect_problem(403, "not-permitted");
    let writer = on.caller(&["--capability", "admin:products", "--capability", "verify"]).await;
    writer.admin_post("products", product()).await.expect(201);
    writer.admin_get("products").await.expect(200);
    writer.admin_get("api-keys").await.expect_problem(403, "not-permitted");
}

async fn what_cannot_be_read_is_a_problem(backend: Backend) {
    let on = Running::start(backend).await;
    let events = on.ledger.event_count().await;
    on.api.admin_get("no-such-thing").await.expect_problem(404, "not-found");
    on.api.admin_answer(on.api.request(Method::GET, "/admin")).await.expect_problem(404, "not-found");
    for number in ["0", "999999999", "x", "-1", "1.5", "%C3%28", "99999999999999999999"] {
        on.api.admin_get(&format!("products/{number}")).await.expect_problem(404, "not-found");
    }
    let answer = on.api.admin_delete("products").await;
    answer.expect_problem(405, "method-not-allowed");
    assert_eq!(answer.headers["allow"], "GET, HEAD, POST");

    let send = |content_type: &str, body: &str| {
        let request = on.api.request(Method::POST, "/admin/v1/products");
        on.api.admin_answer(request.header("content-type", content_type.to_owned()).body(body.to_owned()))
    };
    let good = r#"{"name":"A","description":"B"}"#;
    send("application/json", "{").await.expect_problem(400, "bad-request");
    send("application/json", "").await.expect_problem(400, "bad-request");
    send("text/plain", good).await.expect_problem(415, "unsupported-media-type");
    send("application/json", &format!(r#"{{"name":"{}"}}"#, "x".repeat(1024 * 1024))).await.expect_problem(413, "payload-too-large");
    for wrong in ["[]", "7", r#"{"name":"A"}"#, r#"{"name":7,"description":"B"}"#, r#"{"name":"A","description":"B","colour":"red"}"#] {
        send("application/json", wrong).await.expect_problem(422, "invalid-parameters");
    }
    for query in ["limit=0", "limit=501", "limit=x", "after=x", "colour=red"] {
        on.api.admin_get(&format!("products?{query}")).await.expect_problem(422, "invalid-parameters");
    }
    assert_eq!(on.ledger.event_count().await, events);
}

async fn lists_have_pages_and_cursors(backend: Backend) {
    let on = Running::start(backend).await;
    let mut made = Vec::new();
    for name in ["A", "B", "C", "D", "E"] {
        let product = on.api.admin_post("products", json!({ "name": name, "description": "-", "own_key_pair": false })).await;
        made.push(product.expect(201)["number"].as_i64().expect("a number"));
    }
    for limit in [1, 2, 4, 5, 6, 500] {
        let listed: Vec<i64> = on.api.admin_list("products", limit).await.iter().filter_map(|item| item["number"].as_i64()).collect();
        assert_eq!(listed, made, "in pages of {limit}");
    }
    let first = on.api.admin_get("products?limit=2").await;
    let next = first.expect(200)["next"].as_str().expect("a cursor").to_owned();
    assert!(next.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'), "{next} needs no encoding");
    // A page is after where the one before ended, whatever happened in between.
    on.api.admin_delete(&format!("products/{}", made[1])).await.expect(204);
    let second = on.api.admin_get(&format!("products?limit=2&after={next}")).await;
    assert_eq!(second.expect(200)["items"][0]["number"], made[2]);
}

async fn a_repeated_request_changes_nothing(backend: Backend) {
    let on = Running::start(backend).await;
    let once = on.api.with_header("idempotency-key", "order 4711");
    let new = json!({ "name": "A", "description": "B", "own_key_pair": false });
    let first = once.admin_post("products", new.clone()).await;
    let number = first.expect(201)["number"].clone();
    let events = on.ledger.event_count().await;
    let again = once.admin_post("products", new.clone()).await;
    assert_eq!((again.expect(201), again.headers.get("location")), (first.expect(201), first.headers.get("location")));
    let other = json!({ "name": "Another", "description": "B", "own_key_pair": false });
    once.admin_post("products", other).await.expect_problem(409, "idempotency-conflict");
    assert_eq!(on.ledger.event_count().await, events);

    // An API key's value is given again too, though it is kept nowhere.
    let key = json!({ "name": "shop", "capabilities": ["verify"] });
    let first = once.admin_post("api-keys", key.clone()).await;
    assert_eq!(once.admin_post("api-keys", key).await.expect(201), first.expect(201));

    // A refusal is given again as well, even where it would no longer be one.
    let path = format!("products/{number}");
    let license = on.api.new_license(number.as_i64().expect("a number"), fields!()).await;
    once.admin_delete(&path).await.expect_problem(409, "conflict");
    on.api.form("delete-license-key", fields!(license_key: license)).await;
    once.admin_delete(&path).await.expect_problem(409, "conflict");
    on.api.admin_delete(&path).await.expect(204);
    on.ledger.expect_intact().await;
}

async fn a_reason_is_kept_in_the_history(backend: Backend) {
    let on = Running::start(backend).await;
    let said = on.api.with_header("x-reason", "Ticket 7: Größe");
    said.admin_post("block-list", json!({ "kind": "identifier", "value": "a.example" })).await.expect(201);
    let metadata = raw::rows(&on.ledger.place, "select metadata from events order by position desc limit 1").await.expect("an event");
    let metadata: Value = serde_json::from_str(metadata[0][0].as_deref().expect("text")).expect("JSON");
    assert_eq!(metadata["reason"], "Ticket 7: Größe");
    assert_eq!(metadata["operation"], "admin:block-list");
    assert_eq!(metadata["source"], "api");
    let long = on.api.with_header("x-reason", &"x".repeat(256));
    long.admin_post("block-list", json!({ "kind": "identifier", "value": "b.example" })).await.expect_problem(400, "bad-request");
}
