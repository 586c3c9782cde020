//! Handing checkpoints out of the operator's reach: to a file, to witnesses, to time-stamping authorities. What they bring back goes
//! to the caller to be kept. Each destination goes at its own pace; one that fails holds up no other.

pub mod file;
pub mod note;
pub mod timestamp;
pub mod witness;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::{ledger::tree::Hash, outgoing::Outgoing, vault};

use file::{CheckpointFile, FileError};
use note::{CosignError, Cosignature};
use timestamp::{Authority, TimestampError, Token};
use witness::{Witness, WitnessError};

/// How long one hand-out may take in all: a few calls, each with a time of its own.
const HAND_OUT_WITHIN: Duration = Duration::from_secs(120);
/// How long to wait after a first failure; each further one doubles it.
const BACK_OFF_FIRST: Duration = Duration::from_secs(1);
/// The longest wait between two tries: whoever comes back is used again within the hour.
const BACK_OFF_MAX: Duration = Duration::from_secs(60 * 60);
/// How far apart a destination's checkpoints are at least: files and witnesses get each one, as they come every few seconds.
/// Time-stamping authorities serve many and may ask for money; a minute is as exact as a dispute needs.
const EVERY: Duration = Duration::from_secs(1);
const TIMESTAMP_EVERY: Duration = Duration::from_secs(60);
/// How often it is tried to keep what came back, with the pauses after failures, before it is asked for anew: a quarter of a minute, in
/// which a database is started again.
const KEEP_TRIES_MAX: u32 = 5;

/// A signed checkpoint as it is handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The number of events that it is about.
    pub size: u64,
    /// The signed note.
    pub note: Arc<str>,
}

/// What came back for a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    Cosignatures { witness: String, size: u64, cosignatures: Vec<Cosignature> },
    Timestamp { authority: String, size: u64, token: Token },
}

/// The ledger whose checkpoints are handed out.
#[async_trait]
pub trait Home: Send + Sync {
    /// The proof that the tree of one size is continued by that of another.
    async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, String>;

    /// The root of the checkpoint of a size, where one was published, be it by another server.
    async fn published(&self, size: u64) -> Result<Option<Hash>, String>;

    /// Keeps what came back.
    async fn keep(&self, brought: &Kept) -> Result<(), String>;
}

#[derive(Debug, thiserror::Error)]
pub enum HandOutError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Witness(#[from] WitnessError),
    #[error(transparent)]
    Timestamp(#[from] TimestampError),
    #[error("it took too long")]
    TimedOut,
    #[error("the ledger does not answer: {0}")]
    Home(String),
}

impl HandOutError {
    /// Whether it may mean that a ledger was changed or put back, rather than that somebody can't be reached.
    #[must_use]
    pub fn is_alarming(&self) -> bool {
        match self {
            Self::File(error) => match error {
                FileError::Larger { .. } | FileError::OtherTree | FileError::OtherLedger | FileError::NoCheckpoint => true,
                FileError::Malformed | FileError::Busy | FileError::Io(_) => false,
            },
            Self::Witness(error) => match error {
                WitnessError::Ahead { .. }
                | WitnessError::OtherTree
                | WitnessError::ProofRejected
                | WitnessError::Cosignature(CosignError::Invalid) => true,
                WitnessError::UnknownLedger
                | WitnessError::UntrustedKey
                | WitnessError::Status(_)
                | WitnessError::Unsteady
                | WitnessError::Malformed
                | WitnessError::NoProof(_)
                | WitnessError::Cosignature(CosignError::None)
                | WitnessError::Outgoing(_) => false,
            },
            Self::Timestamp(error) => match error {
                TimestampError::OtherImprint | TimestampError::OtherNonce => true,
                TimestampError::Http(_)
                | TimestampError::Refused(_)
                | TimestampError::Malformed(_)
                | TimestampError::Random
                | TimestampError::Outgoing(_) => false,
            },
            Self::TimedOut | Self::Home(_) => false,
        }
    }

    /// How many events are known there, where that is more than the checkpoint has, and the root over them as far as it is said.
    fn ahead(&self) -> Option<(u64, Option<&str>)> {
        match self {
            Self::File(FileError::Larger { theirs, root, .. }) => Some((*theirs, Some(root))),
            Self::Witness(WitnessError::Ahead { theirs, .. }) => Some((*theirs, None)),
            _ => None,
        }
    }
}

/// Where checkpoints go, as it is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    pub file: Option<PathBuf>,
    /// Each `URL#VKEY`.
    pub witnesses: Vec<String>,
    pub timestamp_urls: Vec<String>,
}

impl Config {
    /// # Errors
    /// The entry that can't be used, and why.
    pub fn destinations(&self, outgoing: &Outgoing) -> Result<Vec<Destination>, String> {
        let mut destinations = Vec::new();
        destinations.extend(self.file.clone().map(|path| Destination::File(CheckpointFile::new(path))));
        let given = |texts: &[String]| texts.iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect::<Vec<_>>();
        for text in given(&self.witnesses) {
            let witness = Witness::parse(&text, outgoing.clone()).map_err(|why| format!("--witness {text}: {why}"))?;
            destinations.push(Destination::Witness(witness));
        }
        for (number, text) in (1..).zip(given(&self.timestamp_urls)) {
            // The URL itself may hold a password.
            let authority = Authority::parse(&text, outgoing.clone()).map_err(|why| format!("--timestamp-url, number {number}: {why}"))?;
            destinations.push(Destination::Authority(authority));
        }
        Ok(destinations)
    }
}

/// One place that checkpoints go to.
pub enum Destination {
    File(CheckpointFile),
    Witness(Witness),
    Authority(Authority),
}

impl Destination {
    /// Hands a checkpoint out once. `consistency` proves that the tree of a size is continued by the checkpoint's.
    ///
    /// # Errors
    /// When it did not arrive, or what came back is not right.
    pub async fn hand_out<F>(&self, checkpoint: &Checkpoint, consistency: impl Fn(u64) -> F) -> Result<Option<Kept>, HandOutError>
    where
        F: Future<Output = Result<Vec<Hash>, String>>,
    {
        let size = checkpoint.size;
        let handed_out = async {
            Ok(match self {
                Self::File(file) => {
                    file.hand_out(checkpoint).await?;
                    None
                }
                Self::Witness(witness) => {
                    let cosignatures = witness.hand_out(checkpoint, consistency).await?;
                    Some(Kept::Cosignatures { witness: witness.name().to_owned(), size, cosignatures })
                }
                Self::Authority(authority) => {
                    let token = authority.hand_out(checkpoint).await?;
                    Some(Kept::Timestamp { authority: authority.name().to_owned(), size, token })
                }
            })
        };
        timeout(HAND_OUT_WITHIN, handed_out).await.unwrap_or(Err(HandOutError::TimedOut))
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Witness(_) => "witness",
            Self::Authority(_) => "timestamp",
        }
    }

    /// For the log and the metrics.
    fn name(&self) -> String {
        match self {
            Self::File(file) => file.path().display().to_string(),
            Self::Witness(witness) => witness.name().to_owned(),
            Self::Authority(authority) => authority.name().to_owned(),
        }
    }

    fn every(&self) -> Duration {
        match self {
            Self::File(_) | Self::Witness(_) => EVERY,
            Self::Authority(_) => TIMESTAMP_EVERY,
        }
    }
}

/// Hands each newest checkpoint to every destination until it is dropped, or nobody makes checkpoints any more. A destination that was
/// slow or away gets the newest one next, not those in between.
pub async fn run(destinations: Vec<Destination>, newest: watch::Receiver<Option<Checkpoint>>, home: &dyn Home) {
    join_all(destinations.iter().map(|destination| serve(destination, newest.clone(), home))).await;
}

async fn serve(destination: &Destination, mut newest: watch::Receiver<Option<Checkpoint>>, home: &dyn Home) {
    let (kind, name) = (destination.kind(), destination.name());
    let (mut handed_out, mut failures) = (0, 0);
    loop {
        let is_news = |checkpoint: &Option<Checkpoint>| checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.size > handed_out);
        let Ok(checkpoint) = newest.wait_for(is_news).await.map(|checkpoint| checkpoint.clone()) else { return };
        let Some(checkpoint) = checkpoint else { continue };
        let result = bring_up_to(destination, &checkpoint, home).await;
        let outcome = match &result {
            Ok(size) if *size > checkpoint.size => "overtaken",
            Ok(_) => "handed_out",
            Err(_) => "failed",
        };
        metrics::counter!("keyledger_checkpoint_hand_outs_total", "kind" => kind, "outcome" => outcome).increment(1);
        match result {
            Ok(size) => {
                (handed_out, failures) = (size, 0);
                note_size(kind, &name, size);
                tracing::debug!(kind, name, size, outcome, "a destination is up to date");
                sleep(destination.every()).await;
            }
            Err(error) => {
                failures += 1;
                if error.is_alarming() {
                    tracing::error!(%error, kind, name, size = checkpoint.size, "a checkpoint was not taken");
                } else {
                    tracing::warn!(%error, kind, name, size = checkpoint.size, failures, "a checkpoint could not be handed out");
                }
                sleep(back_off(failures, jitter())).await;
            }
        }
    }
}

/// Hands a checkpoint out and has kept what comes back; how many events the destination knows now. Those may be more than the
/// checkpoint's, where another server of this ledger is a moment ahead: that is no sign of a ledger that was put back.
async fn bring_up_to(destination: &Destination, checkpoint: &Checkpoint, home: &dyn Home) -> Result<u64, HandOutError> {
    let error = match destination.hand_out(checkpoint, |old| home.consistency(old, checkpoint.size)).await {
        Ok(brought) => {
            if let Some(brought) = brought {
                keep(home, &brought).await?;
            }
            return Ok(checkpoint.size);
        }
        Err(error) => error,
    };
    let Some((theirs, root)) = error.ahead() else { return Err(error) };
    let published = home.published(theirs).await.map_err(HandOutError::Home)?;
    let is_ours = published.is_some_and(|published| root.is_none_or(|root| root == BASE64.encode(published)));
    if is_ours { Ok(theirs) } else { Err(error) }
}

async fn keep(home: &dyn Home, brought: &Kept) -> Result<(), HandOutError> {
    let mut tries = 1;
    while let Err(error) = home.keep(brought).await {
        if tries == KEEP_TRIES_MAX {
            return Err(HandOutError::Home(error));
        }
        tracing::warn!(error, tries, "what came back for a checkpoint could not be kept yet");
        sleep(back_off(tries, jitter())).await;
        tries += 1;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; sizes are far below 2^53")]
fn note_size(kind: &'static str, name: &str, size: u64) {
    metrics::gauge!("keyledger_checkpoint_handed_out_size", "kind" => kind, "destination" => name.to_owned()).set(size as f64);
}

/// How long to wait after so many failures in a row: between half of the time and all of it, so that many servers that lost one
/// destination don't come back to it together. `jitter` is 0 to 1,000.
fn back_off(failures: u32, jitter: u32) -> Duration {
    let doubled = BACK_OFF_FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    let whole = doubled.min(BACK_OFF_MAX);
    whole / 2 + whole / 2 * jitter.min(1_000) / 1_000
}

fn jitter() -> u32 {
    vault::random::<4>().map_or(500, |bytes| u32::from_be_bytes(bytes) % 1_001)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour() {
        let seconds = |failures, jitter| back_off(failures, jitter).as_secs_f64();
        assert_eq!((seconds(1, 0), seconds(1, 1_000)), (0.5, 1.0));
        assert_eq!((seconds(5, 500), seconds(5, 1_000)), (12.0, 16.0));
        for failures in [12, 13, 40, u32::MAX] {
            assert!((1_024.0..=3_600.0).contains(&seconds(failures, 1_000)), "{failures}");
            assert!(seconds(failures, 0) >= 1_024.0, "{failures}");
        }
        assert_eq!(back_off(u32::MAX, 1_000), BACK_OFF_MAX);
        assert!((0..200).all(|_| jitter() <= 1_000));
    }
}
