//! Folds events into fresh tables through a bounded cache of rows, so that a row that many events touch is written
//! seldom and memory doesn't grow with the log.

use std::collections::{BTreeMap, HashMap, HashSet};

use keyledger_events::Recorded;
use keyledger_projections::{Row, RowKey, Table, fold, touches};

use super::ReplayError;
use crate::store::Rebuild;

/// Rows kept in memory: about half a kilobyte each.
const ROWS_MAX: usize = 80_000;

struct Slot {
    row: Option<Row>,
    /// Whether the table has a row of this key.
    stored: bool,
    dirty: bool,
    /// The chunk that used it last.
    used: u64,
}

pub(super) struct Folder<'t> {
    target: &'t mut dyn Rebuild,
    rows: HashMap<RowKey, Slot>,
    /// The highest number of each table that was ever seen: a row above it can't be in the table. Empty at the start of
    /// a second range, where the tables have rows already.
    highest: BTreeMap<Table, i64>,
    chunk: u64,
}

impl<'t> Folder<'t> {
    pub(super) fn new(target: &'t mut dyn Rebuild) -> Self {
        Self { target, rows: HashMap::new(), highest: BTreeMap::new(), chunk: 0 }
    }

    /// The tables are empty: whatever is met for the first time is new.
    pub(super) fn on_empty_tables(mut self) -> Self {
        self.highest = Table::ALL.iter().map(|table| (*table, 0)).collect();
        self
    }

    pub(super) async fn fold(&mut self, events: &[Recorded]) -> Result<(), ReplayError> {
        self.chunk += 1;
        self.load(events).await?;
        for recorded in events {
            for key in touches(&recorded.event) {
                let slot = self.rows.entry(key).or_insert(Slot { row: None, stored: false, dirty: false, used: 0 });
                slot.row = fold(key, slot.row.take(), recorded)?;
                slot.dirty = true;
                slot.used = self.chunk;
            }
        }
        if self.rows.len() > ROWS_MAX {
            self.flush().await?;
            self.evict();
        }
        Ok(())
    }

    /// Fetches the rows that a chunk touches and that are in the table but not in memory.
    async fn load(&mut self, events: &[Recorded]) -> Result<(), ReplayError> {
        let mut missing = HashSet::new();
        for key in events.iter().flat_map(|recorded| touches(&recorded.event)) {
            let is_new = self.highest.get(&key.0).is_some_and(|highest| key.1 > *highest);
            if is_new {
                self.highest.insert(key.0, key.1);
            } else if !self.rows.contains_key(&key) {
                missing.insert(key);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let missing: Vec<RowKey> = missing.into_iter().collect();
        for row in self.target.load(&missing).await? {
            self.rows.insert(row.key(), Slot { row: Some(row), stored: true, dirty: false, used: self.chunk });
        }
        Ok(())
    }

    /// Writes what changed.
    pub(super) async fn flush(&mut self) -> Result<(), ReplayError> {
        let (mut fresh, mut changed, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
        let mut keys: Vec<RowKey> = self.rows.iter().filter(|(_, slot)| slot.dirty).map(|(key, _)| *key).collect();
        keys.sort_unstable();
        for key in keys {
            let Some(slot) = self.rows.get_mut(&key) else { continue };
            match (&slot.row, slot.stored) {
                (Some(row), false) => fresh.push(row.clone()),
                (Some(row), true) => changed.push(row.clone()),
                (None, true) => deletes.push(key),
                (None, false) => {}
            }
            slot.stored = slot.row.is_some();
            slot.dirty = false;
        }
        self.target.write(&fresh, &changed, &deletes).await?;
        Ok(())
    }

    /// Forgets the rows that were used longest ago, until half are left.
    fn evict(&mut self) {
        let mut uses: Vec<u64> = self.rows.values().map(|slot| slot.used).collect();
        uses.sort_unstable();
        let Some(cut) = uses.get(uses.len() / 2).copied() else { return };
        self.rows.retain(|_, slot| slot.used > cut);
    }
}
