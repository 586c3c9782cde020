//! Which ledger a command works on, and with which master key.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::Failure;
use crate::{
    ledger::{Ledger, Options},
    store::{Store, postgres::PostgresStore, sqlite::SqliteStore},
    vault::MasterKey,
};

#[derive(Clone, Debug, Args)]
pub struct StoreArgs {
    /// Folder of the embedded ledger.
    #[arg(long, env = "KEYLEDGER_DATA_DIR", default_value = "./keyledger-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Keep the ledger in PostgreSQL instead: postgres://user:password@host/database
    #[arg(long, env = "KEYLEDGER_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// File with the master key, 64 hexadecimal digits [default: master.key in the data folder]
    #[arg(long, env = "KEYLEDGER_MASTER_KEY_FILE", value_name = "FILE")]
    pub master_key_file: Option<PathBuf>,
    /// Certificate authority (PEM) for a database URL with sslmode=require [default: the system's]
    #[arg(long, env = "KEYLEDGER_DATABASE_CA_FILE", value_name = "FILE")]
    pub database_ca_file: Option<PathBuf>,
}

impl StoreArgs {
    fn database_file(&self) -> PathBuf {
        self.data_dir.join("ledger.db")
    }

    /// The store; with `create`, made where there is none.
    ///
    /// # Errors
    /// When there is none, or it can't be opened.
    pub async fn store(&self, create: bool) -> Result<Arc<dyn Store>, Failure> {
        let store: Arc<dyn Store> = match &self.database_url {
            Some(url) => {
                let options = crate::store::postgres::PostgresOptions { ca_file: self.database_ca_file.clone(), ..Default::default() };
                Arc::new(PostgresStore::connect(url, options).await?)
            }
            None => {
                let file = self.database_file();
                if create {
                    std::fs::DirBuilder::new()
                        .recursive(true)
                        .mode(0o700)
                        .create(&self.data_dir)
                        .map_err(|error| format!("cannot make the data folder {}: {error}", self.data_dir.display()))?;
                } else if !file.exists() {
                    return Err(no_ledger(&self.data_dir.display().to_string()));
                }
                Arc::new(SqliteStore::open(&file, Default::default())?)
            }
        };
        if !create && store.sealed_secret().await?.is_none() {
            return Err(no_ledger("this database"));
        }
        Ok(store)
    }

    /// The master key; with `create`, made where there is none, beside an embedded ledger alone.
    ///
    /// # Errors
    /// When it is missing or unreadable.
    pub fn master_key(&self, create: bool) -> Result<MasterKey, Failure> {
        Ok(match (&self.master_key_file, &self.database_url) {
            (Some(file), _) => MasterKey::read(file)?,
            (None, Some(_)) => {
                return Err("with PostgreSQL the master key must be given: set KEYLEDGER_MASTER_KEY_FILE to a file of 64 hexadecimal \
                            digits (make one with: openssl rand -hex 32) that every node has"
                    .into());
            }
            (None, None) => {
                let file = self.data_dir.join("master.key");
                // A new key beside an old ledger would only be a wrong one.
                if create && (file.exists() || !self.database_file().exists()) { MasterKey::read_or_create(&file)? } else { MasterKey::read(&file)? }
            }
        })
    }

    /// Opens the ledger.
    ///
    /// # Errors
    /// When it is not there, can't be opened, or was made with another master key.
    pub async fn open(&self, options: Options, create: bool) -> Result<Ledger, Failure> {
        if create && self.database_url.is_none() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.data_dir)
                .map_err(|error| format!("cannot make the data folder {}: {error}", self.data_dir.display()))?;
        }
        // The key comes first: without it not even an empty database is left behind.
        let key = if create || self.database_url.is_some() || self.database_file().exists() { Some(self.master_key(create)?) } else { None };
        let store = self.store(create).await?;
        let key = key.map_or_else(|| self.master_key(create), Ok)?;
        Ok(Ledger::open(store, &key, options).await?)
    }
}

fn no_ledger(place: &str) -> Failure {
    format!("there is no ledger in {place}; `keyledger serve` makes one").into()
}
