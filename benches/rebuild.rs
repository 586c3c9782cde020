//! `keyledger rebuild` of a log in which every event has a sealed object: events per second and memory of that process.
//!
//! Two logs: `lives`, in which every owner's license lives through ten events, a tenth of the log between one and the next;
//! and `creations`, in which every event makes a license. `cargo bench --bench rebuild -- lives` takes one of them.

mod support;

use std::process::Stdio;
use std::time::{Duration, Instant};

use keyledger::ledger::{Command, LicenseChanges, OwnerInput};
use keyledger_events::values::{Identifier, MetaKey};
use support::{
    Result,
    fill::{self, KEYS_PER_CALL, Until},
    median, note,
    place::{Backend, Place},
    process,
    report::{Table, Target, number, spread},
};

/// Callers while the log is filled.
const CALLERS: usize = 1_024;
/// Events in the life of a license of the log `lives`.
const LIFE_EVENTS: u64 = 10;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    for backend in Backend::available() {
        for log in ["lives", "creations"] {
            if support::is_selected(log) {
                runtime.block_on(measure(backend, log))?;
            }
        }
    }
    Ok(())
}

async fn measure(backend: Backend, log: &str) -> Result<()> {
    let events: u64 = support::size("KEYLEDGER_BENCH_EVENTS", 1_000_000)?;
    let subjects: u64 = support::size("KEYLEDGER_BENCH_SUBJECTS", 100_000)?.min(events);
    let place = filled(backend, log, events, subjects).await?;
    let (mut rates, mut peaks) = (Vec::new(), Vec::new());
    for _ in 0..support::rounds()?.min(3) {
        let (seconds, peak) = rebuild(&place)?;
        rates.push(events as f64 / seconds);
        peaks.push(peak);
    }
    let title = format!("rebuild, {}, {} events ({log}), {} subjects", backend.name(), number(events as f64), number(subjects as f64));
    let mut table = Table::new(title);
    table.figure("all runs", spread(&rates, " events/s"));
    table.target("events per second, median", median(&rates), "/s", Target::AtLeast(100_000.0));
    table.target("resident memory at its peak", peaks.iter().copied().fold(0.0, f64::max), " MiB", Target::AtMost(200.0));
    table.print();
    Ok(())
}

/// Seconds of one rebuild, from the start of the process to its end, and its memory at the peak.
fn rebuild(place: &Place) -> Result<(f64, f64)> {
    let started = Instant::now();
    let mut child = place.address.command(&["rebuild"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut peak: f64 = 0.0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        // The last moments before its end can't be seen, but the peak of a rebuild is not there.
        peak = peak.max(process::peak_mib(child.id()).unwrap_or(0.0));
        std::thread::sleep(Duration::from_millis(5));
    };
    if status.success() { Ok((started.elapsed().as_secs_f64(), peak)) } else { Err("the rebuild failed".into()) }
}

async fn filled(backend: Backend, log: &str, events: u64, subjects: u64) -> Result<Place> {
    let place = Place::named(backend, &format!("{log}_{events}_{subjects}")).await?;
    if place.is_filled() {
        return Ok(place);
    }
    note(&format!("filling {} with {events} events ({log}) of {subjects} subjects …", backend.name()));
    let ledger = place.address.open().await?;
    let product = fill::product(&ledger).await?;
    let started = Instant::now();
    if log == "lives" {
        // Every owner's first event, then every owner's second, and so on.
        fill::drive(&ledger, CALLERS, Until::Count(subjects), move |turn, _| creation(turn, 1, product, turn)).await?;
        for event in 1..LIFE_EVENTS.min(events / subjects) {
            fill::drive(&ledger, CALLERS, Until::Count(subjects), move |turn, _| later(event, fill::scattered(turn, subjects))).await?;
        }
    } else {
        let each = (events / subjects).min(KEYS_PER_CALL);
        fill::drive(&ledger, CALLERS, Until::Count(subjects), move |turn, _| creation(turn * each, each, product, turn)).await?;
    }
    note(&format!("  {:.0} events/s", events as f64 / started.elapsed().as_secs_f64()));
    fill::close(ledger).await?;
    place.analyze().await?;
    place.set_filled()?;
    Ok(place)
}

/// Licenses of one owner.
fn creation(first: u64, count: u64, product: i64, owner: u64) -> Result<Command> {
    let keys = (first..first + count).map(fill::key).collect::<Result<Vec<_>>>()?;
    let owner = OwnerInput { name: Some(format!("Owner {owner}")), email: Some(format!("owner-{owner}@shop.example")) };
    Ok(fill::creation(keys, product, owner))
}

/// What happens to a license later in its life; each has a sealed object: of its own, or the client's address.
fn later(event: u64, license: u64) -> Result<Command> {
    let activate = |host: u64| fill::activation(license, &format!("host-{host}.of-{license}.example"));
    let identifier = |host: u64| Identifier::parse(&format!("host-{host}.of-{license}.example"));
    let key = fill::key(license)?;
    let meta_key = MetaKey::parse("plan")?;
    match event {
        1 => activate(1),
        2 => activate(2),
        3 => {
            let (identifier, value) = (Some(identifier(1)?), Some("gold".to_owned()));
            Ok(Command::CreateLicenseMeta { key, identifier, meta_key: Some(meta_key), value })
        }
        4 => Ok(Command::Deactivate { key, identifier: Some(identifier(1)?) }),
        5 => activate(3),
        6 => {
            let (identifier, value) = (Some(identifier(2)?), Some("silver".to_owned()));
            Ok(Command::UpdateLicenseMeta { key, identifier, meta_key: Some(meta_key), value })
        }
        7 => {
            let changes = LicenseChanges { owner_name: Some(Some(format!("Owner {license} & Co."))), ..LicenseChanges::default() };
            Ok(Command::UpdateLicense { key, changes })
        }
        8 => activate(1),
        _ => activate(3 + event),
    }
}
