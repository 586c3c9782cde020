//! Replay: the log read from its beginning, every event checked against its hash, opened and folded. [`rebuild`] makes
//! fresh projections this way, [`verify`] compares with those in use.

pub mod check;
mod folder;
pub mod personal;
pub(super) mod reader;
mod verify;

use std::{sync::Arc, time::Duration};

use keyledger_events::{DecodeError, Event, Recorded};
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
/// How often a rebuild is begun because data subjects are forgotten: rare, unless somebody forgets many, one after another.
const REBUILD_TRIES_MAX: u32 = 10;

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
/// events are folded under the head lock, and a long transaction that keeps the old tables is waited for without it. Where a data
/// subject is forgotten meanwhile it begins anew: what was folded with its key must not come into use.
///
/// # Errors
/// When the log is damaged (its position is named, the tables in use stay as they are) or the store fails.
pub async fn rebuild(store: &Arc<dyn Store>, vault: &Arc<Vault>, progress: Progress<'_>) -> Result<i64, ReplayError> {
    for _ in 0..REBUILD_TRIES_MAX {
        if let Some(events) = try_to_rebuild(store, vault, progress).await? {
            return Ok(events);
        }
        tracing::info!("a data subject was forgotten during the rebuild, which begins anew");
    }
    Err(StoreError::Unavailable("data subjects are forgotten faster than the projections can be rebuilt".to_owned()).into())
}

/// `None` where a data subject was forgotten meanwhile.
async fn try_to_rebuild(store: &Arc<dyn Store>, vault: &Arc<Vault>, progress: Progress<'_>) -> Result<Option<i64>, ReplayError> {
    // No key is used that was destroyed before this.
    let began = store.head().await?.next_position;
    let mut target = store.rebuild().await?;
    let Some(mut next) = catch_up(store, vault, target.as_mut(), began, 0, progress).await? else { return Ok(None) };
    target.index().await?;
    let started = Instant::now();
    loop {
        let Some(caught_up) = catch_up(store, vault, target.as_mut(), began, next, progress).await? else { return Ok(None) };
        next = caught_up;
        let head = target.lock().await?;
        let folder = folder_at(target.as_mut(), next);
        if fold_range(store, vault, folder, began, next, head.next_position, progress).await?.is_none() {
            return Ok(None);
        }
        if target.swap(&versions()).await? {
            return Ok(Some(head.next_position));
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

/// Folds from `next` on until few events are left; where it stopped, or `None` as in [`fold_range`].
async fn catch_up(
    store: &Arc<dyn Store>,
    vault: &Arc<Vault>,
    target: &mut dyn Rebuild,
    began: i64,
    mut next: i64,
    progress: Progress<'_>,
) -> Result<Option<i64>, ReplayError> {
    for _ in 0..CATCH_UP_ROUNDS {
        let head = store.head().await?;
        if head.next_position - next <= TAIL_EVENTS {
            break;
        }
        match fold_range(store, vault, folder_at(target, next), began, next, head.next_position, progress).await? {
            Some(to) => next = to,
            None => return Ok(None),
        }
    }
    Ok(Some(next))
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

/// Folds the events of `from..to`; `None`, with some of them folded, where one of them, at `began` or after, is that a data
/// subject was forgotten.
async fn fold_range(
    store: &Arc<dyn Store>,
    vault: &Arc<Vault>,
    mut folder: Folder<'_>,
    began: i64,
    from: i64,
    to: i64,
    progress: Progress<'_>,
) -> Result<Option<i64>, ReplayError> {
    let mut reader = Reader::start(Source::Store(Arc::clone(store)), Arc::clone(vault), from, to, store.head().await?.ledger_id);
    while let Some(chunk) = reader.next().await? {
        if chunk.events.iter().any(|recorded| recorded.position >= began && matches!(recorded.event, Event::Subject(_))) {
            return Ok(None);
        }
        folder.fold(&chunk.events).await?;
        progress(chunk.events.last().map_or(to, |event| event.position + 1), to);
    }
    folder.finish().await?;
    Ok(Some(to))
}
