//! Where a ledger lives during a benchmark: a folder, and on PostgreSQL a database of its own.
//!
//! Both go when the benchmark ends. With `KEYLEDGER_BENCH_KEEP` set to a folder, filled ledgers are kept there (and in
//! their databases), and taken again by the next run that wants the same.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keyledger::{
    cli::StoreArgs,
    clock::new_id,
    ledger::{Ledger, Options},
};
use tempfile::TempDir;
use tokio_postgres::NoTls;

use super::Result;

/// The program that is measured, as `cargo bench` built it.
const PROGRAM: &str = env!("CARGO_BIN_EXE_keyledger");
const SERVER_VARIABLE: &str = "KEYLEDGER_TEST_POSTGRES_URL";
const KEEP_VARIABLE: &str = "KEYLEDGER_BENCH_KEEP";
/// Beside a kept ledger, once it is filled.
const FILLED: &str = "filled";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    /// SQLite, and PostgreSQL where a server is given.
    pub fn available() -> Vec<Self> {
        if std::env::var_os(SERVER_VARIABLE).is_some() {
            vec![Self::Sqlite, Self::Postgres]
        } else {
            super::note(&format!("{SERVER_VARIABLE} is not set: SQLite alone (scripts/with-postgres CMD… sets it)"));
            vec![Self::Sqlite]
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// What is needed to find a ledger: also by a child process.
#[derive(Clone, Debug)]
pub struct Address {
    pub data_dir: PathBuf,
    pub database_url: Option<String>,
}

impl Address {
    /// Opens the ledger in this process; makes it where there is none.
    pub async fn open(&self) -> Result<Ledger> {
        let arguments = StoreArgs {
            data_dir: self.data_dir.clone(),
            database_url: self.database_url.clone(),
            master_key_file: Some(self.master_key_file().display().to_string()),
            database_ca_file: None,
        };
        arguments.open_or_create(Options::default(), None).await
    }

    fn master_key_file(&self) -> PathBuf {
        self.data_dir.join("master.key")
    }

    /// `keyledger ARGS` for this ledger, with nothing else from the environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("KEYLEDGER_") {
                command.env_remove(name);
            }
        }
        command.args(args).stdin(Stdio::null());
        command.env("KEYLEDGER_DATA_DIR", &self.data_dir).env("KEYLEDGER_MASTER_KEY_FILE", self.master_key_file());
        if let Some(url) = &self.database_url {
            command.env("KEYLEDGER_DATABASE_URL", url);
        }
        command.env("KEYLEDGER_LOG", "warn");
        command
    }
}

/// A ledger's place; what is not kept goes when this is dropped.
pub struct Place {
    pub backend: Backend,
    pub address: Address,
    /// In the place's folder, where it is kept.
    marker: Option<PathBuf>,
    database: Option<String>,
    _folder: Option<TempDir>,
}

impl Place {
    /// An empty place that goes at the end.
    pub async fn fresh(backend: Backend) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("keyledger-bench-").tempdir()?;
        let data_dir = folder.path().join("data");
        let name = format!("keyledger_bench_{}", new_id().simple());
        Self::make(backend, data_dir, &name, None, Some(folder)).await
    }

    /// A place under a name, kept between runs where that is wanted.
    pub async fn named(backend: Backend, name: &str) -> Result<Self> {
        let Some(kept) = std::env::var_os(KEEP_VARIABLE) else { return Self::fresh(backend).await };
        let name = format!("{name}_{}", backend.name().to_lowercase());
        let folder = PathBuf::from(kept).join(&name);
        let (data_dir, marker, database) = (folder.join("data"), folder.join(FILLED), format!("keyledger_bench_{name}"));
        if marker.exists() && (backend == Backend::Sqlite || exists(&database).await?) {
            let database_url = (backend == Backend::Postgres).then(|| database_url(&database)).transpose()?;
            let address = Address { data_dir, database_url };
            return Ok(Self { backend, address, marker: Some(marker), database: None, _folder: None });
        }
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        Self::make(backend, data_dir, &database, Some(marker), None).await
    }

    async fn make(backend: Backend, data_dir: PathBuf, database: &str, marker: Option<PathBuf>, folder: Option<TempDir>) -> Result<Self> {
        std::fs::create_dir_all(&data_dir)?;
        write_master_key(&data_dir)?;
        let database_url = match backend {
            Backend::Sqlite => None,
            Backend::Postgres => {
                execute(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await?;
                // From template0: template1 can't be copied while anybody is connected to it.
                execute(&format!("CREATE DATABASE {database} TEMPLATE template0")).await?;
                Some(database_url(database)?)
            }
        };
        let database = (database_url.is_some() && marker.is_none()).then(|| database.to_owned());
        Ok(Self { backend, address: Address { data_dir, database_url }, marker, database, _folder: folder })
    }

    /// Whether an earlier run has filled it.
    pub fn is_filled(&self) -> bool {
        self.marker.as_ref().is_some_and(|marker| marker.exists())
    }

    /// Notes that it is filled, for later runs.
    pub fn set_filled(&self) -> Result<()> {
        if let Some(marker) = &self.marker {
            std::fs::write(marker, "")?;
        }
        Ok(())
    }

    /// Lets PostgreSQL gather its statistics, as it does by itself after a while.
    pub async fn analyze(&self) -> Result<()> {
        if let Some(url) = &self.address.database_url {
            run(url, "VACUUM ANALYZE").await?;
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(database) = self.database.take() else { return };
        // A thread of its own, since the runtime can't be waited for from here.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(execute(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")))
        });
        if !matches!(dropped.join(), Ok(Ok(()))) {
            super::note("a benchmark's database could not be dropped");
        }
    }
}

fn write_master_key(data_dir: &Path) -> Result<()> {
    let key: [u8; 32] = keyledger::vault::random()?;
    std::fs::write(data_dir.join("master.key"), hex::encode(key))?;
    let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    Ok(std::fs::set_permissions(data_dir.join("master.key"), only_owner)?)
}

fn server_url() -> Result<String> {
    std::env::var(SERVER_VARIABLE).map_err(|_| format!("{SERVER_VARIABLE} is not set").into())
}

fn database_url(database: &str) -> Result<String> {
    let server = server_url()?;
    let (base, _) = server.rsplit_once('/').ok_or("the server's URL ends with a database")?;
    Ok(format!("{base}/{database}"))
}

async fn execute(sql: &str) -> Result<()> {
    run(&server_url()?, sql).await
}

async fn run(url: &str, sql: &str) -> Result<()> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(sql).await?;
    Ok(())
}

async fn exists(database: &str) -> Result<bool> {
    let (client, connection) = tokio_postgres::connect(&server_url()?, NoTls).await?;
    tokio::spawn(connection);
    Ok(client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&database]).await?.is_some())
}
