//! All destinations together: each at its own pace, with the newest checkpoint.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyledger::evidence::handout::{Config, HandOutError, Kept, run};
use keyledger::outgoing::{Allowed, Outgoing};
use tokio::sync::{mpsc, watch};

use super::log::Log;
use super::outgoing;
use super::poll::{DEADLINE, eventually};
use super::server::Server;
use super::witnesses::{self, Seen, WITNESS_SEED, vkey};

#[tokio::test]
async fn one_that_fails_holds_up_no_other_and_gets_the_newest_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let (is_up, seen) = (Arc::new(AtomicBool::new(false)), Seen::default());
    let (up, shared) = (Arc::clone(&is_up), Arc::clone(&seen));
    let server = Server::start(
        move |asked| {
            if up.load(Ordering::SeqCst) { witnesses::answer(&shared, &asked) } else { (503, "text/plain", b"later".to_vec()) }
        },
    )
    .await;
    let config = Config {
        file: Some(path.clone()),
        witnesses: vec![format!("{}/w#{}", server.url, vkey(WITNESS_SEED))],
        // Nobody is there.
        timestamp_urls: vec!["http://127.0.0.1:9/tsr".to_owned()],
    };
    let destinations = config.destinations(&outgoing()).unwrap();
    let log = Log::new(30);
    let (checkpoints, newest) = watch::channel(None);
    let (keep, mut kept) = mpsc::channel(8);
    let proofs = log.clone();
    let running = tokio::spawn(run(
        destinations,
        newest,
        move |old, new| {
            let proof = proofs.consistency(old, new);
            async { Ok(proof) }
        },
        keep,
    ));

    for size in [3, 11] {
        checkpoints.send_replace(Some(log.checkpoint(size)));
        let note = log.checkpoint(size).note;
        eventually("the file has it", || async { (fs::read_to_string(&path).ok()? == *note).then_some(()) }).await;
    }
    assert!(seen.lock().unwrap().is_none() && server.requests() > 0, "it was asked");
    is_up.store(true, Ordering::SeqCst);
    let brought = tokio::time::timeout(DEADLINE, kept.recv()).await.unwrap().unwrap();
    let Kept::Cosignatures { witness, size: 11, cosignatures } = brought else { panic!("{brought:?}") };
    assert_eq!((witness.as_str(), cosignatures.len()), ("witness.example/w1", 1));
    checkpoints.send_replace(Some(log.checkpoint(30)));
    let brought = tokio::time::timeout(DEADLINE, kept.recv()).await.unwrap().unwrap();
    assert!(matches!(brought, Kept::Cosignatures { size: 30, .. }), "{brought:?}");

    // Without a new one nothing is sent.
    let requests = server.requests();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(server.requests(), requests);
    running.abort();
}

#[tokio::test]
async fn what_may_mean_tampering_is_told_apart() {
    let (server, _) = witnesses::start().await;
    let config = Config { witnesses: vec![format!("{}/w#{}", server.url, vkey(WITNESS_SEED))], ..Config::default() };
    let destinations = config.destinations(&outgoing()).unwrap();
    let log = Log::new(9);
    let hand_out = async |log: &Log, size: u64| {
        let result = destinations[0].hand_out(&log.checkpoint(size), async |old| Ok(log.consistency(old, size))).await;
        result.map_err(|error| HandOutError::is_alarming(&error))
    };
    assert!(matches!(hand_out(&log, 8).await, Ok(Some(Kept::Cosignatures { size: 8, .. }))));
    assert_eq!(hand_out(&log, 7).await, Err(true), "put back");
    assert_eq!(hand_out(&log.forked_at(2), 9).await, Err(true), "changed");
    drop(server);
    assert_eq!(hand_out(&log.clone().of_origin("other"), 9).await, Err(false), "nobody there");
}

#[test]
fn a_wrong_entry_is_named() {
    let destinations = |config: Config| config.destinations(&Outgoing::new(Allowed::default()).unwrap()).map(|all| all.len());
    let blank = Config { witnesses: vec![String::new()], timestamp_urls: vec![" ".to_owned()], ..Config::default() };
    assert_eq!(destinations(blank), Ok(0), "a variable that is set to nothing");
    let error = destinations(Config { witnesses: vec!["https://w.example".to_owned()], ..Config::default() }).unwrap_err();
    assert!(error.starts_with("--witness https://w.example: "), "{error}");
    let error = destinations(Config { timestamp_urls: vec!["user:secret@tsa".to_owned()], ..Config::default() }).unwrap_err();
    assert!(error.contains("--timestamp-url") && !error.contains("secret"), "{error}");
}
