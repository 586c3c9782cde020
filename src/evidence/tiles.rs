//! The tiles of a tree: read where they are needed, changed in memory, written together.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use keyledger_projections::Value;

use super::shape::{Node, TILE_WIDTH, nodes};
use crate::{
    ledger::tree::{Edge, Hash, leaf_hash, node_hash},
    store::{Store, StoreError, TileKey},
};

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 32;

/// Bytes of a full tile.
pub const FULL_BYTES: usize = TILE_WIDTH as usize * ENTRY_BYTES;

/// The evidence's trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tree {
    /// Over all events; an entry is a leaf's hash.
    Log,
    /// Over all licenses; an entry says where a license's stream ends, and is hashed to become a leaf.
    StreamMap,
}

impl Tree {
    fn number(self) -> i64 {
        match self {
            Self::Log => 0,
            Self::StreamMap => 1,
        }
    }

    fn hashes(self, level: u32, entries: &[u8]) -> Vec<Hash> {
        let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
        match (self, level) {
            (Self::StreamMap, 0) => entries.iter().map(|entry| leaf_hash(entry)).collect(),
            (Self::Log | Self::StreamMap, _) => entries.to_vec(),
        }
    }
}

/// The root over hashes side by side, however many.
pub fn root_of(hashes: &[Hash]) -> Hash {
    if hashes.len() < 2 {
        return hashes.first().copied().unwrap_or_else(|| Edge::default().root());
    }
    let (left, right) = hashes.split_at(hashes.len().next_power_of_two() / 2);
    node_hash(&root_of(left), &root_of(right))
}

pub struct Tiles {
    /// None where all of it is in memory.
    store: Option<Arc<dyn Store>>,
    known: BTreeMap<TileKey, Tile>,
    /// Hashes of subtrees that were needed before: many proofs have them in common. Of no use once an entry changes.
    hashes: HashMap<(Tree, Node), Hash>,
}

struct Tile {
    entries: Vec<u8>,
    is_changed: bool,
}

impl Tiles {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store: Some(store), known: BTreeMap::new(), hashes: HashMap::new() }
    }

    /// Empty ones that are kept nowhere else.
    pub fn in_memory() -> Self {
        Self { store: None, known: BTreeMap::new(), hashes: HashMap::new() }
    }

    async fn tile(&mut self, key: TileKey) -> Result<&mut Tile, StoreError> {
        if !self.known.contains_key(&key) {
            let entries = match &self.store {
                Some(store) => read(store, key).await?,
                None => Vec::new(),
            };
            self.known.insert(key, Tile { entries, is_changed: false });
        }
        Ok(self.known.entry(key).or_insert(Tile { entries: Vec::new(), is_changed: false }))
    }

    /// The entries of a tile as far as it is filled.
    pub async fn entries(&mut self, tree: Tree, level: u32, number: u64) -> Result<&[u8], StoreError> {
        Ok(&self.tile(key(tree, level, number)).await?.entries)
    }

    async fn node(&mut self, tree: Tree, node: Node) -> Result<Hash, StoreError> {
        if let Some(hash) = self.hashes.get(&(tree, node)) {
            return Ok(*hash);
        }
        let (level, number, within) = node.in_tile();
        let entries = self.entries(tree, level, number).await?;
        let wanted = entries.get(within.start * ENTRY_BYTES..within.end * ENTRY_BYTES);
        let wanted = wanted.ok_or_else(|| StoreError::Refused(format!("tile {number} of level {level} has too few entries")))?;
        let hash = root_of(&tree.hashes(level, wanted));
        self.hashes.insert((tree, node), hash);
        Ok(hash)
    }

    /// The hash over a range of leaves that is a subtree, perfect or at the right edge.
    pub async fn range(&mut self, tree: Tree, leaves: Range<u64>) -> Result<Hash, StoreError> {
        let mut hash = None;
        for node in nodes(leaves).into_iter().rev() {
            let left = self.node(tree, node).await?;
            hash = Some(hash.map_or(left, |right| node_hash(&left, &right)));
        }
        Ok(hash.unwrap_or_else(|| Edge::default().root()))
    }

    /// The root over the first leaves.
    pub async fn root(&mut self, tree: Tree, size: u64) -> Result<Hash, StoreError> {
        self.range(tree, 0..size).await
    }

    /// The hashes of a proof.
    pub async fn proof(&mut self, tree: Tree, ranges: Vec<Range<u64>>) -> Result<Vec<Hash>, StoreError> {
        let mut hashes = Vec::with_capacity(ranges.len());
        for range in ranges {
            hashes.push(self.range(tree, range).await?);
        }
        Ok(hashes)
    }

    /// Writes an entry over what is there, or behind the last.
    pub async fn put(&mut self, tree: Tree, number: u64, entry: &[u8; ENTRY_BYTES]) -> Result<(), StoreError> {
        self.put_at(tree, 0, number, entry).await
    }

    async fn put_at(&mut self, tree: Tree, level: u32, number: u64, entry: &[u8; ENTRY_BYTES]) -> Result<(), StoreError> {
        self.hashes.clear();
        let tile = self.tile(key(tree, level, number / TILE_WIDTH)).await?;
        let start = usize::try_from(number % TILE_WIDTH).unwrap_or_default() * ENTRY_BYTES;
        if tile.entries.len() < start {
            return Err(StoreError::Refused(format!("the entry before {number} of level {level} is missing")));
        }
        tile.entries.resize(tile.entries.len().max(start + ENTRY_BYTES), 0);
        if let Some(place) = tile.entries.get_mut(start..start + ENTRY_BYTES) {
            place.copy_from_slice(entry);
        }
        tile.is_changed = true;
        Ok(())
    }

    /// All that is known of a tree, in order.
    pub fn all(&self, tree: Tree) -> impl Iterator<Item = (TileKey, &[u8])> {
        let of_tree = self.known.iter().filter(move |(key, tile)| key.tree == tree.number() && !tile.entries.is_empty());
        of_tree.map(|(key, tile)| (*key, tile.entries.as_slice()))
    }

    /// How many tiles were changed.
    pub fn changed(&self) -> usize {
        self.known.values().filter(|tile| tile.is_changed).count()
    }

    /// Carries the changes of a tree up to its top, and gives out all tiles that changed; nothing else is kept.
    pub async fn settle(&mut self, tree: Tree) -> Result<Vec<(TileKey, Vec<u8>)>, StoreError> {
        for level in 0.. {
            let first = key(tree, level, 0);
            let of_level = self.known.range(first..TileKey { level: first.level + 1, ..first });
            let changed: Vec<(u64, Option<Hash>)> = of_level
                .filter(|(_, tile)| tile.is_changed)
                .map(|(key, tile)| (key.number as u64, (tile.entries.len() == FULL_BYTES).then(|| root_of(&tree.hashes(level, &tile.entries)))))
                .collect();
            if changed.is_empty() {
                break;
            }
            for (number, root) in changed {
                if let Some(root) = root {
                    self.put_at(tree, level + 1, number, &root).await?;
                }
            }
        }
        let mut written = Vec::new();
        for (key, tile) in &mut self.known {
            if key.tree == tree.number() && std::mem::take(&mut tile.is_changed) {
                written.push((*key, tile.entries.clone()));
            }
        }
        Ok(written)
    }
}

pub fn key(tree: Tree, level: u32, number: u64) -> TileKey {
    TileKey { tree: tree.number(), level: level.into(), number: i64::try_from(number).unwrap_or(i64::MAX) }
}

/// The entries of a stored tile; none where there is no such tile.
pub async fn read(store: &Arc<dyn Store>, key: TileKey) -> Result<Vec<u8>, StoreError> {
    let sql = "SELECT entries FROM tile WHERE tree = $1 AND level = $2 AND number = $3";
    let rows = store.query(sql, &[key.tree.into(), key.level.into(), key.number.into()]).await?;
    Ok(match rows.into_iter().next().and_then(|row| row.into_iter().next()) {
        Some(Value::Bytes(entries)) => entries,
        _ => Vec::new(),
    })
}
