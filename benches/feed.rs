//! The feed: catching up with a million events, a thousand streams on which nothing happens, and how long an event takes to a consumer.

mod support;

use std::io::{BufReader, Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyledger::clock::Clock;
use keyledger_events::Timestamp;
use support::{
    Result,
    fill::{self, API_KEY},
    place::{Address, Backend, Place},
    process, quantile,
    report::{Table, Target, number},
    server::Server,
};

const STREAMS: usize = 1_000;
/// How long idle streams are looked at.
const IDLE_FOR: Duration = Duration::from_secs(20);
/// Events a second while their way is timed, by so many callers.
const EVENTS_PER_SECOND: f64 = 2_000.0;
const CALLERS: u64 = 32;
/// Nothing is activated twice, or there would be no event.
static NEXT_IDENTIFIER: AtomicU64 = AtomicU64::new(0);
const TIMED_FOR: Duration = Duration::from_secs(15);
/// After the start, so that what happens once has happened.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    if keyledger::http::raise_descriptor_limit() < 2 * STREAMS {
        return Err("the system gives too few file descriptors".into());
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
    let events = support::size("KEYLEDGER_BENCH_EVENTS", 1_000_000)?;
    let mut table = Table::new(format!("the feed, {}", backend.name()));
    {
        // Each license is created and activated.
        let place = fill::licensed(backend, events / 2).await?;
        let server = Server::serve(&place.address)?;
        tokio::time::sleep(SETTLED_AFTER).await;
        let reader = api_key(&place.address, &["--capability", "feed:read"])?;
        table.target(
            format!("catch-up of {} events, one connection", number(events as f64)),
            catch_up(server.address, &reader)?,
            "/s",
            Target::AtLeast(200_000.0),
        );
        table.figure("the same with personal data opened", format!("{}/s", number(catch_up(server.address, API_KEY)?)));
        table.figure("the server's memory at its peak", format!("{} MiB", number(process::peak_mib(server.pid())?)));
    }
    let place = Place::fresh(backend).await?;
    let ledger = place.address.open().await?;
    let product = fill::product(&ledger).await?;
    fill::create_licenses(&ledger, product, CALLERS).await?;
    fill::close(ledger).await?;
    let server = Server::serve(&place.address)?;
    tokio::time::sleep(SETTLED_AFTER).await;
    idle(&server, &mut table)?;
    let reader = api_key(&place.address, &["--capability", "feed:read"])?;
    let way = timed(&server, &server, &reader)?;
    table.target(
        format!("an event's way to a consumer at {} events/s, p99", number(way.len() as f64 / TIMED_FOR.as_secs_f64())),
        quantile(&way, 0.99),
        " ms",
        Target::AtMost(20.0),
    );
    table.figure("the same, median", format!("{} ms", number(quantile(&way, 0.5))));
    let way = timed(&server, &server, API_KEY)?;
    table.figure("with personal data opened, p99", format!("{} ms", number(quantile(&way, 0.99))));
    if backend == Backend::Postgres {
        let other = Server::serve(&place.address)?;
        tokio::time::sleep(SETTLED_AFTER * 3).await;
        let way = timed(&server, &other, &reader)?;
        table.target("its way to a consumer of another node, p99", quantile(&way, 0.99), " ms", Target::AtMost(200.0));
        table.figure("the same, median", format!("{} ms", number(quantile(&way, 0.5))));
    }
    table.print();
    Ok(())
}

/// A key made on the command line; the server knows it when this returns.
fn api_key(ledger: &Address, args: &[&str]) -> Result<String> {
    let output = ledger.command(&[&["api-key", "create", "--name", "reader"], args].concat()).output()?;
    std::thread::sleep(SETTLED_AFTER * 3);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Events a second, read from the first to the last: the middle of three times.
fn catch_up(server: SocketAddr, key: &str) -> Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..3 {
        let started = Instant::now();
        let (lines, bytes) = read_lines(server, key)?;
        rates.push(lines as f64 / started.elapsed().as_secs_f64());
        support::note(&format!("{lines} events, {} MB", bytes / 1_000_000));
    }
    Ok(support::median(&rates))
}

fn get(server: SocketAddr, key: &str, accept: &str, query: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(server)?;
    let head = format!("GET /feed/v1/events?{query} HTTP/1.1\r\nhost: bench\r\naccept: {accept}\r\nauthorization: Bearer {key}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    Ok(stream)
}

/// Reads the whole log as lines; how many, and how many bytes.
fn read_lines(server: SocketAddr, key: &str) -> Result<(u64, u64)> {
    let mut stream = get(server, key, "application/x-ndjson", "")?;
    let (mut buffer, mut lines, mut bytes, mut tail) = (vec![0; 256 * 1024], 0, 0_u64, [0; 5]);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err("the range broke off".into());
        }
        let chunk = &buffer[..read];
        // The lines of HTTP end with \r\n, events' lines alone with \n. Whatever looks at each byte with more care is the slowest part of all.
        let count = |wanted| chunk.iter().filter(|byte| **byte == wanted).count() as i64;
        lines += count(b'\n') - count(b'\r');
        bytes += read as u64;
        for byte in &chunk[read.saturating_sub(5)..] {
            tail.rotate_left(1);
            tail[4] = *byte;
        }
        if &tail == b"0\r\n\r\n" {
            return Ok((lines.unsigned_abs(), bytes));
        }
    }
}

fn idle(server: &Server, table: &mut Table) -> Result<()> {
    let busy = |pid| -> Result<f64> {
        let before = process::cpu_seconds(pid)?;
        std::thread::sleep(IDLE_FOR);
        Ok((process::cpu_seconds(pid)? - before) / IDLE_FOR.as_secs_f64() * 100.0)
    };
    let (memory, alone) = (process::resident_mib(server.pid())?, busy(server.pid())?);
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = get(server.address, API_KEY, "text/event-stream", "type=contract.created")?;
        // Until its head is there.
        let mut first = [0; 16];
        stream.read_exact(&mut first)?;
        if !first.starts_with(b"HTTP/1.1 200") {
            return Err("no stream".into());
        }
        streams.push(stream);
    }
    std::thread::sleep(SETTLED_AFTER);
    let (with_memory, with_streams) = (process::resident_mib(server.pid())?, busy(server.pid())?);
    let streams = number(streams.len() as f64);
    table.target(format!("what {streams} idle streams add, of a core"), with_streams - alone, " %", Target::AtMost(2.0));
    table.target("and in memory", with_memory - memory, " MiB", Target::AtMost(50.0));
    Ok(())
}

/// Activates at a steady rate, and takes the time from when each event was recorded, before its commit, to when a consumer has it.
fn timed(server: &Server, consumed: &Server, key: &str) -> Result<Vec<f64>> {
    let (address, consumed) = (server.address, consumed.address);
    let stream = get(consumed, key, "text/event-stream", &format!("type=license.activated&from={}", Clock::default().now()))?;
    let hang_up = stream.try_clone()?;
    stream.set_read_timeout(Some(TIMED_FOR * 2))?;
    let consumer = std::thread::spawn(move || consume(stream));
    let pace = Duration::from_secs_f64(CALLERS as f64 / EVENTS_PER_SECOND);
    let end = Instant::now() + TIMED_FOR;
    let callers: Vec<_> = (0..CALLERS).map(|caller| std::thread::spawn(move || activate(address, caller, pace, end))).collect();
    for caller in callers {
        caller.join().map_err(|_| "a caller panicked")??;
    }
    std::thread::sleep(SETTLED_AFTER);
    hang_up.shutdown(Shutdown::Both)?;
    consumer.join().map_err(|_| "the consumer panicked")?
}

/// Activates a license on one connection, at a pace. A socket alone: a client that does more would take the cores that are measured.
fn activate(server: SocketAddr, caller: u64, pace: Duration, end: Instant) -> Result<()> {
    use std::io::BufRead as _;

    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    // One after the other, as callers who know nothing of each other come.
    let (license, mut next) = (fill::license_key(caller), Instant::now() + pace.mul_f64(caller as f64 / CALLERS as f64));
    while Instant::now() < end {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        next += pace;
        let body = format!("license_key={license}&identifier={}", fill::identifier(NEXT_IDENTIFIER.fetch_add(1, Ordering::Relaxed)));
        let request = format!(
            "POST /api/v1/activate HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {API_KEY}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            if answers.read_line(&mut line)? == 0 {
                return Err("the server hung up".into());
            }
            if let Some(("content-length", value)) = line.split_once(": ") {
                length = value.trim().parse()?;
            }
        }
        std::io::copy(&mut (&mut answers).take(length), &mut std::io::sink())?;
    }
    Ok(())
}

/// Milliseconds from each event's time to when it was read.
fn consume(stream: TcpStream) -> Result<Vec<f64>> {
    use std::io::BufRead as _;

    let (clock, mut way) = (Clock::default(), Vec::new());
    for line in BufReader::new(stream).lines().map_while(std::result::Result::ok) {
        let Some((_, rest)) = line.strip_prefix("data: ").and_then(|event| event.split_once("\"time\":\"")) else { continue };
        let recorded = rest.split_once('"').and_then(|(time, _)| Timestamp::parse(time)).ok_or("an event without a time")?;
        way.push((clock.now().0 - recorded.0) as f64 / 1_000.0);
    }
    Ok(way)
}
