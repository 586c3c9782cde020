//! Filled ledgers, filled through the ledger itself: everything in them was decided, sealed, hashed and projected.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyledger::{
    ledger::{Actor, Command, CommandResult, Ledger, Origin, Outcome, OwnerInput, Request},
    signer,
};
use keyledger_events::{
    license::Status,
    product::ProductFields,
    values::{Identifier, LicenseKey},
};

use super::{
    Result, note,
    place::{Backend, Place},
};

/// The value of the API key with which everything is asked.
pub const API_KEY: &str = "bootstrap-key-of-the-benchmarks";
/// It is the ledger's first.
const API_KEY_NUMBER: i64 = 1;
/// Keys in one command: as many as a call may have.
pub const KEYS_PER_CALL: u64 = 10_000;
/// Commands on their way while a ledger is filled: two full batches, so that one fills while the other commits.
const IN_FLIGHT: usize = 1_024;

/// The key of a license: random to look at, the same in every run.
pub fn license_key(number: u64) -> String {
    let (high, low) = (mix(number), mix(number ^ 0x9e37_79b9_7f4a_7c15));
    format!("{:05X}-{:05X}-{:05X}-{:05X}-{number:07}", high >> 44, (high >> 20) & 0xf_ffff, low >> 44, (low >> 20) & 0xf_ffff)
}

/// What a license is active for.
pub fn identifier(number: u64) -> String {
    format!("host-{number}.shop.example")
}

/// SplitMix64.
fn mix(number: u64) -> u64 {
    let mut value = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// All numbers below `count`, each once, in an order that jumps about: no two neighbours are on one database page.
pub fn scattered(turn: u64, count: u64) -> u64 {
    // A prime larger than any count here, so it shares no factor with it.
    const STEP: u128 = 2_654_435_761;
    (u128::from(turn) * STEP % u128::from(count.max(1))) as u64
}

pub fn key(number: u64) -> Result<LicenseKey> {
    Ok(LicenseKey::parse(&license_key(number))?)
}

pub fn activation(license: u64, identifier: &str) -> Result<Command> {
    Ok(Command::Activate { key: key(license)?, identifier: Some(Identifier::parse(identifier)?), post_url: None })
}

/// A request as one that comes over HTTP.
pub fn request(command: Command) -> Request {
    let origin = Origin { actor: Actor::ApiKey(API_KEY_NUMBER), client_ip: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), ..Origin::system() };
    Request { command, origin, idempotency: None }
}

/// What became of a command; a refusal would mean that something else is measured than what was meant.
pub async fn execute(ledger: &Ledger, command: Command) -> Result<Outcome> {
    let outcome = ledger.execute(request(command)).await?;
    match &outcome.result {
        CommandResult::LicenseRefused(error) => Err(format!("refused: {error}").into()),
        CommandResult::NoSuchProduct | CommandResult::ProductRefused(_) | CommandResult::AlreadyActive | CommandResult::AlreadyInactive => {
            Err(format!("not what was asked for: {:?}", outcome.result).into())
        }
        _ => Ok(outcome),
    }
}

/// When a drive ends: after so many commands in all, or at a time.
#[derive(Clone, Copy)]
pub enum Until {
    Count(u64),
    Time(Instant),
}

/// Executes commands with so many callers, each waiting for its answer before it asks again. Each command has a number of
/// its own, and the caller's. Returns how many were executed, and in what time.
pub async fn drive<F>(ledger: &Ledger, callers: usize, until: Until, command: F) -> Result<(u64, Duration)>
where
    F: Fn(u64, usize) -> Result<Command> + Clone + Send + Sync + 'static,
{
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (ledger, next, command) = (ledger.clone(), Arc::clone(&next), command.clone());
            tokio::spawn(async move {
                let mut done = 0;
                loop {
                    if matches!(until, Until::Time(end) if Instant::now() >= end) {
                        return Ok(done);
                    }
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    if matches!(until, Until::Count(count) if turn >= count) {
                        return Ok(done);
                    }
                    execute(&ledger, command(turn, caller)?).await?;
                    done += 1;
                }
            })
        })
        .collect();
    let mut done: u64 = 0;
    for task in tasks {
        let result: Result<u64> = task.await?;
        done += result?;
    }
    Ok((done, started.elapsed()))
}

/// A product with its own key pair, and the API key of the benchmarks.
pub async fn product(ledger: &Ledger) -> Result<i64> {
    ledger.bootstrap_api_key(API_KEY).await?;
    let vault = Arc::clone(ledger.vault());
    let key_pair = tokio::task::spawn_blocking(move || signer::generate(&vault, signer::Bits::default())).await??;
    let fields = ProductFields { name: "Benchmark".to_owned(), description: "Filled by a benchmark".to_owned(), ..ProductFields::default() };
    match execute(ledger, Command::CreateProduct { fields, key_pair: Some(key_pair) }).await?.result {
        CommandResult::ProductCreated { product } => Ok(product),
        other => Err(format!("no product: {other:?}").into()),
    }
}

pub fn creation(keys: Vec<LicenseKey>, product: i64, owner: OwnerInput) -> Command {
    Command::CreateLicenses { keys, product, owner, activation_limit: 0, validity_days: 0, status: Status::Assigned, assigned_at: None }
}

/// Licenses 0 to `count`, assigned and without a limit, in calls of ten thousand.
pub async fn create_licenses(ledger: &Ledger, product: i64, count: u64) -> Result<Duration> {
    let calls = count.div_ceil(KEYS_PER_CALL);
    let (_, took) = drive(ledger, 2, Until::Count(calls), move |call, _| {
        let keys = (call * KEYS_PER_CALL..count.min((call + 1) * KEYS_PER_CALL)).map(key).collect::<Result<Vec<_>>>()?;
        Ok(creation(keys, product, OwnerInput::default()))
    })
    .await?;
    Ok(took)
}

/// A ledger with so many licenses, each active for one identifier, and its server's API key.
pub async fn licensed(backend: Backend, licenses: u64) -> Result<Place> {
    let place = Place::named(backend, &format!("licenses_{licenses}")).await?;
    if place.is_filled() {
        return Ok(place);
    }
    note(&format!("filling {} with {licenses} licenses …", backend.name()));
    let ledger = place.address.open().await?;
    let product = product(&ledger).await?;
    let created = create_licenses(&ledger, product, licenses).await?;
    note(&format!("  created: {:.0} licenses/s", licenses as f64 / created.as_secs_f64()));
    let (_, activated) = drive(&ledger, IN_FLIGHT, Until::Count(licenses), |turn, _| activation(turn, &identifier(turn))).await?;
    note(&format!("  activated: {:.0} licenses/s", licenses as f64 / activated.as_secs_f64()));
    close(ledger).await?;
    place.analyze().await?;
    place.set_filled()?;
    Ok(place)
}

/// Ends the ledger's executor, so that the place is free for another process.
pub async fn close(ledger: Ledger) -> Result<()> {
    if ledger.close(Duration::from_secs(60)).await { Ok(()) } else { Err("the executor does not stop".into()) }
}
