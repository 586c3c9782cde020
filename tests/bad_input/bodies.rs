//! Bodies that are not what their content type says.

use reqwest::RequestBuilder;

use crate::Target;
use crate::support::{ApiKey, Backend, GLOBAL, both_backends};

both_backends!(
    broken_json_is_a_bad_request,
    json_that_is_no_object_is_a_bad_request,
    invalid_utf8_is_a_bad_request,
    broken_multipart_is_a_bad_request,
    an_unknown_content_type_is_named,
    what_cannot_be_read_is_said_before_the_api_key_is_looked_at,
);

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn with_body(target: &Target, route: &str, content_type: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    target.api().post(route).header("content-type", content_type).body(body)
}

async fn broken_json_is_a_bad_request(backend: Backend) {
    let target = Target::start(backend).await;
    let license = &target.license;
    let deep = "[".repeat(100_000);
    let deep_value = format!(r#"{{"whatever":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let broken = [
        "{",
        "}",
        r#"{"license_key":"#,
        r#"{"license_key":"a",}"#,
        r#"{"license_key":"a"} trailing"#,
        r#"{license_key:"a"}"#,
        r#"{'license_key':'a'}"#,
        r#"{"license_key":"\ud800"}"#,
        r#"{"license_key":"\x41"}"#,
        r#"{"license_key":NaN}"#,
        "\u{feff}{}",
        "license_key=a&identifier=b",
        &deep,
        &deep_value,
    ];
    for body in broken {
        for route in ["activate", "create-product", "create-license-keys"] {
            let answer = target.api().answer(with_body(&target, route, JSON, body.to_string())).await;
            answer.expect_error(400);
        }
    }
    // Cut off in the middle of a request that would have been good.
    let whole = format!(r#"{{"license_key":"{license}","identifier":"cut.example"}}"#);
    for length in 1..whole.len() {
        let answer = target.api().answer(with_body(&target, "activate", JSON, whole[..length].to_string())).await;
        answer.expect_error(400);
    }
    target.expect_untouched().await;
}

async fn json_that_is_no_object_is_a_bad_request(backend: Backend) {
    let target = Target::start(backend).await;
    for body in ["null", "true", "1", "\"license_key\"", "[]", r#"[{"license_key":"a"}]"#, r#"[["license_key","a"]]"#] {
        let answer = target.api().answer(with_body(&target, "activate", JSON, body)).await;
        answer.expect_error(400);
    }
    target.expect_untouched().await;
}

async fn invalid_utf8_is_a_bad_request(backend: Backend) {
    let target = Target::start(backend).await;
    let in_form =
        [&b"license_key=\xff\xfe&identifier=a"[..], b"license_key=%ff%fe&identifier=a", b"license_key=a&identifier=%c3%28", b"identifier=%ed%a0%80"];
    for body in in_form {
        target.api().answer(with_body(&target, "activate", FORM, body.to_vec())).await.expect_error(400);
    }
    target.api().answer(with_body(&target, "activate", JSON, b"{\"license_key\":\"\xc3\x28\"}".to_vec())).await.expect_error(400);
    let part = |bytes: &[u8]| {
        let head = b"--B\r\nContent-Disposition: form-data; name=\"license_key\"\r\n\r\n";
        [&head[..], bytes, b"\r\n--B--\r\n"].concat()
    };
    let multipart = "multipart/form-data; boundary=B";
    target.api().answer(with_body(&target, "activate", multipart, part(b"\xff\xfe"))).await.expect_error(400);
    let query = target.api().request(reqwest::Method::GET, "/api/v1/get-license-keys?owner_name=%ff");
    target.api().answer(query).await.expect_error(400);
    target.expect_untouched().await;
}

async fn broken_multipart_is_a_bad_request(backend: Backend) {
    let target = Target::start(backend).await;
    let good_head = "--B\r\nContent-Disposition: form-data; name=\"license_key\"\r\n\r\n";
    let cases = [
        ("multipart/form-data", format!("{good_head}a\r\n--B--\r\n")),
        ("multipart/form-data; boundary=", format!("{good_head}a\r\n--B--\r\n")),
        ("multipart/form-data; boundary=B", "no boundary anywhere".to_string()),
        ("multipart/form-data; boundary=B", format!("{good_head}never ends")),
        ("multipart/form-data; boundary=B", "--B\r\nno headers\r\n".to_string()),
    ];
    for (content_type, body) in cases {
        target.api().answer(with_body(&target, "activate", content_type, body)).await.expect_error(400);
    }
    target.expect_untouched().await;
}

async fn an_unknown_content_type_is_named(backend: Backend) {
    let target = Target::start(backend).await;
    for content_type in ["text/plain", "application/xml", "application/octet-stream", "nonsense", "application/jsonp", ""] {
        let answer = target.api().answer(with_body(&target, "activate", content_type, "license_key=a")).await;
        answer.expect_error(415);
    }
    // Without a body there is nothing to misunderstand.
    let empty = target.api().post("verify").header("content-type", "text/plain");
    target.api().answer(empty).await.expect(210, GLOBAL);
    target.api().answer(target.api().post("verify").body("license_key=a")).await.expect_error(415);
    target.expect_untouched().await;
}

async fn what_cannot_be_read_is_said_before_the_api_key_is_looked_at(backend: Backend) {
    let target = Target::start(backend).await;
    let nobody = target.api().with_key(ApiKey::Missing);
    let broken = nobody.post("activate").header("content-type", JSON).body("{");
    nobody.answer(broken).await.expect_error(400);
    // What can be read, but asks for something impossible, comes after the key.
    let readable = nobody.post("activate").header("content-type", JSON).body(r#"{"license_key":"no such key"}"#);
    nobody.answer(readable).await.expect(100, GLOBAL);
    target.expect_untouched().await;
}
