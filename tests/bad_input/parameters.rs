//! Parameters of the wrong type, twice, or with characters that no text has.

use serde_json::json;

use crate::Target;
use crate::support::{Backend, both_backends, fields};

both_backends!(
    wrong_json_types_are_bad_requests,
    a_known_parameter_given_twice_is_a_bad_request,
    control_characters_are_bad_requests,
    a_list_of_millions_is_just_too_many_keys,
    key_lists_with_anything_but_texts_create_nothing,
    numbers_of_any_size_are_refused_or_taken_but_never_break,
);

async fn wrong_json_types_are_bad_requests(backend: Backend) {
    let target = Target::start(backend).await;
    let license = &target.license;
    for wrong in [json!([]), json!({}), json!(["a.example"]), json!({"a": "b"}), json!([null])] {
        let requests = [
            ("activate", json!({"license_key": license, "identifier": wrong})),
            ("activate", json!({"license_key": wrong, "identifier": "b.example"})),
            ("create-product", json!({"name": wrong, "description": "a"})),
            ("update-license-key", json!({"license_key": license, "owner_name": wrong})),
            ("create-license-key-meta", json!({"license_key": license, "identifier": "a.example", "key": "k", "value": wrong})),
            ("create-product-meta", json!({"product_id": target.product, "key": wrong, "value": "v"})),
        ];
        for (route, request) in requests {
            target.api().json(route, request).await.expect_error(400);
        }
        let number = json!({
            "license_keys": ["A"], "product_id": target.product, "activation_limit": wrong, "validity": 0, "status": "assigned",
        });
        target.api().json("create-license-keys", number).await.expect_error(400);
    }
    target.expect_untouched().await;
}

async fn a_known_parameter_given_twice_is_a_bad_request(backend: Backend) {
    let target = Target::start(backend).await;
    let license = &target.license;
    let twice = fields!(license_key: license, identifier: "b.example", identifier: "c.example");
    target.api().form("activate", twice.clone()).await.expect_error(400);
    target.api().multipart("activate", twice).await.expect_error(400);
    let equal = fields!(license_key: license, identifier: "b.example", identifier: "b.example");
    target.api().form("activate", equal).await.expect_error(400);
    let json = format!(r#"{{"license_key":"{license}","identifier":"b.example","identifier":"c.example"}}"#);
    let json = target.api().post("activate").header("content-type", "application/json").body(json);
    target.api().answer(json).await.expect_error(400);
    target.api().get("get-license-keys", fields!(page: 1, page: 2)).await.expect_error(400);
    let query = target.api().request(reqwest::Method::POST, &format!("/api/v1/activate?license_key={license}&license_key=x"));
    target.api().answer(query).await.expect_error(400);
    let keys = fields!(api_key: "a", api_key: "b", license_key: license, identifier: "b.example");
    target.api().form("activate", keys).await.expect_error(400);
    target.expect_untouched().await;
}

async fn control_characters_are_bad_requests(backend: Backend) {
    let target = Target::start(backend).await;
    let license = &target.license;
    for character in ['\0', '\u{1}', '\t', '\n', '\r', '\u{1b}', '\u{7f}', '\u{85}'] {
        let text = format!("a{character}b");
        let requests = [
            ("activate", fields!(license_key: license, identifier: text)),
            ("activate", fields!(license_key: text, identifier: "b.example")),
            ("activate", fields!(license_key: license, identifier: "b.example", post_url: text)),
            ("assign-and-activate-license-key", fields!(license_key: license, identifier: "b.example", post_url: text)),
            ("update-license-key", fields!(license_key: license, owner_name: text)),
            ("update-license-key", fields!(license_key: license, owner_email: text)),
            ("create-product-meta", fields!(product_id: target.product, key: text, value: "v")),
            ("assign-license-key", fields!(license_key: text)),
        ];
        for (route, request) in requests {
            target.api().form(route, request.clone()).await.expect_error(400);
            let object = request.into_iter().map(|(name, value)| (name, value.into())).collect::<serde_json::Map<_, _>>();
            target.api().json(route, object.into()).await.expect_error(400);
        }
    }
    for route in ["create-product", "create-product-meta", "create-license-key-meta"] {
        let nul = "a\0b";
        let request = fields!(
            name: "A", description: nul, product_id: target.product, license_key: license, identifier: "a.example", key: "k", value: nul,
        );
        target.api().form(route, request).await.expect_error(400);
    }
    target.api().get("get-license-keys", fields!(owner_name: "a\0b")).await.expect_error(400);
    let long = "u".repeat(2_049);
    target.api().form("activate", fields!(license_key: license, identifier: "b.example", post_url: long)).await.expect_error(400);
    target.expect_untouched().await;
}

async fn a_list_of_millions_is_just_too_many_keys(backend: Backend) {
    let target = Target::start(backend).await;
    let events = target.on.ledger.event_count().await;
    let body = |items: usize, end: &str| {
        let rest = format!(r#""product_id":{},"activation_limit":1,"validity":0,"status":"available""#, target.product);
        format!(r#"{{"license_keys":[{}{end}],{rest}}}"#, "0,".repeat(items))
    };
    for (items, end, code) in [(4_000_000, "0", 901), (20_000, "null", 901), (20_000, "nonsense", 9400), (20_000, "1e400", 9400)] {
        let request =
            |api: &crate::support::Client| api.post("create-license-keys").header("content-type", "application/json").body(body(items, end));
        let answer = target.api().answer(request(target.api())).await;
        assert_eq!(answer.code(), code, "{}", answer.response);
        if code == 901 {
            answer.expect_errors(r#"{"license_keys":["The license keys must be at most 10000."]}"#);
        }
        let nobody = target.api().with_key(crate::support::ApiKey::Missing);
        assert_eq!(nobody.answer(request(&nobody)).await.code(), if code == 901 { 100 } else { code });
    }
    assert_eq!(target.on.ledger.event_count().await, events);
    target.expect_untouched().await;
}

async fn key_lists_with_anything_but_texts_create_nothing(backend: Backend) {
    let target = Target::start(backend).await;
    let long = format!(r#"["good","{}"]"#, "k".repeat(256));
    let lists = [
        r#"["good",null]"#,
        r#"["good",{}]"#,
        r#"["good",["nested"]]"#,
        r#"["good",""]"#,
        r#"["good","  "]"#,
        r#"["good","a\u0000b"]"#,
        r#"["good","a\nb"]"#,
        r"[]",
        &long,
    ];
    for list in lists {
        let rest = || fields!(product_id: target.product, activation_limit: 1, validity: 0, status: "available");
        let form = [fields!(license_keys: list), rest()].concat();
        let array = json!({
            "license_keys": serde_json::from_str::<serde_json::Value>(list).expect("JSON"),
            "product_id": target.product, "activation_limit": 1, "validity": 0, "status": "available",
        });
        for answer in [target.api().form("create-license-keys", form).await, target.api().json("create-license-keys", array).await] {
            assert!(matches!(answer.code(), 901 | 9400), "{list}: {}", answer.response);
        }
    }
    target.api().verify("good", "a.example").await.expect(210, crate::support::GLOBAL);
    target.expect_untouched().await;
}

async fn numbers_of_any_size_are_refused_or_taken_but_never_break(backend: Backend) {
    let target = Target::start(backend).await;
    let sizes = [
        "2147483647",
        "2147483648",
        "4294967296",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "1e3",
        "1e400",
        "0x10",
        "+1",
        " 1",
        "-0",
        "-1",
        "00001",
        "1.0",
        "٣",
        "Infinity",
        "NaN",
        "9".repeat(200).as_str(),
    ]
    .map(ToString::to_string);
    for number in &sizes {
        for field in ["activation_limit", "validity", "product_id"] {
            let request = vec![("license_key".to_string(), target.license.clone()), (field.to_string(), number.clone())];
            let answer = target.api().form("update-license-key", request).await;
            assert!(answer.status < 500, "{field} {number}: {}", answer.response);
            let keys = fields!(license_keys: format!("[\"{field} {number}\"]"), product_id: target.product, activation_limit: 1, validity: 0, status: "assigned");
            let request = crate::support::world::merged(keys, vec![(field.to_string(), number.clone())]);
            let answer = target.api().form("create-license-keys", request).await;
            assert!(answer.status < 500, "{field} {number}: {}", answer.response);
        }
        for field in ["page", "items_per_page", "product_id"] {
            let answer = target.api().get("get-license-keys", vec![(field.to_string(), number.clone())]).await;
            assert!(answer.status < 500, "{field} {number}: {}", answer.response);
        }
        for raw in [format!(r#"{{"product_id":{number}}}"#), format!(r#"{{"product_id":"{number}"}}"#)] {
            let request = target.api().post("delete-product").header("content-type", "application/json").body(raw);
            let answer = target.api().answer(request).await;
            assert!(answer.status < 500 && answer.code() != 550, "{number}: {}", answer.response);
        }
    }
    for date in [
        "0000-00-00 00:00:00",
        "9999-12-31 23:59:59",
        "-9999-01-01 00:00:00",
        "2024-02-30 00:00:00",
        "99999-01-01 00:00:00",
        "1970-01-01 00:00:00",
        "2024-01-01 24:00:00",
    ] {
        for validity in ["1", "2147483647"] {
            let request = fields!(license_key: target.license, assigned_at: date, validity: validity);
            let answer = target.api().form("update-license-key", request).await;
            assert!(answer.status < 500, "{date}: {}", answer.response);
            let answer = target.api().details(&target.license, "a.example").await;
            assert!(answer.status < 500, "{date}: {}", answer.response);
            let answer = target.api().get("get-license-keys", fields!()).await;
            assert!(answer.status < 500, "{date}: {}", answer.response);
        }
    }
    let good_again = fields!(validity: 0, assigned_at: "2024-01-01 00:00:00", activation_limit: 0, product_id: target.product);
    target.api().update_license(&target.license, good_again).await.expect(950, crate::support::PRODUCT);
    target.expect_working().await;
}
