//! A proxy before PostgreSQL that cuts one connection at its COMMIT.
//!
//! It understands as much of the wire protocol as it takes to find COMMIT: in a simple query, or as a prepared statement
//! that is bound; and PostgreSQL's answer that the commit is done.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Where the connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// PostgreSQL never hears of the COMMIT.
    BeforeCommit,
    /// PostgreSQL has committed; its answer is dropped.
    AfterCommit,
    /// The client sees a broken connection at once; the COMMIT that it sent reaches PostgreSQL only later.
    CommitDelayed(Duration),
}

/// A running proxy; cuts nothing until armed.
pub struct CommitProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    armed: Mutex<Option<Cut>>,
    cuts: AtomicUsize,
}

impl CommitProxy {
    /// Starts a proxy before the server of this URL.
    pub async fn before(url: &str) -> CommitProxy {
        let upstream = url.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("a URL with a host").to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared { upstream, armed: Mutex::new(None), cuts: AtomicUsize::new(0) });
        let accepting = shared.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, accepting.clone()));
            }
        });
        CommitProxy { address, shared }
    }

    /// The same database address through this proxy.
    pub fn url(&self, direct: &str) -> String {
        let direct = direct.replace(&self.shared.upstream, &self.address.to_string());
        format!("{direct}?sslmode=disable")
    }

    /// The next COMMIT is cut.
    pub fn arm(&self, cut: Cut) {
        *self.shared.armed.lock().expect("no panic under the lock") = Some(cut);
    }

    /// Whether the COMMIT that was armed has not come yet; nothing is cut any more.
    pub fn disarm(&self) -> bool {
        self.shared.armed.lock().expect("no panic under the lock").take().is_some()
    }

    /// How many connections have been cut.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// Takes the armed cut if `wanted` says that it is due now.
    fn take(&self, wanted: impl Fn(Cut) -> bool) -> Option<Cut> {
        let mut armed = self.armed.lock().expect("no panic under the lock");
        let cut = armed.filter(|cut| wanted(*cut))?;
        *armed = None;
        self.cuts.fetch_add(1, Ordering::SeqCst);
        Some(cut)
    }
}

async fn relay(client: TcpStream, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(&shared.upstream).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_reader, client_writer) = client.into_split();
    let (server_reader, server_writer) = server.into_split();
    let ended = Arc::new(Notify::new());
    let back = tokio::spawn(answers(server_reader, client_writer, shared.clone(), ended.clone()));
    requests(client_reader, server_writer, &shared, back, &ended).await;
}

/// Passes on what PostgreSQL answers, up to the answer that a cut drops.
async fn answers(mut server: OwnedReadHalf, mut client: OwnedWriteHalf, shared: Arc<Shared>, ended: Arc<Notify>) {
    let mut messages = Messages::typed();
    while let Some(message) = messages.next(&mut server).await {
        let committed = message[0] == b'C' && message[5..].starts_with(b"COMMIT\0");
        if committed && shared.take(|cut| cut == Cut::AfterCommit).is_some() {
            break;
        }
        if client.write_all(&message).await.is_err() {
            break;
        }
    }
    ended.notify_one();
}

/// Passes on what the client asks, up to the COMMIT that a cut stops. Ends both directions when it ends.
async fn requests(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, shared: &Shared, back: tokio::task::JoinHandle<()>, ended: &Notify) {
    let mut messages = Messages::starting();
    let mut commits = CommitFinder::default();
    loop {
        let message = tokio::select! {
            message = messages.next(&mut client) => message,
            () = ended.notified() => None,
        };
        let Some(message) = message else { break };
        if commits.is_commit(&message) {
            match shared.take(|cut| cut != Cut::AfterCommit) {
                None | Some(Cut::AfterCommit) => {}
                Some(Cut::BeforeCommit) => break,
                Some(Cut::CommitDelayed(delay)) => {
                    // Stops the answers, and with them the client's connection; then lets the rest through.
                    let rest = messages.what_follows(&mut client).await;
                    back.abort();
                    drop(client);
                    tokio::time::sleep(delay).await;
                    let _ = server.write_all(&[message, rest].concat()).await;
                    // Left open long enough for PostgreSQL to read it: what is in flight when it closes counts all the same.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    return;
                }
            }
        }
        if server.write_all(&message).await.is_err() {
            break;
        }
    }
    back.abort();
}

/// Splits a stream into the protocol's messages.
struct Messages {
    buffer: Vec<u8>,
    starting: bool,
}

impl Messages {
    /// What the client sends: its first message has no type byte.
    fn starting() -> Messages {
        Messages { buffer: Vec::new(), starting: true }
    }

    fn typed() -> Messages {
        Messages { buffer: Vec::new(), starting: false }
    }

    /// The next whole message; none when the stream ends. Keeps what it has read when the future is dropped.
    async fn next(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
        loop {
            if let Some(length) = self.message_length() {
                self.starting = false;
                return Some(self.buffer.drain(..length).collect());
            }
            if stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Everything that the stream has ready, or holds ready within a moment.
    async fn what_follows(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
        let moment = Duration::from_millis(30);
        while let Ok(Ok(1..)) = tokio::time::timeout(moment, stream.read_buf(&mut self.buffer)).await {}
        std::mem::take(&mut self.buffer)
    }

    fn message_length(&self) -> Option<usize> {
        let type_byte = usize::from(!self.starting);
        let length = self.buffer.get(type_byte..type_byte + 4)?;
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize + type_byte;
        (self.buffer.len() >= length).then_some(length)
    }
}

/// Knows which of a connection's messages commit.
#[derive(Default)]
struct CommitFinder {
    /// Prepared statements that are a COMMIT.
    statements: BTreeSet<Vec<u8>>,
}

impl CommitFinder {
    fn is_commit(&mut self, message: &[u8]) -> bool {
        let mut texts = message.get(5..).unwrap_or_default().split(|byte| *byte == 0);
        match message[0] {
            b'Q' => texts.next().is_some_and(ends_with_commit),
            b'P' => {
                let (name, sql) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
                if ends_with_commit(sql) {
                    self.statements.insert(name.to_vec());
                } else {
                    self.statements.remove(name);
                }
                false
            }
            // A portal's name, then the statement's.
            b'B' => texts.nth(1).is_some_and(|name| self.statements.contains(name)),
            _ => false,
        }
    }
}

fn ends_with_commit(sql: &[u8]) -> bool {
    let sql = String::from_utf8_lossy(sql).to_uppercase();
    sql.trim_end_matches([';', ' ', '\n']).ends_with("COMMIT")
}
