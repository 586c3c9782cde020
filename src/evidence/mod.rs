//! Evidence: what lets somebody outside check the log. The log's RFC 6962 tree and the stream map in tiles, folded off the
//! append path; signed checkpoints; proofs. What must not enter: HTTP.

mod audit;
mod compare;
mod export;
mod fold;
pub mod handout;
mod outside;
mod publisher;
mod secrets;
mod shape;
mod start;
mod tiles;
mod worker;

use std::sync::Arc;

use keyledger_projections::{Value, Values};

pub use audit::verify;
pub use export::{EARLIER_MAX, ExportOptions, export};
pub use publisher::{MapProof, Published, Publisher};
pub use shape::{TILE_WIDTH, consistency, inclusion};
pub use start::check_start;
pub use tiles::{ENTRY_BYTES, Tiles, Tree};
pub use worker::{Evidence, EvidenceConfig};

use crate::{
    ledger::{ExecuteError, tree::Hash},
    signer::SignerError,
    store::{EvidenceSize, Store, StoreError, StoredCheckpoint, StoredHandOut},
};

/// Destinations whose answers for one checkpoint are told: more than anybody configures.
const HAND_OUTS_MAX: i64 = 100;
/// By the primary key, which begins with the destination: of these there are a few, of hand-outs millions.
const HAND_OUTS: &str = "WITH RECURSIVE known(destination) AS (SELECT min(destination) FROM hand_out UNION ALL \
                         SELECT (SELECT min(h.destination) FROM hand_out h WHERE h.destination > known.destination) FROM known \
                         WHERE known.destination IS NOT NULL) \
                         SELECT h.destination, h.made_at, h.answer FROM known JOIN hand_out h ON h.destination = known.destination AND h.size = $1 \
                         ORDER BY h.destination LIMIT $2";

#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Signer(#[from] SignerError),
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The log is not what was written, or the tiles are not the log's.
    #[error("the log is not what was written: {0}")]
    Damaged(String),
    #[error("the evidence can't be taken further at the moment: {0}")]
    Busy(String),
    /// What was asked about is not covered.
    #[error("{0}")]
    OutOfRange(String),
}

impl EvidenceError {
    /// The same for one more who waits for it; in words where the cause can't be had twice.
    fn again(&self) -> Self {
        match self {
            Self::Execute(error) => Self::Execute(error.clone()),
            Self::Damaged(text) => Self::Damaged(text.clone()),
            Self::Busy(text) => Self::Busy(text.clone()),
            Self::OutOfRange(text) => Self::OutOfRange(text.clone()),
            Self::Store(_) | Self::Signer(_) => Self::Busy(self.to_string()),
        }
    }
}

fn read_error(table: &'static str) -> impl Fn(keyledger_projections::ReadError) -> StoreError {
    move |source| StoreError::Read { table, source }
}

/// How far the log is folded.
///
/// # Errors
/// When the store fails.
pub async fn size(store: &Arc<dyn Store>) -> Result<EvidenceSize, StoreError> {
    let rows = store.query("SELECT size, licenses FROM evidence WHERE id = 1", &[]).await?;
    let mut row = Values::from(rows.into_iter().next().unwrap_or_default());
    let error = read_error("evidence");
    Ok(EvidenceSize { events: row.int().map_err(&error)?, licenses: row.int().map_err(&error)? })
}

/// Says where it was that the database held what it must not.
fn of_checkpoints(error: StoreError) -> StoreError {
    match error {
        StoreError::Refused(text) => StoreError::Refused(format!("a checkpoint: {text}")),
        error => error,
    }
}

fn read_checkpoint(row: Vec<Value>) -> Result<StoredCheckpoint, StoreError> {
    let mut row = Values::from(row);
    let error = read_error("checkpoint");
    let (size, root) = (row.int().map_err(&error)?, row.bytes().map_err(&error)?);
    let root = Hash::try_from(root).map_err(|_| StoreError::Refused(format!("the root of checkpoint {size} has another length")))?;
    Ok(StoredCheckpoint { size, root, made_at: row.time().map_err(&error)?, note: row.text().map_err(&error)? })
}

/// Checkpoints of more than `after` events, smallest first.
///
/// # Errors
/// When the store fails.
pub async fn checkpoints(store: &Arc<dyn Store>, after: i64, limit: i64) -> Result<Vec<StoredCheckpoint>, StoreError> {
    let sql = "SELECT size, root, made_at, note FROM checkpoint WHERE size > $1 ORDER BY size LIMIT $2";
    store.query(sql, &[after.into(), limit.into()]).await.map_err(of_checkpoints)?.into_iter().map(read_checkpoint).collect()
}

/// The checkpoint of so many events.
///
/// # Errors
/// When the store fails.
pub async fn checkpoint(store: &Arc<dyn Store>, size: i64) -> Result<Option<StoredCheckpoint>, StoreError> {
    let sql = "SELECT size, root, made_at, note FROM checkpoint WHERE size = $1";
    store.query(sql, &[size.into()]).await.map_err(of_checkpoints)?.into_iter().next().map(read_checkpoint).transpose()
}

/// What came back for the checkpoint of so many events, in the order of the destinations' names.
///
/// # Errors
/// When the store fails.
pub async fn hand_outs(store: &Arc<dyn Store>, size: i64) -> Result<Vec<StoredHandOut>, StoreError> {
    let error = read_error("hand_out");
    let read = |row: Vec<Value>| {
        let mut row = Values::from(row);
        let (destination, made_at) = (row.text().map_err(&error)?, row.time().map_err(&error)?);
        Ok(StoredHandOut { destination, size, made_at, answer: row.bytes().map_err(&error)? })
    };
    store.query(HAND_OUTS, &[size.into(), HAND_OUTS_MAX.into()]).await?.into_iter().map(read).collect()
}

/// The newest checkpoint.
///
/// # Errors
/// When the store fails.
pub async fn newest_checkpoint(store: &Arc<dyn Store>) -> Result<Option<StoredCheckpoint>, StoreError> {
    let sql = "SELECT size, root, made_at, note FROM checkpoint ORDER BY size DESC LIMIT 1";
    store.query(sql, &[]).await.map_err(of_checkpoints)?.into_iter().next().map(read_checkpoint).transpose()
}

/// The audit path of an event in the tree of a checkpoint's size.
///
/// # Errors
/// When the tree of that size has no such event or is not folded yet, or the store fails.
pub async fn inclusion_proof(store: &Arc<dyn Store>, position: i64, size: i64) -> Result<Vec<Hash>, EvidenceError> {
    let no_event = || EvidenceError::OutOfRange(format!("a tree of {size} events has no event {position}"));
    let ranges = inclusion(position, size).ok_or_else(no_event)?;
    folded(store, size).await?;
    Ok(Tiles::new(Arc::clone(store)).proof(Tree::Log, ranges).await?)
}

/// The proof that the tree of `first` events is the beginning of the one of `second`.
///
/// # Errors
/// When it is the larger one, the larger is not folded yet, or the store fails.
pub async fn consistency_proof(store: &Arc<dyn Store>, first: i64, second: i64) -> Result<Vec<Hash>, EvidenceError> {
    let no_beginning = || EvidenceError::OutOfRange(format!("a tree of {first} events is not the beginning of one of {second}"));
    let ranges = consistency(first, second).ok_or_else(no_beginning)?;
    folded(store, second).await?;
    Ok(Tiles::new(Arc::clone(store)).proof(Tree::Log, ranges).await?)
}

async fn folded(store: &Arc<dyn Store>, size: i64) -> Result<(), EvidenceError> {
    let folded = self::size(store).await?.events;
    if size <= folded {
        return Ok(());
    }
    Err(EvidenceError::OutOfRange(format!("there is no proof for {size} events yet: the newest checkpoint is of {folded} or fewer")))
}
