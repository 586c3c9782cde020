//! A PostgreSQL cluster of one test's own, for tests that kill PostgreSQL.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::poll::eventually;
use super::ports::free_port;
use super::postgres;

/// A durable cluster on a port of its own; stopped and deleted when dropped.
pub struct Cluster {
    home: PathBuf,
    port: u16,
    options: Vec<String>,
}

impl Cluster {
    /// Makes a cluster and starts it.
    pub async fn start() -> Cluster {
        Cluster::start_with(&["-c", "fsync=on", "-c", "synchronous_commit=on"]).await
    }

    /// Makes a cluster whose server gets these options.
    pub async fn start_with(options: &[&str]) -> Cluster {
        let parent = std::env::var("KEYLEDGER_TEST_POSTGRES_DIR").unwrap_or_else(|_| "/tmp".to_string());
        // Made by the user that postgres will run as, so that it owns it.
        let made = as_cluster_user("mktemp", &["-d", &format!("{parent}/cluster.XXXXXX")]).output().expect("mktemp runs");
        assert!(made.status.success(), "mktemp: {}", String::from_utf8_lossy(&made.stderr));
        let home = PathBuf::from(String::from_utf8_lossy(&made.stdout).trim());
        let cluster = Cluster { home, port: free_port(), options: options.iter().map(ToString::to_string).collect() };
        let data = cluster.data();
        let initdb = ["--pgdata", &data, "--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--no-sync"];
        let output = as_cluster_user(&program("initdb"), &initdb).output().expect("initdb runs");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        cluster.restart().await;
        cluster
    }

    /// The address of the cluster's database `postgres`.
    pub fn url(&self) -> String {
        self.url_of("postgres", "postgres")
    }

    /// The address of some database for some role.
    pub fn url_of(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port)
    }

    /// Starts postgres, also after it was killed, and waits until it takes connections.
    pub async fn restart(&self) {
        let url = self.url();
        eventually("the test's own PostgreSQL takes connections", || async {
            if postgres::connect(&url).await.is_ok() {
                return Some(());
            }
            // Fails while processes of a killed postmaster still hold its shared memory; so it is tried again.
            let options = format!(
                "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c max_connections=100 {}",
                self.port,
                self.home.display(),
                self.options.join(" ")
            );
            let log = self.home.join("postgres.log");
            self.pg_ctl(&["-l", &log.to_string_lossy(), "-o", &options, "-w", "start"]);
            None
        })
        .await;
    }

    /// Stops postgres as a crash would: no checkpoint, connections cut, running transactions lost.
    pub fn stop_immediately(&self) {
        self.pg_ctl(&["-m", "immediate", "-w", "stop"]);
    }

    /// `kill -9` of the postmaster.
    pub fn kill_9(&self) {
        let pid_file = Path::new(&self.data()).join("postmaster.pid");
        let text = std::fs::read_to_string(pid_file).expect("a running cluster has a pid file");
        let pid = text.lines().next().and_then(|line| line.trim().parse().ok()).expect("the pid file starts with the pid");
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("postgres can be killed");
    }

    fn data(&self) -> String {
        self.home.join("data").to_string_lossy().into_owned()
    }

    fn pg_ctl(&self, args: &[&str]) {
        let data = self.data();
        let args = [&["-D", data.as_str()][..], args].concat();
        let mut command = as_cluster_user(&program("pg_ctl"), &args);
        let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.home.join("postgres.log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("--- the end of postgres.log, newest first ---\n{}", tail.join("\n"));
        }
        self.stop_immediately();
        let _ = as_cluster_user("rm", &["-rf", &self.home.to_string_lossy()]).status();
    }
}

/// A command run by the user that owns the clusters: initdb and postgres refuse to run as root.
fn as_cluster_user(program: &str, args: &[&str]) -> Command {
    let mut command = if runs_as_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", program]);
        command
    } else {
        Command::new(program)
    };
    command.args(args).current_dir("/");
    command
}

fn runs_as_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").expect("a process can see itself").uid() == 0
}

fn program(name: &str) -> String {
    let folder = std::env::var("KEYLEDGER_TEST_POSTGRES_BIN").unwrap_or_else(|_| newest_installed());
    format!("{folder}/{name}")
}

fn newest_installed() -> String {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok()).max();
    let newest = newest.expect("PostgreSQL is not installed: run scripts/test, or apt-get install postgresql");
    format!("/usr/lib/postgresql/{newest}/bin")
}
