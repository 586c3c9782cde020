//! Which ledger a command works on, and with which master key.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use keyledger_projections::registry::{Versions, compare_versions};

use super::Failure;
use crate::{
    evidence,
    ledger::{Ledger, OpenError, Options, open_vault},
    signer::NoteSigner,
    store::{
        Store,
        postgres::{PostgresOptions, PostgresStore},
        sqlite::{SqliteOptions, SqliteStore},
    },
    vault::{MasterKey, Vault},
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
    pub master_key_file: Option<String>,
    /// Certificate authority (PEM) for a database URL with sslmode=require [default: the system's]
    #[arg(long, env = "KEYLEDGER_DATABASE_CA_FILE", value_name = "FILE")]
    pub database_ca_file: Option<String>,
}

impl StoreArgs {
    fn database_file(&self) -> PathBuf {
        self.data_dir.join("ledger.db")
    }

    /// The URL of PostgreSQL, where it is wanted. A variable that is set to nothing is as good as unset, here and below.
    pub fn database_url(&self) -> Option<&str> {
        given(self.database_url.as_ref())
    }

    /// Makes the data folder, for its owner alone.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn create_data_dir(&self) -> Result<(), Failure> {
        let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.data_dir);
        Ok(created.map_err(|error| format!("cannot make the data folder {}: {error}", self.data_dir.display()))?)
    }

    /// The store; with `create`, made where there is none.
    ///
    /// # Errors
    /// When there is none, or it can't be opened.
    pub async fn store(&self, create: bool) -> Result<Arc<dyn Store>, Failure> {
        let store: Arc<dyn Store> = match self.database_url() {
            Some(url) => {
                let ca_file = given(self.database_ca_file.as_ref()).map(PathBuf::from);
                Arc::new(PostgresStore::connect(url, PostgresOptions { ca_file, ..Default::default() }).await?)
            }
            None => {
                let file = self.database_file();
                if create {
                    self.create_data_dir()?;
                } else if !file.exists() {
                    return Err(no_ledger(&self.data_dir.display().to_string()));
                }
                let options = if create { SqliteOptions::default() } else { SqliteOptions::SMALL };
                let store = SqliteStore::open(&file, options);
                Arc::new(store.map_err(|error| format!("cannot open {}: {error}", file.display()))?)
            }
        };
        if !create && store.sealed_secret().await?.is_none() {
            return Err(no_ledger("this database"));
        }
        Ok(store)
    }

    /// The master key; with `create`, made where there is none, beside an embedded ledger alone.
    fn master_key(&self, create: bool) -> Result<MasterKey, Failure> {
        Ok(match (given(self.master_key_file.as_ref()), self.database_url()) {
            (Some(file), _) => MasterKey::read(Path::new(file))?,
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

    /// Opens a ledger that is there.
    ///
    /// # Errors
    /// When it is not there, can't be opened, or was made with another master key.
    pub async fn open(&self) -> Result<Ledger, Failure> {
        let store = self.store(false).await?;
        Ok(Ledger::open(store, &self.master_key(false)?, Options::default()).await?)
    }

    /// Opens the ledger for a server, and makes it where there is none. Before anything is written it is held against the checkpoints
    /// that were published of it: what is put on top of an old copy makes two logs of one.
    ///
    /// # Errors
    /// When it can't be opened, was made with another master key, or is not the log of its checkpoints.
    pub async fn open_or_create(&self, options: Options, checkpoint_file: Option<&Path>) -> Result<Ledger, Failure> {
        if self.database_url().is_none() {
            self.create_data_dir()?;
        }
        // The key comes first: without it not even an empty database is left behind.
        let key = self.master_key(true)?;
        let store = self.store(true).await?;
        let vault = open_vault(store.as_ref(), &key).await?;
        evidence::check_start(&store, &NoteSigner::new(&vault, "")?, checkpoint_file).await?;
        Ok(Ledger::open(store, &key, options).await?)
    }

    /// A ledger's store and its opened secrets, without an executor.
    ///
    /// # Errors
    /// As [`StoreArgs::open`].
    pub async fn open_vault(&self) -> Result<(Arc<dyn Store>, Arc<Vault>), Failure> {
        let store = self.store(false).await?;
        let vault = open_vault(store.as_ref(), &self.master_key(false)?).await?;
        // What a newer program made, this one can neither check nor replace.
        if compare_versions(&store.head().await?.projections) == Versions::Newer {
            return Err(OpenError::Newer.into());
        }
        Ok((store, Arc::new(vault)))
    }
}

fn given(text: Option<&String>) -> Option<&str> {
    text.map(|text| text.trim()).filter(|text| !text.is_empty())
}

fn no_ledger(place: &str) -> Failure {
    format!("there is no ledger in {place}; `keyledger serve` makes one").into()
}
