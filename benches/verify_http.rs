//! verify over HTTP against an axum handler that does nothing but parse the form, sign once and answer: both are real
//! processes, take turns under the same load, and are compared by the medians of their rounds.

mod support;

use std::time::Duration;

use support::{
    Result, baseline, fill,
    health::Prober,
    load::{Length, Load, Round},
    median,
    place::Backend,
    quantile,
    report::{Table, Target, number, spread},
    server::Server,
};

const CONNECTIONS: usize = 64;
/// Before the first round, so that caches and connections are warm.
const WARM_UP: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    if baseline::serve_if_asked()? {
        return Ok(());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    for backend in Backend::available() {
        if support::is_selected(backend.name()) {
            runtime.block_on(measure(backend))?;
        }
    }
    Ok(())
}

async fn measure(backend: Backend) -> Result<()> {
    let licenses = support::licenses()?;
    let place = fill::licensed(backend, licenses).await?;
    let ours = Server::serve(&place.address)?;
    let load = Load { server: ours.address, connections: CONNECTIONS, licenses };
    let mut turn = 0;
    let warm = load.run(turn, Length::Time(WARM_UP))?;
    turn += warm.answers;
    let base = baseline::start(warm.body_bytes)?;
    let base_load = Load { server: base.address, ..load };
    let base_warm = base_load.run(turn, Length::Time(WARM_UP))?;
    if base_warm.body_bytes != warm.body_bytes {
        return Err(format!("the baseline's answers have {} bytes, ours {}", base_warm.body_bytes, warm.body_bytes).into());
    }

    let time = Length::Time(Duration::from_secs_f64(support::round_seconds()?));
    let (mut our_rounds, mut base_rounds, mut health) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..support::rounds()? {
        let prober = Prober::start(ours.address)?;
        let round = load.run(turn, time)?;
        health.extend(prober.stop()?);
        turn += round.answers;
        our_rounds.push(round);
        // Our server is probed here too, while it does nothing else, so that both rounds share the cores with the same.
        let prober = Prober::start(ours.address)?;
        base_rounds.push(base_load.run(turn, time)?);
        prober.stop()?;
    }

    let rates = |rounds: &[Round]| rounds.iter().map(Round::per_second).collect::<Vec<f64>>();
    let waits = |rounds: &[Round], part| quantile(&rounds.iter().flat_map(|round| round.waits.iter().copied()).collect::<Vec<f64>>(), part);
    let (our_rates, base_rates) = (rates(&our_rounds), rates(&base_rounds));
    let target = match backend {
        Backend::Sqlite => 0.85,
        Backend::Postgres => 0.70,
    };
    let mut table = Table::new(format!(
        "verify over HTTP, {}, {} licenses, {CONNECTIONS} connections, answers of {} bytes",
        backend.name(),
        number(licenses as f64),
        warm.body_bytes
    ));
    table.figure("verify", spread(&our_rates, "/s"));
    table.figure("baseline", spread(&base_rates, "/s"));
    table.target("verify / baseline", median(&our_rates) / median(&base_rates), "", Target::AtLeast(target));
    table.figure("verify, wait p50, p99", format!("{} ms, {} ms", number(waits(&our_rounds, 0.5)), number(waits(&our_rounds, 0.99))));
    table.figure("baseline, wait p50, p99", format!("{} ms, {} ms", number(waits(&base_rounds, 0.5)), number(waits(&base_rounds, 0.99))));
    table.target("/health/live beside it, p99", quantile(&health, 0.99), " ms", Target::AtMost(5.0));
    table.print();
    Ok(())
}
