//! The signature: recorded ones verify, an altered one does not, and ours verify by the same code and by OpenSSL.

use std::path::Path;
use std::process::Command;

use keyledger::signer::verify_response;
use serde_json::Value;

use crate::support::{Answer, Backend, Json, PRODUCT, Running, both_backends, fields};

const VECTORS: &str = include_str!("../fixtures/signature-vectors.json");

both_backends!(our_own_responses_verify_by_the_same_code_and_by_openssl, signed_bytes_are_written_as_php_writes_them);

#[test]
fn the_recorded_signatures_verify_and_the_altered_one_does_not() {
    let file: Value = serde_json::from_str(VECTORS).expect("JSON");
    let public_key = text(&file["public_key_pem"]);
    let vectors = file["vectors"].as_array().expect("a list");
    let mut verified = 0;
    for vector in vectors {
        let valid = verify_response(public_key, text(&vector["response_base64"]), text(&vector["signature"]));
        assert_eq!(Some(valid), vector["valid"].as_bool(), "{} / {}", vector["endpoint"], vector["example"]);
        verified += usize::from(valid);
    }
    assert_eq!((vectors.len(), verified), (47, 46));
}

#[test]
fn nothing_but_the_signed_bytes_under_the_signing_key_verifies() {
    let file: Value = serde_json::from_str(VECTORS).expect("JSON");
    let public_key = text(&file["public_key_pem"]);
    let (one, other) = (&file["vectors"][0], &file["vectors"][1]);
    let (response, signature) = (text(&one["response_base64"]), text(&one["signature"]));
    assert!(verify_response(public_key, response, signature));
    assert!(!verify_response(public_key, text(&other["response_base64"]), signature), "another response");
    assert!(!verify_response(public_key, response, text(&other["signature"])), "another response's signature");
    assert!(!verify_response(public_key, &response[..response.len() - 4], signature), "a shorter response");
    for not_a_signature in ["", "AAAA", "not Base64!", &signature[4..]] {
        assert!(!verify_response(public_key, response, not_a_signature), "{not_a_signature:?}");
    }
    for not_a_key in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        assert!(!verify_response(not_a_key, response, signature), "{not_a_key:?}");
    }
}

async fn our_own_responses_verify_by_the_same_code_and_by_openssl(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    let global_key = on.ledger.run(&["public-key"]).await.success();
    let product_key = on.ledger.run(&["public-key", "--product", &product.to_string()]).await.success();
    let verified = on.api.verify(&license, "a.example").await;
    let unknown = on.api.verify("no such key", "a.example").await;
    let error = on.api.get("no-such-route", fields!()).await;
    let cases = [(&verified, &product_key, &global_key), (&unknown, &global_key, &product_key), (&error, &global_key, &product_key)];
    for (answer, right, wrong) in cases {
        assert!(verify_response(right, &answer.response_base64, &answer.signature), "{}", answer.response);
        assert!(!verify_response(wrong, &answer.response_base64, &answer.signature), "{}", answer.response);
        assert!(openssl_verifies(on.ledger.directory(), right, answer), "{}", answer.response);
        assert!(!openssl_verifies(on.ledger.directory(), wrong, answer), "{}", answer.response);
    }
}

/// `openssl dgst -sha256 -verify`, on the ASCII bytes of `response_base64`.
fn openssl_verifies(directory: &Path, public_key: &str, answer: &Answer) -> bool {
    use base64::Engine as _;
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.join(name), bytes).expect("a file can be written");
    write("key.pem", public_key.as_bytes());
    write("signed", answer.response_base64.as_bytes());
    write("signature", &base64::engine::general_purpose::STANDARD.decode(&answer.signature).expect("a signature is Base64"));
    let arguments = ["dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "signed"];
    let output = Command::new("openssl").args(arguments).current_dir(directory).output().expect("openssl is installed");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("Verified OK") || said.contains("Verification failure"), "{output:?}");
    output.status.success() && said.contains("Verified OK")
}

async fn signed_bytes_are_written_as_php_writes_them(backend: Backend) {
    let on = Running::start(backend).await;
    let value = "a/b é ü 日本 😀 \" \\ <tag> & ' \u{2028}";
    let product = on.api.new_product_with(fields!(name: "Straße/Ω", description: value)).await;
    let license = on.api.new_license(product, fields!(owner_name: "Zoë / 😀")).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    let answer = on.api.details(&license, "a.example").await;
    answer.expect(500, PRODUCT);
    // Every answer is compared with PHP's text form; this one has something to escape in it.
    let decoded = answer.response.to_php();
    for escaped in ["Stra\\u00dfe\\/\\u03a9", "a\\/b \\u00e9", "\\u65e5\\u672c", "\\ud83d\\ude00", "\\u2028", "\\\" \\\\ <tag> & '"] {
        assert!(decoded.contains(escaped), "{escaped} is not in {decoded}");
    }
    assert!(decoded.is_ascii());
    assert_eq!(answer.response.at("licenseKey").at("owner_name"), &Json::from("Zoë / 😀"));
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
