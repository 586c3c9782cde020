//! What is checked before a server starts: that the log still is the one whose checkpoints were published.

use std::path::Path;
use std::sync::Arc;

use super::{
    EvidenceError,
    fold::number,
    newest_checkpoint, size,
    tiles::{Tiles, Tree},
};
use crate::{
    signer::{NoteSigner, NotedCheckpoint},
    store::Store,
};

/// Holds the log against the newest checkpoint in the database, and against one that was handed to a file.
///
/// # Errors
/// When the log is behind a checkpoint or another one than it was signed over.
pub async fn check_start(store: &Arc<dyn Store>, signer: &NoteSigner, file: Option<&Path>) -> Result<(), EvidenceError> {
    if let Some(newest) = newest_checkpoint(store).await? {
        let noted = signer.read(&newest.note).filter(|noted| noted.size == newest.size && noted.root == newest.root);
        let noted = noted.ok_or_else(|| EvidenceError::Damaged(format!("the checkpoint of {} events is not signed by this ledger", newest.size)))?;
        check(store, &noted, "the checkpoint that it published").await?;
    }
    let Some(path) = file else { return Ok(()) };
    let note = match std::fs::read_to_string(path) {
        Ok(note) => note,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(EvidenceError::Busy(format!("cannot read the checkpoint in {}: {error}", path.display()))),
    };
    let shown = path.display();
    let noted = signer.read(&note).ok_or_else(|| EvidenceError::Damaged(format!("{shown} holds no checkpoint signed by this ledger")))?;
    check(store, &noted, &format!("the checkpoint in {shown}")).await
}

async fn check(store: &Arc<dyn Store>, noted: &NotedCheckpoint, name: &str) -> Result<(), EvidenceError> {
    let head = store.head().await?.next_position;
    if head < noted.size {
        let text = format!("the head is at {head}, behind {name}, which is of {} events: an old copy of the database was put back", noted.size);
        return Err(EvidenceError::Damaged(text));
    }
    let folded = size(store).await?.events;
    if folded < noted.size {
        return Err(EvidenceError::Damaged(format!("the tiles are of {folded} events, behind {name}, which is of {}", noted.size)));
    }
    let root = Tiles::new(Arc::clone(store)).root(Tree::Log, number(noted.size)).await?;
    if root != noted.root {
        return Err(EvidenceError::Damaged(format!("the first {} events are not those of {name}", noted.size)));
    }
    Ok(())
}
