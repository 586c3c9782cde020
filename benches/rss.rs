//! The server's resident memory: freshly started on an empty ledger, and with a million licenses after a hundred thousand
//! verifications.

mod support;

use std::time::Duration;

use support::{
    Result, fill,
    load::{Length, Load},
    place::{Backend, Place},
    process,
    report::{Table, Target, number},
    server::Server,
};

const CONNECTIONS: usize = 64;
/// After the start, so that what happens once has happened.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
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
    let verifications = support::size("KEYLEDGER_BENCH_VERIFICATIONS", 100_000)?;
    let empty = Place::fresh(backend).await?;
    let server = Server::serve(&empty.address)?;
    tokio::time::sleep(SETTLED_AFTER).await;
    let at_start = process::resident_mib(server.pid())?;
    drop(server);

    let place = fill::licensed(backend, licenses).await?;
    let server = Server::serve(&place.address)?;
    tokio::time::sleep(SETTLED_AFTER).await;
    let filled_at_start = process::resident_mib(server.pid())?;
    Load { server: server.address, connections: CONNECTIONS, licenses }.run(0, Length::Requests(verifications))?;
    let serving = process::resident_mib(server.pid())?;
    let peak = process::peak_mib(server.pid())?;

    let mut table = Table::new(format!("resident memory of the server, {}", backend.name()));
    table.target("started on an empty ledger", at_start, " MiB", Target::AtMost(30.0));
    table.figure(format!("started with {} licenses", number(licenses as f64)), format!("{} MiB", number(filled_at_start)));
    table.target(format!("after {} verifications", number(verifications as f64)), serving, " MiB", Target::AtMost(120.0));
    table.figure("at its peak", format!("{} MiB", number(peak)));
    table.print();
    Ok(())
}
