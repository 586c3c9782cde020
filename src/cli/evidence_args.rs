//! What of checkpoints and proofs is configured.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use uuid::Uuid;

use super::{Failure, StoreArgs};
use crate::{
    evidence::{EvidenceConfig, handout},
    signer::is_origin,
    store::Store,
};

/// Seconds between two looks for something to publish. A checkpoint shall be there ten seconds after an event at the latest.
const INTERVAL_DEFAULT: u64 = 4;
const INTERVAL_MAX: u64 = 24 * 60 * 60;
/// Above it a checkpoint can come later: an event that just misses one look waits for the one after the next.
const INTERVAL_PROMPT_MAX: u64 = 5;

#[derive(Clone, Debug, Args)]
pub struct OriginArgs {
    /// The log's name in checkpoints, such as licenses.vendor.example/ledger [default: as in the newest one, at first keyledger/ and the
    /// ledger's id]
    #[arg(long, env = "KEYLEDGER_CHECKPOINT_ORIGIN", value_name = "NAME")]
    checkpoint_origin: Option<String>,
}

impl OriginArgs {
    /// The log's name.
    ///
    /// # Errors
    /// When no log can be called so, or the store fails.
    pub async fn name(&self, store: &Arc<dyn Store>, ledger_id: Uuid) -> Result<String, Failure> {
        Ok(EvidenceConfig { origin: self.origin()?, ..EvidenceConfig::default() }.origin(store, ledger_id).await?)
    }

    /// The name that is given, if one is.
    ///
    /// # Errors
    /// When no log can be called so.
    pub fn origin(&self) -> Result<Option<String>, Failure> {
        let name = self.checkpoint_origin.as_deref().map(str::trim).filter(|name| !name.is_empty());
        match name.filter(|name| !is_origin(name)) {
            Some(name) => Err(format!("--checkpoint-origin {name}: a name of a log has neither blanks nor +, and 200 characters at most").into()),
            None => Ok(name.map(str::to_owned)),
        }
    }
}

#[derive(Clone, Debug, Args)]
pub struct CheckpointFileArgs {
    /// File that always holds the newest checkpoint of the server; nothing goes on from a log that is behind it. Best on another machine's
    /// disk [default: checkpoint in the data folder of an embedded ledger]
    #[arg(long, env = "KEYLEDGER_CHECKPOINT_FILE", value_name = "FILE")]
    checkpoint_file: Option<PathBuf>,
}

impl CheckpointFileArgs {
    /// The file, where there is to be one.
    pub fn path(&self, store: &StoreArgs) -> Option<PathBuf> {
        let given = self.checkpoint_file.clone().filter(|path| !path.as_os_str().is_empty());
        given.or_else(|| store.database_url().is_none().then(|| store.data_dir.join("checkpoint")))
    }
}

#[derive(Clone, Debug, Args)]
pub struct EvidenceArgs {
    #[command(flatten)]
    origin: OriginArgs,
    /// Seconds after which new events get a checkpoint.
    #[arg(long, env = "KEYLEDGER_CHECKPOINT_INTERVAL", default_value_t = INTERVAL_DEFAULT, value_name = "SECONDS")]
    checkpoint_interval: u64,
    #[command(flatten)]
    file: CheckpointFileArgs,
    /// Witness that cosigns checkpoints (C2SP tlog-witness), with the key that checks it; may be given several times.
    #[arg(long, env = "KEYLEDGER_WITNESS", value_delimiter = ',', value_name = "URL#VKEY")]
    witness: Vec<String>,
    /// Time-stamping authority (RFC 3161), asked at most once a minute; may be given several times.
    #[arg(long, env = "KEYLEDGER_TIMESTAMP_URL", value_delimiter = ',', value_name = "URL")]
    timestamp_url: Vec<String>,
    /// Checkpoints, hash tiles and proofs are for everybody; they hold hashes only.
    #[arg(long, env = "KEYLEDGER_PUBLIC_PROOFS")]
    public_proofs: bool,
}

impl EvidenceArgs {
    /// The configuration.
    ///
    /// # Errors
    /// When a value can't be.
    pub fn config(&self, store: &StoreArgs) -> Result<EvidenceConfig, Failure> {
        if !(1..=INTERVAL_MAX).contains(&self.checkpoint_interval) {
            return Err(format!("--checkpoint-interval {}: must be 1 to {INTERVAL_MAX} seconds", self.checkpoint_interval).into());
        }
        if self.checkpoint_interval > INTERVAL_PROMPT_MAX {
            tracing::warn!(seconds = self.checkpoint_interval, "with this --checkpoint-interval a checkpoint may be older than 10 seconds");
        }
        Ok(EvidenceConfig {
            origin: self.origin.origin()?,
            publish_every: Duration::from_secs(self.checkpoint_interval),
            public_proofs: self.public_proofs,
            hand_out: handout::Config { file: self.file.path(store), witnesses: self.witness.clone(), timestamp_urls: self.timestamp_url.clone() },
        })
    }
}
