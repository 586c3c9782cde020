//! The history of a license, a product, a contract, an API key, as the log tells it.

use serde_json::{Value, json};

use crate::support::raw;
use crate::support::{ApiKey, Backend, GLOBAL, PRODUCT, Running, ServeOptions, both_backends, eventually, fields};

both_backends!(
    a_history_tells_who_did_what_and_what_it_changed,
    events_are_filtered_and_paged,
    keys_and_personal_data_need_capabilities,
    what_is_forgotten_is_shown_as_erased,
    products_contracts_and_api_keys_have_histories,
    a_damaged_event_is_named,
);

const CLIENT_IP: &str = "203.0.113.77";

async fn start(backend: Backend) -> Running {
    Running::start_with(backend, ServeOptions::args(&["--trusted-proxy", "127.0.0.1/32"])).await
}

async fn license_number(on: &Running, key: &str) -> i64 {
    let found = on.api.admin_get(&format!("licenses?license_key={key}")).await;
    found.expect(200)["items"][0]["number"].as_i64().expect("a number")
}

fn types(history: &[Value]) -> Vec<&str> {
    history.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

fn of_type<'a>(history: &'a [Value], name: &str) -> &'a Value {
    history.iter().find(|event| event["type"] == name).unwrap_or_else(|| panic!("no {name} in {:?}", types(history)))
}

/// What an event changed, as `field: before → after`.
fn changes(event: &Value) -> Vec<String> {
    let change = |change: &Value| format!("{}: {} → {}", change["field"].as_str().expect("a field"), change["before"], change["after"]);
    event["changes"].as_array().expect("changes").iter().map(change).collect()
}

async fn a_history_tells_who_did_what_and_what_it_changed(backend: Backend) {
    let on = start(backend).await;
    let product = on.api.new_product().await;
    let owner = fields!(owner_name: "Ada", owner_email: "ada@a.example", activation_limit: 1);
    let key = on.api.new_license(product, owner).await;
    let number = license_number(&on, &key).await;
    let shop = on.api.with_key(ApiKey::Header(on.ledger.create_named_api_key("the shop", &["--capability", "*"]).await));
    let shop = shop.with_header("x-forwarded-for", CLIENT_IP);
    eventually("the key works", || async { (shop.form("verify", fields!()).await.code() == 210).then_some(()) }).await;

    shop.activate(&key, "a.example").await.expect(300, PRODUCT);
    shop.activate(&key, "b.example").await.expect(302, PRODUCT);
    on.api.update_license(&key, fields!(activation_limit: 3)).await.expect(950, PRODUCT);
    let reasoned = on.api.with_header("x-reason", "charged back");
    reasoned.admin_post(&format!("licenses/{number}/block"), json!(null)).await.expect(200);
    shop.verify(&key, "a.example").await.expect(204, PRODUCT);
    eventually("the refusal is recorded", || async {
        types(&on.api.history(&format!("licenses/{key}/history"), 50).await).contains(&"AccessRefused").then_some(())
    })
    .await;
    on.api.admin_post(&format!("licenses/{number}/unblock"), json!(null)).await.expect(200);
    let meta = fields!(license_key: key, identifier: "a.example", key: "COLOR", value: "red");
    on.api.form("create-license-key-meta", meta.clone()).await.expect(453, PRODUCT);
    on.api.form("delete-license-key-meta", meta).await.expect(252, PRODUCT);
    on.api.deactivate(&key, "a.example").await.expect("400", GLOBAL);
    on.api.form("delete-license-key", fields!(license_key: key)).await.expect(850, PRODUCT);

    let history = on.api.history(&format!("licenses/{key}/history"), 50).await;
    let expected = [
        "LicenseCreated",
        "LicenseActivated",
        "ActivationRefused",
        "ActivationLimitChanged",
        "LicenseBlocked",
        "AccessRefused",
        "LicenseAssigned",
        "LicenseMetaCreated",
        "LicenseMetaDeleted",
        "LicenseDeactivated",
        "LicenseDeleted",
    ];
    assert_eq!(types(&history), expected);
    for (at, event) in history.iter().enumerate() {
        assert_eq!(event["sequence"], at + 1);
        assert!(at == 0 || event["position"].as_i64() > history[at - 1]["position"].as_i64());
        assert!(event["request_id"].as_str().is_some_and(|id| id.len() == 36) && event["correlation_id"].is_string(), "{event}");
    }
    assert_eq!(on.api.history(&format!("licenses/{number}/history"), 50).await, history, "by its number");
    let id = on.api.ledger_get(&format!("licenses/{key}/state")).await.expect(200)["id"].as_str().expect("an id").to_owned();
    assert_eq!(on.api.history(&format!("licenses/{id}/history"), 50).await, history, "by its id");

    let created = &history[0];
    assert_eq!(created["facts"]["key"], key);
    let of_creation = changes(created);
    for change in ["status: null → \"assigned\"", "activation_limit: null → 1", "owner_email: null → \"ada@a.example\"", "deleted: null → false"]
    {
        assert!(of_creation.iter().any(|known| known == change), "{change} is not in {of_creation:?}");
    }
    let activated = &history[1];
    let number_of_shop = on.ledger.api_key_number("the shop").await.parse::<i64>().expect("a number");
    assert_eq!(activated["actor"], json!({ "kind": "api_key", "number": number_of_shop, "name": "the shop" }));
    assert_eq!((&activated["source"], &activated["operation"]), (&json!("api"), &json!("activate")));
    assert_eq!((&activated["client_ip"], &activated["personal"]), (&json!(CLIENT_IP), &json!({ "identifier": "a.example" })));
    assert_eq!(activated["personal_data"], "open");
    let activation = activated["facts"]["activation"].as_i64().expect("its number");
    let of_activation = changes(activated);
    for change in [
        "active_count: 0 → 1".to_owned(),
        format!("activations/{activation}/active: null → true"),
        format!("activations/{activation}/identifier: null → \"a.example\""),
    ] {
        assert!(of_activation.contains(&change), "{change} is not in {of_activation:?}");
    }
    let refused = &history[2];
    assert_eq!((&refused["facts"]["limit"], &refused["facts"]["active"], changes(refused)), (&json!(1), &json!(1), vec![]));
    assert_eq!(refused["personal"], json!({ "identifier": "b.example" }));
    assert_eq!(changes(&history[3]), ["activation_limit: 1 → 3"]);
    assert_eq!((&history[4]["reason"], changes(&history[4])), (&json!("charged back"), vec!["status: \"assigned\" → \"blocked\"".to_owned()]));
    assert_eq!((&history[5]["facts"]["reason"], changes(&history[5])), (&json!("license_blocked"), vec![]));
    assert_eq!(changes(&history[7]), ["meta/COLOR/value: null → \"red\""]);
    assert_eq!(changes(&history[8]), ["meta/COLOR/value: \"red\" → null"]);
    let of_deactivation = changes(&history[9]);
    assert!(of_deactivation.contains(&format!("activations/{activation}/active: true → false")), "{of_deactivation:?}");
    assert_eq!(changes(&history[10]), ["deleted: false → true"]);
    // On the command line it is an operator.
    let of_key = on.api.history(&format!("api-keys/{number_of_shop}/history"), 50).await;
    assert_eq!((&of_key[0]["actor"]["kind"], &of_key[0]["source"]), (&json!("operator"), &json!("command_line")));
    on.ledger.expect_intact().await;
}

async fn events_are_filtered_and_paged(backend: Backend) {
    let on = start(backend).await;
    let product = on.api.new_product().await;
    let key = on.api.new_license(product, fields!(activation_limit: 0)).await;
    for n in 0..5 {
        on.api.activate(&key, &format!("{n}.example")).await.expect(300, PRODUCT);
        on.api.update_license(&key, fields!(validity: n + 1)).await.expect(950, PRODUCT);
    }
    let path = format!("licenses/{key}/history");
    let all = on.api.history(&path, 500).await;
    assert_eq!(all.len(), 11);
    for limit in [1, 2, 3, 11] {
        assert_eq!(on.api.history(&path, limit).await, all, "pages of {limit}");
    }
    let of = |names: &[&str]| all.iter().filter(|event| names.iter().any(|name| event["type"] == *name)).cloned().collect::<Vec<_>>();
    let asked = async |query: &str| on.api.history(&format!("{path}?{query}"), 2).await;
    assert_eq!(asked("type=ValidityChanged").await, of(&["ValidityChanged"]));
    let both = of(&["ValidityChanged", "LicenseCreated"]);
    assert_eq!(asked("type=ValidityChanged,LicenseCreated").await, both);
    assert_eq!(asked("type=LicenseCreated&type=ValidityChanged").await, both);
    assert_eq!(asked("type=LicenseDeleted").await, Vec::<Value>::new());

    let at = |index: usize| all[index]["recorded_at"].as_str().expect("a time").to_owned();
    let later = |from: &str, to: &str| {
        let holds = |event: &&Value| event["recorded_at"].as_str().is_some_and(|time| time >= from && (to.is_empty() || time <= to));
        all.iter().filter(holds).cloned().collect::<Vec<_>>()
    };
    assert_eq!(asked(&format!("from={}", at(4))).await, later(&at(4), ""));
    assert_eq!(asked(&format!("to={}", at(4))).await, later("", &at(4)));
    assert_eq!(asked(&format!("from={}&to={}", at(3), at(6))).await, later(&at(3), &at(6)));
    let of_both: Vec<Value> = later(&at(3), "").into_iter().filter(|event| event["type"] == "LicenseActivated").collect();
    assert_eq!(asked(&format!("from={}&type=LicenseActivated", at(3))).await, of_both);
    assert_eq!(asked("from=2999-01-01").await, Vec::<Value>::new());

    let refused = async |query: &str| on.api.ledger_get(&format!("{path}?{query}")).await;
    let unknown = refused("type=LicenseCreated,Created").await;
    unknown.expect_invalid(&["type"]);
    assert!(unknown.body["errors"][0]["detail"].as_str().is_some_and(|text| text.contains("LicenseKeyReplaced")), "{}", unknown.body);
    refused("type=ProductCreated&from=then&to=17").await.expect_invalid(&["type", "from", "to"]);
    refused("limit=0").await.expect_invalid(&["limit"]);
    refused("limit=501").await.expect_invalid(&["limit"]);
    refused("after=x").await.expect_invalid(&["after"]);
    refused("sort=up").await.expect_problem(422, "invalid-parameters");
    refused("limit=1&limit=2").await.expect_problem(422, "invalid-parameters");
    on.api.ledger_get("licenses/NONE/history").await.expect_problem(404, "not-found");
    on.api.ledger_get("licenses/999999999/history").await.expect_problem(404, "not-found");
    on.api.ledger_get("products/none/history").await.expect_problem(404, "not-found");
}

async fn keys_and_personal_data_need_capabilities(backend: Backend) {
    let on = start(backend).await;
    let product = on.api.new_product().await;
    let key = on.api.new_license(product, fields!(owner_name: "Personal-Name", owner_email: "personal@a.example")).await;
    on.api.activate(&key, "personal.example").await.expect(300, PRODUCT);
    let meta = fields!(license_key: key, identifier: "personal.example", key: "COLOR", value: "Personal-Red");
    on.api.form("create-license-key-meta", meta).await.expect(453, PRODUCT);
    let number = license_number(&on, &key).await;
    let paths = [format!("licenses/{number}/history"), format!("licenses/{number}/state")];

    let auditor = on.caller(&["--capability", "ledger:read"]).await;
    for path in &paths {
        let body = auditor.ledger_get(path).await.expect(200).to_string();
        assert!(!body.contains(&key) && body.contains("KEY-…"), "{body}");
        assert!(!body.to_lowercase().contains("personal-") && !body.contains("personal.example") && !body.contains("personal@"), "{body}");
        assert!(body.contains("\"sealed\""), "{body}");
    }
    let with_keys = on.caller(&["--capability", "ledger:read", "--capability", "ledger:entries"]).await;
    let with_data = on.caller(&["--capability", "ledger:read", "--capability", "ledger:personal-data"]).await;
    for path in &paths {
        let body = with_keys.ledger_get(path).await.expect(200).to_string();
        assert!(body.contains(&key) && !body.contains("Personal-"), "{body}");
        let body = with_data.ledger_get(path).await.expect(200).to_string();
        assert!(!body.contains(&key), "{body}");
        for personal in ["Personal-Name", "personal@a.example", "personal.example", "Personal-Red"] {
            assert!(body.contains(personal), "{personal} is not in {body}");
        }
    }
    let verify = format!("licenses/{number}/verify?identifier=personal.example");
    assert_eq!(auditor.ledger_get(&verify).await.expect(200)["code"], 200);

    let other = on.caller(&["--capability", "ledger:entries", "--capability", "admin:licenses"]).await;
    for path in paths.iter().chain([&verify, &"head".to_owned(), &format!("products/{product}/history")]) {
        other.ledger_get(path).await.expect_problem(403, "not-permitted");
        on.api.with_key(ApiKey::Missing).ledger_get(path).await.expect_problem(401, "invalid-api-key");
    }
    auditor.admin_get(&format!("licenses/{number}")).await.expect_problem(403, "not-permitted");
    assert_eq!(auditor.ledger_get("head").await.expect(200)["size"], on.ledger.event_count().await);
}

async fn what_is_forgotten_is_shown_as_erased(backend: Backend) {
    let on = start(backend).await;
    let product = on.api.new_product().await;
    let key = on.api.new_license(product, fields!(owner_email: "ada@a.example")).await;
    on.api.activate(&key, "a.example").await.expect(300, PRODUCT);
    raw::execute(&on.ledger.place, "DELETE FROM subject WHERE kind = 'owner'").await.expect("the keys are destroyed");

    let history = on.api.history(&format!("licenses/{key}/history"), 50).await;
    let activated = of_type(&history, "LicenseActivated");
    assert_eq!((&activated["personal_data"], &activated["personal"], &activated["client_ip"]), (&json!("erased"), &json!(null), &json!(null)));
    let auditor = on.caller(&["--capability", "ledger:read"]).await;
    let history = auditor.history(&format!("licenses/{key}/history"), 50).await;
    assert_eq!(of_type(&history, "LicenseActivated")["personal_data"], "erased", "that can be told without seeing it");
    let state = on.api.ledger_get(&format!("licenses/{key}/state")).await.expect(200).clone();
    assert_eq!((&state["owner"]["personal_data"], &state["owner"]["email"]), (&json!("erased"), &json!(null)));
    let activation = &state["activations"]["items"][0];
    assert_eq!((&activation["personal_data"], &activation["identifier"], &activation["active"]), (&json!("erased"), &json!(null), &json!(true)));
    let verdict = on.api.ledger_get(&format!("licenses/{key}/verify?identifier=a.example")).await.expect(200).clone();
    assert_eq!((&verdict["code"], &verdict["uncertain"]), (&json!(202), &json!(true)), "{verdict}");
}

async fn products_contracts_and_api_keys_have_histories(backend: Backend) {
    let on = start(backend).await;
    let product = on.api.new_product().await;
    on.api.form("create-product-meta", fields!(product_id: product, key: "OS", value: "any")).await.expect(273, PRODUCT);
    on.api.set_product_status(product, "inactive").await;
    let history = on.api.history(&format!("products/{product}/history"), 2).await;
    assert_eq!(history[0]["type"], "ProductCreated");
    assert_eq!(changes(of_type(&history, "ProductMetaCreated")), ["meta/OS/value: null → \"any\""]);
    assert_eq!(changes(of_type(&history, "ProductUpdated")), ["status: \"active\" → \"inactive\""]);
    on.api.form("delete-product", fields!(product_id: product)).await.expect(550, GLOBAL);
    let history = on.api.history(&format!("products/{product}/history"), 50).await;
    assert_eq!(changes(of_type(&history, "ProductDeleted")), ["deleted: false → true"], "a deleted one is found by its number");

    let product = on.api.new_product().await;
    let contract = fields!(
        contract_key: "CONTRACT-SECRET", contract_name: "A reseller", contract_information: "x", product_id: product, license_keys_quantity: 5,
        status: "active", can_get_info: 1, can_generate: 1, can_destroy: 1, can_destroy_all: 1,
    );
    let made = on.api.form("create-contract", contract).await;
    let number = made.expect(841, GLOBAL).response.at("contract").at("id").integer();
    on.api.form("delete-contract", fields!(contract_id: number)).await.expect(843, GLOBAL);
    let history = on.api.history(&format!("contracts/{number}/history"), 50).await;
    assert_eq!(types(&history), ["ContractCreated", "ContractDeleted"]);
    assert_eq!(history[0]["facts"]["key"], "CONTRACT-SECRET");
    let auditor = on.caller(&["--capability", "ledger:read"]).await;
    let masked = auditor.ledger_get(&format!("contracts/{number}/history")).await;
    assert!(!masked.expect(200).to_string().contains("CONTRACT-SECRET"), "{}", masked.body);

    let value = on.ledger.create_named_api_key("the books", &["--capability", "verify", "--allow-ip", "10.0.0.0/8"]).await;
    let number = on.ledger.api_key_number("the books").await;
    on.api.admin_post(&format!("api-keys/{number}/disable"), json!(null)).await.expect(200);
    let history = on.api.history(&format!("api-keys/{number}/history"), 50).await;
    assert_eq!(types(&history), ["ApiKeyCreated", "ApiKeyDisabled"]);
    assert_eq!((&history[0]["facts"]["name"], &history[0]["facts"]["allow_ips"]), (&json!("the books"), &json!(["10.0.0.0/8"])));
    assert_eq!(changes(&history[1]), ["disabled: false → true"]);
    assert!(!format!("{history:?}").contains(&value), "its value is in no history");
    on.api.ledger_get("contracts/999999/history").await.expect_problem(404, "not-found");
    on.api.ledger_get("api-keys/999999/history").await.expect_problem(404, "not-found");
}

async fn a_damaged_event_is_named(backend: Backend) {
    let on = start(backend).await;
    let product = on.api.new_product().await;
    let (damaged, whole) = (on.api.new_license(product, fields!()).await, on.api.new_license(product, fields!()).await);
    on.api.activate(&damaged, "a.example").await.expect(300, PRODUCT);
    let history = on.api.history(&format!("licenses/{damaged}/history"), 50).await;
    let position = of_type(&history, "LicenseActivated")["position"].as_i64().expect("a position");
    raw::tamper(&on.ledger.place, &format!("UPDATE events SET event_type = 'LicenseBlocked' WHERE position = {position}")).await;
    for what in ["history", "state", "verify?identifier=a.example"] {
        let answer = on.api.ledger_get(&format!("licenses/{damaged}/{what}")).await;
        answer.expect_problem(500, "internal-error");
        assert!(answer.body["detail"].as_str().is_some_and(|text| text.contains(&format!("event {position} "))), "{}", answer.body);
    }
    // Nor is it told what was before: whether that is all can't be known.
    on.api.ledger_get(&format!("licenses/{damaged}/state?as_of={}", position - 1)).await.expect_problem(500, "internal-error");
    on.api.ledger_get(&format!("licenses/{whole}/history")).await.expect(200);
}
