//! All destinations together: each at its own pace, with the newest checkpoint.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use keyledger::evidence::handout::{Config, Destination, HandOutError, Home, Kept, run};
use keyledger::outgoing::{Allowed, Outgoing};
use tokio::sync::{mpsc, watch};

use super::log::{Hash, Log};
use super::outgoing;
use super::outside::server::Server;
use super::outside::witness::{Seen, WITNESS_SEED, vkey};
use super::poll::{DEADLINE, eventually};
use super::witnesses;

/// A ledger that has published checkpoints up to a size, and can keep what comes back after so many failures.
struct Ledger {
    log: Log,
    published: u64,
    failures: AtomicU32,
    /// How often it was asked whether it published a checkpoint.
    asked: Arc<AtomicU32>,
    kept: mpsc::Sender<Kept>,
}

#[async_trait]
impl Home for Ledger {
    async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, String> {
        Ok(self.log.consistency(old, new))
    }

    async fn published(&self, size: u64) -> Result<Option<Hash>, String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok((size <= self.published).then(|| self.log.root(size)))
    }

    async fn keep(&self, brought: &Kept) -> Result<(), String> {
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err("the database is away".to_owned());
        }
        self.kept.send(brought.clone()).await.map_err(|error| error.to_string())
    }
}

/// Hands checkpoints of a ledger out until it is dropped.
struct Running {
    newest: watch::Sender<Option<keyledger::evidence::handout::Checkpoint>>,
    kept: mpsc::Receiver<Kept>,
    asked: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(log: &Log, published: u64, failures: u32, destinations: Vec<Destination>) -> Running {
        let (newest, news) = watch::channel(None);
        let (keep, kept) = mpsc::channel(8);
        let asked = Arc::<AtomicU32>::default();
        let ledger = Ledger { log: log.clone(), published, failures: failures.into(), asked: Arc::clone(&asked), kept: keep };
        Running { newest, kept, asked, task: tokio::spawn(async move { run(destinations, news, &ledger).await }) }
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    async fn brought(&mut self) -> Kept {
        tokio::time::timeout(DEADLINE, self.kept.recv()).await.unwrap().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

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
    let mut running = Running::start(&log, 30, 0, destinations);

    for size in [3, 11] {
        running.newest.send_replace(Some(log.checkpoint(size)));
        let note = log.checkpoint(size).note;
        eventually("the file has it", || async { (fs::read_to_string(&path).ok()? == *note).then_some(()) }).await;
    }
    assert!(seen.lock().unwrap().is_none() && server.requests() > 0, "it was asked");
    is_up.store(true, Ordering::SeqCst);
    let brought = running.brought().await;
    let Kept::Cosignatures { witness, size: 11, cosignatures } = brought else { panic!("{brought:?}") };
    assert_eq!((witness.as_str(), cosignatures.len()), ("witness.example/w1", 1));
    running.newest.send_replace(Some(log.checkpoint(30)));
    let brought = running.brought().await;
    assert!(matches!(brought, Kept::Cosignatures { size: 30, .. }), "{brought:?}");

    // Without a new one nothing is sent.
    let requests = server.requests();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(server.requests(), requests);
}

/// The database is away for a moment: the witness is not asked again.
#[tokio::test]
async fn what_came_back_is_not_lost_when_it_can_not_be_kept_at_once() {
    let (server, _) = witnesses::start().await;
    let config = Config { witnesses: vec![format!("{}/w#{}", server.url, vkey(WITNESS_SEED))], ..Config::default() };
    let log = Log::new(9);
    let mut running = Running::start(&log, 9, 2, config.destinations(&outgoing()).unwrap());
    running.newest.send_replace(Some(log.checkpoint(9)));
    assert!(matches!(running.brought().await, Kept::Cosignatures { size: 9, .. }));
    assert_eq!(server.requests(), 1);
}

/// Of several servers one is a moment behind. What the others handed out is in the database that they share.
#[tokio::test]
async fn what_another_server_handed_out_is_no_sign_of_tampering() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let (server, seen) = witnesses::start().await;
    let config = Config { file: Some(path.clone()), witnesses: vec![format!("{}/w#{}", server.url, vkey(WITNESS_SEED))], ..Config::default() };
    let log = Log::new(30);
    let mut ahead = Running::start(&log, 11, 0, config.destinations(&outgoing()).unwrap());
    ahead.newest.send_replace(Some(log.checkpoint(11)));
    ahead.brought().await;
    eventually("the file has it", || async { (fs::read_to_string(&path).ok()? == *log.checkpoint(11).note).then_some(()) }).await;

    let mut behind = Running::start(&log, 30, 0, config.destinations(&outgoing()).unwrap());
    behind.newest.send_replace(Some(log.checkpoint(7)));
    eventually("both are ahead", || async { (behind.asked() == 2).then_some(()) }).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!((behind.asked(), server.requests()), (2, 2), "there is nothing to be tried again");
    behind.newest.send_replace(Some(log.checkpoint(30)));
    assert!(matches!(behind.brought().await, Kept::Cosignatures { size: 30, .. }));
    eventually("the file has it", || async { (fs::read_to_string(&path).ok()? == *log.checkpoint(30).note).then_some(()) }).await;

    // A ledger that never published as many was put back; that is found again and again.
    let put_back = Running::start(&log, 12, 0, config.destinations(&outgoing()).unwrap());
    put_back.newest.send_replace(Some(log.checkpoint(12)));
    eventually("it is tried again", || async { (put_back.asked() > 3).then_some(()) }).await;
    assert_eq!(seen.lock().unwrap().unwrap().0, 30);
    assert_eq!(fs::read_to_string(&path).unwrap(), *log.checkpoint(30).note);
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
