//! Where one ledger lives, and the program's command line at that place.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::process::Command;

use super::client::Client;
use super::keyring::KeyRing;
use super::poll::{DEADLINE, eventually};
use super::postgres::TestDatabase;
use super::raw;
use super::server::{ServeOptions, Server};

/// The program under test.
pub const KEYLEDGER: &str = env!("CARGO_BIN_EXE_keyledger");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// What the program must be told to find a ledger.
#[derive(Clone, Debug)]
pub struct Place {
    pub backend: Backend,
    pub data_dir: PathBuf,
    pub database_url: Option<String>,
    pub master_key_file: Option<PathBuf>,
    /// What else is in the environment of every command.
    pub environment: Vec<(String, String)>,
}

/// What one command printed, and how it ended.
#[derive(Debug)]
pub struct CliOutput {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl CliOutput {
    /// The standard output of a command that must have succeeded.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(self.code, 0, "exit code; stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }

    /// Everything printed by a command that must have ended with this exit code, without a panic.
    #[track_caller]
    pub fn failure(self, code: i32) -> String {
        assert_eq!(self.code, code, "exit code; stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "a panic instead of a message: {}", self.stderr);
        assert!(!self.stderr.trim().is_empty(), "failed without a word");
        format!("{}\n{}", self.stdout, self.stderr)
    }
}

impl Place {
    /// `keyledger ARGS` at this place, with no other configuration from the environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = bare_command(args, self.data_dir.parent().expect("the data directory has a parent"));
        command.env("KEYLEDGER_DATA_DIR", &self.data_dir);
        // Checkpoints are events too: most tests count only those that they cause.
        command.env("KEYLEDGER_CHECKPOINT_INTERVAL", "86400");
        // So are counts of verifications.
        command.env("KEYLEDGER_COUNT_INTERVAL", "0");
        if let Some(url) = &self.database_url {
            command.env("KEYLEDGER_DATABASE_URL", url);
        }
        if let Some(file) = &self.master_key_file {
            command.env("KEYLEDGER_MASTER_KEY_FILE", file);
        }
        command.envs(self.environment.iter().cloned());
        command
    }

    /// Runs `keyledger ARGS` to its end.
    pub async fn run(&self, args: &[&str]) -> CliOutput {
        finish(self.command(args)).await
    }

    /// The same ledger seen from another node: another data directory, the same database and master key.
    pub fn another_node(&self, name: &str) -> Place {
        Place { data_dir: self.data_dir.with_file_name(name), ..self.clone() }
    }

    /// The same ledger reached under another database address.
    pub fn through(&self, database_url: &str) -> Place {
        Place { database_url: Some(database_url.to_string()), ..self.clone() }
    }

    /// A generator made on the command line; returns its number.
    pub async fn new_generator(&self, product: i64, args: &[&str]) -> i64 {
        let product = product.to_string();
        let made = self.run(&[&["generator", "create", "--product", &product][..], args].concat()).await.success();
        made.trim().parse().expect("the new generator's number")
    }

    pub fn sqlite_file(&self) -> PathBuf {
        self.data_dir.join("ledger.db")
    }
}

/// `keyledger ARGS` in that directory, with nothing configured.
pub fn bare_command(args: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(KEYLEDGER);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KEYLEDGER_") {
            command.env_remove(name);
        }
    }
    command.args(args).current_dir(directory).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a command to its end, however it ends, but not for ever.
pub async fn finish(mut command: Command) -> CliOutput {
    let output = tokio::time::timeout(DEADLINE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("hangs: {command:?}")).expect("the program can be run");
    CliOutput {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A ledger of one test: its files and its database, removed at the end.
pub struct Ledger {
    pub place: Place,
    pub bootstrap_key: String,
    ring: Arc<KeyRing>,
    /// Before the directory and the database go, in that order.
    database: Option<TestDatabase>,
    directory: TempDir,
}

impl Ledger {
    /// An empty place: no server has started here yet.
    pub async fn new(backend: Backend) -> Ledger {
        let database = match backend {
            Backend::Sqlite => None,
            Backend::Postgres => Some(TestDatabase::create().await),
        };
        let url = database.as_ref().map(|database| database.url.clone());
        Ledger::at(backend, url, database)
    }

    /// A ledger in a PostgreSQL database that somebody else owns.
    pub fn on_postgres(url: &str) -> Ledger {
        Ledger::at(Backend::Postgres, Some(url.to_string()), None)
    }

    fn at(backend: Backend, database_url: Option<String>, database: Option<TestDatabase>) -> Ledger {
        let directory = tempfile::Builder::new().prefix("keyledger-test-").tempdir().expect("a temporary directory");
        let master_key_file = (backend == Backend::Postgres).then(|| directory.path().join("test-master.key"));
        if let Some(file) = &master_key_file {
            std::fs::write(file, random_hex(32)).expect("the master key file can be written");
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("its mode can be set");
        }
        let place = Place { backend, data_dir: directory.path().join("data"), database_url, master_key_file, environment: Vec::new() };
        let ring = Arc::new(KeyRing::new(place.clone()));
        let bootstrap_key = format!("bootstrap-{}", random_hex(8));
        Ledger { place, bootstrap_key, ring, database, directory }
    }

    /// The same with more in the environment of every command, the server's too.
    pub fn with_environment(mut self, environment: Vec<(String, String)>) -> Ledger {
        self.place.environment = environment;
        self
    }

    /// The directory that holds everything of this test; deleted at its end.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the server with this ledger's bootstrap key and waits until it listens.
    pub async fn serve(&self) -> Server {
        self.serve_with(ServeOptions::default()).await
    }

    /// Starts the server with further arguments or environment.
    pub async fn serve_with(&self, options: ServeOptions) -> Server {
        self.serve_at(&self.place, options).await
    }

    /// Starts the server as another node of this ledger, or through another database address.
    pub async fn serve_at(&self, place: &Place, options: ServeOptions) -> Server {
        let mut environment = options.environment;
        if !environment.iter().any(|(name, _)| name == "KEYLEDGER_BOOTSTRAP_API_KEY") {
            environment.push(("KEYLEDGER_BOOTSTRAP_API_KEY".to_string(), self.bootstrap_key.clone()));
        }
        let options = ServeOptions { environment, ..options };
        Server::start(place, options, self.ring.clone(), &self.bootstrap_key).await
    }

    /// `keyledger ARGS` at this ledger.
    pub async fn run(&self, args: &[&str]) -> CliOutput {
        self.place.run(args).await
    }

    /// Makes an API key on the command line, `api-key create ARGS…`, and returns it.
    pub async fn create_api_key(&self, args: &[&str]) -> String {
        self.create_named_api_key("made by a test", args).await
    }

    /// Makes an API key of that name on the command line and returns it.
    pub async fn create_named_api_key(&self, name: &str, args: &[&str]) -> String {
        let args = [&["api-key", "create", "--name", name][..], args].concat();
        self.run(&args).await.success().trim_end_matches('\n').to_string()
    }

    /// A generator made on the command line; returns its number.
    pub async fn new_generator(&self, product: i64, args: &[&str]) -> i64 {
        self.place.new_generator(product, args).await
    }

    /// The number of the API key of that name, as `api-key list` shows it at the start of its line.
    pub async fn api_key_number(&self, name: &str) -> String {
        let list = self.run(&["api-key", "list"]).await.success();
        let line = list.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name} is not in:\n{list}"));
        let number = line.split_whitespace().find(|word| word.chars().all(|character| character.is_ascii_digit()));
        number.unwrap_or_else(|| panic!("no number in {line}")).to_string()
    }

    /// Promises that `keyledger verify` finds the whole ledger in order, and that no position is missing.
    pub async fn expect_intact(&self) {
        self.run(&["verify"]).await.success();
        let rows = raw::rows(&self.place, "select count(*), min(position), max(position) from events").await;
        let row = rows.expect("the events can be counted").remove(0);
        let number = |index: usize| row[index].as_deref().unwrap_or("-1").parse::<i64>().expect("a number");
        assert!(number(0) == 0 || (number(1) == 0 && number(2) == number(0) - 1), "positions are not gapless: {row:?}");
    }

    /// How many events the log has.
    pub async fn event_count(&self) -> i64 {
        raw::number(&self.place, "select count(*) from events").await
    }
}

/// A ledger with one server running on it and a caller who may do everything.
pub struct Running {
    pub api: Client,
    pub server: Server,
    pub ledger: Ledger,
}

impl Running {
    pub async fn start(backend: Backend) -> Running {
        Running::start_with(backend, ServeOptions::default()).await
    }

    pub async fn start_with(backend: Backend, options: ServeOptions) -> Running {
        let ledger = Ledger::new(backend).await;
        let server = ledger.serve_with(options).await;
        Running { api: server.client(), server, ledger }
    }

    /// A generator made on the command line, `generator create --product … ARGS…`; returns its number.
    pub async fn new_generator(&self, product: i64, args: &[&str]) -> i64 {
        self.ledger.new_generator(product, args).await
    }

    /// A caller with a new API key made on the command line; returns when the server has learned of the key.
    pub async fn caller(&self, args: &[&str]) -> Client {
        let key = self.ledger.create_api_key(args).await;
        let client = self.api.with_key(super::ApiKey::Header(key));
        eventually("the server knows an API key made on the command line", || async {
            (client.form("verify", Vec::new()).await.code() != 100).then_some(())
        })
        .await;
        client
    }
}

/// `bytes` random bytes in hexadecimal.
pub fn random_hex(bytes: usize) -> String {
    (0..bytes).map(|_| format!("{:02x}", rand::random::<u8>())).collect()
}
