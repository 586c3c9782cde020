//! NATS servers of one test's own: real processes with JetStream on disk, alone or as a cluster, killed and started again.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use async_nats::jetstream::{self, Context, ErrorCode, context::GetStreamErrorKind, message::StreamMessage, stream::Stream};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::poll::eventually;
pub use super::ports::free_port;

/// One server. Dropping it kills the process and deletes what it stored.
pub struct NatsServer {
    pub name: String,
    pub port: u16,
    config: PathBuf,
    child: Mutex<Option<Child>>,
    home: TempDir,
}

impl NatsServer {
    /// A server alone.
    pub async fn start() -> NatsServer {
        NatsServer::start_with("").await
    }

    /// A server alone with more in its configuration.
    pub async fn start_with(more: &str) -> NatsServer {
        let server = NatsServer::new("alone", free_port(), more);
        server.restart();
        server.is_up().await;
        server
    }

    /// One that is not started yet.
    pub fn new(name: &str, port: u16, more: &str) -> NatsServer {
        let home = tempfile::Builder::new().prefix("keyledger-nats-").tempdir().expect("a temporary directory");
        let (config, store) = (home.path().join("nats.conf"), home.path().join("store"));
        let text = format!(
            "listen: 127.0.0.1:{port}\nserver_name: {name}\nlog_file: {:?}\njetstream {{ store_dir: {store:?}, max_memory_store: 64MB, \
             max_file_store: 2GB }}\n{more}\n",
            home.path().join("nats.log")
        );
        std::fs::write(&config, text).expect("the configuration can be written");
        NatsServer { name: name.to_owned(), port, config, child: Mutex::new(None), home }
    }

    /// Starts it, also after it was killed.
    pub fn restart(&self) {
        let mut command = Command::new(program());
        command.arg("--config").arg(&self.config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("nats-server can't be started: {error}"));
        *self.child.lock().expect("no panic under the lock") = Some(child);
    }

    /// Waits until it takes connections and JetStream answers.
    pub async fn is_up(&self) {
        eventually("the test's own NATS server answers", || async {
            let context = jetstream::new(async_nats::connect(self.url()).await.ok()?);
            // That it knows no such stream, JetStream itself says.
            let answer = context.get_stream("NONE").await.err()?.kind();
            matches!(answer, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND).then_some(())
        })
        .await;
    }

    /// Waits until it takes connections, whoever may come in.
    pub async fn listens(&self) {
        eventually("the test's own NATS server listens", || async { TcpStream::connect(("127.0.0.1", self.port)).await.ok() }).await;
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill_9(&self) {
        if let Some(mut child) = self.child.lock().expect("no panic under the lock").take() {
            child.kill().expect("the server can be killed");
            child.wait().expect("the server can be waited for");
        }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub async fn context(&self) -> Context {
        jetstream::new(async_nats::connect(self.url()).await.expect("the server takes connections"))
    }

    pub fn folder(&self) -> &Path {
        self.home.path()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.home.path().join("nats.log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(15).collect();
            eprintln!("--- the end of {}'s nats.log, newest first ---\n{}", self.name, tail.join("\n"));
        }
        self.kill_9();
    }
}

/// Three servers that are one cluster.
pub struct NatsCluster {
    pub nodes: Vec<NatsServer>,
}

impl NatsCluster {
    pub async fn start() -> NatsCluster {
        let ports: [u16; 6] = std::array::from_fn(|_| free_port());
        let (ports, between) = ports.split_at(3);
        let routes: Vec<String> = between.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let node = |(number, (port, cluster)): (usize, (&u16, &u16))| {
            let more = format!("cluster {{ name: test, listen: \"127.0.0.1:{cluster}\", routes: [{}] }}", routes.join(", "));
            NatsServer::new(&format!("node-{number}"), *port, &more)
        };
        let cluster = NatsCluster { nodes: ports.iter().zip(between).enumerate().map(node).collect() };
        cluster.nodes.iter().for_each(NatsServer::restart);
        for node in &cluster.nodes {
            node.is_up().await;
        }
        cluster
    }

    /// All nodes, as `--nats-url` takes them.
    pub fn url(&self) -> String {
        self.nodes.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    pub async fn context(&self) -> Context {
        let urls: Vec<String> = self.nodes.iter().map(NatsServer::url).collect();
        jetstream::new(async_nats::connect(urls).await.expect("a node takes connections"))
    }

    /// The node that leads a stream.
    pub async fn leader(&self, stream: &str) -> &NatsServer {
        let context = self.context().await;
        let name =
            eventually("the stream has a leader", || async { context.get_stream(stream).await.ok()?.cached_info().cluster.clone()?.leader }).await;
        self.nodes.iter().find(|node| node.name == name).expect("the leader is a node")
    }
}

/// What a stream holds, in order; its sequences must have no gaps.
pub async fn messages(context: &Context, name: &str) -> Vec<StreamMessage> {
    let stream = opened(context, name).await;
    let state = stream.cached_info().state.clone();
    let mut messages = Vec::new();
    for sequence in state.first_sequence.max(1)..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await;
        messages.push(message.unwrap_or_else(|error| panic!("message {sequence} of {name}: {error}")));
    }
    messages
}

pub async fn opened(context: &Context, name: &str) -> Stream {
    eventually("the stream is there", || async { context.get_stream(name).await.ok() }).await
}

fn program() -> PathBuf {
    let debian = PathBuf::from("/usr/sbin/nats-server");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("nats-server")).chain([debian]).find(|program| program.is_file());
    found.expect("nats-server is not installed: run scripts/test, or apt-get install nats-server")
}
