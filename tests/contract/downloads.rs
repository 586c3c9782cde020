//! access-downloadables and the files behind its links.

use reqwest::{Method, StatusCode};

use crate::support::releases::Upload;
use crate::support::{Answer, ApiKey, Backend, Client, GLOBAL, PRODUCT, Running, ServeOptions, both_backends, eventually, fields};

both_backends!(
    published_releases_are_listed_newest_first,
    the_file_behind_a_link_is_the_one_that_was_uploaded,
    a_file_is_served_in_ranges,
    downloads_are_counted_when_they_begin,
    a_link_is_good_for_its_license_and_version_alone,
    an_api_key_may_be_the_credential,
    the_same_checks_run_again_at_the_download,
    an_expired_license_downloads_unless_its_product_says_otherwise,
    what_is_not_published_or_not_there_does_not_exist,
    no_log_line_holds_a_link,
);

const CONTENT: &[u8] = b"0123456789";
const IDENTIFIER: &str = "domain.ltd";

/// A license that is active for [`IDENTIFIER`], of a product with a release 1.0.2.
struct Prepared {
    on: Running,
    product: i64,
    license: String,
    release: String,
}

async fn prepared(backend: Backend) -> Prepared {
    prepared_with(backend, ServeOptions::default()).await
}

async fn prepared_with(backend: Backend, options: ServeOptions) -> Prepared {
    let on = Running::start_with(backend, options).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    on.api.activate(&license, IDENTIFIER).await.expect(300, PRODUCT);
    let release = on.ledger.release(product, "1.0.2", CONTENT).await;
    Prepared { on, product, license, release }
}

async fn downloadables(api: &Client, license: &str) -> Answer {
    api.form("access-downloadables", fields!(license_key: license, identifier: IDENTIFIER)).await
}

impl Prepared {
    /// The path of the link to the newest release.
    async fn link(&self) -> String {
        let answer = downloadables(&self.on.api, &self.license).await;
        answer.expect(600, PRODUCT);
        path(answer.response.at("downloadables").items()[0].at("url").text())
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.on.api.with_key(ApiKey::Missing).request(Method::GET, path)
    }

    async fn refused(&self, path: &str) -> Answer {
        self.on.api.answer(self.get(path)).await
    }

    async fn counted(&self) -> i64 {
        downloadables(&self.on.api, &self.license).await.response.at("downloadables").items()[0].at("download_counter").integer()
    }
}

fn path(url: &str) -> String {
    format!("/{}", url.splitn(4, '/').nth(3).expect("a path"))
}

fn header<'a>(response: &'a reqwest::Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("ASCII"))
}

async fn published_releases_are_listed_newest_first(backend: Backend) {
    let Prepared { on, product, license, .. } = prepared_with(backend, ServeOptions::args(&["--public-url", "https://licenses.example/"])).await;
    let upload = |version, more| Upload { product, version, content: CONTENT, file_name: "program.zip", more };
    let older = on.ledger.upload(upload("1.0.1", &["--summary", "Bugfixes", "--changelog", "Minor bug fixes"])).await;
    on.ledger.run(&["release", "publish", "--release-date", "2024-02-27", &older]).await.success();
    on.ledger.upload(upload("2.0.0", &[])).await;

    let answer = downloadables(&on.api, &license).await;
    answer.expect(600, PRODUCT).expect_members(&["downloadables"]).expect_signed_by(product);
    let rows = answer.response.at("downloadables").items();
    let versions: Vec<i64> = rows.iter().map(|row| row.at("numeric_version").integer()).collect();
    assert_eq!(versions, [102, 101], "drafts are not listed");
    let expected =
        ["id", "product_id", "numeric_version", "version", "update_summary", "changelog", "published", "release_date", "download_counter", "url"];
    assert_eq!(rows[1].names(), expected);
    assert_eq!(rows[1].at("release_date").text(), "2024-02-27 00:00:00");
    assert_eq!(rows[1].at("update_summary").text(), "Bugfixes");
    assert_eq!(rows[1].at("published").integer(), 1);
    let url = rows[1].at("url").text();
    let segments: Vec<&str> = url.strip_prefix("https://licenses.example/api/v1/download/").expect("the public URL").split('/').collect();
    assert_eq!(segments[1..], [license.as_str(), "ZG9tYWluLmx0ZA%3D%3D", "101"]);

    // The checks are those of verify.
    downloadables(&on.api, "no such key").await.expect(210, GLOBAL);
    let ask = |identifier: &str| on.api.form("access-downloadables", fields!(license_key: license, identifier: identifier));
    ask("").await.expect(215, PRODUCT);
    ask("other.example").await.expect(202, PRODUCT);
    on.api.set_product_status(product, "inactive").await;
    ask(IDENTIFIER).await.expect(203, PRODUCT);
    on.api.set_product_status(product, "active").await;
    on.api.update_license(&license, fields!(status: "blocked")).await.expect(950, PRODUCT);
    ask(IDENTIFIER).await.expect(204, PRODUCT);
    let available = on.api.new_license(product, fields!(status: "available")).await;
    downloadables(&on.api, &available).await.expect(201, PRODUCT);
    on.ledger.expect_intact().await;
}

async fn the_file_behind_a_link_is_the_one_that_was_uploaded(backend: Backend) {
    let with = prepared(backend).await;
    let content: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let upload = Upload { product: with.product, version: "1.1.0", content: &content, file_name: "tür 1.tar.gz", more: &["--publish"] };
    with.on.ledger.upload(upload).await;
    let link = with.link().await;
    let response = with.get(&link).send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, "content-type"), "application/gzip");
    assert_eq!(header(&response, "content-length"), "3000000");
    assert_eq!(header(&response, "content-disposition"), "attachment; filename=\"t_r 1.tar.gz\"; filename*=UTF-8''t%C3%BCr%201.tar.gz");
    assert_eq!(header(&response, "x-content-type-options"), "nosniff");
    assert_eq!(header(&response, "accept-ranges"), "bytes");
    assert!(!header(&response, "x-request-id").is_empty());
    let etag = header(&response, "etag").to_owned();
    let hash = <sha2::Sha256 as sha2::Digest>::digest(&content);
    assert_eq!(etag, format!("\"{}\"", hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()));
    assert_eq!(response.bytes().await.expect("the whole file"), content);
    let known = with.get(&link).header("if-none-match", etag).send().await.expect("an answer");
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    with.on.ledger.expect_intact().await;
}

async fn a_file_is_served_in_ranges(backend: Backend) {
    let with = prepared(backend).await;
    let link = with.link().await;
    for (range, bytes, content) in [
        ("bytes=0-3", "bytes 0-3/10", "0123"),
        ("bytes=4-", "bytes 4-9/10", "456789"),
        ("bytes=-2", "bytes 8-9/10", "89"),
        ("bytes=3-99", "bytes 3-9/10", "3456789"),
    ] {
        let response = with.get(&link).header("range", range).send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(header(&response, "content-range"), bytes);
        assert_eq!(header(&response, "content-length"), content.len().to_string());
        assert_eq!(response.text().await.expect("a part"), content);
    }
    let response = with.get(&link).header("range", "bytes=10-").send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(header(&response, "content-range"), "bytes */10");
    for (range, if_range) in [("bytes=0-1,3-4", None), ("nonsense", None), ("bytes=0-1", Some("\"another\""))] {
        let request = with.get(&link).header("range", range);
        let request = if let Some(tag) = if_range { request.header("if-range", tag) } else { request };
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "{range}");
        assert_eq!(response.bytes().await.expect("the whole file"), CONTENT);
    }
    let head = with.on.api.with_key(ApiKey::Missing).request(Method::HEAD, &link).send().await.expect("an answer");
    assert_eq!((head.status(), header(&head, "content-length")), (StatusCode::OK, "10"));
    with.on.api.answer(with.on.api.request(Method::POST, &link)).await.expect_error(405);
}

async fn downloads_are_counted_when_they_begin(backend: Backend) {
    let with = prepared(backend).await;
    let link = with.link().await;
    assert_eq!(with.counted().await, 0);
    for _ in 0..2 {
        assert_eq!(with.get(&link).send().await.expect("an answer").bytes().await.expect("the file"), CONTENT);
    }
    with.get(&link).header("range", "bytes=0-0").send().await.expect("an answer");
    // Going on is no new download, and neither is asking.
    with.get(&link).header("range", "bytes=5-").send().await.expect("an answer");
    with.get(&link).header("range", "bytes=99-").send().await.expect("an answer");
    with.on.api.request(Method::HEAD, &link).send().await.expect("an answer");
    assert_eq!(with.counted().await, 3);
    assert_eq!(with.on.ledger.releases().await, [(with.release.clone(), "published".to_owned(), 3)]);
    with.on.ledger.expect_intact().await;
    with.on.ledger.run(&["rebuild"]).await.success();
    assert_eq!(with.counted().await, 3);
}

async fn a_link_is_good_for_its_license_and_version_alone(backend: Backend) {
    let with = prepared(backend).await;
    with.on.ledger.release(with.product, "1.0.3", b"other").await;
    let other = with.on.api.new_license(with.product, fields!()).await;
    with.on.api.activate(&other, IDENTIFIER).await.expect(300, PRODUCT);
    let link = with.link().await;
    assert!(link.ends_with("/103"));
    assert!(!link.contains(&with.on.ledger.bootstrap_key), "no API key is handed out");
    with.refused(&link.replace("/103", "/102")).await.expect(701, GLOBAL);
    with.refused(&link.replace(&with.license, &other)).await.expect(701, GLOBAL);
    with.refused(&link.replace(&with.license, "unknown")).await.expect(701, GLOBAL);
    let credential = link.split('/').nth(4).expect("a credential").to_owned();
    let (expires_at, mac) = credential.strip_prefix("dl1.").and_then(|rest| rest.split_once('.')).expect("time and code");
    let later = expires_at.parse::<i64>().expect("a time") + 1;
    let letter = if mac.starts_with('A') { "B" } else { "A" };
    for forged in [format!("dl1.{later}.{mac}"), format!("dl1.{expires_at}.{letter}{}", &mac[1..]), "dl1.".into(), format!("dl1.{expires_at}.")] {
        with.refused(&link.replace(&credential, &forged)).await.expect(701, GLOBAL);
    }
    assert_eq!(with.get(&link).send().await.expect("an answer").bytes().await.expect("the file"), "other");
}

async fn an_api_key_may_be_the_credential(backend: Backend) {
    let with = prepared(backend).await;
    let link = with.link().await;
    let credential = link.split('/').nth(4).expect("a credential").to_owned();
    let with_key = |key: &str| link.replace(&credential, key);
    let may = with.on.ledger.create_api_key(&["--capability", "download"]).await;
    let may_not = with.on.ledger.create_api_key(&["--capability", "access-downloadables"]).await;
    let elsewhere = with.on.ledger.create_api_key(&["--capability", "download", "--allow-ip", "192.0.2.0/24"]).await;
    eventually("the server knows the keys", || async { (with.refused(&with_key(&elsewhere)).await.code() == 103).then_some(()) }).await;
    with.refused(&with_key(&may_not)).await.expect(102, GLOBAL);
    with.refused(&with_key("unknown")).await.expect(100, GLOBAL);
    let response = with.get(&with_key(&may)).send().await.expect("an answer");
    assert_eq!(response.bytes().await.expect("the file"), CONTENT);
    // What a link doesn't tell, an API key's holder may know.
    with.refused(&with_key(&may).replace(&with.license, "unknown")).await.expect(210, GLOBAL);
}

async fn the_same_checks_run_again_at_the_download(backend: Backend) {
    let with = prepared(backend).await;
    let link = with.link().await;
    let api = &with.on.api;
    for (other, code) in [("", 215), ("b3RoZXIuZXhhbXBsZQ==", 202), ("***", 215), ("IA%3D%3D", 215)] {
        let answer = with.refused(&link.replace("ZG9tYWluLmx0ZA%3D%3D", other)).await;
        answer.expect(code, PRODUCT);
    }
    api.deactivate(&with.license, IDENTIFIER).await;
    with.refused(&link).await.expect(202, PRODUCT);
    api.activate(&with.license, IDENTIFIER).await.expect(300, PRODUCT);
    api.update_license(&with.license, fields!(status: "blocked")).await.expect(950, PRODUCT);
    with.refused(&link).await.expect(204, PRODUCT);
    api.update_license(&with.license, fields!(status: "assigned")).await.expect(950, PRODUCT);
    api.set_product_status(with.product, "inactive").await;
    with.refused(&link).await.expect(203, PRODUCT);
    api.set_product_status(with.product, "active").await;
    with.on.ledger.run(&["block", "add", "--identifier", IDENTIFIER]).await.success();
    eventually("the identifier is blocked", || async { (with.get(&link).send().await.ok()?.status() == 403).then_some(()) }).await;
    with.refused(&link).await.expect(150, GLOBAL);
    with.on.ledger.run(&["block", "remove", "--identifier", IDENTIFIER]).await.success();
    eventually("it is no longer", || async { (with.get(&link).send().await.ok()?.bytes().await.ok()? == CONTENT).then_some(()) }).await;
    api.form("delete-license-key", fields!(license_key: with.license)).await.expect(850, PRODUCT);
    with.refused(&link).await.expect(701, GLOBAL);
    with.on.ledger.expect_intact().await;
}

async fn an_expired_license_downloads_unless_its_product_says_otherwise(backend: Backend) {
    let with = prepared(backend).await;
    let link = with.link().await;
    with.on.api.update_license(&with.license, fields!(validity: 1, assigned_at: "2020-01-01")).await.expect(950, PRODUCT);
    with.on.api.verify(&with.license, IDENTIFIER).await.expect(205, PRODUCT);
    downloadables(&with.on.api, &with.license).await.expect(600, PRODUCT);
    assert_eq!(with.get(&link).send().await.expect("an answer").bytes().await.expect("the file"), CONTENT);
    let product = fields!(product_id: with.product, name: "Test Product", description: "Strict", require_non_expired: 1, status: "active");
    with.on.api.form("update-product", product).await.expect(650, GLOBAL);
    downloadables(&with.on.api, &with.license).await.expect(205, PRODUCT);
    with.refused(&link).await.expect(205, PRODUCT);
    with.on.ledger.expect_intact().await;
}

async fn what_is_not_published_or_not_there_does_not_exist(backend: Backend) {
    let with = prepared(backend).await;
    let link = with.link().await;
    let run = async |command: &str| with.on.ledger.run(&["release", command, &with.release]).await.success();
    run("unpublish").await;
    with.refused(&link).await.expect(700, PRODUCT);
    downloadables(&with.on.api, &with.license).await.expect(600, PRODUCT);
    run("publish").await;
    assert_eq!(with.get(&link).send().await.expect("an answer").status(), StatusCode::OK);
    let files = with.on.ledger.place.data_dir.join("files");
    let file = std::fs::read_dir(&files).expect("the files").next().expect("a file").expect("a file").path();
    std::fs::rename(&file, files.with_file_name("elsewhere")).expect("the file can be moved");
    with.refused(&link).await.expect(700, PRODUCT);
    std::fs::rename(files.with_file_name("elsewhere"), &file).expect("the file can be moved");
    run("withdraw").await;
    with.refused(&link).await.expect(700, PRODUCT);
    assert!(!file.exists(), "the file goes with its release");
    // Its version can be used again.
    with.on.ledger.release(with.product, "1.0.2", b"again").await;
    assert_eq!(with.get(&link).send().await.expect("an answer").bytes().await.expect("the file"), "again");
    with.on.ledger.expect_intact().await;
}

async fn no_log_line_holds_a_link(backend: Backend) {
    let with = prepared_with(backend, ServeOptions::environment("KEYLEDGER_LOG", "trace")).await;
    let link = with.link().await;
    with.get(&link).send().await.expect("an answer").bytes().await.expect("the file");
    with.refused(&link.replace("/102", "/999")).await.expect(701, GLOBAL);
    let log = with.on.server.log_text();
    assert!(log.contains("/api/v1/download/{credential}/{license_key}/{identifier}/{numeric_version}"), "routes are logged as templates");
    for secret in [with.license.as_str(), "ZG9tYWluLmx0ZA", "dl1."] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    let (_, metrics) = with.on.api.plain("/metrics").await;
    assert!(metrics.contains("/api/v1/download/{credential}") && !metrics.contains(&with.license));
}
