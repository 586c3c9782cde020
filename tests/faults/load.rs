//! Load whose effects are known: random changes by workers that own their licenses, with a record of what was acknowledged.
//!
//! An answer says that a change is done; a lost answer or a 503 leaves it open. The check compares the record with what the
//! server says later: what was acknowledged must be so, what was left open may be either way and is then known.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::StreamExt as _;
use tokio::task::JoinHandle;

use crate::support::world::{fresh_key, new_license_fields};
use crate::support::{Answer, Client, Fields, eventually, fields};

/// Each license's possible activations.
const IDENTIFIERS: [&str; 3] = ["a.example", "b.example", "c.example"];

/// How many requests a check keeps in flight.
const CHECKS_IN_FLIGHT: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Yes,
    No,
    /// The last change was not answered.
    Open,
}

impl Known {
    /// Promises that `seen` does not contradict this, and knows it from now on.
    fn settle(&mut self, seen: bool, what: &str) {
        let seen = if seen { Known::Yes } else { Known::No };
        assert!(*self == Known::Open || *self == seen, "{what}: acknowledged as {self:?}, but found as {seen:?}");
        *self = seen;
    }
}

struct License {
    key: String,
    exists: Known,
    active: [Known; IDENTIFIERS.len()],
}

/// One client that changes only licenses of its own, so that it knows what must come out.
struct Worker {
    product: i64,
    licenses: Vec<License>,
    touched: BTreeSet<usize>,
}

/// The server did not say what has become of a change.
struct Unanswered;

impl Worker {
    /// Makes random changes until told to stop or until one stays unanswered.
    async fn run(&mut self, api: &Client, stop: &AtomicBool, acknowledged: &AtomicUsize) {
        while !stop.load(Ordering::Relaxed) {
            match self.step(api).await {
                Ok(()) => acknowledged.fetch_add(1, Ordering::Relaxed),
                Err(Unanswered) => return,
            };
        }
    }

    async fn step(&mut self, api: &Client) -> Result<(), Unanswered> {
        let existing: Vec<usize> = (0..self.licenses.len()).filter(|index| self.licenses[*index].exists == Known::Yes).collect();
        let dice = rand::random_range(0..100);
        if existing.is_empty() || dice < 15 {
            return self.create(api).await;
        }
        let index = existing[rand::random_range(0..existing.len())];
        self.touched.insert(index);
        if dice < 20 { self.delete(api, index).await } else { self.toggle(api, index).await }
    }

    async fn create(&mut self, api: &Client) -> Result<(), Unanswered> {
        let key = fresh_key();
        self.touched.insert(self.licenses.len());
        self.licenses.push(License { key: key.clone(), exists: Known::Open, active: [Known::No; IDENTIFIERS.len()] });
        let request = new_license_fields(self.product, &[key], fields!(activation_limit: 0));
        expect_code(&change(api, "create-license-keys", request).await?, 900);
        self.licenses.last_mut().expect("just pushed").exists = Known::Yes;
        Ok(())
    }

    async fn delete(&mut self, api: &Client, index: usize) -> Result<(), Unanswered> {
        let license = &mut self.licenses[index];
        license.exists = Known::Open;
        expect_code(&change(api, "delete-license-key", fields!(license_key: license.key)).await?, 850);
        license.exists = Known::No;
        Ok(())
    }

    /// Activates what is inactive and the other way round.
    async fn toggle(&mut self, api: &Client, index: usize) -> Result<(), Unanswered> {
        let license = &mut self.licenses[index];
        let seat = rand::random_range(0..IDENTIFIERS.len());
        let request = fields!(license_key: license.key, identifier: IDENTIFIERS[seat]);
        let (route, code, after) = match std::mem::replace(&mut license.active[seat], Known::Open) {
            Known::Yes => ("deactivate", 400, Known::No),
            Known::No => ("activate", 300, Known::Yes),
            Known::Open => panic!("a check comes before the next run and settles what is open"),
        };
        expect_code(&change(api, route, request).await?, code);
        license.active[seat] = after;
        Ok(())
    }

    /// Compares what is known of these licenses with what the server says.
    async fn check(&mut self, api: &Client, which: &BTreeSet<usize>) {
        let chosen = self.licenses.iter_mut().enumerate().filter(|(index, _)| which.contains(index));
        futures::stream::iter(chosen).for_each_concurrent(CHECKS_IN_FLIGHT, |(_, license)| check(api, license)).await;
    }
}

async fn check(api: &Client, license: &mut License) {
    for (seat, identifier) in IDENTIFIERS.iter().enumerate() {
        let answer = api.verify(&license.key, identifier).await;
        assert!(matches!(answer.code(), 200 | 202 | 210), "{}", answer.response);
        license.exists.settle(answer.code() != 210, &license.key);
        if answer.code() != 210 {
            license.active[seat].settle(answer.code() == 200, &format!("{} {identifier}", license.key));
        }
    }
}

/// Sends one change; a lost connection and a 503 say nothing of what has become of it.
async fn change(api: &Client, route: &str, request: Fields) -> Result<Answer, Unanswered> {
    let answer = api.try_form(route, request).await.map_err(|_| Unanswered)?;
    if answer.status == 503 {
        answer.expect_error(503);
        return Err(Unanswered);
    }
    Ok(answer)
}

#[track_caller]
fn expect_code(answer: &Answer, code: i64) {
    assert_eq!(answer.code(), code, "{}", answer.response);
}

/// Workers at rest.
pub struct Load {
    workers: Vec<Worker>,
}

/// Workers at work.
pub struct RunningLoad {
    tasks: Vec<JoinHandle<Worker>>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
}

impl Load {
    pub fn new(product: i64, workers: usize) -> Load {
        let worker = |_| Worker { product, licenses: Vec::new(), touched: BTreeSet::new() };
        Load { workers: (0..workers).map(worker).collect() }
    }

    /// Sets the workers to work, spread over these servers.
    pub fn start(self, servers: &[Client]) -> RunningLoad {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tasks = self.workers.into_iter().enumerate().map(|(number, mut worker)| {
            let (api, stop, acknowledged) = (servers[number % servers.len()].clone(), stop.clone(), acknowledged.clone());
            worker.touched.clear();
            tokio::spawn(async move {
                worker.run(&api, &stop, &acknowledged).await;
                worker
            })
        });
        RunningLoad { tasks: tasks.collect(), stop, acknowledged }
    }

    /// Promises that no change was left open: nothing stood in the load's way.
    pub fn expect_all_answered(&self) {
        let licenses = self.workers.iter().flat_map(|worker| &worker.licenses);
        let open = licenses.filter(|license| license.exists == Known::Open || license.active.contains(&Known::Open)).count();
        assert_eq!(open, 0, "licenses whose last change was answered by 503 or not at all");
    }

    /// Promises that everything acknowledged in the last run is so.
    pub async fn check_touched(&mut self, api: &Client) {
        for worker in &mut self.workers {
            let touched = worker.touched.clone();
            worker.check(api, &touched).await;
        }
    }

    /// Promises that everything ever acknowledged is so.
    pub async fn check_everything(&mut self, api: &Client) {
        for worker in &mut self.workers {
            let all = (0..worker.licenses.len()).collect();
            worker.check(api, &all).await;
        }
    }
}

impl RunningLoad {
    /// Waits until that many changes have been acknowledged in this run.
    pub async fn wait_for(&self, changes: usize) {
        let what = format!("{changes} changes are acknowledged");
        eventually(&what, || async { (self.acknowledged.load(Ordering::Relaxed) >= changes).then_some(()) }).await;
    }

    /// Waits until that many changes have been acknowledged from now on.
    pub async fn wait_for_more(&self, changes: usize) {
        self.wait_for(self.acknowledged.load(Ordering::Relaxed) + changes).await;
    }

    /// Tells the workers to stop and waits for them.
    pub async fn stop(self) -> Load {
        self.stop.store(true, Ordering::Relaxed);
        self.until_unanswered().await
    }

    /// Waits until each worker has got no answer.
    pub async fn until_unanswered(self) -> Load {
        let mut workers = Vec::new();
        for task in self.tasks {
            workers.push(task.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
        }
        Load { workers }
    }
}
