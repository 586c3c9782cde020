//! One line of `events.jsonl`: a leaf of the log, as it was hashed when it was recorded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    LEAF_FORMAT, Wrong, canonical, ensure, time,
    tree::{Hash, leaf_hash},
};

/// Longest leaf that a ledger takes.
const LEAF_BYTES_MAX: usize = 65_535;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Leaf {
    aggregate_id: String,
    aggregate_type: String,
    event_id: String,
    event_type: String,
    event_version: String,
    format: String,
    ledger_id: String,
    metadata: BTreeMap<String, String>,
    payload: BTreeMap<String, Map<String, Value>>,
    position: u64,
    recorded_at: String,
    sequence: u64,
}

/// An event, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub hash: Hash,
    pub ledger_id: [u8; 16],
    pub position: u64,
    pub aggregate_type: String,
    pub aggregate_id: [u8; 16],
    pub sequence: u64,
    pub event_id: [u8; 16],
    pub event_type: String,
    pub event_version: String,
    /// Microseconds since 1970.
    pub recorded_at: i64,
    /// Who, which request, from what kind of source, why.
    pub metadata: BTreeMap<String, String>,
    /// What the event says, without its name around it.
    pub payload: Map<String, Value>,
}

/// The bytes of a UUID written in the usual form, in small letters.
pub fn uuid(text: &str) -> Option<[u8; 16]> {
    let bytes: [u8; 16] = hex::decode(text.replace('-', "")).ok()?.try_into().ok()?;
    (uuid_text(&bytes) == text).then_some(bytes)
}

pub fn uuid_text(bytes: &[u8; 16]) -> String {
    let text = hex::encode(bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

impl Event {
    /// Reads a leaf. It must be written in the one canonical way, so that nothing in it can hide.
    pub fn read(leaf: &str) -> Result<Self, Wrong> {
        ensure(leaf.len() <= LEAF_BYTES_MAX, || "it is longer than an event can be".to_owned())?;
        let read: Leaf = serde_json::from_str(leaf).map_err(|error| Wrong(format!("it is no event: {error}")))?;
        ensure(canonical(&read)? == leaf, || "it is not canonical JSON (RFC 8785)".to_owned())?;
        ensure(read.format == LEAF_FORMAT, || format!("its format is “{}”, not “{LEAF_FORMAT}”", read.format))?;
        let id = |text: &str| uuid(text).ok_or_else(|| Wrong(format!("“{text}” is no UUID")));
        let recorded_at = time::parse(&read.recorded_at).ok_or_else(|| Wrong(format!("“{}” is no time", read.recorded_at)))?;
        let mut payload = read.payload.into_iter();
        let (Some((name, fields)), None) = (payload.next(), payload.next()) else {
            return Err(Wrong("its payload does not hold exactly one event".to_owned()));
        };
        ensure(name == read.event_type, || format!("it is called {}, its payload {name}", read.event_type))?;
        Ok(Self {
            hash: leaf_hash(leaf.as_bytes()),
            ledger_id: id(&read.ledger_id)?,
            position: read.position,
            aggregate_type: read.aggregate_type,
            aggregate_id: id(&read.aggregate_id)?,
            sequence: read.sequence,
            event_id: id(&read.event_id)?,
            event_type: read.event_type,
            event_version: read.event_version,
            recorded_at,
            metadata: read.metadata,
            payload: fields,
        })
    }

    fn lacks(&self, member: &str, what: &str) -> Wrong {
        Wrong(format!("the event at position {} ({}) has no {what} “{member}”", self.position, self.event_type))
    }

    /// A member that must be a whole number.
    pub fn number(&self, member: &str) -> Result<i64, Wrong> {
        self.payload.get(member).and_then(Value::as_i64).ok_or_else(|| self.lacks(member, "number"))
    }

    /// A member that is a whole number, `null`, or not there as in older versions.
    pub fn maybe_number(&self, member: &str) -> Result<Option<i64>, Wrong> {
        match self.payload.get(member) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.number(member).map(Some),
        }
    }

    /// A member that must be a text.
    pub fn text(&self, member: &str) -> Result<&str, Wrong> {
        self.payload.get(member).and_then(Value::as_str).ok_or_else(|| self.lacks(member, "text"))
    }

    /// A member that must be a time.
    pub fn time(&self, member: &str) -> Result<i64, Wrong> {
        time::parse(self.text(member)?).ok_or_else(|| self.lacks(member, "time"))
    }

    /// A member that is a time or `null`.
    pub fn maybe_time(&self, member: &str) -> Result<Option<i64>, Wrong> {
        match self.payload.get(member) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.time(member).map(Some),
        }
    }

    /// The number of the API key that asked for it, where one did.
    pub fn api_key(&self) -> Option<i64> {
        self.metadata.get("actor")?.strip_prefix("api_key:")?.parse().ok()
    }

    /// Whether it is one of a license.
    pub fn is_license(&self) -> bool {
        self.aggregate_type == "license"
    }

    /// Whether it is this event of this kind of stream.
    pub fn is(&self, aggregate_type: &str, event_type: &str) -> bool {
        self.aggregate_type == aggregate_type && self.event_type == event_type
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAF: &str = r#"{"aggregate_id":"01900000-0000-7000-8000-000000000001","aggregate_type":"license","event_id":"01900000-0000-7000-8000-000000000002","event_type":"LicenseReserved","event_version":"1.0","format":"keyledger/1","ledger_id":"01900000-0000-7000-8000-000000000003","metadata":{"actor":"api_key:4"},"payload":{"LicenseReserved":{"from":"available","license":1,"product":2}},"position":7,"recorded_at":"2026-05-03T10:12:03.000000Z","sequence":2}"#;

    #[test]
    fn a_leaf_is_read() {
        let event = Event::read(LEAF).unwrap();
        assert_eq!((event.position, event.sequence, event.api_key(), event.is_license()), (7, 2, Some(4), true));
        assert_eq!((event.number("license"), event.text("from"), event.maybe_number("job")), (Ok(1), Ok("available"), Ok(None)));
        assert_eq!(event.time("from").unwrap_err().0, "the event at position 7 (LicenseReserved) has no time “from”");
    }

    #[test]
    fn only_the_canonical_way_of_writing_it_is_read() {
        for (from, to) in [
            ("\"position\":7", "\"position\": 7"),
            ("\"position\":7", "\"position\":7.0"),
            ("\"position\":7", "\"position\":7,\"position\":7"),
            ("\"position\":7", "\"other\":1,\"position\":7"),
            ("api_key:4", "api\\u005fkey:4"),
            ("\"license\":1,\"product\":2", "\"product\":2,\"license\":1"),
            ("01900000-0000-7000-8000-000000000001", "01900000000070008000000000000001"),
            ("01900000-0000-7000-8000-000000000001", "0190000A-0000-7000-8000-000000000001"),
            ("10:12:03.000000Z", "10:12:03Z"),
            ("keyledger/1", "keyledger/2"),
            ("\"LicenseReserved\":{", "\"LicenseBlocked\":{"),
            ("{\"LicenseReserved\":", "{\"A\":{},\"LicenseReserved\":"),
        ] {
            let altered = LEAF.replacen(from, to, 1);
            assert!(altered != LEAF && Event::read(&altered).is_err(), "{altered}");
        }
    }
}
