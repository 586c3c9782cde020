//! Replay: the log read from its beginning, every event checked against its hash, opened and folded. [`rebuild`] makes
//! fresh projections this way, [`verify`] compares with those in use.

pub mod check;
mod folder;
pub(super) mod reader;
mod verify;

use std::{sync::Arc, time::Duration};

use keyledger_events::{DecodeError, Recorded};
use keyledger_projections::{FoldError, registry::versions};
use tokio::time::{Instant, sleep};

pub use verify::{Auditor, Verified, verify};

use crate::{
    store::{Rebuild, Store, StoreError},
    vault::Vault,
};
use folder::Folder;
use reader::{Reader, Source};

/// Events read, opened and folded at a time.
const CHUNK_EVENTS: i64 = 2_000;
/// So few events may be left to fold under the head lock.
const TAIL_EVENTS: i64 = 1_000;
/// How often the events are folded that came while others were: each time fewer, unless they come faster than they fold.
const CATCH_UP_ROUNDS: u32 = 16;
/// How long, and how often, the swap is tried while somebody's transaction keeps the old tables.
const SWAP_TRIED_FOR: Duration = Duration::from_secs(600);
const SWAP_TRIED_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("event {position} cannot be read: {source}")]
    Decode {
        position: i64,
        #[source]
        source: DecodeError,
    },
    #[error("the log is not what was written: {0}")]
    Difference(String),
    #[error(transparent)]
    Fold(#[from] FoldError),
    #[error("replay was interrupted: {0}")]
    Interrupted(String),
}

/// Called with how many events are done and how many there are.
pub type Progress<'a> = &'a mut (dyn FnMut(i64, i64) + Send);

/// Folds the whole log into fresh tables and swaps them with those in use. The server may run meanwhile: only the last
/// events are folded under the head lock, and a long transaction that keeps the old tables is waited for without it.
///
/// # Errors
/// When the log is damaged (its position is named, the tables in use stay as they are) or the store fails.
pub async fn rebuild(store: &Arc<dyn Store>, vault: &Arc<Vault>, progress: Progress<'_>) -> Result<i64, ReplayError> {
    let mut target = store.rebuild().await?;
    let mut next = catch_up(store, vault, target.as_mut(), 0, progress).await?;
    target.index().await?;
    let started = Instant::now();
    loop {
        next = catch_up(store, vault, target.as_mut(), next, progress).await?;
        let head = target.lock().await?;
        fold_range(store, vault, folder_at(target.as_mut(), next), next, head.next_position, progress).await?;
        if target.swap(&versions()).await? {
            return Ok(head.next_position);
        }
        if started.elapsed() >= SWAP_TRIED_FOR {
            let minutes = SWAP_TRIED_FOR.as_secs() / 60;
            let text =
                format!("for {minutes} minutes a long transaction (a backup, or a verification) has kept the projections' tables from being swapped");
            return Err(StoreError::Unavailable(text).into());
        }
        tracing::info!("a long transaction keeps the projections' tables; they are swapped when it has ended");
        sleep(SWAP_TRIED_EVERY).await;
    }
}

/// Folds from `next` on until few events are left; where it stopped.
async fn catch_up(
    store: &Arc<dyn Store>,
    vault: &Arc<Vault>,
    target: &mut dyn Rebuild,
    mut next: i64,
    progress: Progress<'_>,
) -> Result<i64, ReplayError> {
    for _ in 0..CATCH_UP_ROUNDS {
        let head = store.head().await?;
        if head.next_position - next <= TAIL_EVENTS {
            break;
        }
        next = fold_range(store, vault, folder_at(target, next), next, head.next_position, progress).await?;
    }
    Ok(next)
}

/// The events of `from..to`, checked and opened, all in memory: for ranges that fit.
///
/// # Errors
/// When the log is damaged or the store fails.
pub async fn recorded(store: &Arc<dyn Store>, vault: &Arc<Vault>, from: i64, to: i64) -> Result<Vec<Recorded>, ReplayError> {
    let ledger_id = store.head().await?.ledger_id;
    let mut reader = Reader::start(Source::Store(Arc::clone(store)), Arc::clone(vault), from, to, ledger_id);
    let mut events = Vec::new();
    while let Some(chunk) = reader.next().await? {
        events.extend(chunk.events);
    }
    Ok(events)
}

fn folder_at(target: &mut dyn Rebuild, next: i64) -> Folder<'_> {
    let folder = Folder::new(target);
    if next == 0 { folder.on_empty_tables() } else { folder }
}

async fn fold_range(
    store: &Arc<dyn Store>,
    vault: &Arc<Vault>,
    mut folder: Folder<'_>,
    from: i64,
    to: i64,
    progress: Progress<'_>,
) -> Result<i64, ReplayError> {
    let mut reader = Reader::start(Source::Store(Arc::clone(store)), Arc::clone(vault), from, to, store.head().await?.ledger_id);
    while let Some(chunk) = reader.next().await? {
        folder.fold(&chunk.events).await?;
        progress(chunk.events.last().map_or(to, |event| event.position + 1), to);
    }
    folder.finish().await?;
    Ok(to)
}
