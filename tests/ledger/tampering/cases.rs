//! The ways in which a database is changed, and by what each is found.

use std::sync::LazyLock;

use keyledger::{
    evidence::{Tiles, Tree},
    ledger::tree::{Edge, leaf_hash},
    store::StoredEvent,
};
use keyledger_projections::Table;
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

use super::{LOG, SECRETS, Victim, raw::Kind};

/// What must become of a change.
#[derive(Debug)]
pub enum Found {
    /// Verification names the event.
    Event(i64),
    Says(String),
    /// Verification can't know without a checkpoint that was kept.
    ByWhatWasKept,
}

impl Found {
    fn says(text: &str) -> Self {
        Self::Says(text.to_owned())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    EventBit,
    FileBit,
    Truncated,
    Deleted,
    InsertedBefore,
    InsertedBehind,
    InsertedBetween,
    InsertedWithHashes,
    Swapped,
    SwappedPayloads,
    CutOff,
    CutOffWithHead,
    CutOffWithTiles,
    WithHash,
    WithEdge,
    WithTiles,
    WithRoots,
    WithoutCheckpoints,
    TailWithHash,
    HeadBack,
    HeadBit,
    RowBit,
    RowDeleted,
    RowInserted,
    TileBit,
    TileDeleted,
    TileAdded,
    TileLonger,
    CheckpointBit,
    EvidenceBit,
    SubjectKey,
    SubjectLost,
    PrivateKey,
    ApiKeyPointed,
}

pub struct Case {
    pub name: &'static str,
    pub weight: usize,
    pub change: Change,
}

const fn case(name: &'static str, weight: usize, change: Change) -> Case {
    Case { name, weight, change }
}

pub const CASES: &[Case] = &[
    case("a bit of an event", 150, Change::EventBit),
    case("a bit of the file where an event is", 20, Change::FileBit),
    case("an event cut short", 30, Change::Truncated),
    case("an event deleted", 20, Change::Deleted),
    case("an event before the first", 6, Change::InsertedBefore),
    case("an event behind the last", 6, Change::InsertedBehind),
    case("an event between others", 10, Change::InsertedBetween),
    case("the same, with all hashes and the head", 10, Change::InsertedWithHashes),
    case("two events swapped", 20, Change::Swapped),
    case("the payloads of two events swapped", 10, Change::SwappedPayloads),
    case("the last events deleted", 10, Change::CutOff),
    case("the same, with the head", 10, Change::CutOffWithHead),
    case("the same, with the tiles", 10, Change::CutOffWithTiles),
    case("an event and its hash", 15, Change::WithHash),
    case("the same, with the head", 15, Change::WithEdge),
    case("the same, with all tiles", 15, Change::WithTiles),
    case("the same, with the checkpoints' roots", 10, Change::WithRoots),
    case("the same, with the checkpoints deleted", 15, Change::WithoutCheckpoints),
    case("an event that no checkpoint covers, and its hash", 5, Change::TailWithHash),
    case("the head set back", 10, Change::HeadBack),
    case("a bit of the head", 20, Change::HeadBit),
    case("a bit of a projection's row", 100, Change::RowBit),
    case("a projection's row deleted", 15, Change::RowDeleted),
    case("a projection's row inserted", 15, Change::RowInserted),
    case("a bit of a tile", 50, Change::TileBit),
    case("a tile deleted", 5, Change::TileDeleted),
    case("a tile too many", 5, Change::TileAdded),
    case("a tile made longer", 5, Change::TileLonger),
    case("a bit of a checkpoint", 25, Change::CheckpointBit),
    case("a bit of the evidence's size", 10, Change::EvidenceBit),
    case("a bit of a data subject's key", 10, Change::SubjectKey),
    case("a data subject deleted", 8, Change::SubjectLost),
    case("a private key changed or swapped", 6, Change::PrivateKey),
    case("an API key's value that stands for another one", 4, Change::ApiKeyPointed),
];

static PROJECTIONS: LazyLock<Vec<&'static str>> = LazyLock::new(|| Table::ALL.iter().map(|table| table.name()).collect());

impl Case {
    pub fn is_of_a_file(&self) -> bool {
        self.change == Change::FileBit
    }

    /// What has to be put back.
    pub fn tables(&self) -> &'static [&'static str] {
        match self.change {
            Change::RowBit | Change::RowDeleted | Change::RowInserted => PROJECTIONS.as_slice(),
            Change::SubjectKey | Change::SubjectLost | Change::PrivateKey | Change::ApiKeyPointed => &SECRETS,
            Change::TileBit | Change::TileDeleted | Change::TileAdded | Change::TileLonger => &["tile"],
            Change::CheckpointBit => &["checkpoint"],
            Change::EvidenceBit => &["evidence"],
            Change::HeadBack | Change::HeadBit => &["head"],
            Change::EventBit | Change::FileBit | Change::Truncated | Change::Deleted => &["events"],
            _ => &LOG,
        }
    }
}

const EVENT: [(&str, Kind); 11] = [
    ("payload", Kind::Json),
    ("metadata", Kind::Json),
    ("event_type", Kind::Text),
    ("event_version", Kind::Text),
    ("recorded_at", Kind::Time),
    ("leaf_hash", Kind::Bytes),
    ("aggregate_type", Kind::Text),
    ("aggregate_id", Kind::UuidText),
    ("event_id", Kind::Uuid),
    ("sequence", Kind::Int),
    ("position", Kind::Int),
];
const HEAD: [(&str, Kind); 5] =
    [("next_position", Kind::Int), ("recorded_at", Kind::Time), ("tree_edge", Kind::Bytes), ("projections", Kind::Text), ("ledger_id", Kind::Uuid)];
const TILE: [(&str, Kind); 4] = [("entries", Kind::Bytes), ("tree", Kind::Int), ("level", Kind::Int), ("number", Kind::Int)];
/// When it was made is the server's word, and nothing else says it.
const CHECKPOINT: [(&str, Kind); 3] = [("size", Kind::Int), ("root", Kind::Bytes), ("note", Kind::Text)];
const COLUMNS: &str =
    "aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, event_id, recorded_at, leaf_hash";

/// JSON with the last of its innermost members missing.
fn without_last_member(text: &str) -> Option<String> {
    let mut whole: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
    let last = whole.keys().next_back()?.clone();
    match whole.get_mut(&last).and_then(serde_json::Value::as_object_mut) {
        Some(inner) if !inner.is_empty() => {
            let last = inner.keys().next_back()?.clone();
            inner.remove(&last);
        }
        _ => {
            whole.remove(&last);
        }
    }
    serde_json::to_string(&whole).ok()
}

type Done = Option<(String, Found)>;

impl Victim {
    /// Changes something; `None` where the database refused it.
    pub async fn change(&self, change: Change, random: &mut StdRng) -> Done {
        let any = random.random_range(0..self.events);
        let covered = random.random_range(0..self.folded);
        match change {
            Change::EventBit => {
                // Every column as often as the contents.
                let (column, kind) = EVENT[random.random_range(0..EVENT.len())];
                let sql = self.raw.flip(random, "events", column, kind, &format!("position = {any}")).await?;
                Some((sql, Found::Event(any)))
            }
            Change::FileBit => self.file_bit(any, random).await,
            Change::Truncated => {
                let column = if random.random_bool(0.5) { "payload" } else { "metadata" };
                let old = self.raw.texts(&format!("SELECT {column} FROM events WHERE position = {any}")).await.remove(0);
                // PostgreSQL takes nothing that is no JSON.
                let new = if self.file.is_some() { old[..random.random_range(0..old.len())].to_owned() } else { without_last_member(&old)? };
                self.set("events", &format!("{column} = '{}' WHERE position = {any}", new.replace('\'', "''"))).await;
                Some((format!("{column} of event {any} is {new}"), Found::Event(any)))
            }
            Change::Deleted => {
                let sql = format!("DELETE FROM events WHERE position = {any}");
                self.raw.execute(&sql).await.ok()?;
                Some((sql, Found::Event(any)))
            }
            Change::InsertedBefore => {
                let at = -random.random_range(1..1_000);
                self.insert(any, at).await?;
                Some((format!("a copy of event {any} at {at}"), Found::Event(at)))
            }
            Change::InsertedBehind => {
                let at = self.events + random.random_range(0..3);
                self.insert(any, at).await?;
                Some((format!("a copy of event {any} at {at}"), Found::Event(at)))
            }
            Change::InsertedBetween | Change::InsertedWithHashes => {
                self.make_place(covered).await;
                self.insert(any, covered).await?;
                self.set("head", &format!("next_position = {}", self.events + 1)).await;
                if change == Change::InsertedWithHashes {
                    self.fit_hashes(covered).await;
                    self.fit_head().await;
                }
                Some((format!("a copy of event {any} at {covered}"), Found::Event(covered)))
            }
            Change::Swapped => {
                let other = random.random_range(0..self.events);
                if any == other {
                    return None;
                }
                for (from, to) in [(any, -1), (other, any), (-1, other)] {
                    self.raw.execute(&format!("UPDATE events SET position = {to} WHERE position = {from}")).await.unwrap();
                }
                Some((format!("{any} and {other}"), Found::Event(any.min(other))))
            }
            Change::SwappedPayloads => {
                let other = random.random_range(0..self.events);
                let payloads = [self.payload(any).await, self.payload(other).await];
                if payloads[0] == payloads[1] {
                    return None;
                }
                for (to, payload) in [other, any].into_iter().zip(payloads) {
                    self.set("events", &format!("payload = '{}' WHERE position = {to}", payload.replace('\'', "''"))).await;
                }
                Some((format!("{any} and {other}"), Found::Event(any.min(other))))
            }
            Change::CutOff | Change::CutOffWithHead | Change::CutOffWithTiles => self.cut_off(change, random).await,
            Change::WithHash | Change::WithEdge | Change::WithTiles | Change::WithRoots | Change::WithoutCheckpoints => {
                self.forge(covered, change, random).await
            }
            Change::TailWithHash => {
                let position = random.random_range(self.folded..self.events);
                self.rewrite(position, random).await?;
                self.fit_hashes(position).await;
                Some((format!("event {position}"), Found::says("an event's content and hash were changed together")))
            }
            Change::HeadBack => {
                let to = random.random_range(0..self.events);
                self.set("head", &format!("next_position = {to}")).await;
                // With a head at 0 there is nothing that could be wrong with an event.
                Some((format!("to {to}"), if to > 0 { Found::says("") } else { Found::Event(0) }))
            }
            Change::HeadBit => {
                let (column, kind) = HEAD[random.random_range(0..HEAD.len())];
                Some((self.raw.flip(random, "head", column, kind, "id = 1").await?, Found::says("")))
            }
            Change::RowBit | Change::RowDeleted | Change::RowInserted => self.row(change, random).await,
            Change::TileBit | Change::TileDeleted | Change::TileAdded | Change::TileLonger => self.tile(change, random).await,
            Change::CheckpointBit => {
                let size = self.held.choose(random)?.size;
                let (column, kind) = CHECKPOINT[random.random_range(0..CHECKPOINT.len())];
                let sql = self.raw.flip(random, "checkpoint", column, kind, &format!("size = {size}")).await?;
                Some((sql, Found::says("checkpoint")))
            }
            Change::EvidenceBit => {
                let column = if random.random_bool(0.5) { "size" } else { "licenses" };
                Some((self.raw.flip(random, "evidence", column, Kind::Int, "id = 1").await?, Found::says("")))
            }
            Change::SubjectKey | Change::SubjectLost => {
                let ids = self.raw.texts("SELECT DISTINCT kind FROM subject ORDER BY kind").await;
                let kind = ids.choose(random)?;
                let row = format!("kind = '{kind}' AND number = (SELECT min(number) FROM subject WHERE kind = '{kind}')");
                if change == Change::SubjectLost {
                    let sql = format!("DELETE FROM subject WHERE {row}");
                    self.raw.execute(&sql).await.unwrap();
                    return Some((sql, Found::says("has no key any more")));
                }
                let column = if random.random_bool(0.3) { ("id", Kind::Uuid) } else { ("sealed_key", Kind::Bytes) };
                Some((self.raw.flip(random, "subject", column.0, column.1, &row).await?, Found::says("")))
            }
            Change::PrivateKey => {
                let number = self.raw.number("SELECT min(key_pair) FROM key_pair_secret").await;
                let column = if random.random_bool(0.3) { ("key_pair", Kind::Int) } else { ("sealed", Kind::Bytes) };
                let sql = self.raw.flip(random, "key_pair_secret", column.0, column.1, &format!("key_pair = {number}")).await?;
                Some((sql, Found::Says(format!("the private key of key pair {number} does not open"))))
            }
            Change::ApiKeyPointed => {
                let numbers = self.raw.texts("SELECT api_key FROM api_key_secret ORDER BY api_key").await;
                let to = if random.random_bool(0.5) { numbers[1].clone() } else { "99".to_owned() };
                let sql = format!("UPDATE api_key_secret SET api_key = {to} WHERE api_key = {}", numbers[0]);
                self.raw.execute(&sql).await.unwrap();
                Some((sql, Found::Says(format!("API key {to}"))))
            }
        }
    }

    async fn set(&self, table: &str, change: &str) {
        self.raw.execute(&format!("UPDATE {table} SET {change}")).await.unwrap_or_else(|error| panic!("{table} {change}: {error}"));
    }

    async fn payload(&self, position: i64) -> String {
        self.raw.texts(&format!("SELECT payload FROM events WHERE position = {position}")).await.remove(0)
    }

    /// In the file of a stopped database, a bit of what an event says.
    async fn file_bit(&self, position: i64, random: &mut StdRng) -> Done {
        let file = self.file.as_ref()?;
        let busy = self.raw.rows("PRAGMA wal_checkpoint(TRUNCATE)").await.remove(0).remove(0);
        assert_eq!(busy.as_deref(), Some("0"), "the file is not up to date");
        let said = self.raw.texts(&format!("SELECT metadata FROM events WHERE position = {position}")).await.remove(0);
        let mut bytes = std::fs::read(file).unwrap();
        // Once: pages that are free may hold it still. It may also stand on two pages.
        let mut places = bytes.windows(said.len()).enumerate().filter(|(_, window)| *window == said.as_bytes()).map(|(at, _)| at);
        let (Some(at), None) = (places.next(), places.next()) else { return None };
        let at = at + random.random_range(0..said.len());
        bytes[at] ^= 1 << random.random_range(0..8);
        std::fs::write(file, bytes).unwrap();
        Some((format!("byte {at} of the file"), Found::Event(position)))
    }

    /// A copy of an event in a sequence of its own.
    async fn insert(&self, of: i64, at: i64) -> Option<()> {
        let of = if at >= 0 && of >= at && at < self.events { of + 1 } else { of };
        let columns = COLUMNS.replace("sequence", "sequence + 1000000").replace("position", &at.to_string());
        self.raw.execute(&format!("INSERT INTO events ({COLUMNS}) SELECT {columns} FROM events WHERE position = {of}")).await.ok()
    }

    /// Moves what comes from a position on by one.
    async fn make_place(&self, from: i64) {
        self.set("events", &format!("position = -position - 2 WHERE position >= {from}")).await;
        self.set("events", "position = -position - 1 WHERE position < 0").await;
    }

    async fn log(&self) -> Vec<StoredEvent> {
        self.store().events(0, i64::from(i32::MAX)).await.unwrap()
    }

    /// The hashes that the events from a position on should have.
    async fn fit_hashes(&self, from: i64) {
        let ledger_id = self.store().head().await.unwrap().ledger_id;
        let mut sql = String::from("BEGIN");
        for event in self.log().await.iter().filter(|event| event.position >= from) {
            let hash = leaf_hash(event.leaf(ledger_id).canonical().as_bytes());
            if hash != event.leaf_hash {
                sql += &format!("; UPDATE events SET leaf_hash = {} WHERE position = {}", self.raw.bytes(&hash), event.position);
            }
        }
        self.raw.execute(&(sql + "; COMMIT")).await.unwrap();
    }

    /// The head that the log should have.
    async fn fit_head(&self) {
        let (log, mut edge) = (self.log().await, Edge::default());
        log.iter().for_each(|event| edge.push(event.leaf_hash));
        let (next, edge) = (log.len(), self.raw.bytes(&edge.bytes()));
        let time = "recorded_at = (SELECT recorded_at FROM events ORDER BY position DESC LIMIT 1)";
        self.set("head", &format!("next_position = {next}, tree_edge = {edge}, {time}")).await;
    }

    /// The tiles that the first events should have.
    async fn fit_tiles(&self, size: i64) {
        let mut tiles = Tiles::in_memory();
        for event in self.log().await.iter().filter(|event| event.position < size) {
            tiles.put(Tree::Log, event.position as u64, &event.leaf_hash).await.unwrap();
        }
        let mut sql = String::from("BEGIN; DELETE FROM tile WHERE tree = 0");
        tiles.settle(Tree::Log).await.unwrap();
        for (key, entries) in tiles.changed() {
            sql +=
                &format!("; INSERT INTO tile (tree, level, number, entries) VALUES (0, {}, {}, {})", key.level, key.number, self.raw.bytes(&entries));
        }
        self.raw.execute(&(sql + "; COMMIT")).await.unwrap();
    }

    async fn cut_off(&self, change: Change, random: &mut StdRng) -> Done {
        // More than those that no checkpoint covers yet: where only such are cut off, nobody holds anything that says there were more.
        let to = if change == Change::CutOff { random.random_range(1..self.events) } else { random.random_range(1..self.folded) };
        self.raw.execute(&format!("DELETE FROM events WHERE position >= {to}")).await.unwrap();
        let what = format!("from {to} on");
        if change == Change::CutOff {
            return Some((what, Found::Event(to)));
        }
        self.fit_head().await;
        if change == Change::CutOffWithTiles {
            self.fit_tiles(to).await;
            self.set("evidence", &format!("size = {to}")).await;
            return Some((what, Found::says("checkpoint")));
        }
        Some((what, Found::Says(format!("the head is at {to}"))))
    }

    /// Another letter or digit in an event's metadata: JSON as before.
    async fn rewrite(&self, position: i64, random: &mut StdRng) -> Option<()> {
        let old = self.raw.texts(&format!("SELECT metadata FROM events WHERE position = {position}")).await.remove(0);
        let mut bytes = old.into_bytes();
        let at = random.random_range(0..bytes.len());
        let other = *b"0123456789abcdef".choose(random)?;
        if !bytes[at].is_ascii_alphanumeric() || bytes[at] == other {
            return None;
        }
        bytes[at] = other;
        let new = String::from_utf8(bytes).ok()?.replace('\'', "''");
        self.raw.execute(&format!("UPDATE events SET metadata = '{new}' WHERE position = {position}")).await.ok()
    }

    /// An event is changed by somebody who knows how everything is computed, and goes so far.
    async fn forge(&self, position: i64, change: Change, random: &mut StdRng) -> Done {
        self.rewrite(position, random).await?;
        self.fit_hashes(position).await;
        let what = format!("event {position}");
        if change == Change::WithHash {
            return Some((what, Found::Event(position)));
        }
        self.fit_head().await;
        if change == Change::WithEdge {
            return Some((what, Found::Event(position)));
        }
        self.fit_tiles(self.folded).await;
        // The smallest checkpoint that covers it is the first that doesn't fit.
        let size = self.held.iter().map(|held| held.size).find(|size| *size > position)?;
        if change == Change::WithTiles {
            return Some((what, Found::Says(format!("checkpoint of {size} events was signed over"))));
        }
        if change == Change::WithoutCheckpoints {
            let sql = format!("DELETE FROM checkpoint WHERE size > {position}");
            self.raw.execute(&sql).await.unwrap();
            return Some((what, Found::ByWhatWasKept));
        }
        let log = self.log().await;
        for held in self.held.iter().filter(|held| held.size > position) {
            let mut edge = Edge::default();
            log.iter().filter(|event| event.position < held.size).for_each(|event| edge.push(event.leaf_hash));
            self.set("checkpoint", &format!("root = {} WHERE size = {}", self.raw.bytes(&edge.root()), held.size)).await;
        }
        Some((what, Found::Says(format!("the checkpoint of {size} events is not signed by this ledger"))))
    }

    async fn row(&self, change: Change, random: &mut StdRng) -> Done {
        let table = *Table::ALL.choose(random)?;
        let (name, key) = (table.name(), table.columns()[0].name);
        let rows = self.raw.texts(&format!("SELECT {key} FROM {name} ORDER BY {key}")).await;
        // Of a table that is empty still there is nothing to change.
        let row = format!("{key} = {}", rows.choose(random)?);
        let found = Found::says(name);
        if change == Change::RowBit {
            let column = table.columns().choose(random)?;
            return Some((self.raw.flip(random, name, column.name, column.ty.into(), &row).await?, found));
        }
        let sql = if change == Change::RowDeleted {
            format!("DELETE FROM {name} WHERE {row}")
        } else {
            let columns: Vec<_> = table.columns().iter().skip(1).map(|column| column.name).collect();
            let at = [i64::MIN, -1, 0, 1_000_000, i64::MAX].choose(random)?.to_string();
            let (all, copied) = (columns.join(", "), columns.iter().map(|column| format!(", {column}")).collect::<String>());
            // A license's key and such may be there once only.
            let unique = ["license_key", "contract_key", "slug", "hash", "identifier", "meta_key", "value", "version", "numeric_version"];
            let copied = columns
                .iter()
                .zip(copied.split(", ").skip(1))
                .map(|(column, text)| if unique.contains(column) && *column != "numeric_version" { "'other'".to_owned() } else { text.to_owned() });
            let copied = copied.collect::<Vec<_>>().join(", ");
            format!("INSERT INTO {name} ({key}, {all}) SELECT {at}, {copied} FROM {name} WHERE {row}")
        };
        self.raw.execute(&sql).await.ok()?;
        Some((sql, found))
    }

    async fn tile(&self, change: Change, random: &mut StdRng) -> Done {
        let tiles = self.raw.rows("SELECT tree, level, number FROM tile ORDER BY tree, level, number").await;
        let [tree, level, number] = [0, 1, 2].map({
            let tile = tiles.choose(random)?;
            |column: usize| tile[column].clone().unwrap_or_default()
        });
        let row = format!("tree = {tree} AND level = {level} AND number = {number}");
        let entry = self.raw.bytes(&random.random::<[u8; 32]>());
        let sql = match change {
            Change::TileBit => {
                // Mostly in what it says.
                let (column, kind) = if random.random_bool(0.8) { TILE[0] } else { TILE[random.random_range(0..TILE.len())] };
                return Some((self.raw.flip(random, "tile", column, kind, &row).await?, Found::says("")));
            }
            Change::TileDeleted => format!("DELETE FROM tile WHERE {row}"),
            Change::TileAdded => {
                let (tree, level, number) = (random.random_range(-1..3), random.random_range(-1..4), random.random_range(-2..9));
                format!("INSERT INTO tile (tree, level, number, entries) VALUES ({tree}, {level}, {number}, {entry})")
            }
            _ => {
                let longer = if self.file.is_some() { "CAST(entries || {} AS BLOB)" } else { "entries || {}" };
                format!("UPDATE tile SET entries = {} WHERE {row}", longer.replace("{}", &entry))
            }
        };
        self.raw.execute(&sql).await.ok()?;
        Some((sql, Found::says("")))
    }
}
