//! Somebody with all rights on the database changes it behind the ledger's back, in hundreds of random ways, up to one who knows
//! how everything is computed and makes hashes and trees fit. Verification finds each change, and names the event where it is one.
//!
//! `KEYLEDGER_SEED` (a number, or `random`) makes other cases, `KEYLEDGER_SOAK_ROUNDS` is the number of cases where that is more than their minimum.

mod cases;
pub mod raw;

use std::path::PathBuf;
use std::sync::Arc;

use keyledger::{
    clock::Clock,
    evidence::{self, Publisher},
    ledger::{Command, Forget, Ledger, LicenseChanges, Origin, OwnerInput, SubjectName, replay::Verified},
    signer::{NoteSigner, NotedCheckpoint},
    store::{Store, sqlite::SqliteStore},
};
use keyledger_events::{
    block::BlockKind,
    contract::ContractFields,
    generator::GeneratorFields,
    license::Status,
    product::ProductFields,
    settings::ChangeSettings,
    values::{Identifier, MetaKey},
};
use keyledger_projections::Table;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{Backend, Fixture, activate, execute, key, poll::soak_rounds};
use cases::{CASES, Case, Found};
use raw::Raw;

both_backends!(each_of_many_changes_is_found, an_old_copy_is_found_by_a_checkpoint_that_was_kept);

/// Random cases for each backend.
const CASES_MIN: usize = 560;
/// Cases after which the ledger must be found whole.
const CHECKED_EVERY: usize = 40;
/// Licenses: more than a tile's entries, so that either tree has two levels of tiles.
const LICENSES: usize = 261;
const ORIGIN: &str = "test.example/ledger";
/// What the log's tables are.
const LOG: [&str; 5] = ["events", "head", "tile", "checkpoint", "evidence"];
const SECRETS: [&str; 3] = ["subject", "api_key_secret", "key_pair_secret"];

struct Victim {
    fixture: Fixture,
    raw: Raw,
    /// All checkpoints, which somebody kept.
    held: Vec<NotedCheckpoint>,
    /// The newest as a file.
    note: String,
    file: Option<PathBuf>,
    /// Events, and how many of them are in the tiles.
    events: i64,
    folded: i64,
}

fn all_tables() -> Vec<&'static str> {
    [LOG.to_vec(), SECRETS.to_vec(), Table::ALL.iter().map(|table| table.name()).collect()].concat()
}

fn publisher(ledger: &Ledger) -> Publisher {
    Publisher::new(ledger.clone(), Clock::default(), Arc::new(NoteSigner::new(ledger.vault(), ORIGIN).unwrap()))
}

fn owner(number: usize) -> OwnerInput {
    OwnerInput { name: Some(format!("Owner {number}")), email: Some(format!("owner{number}@a.example")) }
}

fn licenses(keys: impl Iterator<Item = usize>, owner: OwnerInput) -> Command {
    let keys = keys.map(|number| key(&format!("KEY-{number}"))).collect();
    let status = Status::Assigned;
    Command::CreateLicenses { keys, product: 1, owner, activation_limit: 0, validity_days: 30, status, assigned_at: None }
}

fn meta(license: usize) -> Command {
    let (meta_key, value) = (MetaKey::parse("colour").ok(), Some("blue".to_owned()));
    Command::CreateLicenseMeta { key: key(&format!("KEY-{license}")), identifier: None, meta_key, value }
}

impl Victim {
    /// A ledger of some 350 events of all kinds, with three checkpoints, and two events that none covers yet. Its tables as they were
    /// at the first two checkpoints are kept as `first` and `second`.
    async fn new(backend: Backend) -> Self {
        let fixture = Fixture::new(backend).await;
        let raw = Raw::open(backend, &fixture.opened.place).await;
        let publisher = publisher(&fixture.ledger);
        let fields = ProductFields { name: "Doors".into(), description: "x".into(), ..ProductFields::default() };
        fixture.run(Command::CreateProduct { fields, key_pair: None }).await;
        fixture.run(Command::CreateProductMeta { product: 1, meta_key: MetaKey::parse("size").ok(), value: Some("9".into()) }).await;
        for group in 0..LICENSES / 29 {
            fixture.run(licenses(group * 29 + 1..(group + 1) * 29 + 1, owner(group))).await;
            if group == 3 {
                publisher.publish().await.unwrap();
                raw.keep("first", &all_tables()).await;
            }
        }
        for seat in 0..20 {
            fixture.run(activate(&format!("{seat}.example"))).await;
        }
        fixture.run(Command::Deactivate { key: key("KEY-1"), identifier: Identifier::parse("3.example").ok() }).await;
        for license in 1..6 {
            fixture.run(meta(license)).await;
        }
        fixture.run(Command::AddBlock { kind: BlockKind::Identifier, value: "bad.example".into() }).await;
        for name in ["Shop", "Auditor"] {
            let hmac = fixture.ledger.vault().api_key_hash(name);
            let capabilities = vec!["ledger:read".to_owned()];
            let (allow_ips, salt) = (Vec::new(), "AAAA".to_owned());
            fixture.run(Command::CreateApiKey { name: name.into(), capabilities, allow_ips, expires_at: None, hmac, salt }).await;
        }
        fixture.run(Command::CreateGenerator { fields: GeneratorFields { product: 1, active: true, ..Default::default() } }).await;
        let contract = ContractFields { key: "C-1".into(), name: "Reseller".into(), product: 1, active: true, ..Default::default() };
        fixture.run(Command::CreateContract { fields: contract }).await;
        fixture.run(Command::ChangeSettings(ChangeSettings { changelog: Some(true) })).await;
        publisher.publish().await.unwrap();
        raw.keep("second", &all_tables()).await;
        let changes = LicenseChanges { activation_limit: Some(30), ..Default::default() };
        fixture.run(Command::UpdateLicense { key: key("KEY-7"), changes }).await;
        fixture.run(Command::DeleteLicense { key: key("KEY-8") }).await;
        fixture.run(Command::BlockLicense { key: key("KEY-9") }).await;
        let forget = Forget { subject: SubjectName::Email("owner2@a.example".into()), origin: Origin::operator(), idempotency: None };
        fixture.ledger.forget(forget).await.unwrap();
        let newest = publisher.publish().await.unwrap().unwrap();
        for seat in 20..22 {
            fixture.run(activate(&format!("{seat}.example"))).await;
        }
        let store = fixture.ledger.store();
        let held = evidence::checkpoints(store, 0, 10).await.unwrap();
        let held: Vec<_> = held.into_iter().map(|stored| NotedCheckpoint { size: stored.size, root: stored.root }).collect();
        assert_eq!(held.len(), 3);
        let (events, folded) = (store.head().await.unwrap().next_position, evidence::size(store).await.unwrap().events);
        assert!(events - folded == 2 && folded > 256);
        raw.keep("now", &all_tables()).await;
        let file = matches!(backend, Backend::Sqlite).then(|| PathBuf::from(&fixture.opened.place));
        Self { fixture, raw, held, note: newest.note, file, events, folded }
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.fixture.ledger.store()
    }

    async fn verify(&self, held: Vec<NotedCheckpoint>) -> Result<Verified, String> {
        let verified = evidence::verify(self.store(), self.fixture.ledger.vault(), held, &mut |_, _| {}).await;
        verified.map(|(verified, _)| verified).map_err(|error| error.to_string())
    }

    async fn is_whole(&self, when: &str) {
        if let Err(error) = self.verify(self.held.clone()).await {
            panic!("{when}, nothing is changed: {error}");
        }
    }

    fn newest(&self) -> NotedCheckpoint {
        self.held[2].clone()
    }

    async fn start(&self, store: &Arc<dyn Store>) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("checkpoint");
        std::fs::write(&file, &self.note).unwrap();
        let signer = NoteSigner::new(self.fixture.ledger.vault(), ORIGIN).unwrap();
        evidence::check_start(store, &signer, Some(&file)).await.map_err(|error| error.to_string())
    }
}

/// Whether a text names an event.
fn names(text: &str, position: i64) -> bool {
    text.contains(&format!("event {position} "))
}

/// Of changes of one kind, one after the other.
const REFUSED_MAX: usize = 2_000;

/// The same cases every time, unless others are asked for.
const SEED: u64 = 6_962;

fn seed() -> u64 {
    let wanted = std::env::var("KEYLEDGER_SEED").unwrap_or_else(|_| SEED.to_string());
    let seed = if wanted == "random" { rand::random() } else { wanted.parse().expect("KEYLEDGER_SEED must be a number, or random") };
    println!("KEYLEDGER_SEED={seed} repeats this");
    seed
}

async fn each_of_many_changes_is_found(backend: Backend) {
    let seed = seed();
    let victim = Victim::new(backend).await;
    victim.is_whole("at first").await;
    let cases_of: Vec<&Case> = CASES.iter().filter(|case| !case.is_of_a_file() || victim.file.is_some()).collect();
    let weights: usize = cases_of.iter().map(|case| case.weight).sum();
    for round in 0..soak_rounds(CASES_MIN) {
        // Of its own, so that a round is the same whatever the database refused in those before.
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(round as u64));
        // Each kind once for certain, then as often as it weighs.
        let mut dice = random.random_range(0..weights);
        let drawn = cases_of.iter().find(|case| {
            let hit = dice < case.weight;
            dice = dice.saturating_sub(case.weight);
            hit
        });
        let case = if round < cases_of.len() { cases_of[round] } else { drawn.unwrap() };
        let mut refused = 0;
        let (changed, found) = loop {
            assert!(refused < REFUSED_MAX, "the database refuses {}", case.name);
            match victim.change(case.change, &mut random).await {
                Some(done) => break done,
                // What the database refuses is no case.
                None => victim.raw.restore("now", case.tables()).await,
            }
            refused += 1;
        };
        let result = victim.verify(Vec::new()).await;
        let what = format!("round {round}, {}: {changed}", case.name);
        match &found {
            Found::Event(position) => {
                let error = result.expect_err(&what);
                assert!(names(&error, *position), "{what}: event {position} is not named: {error}");
            }
            Found::Says(text) => {
                let error = result.expect_err(&what);
                assert!(error.contains(text), "{what}: {text:?} is not said: {error}");
            }
            Found::ByWhatWasKept => {
                result.unwrap_or_else(|error| panic!("{what}: found without a checkpoint that was kept: {error}"));
                let error = victim.verify(vec![victim.newest()]).await.expect_err(&what);
                assert!(error.contains("not those of the checkpoint that was kept"), "{what}: {error}");
                let error = victim.start(victim.store()).await.expect_err(&what);
                assert!(error.contains("are not those of the checkpoint in"), "{what}: {error}");
            }
        }
        victim.raw.restore("now", case.tables()).await;
        if round % CHECKED_EVERY == 0 {
            victim.is_whole(&format!("after round {round}")).await;
        }
    }
    victim.is_whole("at last").await;
}

/// A copy of an earlier day is a ledger without a flaw. What was kept outside tells that there was more, even when others have used it since.
async fn an_old_copy_is_found_by_a_checkpoint_that_was_kept(backend: Backend) {
    let victim = Victim::new(backend).await;
    for room in ["first", "second"] {
        victim.raw.restore(room, &all_tables()).await;
        let head = victim.store().head().await.unwrap().next_position;
        victim.verify(Vec::new()).await.unwrap();
        let error = victim.verify(vec![victim.newest()]).await.unwrap_err();
        assert!(error.contains(&format!("of {} events, the head is at {head}", victim.newest().size)), "{error}");
        let error = victim.start(victim.store()).await.unwrap_err();
        assert!(error.contains("an old copy of the database was put back"), "{error}");

        // A server goes on from there as if nothing were.
        let ledger = victim.fixture.reopened(false).await.unwrap();
        while ledger.store().head().await.unwrap().next_position < victim.events {
            let head = ledger.store().head().await.unwrap().next_position;
            execute(&ledger, activate(&format!("{head}.else.example"))).await.unwrap();
        }
        publisher(&ledger).publish().await.unwrap();
        victim.verify(Vec::new()).await.unwrap();
        let error = victim.verify(vec![victim.newest()]).await.unwrap_err();
        assert!(error.contains("not those of the checkpoint that was kept"), "{error}");
        let error = victim.start(victim.store()).await.unwrap_err();
        assert!(error.contains("are not those of the checkpoint in"), "{error}");
        // The checkpoint before the copy was made is still one of this log, and the proof between the two can't be made.
        victim.verify(vec![victim.held[0].clone()]).await.unwrap();
        assert!(ledger.close(std::time::Duration::from_secs(60)).await);
        victim.raw.restore("now", &all_tables()).await;
        victim.is_whole("with the copy gone").await;
    }
    let Some(file) = &victim.file else { return };
    // The file itself, as a backup has it.
    victim.raw.restore("first", &all_tables()).await;
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup.db");
    let Raw::Sqlite(connection) = &victim.raw else { panic!("a file is SQLite's") };
    connection.execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    assert!(file.exists());
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&backup, Default::default()).unwrap());
    let vault = victim.fixture.ledger.vault();
    evidence::verify(&store, vault, Vec::new(), &mut |_, _| {}).await.unwrap();
    evidence::verify(&store, vault, vec![victim.newest()], &mut |_, _| {}).await.unwrap_err();
    victim.start(&store).await.unwrap_err();
}
