//! How a receiver checks signatures, run as the documentation shows it.

use std::process::Stdio;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::receiver::{Received, Receiver};
use crate::support::{Backend, Running};
use crate::{Endpoint, hurried};

const DOCUMENT: &str = include_str!("../../docs/webhooks.md");

fn code(language: &str) -> &'static str {
    let (_, rest) = DOCUMENT.split_once(&format!("```{language}\n")).unwrap_or_else(|| panic!("no {language}"));
    rest.split_once("```").expect("its end").0
}

/// What a program says of a message that it reads from its standard input.
async fn said(program: &str, args: &[&str], secret: &str, message: &Received) -> String {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    let input = json!({ "secret": secret, "headers": message.headers, "body": message.body }).to_string();
    child.stdin.take().expect("its input").write_all(input.as_bytes()).await.expect("it reads");
    let output = child.wait_with_output().await.expect("it ends");
    assert!(output.status.success(), "{program}");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_lowercase()
}

async fn tells_what_is_genuine(program: &str, args: &[&str]) {
    let on = Running::start_with(Backend::Sqlite, hurried(100)).await;
    let receiver = Receiver::start().await;
    let endpoint = Endpoint::new(&on.api, json!({ "url": receiver.url("/hook") })).await;
    on.api.new_product().await;
    let message = receiver.wait_for(1).await.remove(0);
    let says = async |secret: &str, message: &Received| said(program, args, secret, message).await;
    assert_eq!(says(&endpoint.secret, &message).await, "true");
    // In the time of a changed secret it is one of two signatures.
    let mut two = message.clone();
    let both = format!("v1,AAAA {}", two.headers["webhook-signature"]);
    two.headers.insert("webhook-signature".to_owned(), both);
    assert_eq!(says(&endpoint.secret, &two).await, "true");
    let changed = Received { body: message.body.replace("1.0", "1.1"), ..message.clone() };
    assert_ne!(changed.body, message.body);
    assert_eq!(says(&endpoint.secret, &changed).await, "false");
    let mut stale = message.clone();
    let sent: i64 = stale.headers["webhook-timestamp"].parse().expect("a number");
    stale.headers.insert("webhook-timestamp".to_owned(), (sent - 600).to_string());
    assert_eq!(says(&endpoint.secret, &stale).await, "false");
    let other = Endpoint::new(&on.api, json!({ "url": receiver.url("/other") })).await;
    assert_eq!(says(&other.secret, &message).await, "false");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_python() {
    let code = format!(
        "{}\nimport json, sys\ngiven = json.load(sys.stdin)\nprint(is_genuine(given['secret'], given['headers'], given['body'].encode()))",
        code("python")
    );
    tells_what_is_genuine("python3", &["-c", &code]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_javascript() {
    let code = format!(
        "{}\nimport {{ readFileSync }} from \"node:fs\";\nconst given = JSON.parse(readFileSync(0));\n\
         console.log(isGenuine(given.secret, given.headers, Buffer.from(given.body)));",
        code("javascript")
    );
    tells_what_is_genuine("node", &["--input-type=module", "-e", &code]).await;
}
