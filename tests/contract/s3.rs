//! The files of releases in an S3 bucket, on the throw-away server that `scripts/with-s3` starts.

use reqwest::Method;

use crate::support::ledger::random_hex;
use crate::support::releases::Upload;
use crate::support::{ApiKey, Backend, Ledger, PRODUCT, both_backends, fields};

both_backends!(files_may_be_kept_in_a_bucket);

/// More than one part of an upload.
fn content() -> Vec<u8> {
    (0..20_000_000_u32).map(|number| (number % 253) as u8).collect()
}

async fn files_may_be_kept_in_a_bucket(backend: Backend) {
    let endpoint = std::env::var("KEYLEDGER_TEST_S3_ENDPOINT").expect("run this with scripts/with-s3, as scripts/test does");
    let bucket = format!("bucket-{}", random_hex(6));
    let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let made = http.put(format!("{endpoint}/{bucket}")).send().await.expect("an answer");
    assert!(made.status().is_success(), "the bucket can't be made: {}", made.status());
    let objects = async || {
        let list = http.get(format!("{endpoint}/{bucket}?list-type=2&prefix=releases/")).send().await.expect("an answer");
        list.text().await.expect("a list").matches("<Key>releases/").count()
    };

    let url = format!("s3://{bucket}/releases");
    let environment = [
        ("KEYLEDGER_FILES_URL", url.as_str()),
        ("AWS_ENDPOINT_URL", &endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
    ];
    let environment: Vec<(String, String)> = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let ledger = Ledger::new(backend).await.with_environment(environment);
    let server = ledger.serve().await;
    let api = server.client();
    let product = api.new_product().await;
    let license = api.new_license(product, fields!()).await;
    api.activate(&license, "shop.example").await.expect(300, PRODUCT);
    let content = content();
    let release = ledger.upload(Upload { product, version: "1.0", content: &content, file_name: "program.zip", more: &["--publish"] }).await;
    assert_eq!(objects().await, 1);

    let asked = api.form("access-downloadables", fields!(license_key: license, identifier: "shop.example")).await;
    let url = asked.expect(600, PRODUCT).response.at("downloadables").items()[0].at("url").text().to_owned();
    let path = format!("/{}", url.splitn(4, '/').nth(3).expect("a path"));
    let anyone = api.with_key(ApiKey::Missing);
    let whole = anyone.request(Method::GET, &path).send().await.expect("an answer").bytes().await.expect("the file");
    assert!(whole == content, "{} bytes", whole.len());
    let part = anyone.request(Method::GET, &path).header("range", "bytes=9999990-10000009").send().await.expect("an answer");
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.expect("a part"), content[9_999_990..10_000_010]);

    // A refused upload leaves nothing behind; a withdrawn release neither.
    let file = ledger.directory().join("again.zip");
    std::fs::write(&file, b"again").expect("the file can be written");
    let (product, file) = (product.to_string(), file.display().to_string());
    let upload = ["release", "upload", "--product", &product, "--release-version", "1.0", &file];
    let said = ledger.run(&upload).await.failure(1);
    assert!(said.contains("numeric version"), "{said}");
    assert_eq!(objects().await, 1);
    ledger.run(&["release", "withdraw", &release]).await.success();
    assert_eq!(objects().await, 0);
    api.answer(anyone.request(Method::GET, &path)).await.expect(700, PRODUCT);
    ledger.expect_intact().await;
}
