//! Assigning several available keys at once, and queued with a web hook.

use reqwest::header::{self, HeaderValue};
use std::collections::BTreeMap;

use crate::support::receiver::{Received, Receiver};
use crate::support::world::fresh_key;
use crate::support::{Answer, Backend, Fields, GLOBAL, Json, PRODUCT, Running, ServeOptions, both_backends, eventually, fields};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

both_backends!(
    the_lowest_numbers_are_assigned_all_or_none,
    a_generator_makes_the_rest,
    what_an_assignment_needs,
    owners_and_meta_entries_are_shown,
    a_repetition_with_the_same_idempotency_key_assigns_nothing,
    a_queued_assignment_tells_its_web_hook,
    a_web_hook_that_fails_is_called_again_and_one_that_is_not_permitted_is_not,
);

async fn available(on: &Running, product: i64, count: usize) -> Vec<String> {
    let keys: Vec<String> = (0..count).map(|_| fresh_key()).collect();
    on.api.new_licenses(product, &keys, fields!(status: "available", activation_limit: 2, validity: 30)).await;
    keys
}

fn keys(answer: &Answer) -> Vec<String> {
    answer.expect(803, GLOBAL).expect_members(&["license_keys"]);
    answer.response.at("license_keys").items().iter().map(|row| row.at("license_key").text().to_string()).collect()
}

async fn assign(on: &Running, product: i64, quantity: i64, changes: Fields) -> Answer {
    let defaults = fields!(product_id: product, quantity: quantity, owner_name: "Ada", owner_email: "ada@a.example");
    on.api.form("random-assign-license-keys", crate::support::world::merged(defaults, changes)).await
}

async fn the_lowest_numbers_are_assigned_all_or_none(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let all = available(&on, product, 5).await;
    on.api.assign(&all[1]).await.expect(800, GLOBAL);

    let first = assign(&on, product, 3, fields!()).await;
    assert_eq!(keys(&first), [&*all[0], &*all[2], &*all[3]]);
    let row = &first.response.at("license_keys").items()[0];
    assert_eq!((row.at("status").text(), row.at("owner_name").text(), row.at("owner_email").text()), ("assigned", "Ada", "ada@a.example"));
    assert_eq!((row.at("activation_limit").integer(), row.at("validity").integer(), row.at("contract_id")), (2, 30, &Json::Null));
    let too_few = assign(&on, product, 2, fields!()).await;
    let too_few = too_few.expect(802, GLOBAL).expect_members(&["available_quantity"]);
    assert_eq!(too_few.response.at("available_quantity").integer(), 1);
    let left = on.api.listed(product, &all[4]).await.expect("the last key");
    assert_eq!(left.at("status").text(), "available", "nothing is assigned where too few are there");
    for quantity in ["0", "-1", "10001", "x", ""] {
        let refused = assign(&on, product, 1, fields!(quantity: quantity, generate: 1)).await;
        assert_eq!(refused.expect(802, GLOBAL).response.at("available_quantity").integer(), 1, "{quantity}");
    }
    assert_eq!(keys(&assign(&on, product, 1, fields!()).await), [&*all[4]]);
    on.api.verify(&all[0], "a.example").await.expect(202, PRODUCT);
    on.ledger.expect_intact().await;
}

async fn a_generator_makes_the_rest(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let all = available(&on, product, 2).await;
    assign(&on, product, 3, fields!(generate: 1)).await.expect(806, GLOBAL).expect_members(&[]);
    // The first active one is used.
    on.new_generator(product, &["--prefix", "NOT-", "--active", "false"]).await;
    on.new_generator(product, &["--prefix", "GEN-", "--activation-limit", "7", "--validity", "9"]).await;
    on.new_generator(product, &["--prefix", "NOR-"]).await;
    let answer = assign(&on, product, 4, fields!(generate: 1)).await;
    let assigned = keys(&answer);
    assert_eq!(assigned[..2], all);
    assert!(assigned[2..].iter().all(|key| key.starts_with("GEN-")), "{assigned:?}");
    let made = &answer.response.at("license_keys").items()[3];
    assert_eq!((made.at("activation_limit").integer(), made.at("validity").integer()), (7, 9));
    on.api.verify(&assigned[3], "a.example").await.expect(202, PRODUCT);
    let row = on.api.listed(product, &assigned[3]).await.expect("the generated key");
    assert_eq!((row.at("status").text(), row.at("owner_email").text()), ("assigned", "ada@a.example"));
    on.ledger.expect_intact().await;
}

async fn what_an_assignment_needs(backend: Backend) {
    let on = Running::start(backend).await;
    assign(&on, 999, 1, fields!()).await.expect(805, GLOBAL).expect_members(&[]);
    on.api.form("random-assign-license-keys", fields!()).await.expect(805, GLOBAL);
    let product = on.api.new_product().await;
    assign(&on, product, 1, fields!(generate: "maybe")).await.expect_error(400);
    assign(&on, product, 1, fields!(owner_email: "nobody")).await.expect_error(400);
    // A generator that can make too few is as good as too few keys.
    on.new_generator(product, &["--pattern", "#"]).await;
    let used_up = assign(&on, product, 11, fields!(generate: 1)).await;
    assert_eq!(used_up.expect(802, GLOBAL).response.at("available_quantity").integer(), 0);
    assert_eq!(keys(&assign(&on, product, 10, fields!(generate: 1)).await).len(), 10);
}

async fn owners_and_meta_entries_are_shown(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let used = on.api.new_license(product, fields!()).await;
    let meta = fields!(license_key: used, identifier: "a.example", key: "colour", value: "red");
    on.api.form("create-license-key-meta", meta).await.expect(453, PRODUCT);
    on.api.update_license(&used, fields!(status: "available")).await.expect(950, PRODUCT);
    let owned = on.api.new_license(product, fields!(status: "available", owner_name: "Grace", owner_email: "grace@a.example")).await;
    let answer = on.api.form("random-assign-license-keys", fields!(product_id: product, quantity: 2)).await;
    assert_eq!(keys(&answer), [used, owned]);
    let rows = answer.response.at("license_keys").items();
    assert_eq!(rows[0].at("meta_data"), &Json::parse(r#"[{"key":"colour","value":"red"}]"#));
    assert_eq!((rows[0].at("owner_name"), rows[1].at("owner_name").text()), (&Json::Null, "Grace"), "an owner there was stays");
    on.ledger.expect_intact().await;
}

async fn a_repetition_with_the_same_idempotency_key_assigns_nothing(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    on.new_generator(product, &[]).await;
    let once = on.api.with_header("idempotency-key", "order 1");
    let request = || fields!(product_id: product, quantity: 3, generate: 1, owner_email: "ada@a.example");
    let first = once.form("random-assign-license-keys", request()).await;
    let again = once.form("random-assign-license-keys", request()).await;
    assert_eq!(first.response.without("timestamp"), again.response.without("timestamp"));
    let queued = || once.form("random-assign-license-keys-queued", request());
    queued().await.expect(807, GLOBAL);
    queued().await.expect(807, GLOBAL);
    eventually("the job is done once", || async {
        let count = crate::support::raw::number(&on.ledger.place, "select count(*) from license where status = 'assigned'").await;
        (count == 6).then_some(())
    })
    .await;
    assert_eq!(crate::support::raw::number(&on.ledger.place, "select count(*) from assignment_job").await, 1);
    on.ledger.expect_intact().await;
}

/// The signed answer inside a web hook's body, which must stand in the frame that clients read.
async fn original(on: &Running, received: &Received) -> Answer {
    let frame = |text: &str| {
        text.strip_prefix("{\"headers\":{},\"original\":").and_then(|text| text.strip_suffix(",\"exception\":null}")).map(str::to_string)
    };
    let original = frame(&received.body).unwrap_or_else(|| panic!("another frame: {}", received.body));
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
    Answer::read(200, headers, &original, on.api.ring()).await
}

/// Checks the signature of the Standard Webhooks scheme with the ledger's secret.
fn expect_signed(secret: &str, received: &Received) {
    let header = |name: &str| received.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", received.headers));
    let key = STANDARD.decode(secret.trim().strip_prefix("whsec_").expect("the secret's prefix")).expect("the secret is Base64");
    let signed = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), received.body);
    let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes());
    assert_eq!(header("webhook-signature"), &format!("v1,{}", STANDARD.encode(expected)));
    assert_eq!(header("content-type"), "application/json");
}

async fn a_queued_assignment_tells_its_web_hook(backend: Backend) {
    let on = Running::start_with(backend, ServeOptions::args(&["--allow-outgoing", "127.0.0.1"])).await;
    let secret = on.ledger.run(&["webhook-secret"]).await.success();
    let receiver = Receiver::start().await;
    let product = on.api.new_product().await;
    let all = available(&on, product, 2).await;
    let queue = |product: i64, quantity: i64, order: &str, generate: i64| {
        let url = receiver.url(&format!("/hook?order={order}"));
        let owner = fields!(owner_name: "Ada", owner_email: "ada@a.example", webhook_url: url, identifier: order);
        let request = fields!(product_id: product, quantity: quantity, generate: generate);
        on.api.form("random-assign-license-keys-queued", crate::support::world::merged(request, owner))
    };
    queue(product, 2, "31", 0).await.expect(807, GLOBAL).expect_members(&[]);
    queue(product, 2, "32", 0).await.expect(807, GLOBAL);
    queue(product, 1, "33", 1).await.expect(807, GLOBAL);
    queue(999, 1, "34", 1).await.expect(807, GLOBAL);
    let received = receiver.wait_for(4).await;
    let by_line: BTreeMap<&str, &Received> = received.iter().map(|received| (received.line.as_str(), received)).collect();
    let of = |order: &str| by_line[&*format!("POST /hook?order={order} HTTP/1.1")];
    for received in &received {
        expect_signed(&secret, received);
    }

    let done = original(&on, of("31")).await;
    done.expect(803, GLOBAL).expect_members(&["license_keys", "identifier"]);
    let rows = done.response.at("license_keys").items();
    assert_eq!(rows.iter().map(|row| row.at("license_key").text()).collect::<Vec<_>>(), all);
    assert_eq!((rows[0].at("owner_name").text(), rows[0].at("status").text()), ("Ada", "assigned"));
    assert_eq!(done.response.at("identifier").text(), "31");
    let too_few = original(&on, of("32")).await;
    too_few.expect(802, GLOBAL).expect_members(&["available_quantity", "identifier"]);
    assert_eq!(too_few.response.at("available_quantity").integer(), 0);
    original(&on, of("33")).await.expect(806, GLOBAL).expect_members(&["identifier"]);
    original(&on, of("34")).await.expect(805, GLOBAL);

    eventually("all deliveries are recorded", || async {
        (on.ledger.run(&["delivery", "list", "--all"]).await.success().matches("delivered").count() == 4).then_some(())
    })
    .await;
    let (_, metrics) = on.api.plain("/metrics").await;
    assert!(metrics.contains("keyledger_delivery_attempts_total{outcome=\"delivered\"} 4"), "{metrics}");
    let bad = fields!(product_id: product, quantity: 1, webhook_url: "not a url");
    on.api.form("random-assign-license-keys-queued", bad).await.expect_error(400);
    on.ledger.expect_intact().await;
}

async fn a_web_hook_that_fails_is_called_again_and_one_that_is_not_permitted_is_not(backend: Backend) {
    let on = Running::start_with(backend, ServeOptions::args(&["--allow-outgoing", "127.0.0.1"])).await;
    let (receiver, forbidden) = (Receiver::start().await, Receiver::on("127.0.0.2:0").await);
    receiver.answer_with(&[500]);
    let product = on.api.new_product().await;
    available(&on, product, 3).await;
    let queue = |url: String| on.api.form("random-assign-license-keys-queued", fields!(product_id: product, quantity: 1, webhook_url: url));
    queue(receiver.url("/")).await.expect(807, GLOBAL);
    queue(format!("http://127.0.0.2:{}/", forbidden.port)).await.expect(807, GLOBAL);
    let received = receiver.wait_for(2).await;
    assert_eq!(received[0].headers["webhook-id"], received[1].headers["webhook-id"], "the same message");
    let seen = eventually("both attempts are recorded", || async {
        let list = on.ledger.run(&["delivery", "list", "--all"]).await.success();
        (list.contains("delivered") && list.contains("not_permitted")).then_some(list)
    })
    .await;
    assert!(seen.lines().any(|line| line.contains("pending") && line.contains("not_permitted")), "{seen}");
    assert_eq!(forbidden.connections(), 0);
    let (number, _) = seen.lines().find(|line| line.contains("pending")).and_then(|line| line.split_once('\t')).expect("a pending one");
    let retry = on.ledger.run(&["delivery", "retry", number]).await;
    assert!(retry.code != 0 && retry.stderr.contains("still being tried"), "{retry:?}");
    on.ledger.expect_intact().await;
}
