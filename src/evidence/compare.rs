//! Holds stored tiles against what follows from the log: those of the log's tree while the log is read, at every level, in the memory
//! of one tile for each level.

use std::sync::Arc;

use super::tiles::{ENTRY_BYTES, FULL_BYTES, Tiles, Tree, key, read, root_of};
use crate::{
    ledger::{replay::ReplayError, tree::Hash},
    store::{Store, StoreError, TileKey},
};

/// A level's last tile as far as it follows from the events so far.
#[derive(Default)]
struct Level {
    /// Full tiles before it.
    full: u64,
    entries: Vec<u8>,
}

pub struct LogTiles {
    store: Arc<dyn Store>,
    levels: Vec<Level>,
    /// The tile that the next event's hash is in, as it is stored.
    stored: Vec<u8>,
    /// Tiles that there are.
    tiles: i64,
}

fn difference(text: String) -> ReplayError {
    ReplayError::Difference(text)
}

fn differs(at: TileKey) -> ReplayError {
    let tree = if at.tree == key(Tree::Log, 0, 0).tree { "log" } else { "stream map" };
    difference(format!("tile {} of level {} of the {tree}'s tree is not the one over the events: it was changed", at.number, at.level))
}

impl LogTiles {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, levels: Vec::new(), stored: Vec::new(), tiles: 0 }
    }

    /// Takes the hash of the next event.
    pub async fn push(&mut self, position: i64, hash: &Hash) -> Result<(), ReplayError> {
        let mut entry = *hash;
        for level in 0.. {
            if self.levels.len() == level as usize {
                self.levels.push(Level::default());
            }
            let Some(at) = self.levels.get_mut(level as usize) else { break };
            let place = key(Tree::Log, level, at.full);
            let start = at.entries.len();
            self.tiles += i64::from(start == 0);
            at.entries.extend(entry);
            if level == 0 {
                if start == 0 {
                    self.stored = read(&self.store, place).await?;
                }
                if self.stored.get(start..start + ENTRY_BYTES) != Some(entry.as_slice()) {
                    return Err(difference(format!(
                        "event {position} is not the one whose hash went into the tree: it and its hash were changed, or the tile was"
                    )));
                }
            }
            if at.entries.len() < FULL_BYTES {
                break;
            }
            if read(&self.store, place).await? != at.entries {
                return Err(differs(place));
            }
            let (hashes, _) = at.entries.as_chunks::<ENTRY_BYTES>();
            entry = root_of(hashes);
            at.entries.clear();
            at.full += 1;
        }
        Ok(())
    }

    /// After the last event that is folded: the tiles that aren't full, the stream map's, and that there are no others.
    pub async fn finish(&self, map: &Tiles) -> Result<(), ReplayError> {
        let mut tiles = self.tiles;
        for (level, last) in (0..).zip(&self.levels) {
            let place = key(Tree::Log, level, last.full);
            if read(&self.store, place).await? != last.entries {
                return Err(differs(place));
            }
        }
        for (place, entries) in map.all(Tree::StreamMap) {
            tiles += 1;
            if read(&self.store, place).await? != entries {
                return Err(differs(place));
            }
        }
        let stored = self.store.query("SELECT count(*) FROM tile", &[]).await?;
        let stored = keyledger_projections::Values::from(stored.into_iter().next().unwrap_or_default()).int();
        let stored = stored.map_err(|source| StoreError::Read { table: "tile", source })?;
        if stored == tiles { Ok(()) } else { Err(difference(format!("there are {stored} tiles, the log has {tiles}"))) }
    }
}
