//! Contracts: made, changed, deleted, listed, and used by their holders.

use crate::support::world::merged;
use crate::support::{ApiKey, Backend, Fields, GLOBAL, Json, PRODUCT, Running, both_backends, fields};

both_backends!(
    contracts_are_made_changed_listed_and_deleted,
    bad_data_is_said_field_by_field,
    a_holder_generates_up_to_the_quota_and_destroying_makes_room,
    a_contracts_key_is_as_good_as_an_api_key_for_its_own_routes,
    flags_and_status_decide_what_a_holder_may_do,
    what_generating_under_a_contract_needs,
    destroying_needs_no_contract_key,
    a_repetition_with_the_same_idempotency_key_has_one_effect,
);

fn contract(product: i64, key: &str, changes: Fields) -> Fields {
    let defaults = fields!(
        contract_key: key, contract_name: "Test Contract", contract_information: "Test information", product_id: product, license_keys_quantity: 5,
        status: "active", can_get_info: 1, can_generate: 1, can_destroy: 1, can_destroy_all: 1,
    );
    merged(defaults, changes)
}

async fn created(on: &Running, fields: Fields) -> i64 {
    on.api.form("create-contract", fields).await.expect(841, GLOBAL).response.at("contract").at("id").integer()
}

async fn contracts_are_made_changed_listed_and_deleted(backend: Backend) {
    let on = Running::start(backend).await;
    let (product, other) = (on.api.new_product().await, on.api.new_product().await);
    let one = created(&on, contract(product, "C-1", fields!())).await;
    let two = created(&on, contract(other, "C-2", fields!(status: "inactive", can_destroy: 0))).await;

    let listed = on.api.get("get-all-contracts", fields!()).await;
    let rows = listed.expect(846, GLOBAL).expect_members(&["contracts"]).response.at("contracts").items().to_vec();
    assert_eq!(rows.iter().map(|row| row.at("id").integer()).collect::<Vec<_>>(), [one, two]);
    assert_eq!((rows[1].at("status").text(), rows[1].at("can_destroy").integer(), rows[1].at("product_id").integer()), ("inactive", 0, other));
    let of_other = on.api.get("get-all-contracts", fields!(product_id: other)).await;
    assert_eq!(of_other.response.at("contracts").items().len(), 1);
    on.api.get("get-all-contracts", fields!(product_id: 999)).await.expect(740, GLOBAL);

    let update = |key: &str, id: i64| merged(contract(other, key, fields!(license_keys_quantity: 9)), fields!(contract_id: id));
    let changed = on.api.form("update-contract", update("C-1b", one)).await;
    let changed = changed.expect(842, GLOBAL).response.at("contract");
    assert_eq!(
        (changed.at("contract_key").text(), changed.at("license_keys_quantity").text(), changed.at("product_id").text()),
        ("C-1b", "9", &*other.to_string())
    );
    on.api
        .form("update-contract", update("C-2", one))
        .await
        .expect(825, GLOBAL)
        .expect_errors(r#"{"contract_key":"Contract key is required and must be unique."}"#);
    on.api.form("update-contract", update("C-3", 999)).await.expect(844, GLOBAL);
    on.api.form("create-contract", contract(product, "C-2", fields!())).await.expect(825, GLOBAL);

    on.api.form("delete-contract", fields!(contract_id: one)).await.expect(843, GLOBAL).expect_members(&[]);
    on.api.form("delete-contract", fields!(contract_id: one)).await.expect(844, GLOBAL);
    on.api.form("delete-contract", fields!()).await.expect(844, GLOBAL);
    created(&on, contract(product, "C-1b", fields!())).await;
    on.ledger.expect_intact().await;
}

async fn bad_data_is_said_field_by_field(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    created(&on, contract(product, "C-1", fields!())).await;
    let cases = [
        (fields!(contract_key: "C-1"), r#"{"contract_key":"Contract key is required and must be unique."}"#),
        (
            fields!(contract_key: "C-1", status: "x"),
            r#"{"contract_key":"Contract key is required and must be unique.","status":"Status must be active or inactive"}"#,
        ),
        (fields!(contract_name: " "), r#"{"contract_name":"Contract name is required."}"#),
        (fields!(contract_information: ""), r#"{"contract_information":"Contract information is required."}"#),
        (fields!(product_id: 99), r#"{"product_id":"Product Id must be a valid product Id."}"#),
        (fields!(license_keys_quantity: "-1"), r#"{"license_keys_quantity":"License keys quantity must be 1 or more."}"#),
        (fields!(can_generate: "yes"), r#"{"can_generate":"Can generate must be 1 for true or 0 for false"}"#),
    ];
    for (changes, errors) in cases {
        let fields = contract(product, "C-9", changes);
        on.api.form("create-contract", fields).await.expect(825, GLOBAL).expect_errors(errors);
    }
    assert_eq!(on.api.get("get-all-contracts", fields!()).await.response.at("contracts").items().len(), 1);
}

async fn a_holder_generates_up_to_the_quota_and_destroying_makes_room(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    on.new_generator(product, &["--activation-limit", "2"]).await;
    created(&on, contract(product, "C-1", fields!())).await;
    let generate = |quantity: i64| on.api.json("contracts/generate", serde_json::json!({"contract_uuid": "C-1", "quantity": quantity}));
    let info = || async {
        let answer = on.api.get("contracts/get-info", fields!(contract_key: "C-1")).await;
        answer.expect(1204, GLOBAL).expect_members(&["contract"]).response.at("contract").at("license_keys_count").integer()
    };

    let first = generate(3).await;
    let keys = first.expect(1300, GLOBAL).expect_members(&["license_keys"]).response.at("license_keys").items().to_vec();
    assert_eq!((keys.len(), info().await), (3, 3));
    let row = on.api.listed(product, keys[0].text()).await.expect("the key is a license of the product");
    assert_eq!((row.at("status").text(), row.at("activation_limit").integer()), ("available", 2));
    generate(3).await.expect(1205, GLOBAL).expect_members(&[]);
    generate(2).await.expect(1300, GLOBAL);
    generate(1).await.expect(1205, GLOBAL);
    for bad in [0, -1, 10_001] {
        generate(bad).await.expect(1206, GLOBAL);
    }

    let destroy = |key: &str| on.api.json("contracts/destroy", serde_json::json!({"contract_uuid": "C-1", "license_key": key}));
    destroy(keys[0].text()).await.expect(1400, GLOBAL).expect_members(&[]);
    destroy(keys[0].text()).await.expect(1401, GLOBAL);
    assert_eq!(info().await, 4);
    // A key that the vendor deletes frees its place as well.
    on.api.form("delete-license-key", fields!(license_key: keys[1].text())).await.expect(850, PRODUCT);
    assert_eq!(info().await, 3);
    generate(2).await.expect(1300, GLOBAL);
    let others = on.api.new_license(product, fields!(status: "available")).await;
    destroy(&others).await.expect(1401, GLOBAL);

    let destroy_all = || on.api.json("contracts/destroy-all", serde_json::json!({"contract_uuid": "C-1"}));
    destroy_all().await.expect(1500, GLOBAL).expect_members(&[]);
    destroy_all().await.expect(1501, GLOBAL);
    assert_eq!(info().await, 0);
    assert!(on.api.listed(product, &others).await.is_some(), "what is not the contract's stays");
    on.ledger.expect_intact().await;
}

async fn a_contracts_key_is_as_good_as_an_api_key_for_its_own_routes(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    on.new_generator(product, &[]).await;
    created(&on, contract(product, "6dabe9fa-3512", fields!())).await;
    created(&on, contract(product, "C-2", fields!())).await;
    let holder = on.api.with_key(ApiKey::Header("6dabe9fa-3512".to_string()));
    let answer = holder.json("contracts/generate", serde_json::json!({"quantity": 2})).await;
    let keys = answer.expect(1300, GLOBAL).response.at("license_keys").items().to_vec();
    let info = holder.get("contracts/get-info", fields!()).await;
    assert_eq!(info.expect(1204, GLOBAL).response.at("contract").at("license_keys_count").integer(), 2);
    holder.form("contracts/destroy", fields!(license_key: keys[0].text())).await.expect(1400, GLOBAL);
    // Another contract is out of reach, and so is everything else.
    holder.get("contracts/get-info", fields!(contract_key: "C-2")).await.expect(1200, GLOBAL);
    let theirs = on.api.json("contracts/generate", serde_json::json!({"contract_key": "C-2", "quantity": 1})).await;
    let theirs = theirs.expect(1300, GLOBAL).response.at("license_keys").items()[0].text().to_string();
    holder.form("contracts/destroy", fields!(license_key: theirs)).await.expect(1401, GLOBAL);
    holder.form("contracts/destroy-all", fields!(contract_key: "C-2")).await.expect(1200, GLOBAL);
    holder.form("generate", fields!(generator_id: 1, quantity: 1)).await.expect(100, GLOBAL);
    holder.get("get-all-contracts", fields!()).await.expect(100, GLOBAL);
    holder.form("contracts/destroy-all", fields!()).await.expect(1500, GLOBAL);
    on.api.with_key(ApiKey::Header("C-3".to_string())).get("contracts/get-info", fields!()).await.expect(100, GLOBAL);
    on.ledger.expect_intact().await;
}

async fn flags_and_status_decide_what_a_holder_may_do(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    on.new_generator(product, &[]).await;
    created(&on, contract(product, "C-0", fields!(can_get_info: 0, can_generate: 0, can_destroy: 0, can_destroy_all: 0))).await;
    created(&on, contract(product, "C-1", fields!(status: "inactive"))).await;
    for (key, code) in [("C-0", 102), ("C-1", 1200), ("C-9", 1200)] {
        on.api.get("contracts/get-info", fields!(contract_key: key)).await.expect(code, GLOBAL);
        on.api.form("contracts/generate", fields!(contract_key: key, quantity: 1)).await.expect(code, GLOBAL);
        on.api.form("contracts/destroy", fields!(contract_key: key, license_key: "K")).await.expect(code, GLOBAL);
        on.api.form("contracts/destroy-all", fields!(contract_key: key)).await.expect(code, GLOBAL);
    }
    on.api.get("contracts/get-info", fields!()).await.expect(1200, GLOBAL);
    let limited = on.caller(&["--capability", "contracts/get-info"]).await;
    limited.get("contracts/get-info", fields!(contract_key: "C-9")).await.expect(1200, GLOBAL);
    limited.form("contracts/generate", fields!(contract_key: "C-9", quantity: 1)).await.expect(102, GLOBAL);
}

async fn what_generating_under_a_contract_needs(backend: Backend) {
    let on = Running::start(backend).await;
    let (product, gone) = (on.api.new_product().await, on.api.new_product().await);
    created(&on, contract(product, "C-1", fields!())).await;
    created(&on, contract(gone, "C-2", fields!())).await;
    on.api.form("delete-product", fields!(product_id: gone)).await.expect(550, GLOBAL);
    on.api.form("contracts/generate", fields!(contract_key: "C-1", quantity: 1)).await.expect(1203, GLOBAL);
    on.api.form("contracts/generate", fields!(contract_key: "C-2", quantity: 1)).await.expect(1202, GLOBAL);
    on.new_generator(product, &["--pattern", "#"]).await;
    on.api.form("contracts/generate", fields!(contract_key: "C-1", quantity: 5)).await.expect(1300, GLOBAL);
    created(&on, contract(product, "C-3", fields!(license_keys_quantity: 100))).await;
    on.api.form("contracts/generate", fields!(contract_key: "C-3", quantity: 6)).await.expect(1206, GLOBAL);
    on.api.form("contracts/generate", fields!(contract_key: "C-3", quantity: 5)).await.expect(1300, GLOBAL);
    on.ledger.expect_intact().await;
}

async fn destroying_needs_no_contract_key(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    on.new_generator(product, &[]).await;
    created(&on, contract(product, "C-1", fields!())).await;
    let made = on.api.form("contracts/generate", fields!(contract_key: "C-1", quantity: 1)).await;
    let key = made.response.at("license_keys").items()[0].text().to_string();
    on.api.json("contracts/destroy", serde_json::json!({"license_key": key})).await.expect(1400, GLOBAL);
    on.api.json("contracts/destroy", serde_json::json!({"license_key": key})).await.expect(1401, GLOBAL);
    on.api.json("contracts/destroy", serde_json::json!({})).await.expect(1401, GLOBAL);
    let plain = on.api.new_license(product, fields!()).await;
    on.api.json("contracts/destroy", serde_json::json!({"license_key": plain})).await.expect(1401, GLOBAL);
    on.api.verify(&plain, "a.example").await.expect(202, PRODUCT);
}

async fn a_repetition_with_the_same_idempotency_key_has_one_effect(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    on.new_generator(product, &[]).await;
    created(&on, contract(product, "C-1", fields!(license_keys_quantity: 50))).await;
    let once = on.api.with_header("idempotency-key", "1");
    let generate = || once.json("contracts/generate", serde_json::json!({"contract_uuid": "C-1", "quantity": 4}));
    let first = generate().await.expect(1300, GLOBAL).response.at("license_keys").clone();
    assert_eq!(generate().await.response.at("license_keys"), &first);
    let create = || once.form("create-contract", contract(product, "C-2", fields!()));
    let made = create().await.expect(841, GLOBAL).response.at("contract").clone();
    assert_eq!(create().await.response.at("contract"), &made);
    let destroy_all = || once.form("contracts/destroy-all", fields!(contract_key: "C-1"));
    destroy_all().await.expect(1500, GLOBAL);
    on.api.form("contracts/generate", fields!(contract_key: "C-1", quantity: 2)).await.expect(1300, GLOBAL);
    destroy_all().await.expect(1500, GLOBAL);
    let info = on.api.get("contracts/get-info", fields!(contract_key: "C-1")).await;
    assert_eq!(info.response.at("contract").at("license_keys_count"), &Json::from(2), "what was made afterwards stays");
    on.ledger.expect_intact().await;
}
