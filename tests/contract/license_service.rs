//! Interface B, as `license-service.json` has it.

use reqwest::header::HeaderValue;
use std::collections::BTreeMap;

use futures::StreamExt as _;
use futures::future::join_all;
use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

use crate::support::{ApiKey, Backend, Client, Ledger, PRODUCT, Running, ServeOptions, both_backends, eventually, fields, raw};

both_backends!(
    a_valid_license_is_described,
    the_checks_come_in_their_order,
    every_refusal_is_the_contracts,
    domains_are_compared_as_people_mean_them,
    the_limit_of_requests_is_kept_and_told,
    a_token_gives_the_newest_file_once,
    of_many_simultaneous_downloads_one_gets_the_file,
    a_transfer_that_fails_gives_the_token_back,
    a_token_dies_with_what_it_stands_for,
    downloads_can_be_switched_off,
    a_replaced_key_says_when,
);

/// Trusts the test as a proxy: each request may come from an address of its own, so that the limit is met where it is meant to be.
fn behind_a_proxy() -> ServeOptions {
    ServeOptions::args(&["--trusted-proxy", "127.0.0.0/8"])
}

struct Service {
    on: Running,
    anyone: Client,
    product: i64,
    license: String,
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

fn contract() -> Value {
    serde_json::from_str(include_str!("../fixtures/license-service.json")).expect("JSON")
}

/// An address that nobody else asks from.
fn another_address() -> String {
    let [a, b, c]: [u8; 3] = rand::random();
    format!("10.{a}.{b}.{c}")
}

async fn reply(request: RequestBuilder) -> Reply {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("a body");
    let body = serde_json::from_str(&text).unwrap_or_else(|error| panic!("HTTP {status} with {error}: {text}"));
    Reply { status, headers, body }
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    /// Promises a refusal of the contract, found there by its code or its message.
    #[track_caller]
    fn expect_refusal(&self, name: &str) -> &Self {
        let contract = contract();
        let rows = contract["errors"].as_array().expect("a list");
        let row = rows.iter().find(|row| row["error_code"] == name || row["message"] == name).unwrap_or_else(|| panic!("no error {name}"));
        let mut expected = json!({"success": false, "message": row["message"]});
        if let Some(code) = row.get("error_code") {
            expected["error_code"] = code.clone();
        }
        assert_eq!((self.status, &self.body), (row["http_status"].as_u64().expect("a status") as u16, &expected));
        self.expect_uncached()
    }

    #[track_caller]
    fn expect_success(&self) -> &Value {
        assert_eq!((self.status, &self.body["success"]), (200, &json!(true)), "{}", self.body);
        self.expect_uncached();
        &self.body["data"]
    }

    #[track_caller]
    fn expect_uncached(&self) -> &Self {
        for (name, value) in contract()["no_cache_headers"].as_object().expect("headers") {
            assert_eq!(self.header(name), value, "{name}");
        }
        self
    }
}

impl Service {
    async fn start(backend: Backend) -> Service {
        let on = Running::start_with(backend, behind_a_proxy()).await;
        let product = on.api.new_product().await;
        let license = on.api.new_license(product, fields!()).await;
        on.api.activate(&license, "shop.example").await.expect(300, PRODUCT);
        Service { anyone: on.api.with_key(ApiKey::Missing), product, license, on }
    }

    fn request(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> RequestBuilder {
        let request = self.anyone.request(method, &format!("/api/license{path}")).header("x-forwarded-for", another_address());
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    }

    async fn verify(&self, headers: &[(&str, &str)]) -> Reply {
        reply(self.request(Method::GET, "/verify", headers)).await
    }

    async fn verify_domain(&self, license: &str, domain: &str) -> Reply {
        let (bearer, product) = (format!("Bearer {license}"), self.product.to_string());
        self.verify(&[("authorization", &bearer), ("x-domain", domain), ("x-product-id", &product)]).await
    }

    async fn ask_for_token(&self) -> Reply {
        let (bearer, product) = (format!("Bearer {}", self.license), self.product.to_string());
        let headers = [("authorization", bearer.as_str()), ("x-domain", "shop.example"), ("x-product-id", &product)];
        reply(self.request(Method::POST, "/download", &headers)).await
    }

    /// The path of a new token's file.
    async fn token(&self) -> String {
        let reply = self.ask_for_token().await;
        let url = reply.expect_success()["download_url"].as_str().expect("a URL").to_owned();
        format!("/{}", url.splitn(4, '/').nth(3).expect("a path"))
    }

    fn file(&self, path: &str) -> RequestBuilder {
        self.anyone.request(Method::GET, path)
    }

    async fn file_refused(&self, path: &str, name: &str) {
        reply(self.file(path)).await.expect_refusal(name);
    }
}

const INVALID_TOKEN: &str = "Invalid or expired download token";
const FILE_NOT_FOUND: &str = "Product file not found";

async fn a_valid_license_is_described(backend: Backend) {
    let service = Service::start(backend).await;
    let verified = service.verify_domain(&service.license, "shop.example").await;
    let data = verified.expect_success();
    assert_eq!(verified.body["message"], "License is valid and active");
    let listed = service.on.api.listed(service.product, &service.license).await.expect("the license");
    let expected = json!({
        "license_id": listed.at("id").integer(), "license_key": service.license, "product_id": service.product, "product_name": "Test Product",
        "user_id": null, "is_active": true, "last_rotated": listed.at("created_at").text(), "created_at": listed.at("created_at").text(),
        "domain": "shop.example",
    });
    assert_eq!(data, &expected);
    let names: Vec<&String> = data.as_object().expect("an object").keys().collect();
    assert_eq!(names.len(), contract()["endpoints"][0]["success"]["body"]["data"].as_object().expect("an object").len());

    // An owner has a number, the same one for every license.
    let owned = fields!(owner_name: "Jane", owner_email: "jane@shop.example");
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let license = service.on.api.new_license(service.product, owned.clone()).await;
        service.on.api.activate(&license, "shop.example").await.expect(300, PRODUCT);
        numbers.push(service.verify_domain(&license, "shop.example").await.expect_success()["user_id"].as_i64().expect("a number"));
    }
    assert_eq!(numbers[0], numbers[1]);

    // Wherever the parameters are: in headers, query, form or JSON, also on GET.
    let bearer = format!("bearer {}", service.license);
    let path = format!("/verify?domain=shop.example&product_id={}", service.product);
    reply(service.request(Method::GET, &path, &[("authorization", &bearer)])).await.expect_success();
    let json = json!({"domain": "shop.example", "product_id": service.product});
    reply(service.request(Method::GET, "/verify", &[("authorization", &bearer)]).json(&json)).await.expect_success();
    let form = [("domain", "shop.example".to_owned()), ("product_id", service.product.to_string())];
    reply(service.request(Method::GET, "/verify", &[("authorization", &bearer)]).form(&form)).await.expect_success();
    let headers = [("authorization", bearer.as_str()), ("x-domain", "shop.example")];
    reply(service.request(Method::GET, "/verify?domain=other.example", &headers).form(&form)).await.expect_success();
}

async fn the_checks_come_in_their_order(backend: Backend) {
    let service = Service::start(backend).await;
    let product = service.product.to_string();
    let bearer = format!("Bearer {}", service.license);
    service.verify(&[]).await.expect_refusal("MISSING_AUTHORIZATION");
    service.verify(&[("authorization", "Basic abc")]).await.expect_refusal("MISSING_AUTHORIZATION");
    service.verify(&[("authorization", "Bearer ")]).await.expect_refusal("MISSING_LICENSE_KEY");
    service.verify(&[("authorization", "Bearer unknown")]).await.expect_refusal("INVALID_LICENSE");
    service.verify(&[("authorization", &bearer)]).await.expect_refusal("MISSING_DOMAIN");
    service.verify(&[("authorization", &bearer), ("x-product-id", &product), ("x-domain", " ")]).await.expect_refusal("MISSING_DOMAIN");
    service.verify(&[("authorization", &bearer), ("x-domain", "a.example")]).await.expect_refusal("MISSING_PRODUCT_ID");
    // Blocked, without a domain, at the wrong domain and product, all at once: one after the other is mended.
    let api = &service.on.api;
    let license = api.new_license(service.product, fields!()).await;
    api.update_license(&license, fields!(status: "blocked")).await.expect(950, PRODUCT);
    let bearer = format!("Bearer {license}");
    let wrong = [("authorization", bearer.as_str()), ("x-domain", "a.example"), ("x-product-id", "999999")];
    service.verify(&wrong).await.expect_refusal("INACTIVE_LICENSE");
    api.update_license(&license, fields!(status: "assigned")).await.expect(950, PRODUCT);
    service.verify(&wrong).await.expect_refusal("NO_DOMAIN_CONFIGURED");
    api.activate(&license, "b.example").await.expect(300, PRODUCT);
    service.verify(&wrong).await.expect_refusal("DOMAIN_MISMATCH");
    api.activate(&license, "a.example").await.expect(300, PRODUCT);
    service.verify(&wrong).await.expect_refusal("PRODUCT_ID_MISMATCH");
    service.verify_domain(&license, "a.example").await.expect_success();
}

async fn every_refusal_is_the_contracts(backend: Backend) {
    let service = Service::start(backend).await;
    let api = &service.on.api;
    let license = &service.license;
    for product in ["one", "-1", "1.0", ""] {
        let headers = [("authorization", format!("Bearer {license}")), ("x-domain", "shop.example".into()), ("x-product-id", product.into())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        service.verify(&headers).await.expect_refusal(if product.is_empty() { "MISSING_PRODUCT_ID" } else { "PRODUCT_ID_MISMATCH" });
    }
    // What is not usable is not active: expired, not assigned, of a product that isn't.
    api.update_license(license, fields!(validity: 1, assigned_at: "2020-01-01")).await.expect(950, PRODUCT);
    service.verify_domain(license, "shop.example").await.expect_refusal("INACTIVE_LICENSE");
    api.update_license(license, fields!(validity: 0)).await.expect(950, PRODUCT);
    api.set_product_status(service.product, "inactive").await;
    service.verify_domain(license, "shop.example").await.expect_refusal("INACTIVE_LICENSE");
    api.set_product_status(service.product, "active").await;
    service.verify_domain(license, "shop.example").await.expect_success();
    api.deactivate(license, "shop.example").await;
    service.verify_domain(license, "shop.example").await.expect_refusal("NO_DOMAIN_CONFIGURED");
    let available = api.new_license(service.product, fields!(status: "available")).await;
    service.verify_domain(&available, "shop.example").await.expect_refusal("INACTIVE_LICENSE");

    // What HTTP itself refuses has the same form.
    let wrong_method = reply(service.request(Method::POST, "/verify", &[])).await;
    assert_eq!((wrong_method.status, wrong_method.header("allow"), &wrong_method.body["success"]), (405, "GET, HEAD", &json!(false)));
    let bearer = format!("Bearer {license}");
    let broken = service.request(Method::GET, "/verify", &[("authorization", &bearer), ("content-type", "application/json")]).body("{");
    let broken = reply(broken).await;
    assert_eq!((broken.status, &broken.body["success"]), (400, &json!(false)));
    broken.expect_uncached();
}

async fn domains_are_compared_as_people_mean_them(backend: Backend) {
    let service = Service::start(backend).await;
    for same in ["shop.example", "SHOP.Example", "www.shop.example", "https://shop.example/", "http://www.shop.example:8080/cart", "shop.example:443"]
    {
        let data = service.verify_domain(&service.license, same).await;
        assert_eq!(data.expect_success()["domain"], "shop.example", "{same}");
    }
    for other in ["shop.example.evil", "notshop.example", "www2.shop.example", "example", "shop.examplé"] {
        service.verify_domain(&service.license, other).await.expect_refusal("DOMAIN_MISMATCH");
    }
    // The same on the other side: however the client named itself when it was activated.
    for identifier in ["https://WWW.Other.example:8443/", "Third.example"] {
        service.on.api.activate(&service.license, identifier).await.expect(300, PRODUCT);
    }
    assert_eq!(service.verify_domain(&service.license, "other.example").await.expect_success()["domain"], "https://WWW.Other.example:8443/");
    assert_eq!(service.verify_domain(&service.license, "www.third.example").await.expect_success()["domain"], "Third.example");
    service.on.api.deactivate(&service.license, "Third.example").await;
    service.verify_domain(&service.license, "third.example").await.expect_refusal("DOMAIN_MISMATCH");
    service.on.ledger.expect_intact().await;
}

async fn the_limit_of_requests_is_kept_and_told(backend: Backend) {
    let service = Service::start(backend).await;
    let bearer = format!("Bearer {}", service.license);
    let from = |address: &str, method: Method, path: &str| {
        let request = service.anyone.request(method, &format!("/api/license{path}"));
        request.header("x-forwarded-for", address).header("authorization", &bearer)
    };
    for number in 1..=60 {
        let (method, path) = if number % 2 == 0 { (Method::GET, "/verify") } else { (Method::POST, "/download") };
        let counted = reply(from("192.0.2.1", method, path)).await;
        counted.expect_refusal("MISSING_DOMAIN");
        assert_eq!((counted.header("x-ratelimit-limit"), counted.header("x-ratelimit-remaining")), ("60", (60 - number).to_string().as_str()));
        assert_eq!(counted.header("retry-after"), "");
    }
    let refused = reply(from("192.0.2.1", Method::GET, "/verify")).await;
    refused.expect_refusal("RATE_LIMIT_EXCEEDED");
    assert_eq!(refused.header("x-ratelimit-remaining"), "0");
    let now = std::time::UNIX_EPOCH.elapsed().expect("the clock stands after 1970").as_secs();
    let number = |name: &str| refused.header(name).parse::<u64>().expect("a number");
    assert!((1..=60).contains(&number("retry-after")));
    assert!(number("x-ratelimit-reset").abs_diff(now + number("retry-after")) <= 2);
    // Who shows no key at all is told that first; another address has its own minute; a file is not counted.
    reply(service.anyone.request(Method::GET, "/api/license/verify").header("x-forwarded-for", "192.0.2.1"))
        .await
        .expect_refusal("MISSING_AUTHORIZATION");
    reply(from("192.0.2.2", Method::GET, "/verify")).await.expect_refusal("MISSING_DOMAIN");
    let file = reply(from("192.0.2.1", Method::GET, "/download-file/unknown")).await;
    assert_eq!(file.expect_refusal(INVALID_TOKEN).header("x-ratelimit-limit"), "");
}

async fn a_token_gives_the_newest_file_once(backend: Backend) {
    let service = Service::start(backend).await;
    service.ask_for_token().await.expect_refusal("No downloadable file available for this product");
    service.on.ledger.release(service.product, "1.0.0", b"old").await;
    service.on.ledger.release(service.product, "1.1.0", b"new content").await;
    let asked = service.ask_for_token().await;
    let data = asked.expect_success();
    assert_eq!(asked.body["message"], "Download token generated successfully");
    assert_eq!((&data["product_name"], &data["file_size"]), (&json!("Test Product"), &json!(11)));
    let expires_at: jiff::Timestamp = data["expires_at"].as_str().expect("a time").parse().expect("RFC 3339");
    let now = std::time::UNIX_EPOCH.elapsed().expect("the clock stands after 1970").as_secs().cast_signed();
    assert!((expires_at.as_second() - now - 24 * 60 * 60).abs() < 60, "{expires_at}");
    assert_eq!(data["expires_at"].as_str().map(str::len), Some("2024-01-16T10:30:00.000Z".len()));
    let url = data["download_url"].as_str().expect("a URL");
    let path = format!("/{}", url.splitn(4, '/').nth(3).expect("a path"));
    assert!(path.starts_with("/api/license/download-file/"));
    let value = path.rsplit('/').next().expect("a token");

    let head = service.anyone.request(Method::HEAD, &path).send().await.expect("an answer");
    assert_eq!((head.status(), head.headers()["content-length"].to_str().ok()), (StatusCode::OK, Some("11")));
    let response = service.file(&path).header("range", "bytes=2-").send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK, "a token is good for the whole file");
    assert_eq!(response.headers()["content-disposition"], "attachment; filename=\"program.zip\"");
    assert_eq!(
        (&response.headers()["content-type"], &response.headers()["content-length"]),
        (&HeaderValue::from_static("application/zip"), &HeaderValue::from_static("11"))
    );
    assert_eq!(response.headers()["cache-control"], "no-cache, no-store, must-revalidate");
    assert_eq!(response.bytes().await.expect("the file"), "new content");
    for _ in 0..3 {
        service.file_refused(&path, INVALID_TOKEN).await;
    }
    service.file_refused("/api/license/download-file/unknown", INVALID_TOKEN).await;

    // The download is counted with its end, and the token's value is nowhere in the ledger.
    let counted = || async { (service.on.ledger.releases().await[1].2 == 1).then_some(()) };
    eventually("the download is counted", counted).await;
    service.file_refused(&path, INVALID_TOKEN).await;
    assert_eq!(raw::number(&service.on.ledger.place, "select count(*) from download_token").await, 0, "a used token is gone");
    let found = format!("select count(*) from events where cast(payload as text) like '%{value}%'");
    assert_eq!(raw::number(&service.on.ledger.place, &found).await, 0);
    let issued = "select count(*) from events where event_type = 'TokenIssued' or event_type = 'TokenUsed'";
    assert_eq!(raw::number(&service.on.ledger.place, issued).await, 2, "issue and use are events");
    assert!(!service.on.server.log_text().contains(value));
    service.on.ledger.expect_intact().await;
}

/// More than what fits into the connection's buffers.
fn large() -> Vec<u8> {
    (0..24_000_000_u32).map(|number| (number / 3) as u8).collect()
}

/// Each of many clients asks for the file of one token at once, spread over the servers; the files that came whole, and the refusals.
async fn all_at_once(service: &Service, servers: &[Client], path: &str) -> BTreeMap<u16, usize> {
    let tasks = (0..16).map(|number| {
        let request = servers[number % servers.len()].with_own_connections().with_key(ApiKey::Missing).request(Method::GET, path);
        tokio::spawn(async move {
            let response = request.send().await.expect("an answer");
            let status = response.status().as_u16();
            let body = response.bytes().await.expect("the whole body");
            assert!(status == 404 || body.len() == large().len(), "{status} with {} bytes", body.len());
            status
        })
    });
    let mut statuses = BTreeMap::new();
    for status in join_all(tasks).await {
        *statuses.entry(status.expect("a client does not panic")).or_default() += 1;
    }
    service.file_refused(path, INVALID_TOKEN).await;
    statuses
}

async fn of_many_simultaneous_downloads_one_gets_the_file(backend: Backend) {
    let service = Service::start(backend).await;
    service.on.ledger.release(service.product, "1.0.0", &large()).await;
    for _ in 0..3 {
        let path = service.token().await;
        let servers = [service.on.api.clone()];
        assert_eq!(all_at_once(&service, &servers, &path).await, BTreeMap::from([(200, 1), (404, 15)]));
    }
    service.on.ledger.expect_intact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_simultaneous_downloads_at_two_servers_one_gets_the_file() {
    let ledger = Ledger::new(Backend::Postgres).await;
    let files = format!("file://{}", ledger.directory().join("shared").display());
    let options = || ServeOptions::args(&["--trusted-proxy", "127.0.0.0/8", "--files-url", &files]);
    let server = ledger.serve_with(options()).await;
    let other = ledger.serve_at(&ledger.place.another_node("other"), options()).await;
    let api = server.client();
    let product = api.new_product().await;
    let license = api.new_license(product, fields!()).await;
    api.activate(&license, "shop.example").await.expect(300, PRODUCT);
    let upload = crate::support::releases::Upload {
        product,
        version: "1.0",
        content: &large(),
        file_name: "program.zip",
        more: &["--publish", "--files-url", &files],
    };
    ledger.upload(upload).await;
    let servers = [api.clone(), other.client()];
    let service = Service { anyone: api.with_key(ApiKey::Missing), product, license, on: Running { api, server, ledger } };
    for _ in 0..3 {
        let path = service.token().await;
        assert_eq!(all_at_once(&service, &servers, &path).await, BTreeMap::from([(200, 1), (404, 15)]));
    }
    service.on.ledger.expect_intact().await;
}

async fn a_transfer_that_fails_gives_the_token_back(backend: Backend) {
    let service = Service::start(backend).await;
    service.on.ledger.release(service.product, "1.0.0", &large()).await;
    let path = service.token().await;
    let response = service.anyone.with_own_connections().request(Method::GET, &path).send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.bytes_stream();
    body.next().await.expect("a first piece").expect("a first piece");
    service.file_refused(&path, INVALID_TOKEN).await;
    drop(body);
    // The connection is gone, and with it the claim.
    let again = eventually("the token is good again", || async {
        let response = service.file(&path).send().await.expect("an answer");
        (response.status() == StatusCode::OK).then_some(response)
    })
    .await;
    assert_eq!(again.bytes().await.expect("the file"), large());
    service.file_refused(&path, INVALID_TOKEN).await;
    eventually("one download is counted", || async { (service.on.ledger.releases().await[0].2 == 1).then_some(()) }).await;
    service.on.ledger.expect_intact().await;
}

async fn downloads_can_be_switched_off(backend: Backend) {
    let service = Service::start(backend).await;
    service.on.ledger.release(service.product, "1.0.0", b"content").await;
    let switch = async |on: bool| {
        let path = format!("products/{}", service.product);
        service.on.api.admin_patch(&path, json!({ "api_download": on })).await.expect(200);
    };
    let earlier = service.token().await;
    switch(false).await;
    service.ask_for_token().await.expect_refusal("API download is disabled for this product");
    service.verify_domain(&service.license, "shop.example").await.expect_success();
    // A token that was given is kept.
    assert_eq!(service.file(&earlier).send().await.expect("an answer").bytes().await.expect("the file"), "content");
    switch(true).await;
    service.ask_for_token().await.expect_success();
}

async fn a_replaced_key_says_when(backend: Backend) {
    let service = Service::start(backend).await;
    let before = service.verify_domain(&service.license, "shop.example").await.expect_success().clone();
    let path = format!("licenses/{}/license-key", before["license_id"]);
    service.on.api.admin_put(&path, json!({ "license_key": "another key" })).await.expect(200);
    service.verify_domain(&service.license, "shop.example").await.expect_refusal("INVALID_LICENSE");
    let after = service.verify_domain("another key", "shop.example").await.expect_success().clone();
    assert_eq!((&after["license_id"], &after["created_at"]), (&before["license_id"], &before["created_at"]));
    assert!(after["last_rotated"].as_str() > before["last_rotated"].as_str(), "{after}");
}

async fn a_token_dies_with_what_it_stands_for(backend: Backend) {
    let service = Service::start(backend).await;
    let release = service.on.ledger.release(service.product, "1.0.0", b"content").await;
    let api = &service.on.api;
    let path = service.token().await;
    api.update_license(&service.license, fields!(status: "blocked")).await.expect(950, PRODUCT);
    service.file_refused(&path, INVALID_TOKEN).await;
    api.update_license(&service.license, fields!(status: "assigned")).await.expect(950, PRODUCT);
    service.on.ledger.run(&["release", "unpublish", &release]).await.success();
    service.file_refused(&path, FILE_NOT_FOUND).await;
    service.on.ledger.run(&["release", "publish", &release]).await.success();
    let files = service.on.ledger.place.data_dir.join("files");
    let file = std::fs::read_dir(&files).expect("the files").next().expect("a file").expect("a file").path();
    std::fs::rename(&file, files.with_file_name("elsewhere")).expect("the file can be moved");
    service.file_refused(&path, FILE_NOT_FOUND).await;
    service.ask_for_token().await.expect_refusal(FILE_NOT_FOUND);
    std::fs::rename(files.with_file_name("elsewhere"), &file).expect("the file can be moved");
    // None of that used the token up.
    let response = service.file(&path).send().await.expect("an answer");
    assert_eq!(response.bytes().await.expect("the file"), "content");
    let path = service.token().await;
    service.on.ledger.run(&["release", "withdraw", &release]).await.success();
    service.file_refused(&path, FILE_NOT_FOUND).await;
    service.on.ledger.expect_intact().await;
}
