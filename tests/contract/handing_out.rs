//! A real server hands its checkpoints out: to a witness that is down at first, and to a time-stamping authority. What they give
//! back is there for auditors.

use std::fs;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::outside::authority::{self, authority, openssl};
use crate::support::outside::server::Server;
use crate::support::outside::witness::{self, Known, NAME, Seen, WITNESS_SEED, cosign, vkey};
use crate::support::{ApiKey, Backend, Running, ServeOptions, both_backends, eventually, fields};

both_backends!(what_those_outside_give_back_is_shown);

async fn text(on: &Running, path: &str) -> Option<String> {
    let (status, _, body) = on.api.bytes(&format!("/ledger/v1/{path}")).await;
    (status == 200).then(|| String::from_utf8(body).expect("text"))
}

/// What a destination gave back for the checkpoint of a size, in Base64.
async fn handed_out(on: &Running, size: u64, destination: &str) -> Option<(Value, String)> {
    let told = on.api.ledger_get(&format!("checkpoints/{size}/hand-outs")).await.expect(200).clone();
    let item = told["items"].as_array().expect("items").iter().find(|item| item["destination"] == destination)?;
    assert!(item["made_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{item}");
    Some((told["checkpoint"].clone(), item["answer"].as_str().expect("an answer").to_owned()))
}

async fn what_those_outside_give_back_is_shown(backend: Backend) {
    let (known, seen) = (Arc::new(Mutex::new(None::<Known>)), Seen::default());
    let known_there = Arc::clone(&known);
    let witness = Server::start(move |asked| match &*known_there.lock().expect("no panic under the lock") {
        Some(known) => witness::answer(known, &seen, &asked),
        None => (503, "text/plain", b"later".to_vec()),
    })
    .await;
    let folder = authority("sha256");
    let stamping = authority::start(&folder).await;
    let (witness_url, stamping_url) = (format!("{}/w#{}", witness.url, vkey(WITNESS_SEED)), format!("{}/tsr", stamping.url));
    let outside = ["--witness", &witness_url, "--timestamp-url", &stamping_url, "--allow-outgoing", "127.0.0.1"];
    let args = [&outside[..], &["--checkpoint-interval", "1", "--public-proofs"]].concat();
    let on = Running::start_with(backend, ServeOptions::args(&args)).await;
    let product = on.api.new_product().await;

    eventually("the witness that is down was asked twice", || async { (witness.requests() >= 2).then_some(()) }).await;
    assert!(!text(&on, "checkpoint").await.expect("a checkpoint").contains(NAME));
    let log_key = text(&on, "verifier-key").await.expect("a key");
    *known.lock().expect("no panic under the lock") = Some(Known::of(&log_key));

    // The newest checkpoint is shown with the witness's line, and the line is kept.
    for _ in 0..2 {
        let is_cosigned = || async { text(&on, "checkpoint").await.filter(|note| note.contains(NAME)) };
        let note = eventually("the checkpoint is cosigned", is_cosigned).await;
        let (body, lines) = note.split_once("\n\n").expect("a note");
        let expected = cosign(&format!("{body}\n"), WITNESS_SEED);
        assert!(lines.ends_with(&format!("\n{expected}")) && lines.lines().count() == 2, "{note}");
        let size: u64 = body.lines().nth(1).and_then(|size| size.parse().ok()).expect("a size");
        let (checkpoint, answer) = handed_out(&on, size, &format!("witness {NAME}")).await.expect("it is kept");
        assert_eq!(answer, STANDARD.encode(&expected));
        assert_eq!(note, format!("{}{expected}", checkpoint["note"].as_str().expect("a note")));
        on.api.new_license(product, fields!()).await;
        let is_newer = || async { text(&on, "checkpoint").await.filter(|newer| !newer.starts_with(body)) };
        eventually("there is a newer one", is_newer).await;
    }

    // Authorities get one a minute: the first one that there was.
    let stamped = eventually("a checkpoint is time-stamped", || async {
        for made in on.api.history("checkpoints", 50).await {
            let size = made["size"].as_u64().expect("a size");
            if let Some((checkpoint, token)) = handed_out(&on, size, "timestamp 127.0.0.1/tsr").await {
                assert_eq!(checkpoint, made);
                return Some((checkpoint, token));
            }
        }
        None
    });
    let (checkpoint, token) = stamped.await;
    fs::write(folder.path().join("note"), checkpoint["note"].as_str().expect("a note")).expect("it can be saved");
    fs::write(folder.path().join("token"), STANDARD.decode(token).expect("Base64")).expect("it can be saved");
    let said = openssl(folder.path(), &["ts", "-verify", "-data", "note", "-in", "token", "-token_in", "-CAfile", "root.pem"]);
    assert!(said.contains("Verification: OK"), "{said}");
    assert_eq!(stamping.requests(), 1);

    // For whom it is, and what is none.
    let path = format!("checkpoints/{}/hand-outs", checkpoint["size"]);
    on.api.with_key(ApiKey::Missing).ledger_get(&path).await.expect(200);
    on.caller(&["--capability", "verify"]).await.ledger_get(&path).await.expect_problem(403, "not-permitted");
    for size in ["0", "999999", "-1", "x", "9223372036854775807", "9223372036854775808"] {
        on.api.ledger_get(&format!("checkpoints/{size}/hand-outs")).await.expect_problem(404, "not-found");
    }
    assert_eq!(on.api.ledger_get("checkpoints?limit=500").await.expect(200)["next"], json!(null));
    assert!(!on.server.log_text().contains("a checkpoint may be older than 10 seconds"));
    on.ledger.expect_intact().await;
}
