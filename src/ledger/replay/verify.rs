//! Verification: the log against its hashes and its tree, and the projections against a fresh fold of the log.

use std::sync::Arc;

use async_trait::async_trait;
use keyledger_events::Recorded;
use keyledger_projections::{Row, Table, registry::versions};

use super::{
    Progress, ReplayError,
    folder::Folder,
    reader::{Reader, Source},
};
use crate::{
    ledger::tree::{Edge, Hash},
    store::{
        Head, Snapshot, Store, StoreError,
        sqlite::{SqliteOptions, SqliteStore},
    },
    vault::Vault,
};

/// Rows compared at a time.
const PAGE_ROWS: i64 = 2_000;

/// What was found whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub events: i64,
    /// The root of the tree over all events.
    pub root: [u8; 32],
    pub rows: i64,
}

/// Checks more of a log while it is read.
#[async_trait]
pub trait Auditor: Send {
    /// The next events and their hashes, which it adds to the edge one by one.
    async fn events(&mut self, events: &[Recorded], hashes: &[Hash], edge: &mut Edge) -> Result<(), ReplayError>;

    /// After the last, which is this many's.
    async fn end(&mut self, events: i64) -> Result<(), ReplayError>;
}

/// Checks a snapshot of the ledger: positions, sequences and times without gaps, every event's hash, the tree, and the
/// projections, which are folded afresh into a scratch file of their own.
///
/// # Errors
/// With the first thing that is wrong.
pub async fn verify(store: &Arc<dyn Store>, vault: &Arc<Vault>, auditor: &mut dyn Auditor, progress: Progress<'_>) -> Result<Verified, ReplayError> {
    let mut snapshot = store.snapshot().await?;
    let head = snapshot.head().await?;
    // Word for word: nothing else wrote it.
    if head.projections != versions() {
        return Err(ReplayError::Difference("the projections are not of this program's version: run `keyledger rebuild` first".to_owned()));
    }
    let folder = tempfile::tempdir().map_err(|error| ReplayError::Interrupted(format!("no room for a scratch file: {error}")))?;
    let scratch = SqliteStore::open(&folder.path().join("verify.db"), SqliteOptions::SMALL)?;
    scratch.initialize(&Head { next_position: 0, tree_edge: Vec::new(), projections: versions(), ..head.clone() }, &[]).await?;

    let mut target = scratch.rebuild().await?;
    let mut edge = Edge::default();
    let mut reader = Reader::start(Source::Snapshot(snapshot), Arc::clone(vault), 0, head.next_position, head.ledger_id);
    {
        let mut folder = Folder::new(target.as_mut()).on_empty_tables();
        let mut last = None;
        while let Some(chunk) = reader.next().await? {
            auditor.events(&chunk.events, &chunk.hashes, &mut edge).await?;
            folder.fold(&chunk.events).await?;
            last = chunk.events.last().map(|event| event.recorded_at);
            progress(edge.size() as i64, head.next_position);
        }
        folder.finish().await?;
        if last.is_some_and(|at| at != head.recorded_at) {
            return Err(ReplayError::Difference("the head's time is not that of the last event".to_owned()));
        }
    }
    // Without indexes: the tables are read once, in the order of their primary keys.
    target.lock().await?;
    target.swap(&versions()).await?;
    let Source::Snapshot(mut snapshot) = reader.finish().await? else {
        return Err(ReplayError::Interrupted("the snapshot was lost".to_owned()));
    };
    // Where nothing looks that reads the log by position, but what reads a stream does.
    if let Some(before) = snapshot.events(i64::MIN, 1).await?.first().filter(|first| first.position < 0) {
        return Err(ReplayError::Difference(format!("event {} is before the first one", before.position)));
    }
    if let Some(beyond) = snapshot.events(head.next_position, 1).await?.first() {
        return Err(ReplayError::Difference(format!("event {} is beyond the head, which is at {}", beyond.position, head.next_position)));
    }
    auditor.end(head.next_position).await?;
    if edge.bytes() != head.tree_edge {
        return Err(ReplayError::Difference(format!(
            "the head's tree is not the one over the {} events: an event's content and hash were changed together",
            head.next_position
        )));
    }
    let mut fresh = scratch.snapshot().await?;
    let mut rows = 0;
    for table in Table::ALL {
        rows += compare(*table, snapshot.as_mut(), fresh.as_mut()).await?;
    }
    Ok(Verified { events: head.next_position, root: edge.root(), rows })
}

/// Both tables are read in the order of their keys, side by side.
async fn compare(table: Table, stored: &mut dyn Snapshot, fresh: &mut dyn Snapshot) -> Result<i64, ReplayError> {
    let name = table.name();
    let (mut from, mut count) = (i64::MIN, 0);
    loop {
        let left = stored.rows(table, from, PAGE_ROWS).await.map_err(|error| unreadable(name, error))?;
        let right = fresh.rows(table, from, PAGE_ROWS).await?;
        for pair in left.iter().zip(&right) {
            if pair.0 != pair.1 {
                return Err(ReplayError::Difference(difference(table, pair.0, pair.1)));
            }
        }
        if left.len() != right.len() {
            let (number, what) = match (left.get(right.len()), right.get(left.len())) {
                (Some(row), _) => (row.key().1, "is in the projection but not in the log"),
                (_, Some(row)) => (row.key().1, "is in the log but not in the projection"),
                (None, None) => (0, "differs"),
            };
            return Err(ReplayError::Difference(format!("{name} {number} {what}")));
        }
        count += left.len() as i64;
        match left.last() {
            Some(row) if left.len() as i64 == PAGE_ROWS => from = row.key().1.saturating_add(1),
            _ => return Ok(count),
        }
    }
}

/// A row that the store itself can't make sense of is a difference like others.
fn unreadable(table: &str, error: StoreError) -> ReplayError {
    match error {
        StoreError::Refused(why) => ReplayError::Difference(format!("{table} can't be read: {why}")),
        other => other.into(),
    }
}

fn difference(table: Table, stored: &Row, fresh: &Row) -> String {
    let (name, stored_number, fresh_number) = (table.name(), stored.key().1, fresh.key().1);
    if stored_number < fresh_number {
        return format!("{name} {stored_number} is in the projection but not in the log");
    }
    if fresh_number < stored_number {
        return format!("{name} {fresh_number} is in the log but not in the projection");
    }
    let columns: Vec<&str> =
        table.columns().iter().zip(stored.values().iter().zip(&fresh.values())).filter(|(_, (a, b))| a != b).map(|(column, _)| column.name).collect();
    // The values stay out: they can be keys or personal.
    format!("{name} {stored_number}: {} not as the log says", columns.join(", "))
}
