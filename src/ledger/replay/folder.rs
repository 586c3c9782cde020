//! Folds events into fresh tables. A row that many events touch is written once: rows stay in memory, packed, and go to the
//! table when all is folded, or before where the log has more of them than there is memory for.

use std::collections::{BTreeMap, HashMap, HashSet};

use keyledger_events::Recorded;
use keyledger_projections::{PackedRow, Row, RowKey, Table, fold, touches};

use super::ReplayError;
use crate::store::{Rebuild, StoreError};

/// Rows kept open: those of the last chunk or two, half a kilobyte each.
const OPEN_ROWS_MAX: usize = 6_000;
/// For rows kept packed: those of a ledger with 100,000 licenses of which each has had ten events fit.
const PACKED_BYTES_MAX: usize = 92 * 1024 * 1024;
/// What a packed row takes beside its bytes: its place in the map, which is half empty, and the allocator's share.
const PACKED_ROW_BYTES: usize = 64;
/// Rows written at a time: about a megabyte.
const WRITTEN_ROWS_MAX: usize = 4_000;
/// What every event of a license touches is needed again sooner than these.
const SELDOM_TOUCHED: [Table; 3] = [Table::Activation, Table::LicenseMeta, Table::ProductMeta];

/// A row, or that there is none.
struct Slot<T> {
    row: Option<T>,
    /// Whether the table has a row of this key.
    is_stored: bool,
    /// The chunk that used it last.
    used: u32,
}

impl<T> Slot<T> {
    /// The same with the row in another form.
    fn with<U>(self, row: Option<U>) -> Slot<U> {
        Slot { row, is_stored: self.is_stored, used: self.used }
    }
}

impl Slot<PackedRow> {
    fn size(&self) -> usize {
        PACKED_ROW_BYTES + self.row.as_ref().map_or(0, PackedRow::size)
    }
}

pub(super) struct Folder<'t> {
    target: &'t mut dyn Rebuild,
    open: HashMap<RowKey, Slot<Row>>,
    packed: BTreeMap<Table, HashMap<i64, Slot<PackedRow>>>,
    packed_bytes: usize,
    /// The highest number of each table that was ever seen: a row above it can't be in the table. Empty at the start of
    /// a second range, where the tables have rows already.
    highest: BTreeMap<Table, i64>,
    chunk: u32,
}

impl<'t> Folder<'t> {
    pub(super) fn new(target: &'t mut dyn Rebuild) -> Self {
        Self { target, open: HashMap::new(), packed: BTreeMap::new(), packed_bytes: 0, highest: BTreeMap::new(), chunk: 0 }
    }

    /// The tables are empty: whatever is met for the first time is new.
    pub(super) fn on_empty_tables(mut self) -> Self {
        self.highest = Table::ALL.iter().map(|table| (*table, 0)).collect();
        self
    }

    pub(super) async fn fold(&mut self, events: &[Recorded]) -> Result<(), ReplayError> {
        self.chunk += 1;
        let touched: Vec<Vec<RowKey>> = events.iter().map(|recorded| touches(&recorded.event)).collect();
        self.load(touched.iter().flatten()).await?;
        for (recorded, keys) in events.iter().zip(touched) {
            for key in keys {
                let slot = self.open.entry(key).or_insert(Slot { row: None, is_stored: false, used: 0 });
                slot.row = fold(key, slot.row.take(), recorded)?;
                slot.used = self.chunk;
            }
        }
        if self.open.len() > OPEN_ROWS_MAX {
            let cut = median(self.open.values().map(|slot| slot.used));
            self.pack(cut);
        }
        if self.packed_bytes > PACKED_BYTES_MAX {
            self.make_room().await?;
        }
        Ok(())
    }

    /// Opens the rows that a chunk touches: of those in memory and, where they were written already, those in the table.
    async fn load(&mut self, touched: impl Iterator<Item = &RowKey>) -> Result<(), ReplayError> {
        let mut missing = HashSet::new();
        for key in touched {
            let is_new = self.highest.get(&key.0).is_some_and(|highest| key.1 > *highest);
            if is_new {
                self.highest.insert(key.0, key.1);
                self.open.insert(*key, Slot { row: None, is_stored: false, used: self.chunk });
            } else if self.open.contains_key(key) {
                // It is at hand.
            } else if let Some(slot) = self.packed.get_mut(&key.0).and_then(|slots| slots.remove(&key.1)) {
                self.packed_bytes -= slot.size();
                let row = slot.row.as_ref().map(|row| unpack(row, key.0)).transpose()?;
                self.open.insert(*key, slot.with(row));
            } else {
                missing.insert(*key);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let missing: Vec<RowKey> = missing.into_iter().collect();
        for row in self.target.load(&missing).await? {
            self.open.insert(row.key(), Slot { row: Some(row), is_stored: true, used: self.chunk });
        }
        Ok(())
    }

    /// Packs the open rows last used in chunk `cut` or before.
    fn pack(&mut self, cut: u32) {
        for (key, slot) in self.open.extract_if(|_, slot| slot.used <= cut) {
            let row = slot.row.as_ref().map(PackedRow::new);
            let slot = slot.with(row);
            self.packed_bytes += slot.size();
            self.packed.entry(key.0).or_default().insert(key.1, slot);
        }
    }

    /// Writes and forgets packed rows until half the memory is free: first of those seldom touched, of these the ones used
    /// longest ago.
    async fn make_room(&mut self) -> Result<(), ReplayError> {
        let (seldom, often): (Vec<Table>, Vec<Table>) = self.packed.keys().partition(|table| SELDOM_TOUCHED.contains(table));
        for tables in [seldom, often] {
            let slots = |packed: &BTreeMap<Table, HashMap<i64, Slot<PackedRow>>>| {
                tables.iter().filter_map(|table| packed.get(table)).flat_map(HashMap::values).map(|slot| slot.used).collect::<Vec<_>>()
            };
            while self.packed_bytes > PACKED_BYTES_MAX / 2 {
                let uses = slots(&self.packed);
                if uses.is_empty() {
                    break;
                }
                let cut = median(uses.into_iter());
                for table in &tables {
                    self.write(*table, cut).await?;
                }
            }
        }
        Ok(())
    }

    /// Writes and forgets the packed rows of a table that were last used in chunk `cut` or before, in the order of their keys.
    async fn write(&mut self, table: Table, cut: u32) -> Result<(), ReplayError> {
        let Some(slots) = self.packed.get_mut(&table) else { return Ok(()) };
        let mut numbers: Vec<i64> = slots.iter().filter(|(_, slot)| slot.used <= cut).map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        for numbers in numbers.chunks(WRITTEN_ROWS_MAX) {
            let (mut fresh, mut changed, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
            for (number, slot) in numbers.iter().filter_map(|number| Some((*number, slots.remove(number)?))) {
                self.packed_bytes -= slot.size();
                match (&slot.row, slot.is_stored) {
                    (Some(row), false) => fresh.push(unpack(row, table)?),
                    (Some(row), true) => changed.push(unpack(row, table)?),
                    (None, true) => deletes.push(RowKey(table, number)),
                    (None, false) => {}
                }
            }
            self.target.write(&fresh, &changed, &deletes).await?;
        }
        slots.shrink_to_fit();
        Ok(())
    }

    /// Writes all that is not written yet.
    pub(super) async fn finish(mut self) -> Result<(), ReplayError> {
        self.pack(u32::MAX);
        for table in Table::ALL {
            self.write(*table, u32::MAX).await?;
        }
        Ok(())
    }
}

fn unpack(row: &PackedRow, table: Table) -> Result<Row, StoreError> {
    row.unpack(table).map_err(|source| StoreError::Read { table: table.name(), source })
}

fn median(uses: impl Iterator<Item = u32>) -> u32 {
    let mut uses: Vec<u32> = uses.collect();
    let middle = uses.len() / 2;
    if uses.is_empty() { 0 } else { *uses.select_nth_unstable(middle).1 }
}
