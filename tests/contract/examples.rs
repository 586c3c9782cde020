//! Every recorded example of the routes that this server has, sent again over HTTP and compared with the recorded answer.
//!
//! What is compared: HTTP status, code with its JSON type, message, which key signed, and recursively every field's name,
//! order, JSON type and value. Only values that differ from one ledger to the next (numbers, times, generated keys) may
//! differ, and keep their format.

use serde_json::Value;

use crate::scenarios::{self, World};
use crate::support::{Answer, Backend, Fields, Json, Ledger, ROUTES, ServeOptions, both_backends};

const RECORDED: &str = include_str!("../fixtures/licensing-v1.json");

/// The API key of most recorded requests; the test server's bootstrap key, so that requests go out as they were recorded.
const RECORDED_API_KEY: &str = "2964c3c9-0b5d-4d89-b3ac-4668f30bc492";

/// The key of the others: one vendor's too, with as many capabilities.
const RECORDED_SECOND_API_KEY: &str = "bd494175-4582-43dd-9c32-c58f45e2ec91";

/// How many examples were recorded for these routes.
const EXAMPLES: usize = 59;

/// Fields whose value belongs to the ledger that was recorded; only their JSON type and format are the contract's.
const LEDGERS_OWN: [&str; 10] =
    ["id", "product_id", "meta_id", "count", "license_key", "licenseKeys", "timestamp", "created_at", "updated_at", "url"];

/// One recorded request with the answer that it got.
pub struct Example {
    pub route: String,
    pub name: String,
    pub method: String,
    pub http_status: u16,
    pub request: Fields,
    pub response: Json,
    pub private_key_used: String,
}

both_backends!(every_recorded_example_is_answered_as_recorded);

async fn every_recorded_example_is_answered_as_recorded(backend: Backend) {
    let examples = recorded();
    assert_eq!(examples.len(), EXAMPLES, "the recorded examples of the {} routes", ROUTES.len());

    let ledger = Ledger::new(backend).await;
    let options = ServeOptions {
        args: vec!["--trusted-proxy".to_string(), "127.0.0.1/32".to_string()],
        environment: vec![("KEYLEDGER_BOOTSTRAP_API_KEY".to_string(), RECORDED_API_KEY.to_string())],
    };
    let server = ledger.serve_with(options).await;
    let world = World::new(&ledger, &server, RECORDED_API_KEY).await;

    let mut differences = Vec::new();
    for example in &examples {
        let answer = scenarios::send(&world, example).await;
        for difference in compare(example, &answer) {
            differences.push(format!("{} / {}: {difference}", example.route, example.name));
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    ledger.expect_intact().await;
}

/// The recorded examples of [`ROUTES`].
pub fn recorded() -> Vec<Example> {
    let file: Json = Json::parse(RECORDED);
    let base = file.at("base_path").text().to_string();
    let mut examples = Vec::new();
    for endpoint in file.at("endpoints").items() {
        let path = endpoint.at("path").text();
        let route = path.strip_prefix(&format!("{base}/")).unwrap_or(path);
        if ROUTES.contains(&route) {
            examples.extend(endpoint.at("examples").items().iter().map(|example| Example {
                route: route.to_string(),
                name: example.at("name").text().to_string(),
                method: endpoint.at("method").text().to_string(),
                http_status: u16::try_from(example.at("http_status").integer()).expect("an HTTP status"),
                request: parameters(example.at("request")),
                response: example.at("response").clone(),
                private_key_used: example.at("private_key_used").text().to_string(),
            }));
        }
    }
    examples
}

fn parameters(request: &Json) -> Fields {
    let value = |text: &str| if text == RECORDED_SECOND_API_KEY { RECORDED_API_KEY } else { text }.to_string();
    request.members().iter().map(|(name, text)| (name.clone(), value(text.text()))).collect()
}

/// What differs between the recorded answer and the one that came.
fn compare(example: &Example, answer: &Answer) -> Vec<String> {
    let mut found = Vec::new();
    if answer.status != example.http_status {
        found.push(format!("HTTP {} instead of {}", answer.status, example.http_status));
    }
    if answer.private_key_used != example.private_key_used {
        found.push(format!("signed with {} instead of {}", answer.private_key_used, example.private_key_used));
    }
    compare_values("response", &example.response, &answer.response, &mut found);
    if !found.is_empty() {
        found.push(format!("the answer was {}", answer.response));
    }
    found
}

fn compare_values(path: &str, recorded: &Json, answered: &Json, found: &mut Vec<String>) {
    let field = path.rsplit('.').next().unwrap_or(path);
    let field = field.split('[').next().unwrap_or(field);
    match (recorded, answered) {
        (Json::Object(_), Json::Object(_)) => {
            if recorded.names() != answered.names() {
                found.push(format!("{path} has {:?} instead of {:?}", answered.names(), recorded.names()));
            }
            for (name, value) in recorded.members() {
                if let Some(other) = answered.find(name) {
                    compare_values(&format!("{path}.{name}"), value, other, found);
                }
            }
        }
        (Json::List(recorded), Json::List(answered)) => {
            if recorded.is_empty() != answered.is_empty() {
                found.push(format!("{path} has {} items instead of {}", answered.len(), recorded.len()));
            }
            for (index, value) in answered.iter().enumerate() {
                if let Some(other) = recorded.get(index).or(recorded.first()) {
                    compare_values(&format!("{path}.{field}[{index}]"), other, value, found);
                }
            }
        }
        _ if recorded.kind() != answered.kind() => {
            found.push(format!("{path} is a {} instead of a {}", answered.kind(), recorded.kind()));
        }
        // Assigned by the very request: it is a time of the ledger's own.
        (Json::Text(recorded), Json::Text(answered)) if LEDGERS_OWN.contains(&field) || (field == "assigned_at" && recorded.ends_with('Z')) => {
            if field.ends_with("_at") && digits_masked(recorded) != digits_masked(answered) {
                found.push(format!("{path} is written {answered:?} instead of like {recorded:?}"));
            }
        }
        _ if LEDGERS_OWN.contains(&field) => {}
        // Texts are stored trimmed; two recorded names start with a blank.
        (Json::Text(recorded), Json::Text(answered)) if recorded.trim() == answered => {}
        _ if recorded == answered => {}
        _ => found.push(format!("{path} is {answered} instead of {recorded}")),
    }
}

/// The text with every digit as `0`: the format of a time without its value.
fn digits_masked(text: &str) -> String {
    text.chars().map(|character| if character.is_ascii_digit() { '0' } else { character }).collect()
}

#[test]
fn the_comparison_sees_each_kind_of_difference() {
    let recorded = r#"{"code":900,"message":"m","at":{"id":1,"name":"a"},"created_at":"2024-01-01"}"#;
    let differences = |answered: &str| {
        let mut found = Vec::new();
        compare_values("response", &Json::parse(recorded), &Json::parse(answered), &mut found);
        found.len()
    };
    assert_eq!(differences(recorded), 0);
    assert_eq!(differences(&recorded.replace(r#""id":1"#, r#""id":77"#)), 0, "a number of the ledger's own");
    assert_eq!(differences(&recorded.replace("2024-01-01", "2031-12-07")), 0, "another time in the same format");
    assert_eq!(differences(&recorded.replace("2024-01-01", "01.01.2024")), 1, "another time format");
    assert_eq!(differences(&recorded.replace("900", r#""900""#)), 1, "a code in a string");
    assert_eq!(differences(&recorded.replace(r#""id":1"#, r#""id":"1""#)), 1, "a number as a string");
    assert_eq!(differences(&recorded.replace(r#""name":"a""#, r#""name":"b""#)), 1, "another value");
    assert_eq!(differences(&recorded.replace(r#""id":1,"name":"a""#, r#""name":"a","id":1"#)), 1, "another order");
    assert_eq!(differences(&recorded.replace(r#","name":"a""#, "")), 1, "a field missing");
}

#[test]
fn the_recorded_response_codes_are_those_of_the_table() {
    let table: Value = serde_json::from_str(include_str!("../fixtures/response-codes.json")).expect("JSON");
    let table = table.as_array().expect("a list");
    for example in recorded() {
        let code = example.response.at("code").to_php().trim_matches('"').parse::<i64>().expect("a code");
        let row = table.iter().find(|row| row["code"] == code).unwrap_or_else(|| panic!("{code} is not in the table"));
        assert_eq!(row["message"], example.response.at("message").text(), "the message of {code}");
    }
}
