//! The public changelog of a product.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::releases::Upload;
use crate::support::{ApiKey, Backend, GLOBAL, Json, PRODUCT, Running, both_backends, fields};

both_backends!(a_changelog_is_public_signed_and_may_be_cached);

async fn a_changelog_is_public_signed_and_may_be_cached(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product_with(fields!(name: "Doors 98")).await;
    let anyone = on.api.with_key(ApiKey::Missing);
    let get = || anyone.request(Method::GET, "/api/v1/products/doors-98/changelog");
    let empty = anyone.answer(get()).await;
    empty.expect(1600, PRODUCT).expect_members(&["product", "changelog"]).expect_signed_by(product);
    assert_eq!(empty.response.at("changelog").items(), &[] as &[Json]);

    for (version, date) in [("1.0.1", "2024-02-26"), ("1.0.2", "2024-02-27")] {
        let more = ["--summary", "Bugfixes", "--changelog", "Fewer bugs"];
        let number = on.ledger.upload(Upload { product, version, content: b"x", file_name: "program.zip", more: &more }).await;
        on.ledger.run(&["release", "publish", "--release-date", date, &number]).await.success();
    }
    on.ledger.upload(Upload { product, version: "2.0.0", content: b"x", file_name: "program.zip", more: &[] }).await;
    let answer = anyone.answer(get()).await;
    answer.expect(1600, PRODUCT);
    let expected = Json::parse(
        r#"[{"version":"1.0.2","numeric_version":102,"update_summary":"Bugfixes","changelog":"Fewer bugs","release_date":"2024-02-27 00:00:00"},
            {"version":"1.0.1","numeric_version":101,"update_summary":"Bugfixes","changelog":"Fewer bugs","release_date":"2024-02-26 00:00:00"}]"#,
    );
    assert_eq!(answer.response.at("changelog"), &expected);
    assert_eq!(answer.response.at("product"), &Json::parse(&format!(r#"{{"id":{product},"name":"Doors 98","slug":"doors-98"}}"#)));
    assert_eq!(answer.headers["cache-control"], "public, max-age=60");

    // The same content has the same tag, though its time and signature differ.
    let tag = answer.headers["etag"].clone();
    assert_ne!(tag, empty.headers["etag"]);
    let known = get().header("if-none-match", &tag).send().await.expect("an answer");
    assert_eq!((known.status(), &known.headers()["etag"]), (StatusCode::NOT_MODIFIED, &tag));
    assert_eq!(anyone.answer(get().header("if-none-match", &empty.headers["etag"])).await.headers["etag"], tag);

    // Switched off for the product, and for all of them.
    for (path, code) in [(format!("products/{product}"), 1602), ("settings".to_owned(), 1601)] {
        on.api.admin_patch(&path, json!({ "changelog": false })).await.expect(200);
        let off = anyone.answer(get().header("if-none-match", &tag)).await;
        off.expect(code, PRODUCT).expect_members(&[]);
        assert_eq!(off.headers["cache-control"], "no-store");
    }
    for path in [format!("products/{product}"), "settings".to_owned()] {
        on.api.admin_patch(&path, json!({ "changelog": true })).await.expect(200);
    }
    anyone.answer(get()).await.expect(1600, PRODUCT);

    for slug in ["doors-99", "DOORS-98", "%20", "%ff"] {
        let unknown = anyone.answer(anyone.request(Method::GET, &format!("/api/v1/products/{slug}/changelog"))).await;
        unknown.expect_error(404);
        assert_eq!(unknown.private_key_used, GLOBAL);
    }
    on.ledger.expect_intact().await;
}
