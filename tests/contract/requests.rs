//! How parameters arrive: form, multipart, JSON, query string; header or parameter API key.

use reqwest::Method;
use serde_json::json;

use crate::support::{ApiKey, Backend, GLOBAL, PRODUCT, Running, both_backends, fields};

both_backends!(
    a_post_takes_form_multipart_and_json,
    json_numbers_strings_and_booleans_are_texts,
    query_parameters_are_merged_in_and_the_body_wins,
    the_api_key_comes_in_the_header_or_as_a_parameter_and_the_header_wins,
    unknown_parameters_are_ignored,
    a_wrong_method_or_path_is_a_signed_error,
);

async fn a_post_takes_form_multipart_and_json(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    let identifier = "Grüße & Co. / a=b+c%20";
    let request = fields!(license_key: license, identifier: identifier);
    on.api.form("activate", request.clone()).await.expect(300, PRODUCT);
    on.api.multipart("activate", request.clone()).await.expect(301, PRODUCT);
    on.api.json("activate", json!({"license_key": license, "identifier": identifier})).await.expect(301, PRODUCT);

    // The content type's parameters and letter case don't matter.
    let json = json!({"license_key": license, "identifier": identifier}).to_string();
    for content_type in ["application/json; charset=utf-8", "Application/JSON"] {
        let request = on.api.post("verify").header("content-type", content_type).body(json.clone());
        on.api.answer(request).await.expect(200, PRODUCT);
    }
    let form = format!("license_key={license}&identifier=Gr%C3%BC%C3%9Fe+%26+Co.+%2F+a%3Db%2Bc%2520");
    let request = on.api.post("verify").header("content-type", "application/x-www-form-urlencoded; charset=UTF-8").body(form);
    on.api.answer(request).await.expect(200, PRODUCT);

    // No body at all is a request without parameters.
    on.api.answer(on.api.post("verify")).await.expect(210, GLOBAL);
    on.api.answer(on.api.post("create-product").header("content-type", "application/json")).await.expect(751, GLOBAL);
}

async fn json_numbers_strings_and_booleans_are_texts(backend: Backend) {
    let on = Running::start(backend).await;
    let given = json!({"name": 2024, "description": true, "require_non_expired": true, "source": "internal", "status": "active"});
    let product = on.api.json("create-product", given).await.expect(750, GLOBAL).response.at("product_id").integer();
    let listed = on.api.get("get-all-products", fields!()).await;
    let row = listed.response.at("products").items().iter().find(|row| row.at("id").integer() == product).expect("listed");
    assert_eq!((row.at("name").text(), row.at("require_non_expired").integer()), ("2024", 1));

    for (limit, validity) in [(json!(2), json!("0")), (json!("2"), json!(0)), (json!(2), json!(null))] {
        let keys = json!([crate::support::world::fresh_key()]);
        let request = json!({
            "license_keys": keys, "product_id": product.to_string(), "activation_limit": limit,
            "validity": validity, "status": "assigned",
        });
        let answer = on.api.json("create-license-keys", request).await;
        if validity.is_null() {
            answer.expect(901, PRODUCT).expect_errors(r#"{"validity":["The validity field is required."]}"#);
        } else {
            answer.expect(900, PRODUCT);
        }
    }
    // An identifier that is a number in JSON is the same as its digits in a form.
    let license = on.api.new_license(product, fields!()).await;
    on.api.json("activate", json!({"license_key": license, "identifier": 12345})).await.expect(300, PRODUCT);
    on.api.verify(&license, "12345").await.expect(200, PRODUCT);
    on.api.json("activate", json!({"license_key": license, "identifier": null})).await.expect(215, PRODUCT);
}

async fn query_parameters_are_merged_in_and_the_body_wins(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    let verify = |query: &str| on.api.request(Method::POST, &format!("/api/v1/verify?{query}"));
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);

    on.api.answer(verify(&format!("license_key={license}&identifier=a.example"))).await.expect(200, PRODUCT);
    let form = |body: String| move |request: reqwest::RequestBuilder| request.header("content-type", "application/x-www-form-urlencoded").body(body);
    let both = form(format!("license_key={license}"))(verify("identifier=a.example"));
    on.api.answer(both).await.expect(200, PRODUCT);
    let body_wins = form(format!("license_key={license}&identifier=a.example"))(verify("license_key=other&identifier=b.example"));
    on.api.answer(body_wins).await.expect(200, PRODUCT);
    let json = json!({"license_key": license, "identifier": "a.example"}).to_string();
    let json = verify("license_key=other&identifier=b.example").header("content-type", "application/json").body(json);
    on.api.answer(json).await.expect(200, PRODUCT);
}

async fn the_api_key_comes_in_the_header_or_as_a_parameter_and_the_header_wins(backend: Backend) {
    let on = Running::start(backend).await;
    let key = &on.ledger.bootstrap_key;
    let wrong = "00000000-0000-0000-0000-000000000000";
    let request = || fields!(license_key: "no such key");
    let nobody = on.api.with_key(ApiKey::Missing);
    nobody.form("verify", request()).await.expect(100, GLOBAL);
    let parameter = on.api.with_key(ApiKey::Parameter(key.clone()));
    parameter.form("verify", request()).await.expect(210, GLOBAL);
    parameter.multipart("verify", request()).await.expect(210, GLOBAL);
    parameter.json("verify", json!({"license_key": "no such key"})).await.expect(210, GLOBAL);
    parameter.get("get-all-products", fields!()).await.expect(810, GLOBAL);
    nobody.answer(nobody.request(Method::POST, &format!("/api/v1/verify?api_key={key}"))).await.expect(210, GLOBAL);

    on.api.form("verify", fields!(api_key: wrong)).await.expect(210, GLOBAL);
    on.api.get("get-all-products", fields!(api_key: wrong)).await.expect(810, GLOBAL);
    let wrong_header = on.api.with_key(ApiKey::Header(wrong.to_string()));
    wrong_header.form("verify", fields!(api_key: key)).await.expect(100, GLOBAL);
    for not_a_key in ["", " ", &key.to_uppercase(), &format!("{key}X"), &key[..key.len() - 1]] {
        on.api.with_key(ApiKey::Parameter(not_a_key.to_string())).form("verify", request()).await.expect(100, GLOBAL);
    }
    // The scheme's letter case doesn't matter.
    let lower = nobody.with_header("authorization", &format!("bearer {key}"));
    lower.form("verify", request()).await.expect(210, GLOBAL);
}

async fn unknown_parameters_are_ignored(backend: Backend) {
    let on = Running::start(backend).await;
    let request = fields!(license_key: "no such key", identifier: "a.example", page: "x", whatever: "1", whatever: "2");
    on.api.form("verify", request.clone()).await.expect(210, GLOBAL);
    on.api.multipart("verify", request).await.expect(210, GLOBAL);
    on.api.json("verify", json!({"license_key": "no such key", "nested": {"a": [1, null]}})).await.expect(210, GLOBAL);
    on.api.get("get-all-products", fields!(nothing: "1", nothing: "2")).await.expect(810, GLOBAL);
}

async fn a_wrong_method_or_path_is_a_signed_error(backend: Backend) {
    let on = Running::start(backend).await;
    let nobody = on.api.with_key(ApiKey::Missing);
    for caller in [&on.api, &nobody] {
        for path in
            ["/", "/api", "/api/v1", "/api/v1/", "/api/v1/no-such-route", "/api/v2/verify", "/api/v1/verify/", "/favicon.ico", "/..%2f", "/%ff"]
        {
            caller.answer(caller.request(Method::GET, path)).await.expect_error(404);
            caller.answer(caller.request(Method::POST, path)).await.expect_error(404);
        }
        let cases = [
            (Method::GET, "/api/v1/verify", "POST"),
            (Method::PUT, "/api/v1/activate", "POST"),
            (Method::DELETE, "/api/v1/delete-product", "POST"),
            (Method::POST, "/api/v1/get-all-products", "GET"),
            (Method::PATCH, "/api/v1/get-license-keys", "GET"),
            (Method::POST, "/health/live", "GET"),
        ];
        for (method, path, allowed) in cases {
            let answer = caller.answer(caller.request(method, path)).await;
            let allow = answer.expect_error(405).headers.get("allow").expect("405 says what is allowed");
            assert!(allow.to_str().expect("a header is text").contains(allowed), "{path} allows {allow:?}");
        }
    }
}
