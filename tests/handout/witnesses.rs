//! A witness that keeps what it cosigned and checks every proof against it, as C2SP tlog-witness wants it.

use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{ED25519, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyledger::evidence::handout::Checkpoint;
use keyledger::evidence::handout::note::{CosignError, Cosignature};
use keyledger::evidence::handout::witness::{Witness, WitnessError};
use keyledger::outgoing::{Allowed, Outgoing, OutgoingError};

use super::log::{Hash, Log, ORIGIN, is_consistent, key_id, pair};
use super::outgoing;
use super::server::{Asked, Server, Told};

const NAME: &str = "witness.example/w1";
const LOG_SEED: u8 = 1;
pub const WITNESS_SEED: u8 = 77;
const TIME: u64 = 1_709_208_000;

fn plain(status: u16, text: &str) -> Told {
    (status, "text/plain", text.as_bytes().to_vec())
}

/// The verifier key of the test's witness.
pub fn vkey(seed: u8) -> String {
    let key = pair(seed).public_key().as_ref().to_vec();
    format!("{NAME}+{}+{}", hex::encode(key_id(NAME, 4, &key)), STANDARD.encode([&[4], key.as_slice()].concat()))
}

fn cosign(text: &str, seed: u8) -> String {
    let pair = pair(seed);
    let signature = pair.sign(format!("cosignature/v1\ntime {TIME}\n{text}").as_bytes());
    let id = key_id(NAME, 4, pair.public_key().as_ref());
    format!("\u{2014} {NAME} {}\n", STANDARD.encode([&id[..], &TIME.to_be_bytes(), signature.as_ref()].concat()))
}

/// The latest checkpoint that it cosigned.
pub type Seen = Arc<Mutex<Option<(u64, Hash)>>>;

/// One request, answered by the letter of the specification.
pub fn answer(seen: &Seen, asked: &Asked) -> Told {
    if asked.line != "POST /w/add-checkpoint" {
        return plain(404, "no such page");
    }
    let Ok(body) = std::str::from_utf8(&asked.body) else { return plain(400, "not UTF-8") };
    let Some((head, note)) = body.split_once("\n\n") else { return plain(400, "no checkpoint") };
    let mut lines = head.lines();
    let Some(old) = lines.next().and_then(|line| line.strip_prefix("old ")) else { return plain(400, "no old size") };
    let old: u64 = old.parse().unwrap();
    let proof: Vec<Hash> = lines.map(|line| STANDARD.decode(line).unwrap().try_into().unwrap()).collect();
    let (text, signatures) = note.split_at(note.find("\n\n").unwrap() + 1);
    let mut lines = text.lines();
    let (origin, size, root) = (lines.next().unwrap(), lines.next().unwrap(), lines.next().unwrap());
    if origin != ORIGIN {
        return plain(404, "this log is not known");
    }
    let key = pair(LOG_SEED).public_key().as_ref().to_vec();
    let signature = signatures.trim().rsplit(' ').next().map(|text| STANDARD.decode(text).unwrap()).unwrap();
    if UnparsedPublicKey::new(&ED25519, &key).verify(text.as_bytes(), &signature[4..]).is_err() {
        return plain(403, "not the log's key");
    }
    let (size, root): (u64, Hash) = (size.parse().unwrap(), STANDARD.decode(root).unwrap().try_into().unwrap());
    if old > size {
        return plain(400, "the old size is larger");
    }
    let mut seen = seen.lock().unwrap();
    let (known_size, known_root) = seen.unwrap_or_default();
    if old != known_size {
        return (409, "text/x.tlog.size", format!("{known_size}\n").into_bytes());
    }
    if old == size && known_root != root {
        return plain(409, "another root");
    }
    if !is_consistent(old, &known_root, size, &root, &proof) {
        return plain(422, "the proof does not fit");
    }
    *seen = Some((size, root));
    (200, "text/plain", format!("\u{2014} someone.else/x AAAAAA==\n{}", cosign(text, WITNESS_SEED)).into_bytes())
}

pub async fn start() -> (Server, Seen) {
    let seen = Seen::default();
    let shared = Arc::clone(&seen);
    (Server::start(move |asked| answer(&shared, &asked)).await, seen)
}

fn client(server: &Server) -> Witness {
    Witness::parse(&format!("{}/w/#{}", server.url, vkey(WITNESS_SEED)), outgoing()).unwrap()
}

async fn hand_out(witness: &Witness, log: &Log, size: u64) -> Result<Vec<Cosignature>, WitnessError> {
    witness.hand_out(&log.checkpoint(size), async |old| Ok(log.consistency(old, size))).await
}

fn size(seen: &Seen) -> u64 {
    seen.lock().unwrap().unwrap_or_default().0
}

#[tokio::test]
async fn each_checkpoint_continues_the_one_before() {
    let (server, seen) = start().await;
    let (witness, log) = (client(&server), Log::new(200));
    for (requests, at) in (1..).zip([1, 2, 7, 8, 64, 65, 200]) {
        let cosignatures = hand_out(&witness, &log, at).await.unwrap();
        let text = log.checkpoint(at).note.split_once("\n\n").unwrap().0.to_owned() + "\n";
        assert_eq!(cosignatures, [Cosignature { time: TIME, line: cosign(&text, WITNESS_SEED) }]);
        assert_eq!((size(&seen), server.requests()), (at, requests), "one request each");
    }
    // The same one again is cosigned again.
    hand_out(&witness, &log, 200).await.unwrap();
}

#[tokio::test]
async fn a_witness_that_knows_another_size_is_asked_again_from_there() {
    let (server, seen) = start().await;
    let log = Log::new(50);
    hand_out(&client(&server), &log, 13).await.unwrap();
    // After a restart nobody here knows how far the witness is.
    let restarted = client(&server);
    hand_out(&restarted, &log, 40).await.unwrap();
    assert_eq!((size(&seen), server.requests()), (40, 3));
    // It was told of a newer one by another server.
    hand_out(&client(&server), &log, 45).await.unwrap();
    hand_out(&restarted, &log, 50).await.unwrap();
    assert_eq!(size(&seen), 50);
}

#[tokio::test]
async fn a_ledger_that_was_put_back_is_told() {
    let (server, seen) = start().await;
    let log = Log::new(50);
    hand_out(&client(&server), &log, 40).await.unwrap();
    let result = hand_out(&client(&server), &log, 30).await;
    assert!(matches!(result, Err(WitnessError::Ahead { theirs: 40, ours: 30 })), "{result:?}");
    assert_eq!(size(&seen), 40);
}

#[tokio::test]
async fn a_ledger_that_was_changed_is_told() {
    let (server, seen) = start().await;
    let log = Log::new(50);
    let witness = client(&server);
    hand_out(&witness, &log, 40).await.unwrap();
    let changed = log.forked_at(17);
    for witness in [&witness, &client(&server)] {
        let result = hand_out(witness, &changed, 50).await;
        assert!(matches!(result, Err(WitnessError::ProofRejected)), "{result:?}");
        let result = hand_out(witness, &changed, 40).await;
        assert!(matches!(result, Err(WitnessError::OtherTree)), "{result:?}");
    }
    assert_eq!(size(&seen), 40);
}

#[tokio::test]
async fn an_unknown_ledger_or_key_is_told() {
    let (server, _) = start().await;
    let witness = client(&server);
    let result = hand_out(&witness, &Log::new(5).of_origin("other"), 5).await;
    assert!(matches!(result, Err(WitnessError::UnknownLedger)), "{result:?}");
    let result = hand_out(&witness, &Log::new(5).signed_by(2), 5).await;
    assert!(matches!(result, Err(WitnessError::UntrustedKey)), "{result:?}");
    let result = witness.hand_out(&Log::new(5).checkpoint(5), async |_| Err("gone".to_owned())).await;
    assert!(result.is_ok(), "a first checkpoint needs no proof: {result:?}");
}

#[tokio::test]
async fn no_answer_is_believed_that_does_not_verify() {
    let log = Log::new(5);
    let Checkpoint { note, .. } = log.checkpoint(5);
    let text = note.split_once("\n\n").unwrap().0.to_owned() + "\n";
    let (good, other) = (cosign(&text, WITNESS_SEED), cosign(&text, WITNESS_SEED + 1));
    let another_text = cosign(&text.replacen("\n5\n", "\n6\n", 1), WITNESS_SEED);
    let ask = async |told: Told| {
        let server = Server::start(move |_| told.clone()).await;
        let result = hand_out(&client(&server), &log, 5).await;
        (result, server.requests())
    };
    assert!(ask((200, "text/plain", good.into_bytes())).await.0.is_ok());
    let none = WitnessError::Cosignature(CosignError::None).to_string();
    for lines in ["", "\n", "not a line", &other] {
        assert_eq!(ask(plain(200, lines)).await.0.unwrap_err().to_string(), none, "{lines}");
    }
    let result = ask(plain(200, &another_text)).await.0;
    assert!(matches!(result, Err(WitnessError::Cosignature(CosignError::Invalid))), "{result:?}");
    let result = ask((200, "text/plain", vec![b'x'; 70_000])).await.0;
    assert!(matches!(result, Err(WitnessError::Outgoing(OutgoingError::TooLarge))), "{result:?}");
    for size in ["", "-1", "007", "99999999999999999999999", "x"] {
        let result = ask((409, "text/x.tlog.size", format!("{size}\n").into_bytes())).await.0;
        assert!(matches!(result, Err(WitnessError::Malformed)), "{size}: {result:?}");
    }
    let (result, requests) = ask((409, "text/x.tlog.size; charset=utf-8", b"3\n".to_vec())).await;
    assert!(matches!(result, Err(WitnessError::Unsteady)) && requests == 3, "{requests}: {result:?}");
    for status in [204, 302, 400, 409, 429, 500] {
        let result = ask(plain(status, "no")).await.0;
        assert!(matches!(result, Err(WitnessError::Status(given)) if given == status), "{result:?}");
    }
}

#[tokio::test]
async fn a_witness_is_called_by_the_rules_of_outgoing_calls() {
    let (server, _) = start().await;
    let careful = Outgoing::new(Allowed::default()).unwrap();
    let witness = Witness::parse(&format!("{}#{}", server.url, vkey(WITNESS_SEED)), careful).unwrap();
    let result = hand_out(&witness, &Log::new(5), 5).await;
    assert!(matches!(result, Err(WitnessError::Outgoing(OutgoingError::NotPermitted))), "{result:?}");
    assert_eq!(server.requests(), 0);
}

#[test]
fn a_witness_is_configured_with_url_and_key() {
    let witness = |text: &str| Witness::parse(text, Outgoing::new(Allowed::default()).unwrap()).map(|witness| witness.name().to_owned());
    let key = vkey(WITNESS_SEED);
    assert_eq!(witness(&format!("https://w.example/prefix#{key}")).as_deref(), Ok(NAME));
    for bad in ["https://w.example", "https://w.example#", &format!("ftp://w.example#{key}"), &format!("w.example#{key}"), &key] {
        assert!(witness(bad).is_err(), "{bad}");
    }
}
