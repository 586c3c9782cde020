//! A fresh, empty store of either backend.

use std::sync::Arc;

use keyledger::store::{Store, postgres::PostgresStore, sqlite::SqliteStore};

#[derive(Clone, Copy, Debug)]
pub enum Backend {
    Sqlite,
    Postgres,
}

pub struct Opened {
    pub store: Arc<dyn Store>,
    /// The file or the URL.
    #[allow(dead_code, reason = "not each test binary looks behind the store")]
    pub place: String,
    _folder: Option<tempfile::TempDir>,
}

pub async fn open(backend: Backend) -> Opened {
    match backend {
        Backend::Sqlite => {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("ledger.db");
            let store = SqliteStore::open(&file, Default::default()).unwrap();
            Opened { store: Arc::new(store), place: file.display().to_string(), _folder: Some(folder) }
        }
        Backend::Postgres => {
            let url = std::env::var("KEYLEDGER_TEST_POSTGRES_URL")
                .expect("KEYLEDGER_TEST_POSTGRES_URL is not set: run scripts/test, or scripts/with-postgres cargo test");
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
            let connection = tokio::spawn(connection);
            let name = format!("model_{}", keyledger::clock::new_id().simple());
            client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
            drop(client);
            connection.await.unwrap().unwrap();
            let (server, _) = url.rsplit_once('/').unwrap();
            let place = format!("{server}/{name}");
            let store = PostgresStore::connect(&place, Default::default()).await.unwrap();
            Opened { store: Arc::new(store), place, _folder: None }
        }
    }
}
