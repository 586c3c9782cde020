//! Envato: a purchase code that the ledger doesn't know is asked of the Envato API, here a server of the test's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::ports::free_port;
use crate::support::{Backend, GLOBAL, PRODUCT, Running, ServeOptions, both_backends, fields};

both_backends!(
    a_purchase_becomes_a_license_once,
    what_envato_does_not_know_is_invalid_and_asked_once_a_minute,
    an_api_that_is_down_is_not_a_no,
    without_a_product_of_envatos_nothing_is_asked,
    many_who_verify_one_purchase_at_once_add_it_once,
);

const TOKEN: &str = "test-token";

/// What the API answers for which code, and what it was asked.
#[derive(Default)]
struct Known {
    answers: HashMap<String, (u16, String)>,
    asked: Vec<String>,
}

struct Api {
    url: String,
    known: Arc<Mutex<Known>>,
}

impl Api {
    async fn start() -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let known: Arc<Mutex<Known>> = Arc::default();
        let shared = known.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, shared.clone()));
            }
        });
        Api { url, known }
    }

    fn set(&self, code: &str, status: u16, body: &str) {
        self.known.lock().expect("no panic").answers.insert(code.to_string(), (status, body.to_string()));
    }

    /// A sale of an item, as the API tells it.
    fn sell(&self, code: &str, item: u64) {
        let body = format!(
            r#"{{"amount":"19.84","sold_at":"2024-01-02T03:04:05+11:00","license":"Regular License","support_amount":"0.00",
                "supported_until":"2024-07-02T03:04:05+11:00","item":{{"id":{item},"name":"Doors"}},"buyer":"jane","purchase_count":1}}"#
        );
        self.set(code, 200, &body);
    }

    fn asked(&self) -> Vec<String> {
        self.known.lock().expect("no panic").asked.clone()
    }
}

async fn answer(mut stream: TcpStream, known: Arc<Mutex<Known>>) {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(count) => head.extend_from_slice(&buffer[..count]),
            }
        }
        let text = String::from_utf8(std::mem::take(&mut head)).expect("a request's head is text");
        let target = text.split_whitespace().nth(1).expect("a target").to_string();
        let is_permitted = text.to_lowercase().contains(&format!("authorization: bearer {TOKEN}"));
        let code = target.strip_prefix("/v3/market/author/sale?code=").map(str::to_string);
        let (status, body) = match code {
            Some(code) if is_permitted => {
                let mut known = known.lock().expect("no panic");
                known.asked.push(code.clone());
                let unknown = r#"{"error":404,"description":"No sale belonging to the current user found with that code"}"#;
                known.answers.get(&code).cloned().unwrap_or((404, unknown.to_string()))
            }
            _ => (403, r#"{"error":403}"#.to_string()),
        };
        let response = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn start(backend: Backend, api: &Api) -> Running {
    let mut options = ServeOptions::args(&["--envato-url", &api.url, "--allow-outgoing", "127.0.0.1/32"]);
    options.environment.push(("KEYLEDGER_ENVATO_TOKEN".to_string(), TOKEN.to_string()));
    Running::start_with(backend, options).await
}

async fn a_purchase_becomes_a_license_once(backend: Backend) {
    let api = Api::start().await;
    let on = start(backend, &api).await;
    let product = on.api.new_product_with(fields!(source: "envato", external_reference: 4444)).await;
    api.sell("code-1", 4444);
    let verify = || fields!(license_key: "code-1", identifier: "a.example", email: "jane@shop.example");
    on.api.form("verify", verify()).await.expect(206, PRODUCT).expect_members(&[]).expect_signed_by(product);
    on.api.form("verify", verify()).await.expect(202, PRODUCT);
    on.api.activate("code-1", "a.example").await.expect(300, PRODUCT);
    on.api.form("verify", verify()).await.expect(200, PRODUCT);
    assert_eq!(api.asked(), ["code-1"]);
    let row = on.api.listed(product, "code-1").await.expect("the license is listed");
    assert_eq!((row.at("status").text(), row.at("owner_email").text()), ("assigned", "jane@shop.example"));
    assert_eq!((row.at("activation_limit").integer(), row.at("validity").integer()), (1, 0));
    // Of an item that no product is, of a product of another source, and of an inactive one.
    let internal = on.api.new_product_with(fields!(external_reference: 5555)).await;
    api.sell("code-2", 5555);
    on.api.verify("code-2", "a.example").await.expect(210, GLOBAL);
    on.api.form("update-product", fields!(product_id: internal, source: "envato", status: "inactive")).await.expect(650, GLOBAL);
    on.api.verify("code-2", "a.example").await.expect(210, GLOBAL);
    on.api.form("update-product", fields!(product_id: internal, status: "active")).await.expect(650, GLOBAL);
    on.api.verify("code-2", "a.example").await.expect(206, PRODUCT);
    let nobody = on.api.listed(internal, "code-2").await.expect("the license is listed");
    assert_eq!(nobody.at("owner_email"), &crate::support::Json::Null);
    on.ledger.expect_intact().await;
}

async fn what_envato_does_not_know_is_invalid_and_asked_once_a_minute(backend: Backend) {
    let api = Api::start().await;
    let on = start(backend, &api).await;
    on.api.new_product_with(fields!(source: "envato", external_reference: 4444)).await;
    let before = on.ledger.event_count().await;
    for _ in 0..3 {
        on.api.verify("guess", "a.example").await.expect(210, GLOBAL);
    }
    assert_eq!(api.asked(), ["guess"]);
    // A code is data, whatever it holds.
    on.api.verify("a&b=c/../d?e", "a.example").await.expect(210, GLOBAL);
    assert_eq!(api.asked()[1], "a%26b%3Dc%2F..%2Fd%3Fe");
    api.set("malformed", 400, "{}");
    on.api.verify("malformed", "a.example").await.expect(210, GLOBAL);
    assert_eq!(on.ledger.event_count().await, before);
    // Only verify asks.
    on.api.activate("another", "a.example").await.expect(210, GLOBAL);
    assert_eq!(api.asked().len(), 3);
}

async fn an_api_that_is_down_is_not_a_no(backend: Backend) {
    let api = Api::start().await;
    let on = start(backend, &api).await;
    let product = on.api.new_product_with(fields!(source: "envato", external_reference: 4444)).await;
    for status in [500, 502, 429, 401, 403, 302] {
        api.set("code-1", status, "down");
        let answer = on.api.verify("code-1", "a.example").await;
        assert!(answer.expect_error(503).headers.contains_key("retry-after"), "{status}");
    }
    for body in ["", "no JSON", "{}", r#"{"item":{"id":"x"}}"#] {
        api.set("code-1", 200, body);
        on.api.verify("code-1", "a.example").await.expect_error(503);
    }
    // It comes back, and so does the answer.
    api.sell("code-1", 4444);
    on.api.verify("code-1", "a.example").await.expect(206, PRODUCT).expect_signed_by(product);
    // A known key never depends on it.
    on.api.verify("code-1", "a.example").await.expect(202, PRODUCT);
    let Running { api: client, server, ledger } = on;
    drop((client, server));
    // Nothing listens there at all.
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let mut options = ServeOptions::args(&["--envato-url", &url, "--allow-outgoing", "127.0.0.1/32"]);
    options.environment.push(("KEYLEDGER_ENVATO_TOKEN".to_string(), TOKEN.to_string()));
    let server = ledger.serve_with(options).await;
    server.client().verify("code-9", "a.example").await.expect_error(503);
    drop(server);
    // And an address that must not be called isn't.
    let mut options = ServeOptions::args(&["--envato-url", &api.url]);
    options.environment.push(("KEYLEDGER_ENVATO_TOKEN".to_string(), TOKEN.to_string()));
    let asked = api.asked().len();
    let server = ledger.serve_with(options).await;
    server.client().verify("code-9", "a.example").await.expect_error(503);
    assert_eq!(api.asked().len(), asked);
}

async fn without_a_product_of_envatos_nothing_is_asked(backend: Backend) {
    let api = Api::start().await;
    let on = start(backend, &api).await;
    api.sell("code-1", 4444);
    on.api.new_product_with(fields!(external_reference: 4444)).await;
    let inactive = on.api.new_product_with(fields!(source: "envato", external_reference: 4444, status: "inactive")).await;
    on.api.verify("code-1", "a.example").await.expect(210, GLOBAL);
    assert!(api.asked().is_empty());
    on.api.form("update-product", fields!(product_id: inactive, status: "active")).await.expect(650, GLOBAL);
    on.api.verify("code-1", "a.example").await.expect(206, PRODUCT);
}

async fn many_who_verify_one_purchase_at_once_add_it_once(backend: Backend) {
    let api = Api::start().await;
    let on = start(backend, &api).await;
    let product = on.api.new_product_with(fields!(source: "envato", external_reference: 4444)).await;
    api.sell("code-1", 4444);
    let verified = join_all((0..32).map(|_| {
        let client = on.api.clone();
        async move { client.verify("code-1", "a.example").await.code() }
    }))
    .await;
    assert_eq!(verified.iter().filter(|code| **code == 206).count(), 1, "{verified:?}");
    assert_eq!(verified.iter().filter(|code| **code == 202).count(), 31, "{verified:?}");
    let listed = on.api.get("get-license-keys", fields!(product_id: product)).await;
    assert_eq!(listed.expect(730, GLOBAL).response.at("license_keys").items().len(), 1);
    on.ledger.expect_intact().await;
}
