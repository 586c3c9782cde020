//! A web hook's receiver on this machine: it answers as it is told and keeps what it was sent.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::poll::eventually;

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    pub at: Instant,
}

/// What a request is answered; `None` is nothing, for ever.
type Rule = Box<dyn Fn(&Received) -> Option<u16> + Send + Sync>;

#[derive(Default)]
struct State {
    /// Goes before the statuses.
    rule: Option<Rule>,
    received: Vec<Received>,
    /// Answers to the next requests; afterwards 200.
    statuses: Vec<u16>,
    /// Connections that were made, whether anything was sent or not.
    connections: usize,
}

/// Listens until it is dropped.
pub struct Receiver {
    pub port: u16,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// Listens on a free port of an address.
    pub async fn on(address: &str) -> Receiver {
        let listener = TcpListener::bind(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().expect("no panic under the lock").connections += 1;
                tokio::spawn(answer(stream, Arc::clone(&shared)));
            }
        });
        Receiver { port, state, task }
    }

    pub async fn start() -> Receiver {
        Receiver::on("127.0.0.1:0").await
    }

    /// What the next requests are answered.
    pub fn answer_with(&self, statuses: &[u16]) {
        self.state.lock().expect("no panic under the lock").statuses = statuses.iter().rev().copied().collect();
    }

    /// What every request is answered from here on.
    pub fn answer_by(&self, rule: impl Fn(&Received) -> Option<u16> + Send + Sync + 'static) {
        self.state.lock().expect("no panic under the lock").rule = Some(Box::new(rule));
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn received(&self) -> Vec<Received> {
        self.state.lock().expect("no panic under the lock").received.clone()
    }

    pub fn connections(&self) -> usize {
        self.state.lock().expect("no panic under the lock").connections
    }

    /// Waits until so many requests have come.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually("the receiver is called", || async { Some(self.received()).filter(|received| received.len() >= count) }).await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let Some(received) = read(&mut stream).await else { return };
    let status = {
        let mut state = state.lock().expect("no panic under the lock");
        let status = match &state.rule {
            Some(rule) => rule(&received),
            None => Some(state.statuses.pop().unwrap_or(200)),
        };
        state.received.push(received);
        status
    };
    let Some(status) = status else { return std::future::pending().await };
    // Whoever follows it comes back to the same host under another path.
    let location = if (300..400).contains(&status) { "location: /redirected\r\n" } else { "" };
    let answer = format!("HTTP/1.1 {status} Answer\r\n{location}content-length: 0\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(answer.as_bytes()).await;
}

async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.lines();
    let line = lines.next()?.to_string();
    let headers: BTreeMap<String, String> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_ascii_lowercase(), value.to_string())).collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
    while bytes.len() < head_end + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(bytes[head_end + 4..head_end + 4 + length].to_vec()).expect("a body of text");
    Some(Received { line, headers, body, at: Instant::now() })
}
