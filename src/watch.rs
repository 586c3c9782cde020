//! The ledger watches itself: the log is read again and again, a little at a time, and every event checked against its hash, the
//! whole against the tree. What is found turns `/health/integrity` red and stops nothing else: one bad bit in an old event must
//! not lock a vendor's customers out.

mod findings;

use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use keyledger_events::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

pub use findings::Damage;
use findings::{DAMAGE_SHOWN_MAX, Findings};

use crate::{
    app::App,
    ledger::{
        replay::check::{check_hash, check_position, check_time},
        tree::{Edge, Hash},
    },
    store::{Head, Store, StoreError, StoredEvent, aside},
};

/// Events checked a second where nothing else is said: about a hundredth of what one core can hash, and a pass over a million
/// events takes eight minutes.
pub const DEFAULT_EVENTS_PER_SECOND: u32 = 2_000;
/// Pieces that a second's events are read in: between two of them others have the database and the core for themselves.
const PIECES_PER_SECOND: u32 = 10;
/// Events read at a time: 16 MiB, were each as large as an event can be.
const PIECE_EVENTS_MAX: u32 = 256;
/// How long after a pass the next begins, so that a small ledger isn't read without end.
const PASS_PAUSE: Duration = Duration::from_secs(2);
/// How long to wait after a defect: it may well be met again.
const DEFECT_PAUSE: Duration = Duration::from_secs(30);
/// How long to wait when the database doesn't answer.
const UNAVAILABLE_PAUSE: Duration = Duration::from_secs(5);

/// What the check has come to; shared with those who ask.
#[derive(Debug, Default)]
pub struct Watch {
    is_on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    checked: i64,
    events: i64,
    last_full_pass: Option<Timestamp>,
    /// What the present pass has found so far.
    found: Findings,
    /// What the last full pass found: it stands until a full pass finds nothing.
    standing: Findings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Ok,
    Damaged,
    /// No pass is complete yet.
    Checking,
    Off,
}

/// What is known of the log's integrity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub status: Status,
    /// Events checked in this pass.
    pub checked: i64,
    /// Events that there were when it began.
    pub events: i64,
    pub last_full_pass: Option<Timestamp>,
    pub damaged_events: i64,
    /// The first of them, in the order of their positions.
    pub damage: Vec<Damage>,
}

impl Watch {
    #[must_use]
    pub fn report(&self) -> Report {
        let state = self.state();
        let damage = state.found.with(&state.standing);
        let status = if !damage.is_empty() {
            Status::Damaged
        } else if !self.is_on.load(Ordering::Relaxed) {
            Status::Off
        } else if state.last_full_pass.is_some() {
            Status::Ok
        } else {
            Status::Checking
        };
        let State { checked, events, last_full_pass, .. } = *state;
        Report { status, checked, events, last_full_pass, damaged_events: state.damaged_events(), damage }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes damage of so many events, or of the log as a whole. The log gets the first of a pass, so that it isn't flooded; it is
    /// told the position, never what the event says.
    fn found(&self, position: Option<i64>, what: String, events: i64) {
        metrics::counter!("keyledger_integrity_damage_found_total").increment(u64::try_from(events.max(1)).unwrap_or(1));
        let mut state = self.state();
        if state.found.len() < DAMAGE_SHOWN_MAX {
            tracing::error!(position, what, "the log is damaged");
        }
        state.found.add(Damage { position, what }, events);
    }
}

impl State {
    fn damaged_events(&self) -> i64 {
        self.found.events().max(self.standing.events())
    }
}

/// Checks the log pass after pass until it is dropped. A restart begins with a new pass, and so does what a defect ended.
pub async fn run(app: Arc<App>, rate: NonZeroU32) {
    app.watch.is_on.store(true, Ordering::Relaxed);
    // The tree of the last pass that found nothing: the log can only have grown since.
    let mut known = Edge::default();
    loop {
        let pause = match caught(&app.watch, pass(&app, rate, &known)).await {
            Some(edge) => {
                known = edge.unwrap_or(known);
                PASS_PAUSE
            }
            None => DEFECT_PAUSE,
        };
        sleep(pause).await;
    }
}

/// What a pass came to; `None` where a defect ended it. What it found until then stands as after a full one.
async fn caught<T>(watch: &Watch, pass: impl Future<Output = T>) -> Option<T> {
    let passed = AssertUnwindSafe(pass).catch_unwind().await;
    if passed.is_err() {
        metrics::counter!("keyledger_integrity_failures_total").increment(1);
        tracing::error!("the check of the log met a defect and begins anew");
        let mut state = watch.state();
        let found = std::mem::take(&mut state.found);
        if !found.is_empty() {
            state.standing = found;
        }
    }
    passed.ok()
}

/// One pass over the events that there are now; its tree, where nothing is wrong with it.
async fn pass(app: &App, rate: NonZeroU32, known: &Edge) -> Option<Edge> {
    let (watch, store) = (&app.watch, app.ledger.store());
    watch.state().checked = 0;
    let head = match available(|| read_head(store)).await {
        Ok(head) => head,
        Err(error) => {
            watch.found(None, format!("the head can't be read: {error}"), 0);
            return None;
        }
    };
    watch.state().events = head.next_position;
    count(watch);
    let piece = i64::from((rate.get() / PIECES_PER_SECOND).clamp(1, PIECE_EVENTS_MAX));
    let mut reading = Pass { watch, known, next: 0, last: Timestamp(i64::MIN), tree: Some(Edge::default()) };
    while reading.next < head.next_position {
        let to = head.next_position.min(reading.next + piece);
        let began = Instant::now();
        let looked = available(|| look(store, head.ledger_id, reading.next, to)).await.unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a piece has a few hundred events")]
        let due = began + Duration::from_secs_f64((to - reading.next) as f64 / f64::from(rate.get()));
        reading.take(to, looked);
        watch.state().checked = to;
        count(watch);
        sleep_until(due).await;
    }
    let tree = reading.tree.take();
    compare_heads(watch, store, &head, tree.as_ref(), known).await;

    let found = {
        let mut state = watch.state();
        state.last_full_pass = Some(app.clock.now());
        state.standing = std::mem::take(&mut state.found);
        state.standing.events()
    };
    count(watch);
    if watch.state().standing.is_empty() {
        tracing::debug!(events = head.next_position, "the log is whole");
        return tree;
    }
    tracing::error!(events = head.next_position, damaged = found, "the log was read to its end and is damaged");
    None
}

/// What the end of a pass tells: whether the events make up the tree that the head says, and whether they end where it does.
async fn compare_heads(watch: &Watch, store: &Arc<dyn Store>, head: &Head, tree: Option<&Edge>, known: &Edge) {
    let gone = i64::try_from(known.size()).unwrap_or(i64::MAX) - head.next_position;
    if gone > 0 {
        watch.found(Some(head.next_position), format!("the log ends here, and had {} events before", known.size()), gone);
    }
    // What is damaged by itself is named already; here it is what was changed together with its hash.
    if let Some(tree) = tree.filter(|_| watch.state().found.is_empty())
        && let Some(position) = first_difference(tree, &head.tree_edge)
    {
        watch.found(Some(position), "the head's tree is another from here on: content and hash of an event were changed together".to_owned(), 1);
    }
    let beyond = available(|| look(store, head.ledger_id, head.next_position, head.next_position + 1)).await.unwrap_or_default();
    let Some(beyond) = beyond.first().map(|looked| looked.position) else { return };
    // An event that was appended meanwhile moved the head with it.
    if let Ok(now) = available(|| read_head(store)).await
        && now.next_position <= beyond
    {
        watch.found(Some(beyond), "is beyond the head".to_owned(), 1);
    }
}

/// The first position of the first perfect subtree that isn't as the head has it.
fn first_difference(tree: &Edge, stored: &[u8]) -> Option<i64> {
    let ours = tree.bytes();
    if ours == stored {
        return None;
    }
    let mut first = 0;
    let subtrees = (0..u64::BITS).rev().map(|bit| tree.size() & (1 << bit)).filter(|size| *size > 0);
    for ((size, ours), stored) in subtrees.zip(ours.chunks(size_of::<Hash>())).zip(stored.chunks(size_of::<Hash>())) {
        if ours != stored {
            break;
        }
        first += size;
    }
    i64::try_from(first).ok()
}

fn is_unavailable(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable(_) | StoreError::Unsuitable(_) | StoreError::CommitUnknown(_) => true,
        StoreError::Refused(_) | StoreError::Read { .. } => false,
    }
}

/// Repeats a read until the database answers.
async fn available<T, F: Future<Output = Result<T, StoreError>>>(read: impl Fn() -> F) -> Result<T, StoreError> {
    let mut is_told = false;
    loop {
        match read().await {
            Err(error) if is_unavailable(&error) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(%error, "the log can't be checked at the moment");
                }
                sleep(UNAVAILABLE_PAUSE).await;
            }
            result => return result,
        }
    }
}

async fn read_head(store: &Arc<dyn Store>) -> Result<Head, StoreError> {
    let store = Arc::clone(store);
    aside(async move { store.head().await }).await
}

/// What a look at one event came to.
struct Looked {
    position: i64,
    /// Its time and its leaf's hash, where it can be read.
    read: Option<(Timestamp, Hash)>,
    flaw: Option<String>,
}

/// Reads and hashes the events of `from..to`. Where one of them can't be read, the others still are.
async fn look(store: &Arc<dyn Store>, ledger_id: Uuid, from: i64, to: i64) -> Result<Vec<Looked>, StoreError> {
    let store = Arc::clone(store);
    aside(async move {
        let looked = |event: StoredEvent| Looked {
            position: event.position,
            read: Some((event.recorded_at, event.leaf_hash)),
            flaw: check_hash(&event, ledger_id).err().map(|flaw| flaw.to_string()),
        };
        match store.events(from, to - from).await {
            Ok(events) => return Ok(events.into_iter().map(looked).collect()),
            Err(error) if is_unavailable(&error) => return Err(error),
            Err(_) => {}
        }
        let mut all = Vec::new();
        for position in from..to {
            match store.events(position, 1).await {
                Ok(events) => all.extend(events.into_iter().filter(|event| event.position == position).map(looked)),
                Err(error) if is_unavailable(&error) => return Err(error),
                Err(_) => all.push(Looked { position, read: None, flaw: Some("can't be read".to_owned()) }),
            }
        }
        Ok(all)
    })
    .await
}

/// A pass on its way through the log.
struct Pass<'a> {
    watch: &'a Watch,
    known: &'a Edge,
    next: i64,
    /// When the last event was recorded.
    last: Timestamp,
    /// The tree over what was read; none once something of it is damaged.
    tree: Option<Edge>,
}

impl Pass<'_> {
    /// Takes what there is of the events up to `to`.
    fn take(&mut self, to: i64, looked: Vec<Looked>) {
        for event in looked.into_iter().filter(|event| event.position < to) {
            if let Err(flaw) = check_position(event.position, self.next) {
                self.damaged(self.next, flaw.to_string(), event.position - self.next);
            }
            self.next = event.position + 1;
            match (event.flaw, event.read) {
                (Some(flaw), _) => self.damaged(event.position, flaw, 1),
                (None, Some((at, hash))) => self.whole(event.position, at, hash),
                (None, None) => {}
            }
        }
        if self.next < to {
            self.damaged(self.next, "is missing".to_owned(), to - self.next);
            self.next = to;
        }
    }

    fn whole(&mut self, position: i64, recorded_at: Timestamp, leaf_hash: Hash) {
        if let Err(flaw) = check_time(recorded_at, self.last) {
            self.damaged(position, flaw.to_string(), 1);
        }
        self.last = recorded_at;
        let Some(tree) = &mut self.tree else { return };
        tree.push(leaf_hash);
        if tree.size() == self.known.size()
            && let Some(position) = first_difference(tree, &self.known.bytes())
        {
            self.damaged(position, "the log is another from here on than it was before".to_owned(), 1);
        }
    }

    fn damaged(&mut self, position: i64, what: String, events: i64) {
        self.tree = None;
        self.watch.found(Some(position), what, events);
    }
}

/// Shows how far the check is.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; these are far below 2^53")]
fn count(watch: &Watch) {
    let state = watch.state();
    metrics::gauge!("keyledger_integrity_checked_events").set(state.checked as f64);
    metrics::gauge!("keyledger_integrity_events").set(state.events as f64);
    metrics::gauge!("keyledger_integrity_damaged_events").set(state.damaged_events() as f64);
    if let Some(at) = state.last_full_pass {
        metrics::gauge!("keyledger_integrity_last_full_pass_timestamp_seconds").set(at.seconds() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flaws that a pass names over a log of 10 events, of which `change` makes another.
    fn found(known: &Edge, change: impl FnOnce(&mut Vec<Looked>)) -> (Vec<(Option<i64>, String)>, Option<Edge>) {
        let watch = Watch::default();
        let whole = |position: i64| Looked { position, read: Some((Timestamp(position), [position as u8; 32])), flaw: None };
        let mut log: Vec<Looked> = (0..10).map(whole).collect();
        change(&mut log);
        let mut pass = Pass { watch: &watch, known, next: 0, last: Timestamp(i64::MIN), tree: Some(Edge::default()) };
        let (first, second) = log.into_iter().partition(|event| event.position < 5);
        pass.take(5, first);
        pass.take(10, second);
        let tree = pass.tree.take();
        (watch.report().damage.into_iter().map(|damage| (damage.position, damage.what)).collect(), tree)
    }

    fn tree(size: u8) -> Edge {
        let mut edge = Edge::default();
        (0..size).for_each(|leaf| edge.push([leaf; 32]));
        edge
    }

    #[test]
    fn a_whole_log_has_no_flaws() {
        for size in [0, 1, 7, 10] {
            assert_eq!(found(&tree(size), |_| {}), (Vec::new(), Some(tree(10))));
        }
    }

    #[test]
    fn each_flaw_is_named_and_the_pass_goes_on() {
        let (flaws, tree) = found(&Edge::default(), |log| {
            log[2].flaw = Some("does not have the hash".to_owned());
            log.remove(6);
            log.truncate(8);
            log[7] = Looked { position: 8, read: None, flaw: Some("can't be read".to_owned()) };
        });
        let expected = [(2, "does not have the hash"), (6, "is missing: the next one is 7"), (8, "can't be read"), (9, "is missing")];
        assert_eq!(flaws, expected.map(|(position, what)| (Some(position), what.to_owned())));
        assert_eq!(tree, None);
    }

    #[tokio::test]
    async fn a_defect_ends_one_pass_and_hides_nothing() {
        let watch = Watch::default();
        assert_eq!(caught(&watch, async { 7 }).await, Some(7));
        let defect = async {
            watch.found(Some(3), "is missing".to_owned(), 1);
            assert!(!watch.state().found.is_empty(), "found");
            panic!("a defect");
        };
        assert_eq!(caught::<()>(&watch, defect).await, None);
        assert_eq!((watch.report().status, watch.report().damaged_events), (Status::Damaged, 1));
        assert_eq!(caught::<()>(&watch, async { panic!("a defect") }).await, None);
        assert_eq!(watch.report().damage, [Damage { position: Some(3), what: "is missing".to_owned() }]);
    }

    #[test]
    fn time_never_runs_backwards() {
        let (flaws, _) = found(&Edge::default(), |log| log[4].read = Some((Timestamp(2), [4; 32])));
        assert_eq!(flaws, [(Some(4), "was recorded before the one before it".to_owned())]);
    }

    #[test]
    fn a_log_that_was_another_before_is_found() {
        let (flaws, _) = found(&tree(7), |log| log[5].read = Some((Timestamp(5), [99; 32])));
        assert_eq!(flaws, [(Some(4), "the log is another from here on than it was before".to_owned())], "of 4, 2 and 1 the second subtree");
    }

    #[test]
    fn the_first_subtree_that_differs_is_found() {
        let ours = tree(11);
        assert_eq!(first_difference(&ours, &ours.bytes()), None);
        for (at, first) in [(0, 0), (1, 8), (2, 10)] {
            let mut stored = ours.bytes();
            stored[at * 32 + 5] ^= 1;
            assert_eq!(first_difference(&ours, &stored), Some(first));
        }
        assert_eq!(first_difference(&ours, &[]), Some(0), "a tree of another size");
    }
}
