//! Creating, changing and deleting license keys.

use crate::support::world::{fresh_key, merged, new_license_fields};
use crate::support::{Backend, Fields, GLOBAL, Json, PRODUCT, Running, both_backends, fields};

both_backends!(
    keys_are_created_once_each,
    bad_data_creates_nothing_and_says_what_is_wrong,
    ten_thousand_keys_in_one_call_and_no_more,
    an_update_changes_only_what_is_given,
    a_bad_update_changes_nothing,
    making_a_key_available_again_ends_its_activations_and_clears_its_owner,
    blocking_keeps_activations_and_owner,
    a_license_can_move_to_another_product,
    a_deleted_key_may_be_created_again_as_a_new_license,
);

const ROUTE: &str = "create-license-keys";

async fn keys_are_created_once_each(backend: Backend) {
    let on = Running::start(backend).await;
    let (product, other) = (on.api.new_product().await, on.api.new_product().await);
    let counts = |answer: &crate::support::Answer| {
        let count = |name: &str| answer.response.at(name).integer();
        (count("created"), count("duplicate"))
    };

    let keys = [fresh_key(), fresh_key()];
    let first = on.api.try_new_licenses(product, &keys, fields!()).await;
    first.expect(900, PRODUCT).expect_members(&["created", "duplicate"]).expect_signed_by(product);
    assert_eq!(counts(&first), (2, 0));

    on.api.try_new_licenses(product, &keys, fields!()).await.expect(902, PRODUCT);
    // A key string is one license's, whatever product it is of.
    on.api.try_new_licenses(other, &keys, fields!()).await.expect(902, PRODUCT).expect_signed_by(other);
    let third = fresh_key();
    let mixed = [keys[1].clone(), third.clone(), keys[0].clone(), third.clone()];
    let mixed = on.api.try_new_licenses(other, &mixed, fields!()).await;
    assert_eq!(counts(mixed.expect(900, PRODUCT)), (1, 3), "one new key, given twice, beside two known ones");
    on.api.verify(&third, "a.example").await.expect(202, PRODUCT).expect_signed_by(other);
    on.api.verify(&keys[0], "a.example").await.expect(202, PRODUCT).expect_signed_by(product);

    // The list as an array in JSON, and numbers as numbers.
    let json = serde_json::json!({
        "license_keys": [fresh_key(), fresh_key(), fresh_key()], "product_id": product,
        "activation_limit": 2, "validity": 0, "status": "available",
    });
    let answer = on.api.json(ROUTE, json).await;
    assert_eq!(counts(answer.expect(900, PRODUCT)), (3, 0));
    on.ledger.expect_intact().await;
}

async fn bad_data_creates_nothing_and_says_what_is_wrong(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let before = on.ledger.event_count().await;
    let keys = [fresh_key()];

    let nothing = on.api.form(ROUTE, fields!()).await;
    nothing.expect(901, GLOBAL).expect_members(&["errors"]);
    assert_eq!(nothing.response.at("errors").at("license_keys"), &Json::parse(r#"["The license keys field is required."]"#));
    assert_eq!(nothing.response.at("errors").at("status"), &Json::parse(r#"["The status field is required."]"#));

    let cases: [(Fields, &str); 9] = [
        (fields!(license_keys: "KEY-1"), r#"{"license_keys":["The license keys must be a JSON array."]}"#),
        (fields!(license_keys: r#"{"a":1}"#), r#"{"license_keys":["The license keys must be a JSON array."]}"#),
        (fields!(activation_limit: ""), r#"{"activation_limit":["The activation limit field is required."]}"#),
        (fields!(activation_limit: -1), r#"{"activation_limit":["The activation limit must be an integer of 0 or more."]}"#),
        (fields!(activation_limit: "two"), r#"{"activation_limit":["The activation limit must be an integer of 0 or more."]}"#),
        (fields!(validity: 1.5), r#"{"validity":["The validity must be an integer of 0 or more."]}"#),
        (fields!(status: "sold"), r#"{"status":["The selected status is invalid."]}"#),
        (fields!(assigned_at: "yesterday"), r#"{"assigned_at":["The assigned at is not a valid date."]}"#),
        (fields!(validity: "", status: ""), r#"{"validity":["The validity field is required."],"status":["The status field is required."]}"#),
    ];
    for (changes, errors) in cases {
        let answer = on.api.try_new_licenses(product, &keys, changes).await;
        answer.expect(901, PRODUCT).expect_errors(errors).expect_signed_by(product);
    }
    let unknown = on.api.try_new_licenses(999_999_999, &keys, fields!()).await;
    unknown.expect(901, GLOBAL).expect_errors(r#"{"product_id":["The selected product id is invalid."]}"#);
    let text = on.api.form(ROUTE, merged(new_license_fields(product, &keys, fields!()), fields!(product_id: "first"))).await;
    text.expect(901, GLOBAL).expect_errors(r#"{"product_id":["The selected product id is invalid."]}"#);

    assert_eq!(on.ledger.event_count().await, before, "bad data leaves no event");
    on.api.verify(&keys[0], "a.example").await.expect(210, GLOBAL);
}

async fn ten_thousand_keys_in_one_call_and_no_more(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let keys: Vec<String> = (0..10_001).map(|_| fresh_key()).collect();
    let too_many = on.api.try_new_licenses(product, &keys, fields!(status: "available")).await;
    too_many.expect(901, PRODUCT);
    assert_eq!(too_many.response.at("errors").names(), ["license_keys"]);
    on.api.new_licenses(product, &keys[..10_000], fields!(status: "available")).await;
    let count = on.api.get("get-available-license-keys-count", fields!(product_id: product)).await;
    assert_eq!(count.expect(741, GLOBAL).response.at("count").integer(), 10_000);
    on.ledger.expect_intact().await;
}

async fn an_update_changes_only_what_is_given(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    on.api.update_license("no such key", fields!(validity: 1)).await.expect(952, GLOBAL);

    let owner = fields!(owner_name: "Ada", owner_email: "ada@a.example", assigned_at: "2024-01-08 21:17:32");
    let license = on.api.new_license(product, merged(owner, fields!(activation_limit: 3, validity: 0))).await;
    let row = async || on.api.listed(product, &license).await.expect("the license is listed");
    let before = row().await;
    let changes = [
        ("owner_name", fields!(owner_name: "Grace")),
        ("owner_email", fields!(owner_email: "grace@a.example")),
        ("activation_limit", fields!(activation_limit: 7)),
        ("validity", fields!(validity: 36500)),
        ("assigned_at", fields!(assigned_at: "2023-12-31 00:00:00")),
    ];
    let mut expected = before.clone();
    for (changed, fields) in changes {
        on.api.update_license(&license, fields).await.expect(950, PRODUCT).expect_members(&[]);
        let now = row().await;
        for name in before.names() {
            if name == changed {
                assert_ne!(now.at(name), before.at(name), "{name} is changed");
            } else if name != "updated_at" {
                assert_eq!(now.at(name), expected.at(name), "{name} stays when {changed} changes");
            }
        }
        expected = now;
    }
    let events = on.ledger.event_count().await;
    on.api.update_license(&license, fields!(owner_name: "Grace", activation_limit: 7)).await.expect(950, PRODUCT);
    assert_eq!(on.ledger.event_count().await, events, "what is so already is no event");
}

async fn a_bad_update_changes_nothing(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    let before = on.api.listed(product, &license).await;
    let events = on.ledger.event_count().await;
    let cases = [
        (fields!(status: "sold"), r#"{"status":["The selected status is invalid."]}"#),
        (fields!(product_id: 999_999_999), r#"{"product_id":["The selected product id is invalid."]}"#),
        (fields!(activation_limit: -3), r#"{"activation_limit":["The activation limit must be an integer of 0 or more."]}"#),
        (fields!(validity: "long"), r#"{"validity":["The validity must be an integer of 0 or more."]}"#),
        (fields!(assigned_at: "2024-13-01 00:00:00"), r#"{"assigned_at":["The assigned at is not a valid date."]}"#),
    ];
    for (wrong, errors) in cases {
        let request = merged(fields!(owner_name: "must not be stored"), wrong);
        on.api.update_license(&license, request).await.expect(951, PRODUCT).expect_members(&["errors"]).expect_errors(errors);
    }
    assert_eq!(on.api.listed(product, &license).await, before);
    assert_eq!(on.ledger.event_count().await, events);
}

async fn making_a_key_available_again_ends_its_activations_and_clears_its_owner(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let owner = fields!(owner_name: "Ada", owner_email: "ada@a.example", activation_limit: 2);
    let license = on.api.new_license(product, owner).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    on.api.activate(&license, "b.example").await.expect(300, PRODUCT);
    let before = on.ledger.event_count().await;

    on.api.update_license(&license, fields!(status: "available")).await.expect(950, PRODUCT);
    // The change of status, the activations ended, the owner cleared: each is an event.
    assert!(on.ledger.event_count().await >= before + 3, "each of these is an event");
    let row = on.api.listed(product, &license).await.expect("the license is listed");
    assert_eq!(row.at("status").text(), "available");
    assert_eq!((row.at("owner_name"), row.at("owner_email")), (&Json::Null, &Json::Null));
    on.api.verify(&license, "a.example").await.expect(201, PRODUCT);

    on.api.assign(&license).await.expect(800, GLOBAL);
    on.api.verify(&license, "a.example").await.expect(202, PRODUCT);
    on.api.activate(&license, "c.example").await.expect(300, PRODUCT);
    on.api.activate(&license, "d.example").await.expect(300, PRODUCT);
    on.api.activate(&license, "a.example").await.expect(302, PRODUCT);
    on.ledger.expect_intact().await;
}

async fn blocking_keeps_activations_and_owner(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!(owner_name: "Ada", activation_limit: 1)).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    on.api.update_license(&license, fields!(status: "blocked")).await.expect(950, PRODUCT);
    on.api.verify(&license, "a.example").await.expect(204, PRODUCT);
    on.api.activate(&license, "b.example").await.expect(204, PRODUCT);
    let row = on.api.listed(product, &license).await.expect("the license is listed");
    assert_eq!((row.at("status").text(), row.at("owner_name").text()), ("blocked", "Ada"));
    on.api.update_license(&license, fields!(status: "assigned")).await.expect(950, PRODUCT);
    on.api.verify(&license, "a.example").await.expect(200, PRODUCT);
    on.api.activate(&license, "b.example").await.expect(302, PRODUCT);
}

async fn a_license_can_move_to_another_product(backend: Backend) {
    let on = Running::start(backend).await;
    let (from, to) = (on.api.new_product().await, on.api.new_product().await);
    let license = on.api.new_license(from, fields!()).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT).expect_signed_by(from);
    on.api.update_license(&license, fields!(product_id: to)).await.expect(950, PRODUCT);
    on.api.verify(&license, "a.example").await.expect(200, PRODUCT).expect_signed_by(to);
    assert_eq!(on.api.listed(from, &license).await, None);
    let row = on.api.listed(to, &license).await.expect("the license is listed");
    assert_eq!(row.at("product_id").integer(), to);
    on.api.form("delete-product", fields!(product_id: from)).await.expect(550, GLOBAL);
}

async fn a_deleted_key_may_be_created_again_as_a_new_license(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let key = fresh_key();
    let owner = fields!(owner_name: "Ada", activation_limit: 1);
    on.api.new_licenses(product, std::slice::from_ref(&key), owner).await;
    on.api.activate(&key, "a.example").await.expect(300, PRODUCT);
    let meta = fields!(license_key: key, identifier: "a.example", key: "colour", value: "blue");
    on.api.form("create-license-key-meta", meta.clone()).await.expect(453, PRODUCT);
    let first = on.api.listed(product, &key).await.expect("the license is listed").at("id").integer();

    on.api.form("delete-license-key", fields!(license_key: key)).await.expect(850, PRODUCT).expect_members(&[]);
    on.api.form("delete-license-key", fields!(license_key: key)).await.expect(851, GLOBAL).expect_members(&[]);
    on.api.verify(&key, "a.example").await.expect(210, GLOBAL);
    on.api.update_license(&key, fields!(validity: 1)).await.expect(952, GLOBAL);
    assert_eq!(on.api.listed(product, &key).await, None);

    on.api.new_licenses(product, std::slice::from_ref(&key), fields!(activation_limit: 1)).await;
    let row = on.api.listed(product, &key).await.expect("the license is listed");
    assert!(row.at("id").integer() > first, "a number is never used again");
    assert_eq!(row.at("owner_name"), &Json::Null);
    on.api.verify(&key, "a.example").await.expect(202, PRODUCT);
    on.api.activate(&key, "b.example").await.expect(300, PRODUCT);
    on.api.form("create-license-key-meta", meta).await.expect(453, PRODUCT);
    on.ledger.expect_intact().await;
}
