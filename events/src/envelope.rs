//! What surrounds an event in the log, and the leaf: the one canonical JSON object whose hash enters the tree.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;
use uuid::Uuid;

use crate::{Event, Timestamp};

/// The id of one event: a UUID version 7.
pub type EventId = Uuid;

/// Flat text to text, as in cqrs-es: who, from what kind of source, which request, why.
pub type Metadata = BTreeMap<String, String>;

/// The leaf's format. A change of the leaf gets a new name.
pub const LEAF_FORMAT: &str = "keyledger/1";

/// Longest leaf: what an entry of tlog-tiles can carry.
pub const LEAF_BYTES_MAX: usize = 65_535;

/// Room for what surrounds payload and metadata in a leaf.
const LEAF_FRAME_BYTES: usize = 512;

/// One event as replay hands it out: decoded, and its personal data open where it still can be opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    pub position: i64,
    pub aggregate_id: Uuid,
    pub sequence: i64,
    pub event_id: EventId,
    pub recorded_at: Timestamp,
    pub event: Event,
}

/// The fields of a leaf. `payload` and `metadata` are canonical JSON already.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    pub ledger_id: Uuid,
    pub position: i64,
    pub aggregate_type: &'a str,
    pub aggregate_id: Uuid,
    pub sequence: i64,
    pub event_id: EventId,
    pub event_type: &'a str,
    pub event_version: &'a str,
    pub recorded_at: Timestamp,
    pub payload: &'a str,
    pub metadata: &'a str,
}

impl Leaf<'_> {
    /// The leaf's bytes: an RFC 8785 object, so its members are in alphabetical order. Type names and versions are ours
    /// and need no escaping; payload and metadata are canonical when they are made ([`canonical_json`]).
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut leaf = String::with_capacity(LEAF_FRAME_BYTES + self.payload.len() + self.metadata.len());
        let mut id = Uuid::encode_buffer();
        let mut put = |parts: &[&str]| parts.iter().for_each(|part| leaf.push_str(part));
        put(&["{\"aggregate_id\":\"", self.aggregate_id.hyphenated().encode_lower(&mut id)]);
        put(&["\",\"aggregate_type\":\"", self.aggregate_type]);
        put(&["\",\"event_id\":\"", self.event_id.hyphenated().encode_lower(&mut id)]);
        put(&["\",\"event_type\":\"", self.event_type, "\",\"event_version\":\"", self.event_version]);
        put(&["\",\"format\":\"", LEAF_FORMAT, "\",\"ledger_id\":\"", self.ledger_id.hyphenated().encode_lower(&mut id)]);
        put(&["\",\"metadata\":", self.metadata, ",\"payload\":", self.payload, ",\"position\":"]);
        let Self { position, recorded_at, sequence, .. } = self;
        // Writing to a string can't fail.
        let _ = write!(leaf, "{position},\"recorded_at\":\"{recorded_at}\",\"sequence\":{sequence}}}");
        leaf
    }
}

/// RFC 8785 JSON of a value.
///
/// # Errors
/// When the value can't be serialized, as an event whose personal data is still open.
pub fn canonical_json(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json_canonicalizer::to_string(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_canonical_json() {
        let leaf = Leaf {
            ledger_id: Uuid::from_u128(1),
            position: 7,
            aggregate_type: "license",
            aggregate_id: Uuid::from_u128(2),
            sequence: 1,
            event_id: Uuid::from_u128(3),
            event_type: "LicenseDeleted",
            event_version: "1.0",
            recorded_at: Timestamp(1),
            payload: "{\"a\":1}",
            metadata: "{\"b\":\"é/\"}",
        };
        let text = leaf.canonical();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(canonical_json(&value).unwrap(), text);
        assert_eq!(value["recorded_at"], "1970-01-01T00:00:00.000001Z");
    }
}
