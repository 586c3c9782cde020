//! The load generator: keep-alive connections with one request on its way on each, all on one thread, so that it takes
//! little of the cores it shares with the server. The same for every server measured.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Result, fill};

/// How a signed answer to a valid license begins.
pub const VALID: &[u8] = b"{\"response\":{\"code\":200,";

/// Verifications of distinct licenses by form.
#[derive(Clone, Copy)]
pub struct Load {
    pub server: SocketAddr,
    pub connections: usize,
    /// How many licenses the ledger has.
    pub licenses: u64,
}

#[derive(Clone, Copy)]
pub enum Length {
    Time(Duration),
    Requests(u64),
}

/// What one round came to.
pub struct Round {
    pub answers: u64,
    pub seconds: f64,
    /// Of each answer, in milliseconds.
    pub waits: Vec<f64>,
    /// Of the last answer.
    pub body_bytes: usize,
}

impl Round {
    pub fn per_second(&self) -> f64 {
        self.answers as f64 / self.seconds
    }
}

impl Load {
    /// Runs one round, beginning with the license of turn `from`.
    pub fn run(self, from: u64, length: Length) -> Result<Round> {
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            tokio::task::LocalSet::new().block_on(&runtime, self.round(from, length))
        });
        thread.join().map_err(|_| "the load generator panicked")?
    }

    async fn round(self, from: u64, length: Length) -> Result<Round> {
        let mut connections = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            let connection = TcpStream::connect(self.server).await?;
            connection.set_nodelay(true)?;
            connections.push(connection);
        }
        let turn = Rc::new(Cell::new(0));
        let started = Instant::now();
        let clients: Vec<_> = connections
            .into_iter()
            .map(|connection| tokio::task::spawn_local(self.client(connection, from, Rc::clone(&turn), length, started)))
            .collect();
        let mut round = Round { answers: 0, seconds: 0.0, waits: Vec::new(), body_bytes: 0 };
        for client in clients {
            let (waits, body_bytes) = client.await??;
            round.answers += waits.len() as u64;
            round.body_bytes = round.body_bytes.max(body_bytes);
            round.waits.extend(waits);
        }
        round.seconds = started.elapsed().as_secs_f64();
        Ok(round)
    }

    async fn client(self, mut connection: TcpStream, from: u64, turn: Rc<Cell<u64>>, length: Length, started: Instant) -> Result<(Vec<f64>, usize)> {
        let mut waits = Vec::new();
        let mut request = Vec::with_capacity(512);
        let mut buffer = vec![0; 16_384];
        let mut body_bytes = 0;
        loop {
            let number = turn.replace(turn.get() + 1);
            let over = match length {
                Length::Time(time) => started.elapsed() >= time,
                Length::Requests(count) => number >= count,
            };
            if over {
                return Ok((waits, body_bytes));
            }
            write_request(&mut request, fill::scattered(from + number, self.licenses));
            let asked = Instant::now();
            connection.write_all(&request).await?;
            body_bytes = read_answer(&mut connection, &mut buffer).await?;
            waits.push(asked.elapsed().as_secs_f64() * 1_000.0);
        }
    }
}

fn write_request(request: &mut Vec<u8>, license: u64) {
    let body = format!("license_key={}&identifier={}", fill::license_key(license), fill::identifier(license));
    let head = format!(
        "POST /api/v1/verify HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {}\r\n\r\n",
        fill::API_KEY,
        body.len()
    );
    request.clear();
    request.extend_from_slice(head.as_bytes());
    request.extend_from_slice(body.as_bytes());
}

/// Reads one answer, which must be of a valid license; how long its body is.
async fn read_answer(connection: &mut TcpStream, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    loop {
        let read = connection.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err(format!("the server hung up: {}", String::from_utf8_lossy(&buffer[..filled])).into());
        }
        filled += read;
        let Some((head, body)) = split(&buffer[..filled]) else { continue };
        let length = content_length(head).ok_or("an answer without content-length")?;
        if body.len() < length {
            continue;
        }
        if !body.starts_with(VALID) {
            return Err(format!("not a valid license: {}", String::from_utf8_lossy(&buffer[..filled])).into());
        }
        return Ok(length);
    }
}

fn split(answer: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((&answer[..end], &answer[end + 4..]))
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let line = head.split(|byte| *byte == b'\n').find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))?;
    std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok()
}
