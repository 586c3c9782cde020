//! A real server on a fresh PostgreSQL database, and a caller of it.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Names the program under test; unless it is set, the workspace's build of the tests is taken.
const PROGRAM_VARIABLE: &str = "KEYLEDGER_BIN";
const LISTENING: &str = "keyledger listening on ";
const BOOTSTRAP_KEY: &str = "bootstrap-of-the-compatibility-test";

/// Key and value of each parameter.
pub type Fields<'a> = &'a [(&'a str, &'a str)];

/// `keyledger serve`, killed when dropped.
pub struct Server {
    url: String,
    child: Child,
    http: reqwest::Client,
    directory: TempDir,
    database_url: String,
}

fn program() -> PathBuf {
    let path =
        std::env::var_os(PROGRAM_VARIABLE).map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/keyledger"), PathBuf::from);
    assert!(path.exists(), "{} is not there: build the workspace first, or set {PROGRAM_VARIABLE}", path.display());
    path
}

impl Server {
    pub fn start(database_url: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let master_key = directory.path().join("master.key");
        std::fs::write(&master_key, "5e".repeat(32)).expect("the master key file can be written");
        std::fs::set_permissions(&master_key, Permissions::from_mode(0o600)).expect("the master key file can be closed to others");
        let mut child = command(directory.path(), database_url)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env("KEYLEDGER_BOOTSTRAP_API_KEY", BOOTSTRAP_KEY)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server can be started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("standard output is piped")).read_line(&mut line).expect("the server's first line");
        let url = line.strip_prefix(LISTENING).unwrap_or_else(|| panic!("the server does not listen; it said {line:?}")).trim().to_owned();
        let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        Self { url, child, http, directory, database_url: database_url.to_owned() }
    }

    /// A form POST to a route of interface A; its `response` object, which must have this code.
    pub async fn form(&self, route: &str, fields: Fields<'_>, code: i64) -> Value {
        let request = self.http.post(format!("{}/api/v1/{route}", self.url)).bearer_auth(BOOTSTRAP_KEY).form(fields);
        let text = request.send().await.expect("the server answers").text().await.expect("the whole answer");
        let mut answer: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{route}: {error}: {text}"));
        let response = answer["response"].take();
        // One operation answers with its code as text.
        let answered = response["code"].as_i64().or_else(|| response["code"].as_str()?.parse().ok());
        assert_eq!(answered, Some(code), "{route}: {response}");
        response
    }

    /// `keyledger ARGS` beside the running server.
    pub fn run(&self, args: &[&str]) {
        let output = command(self.directory.path(), &self.database_url).args(args).output().expect("the program can be run");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn command(directory: &Path, database_url: &str) -> Command {
    let mut command = Command::new(program());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KEYLEDGER_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(directory)
        .stdin(Stdio::null())
        .env("KEYLEDGER_DATA_DIR", directory.join("data"))
        .env("KEYLEDGER_DATABASE_URL", database_url)
        .env("KEYLEDGER_MASTER_KEY_FILE", directory.join("master.key"))
        // No event that the test didn't ask for, however long it takes and whenever a minute ends.
        .env("KEYLEDGER_CHECKPOINT_INTERVAL", "86400")
        .env("KEYLEDGER_COUNT_INTERVAL", "0");
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        let stopped = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = stopped {
            let _ = writeln!(std::io::stderr(), "the server could not be stopped: {error}");
        }
    }
}
