//! Checkpoints cosigned by a witness that really checks them.

use std::sync::Arc;

use aws_lc_rs::signature::KeyPair as _;
use keyledger::evidence::handout::Checkpoint;
use keyledger::evidence::handout::note::{CosignError, Cosignature};
use keyledger::evidence::handout::witness::{Witness, WitnessError};
use keyledger::outgoing::{Allowed, Outgoing, OutgoingError};

use super::log::{Log, ORIGIN, pair};
use super::outgoing;
use super::outside::server::{Asked, Server, Told};
use super::outside::witness::{self, Known, NAME, Seen, TIME, WITNESS_SEED, cosign, plain, vkey};

const LOG_SEED: u8 = 1;

/// One request to the witness of the test's log.
pub fn answer(seen: &Seen, asked: &Asked) -> Told {
    let known = Known { origin: ORIGIN.to_owned(), key: pair(LOG_SEED).public_key().as_ref().to_vec() };
    witness::answer(&known, seen, asked)
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
