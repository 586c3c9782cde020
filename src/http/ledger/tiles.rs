//! The log as C2SP's tlog-tiles have it: the checkpoint, hash tiles, entry bundles. What follows transparency logs follows it.

use std::sync::Arc;

use axum::http::HeaderValue;

use crate::{
    evidence::{ENTRY_BYTES, TILE_WIDTH, Tiles, Tree},
    http::{
        admin::{AdminCall, Problem, Raw, Replied},
        doc::{Doc, Given, Parameter, Place, Shape},
    },
};

/// The highest level that 2^63 events can have.
const LEVEL_MAX: u32 = 7;
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// A tile never changes.
const FOREVER: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");
/// Where it is for everybody, caches on the way may keep it too.
const FOREVER_FOR_ALL: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// The checkpoint changes every few seconds.
const BRIEFLY: HeaderValue = HeaderValue::from_static("no-cache");

pub const CHECKPOINT: Doc = Doc::new("The newest checkpoint")
    .details("A signed note (C2SP tlog-checkpoint, Ed25519), with the lines of witnesses that cosigned it. The key that checks it is at /ledger/v1/verifier-key.")
    .given(&[Given::new(200, "The note.", "text/plain", Shape::Text)])
    .refusals(&[404]);

pub async fn checkpoint(call: AdminCall, (): ()) -> Replied<Raw> {
    let note = call.app.evidence.latest_note().ok_or_else(|| Problem::not_found("checkpoint"))?;
    Ok(Raw { content_type: TEXT, cache: BRIEFLY, file_name: None, body: note.into() })
}

pub const VERIFIER_KEY: Doc = Doc::new("The key that checks checkpoints")
    .details("As verifiers of signed notes take it: name, key hash and Ed25519 key. Compare it with the one that the vendor publishes elsewhere.")
    .given(&[Given::new(200, "The key.", "text/plain", Shape::Text)]);

pub async fn verifier_key(call: AdminCall, (): ()) -> Replied<Raw> {
    let key = format!("{}\n", call.app.evidence.signer().verifier_key());
    Ok(Raw { content_type: TEXT, cache: BRIEFLY, file_name: None, body: key.into() })
}

/// Which tile a path names: its number, and how many entries of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TileName {
    number: u64,
    width: u64,
}

impl TileName {
    /// `x001/x234/067` or, for a tile that is not full, `x001/x234/067.p/12`.
    fn parse(path: &str) -> Option<Self> {
        let (digits, width) = match path.split_once(".p/") {
            Some((digits, width)) => (digits, width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width) && !path.ends_with("/0"))?),
            None => (path, TILE_WIDTH),
        };
        let (front, last) = digits.rsplit_once('/').map_or((None, digits), |(front, last)| (Some(front), last));
        let groups = front.into_iter().flat_map(|front| front.split('/')).map(|group| group.strip_prefix('x')).chain([Some(last)]);
        let mut number: u64 = 0;
        for group in groups {
            let group = group.filter(|group| group.len() == 3 && group.bytes().all(|byte| byte.is_ascii_digit()))?;
            number = number.checked_mul(1_000)?.checked_add(group.parse().ok()?)?;
        }
        // One name for each tile: without groups of zeros in front.
        let name = Self { number, width };
        (name.path() == path).then_some(name)
    }

    fn path(self) -> String {
        let mut path = format!("{:03}", self.number % 1_000);
        let mut rest = self.number / 1_000;
        while rest > 0 {
            path = format!("x{:03}/{path}", rest % 1_000);
            rest /= 1_000;
        }
        if self.width < TILE_WIDTH { format!("{path}.p/{}", self.width) } else { path }
    }

    /// Whether a tree of that size has it, at a level.
    fn is_in(self, level: u32, size: u64) -> bool {
        let entries = size >> (8 * level);
        self.number.checked_mul(TILE_WIDTH).and_then(|first| first.checked_add(self.width)).is_some_and(|end| end <= entries)
    }
}

/// How many events the newest checkpoint is of: tiles are of those alone.
fn size(call: &AdminCall) -> u64 {
    call.app.evidence.latest().map_or(0, |newest| newest.size.unsigned_abs())
}

pub const TILE: Doc = Doc::new("A hash tile")
    .details("C2SP tlog-tiles: level and number, such as 0/x001/234, and for one that is not full how many entries, such as 0/x001/234.p/17.")
    .parameters(&[Parameter::required("tile", Shape::Text, "Level and number.").at(Place::Path)])
    .given(&[Given::new(200, "Hashes of 32 bytes.", "application/octet-stream", Shape::Binary)]);

pub async fn tile(call: AdminCall, (): ()) -> Replied<Raw> {
    let no_tile = || Problem::not_found("tile");
    let (level, path) = call.text("tile").split_once('/').ok_or_else(no_tile)?;
    let level = level.parse().ok().filter(|parsed: &u32| *parsed <= LEVEL_MAX && parsed.to_string() == level).ok_or_else(no_tile)?;
    let name = TileName::parse(path).filter(|name| name.is_in(level, size(&call))).ok_or_else(no_tile)?;
    let mut tiles = Tiles::new(Arc::clone(call.app.ledger.store()));
    let entries = tiles.entries(Tree::Log, level, name.number).await?;
    let wanted = usize::try_from(name.width).unwrap_or_default() * ENTRY_BYTES;
    let body = entries.get(..wanted).ok_or_else(Problem::internal)?.to_vec();
    let cache = if call.app.evidence.is_public() { FOREVER_FOR_ALL } else { FOREVER };
    Ok(Raw { content_type: BYTES, cache, file_name: None, body: body.into() })
}

pub const ENTRIES: Doc = Doc::new("An entry bundle")
    .details("C2SP tlog-tiles: the events of a tile of level 0, each after its length in two bytes, big endian. Events hold license keys.")
    .parameters(&[Parameter::required("tile", Shape::Text, "The tile's number, such as x001/234 or x001/234.p/17.").at(Place::Path)])
    .given(&[Given::new(200, "Events, as they are hashed.", "application/octet-stream", Shape::Binary)]);

pub async fn entries(call: AdminCall, (): ()) -> Replied<Raw> {
    let name = TileName::parse(call.text("tile")).filter(|name| name.is_in(0, size(&call))).ok_or_else(|| Problem::not_found("tile"))?;
    let ledger_id = call.app.ledger.vault().ledger_id();
    let (first, count) = (i64::try_from(name.number * TILE_WIDTH), i64::try_from(name.width));
    let (Ok(first), Ok(count)) = (first, count) else { return Err(Problem::not_found("tile")) };
    let mut body = Vec::new();
    for event in call.app.ledger.log_page(first, count).await? {
        let leaf = event.leaf(ledger_id).canonical();
        // No event is longer.
        let length = u16::try_from(leaf.len()).map_err(|_| Problem::internal())?;
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(leaf.as_bytes());
    }
    Ok(Raw { content_type: BYTES, cache: FOREVER, file_name: None, body: body.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_has_one_name() {
        let name = |number, width| TileName { number, width };
        for (path, expected) in [
            ("000", name(0, 256)),
            ("067", name(67, 256)),
            ("x001/x234/067", name(1_234_067, 256)),
            ("x001/x234/067.p/8", name(1_234_067, 8)),
            ("000.p/255", name(0, 255)),
        ] {
            assert_eq!(TileName::parse(path), Some(expected));
            assert_eq!(expected.path(), path);
        }
        for bad in
            ["", "0", "1234", "x000/067", "001/067", "067.p/0", "067.p/256", "067.p/008", "067.p/", "067.p", "x067", "067/", "/067", "+67", "-01"]
        {
            assert_eq!(TileName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_tile_ends_where_the_tree_does() {
        let name = |number, width| TileName { number, width };
        assert!(name(0, 256).is_in(0, 256) && name(1, 4).is_in(0, 260) && name(0, 1).is_in(1, 256));
        assert!(!name(0, 256).is_in(0, 255) && !name(1, 5).is_in(0, 260) && !name(0, 1).is_in(1, 255));
        assert!(!name(u64::MAX, 256).is_in(0, u64::MAX));
    }
}
