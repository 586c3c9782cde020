//! What evidence costs: proofs, dispute files, history and points in time of a ledger with a million events, and what the tree
//! adds to the append.

mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use keyledger::{
    clock::Clock,
    evidence::{self, ExportOptions, Publisher},
    ledger::{
        Command, Ledger, OwnerInput,
        history::{AsOf, HistoryFilter, Page},
        tree::{Edge, leaf_hash},
    },
    signer::{NoteSigner, Signer},
};
use keyledger_events::values::{Identifier, LicenseKey};

use support::{
    Result, fill, median,
    place::{Backend, Place},
    quantile,
    report::{Table, Target, number},
};

const LARGE: &str = "LARGE-0001";
const SMALL: &str = "SMALL-0001";
/// Commands under way at once while events are made.
const AT_ONCE: usize = 256;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    if support::is_selected("tree") {
        tree()?;
    }
    for backend in Backend::available() {
        if support::is_selected(backend.name()) {
            runtime.block_on(measure(backend))?;
        }
    }
    Ok(())
}

/// Hashing a leaf of usual size and moving the edge: all that an append does for evidence.
fn tree() -> Result<()> {
    let events: u64 = support::size("KEYLEDGER_BENCH_EVENTS", 1_000_000)?;
    let leaf = vec![b'x'; 1_100];
    let mut edge = Edge::default();
    let started = Instant::now();
    for _ in 0..events {
        edge.push(leaf_hash(black_box(&leaf)));
    }
    let micros = started.elapsed().as_secs_f64() * 1e6 / events as f64;
    black_box(edge.root());
    let mut table = Table::new(format!("the tree at the append, {} leaves of 1,100 bytes", number(events as f64)));
    table.target("per event", micros, " µs", Target::AtMost(5.0));
    table.print();
    Ok(())
}

fn activation(key: &'static str) -> impl Fn(u64, usize) -> Result<Command> + Clone + Send + Sync + 'static {
    move |i, _| {
        let identifier = Some(Identifier::parse(&fill::identifier(i))?);
        Ok(Command::Activate { key: LicenseKey::parse(key)?, identifier, post_url: None })
    }
}

/// Milliseconds that each of the calls took.
async fn timed<F: Future<Output = Result<()>>>(count: u64, call: impl Fn(u64) -> F) -> Result<Vec<f64>> {
    let mut millis = Vec::new();
    for i in 0..count {
        let started = Instant::now();
        call(i).await?;
        millis.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(millis)
}

async fn measure(backend: Backend) -> Result<()> {
    let events: u64 = support::size("KEYLEDGER_BENCH_EVENTS", 1_000_000)?;
    let of_license: u64 = support::size("KEYLEDGER_BENCH_LICENSE_EVENTS", 10_000)?;
    let place = Place::fresh(backend).await?;
    let ledger = place.address.open().await?;
    let product = fill::product(&ledger).await?;
    // Numbers 1 and 2: one with many events, one with few.
    let keys = vec![LicenseKey::parse(LARGE)?, LicenseKey::parse(SMALL)?];
    fill::execute(&ledger, fill::creation(keys, product, OwnerInput::default())).await?;
    fill::drive(&ledger, AT_ONCE, fill::Until::Count(of_license), activation(LARGE)).await?;
    fill::drive(&ledger, AT_ONCE, fill::Until::Count(20), activation(SMALL)).await?;
    let notes = Arc::new(NoteSigner::new(ledger.vault(), "bench.example/ledger")?);
    let signer = Signer::new(Arc::clone(ledger.store()), Arc::clone(ledger.vault()), 1).await?;
    let publisher = Publisher::new(ledger.clone(), Clock::default(), Arc::clone(&notes));
    publisher.publish().await?;
    let small = told(&ledger).await?;

    support::note("filling");
    fill::create_licenses(&ledger, product, events - of_license).await?;
    let folded = evidence::size(ledger.store()).await?.events;
    let started = Instant::now();
    let checkpoint = publisher.publish().await?.ok_or("there is no checkpoint")?;
    let fold_rate = (checkpoint.size - folded) as f64 / started.elapsed().as_secs_f64();
    place.analyze().await?;
    let (store, size) = (ledger.store(), checkpoint.size);
    let spread_out = |i: u64| i64::try_from(i * 7_919 * 127).unwrap_or_default() % size;
    let inclusion = timed(500, |i| async move {
        black_box(evidence::inclusion_proof(store, spread_out(i), size).await?);
        Ok(())
    })
    .await?;
    let consistency = timed(500, |i| async move {
        black_box(evidence::consistency_proof(store, spread_out(i), size).await?);
        Ok(())
    })
    .await?;
    let large = told(&ledger).await?;
    let mut exports = Vec::new();
    let mut bytes = 0;
    for _ in 0..3 {
        let stream = ledger.license_stream("1").await?;
        let started = Instant::now();
        let published = publisher.publish_for(1).await?;
        let file = evidence::export(&ledger, &signer, &notes, stream, published, ExportOptions::default()).await?;
        exports.push(started.elapsed().as_secs_f64());
        bytes = file.len();
    }
    let mut table = Table::new(format!("evidence, {} events, {}", number(size as f64), backend.name()));
    table.figure("folding into tiles", format!("{} events/s", number(fold_rate)));
    table.target("inclusion proof, p99", quantile(&inclusion, 0.99), " ms", Target::AtMost(2.0));
    table.target("consistency proof, p99", quantile(&consistency, 0.99), " ms", Target::AtMost(2.0));
    table.target(
        format!("dispute file of {} events ({} MB), median", number(of_license as f64), bytes / 1_000_000),
        median(&exports),
        " s",
        Target::AtMost(2.0),
    );
    table.target("history of one license beside a million events / beside few", large.0 / small.0, " ×", Target::AtMost(1.3));
    table.target("state of one license beside a million events / beside few", large.1 / small.1, " ×", Target::AtMost(1.3));
    table.print();
    fill::close(ledger).await?;
    Ok(())
}

/// Milliseconds for the first page of a small license's history, and for its state.
async fn told(ledger: &Ledger) -> Result<(f64, f64)> {
    let stream = ledger.license_stream("2").await?;
    let history = timed(200, |_| async {
        black_box(ledger.history(stream, &HistoryFilter::default(), None, 50, false).await?);
        Ok(())
    })
    .await?;
    let state = timed(200, |_| async {
        let (streams, point) = (ledger.license_streams("2").await?, ledger.point(AsOf::Head).await?);
        black_box(ledger.license_state(&streams, point, Page::default(), false).await?);
        Ok(())
    })
    .await?;
    Ok((median(&history), median(&state)))
}
