//! The tiles of a tree: read where they are needed, changed in memory, written together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use keyledger_projections::{Value, Values};

use super::{
    read_error,
    shape::{Node, TILE_WIDTH, nodes},
};
use crate::{
    ledger::tree::{Edge, Hash, leaf_hash, node_hash},
    store::{Store, StoreError, TileKey},
};

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 32;

/// Tiles that one query fetches: those of a proof in a tree of sixteen million leaves, two of each level and some.
const FETCHED_AT_ONCE: usize = 8;

static FETCH: LazyLock<String> = LazyLock::new(|| {
    let pair = |at: usize| format!("(CAST(${} AS bigint), CAST(${} AS bigint))", 2 + 2 * at, 3 + 2 * at);
    let pairs = (0..FETCHED_AT_ONCE).map(pair).collect::<Vec<_>>().join(", ");
    format!("SELECT level, number, entries FROM tile WHERE tree = $1 AND (level, number) IN (VALUES {pairs})")
});
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
    /// The entries of those that were read or made.
    known: BTreeMap<TileKey, Vec<u8>>,
    /// Of these, the ones that are not written as they are.
    changed: BTreeSet<TileKey>,
    /// Hashes of subtrees that were needed before: many proofs have them in common. Of no use once an entry changes.
    hashes: HashMap<(Tree, Node), Hash>,
}

impl Tiles {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store: Some(store), ..Self::in_memory() }
    }

    /// Empty ones that are kept nowhere else.
    pub fn in_memory() -> Self {
        Self { store: None, known: BTreeMap::new(), changed: BTreeSet::new(), hashes: HashMap::new() }
    }

    async fn tile(&mut self, key: TileKey) -> Result<&mut Vec<u8>, StoreError> {
        if !self.known.contains_key(&key) {
            let entries = match &self.store {
                Some(store) => read(store, key).await?,
                None => Vec::new(),
            };
            self.known.insert(key, entries);
        }
        Ok(self.known.entry(key).or_default())
    }

    /// The entries of a tile as far as it is filled.
    pub async fn entries(&mut self, tree: Tree, level: u32, number: u64) -> Result<&[u8], StoreError> {
        Ok(self.tile(key(tree, level, number)).await?)
    }

    /// Reads the tiles that these ranges need and that are not known, in as few queries as may be.
    async fn fetch(&mut self, tree: Tree, ranges: &[Range<u64>]) -> Result<(), StoreError> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let needed = ranges.iter().flat_map(|range| nodes(range.clone())).map(|node| {
            let (level, number, _) = node.in_tile();
            key(tree, level, number)
        });
        let missing: BTreeSet<TileKey> = needed.filter(|key| !self.known.contains_key(key)).collect();
        let missing: Vec<TileKey> = missing.into_iter().collect();
        for keys in missing.chunks(FETCHED_AT_ONCE) {
            let mut parameters: Vec<Value> = vec![tree.number().into()];
            for at in 0..FETCHED_AT_ONCE {
                // Tiles have no negative numbers: the places that are left find nothing.
                let (level, number) = keys.get(at).map_or((-1, -1), |key| (key.level, key.number));
                parameters.extend([level.into(), number.into()]);
            }
            for row in store.query(&FETCH, &parameters).await? {
                let mut row = Values::from(row);
                let error = read_error("tile");
                let key = TileKey { tree: tree.number(), level: row.int().map_err(&error)?, number: row.int().map_err(&error)? };
                self.known.insert(key, row.bytes().map_err(&error)?);
            }
        }
        Ok(())
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
        self.fetch(tree, &ranges).await?;
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
        let key = key(tree, level, number / TILE_WIDTH);
        let entries = self.tile(key).await?;
        let start = usize::try_from(number % TILE_WIDTH).unwrap_or_default() * ENTRY_BYTES;
        if entries.len() < start {
            return Err(StoreError::Refused(format!("the entry before {number} of level {level} is missing")));
        }
        entries.resize(entries.len().max(start + ENTRY_BYTES), 0);
        if let Some(place) = entries.get_mut(start..start + ENTRY_BYTES) {
            place.copy_from_slice(entry);
        }
        self.changed.insert(key);
        Ok(())
    }

    /// All that is known of a tree, in order.
    pub fn all(&self, tree: Tree) -> impl Iterator<Item = (TileKey, &[u8])> {
        let of_tree = self.known.iter().filter(move |(key, entries)| key.tree == tree.number() && !entries.is_empty());
        of_tree.map(|(key, entries)| (*key, entries.as_slice()))
    }

    /// Gives up the lowest tiles before one, which proofs of later leaves don't need, and what was hashed of them.
    pub fn give_up_before(&mut self, tree: Tree, number: u64) {
        let first = key(tree, 0, number);
        if self.known.range(key(tree, 0, 0)..first).next().is_none() {
            return;
        }
        self.known.retain(|key, _| key.tree != first.tree || key.level > 0 || *key >= first);
        self.hashes.retain(|(of, node), _| *of != tree || node.in_tile().0 > 0 || node.in_tile().1 >= number);
    }

    /// Carries the changes of a tree up to its top.
    pub async fn settle(&mut self, tree: Tree) -> Result<(), StoreError> {
        for level in 0.. {
            let (first, above) = (key(tree, level, 0), key(tree, level + 1, 0));
            let full = self.changed.range(first..above).filter_map(|key| {
                let entries = self.known.get(key).filter(|entries| entries.len() == FULL_BYTES)?;
                Some((key.number.unsigned_abs(), root_of(&tree.hashes(level, entries))))
            });
            let full: Vec<(u64, Hash)> = full.collect();
            if full.is_empty() {
                break;
            }
            for (number, root) in full {
                self.put_at(tree, level + 1, number, &root).await?;
            }
        }
        Ok(())
    }

    /// The tiles that changed, as they are now.
    pub fn changed(&self) -> Vec<(TileKey, Vec<u8>)> {
        self.changed.iter().filter_map(|key| self.known.get(key).map(|entries| (*key, entries.clone()))).collect()
    }

    /// Has what changed so far count as written.
    pub fn set_unchanged(&mut self) {
        self.changed.clear();
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
