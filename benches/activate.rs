//! Activations through the ledger, without HTTP, every one durable before it is answered.
//!
//! `cargo bench --bench activate -- throughput hot nodes millionth` runs the parts that are named; all, where none is.

mod support;

use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use keyledger::ledger::Ledger;
use support::{
    Result,
    fill::{self, Until},
    median, note,
    place::{Address, Backend, Place},
    report::{Table, Target, number, spread},
};

const CALLERS: usize = 64;
/// Tasks of the stock framework, and its connections: each task has one. More tasks make it no faster.
const BASELINE_TASKS: usize = 32;
/// Licenses of the stock framework: so many that hardly a stream gets longer than two events.
const BASELINE_LICENSES: usize = 50_000;
/// The first argument of the benchmark's own program when it is to be one node.
const NODE_MODE: &str = "node";

fn main() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, data_dir, url, node, callers, seconds] = arguments.as_slice()
        && mode == NODE_MODE
    {
        let address = Address { data_dir: data_dir.into(), database_url: Some(url.clone()) };
        return runtime.block_on(run_node(&address, node, callers.parse()?, seconds.parse()?));
    }
    let backends = Backend::available();
    runtime.block_on(async {
        if support::is_selected("throughput") {
            throughput(&backends).await?;
        }
        for backend in &backends {
            if support::is_selected("hot") {
                hot(*backend).await?;
            }
            if support::is_selected("nodes") && *backend == Backend::Postgres {
                nodes(*backend).await?;
            }
            if support::is_selected("millionth") {
                millionth(*backend).await?;
            }
        }
        Ok(())
    })
}

fn round() -> Result<Duration> {
    Ok(Duration::from_secs_f64(support::round_seconds()?))
}

/// Licenses that the activations go round.
fn activated_licenses() -> Result<u64> {
    support::size("KEYLEDGER_BENCH_ACTIVATED_LICENSES", 100_000)
}

/// An open ledger with so many licenses and no activations.
async fn fresh(backend: Backend, licenses: u64) -> Result<(Place, Ledger)> {
    let place = Place::fresh(backend).await?;
    let ledger = place.address.open().await?;
    let product = fill::product(&ledger).await?;
    fill::create_licenses(&ledger, product, licenses).await?;
    place.analyze().await?;
    Ok((place, ledger))
}

/// One round of activations, for identifiers that were never seen. Licenses come up in an order that jumps about, as customers do:
/// neighbours share a page, and a page has no room for new versions of all its rows at once.
async fn activate_round(ledger: &Ledger, callers: usize, licenses: u64, label: String) -> Result<f64> {
    let until = Until::Time(Instant::now() + round()?);
    let command = move |turn, caller| fill::activation(fill::scattered(turn, licenses), &format!("{label}-{caller}-{turn}.shop.example"));
    let (done, took) = fill::drive(ledger, callers, until, command).await?;
    Ok(done as f64 / took.as_secs_f64())
}

/// Against the stock framework on the same PostgreSQL, in turns.
async fn throughput(backends: &[Backend]) -> Result<()> {
    let licenses = activated_licenses()?;
    let mut ledgers = Vec::new();
    for backend in backends {
        note(&format!("filling {} with {licenses} licenses …", backend.name()));
        ledgers.push((*backend, fresh(*backend, licenses).await?, Vec::new()));
    }
    let stock = if backends.contains(&Backend::Postgres) { Some(build_baseline()?) } else { None };
    let mut baseline = Vec::new();
    for turn in 0..support::rounds()? {
        for (backend, (_, ledger), rates) in &mut ledgers {
            let rate = activate_round(ledger, CALLERS, licenses, format!("round-{turn}")).await?;
            note(&format!("{}: {rate:.0}/s", backend.name()));
            rates.push(rate);
        }
        if let Some(program) = &stock {
            let rate = run_baseline(program)?;
            note(&format!("stock: {rate:.0}/s"));
            baseline.push(rate);
        }
    }
    let mut table = Table::new(format!("activate, durable, {CALLERS} in flight, {} distinct licenses", number(licenses as f64)));
    let mut medians = Vec::new();
    for (backend, (_, ledger), rates) in ledgers {
        table.figure(backend.name(), spread(&rates, "/s"));
        medians.push((backend, median(&rates)));
        fill::close(ledger).await?;
    }
    let rate_of = |backend| medians.iter().find(|(of, _)| *of == backend).map(|(_, rate)| *rate);
    if let (Some(postgres), Some(sqlite)) = (rate_of(Backend::Postgres), rate_of(Backend::Sqlite)) {
        table.figure(format!("stock cqrs-es + postgres-es, {BASELINE_TASKS} tasks"), spread(&baseline, "/s"));
        table.target("PostgreSQL / stock", postgres / median(&baseline), " ×", Target::AtLeast(6.0));
        table.target("SQLite / PostgreSQL", sqlite / postgres, "", Target::AtLeast(1.0));
    }
    table.print();
    Ok(())
}

/// The baseline's program lives in a crate with a lockfile of its own.
fn build_baseline() -> Result<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/compat");
    let (manifest, target) = (format!("{folder}/Cargo.toml"), format!("{folder}/target"));
    let arguments = ["build", "--release", "--locked", "--quiet", "--bin", "baseline", "--manifest-path", &manifest, "--target-dir", &target];
    let built = Process::new(env!("CARGO")).args(arguments).status()?;
    if built.success() { Ok(format!("{target}/release/baseline")) } else { Err("the baseline can't be built".into()) }
}

fn run_baseline(program: &str) -> Result<f64> {
    let seconds = (support::round_seconds()?.ceil() as u64).max(1);
    let arguments = [seconds.to_string(), BASELINE_TASKS.to_string(), BASELINE_LICENSES.to_string(), BASELINE_TASKS.to_string()];
    let output = Process::new(program).args(arguments).stderr(Stdio::inherit()).output()?;
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|_| "the baseline failed")?;
    result["per_second"].as_f64().ok_or_else(|| "the baseline printed no rate".into())
}

/// Everybody on one license, against each caller on its own.
async fn hot(backend: Backend) -> Result<()> {
    let (_place, ledger) = fresh(backend, CALLERS as u64 + 1).await?;
    let (mut one, mut many) = (Vec::new(), Vec::new());
    for turn in 0..support::rounds()? {
        let until = Until::Time(Instant::now() + round()?);
        let command = move |at, caller: usize| fill::activation(caller as u64, &format!("own-{turn}-{at}.shop.example"));
        let (done, took) = fill::drive(&ledger, CALLERS, until, command).await?;
        many.push(done as f64 / took.as_secs_f64());
        let until = Until::Time(Instant::now() + round()?);
        let command = move |at, _| fill::activation(CALLERS as u64, &format!("hot-{turn}-{at}.shop.example"));
        let (done, took) = fill::drive(&ledger, CALLERS, until, command).await?;
        one.push(done as f64 / took.as_secs_f64());
    }
    fill::close(ledger).await?;
    let mut table = Table::new(format!("activate, {}, {CALLERS} callers on one license (no limit) against {CALLERS} licenses", backend.name()));
    table.figure("one license", spread(&one, "/s"));
    table.figure(format!("{CALLERS} licenses"), spread(&many, "/s"));
    table.target("one / many", median(&one) / median(&many), "", Target::AtLeast(0.8));
    table.print();
    Ok(())
}

/// Two processes on one database against one, with as many callers in all.
async fn nodes(backend: Backend) -> Result<()> {
    let (place, ledger) = fresh(backend, activated_licenses()?).await?;
    fill::close(ledger).await?;
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for turn in 0..support::rounds()? {
        alone.push(run_nodes(&place.address, turn, &[CALLERS])?);
        together.push(run_nodes(&place.address, turn, &[CALLERS / 2, CALLERS / 2])?);
    }
    let mut table = Table::new(format!("activate, two nodes on one PostgreSQL against one, {CALLERS} in flight in all"));
    table.figure("one node", spread(&alone, "/s"));
    table.figure("two nodes together", spread(&together, "/s"));
    table.target("two / one", median(&together) / median(&alone), "", Target::AtLeast(0.7));
    table.print();
    Ok(())
}

/// Runs so many nodes at once; their rates together.
fn run_nodes(address: &Address, turn: usize, callers: &[usize]) -> Result<f64> {
    let seconds = support::round_seconds()?.to_string();
    let url = address.database_url.as_deref().ok_or("nodes share a PostgreSQL")?;
    let program = std::env::current_exe()?;
    let start = |(node, callers): (usize, &usize)| {
        let name = format!("{turn}-{}-{node}", callers);
        Process::new(&program).arg(NODE_MODE).arg(&address.data_dir).args([url, &name, &callers.to_string(), &seconds]).stdout(Stdio::piped()).spawn()
    };
    let children = callers.iter().enumerate().map(start).collect::<std::io::Result<Vec<_>>>()?;
    let mut rate = 0.0;
    for child in children {
        let output = child.wait_with_output()?;
        rate += String::from_utf8(output.stdout)?.trim().parse::<f64>().map_err(|_| "a node failed")?;
    }
    Ok(rate)
}

/// One node: prints its rate. Nodes that start together end together, nearly.
async fn run_node(address: &Address, name: &str, callers: usize, seconds: f64) -> Result<()> {
    let ledger = address.open().await?;
    let licenses = activated_licenses()?;
    let until = Until::Time(Instant::now() + Duration::from_secs_f64(seconds));
    let name = name.to_owned();
    let command = move |turn, _| fill::activation(fill::scattered(turn, licenses), &format!("node-{name}-{turn}.shop.example"));
    let (done, took) = fill::drive(&ledger, callers, until, command).await?;
    println!("{}", done as f64 / took.as_secs_f64());
    fill::close(ledger).await
}

/// Activation no. 1,000,000 of one license against no. 10 of others, on a freshly started ledger. The one that comes first
/// after a start meets cold caches, so the two take turns in that too.
async fn millionth(backend: Backend) -> Result<()> {
    const STARTS: usize = 10;
    const TIMED: u64 = 40;
    const BEFORE: u64 = 9;
    if support::size("KEYLEDGER_BENCH_MILLION", 1)? == 0 {
        return Ok(());
    }
    let million: u64 = support::size("KEYLEDGER_BENCH_MILLION_ACTIVATIONS", 1_000_000)?;
    let small = STARTS as u64 * TIMED;
    // The last license is the one with a million.
    let (place, ledger) = fresh(backend, small + 1).await?;
    note(&format!("activating one license on {} {million} times …", backend.name()));
    fill::drive(&ledger, CALLERS, Until::Count(small * BEFORE), move |turn, _| fill::activation(turn % small, &fill::identifier(turn / small)))
        .await?;
    fill::drive(&ledger, 1_024, Until::Count(million - 1), move |turn, _| fill::activation(small, &fill::identifier(turn))).await?;
    fill::close(ledger).await?;
    place.analyze().await?;

    let (mut first_big, mut first_small, mut big, mut little) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for start in 0..STARTS {
        let ledger = place.address.open().await?;
        for at in 0..TIMED {
            let turn = start as u64 * TIMED + at;
            let with_million = fill::activation(small, &fill::identifier(million + turn))?;
            let with_nine = fill::activation(turn, &fill::identifier(BEFORE))?;
            let is_big_first = start % 2 == 0;
            let (first, second) = if is_big_first { (with_million, with_nine) } else { (with_nine, with_million) };
            let (first, second) = (time(&ledger, first).await?, time(&ledger, second).await?);
            let (of_big, of_little) = if is_big_first { (first, second) } else { (second, first) };
            if at == 0 {
                if is_big_first { first_big.push(of_big) } else { first_small.push(of_little) }
            } else {
                big.push(of_big);
                little.push(of_little);
            }
        }
        fill::close(ledger).await?;
    }
    let (no_million, no_ten) = (format!("no. {} and on", number(million as f64)), format!("no. {}", BEFORE + 1));
    let mut table = Table::new(format!("one activation at a time on a freshly started ledger, {}", backend.name()));
    table.figure(&no_million, spread(&big, " ms"));
    table.figure(&no_ten, spread(&little, " ms"));
    table.target("ratio", median(&big) / median(&little), " ×", Target::AtMost(1.3));
    table.figure(format!("{no_million}, first after a start"), spread(&first_big, " ms"));
    table.figure(format!("{no_ten}, first after a start"), spread(&first_small, " ms"));
    table.target("ratio of the first", median(&first_big) / median(&first_small), " ×", Target::AtMost(1.3));
    table.print();
    Ok(())
}

async fn time(ledger: &Ledger, command: keyledger::ledger::Command) -> Result<f64> {
    let started = Instant::now();
    fill::execute(ledger, command).await?;
    Ok(started.elapsed().as_secs_f64() * 1_000.0)
}
