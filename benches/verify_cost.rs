//! What verify adds to the signature: the server's CPU time for each request, less that of one RSA-2048 signature made
//! under the same load of the machine. On SQLite, with few licenses and with many.

mod support;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rsa::{KeyPair, KeySize};
use support::{
    Result, baseline, fill,
    load::{Length, Load},
    median,
    place::Backend,
    process,
    report::{Table, Target, number, spread},
    server::Server,
};

const CONNECTIONS: usize = 64;
const FEW_LICENSES: u64 = 1_000;
/// Requests of one round: so many that the hundredths of a second in which CPU time is counted don't matter.
const REQUESTS: u64 = 20_000;
const SIGNING_TIME: Duration = Duration::from_secs(2);

fn main() -> Result<()> {
    if baseline::serve_if_asked()? {
        return Ok(());
    }
    tokio::runtime::Runtime::new()?.block_on(measure())
}

/// A server, and the CPU microseconds of a request in each round.
struct Measured {
    server: Server,
    load: Load,
    turn: u64,
    micros: Vec<f64>,
}

impl Measured {
    fn new(server: Server, licenses: u64) -> Self {
        let load = Load { server: server.address, connections: CONNECTIONS, licenses };
        Self { server, load, turn: 0, micros: Vec::new() }
    }

    fn round(&mut self, requests: u64) -> Result<f64> {
        let before = process::cpu_seconds(self.server.pid())?;
        let round = self.load.run(self.turn, Length::Requests(requests))?;
        self.turn += round.answers;
        Ok((process::cpu_seconds(self.server.pid())? - before) * 1e6 / round.answers as f64)
    }
}

async fn measure() -> Result<()> {
    let licenses = support::licenses()?;
    let requests = support::size("KEYLEDGER_BENCH_REQUESTS", REQUESTS)?;
    let (few, many) = (fill::licensed(Backend::Sqlite, FEW_LICENSES).await?, fill::licensed(Backend::Sqlite, licenses).await?);
    let mut few = Measured::new(Server::serve(&few.address)?, FEW_LICENSES);
    let mut many = Measured::new(Server::serve(&many.address)?, licenses);
    let body_bytes = few.load.run(0, Length::Requests(1_000))?.body_bytes;
    let mut base = Measured::new(baseline::start(body_bytes)?, licenses);
    for server in [&mut few, &mut many, &mut base] {
        server.round(requests / 4)?;
    }

    let key = Arc::new(KeyPair::generate(KeySize::Rsa2048)?);
    let mut signature = Vec::new();
    for _ in 0..support::rounds()? {
        for server in [&mut few, &mut many, &mut base] {
            let micros = server.round(requests)?;
            server.micros.push(micros);
        }
        signature.push(baseline::signature_micros(&key, SIGNING_TIME)?);
    }
    let signing = median(&signature);
    let rest = |server: &Measured| median(&server.micros) - signing;
    let mut table = Table::new(format!("CPU of one verify, SQLite, {CONNECTIONS} connections"));
    table.figure("RSA-2048 signature", spread(&signature, " µs"));
    table.figure("baseline server, all", spread(&base.micros, " µs"));
    table.figure("baseline server, without the signature", format!("{} µs", number(rest(&base))));
    table.figure(format!("verify, {} licenses, all", number(FEW_LICENSES as f64)), spread(&few.micros, " µs"));
    table.figure(format!("verify, {} licenses, all", number(licenses as f64)), spread(&many.micros, " µs"));
    table.figure(format!("verify without the signature, {} licenses", number(FEW_LICENSES as f64)), format!("{} µs", number(rest(&few))));
    table.target(format!("verify without the signature, {} licenses", number(licenses as f64)), rest(&many), " µs", Target::AtMost(40.0));
    table.target("many / few licenses", rest(&many) / rest(&few), " ×", Target::AtMost(1.5));
    table.print();
    Ok(())
}
