//! The past of one license costs what its own events cost, however many there are of others; and it may be long.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use async_trait::async_trait;
use keyledger::{
    clock::Clock,
    evidence,
    ledger::{
        Command, CommandResult, Ledger, Options,
        history::{AsOf, HistoryFilter, Page, Question, Verdict},
    },
    store::{
        Found, Head, Lookups, Portion, Publication, Rebuild, Snapshot, Statement, Store, StoreError, StoredEvent, StoredHandOut, StoredSubject,
        Transaction,
    },
    vault::MasterKey,
};
use keyledger_events::{product::ProductFields, values::Identifier};
use keyledger_projections::Value;
use uuid::Uuid;

use crate::{
    START, create, execute, key,
    store::{self, Backend, Opened},
    tampering::raw::Raw,
};

both_backends!(what_others_did_is_not_read, a_long_stream_is_read_in_chunks, rows_that_were_altered_alter_no_past);

/// A store that counts what is read of it.
struct Counting {
    opened: Opened,
    calls: AtomicUsize,
    events: AtomicUsize,
}

impl Counting {
    fn count<T>(&self, read: Result<Vec<T>, StoreError>) -> Result<Vec<T>, StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.events.fetch_add(read.as_ref().map_or(0, Vec::len), Ordering::Relaxed);
        read
    }

    fn taken(&self) -> (usize, usize) {
        (self.calls.swap(0, Ordering::Relaxed), self.events.swap(0, Ordering::Relaxed))
    }
}

#[async_trait]
impl Store for Counting {
    fn backend(&self) -> &'static str {
        self.opened.store.backend()
    }

    fn is_embedded(&self) -> bool {
        self.opened.store.is_embedded()
    }

    async fn initialize(&self, head: &Head, sealed_secret: &[u8]) -> Result<bool, StoreError> {
        self.opened.store.initialize(head, sealed_secret).await
    }

    async fn sealed_secret(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.opened.store.sealed_secret().await
    }

    async fn begin(&self, lookups: &Lookups) -> Result<(Box<dyn Transaction>, Head, Found), StoreError> {
        self.opened.store.begin(lookups).await
    }

    async fn query(&self, sql: &'static str, parameters: &[Value]) -> Result<Vec<Vec<Value>>, StoreError> {
        self.count(self.opened.store.query(sql, parameters).await)
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.opened.store.head().await
    }

    async fn portion(&self, from: i64, portion: Portion) -> Result<Vec<StoredEvent>, StoreError> {
        self.count(self.opened.store.portion(from, portion).await)
    }

    async fn stream(&self, aggregate_type: &str, aggregate_id: Uuid, from: i64, limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
        self.count(self.opened.store.stream(aggregate_type, aggregate_id, from, limit).await)
    }

    async fn streams(&self, aggregate_type: &str, after: (Uuid, i64), limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
        self.count(self.opened.store.streams(aggregate_type, after, limit).await)
    }

    async fn licenses_before_replacement(&self, key: &str, limit: i64) -> Result<Vec<Uuid>, StoreError> {
        self.count(self.opened.store.licenses_before_replacement(key, limit).await)
    }

    async fn subjects(&self, ids: &[Uuid]) -> Result<Vec<StoredSubject>, StoreError> {
        self.count(self.opened.store.subjects(ids).await)
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.opened.store.snapshot().await
    }

    async fn rebuild(&self) -> Result<Box<dyn Rebuild>, StoreError> {
        self.opened.store.rebuild().await
    }

    async fn publish(&self, publication: &Publication) -> Result<bool, StoreError> {
        self.opened.store.publish(publication).await
    }

    async fn keep_hand_out(&self, hand_out: &StoredHandOut) -> Result<(), StoreError> {
        self.opened.store.keep_hand_out(hand_out).await
    }

    async fn change(&self, statements: &[Statement]) -> Result<Vec<Vec<Value>>, StoreError> {
        self.opened.store.change(statements).await
    }

    async fn vacuum(&self) -> Result<(), StoreError> {
        self.opened.store.vacuum().await
    }
}

async fn ledger(backend: Backend) -> (Arc<Counting>, Ledger) {
    let counting = Arc::new(Counting { opened: store::open(backend).await, calls: AtomicUsize::new(0), events: AtomicUsize::new(0) });
    let store: Arc<dyn Store> = Arc::<Counting>::clone(&counting);
    let options = Options { clock: Clock::Manual(Arc::new(AtomicI64::new(START))), rebuild_older: false };
    let ledger = Ledger::open(store, &MasterKey::random().unwrap(), options).await.unwrap();
    let fields = ProductFields { name: "Doors".into(), description: "x".into(), ..ProductFields::default() };
    execute(&ledger, Command::CreateProduct { fields, key_pair: None }).await.unwrap();
    (counting, ledger)
}

fn identifier(n: usize) -> Identifier {
    Identifier::parse(&format!("{n}.example")).unwrap()
}

async fn activate(ledger: &Ledger, text: &str, n: usize) {
    let command = Command::Activate { key: key(text), identifier: Some(identifier(n)), post_url: None };
    assert_eq!(execute(ledger, command).await.unwrap(), CommandResult::Activated);
}

/// History, state and verdict of one license; what each read.
async fn costs(counting: &Counting, ledger: &Ledger) -> Vec<(usize, usize)> {
    let mut costs = Vec::new();
    let stream = ledger.license_stream("KEY-1").await.unwrap();
    counting.taken();
    assert_eq!(ledger.history(stream, &HistoryFilter::default(), None, 50, true).await.unwrap().len(), 4);
    costs.push(counting.taken());
    let streams = ledger.license_streams("KEY-1").await.unwrap();
    let point = ledger.point(AsOf::Head).await.unwrap();
    counting.taken();
    let state = ledger.license_state(&streams, point, Page::default(), true).await.unwrap().unwrap();
    assert_eq!(state.activations.len(), 3);
    costs.push(counting.taken());
    let question = Question { identifier: Some(identifier(1)), ip: None };
    assert_eq!(ledger.verdict(&streams, point, &question).await.unwrap().verdict, Verdict::Valid);
    costs.push(counting.taken());
    costs
}

async fn what_others_did_is_not_read(backend: Backend) {
    let (counting, ledger) = ledger(backend).await;
    execute(&ledger, create(&["KEY-1", "KEY-2"], 0)).await.unwrap();
    for n in 0..3 {
        activate(&ledger, "KEY-1", n).await;
    }
    let alone = costs(&counting, &ledger).await;
    assert!(alone.iter().all(|(calls, rows)| (1..=12).contains(calls) && *rows <= 32), "{alone:?}");

    let keys: Vec<String> = (10..410).map(|n| format!("KEY-{n}")).collect();
    execute(&ledger, create(&keys.iter().map(String::as_str).collect::<Vec<_>>(), 0)).await.unwrap();
    for n in 0..200 {
        activate(&ledger, "KEY-2", n).await;
    }
    assert_eq!(costs(&counting, &ledger).await, alone, "as much as when there was nobody else");
    // A point is found by halving.
    counting.taken();
    ledger.point(AsOf::Position(300)).await.unwrap();
    assert_eq!(counting.taken(), (1, 1));
}

async fn a_long_stream_is_read_in_chunks(backend: Backend) {
    const SEATS: usize = 700;
    let (counting, ledger) = ledger(backend).await;
    execute(&ledger, create(&["KEY-1"], 0)).await.unwrap();
    for n in 0..SEATS {
        activate(&ledger, "KEY-1", n).await;
    }
    let streams = ledger.license_streams("KEY-1").await.unwrap();
    let point = ledger.point(AsOf::Head).await.unwrap();
    counting.taken();
    let state = ledger.license_state(&streams, point, Page::default(), true).await.unwrap().unwrap();
    assert_eq!((state.activations.len(), state.row.license.active_count), (SEATS, SEATS as i64));
    let (calls, _) = counting.taken();
    assert!((3..=8).contains(&calls), "{calls} calls");
    // A page in the middle, and one that begins at the last events.
    let middle = ledger.license_state(&streams, point, Page { after: 400, limit: 10 }, true).await.unwrap().unwrap();
    let numbers: Vec<i64> = middle.activations.iter().map(|activation| activation.row.activation.number).collect();
    assert_eq!(numbers, (401..=410).collect::<Vec<_>>());
    assert_eq!(middle.row.license.active_count, SEATS as i64);

    let stream = ledger.license_stream("KEY-1").await.unwrap();
    let last = SEATS as i64 + 1;
    let page = ledger.history(stream, &HistoryFilter::default(), Some(last - 2), 50, true).await.unwrap();
    let sequences: Vec<i64> = page.iter().map(|entry| entry.told.recorded.sequence).collect();
    assert_eq!(sequences, [last - 1, last]);
    let count = page[1].changes.iter().find(|change| change.field == "active_count").unwrap();
    assert_eq!((&count.before, &count.after), (&Value::Int(SEATS as i64 - 1), &Value::Int(SEATS as i64)), "folded from the start");
    for n in [0, 63, 64, SEATS - 1, SEATS] {
        let question = Question { identifier: Some(identifier(n)), ip: None };
        let found = ledger.verdict(&streams, point, &question).await.unwrap();
        assert_eq!(found.verdict == Verdict::Valid, n < SEATS, "{n}");
        let decided = found.decided.unwrap();
        assert_eq!(decided.sequence, if n < SEATS { n as i64 + 2 } else { 1 });
    }
}

/// All that is told of the license: its history, what it was at two points, and who was let in then.
async fn told(ledger: &Ledger) -> Vec<String> {
    let stream = ledger.license_stream("KEY-1").await.unwrap();
    let mut told = vec![format!("{:?}", ledger.history(stream, &HistoryFilter::default(), None, 50, true).await.unwrap())];
    let head = ledger.store().head().await.unwrap().next_position - 1;
    let streams = ledger.license_streams("KEY-1").await.unwrap();
    for as_of in [AsOf::Position(head), AsOf::Position(head - 2)] {
        let point = ledger.point(as_of).await.unwrap();
        told.push(format!("{:?}", ledger.license_state(&streams, point, Page::default(), true).await.unwrap().unwrap()));
        for n in 0..3 {
            let question = Question { identifier: Some(identifier(n)), ip: None };
            told.push(format!("{:?}", ledger.verdict(&streams, point, &question).await.unwrap()));
        }
    }
    told
}

async fn rows_that_were_altered_alter_no_past(backend: Backend) {
    let (counting, ledger) = ledger(backend).await;
    execute(&ledger, create(&["KEY-1"], 2)).await.unwrap();
    for n in 0..2 {
        activate(&ledger, "KEY-1", n).await;
    }
    execute(&ledger, Command::Deactivate { key: key("KEY-1"), identifier: Some(identifier(1)) }).await.unwrap();
    activate(&ledger, "KEY-1", 2).await;
    let before = told(&ledger).await;
    let is_valid = |told: &String| told.contains("verdict: Valid");
    assert_eq!([2, 3, 4, 6, 7, 8].map(|at| is_valid(&before[at])), [true, false, true, true, true, false], "{before:#?}");
    let raw = Raw::open(backend, &counting.opened.place).await;
    for altered in [
        "license SET status = 'blocked', activation_limit = 1, active_count = 77, validity_days = 1, epoch = epoch + 1",
        "license SET sequence = 99, owner = 5, owner_name = 'Somebody', owner_email = 'else@a.example', refusal_minute = 9",
        "activation SET active = NOT active",
        "activation SET epoch = epoch + 1, license = license + 1",
    ] {
        raw.execute(&format!("UPDATE {altered}")).await.unwrap();
        assert_eq!(told(&ledger).await, before, "{altered}");
    }
    raw.execute("DELETE FROM activation").await.unwrap();
    assert_eq!(told(&ledger).await, before);
    let error = evidence::verify(ledger.store(), ledger.vault(), Vec::new(), &mut |_, _| {}).await.unwrap_err().to_string();
    assert!(error.contains("license 1"), "{error}");
}
