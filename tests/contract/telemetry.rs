//! Telemetry: every report is stored with what is right and wrong about it, and found by every filter.

use futures::future::join_all;

use crate::support::releases::Upload;
use crate::support::world::merged;
use crate::support::{Backend, Client, Fields, GLOBAL, Json, Running, both_backends, fields, raw};

both_backends!(
    every_report_is_stored_with_its_flags,
    a_report_that_is_wrong_in_a_field_says_so_and_is_stored,
    each_filter_narrows_the_list,
    a_list_comes_in_pages,
    what_may_be_personal_is_in_the_log_only_sealed,
    many_reports_at_once_are_all_stored_once,
    a_report_under_an_idempotency_key_is_stored_once,
);

fn report(product: i64, license: &str, changes: Fields) -> Fields {
    let defaults = fields!(
        data_type: "numeric-single-value", numeric_data_single_value: "50", product_id: product, user_identifier: "554dddsqfqs4dqd5qsd74q",
        license_key: license, activation_identifier: "12135644", product_version: "5.2.5", data_group: "test_group",
    );
    merged(defaults, changes)
}

async fn list(api: &Client, filter: Fields) -> Vec<Json> {
    let filter = merged(fields!(data_type: "numeric-single-value", data_group: "test_group"), filter);
    let answer = api.get("get-telemetry-data", filter).await;
    answer.expect(970, GLOBAL).expect_members(&["data"]).response.at("data").items().to_vec()
}

fn numbers(rows: &[Json]) -> Vec<i64> {
    rows.iter().map(|row| row.at("id").integer()).collect()
}

async fn every_report_is_stored_with_its_flags(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    on.api.form("send-telemetry-data", report(product, &license, fields!())).await.expect(830, GLOBAL).expect_errors("[]");
    on.api.form("send-telemetry-data", report(product, "no such key", fields!())).await.expect(830, GLOBAL).expect_errors("[]");
    let unknown = r#"{"product_id":["The selected product id is invalid."]}"#;
    on.api.form("send-telemetry-data", report(999_999_999, &license, fields!())).await.expect(831, GLOBAL).expect_errors(unknown);

    let rows = list(&on.api, fields!()).await;
    let names = [
        "id",
        "user_identifier",
        "license_key",
        "activation_identifier",
        "product_id",
        "product_version",
        "data_type",
        "data_group",
        "data",
        "is_correct_format",
        "license_key_exists",
        "product_exists",
        "product_version_exists",
        "has_red_flags",
        "created_at",
        "updated_at",
    ];
    assert_eq!(rows[0].names(), names);
    assert_eq!((rows[0].at("data").text(), rows[0].at("user_identifier").text()), ("50", "554dddsqfqs4dqd5qsd74q"));
    assert_eq!((rows[0].at("license_key").text(), rows[0].at("product_id").integer()), (license.as_str(), product));
    let flags = |row: &Json| ["is_correct_format", "license_key_exists", "product_exists", "has_red_flags"].map(|name| row.at(name).integer());
    assert_eq!(flags(&rows[0]), [1, 1, 1, 1], "no such version was published");
    assert_eq!(flags(&rows[1]), [1, 0, 1, 1]);
    assert_eq!(flags(&rows[2]), [0, 1, 0, 1]);
    assert_eq!(rows[2].at("product_id").integer(), 999_999_999, "as it was given");

    // A version counts while it is published.
    let upload = Upload { product, version: "5.2.5", content: b"x", file_name: "program.zip", more: &["--numeric-version", "7"] };
    let release = on.ledger.upload(upload).await;
    for (command, flags) in [("publish", (1, 0)), ("unpublish", (0, 1))] {
        on.ledger.run(&["release", command, &release]).await.success();
        on.api.form("send-telemetry-data", report(product, &license, fields!())).await.expect(830, GLOBAL);
        let rows = list(&on.api, fields!()).await;
        let last = rows.last().expect("a record");
        assert_eq!((last.at("product_version_exists").integer(), last.at("has_red_flags").integer()), flags, "{command}");
    }
    on.ledger.expect_intact().await;
}

async fn a_report_that_is_wrong_in_a_field_says_so_and_is_stored(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let long = "x".repeat(256);
    let cases = [
        (fields!(data_type: "pie"), r#"{"data_type":["The selected data type is invalid."]}"#.to_owned()),
        (fields!(user_identifier: " "), r#"{"user_identifier":["The user identifier field is required."]}"#.to_owned()),
        (fields!(product_version: long), r#"{"product_version":["The product version must be at most 255 characters."]}"#.to_owned()),
        (fields!(data_group: "a\u{7}b"), r#"{"data_group":["The data group must not contain control characters."]}"#.to_owned()),
        (
            fields!(numeric_data_single_value: "fifty"),
            r#"{"numeric_data_single_value":["The numeric data single value must be a number."]}"#.to_owned(),
        ),
        (fields!(data_type: "text"), r#"{"text_data":["The text data field is required."]}"#.to_owned()),
        (fields!(data_type: "numeric-xy-axis", numeric_data_x: "1"), r#"{"numeric_data_y":["The numeric data y field is required."]}"#.to_owned()),
    ];
    for (index, (wrong, errors)) in cases.iter().enumerate() {
        let answer = on.api.form("send-telemetry-data", report(product, "KEY", wrong.clone())).await;
        answer.expect(831, GLOBAL).expect_errors(errors);
        let stored = raw::number(&on.ledger.place, "select count(*) from telemetry").await;
        assert_eq!(stored, index as i64 + 1, "{errors}");
    }
    // Nothing at all is a report too.
    on.api.form("send-telemetry-data", fields!()).await.expect(831, GLOBAL);
    assert_eq!(raw::number(&on.ledger.place, "select count(*) from telemetry where not is_correct_format").await, cases.len() as i64 + 1);
    // Two numbers come back as an object.
    let both = fields!(data_type: "numeric-xy-axis", numeric_data_x: "1", numeric_data_y: "2.5");
    on.api.form("send-telemetry-data", report(product, "KEY", both)).await.expect(830, GLOBAL);
    let rows = list(&on.api, fields!(data_type: "numeric-xy-axis", is_correct_format: 1)).await;
    assert_eq!(rows[0].at("data"), &Json::parse(r#"{"x":"1","y":"2.5"}"#));
    on.ledger.expect_intact().await;
}

async fn each_filter_narrows_the_list(backend: Backend) {
    let on = Running::start(backend).await;
    let (product, other) = (on.api.new_product().await, on.api.new_product().await);
    let license = on.api.new_license(product, fields!()).await;
    let sent = [
        fields!(),
        fields!(product_id: other),
        fields!(user_identifier: "jane"),
        fields!(license_key: "unknown"),
        fields!(activation_identifier: "b.example"),
        fields!(product_version: "6.0"),
        fields!(numeric_data_single_value: "x"),
        fields!(product_id: 999_999_999),
        fields!(data_group: "another"),
    ];
    for changes in sent {
        on.api.form("send-telemetry-data", report(product, &license, changes)).await;
    }
    let cases = [
        (fields!(), vec![1, 2, 3, 4, 5, 6, 7, 8]),
        (fields!(product_id: other), vec![2]),
        (fields!(product_id: "first"), vec![]),
        (fields!(user_identifier: "jane"), vec![3]),
        (fields!(license_key: "unknown"), vec![4]),
        (fields!(activation_identifier: "b.example"), vec![5]),
        (fields!(product_version: "6.0"), vec![6]),
        (fields!(is_correct_format: 0), vec![7, 8]),
        (fields!(is_correct_format: 1), vec![1, 2, 3, 4, 5, 6]),
        (fields!(license_key_exists: 0), vec![4]),
        (fields!(product_exists: 0), vec![8]),
        (fields!(product_version_exists: 1), vec![]),
        (fields!(has_red_flags: 0), vec![]),
        (fields!(has_red_flags: 1, product_id: product, license_key_exists: 1, user_identifier: "jane"), vec![3]),
        (fields!(data_group: "another"), vec![9]),
        (fields!(data_type: "text"), vec![]),
    ];
    for (filter, expected) in cases {
        assert_eq!(numbers(&list(&on.api, filter.clone()).await), expected, "{filter:?}");
    }
    on.api.get("get-telemetry-data", fields!(data_type: "text")).await.expect_error(400);
    on.api.get("get-telemetry-data", fields!(data_group: "test_group")).await.expect_error(400);
    let wrong = fields!(data_type: "text", data_group: "a", has_red_flags: "maybe");
    on.api.get("get-telemetry-data", wrong).await.expect_error(400);
}

async fn a_list_comes_in_pages(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    for _ in 0..5 {
        on.api.form("send-telemetry-data", report(product, "KEY", fields!())).await.expect(830, GLOBAL);
    }
    assert_eq!(numbers(&list(&on.api, fields!(items_per_page: 2)).await), [1, 2]);
    assert_eq!(numbers(&list(&on.api, fields!(items_per_page: 2, page: 3)).await), [5]);
    assert_eq!(numbers(&list(&on.api, fields!(items_per_page: 2, page: 4)).await), [0; 0]);
    let too_many = fields!(data_type: "text", data_group: "a", items_per_page: 1001);
    on.api.get("get-telemetry-data", too_many).await.expect_error(400);
}

async fn what_may_be_personal_is_in_the_log_only_sealed(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let owned = on.api.new_license(product, fields!(owner_email: "jane@shop.example")).await;
    let license = on.api.new_license(product, fields!()).await;
    let before = on.ledger.event_count().await;
    let text = |secret: &str| fields!(data_type: "text", text_data: secret, user_identifier: secret, activation_identifier: secret);
    for (key, secret) in [(owned.as_str(), "secret-of-jane"), (&license, "secret-of-a-license"), ("secret-key", "secret-of-nobody")] {
        on.api.form("send-telemetry-data", report(product, key, text(secret))).await.expect(830, GLOBAL);
    }
    let sql = format!("select payload from events where position >= {before} order by position");
    let payloads = raw::rows(&on.ledger.place, &sql).await.expect("the payloads can be read");
    let subjects = ["\"of\":\"owner\"", "\"of\":\"license\"", "\"of\":\"actor\""];
    assert_eq!(payloads.len(), subjects.len());
    for (payload, subject) in payloads.iter().zip(subjects) {
        let payload = payload[0].as_deref().expect("a payload");
        assert!(payload.contains(subject) && !payload.contains("secret"), "{payload}");
    }
    let rows = list(&on.api, fields!(data_type: "text")).await;
    assert_eq!(rows.iter().map(|row| row.at("data").text()).collect::<Vec<_>>(), ["secret-of-jane", "secret-of-a-license", "secret-of-nobody"]);
    on.ledger.expect_intact().await;
    on.ledger.run(&["rebuild"]).await.success();
    assert_eq!(list(&on.api, fields!(data_type: "text")).await, rows, "a rebuild opens what was sealed");
}

async fn many_reports_at_once_are_all_stored_once(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let sent = join_all((0..200).map(|number| {
        let report = report(product, "KEY", fields!(numeric_data_single_value: number));
        let api = on.api.clone();
        async move { api.form("send-telemetry-data", report).await.code() }
    }));
    assert!(sent.await.iter().all(|code| *code == 830));
    let rows = list(&on.api, fields!()).await;
    let mut values: Vec<i64> = rows.iter().map(|row| row.at("data").text().parse().expect("a number")).collect();
    values.sort_unstable();
    assert_eq!(values, (0..200).collect::<Vec<_>>());
    assert_eq!(numbers(&rows), (1..=200).collect::<Vec<_>>());
    on.ledger.expect_intact().await;
}

async fn a_report_under_an_idempotency_key_is_stored_once(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let once = on.api.with_header("idempotency-key", "report 1");
    let wrong = report(product, "KEY", fields!(data_type: "pie"));
    let first = once.form("send-telemetry-data", wrong.clone()).await;
    let again = once.form("send-telemetry-data", wrong).await;
    first.expect(831, GLOBAL);
    assert_eq!(again.response.at("errors"), first.response.at("errors"));
    assert_eq!(raw::number(&on.ledger.place, "select count(*) from telemetry").await, 1);
    once.form("send-telemetry-data", report(product, "KEY", fields!())).await.expect_error(409);
}
