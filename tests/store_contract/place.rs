//! Where the store under test keeps its ledger, and a way past the store into the database.

use std::sync::atomic::{AtomicU32, Ordering};

use keyledger::store::{
    Store, StoreError,
    postgres::{PostgresOptions, PostgresStore},
    sqlite::{SqliteOptions, SqliteStore},
};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

const URL_VARIABLE: &str = "KEYLEDGER_TEST_POSTGRES_URL";

pub enum Place {
    Sqlite(TempDir),
    Postgres { url: String, name: String },
}

impl Place {
    pub fn sqlite() -> Self {
        Self::Sqlite(TempDir::new().unwrap())
    }

    pub async fn postgres() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = server_url();
        let name = format!("keyledger_store_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let client = connect(&server).await;
        // One left by a killed run whose process had the same number.
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
        client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
        let (base, _) = server.rsplit_once('/').expect("the server's URL ends with a database");
        Self::Postgres { url: format!("{base}/{name}"), name }
    }

    pub async fn open(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(match self {
            Self::Sqlite(folder) => Box::new(SqliteStore::open(&folder.path().join("ledger.db"), SqliteOptions::default())?),
            Self::Postgres { url, .. } => Box::new(PostgresStore::connect(url, PostgresOptions::default()).await?),
        })
    }

    /// A store that has a head.
    pub async fn founded(&self) -> Box<dyn Store> {
        let store = self.open().await.unwrap();
        assert!(store.initialize(&crate::samples::first_head(), b"sealed").await.unwrap());
        store
    }

    /// Runs SQL without asking the store; its error's text.
    pub async fn execute(&self, sql: &str) -> Result<(), String> {
        match self {
            Self::Sqlite(folder) => {
                let connection = rusqlite::Connection::open(folder.path().join("ledger.db")).unwrap();
                connection.execute_batch(sql).map_err(|error| error.to_string())
            }
            Self::Postgres { url, .. } => {
                let result = connect(url).await.batch_execute(sql).await;
                result.map_err(|error| error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned()))
            }
        }
    }

    /// The first column of a query, without asking the store.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        match self {
            Self::Sqlite(folder) => {
                let connection = rusqlite::Connection::open(folder.path().join("ledger.db")).unwrap();
                let mut statement = connection.prepare(sql).unwrap();
                statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
            }
            Self::Postgres { url, .. } => {
                let messages = connect(url).await.simple_query(sql).await.unwrap();
                let rows = messages.iter().filter_map(|message| match message {
                    SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
                    _ => None,
                });
                rows.collect()
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self::Postgres { name, .. } = self else { return };
        let (server, sql) = (server_url(), format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        // A thread of its own, since the test's runtime can't be waited for from here.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { connect(&server).await.batch_execute(&sql).await }).unwrap();
        });
        if dropped.join().is_err() {
            eprintln!("a test database was left behind");
        }
    }
}

pub async fn connect(url: &str) -> Client {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.unwrap_or_else(|error| panic!("PostgreSQL at {url} can't be reached: {error}"));
    tokio::spawn(connection);
    client
}

pub fn server_url() -> String {
    std::env::var(URL_VARIABLE)
        .unwrap_or_else(|_| panic!("{URL_VARIABLE} is not set: run scripts/test, or `scripts/with-postgres cargo test` for some of the tests"))
}
