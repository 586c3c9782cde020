//! Administration: releases.

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::json;

use crate::support::{AdminAnswer, Backend, Fields, PRODUCT, Running, ServeOptions, both_backends, fields};

both_backends!(
    a_release_is_uploaded_published_and_withdrawn,
    what_a_release_cannot_be_is_said,
    a_repeated_upload_makes_one_release,
    an_upload_that_is_too_large_is_refused,
);

async fn upload(on: &Running, fields: Fields, file: Option<Vec<u8>>) -> AdminAnswer {
    upload_as(on, None, fields, file).await
}

async fn upload_as(on: &Running, idempotency_key: Option<&str>, fields: Fields, file: Option<Vec<u8>>) -> AdminAnswer {
    let form = fields.into_iter().fold(Form::new(), |form, (name, value)| form.text(name, value));
    let form = match file {
        Some(content) => form.part("file", Part::bytes(content).file_name("doors.zip")),
        None => form,
    };
    let mut request = on.api.request(Method::POST, "/admin/v1/releases").multipart(form);
    if let Some(key) = idempotency_key {
        request = request.header("idempotency-key", key.to_owned());
    }
    on.api.admin_answer(request).await
}

async fn a_release_is_uploaded_published_and_withdrawn(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let made = upload(&on, fields!(product: product, version: "1.0.2", changelog: "- It works"), Some(content.clone())).await;
    let release = made.expect(201).clone();
    let path = format!("releases/{}", release["number"]);
    assert_eq!(made.headers["location"], format!("/admin/v1/{path}"));
    assert_eq!((&release["numeric_version"], &release["size"], &release["published"]), (&json!(102), &json!(content.len()), &json!(false)));
    assert_eq!((&release["file_name"], &release["content_type"]), (&json!("doors.zip"), &json!("application/zip")));
    assert_eq!(release["sha256"], hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&content)));

    let changed = on.api.admin_patch(&path, json!({ "update_summary": "Hinges" })).await.expect(200).clone();
    assert_eq!((&changed["update_summary"], &changed["changelog"]), (&json!("Hinges"), &json!("- It works")));
    let act = async |what: &str, body| on.api.admin_post(&format!("{path}/{what}"), body).await;
    act("unpublish", json!(null)).await.expect_problem(409, "conflict");
    let published = act("publish", json!({ "release_date": "2026-01-02" })).await.expect(200).clone();
    assert!(published["release_date"].as_str().is_some_and(|at| at.starts_with("2026-01-02T00:00:00")), "{published}");
    let license = on.api.new_license(product, fields!()).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    let downloads = on.api.form("access-downloadables", fields!(license_key: license, identifier: "a.example")).await;
    downloads.expect(600, PRODUCT);
    assert!(downloads.response.to_string().contains("1.0.2"), "{}", downloads.response);
    assert_eq!(act("unpublish", json!(null)).await.expect(200)["published"], false);
    assert_eq!(act("publish", json!(null)).await.expect(200)["published"], true);

    upload(&on, fields!(product: product, version: "1.0.2"), Some(b"other".to_vec())).await.expect_problem(409, "conflict");
    assert_eq!(act("withdraw", json!(null)).await.expect(200)["withdrawn"], true);
    act("publish", json!(null)).await.expect_problem(404, "not-found");
    upload(&on, fields!(product: product, version: "1.0.2"), Some(b"other".to_vec())).await.expect(201);
    let other = on.api.new_product().await;
    upload(&on, fields!(product: other, version: "1", numeric_version: 7, file_name: "a.txt"), Some(Vec::new())).await.expect(201);
    assert_eq!(on.api.admin_list("releases", 1).await.len(), 3);
    assert_eq!(on.api.admin_list(&format!("releases?product={other}"), 1).await.len(), 1);
    on.api.admin_get("releases/999999").await.expect_problem(404, "not-found");
    on.ledger.expect_intact().await;
}

async fn what_a_release_cannot_be_is_said(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let events = on.ledger.event_count().await;
    let file = || Some(b"content".to_vec());
    upload(&on, fields!(product: product, version: "1"), None).await.expect_invalid(&["file"]);
    upload(&on, fields!(product: 999_999, version: "1"), file()).await.expect_invalid(&["product"]);
    upload(&on, fields!(product: "first", version: "1", colour: "red"), file()).await.expect_invalid(&["product", "colour"]);
    upload(&on, fields!(product: product, version: "next"), file()).await.expect_invalid(&["numeric_version"]);
    upload(&on, fields!(product: product, version: "1", file_name: "../a.zip"), file()).await.expect_invalid(&["file_name"]);
    upload(&on, fields!(product: product, version: "1", changelog: "x".repeat(20_000)), file()).await.expect_invalid(&["changelog"]);
    let raw = on.api.request(Method::POST, "/admin/v1/releases").header("content-type", "application/zip").body("content");
    on.api.admin_answer(raw).await.expect_problem(415, "unsupported-media-type");
    let broken = on.api.request(Method::POST, "/admin/v1/releases").header("content-type", "multipart/form-data; boundary=x").body("--x\r\nnonsense");
    on.api.admin_answer(broken).await.expect_problem(400, "bad-request");
    assert_eq!(on.ledger.event_count().await, events);
}

async fn a_repeated_upload_makes_one_release(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let once = async |version: &str| upload_as(&on, Some("order 4711"), fields!(product: product, version: version), Some(b"content".to_vec())).await;
    let first = once("1.0").await.expect(201).clone();
    let events = on.ledger.event_count().await;
    assert_eq!(once("1.0").await.expect(201), &first);
    once("1.1").await.expect_problem(409, "idempotency-conflict");
    assert_eq!(on.ledger.event_count().await, events);
    assert_eq!(on.api.admin_list("releases", 10).await.len(), 1);
}

async fn an_upload_that_is_too_large_is_refused(backend: Backend) {
    let on = Running::start_with(backend, ServeOptions::args(&["--upload-limit", "100000"])).await;
    let product = on.api.new_product().await;
    let events = on.ledger.event_count().await;
    upload(&on, fields!(product: product, version: "1"), Some(vec![7; 100_001])).await.expect_problem(413, "payload-too-large");
    assert_eq!(on.ledger.event_count().await, events);
    upload(&on, fields!(product: product, version: "1"), Some(vec![7; 100_000])).await.expect(201);
}
