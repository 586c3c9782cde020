//! Random requests: whatever is sent, the answer is a signed envelope, and never a 5xx.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::Target;
use crate::support::{Answer, Backend, ROUTES, is_get};

/// How many random requests each backend gets.
const CASES: u32 = 400;

const NAMES: [&str; 24] = [
    "license_key",
    "identifier",
    "license_keys",
    "product_id",
    "owner_name",
    "owner_email",
    "email",
    "activation_limit",
    "validity",
    "status",
    "assigned_at",
    "source",
    "name",
    "description",
    "require_non_expired",
    "external_reference",
    "own_key_pair",
    "post_url",
    "key",
    "value",
    "page",
    "items_per_page",
    "api_key",
    "",
];

/// One request that may be wrong in any way.
#[derive(Clone, Debug)]
struct Request {
    route: &'static str,
    get: bool,
    content_type: Option<String>,
    query: String,
    body: Vec<u8>,
    idempotency_key: Option<String>,
}

fn a_text() -> impl Strategy<Value = String> {
    let likely = prop::sample::select(vec![
        "PRODUCT",
        "LICENSE",
        "a.example",
        "available",
        "assigned",
        "blocked",
        "reserved",
        "active",
        "inactive",
        "internal",
        "0",
        "1",
        "-1",
        "2024-01-01 00:00:00",
        r#"["A","B"]"#,
        "[]",
        "{}",
        "null",
        "true",
        "",
    ]);
    prop_oneof![
        6 => likely.prop_map(ToString::to_string),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => any::<f64>().prop_map(|number| number.to_string()),
        2 => ".{0,40}",
        1 => prop::collection::vec(any::<char>(), 0..300).prop_map(|characters| characters.into_iter().collect()),
    ]
}

fn pairs() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    prop::collection::vec((prop::sample::select(NAMES.to_vec()), a_text()), 0..10)
}

fn a_form() -> impl Strategy<Value = String> {
    pairs().prop_map(|pairs| form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
}

fn a_json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        4 => a_text().prop_map(serde_json::Value::from),
        1 => Just(serde_json::Value::Null),
        1 => any::<bool>().prop_map(serde_json::Value::from),
        1 => any::<i64>().prop_map(serde_json::Value::from),
        1 => any::<f64>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::vec((prop::sample::select(NAMES.to_vec()), inner), 0..4).prop_map(object),
        ]
    })
}

fn object(members: Vec<(&'static str, serde_json::Value)>) -> serde_json::Value {
    members.into_iter().map(|(name, value)| (name.to_string(), value)).collect::<serde_json::Map<_, _>>().into()
}

fn a_body() -> impl Strategy<Value = (Option<String>, Vec<u8>)> {
    let said = |content_type: &str| Some(content_type.to_string());
    let json_object = prop::collection::vec((prop::sample::select(NAMES.to_vec()), a_json_value()), 0..8).prop_map(object);
    let multipart = prop::collection::vec(any::<u8>(), 0..300);
    let multipart = multipart.prop_map(|bytes| [&b"--B\r\nContent-Disposition: form-data; name=\"license_key\"\r\n\r\n"[..], &bytes].concat());
    prop_oneof![
        5 => a_form().prop_map(move |form| (said("application/x-www-form-urlencoded"), form.into_bytes())),
        4 => json_object.prop_map(move |object| (said("application/json"), object.to_string().into_bytes())),
        1 => a_json_value().prop_map(move |value| (said("application/json"), value.to_string().into_bytes())),
        1 => multipart.prop_map(move |bytes| (said("multipart/form-data; boundary=B"), bytes)),
        1 => prop::collection::vec(any::<u8>(), 0..300).prop_map(move |bytes| (said("application/x-www-form-urlencoded"), bytes)),
        1 => prop::collection::vec(any::<u8>(), 0..300).prop_map(move |bytes| (said("application/json"), bytes)),
        1 => ("[ -~]{0,30}", prop::collection::vec(any::<u8>(), 0..100)).prop_map(|(name, bytes)| (Some(name), bytes)),
        1 => prop::collection::vec(any::<u8>(), 0..100).prop_map(|bytes| (None, bytes)),
    ]
}

fn a_request() -> impl Strategy<Value = Request> {
    let route = prop::sample::select(ROUTES.to_vec());
    let query = prop_oneof![4 => Just(String::new()), 2 => a_form(), 1 => "[!-~&&[^#]]{0,60}"];
    (route, prop::bool::weighted(0.15), a_body(), query, prop::option::weighted(0.2, "[ -~]{0,20}")).prop_map(
        |(route, other_method, (content_type, body), query, idempotency_key)| {
            let get = is_get(route) != other_method;
            Request { route, get, content_type, query, body, idempotency_key }
        },
    )
}

/// Sends the request with the placeholders replaced by what exists.
async fn send(target: &Target, request: &Request) -> Answer {
    let real = |text: &str| text.replace("PRODUCT", &target.product.to_string()).replace("LICENSE", &target.license);
    let method = if request.get { reqwest::Method::GET } else { reqwest::Method::POST };
    let mut builder = target.api().request(method, &format!("/api/v1/{}?{}", request.route, real(&request.query)));
    if let Some(content_type) = &request.content_type {
        builder = builder.header("content-type", content_type);
    }
    if let Some(key) = &request.idempotency_key {
        builder = builder.header("idempotency-key", key);
    }
    if !request.get {
        let body = String::from_utf8(request.body.clone()).map_or_else(|raw| raw.into_bytes(), |text| real(&text).into_bytes());
        builder = builder.body(body);
    }
    target.api().answer(builder).await
}

/// Not async, since proptest's runner is not: it asks for one request after the other.
fn random_requests_are_answered(backend: Backend) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let target = runtime.block_on(Target::start(backend));
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&a_request(), |request| {
        let answer = runtime.block_on(send(&target, &request));
        if answer.status >= 500 {
            return Err(TestCaseError::fail(format!("HTTP {}: {}", answer.status, answer.response)));
        }
        Ok(())
    });
    assert!(outcome.is_ok(), "{}", outcome.expect_err("a failure"));
    runtime.block_on(async {
        target.on.ledger.expect_intact().await;
        assert_eq!(target.api().plain("/health/ready").await.0, 200);
    });
    let _entered = runtime.enter();
    drop(target);
}

mod sqlite {
    #[test]
    fn random_requests_are_answered() {
        super::random_requests_are_answered(crate::support::Backend::Sqlite);
    }
}

mod postgres {
    #[test]
    fn random_requests_are_answered() {
        super::random_requests_are_answered(crate::support::Backend::Postgres);
    }
}
