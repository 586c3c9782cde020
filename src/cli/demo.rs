//! `keyledger demo`: the life of a license on a ledger of its own, over HTTP, as a person would want to see it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use keyledger_projections::Value;
use serde_json::Value as Json;
use tokio::net::{TcpListener, TcpStream};

use super::Failure;
use crate::{
    app::{App, HttpConfig},
    background,
    clock::Clock,
    files::{Files, UPLOAD_BYTES_MAX},
    http,
    ledger::{Ledger, Options},
    signer::verify_response,
    store::{Store, sqlite::SqliteStore},
    vault::MasterKey,
};

const API_KEY: &str = "demo-api-key-not-a-secret";
const LICENSE_KEY: &str = "DEMO-0001";

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Only walk through; don't serve afterwards.
    #[arg(long)]
    no_serve: bool,
    /// Address to serve on; where it is taken, a free port is.
    #[arg(long, env = "KEYLEDGER_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
}

pub async fn run(args: DemoArgs) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("keyledger-demo-").tempdir()?;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.path().join("ledger.db"), Default::default())?);
    let clock = Clock::default();
    let ledger = Ledger::open(store, &MasterKey::random()?, Options { clock: clock.clone(), rebuild_older: false }).await?;
    ledger.bootstrap_api_key(API_KEY).await?;
    let files = Arc::new(Files::open(None, &folder.path().join("files"), UPLOAD_BYTES_MAX)?);
    let app = Arc::new(App::new(ledger.clone(), clock, files, HttpConfig::default(), None).await?);
    let wanted = if args.no_serve { SocketAddr::new(args.listen.ip(), 0) } else { args.listen };
    let listener = match TcpListener::bind(wanted).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind(SocketAddr::new(wanted.ip(), 0)).await?,
    };
    let address = listener.local_addr()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let background = tokio::spawn(background::run(Arc::clone(&app)));
    let server = tokio::spawn(http::serve(listener, app, async move {
        // Dropping the sender is the same as sending.
        let _ = stopped.await;
    }));

    println!("A throw-away ledger in {}, served on http://{address}\n", folder.path().display());
    let mut walk = Walk { address, ledger: ledger.clone(), seen: ledger.head_position() };
    let walked = walk.all().await;
    if walked.is_ok() && !args.no_serve {
        print_invitation(address);
        super::serve::asked_to_stop()?.await;
        println!("\nThe ledger is thrown away.");
    }
    drop(stop);
    server.await??;
    background.abort();
    ledger.close(Duration::from_secs(10)).await;
    walked
}

fn print_invitation(address: SocketAddr) {
    let call = |operation: &str, parameters: &str| {
        println!("  curl -s http://{address}/api/v1/{operation} -d api_key={API_KEY} {parameters}");
    };
    println!("Now try it yourself (Ctrl-C ends it):\n");
    call(
        "create-license-keys",
        "-d product_id=1 --data-urlencode 'license_keys=[\"MINE-1\"]' -d activation_limit=2 -d validity=30 -d status=assigned",
    );
    call("activate", "-d license_key=MINE-1 -d identifier=my.example");
    call("verify", "-d license_key=MINE-1 -d identifier=my.example");
}

struct Walk {
    address: SocketAddr,
    ledger: Ledger,
    /// Events before this position were shown.
    seen: i64,
}

impl Walk {
    async fn all(&mut self) -> Result<(), Failure> {
        let license = [("license_key", LICENSE_KEY)];
        let on = |identifier| [("license_key", LICENSE_KEY), ("identifier", identifier)];
        let product = [("name", "Demo Product"), ("description", "What the demo sells")];
        self.step("The vendor creates a product; it gets a signing key pair of its own", "create-product", &product, "750").await?;
        let keys = [
            ("product_id", "1"),
            ("license_keys", r#"["DEMO-0001","DEMO-0002","DEMO-0003"]"#),
            ("activation_limit", "1"),
            ("validity", "365"),
            ("status", "available"),
        ];
        self.step("… and three license keys, each good for one activation", "create-license-keys", &keys, "900").await?;
        let owner = [license[0], ("owner_name", "Jane Doe"), ("email", "jane@shop.example")];
        self.step("A customer buys one", "assign-license-key", &owner, "800").await?;
        self.step("The customer's program activates it", "activate", &on("shop.example"), "300").await?;
        self.step("… and verifies it at every start: no event, an answer read from a projection", "verify", &on("shop.example"), "200").await?;
        self.step("A second machine is refused at the limit; that is an event too", "activate", &on("second.example"), "302").await?;
        self.step("The first machine gives its seat back", "deactivate", &on("shop.example"), "400").await?;
        let answer = self.step("… and is not valid any more", "verify", &on("shop.example"), "202").await?;
        self.check_signatures(&answer).await
    }

    async fn step(&mut self, title: &str, operation: &str, parameters: &[(&str, &str)], code: &str) -> Result<Json, Failure> {
        println!("■ {title}");
        let shown: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        println!("  POST /api/v1/{operation}  {}", shown.join("  "));
        let answer = post(self.address, operation, parameters).await?;
        for event in self.ledger.store().events(self.seen, 100).await? {
            println!("  event {:<3} {:<19} {}", event.position, event.event_type, facts(&event.payload));
            self.seen = event.position + 1;
        }
        let response = &answer["response"];
        println!("  answer    {} {}", text(&response["code"]), text(&response["message"]));
        let signed_by = text(&answer["private_key_used"]);
        let public_key = self.public_key(&signed_by).await?;
        let is_valid = verify_response(&public_key, &text(&answer["response_base64"]), &text(&answer["signature"]));
        println!("  signature {} ({signed_by} key)\n", if is_valid { "valid" } else { "NOT VALID" });
        if !is_valid {
            return Err("the signature of an answer is not valid".into());
        }
        if text(&response["code"]) != code {
            return Err(format!("expected code {code}, got {}", text(&response["code"])).into());
        }
        Ok(answer)
    }

    async fn public_key(&self, signed_by: &str) -> Result<String, Failure> {
        let sql = match signed_by {
            "product" => "SELECT public_key FROM key_pair WHERE product = 1",
            _ => "SELECT public_key FROM key_pair WHERE product IS NULL",
        };
        match self.ledger.store().query(sql, &[]).await?.first().and_then(|row| row.first()) {
            Some(Value::Text(pem)) => Ok(pem.clone()),
            _ => Err("there is no public key".into()),
        }
    }

    /// What a shipped program does with an answer, and what it does when somebody changed it on the way.
    async fn check_signatures(&self, answer: &Json) -> Result<(), Failure> {
        println!("■ What the customer's program checks");
        let public_key = self.public_key(&text(&answer["private_key_used"])).await?;
        let (signed, signature) = (text(&answer["response_base64"]), text(&answer["signature"]));
        let forged = format!("A{}", &signed[1..]);
        println!("  signed    {}…", signed.chars().take(60).collect::<String>());
        println!("  signature {}…", signature.chars().take(60).collect::<String>());
        let (genuine, altered) = (verify_response(&public_key, &signed, &signature), verify_response(&public_key, &forged, &signature));
        println!("  as sent: {}; with one letter changed: {}\n", verdict(genuine), verdict(altered));
        if genuine && !altered { Ok(()) } else { Err("the signature check is broken".into()) }
    }
}

fn verdict(valid: bool) -> &'static str {
    if valid { "valid" } else { "rejected" }
}

fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An event's facts in one line; what is sealed is called so.
fn facts(payload: &str) -> String {
    let Ok(Json::Object(event)) = serde_json::from_str::<Json>(payload) else { return String::new() };
    let Some(Json::Object(fields)) = event.into_iter().next().map(|(_, fields)| fields) else { return String::new() };
    let show = |(name, value): (String, Json)| match (name.as_str(), &value) {
        (_, Json::Null) => None,
        (_, Json::String(text)) if text.is_empty() => None,
        ("personal", _) => Some("personal data sealed".to_owned()),
        ("public_key", _) => Some("public_key=…".to_owned()),
        _ => Some(format!("{name}={}", text(&value))),
    };
    fields.into_iter().filter_map(show).collect::<Vec<_>>().join("  ")
}

async fn post(address: SocketAddr, operation: &str, parameters: &[(&str, &str)]) -> Result<Json, Failure> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("api_key", API_KEY).extend_pairs(parameters);
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = hyper::Request::post(format!("/api/v1/{operation}"))
        .header("host", address.to_string())
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(form.finish())))?;
    let body = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
    drop(sender);
    connection.await??;
    Ok(serde_json::from_slice(&body)?)
}
