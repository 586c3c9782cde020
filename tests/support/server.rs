//! One `keyledger serve` process: started, watched, and killed with the test.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::client::{ApiKey, Client};
use super::keyring::KeyRing;
use super::ledger::{Place, random_hex};
use super::poll::{DEADLINE, eventually};
use super::ports::free_port;

const LISTENING: &str = "keyledger listening on ";

/// What a test gives `keyledger serve` beyond the place and the address.
#[derive(Default)]
pub struct ServeOptions {
    pub args: Vec<String>,
    pub environment: Vec<(String, String)>,
}

impl ServeOptions {
    pub fn args(args: &[&str]) -> ServeOptions {
        ServeOptions { args: args.iter().map(ToString::to_string).collect(), ..ServeOptions::default() }
    }

    pub fn environment(name: &str, value: &str) -> ServeOptions {
        ServeOptions { environment: vec![(name.to_string(), value.to_string())], ..ServeOptions::default() }
    }
}

/// A running server. Dropping it kills the process; a test that fails shows what the server wrote to its log, and a server
/// that panicked fails the test.
pub struct Server {
    pub url: String,
    child: Child,
    log: PathBuf,
    ring: Arc<KeyRing>,
    bootstrap_key: String,
}

impl Server {
    /// Starts `keyledger serve` on a free port and waits for its line that it listens.
    pub async fn start(place: &Place, options: ServeOptions, ring: Arc<KeyRing>, bootstrap_key: &str) -> Server {
        let log = place.data_dir.with_file_name(format!("serve-{}.log", random_hex(4)));
        let stderr = std::fs::File::create(&log).expect("the log file can be made");
        // Not one of the system's choice: it would choose it again for another test's server, once this one is killed and its
        // clients still call it.
        let mut command = place.command(&["serve", "--listen", &format!("127.0.0.1:{}", free_port())]).into_std();
        command.args(&options.args).envs(options.environment).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("the server can be started");
        let lines = lines_of(&mut child);
        let mut server = Server { url: String::new(), child, log, ring, bootstrap_key: bootstrap_key.to_string() };
        server.url = server.wait_for_address(&lines).await;
        server
    }

    async fn wait_for_address(&mut self, lines: &mpsc::Receiver<String>) -> String {
        let started = Instant::now();
        loop {
            match lines.try_recv() {
                Ok(line) => {
                    if let Some(url) = line.strip_prefix(LISTENING) {
                        return url.trim().to_string();
                    }
                }
                Err(mpsc::TryRecvError::Disconnected) => panic!("the server ended before it listened: {}", self.log_text()),
                Err(mpsc::TryRecvError::Empty) => {
                    assert!(started.elapsed() < DEADLINE, "the server does not listen: {}", self.log_text());
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            }
        }
    }

    /// A caller with the bootstrap key in the header.
    pub fn client(&self) -> Client {
        Client::new(&self.url, ApiKey::Header(self.bootstrap_key.clone()), self.ring.clone())
    }

    /// What the server has logged so far.
    pub fn log_text(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("the server can be signalled");
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill_9(mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().expect("the server can be waited for");
    }

    /// Waits until the process ends by itself.
    pub async fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let exited = std::cell::RefCell::new(child);
        eventually("the server ends", || async { exited.borrow_mut().try_wait().expect("the server can be waited for") }).await
    }

    /// SIGTERM, which must end the server with exit code 0.
    pub async fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait().await;
        assert_eq!(status.code(), Some(0), "the exit code after SIGTERM; log: {}", self.log_text());
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the server can be asked").is_none()
    }
}

/// The lines of the child's standard output, read to its end so that the child never blocks on a full pipe.
fn lines_of(child: &mut Child) -> mpsc::Receiver<String> {
    let stdout = child.stdout.take().expect("standard output is piped");
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log_text();
        if std::thread::panicking() {
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            eprintln!("--- the server's log ---\n{tail}\n--- end of the server's log ---");
        } else {
            assert!(!log.contains("panicked at"), "the server panicked: {log}");
        }
    }
}
