//! The relay lets itself in with a file of credentials, where a server knows its users by the tokens that their account has signed.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::support::nats::{NatsServer, free_port};
use crate::support::{Backend, Ledger, ServeOptions};
use crate::{expect_whole, relaying, streams::says};

/// A token about somebody, signed by whoever vouches for it.
fn token(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: Value) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({ "jti": name, "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(), "name": name, "nats": nats });
    let signed = format!("{}.{}", part(json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(claims));
    let signature = issuer.sign(signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A file as `nsc` writes it.
fn credentials(token: &str, user: &KeyPair) -> String {
    let seed = user.seed().expect("a seed");
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_credentials_lets_the_relay_in() {
    let (operator, system, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
    let all = json!({
        "subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1, "payload": -1, "wildcards": true,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of_account = |limits: &Value| json!({ "type": "account", "version": 2, "limits": limits });
    let of_user = json!({ "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 });
    let operators = token(&operator, &operator, "operator", json!({ "type": "operator", "version": 2, "system_account": system.public_key() }));
    let systems = token(&operator, &system, "system", of_account(&json!({ "subs": -1, "conn": -1, "data": -1, "payload": -1, "wildcards": true })));
    let accounts = token(&operator, &account, "ledgers", of_account(&all));
    let more = format!(
        "operator: {operators}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {systems}, {}: {accounts} }}",
        system.public_key(),
        system.public_key(),
        account.public_key()
    );
    let nats = NatsServer::new("by-token", free_port(), &more);
    nats.restart();
    nats.listens().await;
    let known = credentials(&token(&account, &user, "relay", of_user.clone()), &user);
    // Signed by somebody whom the operator does not know.
    let stranger = KeyPair::new_account();
    let unknown = credentials(&token(&stranger, &user, "relay", of_user), &user);
    let ledger = Ledger::new(Backend::Sqlite).await;
    let with = |name: &str, text: &str| {
        let file = ledger.directory().join(name);
        std::fs::write(&file, text).expect("a file");
        ServeOptions::args(&["--nats-url", &nats.url(), "--nats-credentials", &file.display().to_string()])
    };

    for refused in [relaying(&nats.url()), with("unknown.creds", &unknown)] {
        let server = ledger.serve_with(refused).await;
        says(&server, "events can't be relayed to NATS at the moment").await;
        assert!(server.log_text().to_lowercase().contains("authorization violation"), "{}", server.log_text());
        server.stop().await;
    }
    let server = ledger.serve_with(with("relay.creds", &known)).await;
    server.client().new_product().await;
    let options = async_nats::ConnectOptions::with_credentials(&known).expect("credentials");
    let client = options.connect(nats.url()).await.expect("a connection");
    expect_whole(&async_nats::jetstream::new(client), &ledger).await;
    let seed = user.seed().expect("a seed");
    assert!(!server.log_text().contains(&seed), "no secret in the log");
}
