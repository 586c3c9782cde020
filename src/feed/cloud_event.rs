//! An event as subscribers get it: CloudEvents 1.0 in JSON. Made of the stored text, most of which is passed on as it is: whoever
//! catches up reads millions of them.

use std::fmt;
use std::io::Write as _;

use keyledger_events::{
    PersonalData, Sealed,
    public::{keeps_its_license, key_facts, public_name},
    upcast::upcast,
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::store::StoredEvent;

/// What a reader may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// License and contract keys whole.
    pub keys: bool,
    /// Personal data, as far as it can still be opened.
    pub personal: bool,
}

/// What is known of an event's personal data.
#[derive(Clone, Debug, Default)]
pub enum Shown {
    /// There is none, or it is not looked at.
    #[default]
    Closed,
    Open(Box<PersonalData>),
    /// Its key is destroyed.
    Erased,
}

impl Shown {
    /// Personal data for one who may see it; a license key in it, only for one who may see keys too.
    #[must_use]
    pub fn open(data: PersonalData, sight: Sight) -> Self {
        let license_key = data.license_key.map(|key| if sight.keys { key } else { masked(&key) });
        Self::Open(Box::new(PersonalData { license_key, ..data }))
    }
}

/// A stored event that can't be shown.
#[derive(Debug, thiserror::Error)]
#[error("event {position} can't be read: {problem}")]
pub struct Unreadable {
    pub position: i64,
    pub problem: String,
    /// Nothing is wrong with it, as far as this program can tell: a newer one recorded it.
    pub is_newer: bool,
}

impl Unreadable {
    #[must_use]
    pub fn damaged(position: i64, problem: impl Into<String>) -> Self {
        Self { position, problem: problem.into(), is_newer: false }
    }
}

/// The members of an object, as they are written.
#[derive(Debug, Default)]
pub struct Members<'a>(Vec<(&'a str, &'a RawValue)>);

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.get())
    }

    /// A member that is a text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?).ok()
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.get(name)?.parse().ok()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsMembers;

        impl<'de> Visitor<'de> for AsMembers {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(AsMembers)
    }
}

/// Whose events are handed on in order, also where many are handed on at once: a license's; and where they are of none, a stream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    License(i64),
    Stream(Uuid),
}

/// The facts of an event, taken from its payload without decoding it.
#[derive(Debug)]
pub struct Facts<'a> {
    event: &'a StoredEvent,
    name: &'static str,
    members: Members<'a>,
}

impl<'a> Facts<'a> {
    /// Reads them. `upcast` is room for the payload where it is of an older version.
    ///
    /// # Errors
    /// When the type is unknown, or the payload is none of it.
    pub fn read(event: &'a StoredEvent, upcast: &'a Upcast) -> Result<Self, Unreadable> {
        let payload = upcast.0.as_ref().map_or(event.payload.as_str(), |(_, payload)| payload);
        let of = |problem: String| Unreadable::damaged(event.position, problem);
        // Canonical JSON, whose only member has the type's name: what is inside is found without looking at it.
        let newer = || Unreadable { is_newer: true, ..of(format!("{} is of a newer version of keyledger", event.event_type)) };
        let name = public_name(&event.event_type).ok_or_else(newer)?;
        let inner = payload.strip_prefix("{\"").and_then(|rest| rest.strip_prefix(event.event_type.as_str()));
        let inner = inner.and_then(|rest| rest.strip_prefix("\":")?.strip_suffix('}'));
        let inner = inner.ok_or_else(|| of(format!("its payload is no {}", event.event_type)))?;
        Ok(Self { event, name, members: serde_json::from_str(inner).map_err(|error| of(error.to_string()))? })
    }

    #[must_use]
    pub fn event(&self) -> &'a StoredEvent {
        self.event
    }

    /// The number of the license that it is about.
    #[must_use]
    pub fn license(&self) -> Option<i64> {
        self.members.number("license")
    }

    /// In which order it stands.
    #[must_use]
    pub fn lane(&self) -> Lane {
        let license = self.license().filter(|_| keeps_its_license(&self.event.aggregate_type));
        license.map_or(Lane::Stream(self.event.aggregate_id), Lane::License)
    }

    /// What it is called where others get it.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// The number of the product that it is about.
    #[must_use]
    pub fn product(&self) -> Option<i64> {
        self.members.number("product")
    }

    /// What surrounds it.
    pub(super) fn metadata(&self) -> Result<Members<'a>, Unreadable> {
        serde_json::from_str(&self.event.metadata).map_err(|error| self.unreadable(error.to_string()))
    }

    fn unreadable(&self, problem: String) -> Unreadable {
        Unreadable::damaged(self.event.position, problem)
    }

    /// Whether it is about a product.
    #[must_use]
    pub fn concerns_product(&self, product: i64) -> bool {
        let is = |name| self.members.number(name) == Some(product);
        is("product") || (self.event.event_type == "LicenseProductChanged" && (is("from") || is("to")))
    }

    /// Its personal part, where that is sealed.
    ///
    /// # Errors
    /// When it is not what a sealed part is.
    pub fn sealed(&self) -> Result<Option<Sealed>, Unreadable> {
        let Some(personal) = self.members.get("personal").filter(|personal| *personal != "null") else { return Ok(None) };
        serde_json::from_str(personal).map(Some).map_err(|error| self.unreadable(error.to_string()))
    }
}

/// A payload brought up to the current version; nothing where it is of that version.
#[derive(Debug, Default)]
pub struct Upcast(Option<(String, String)>);

impl Upcast {
    /// # Errors
    /// When the payload is no JSON.
    pub fn of(event: &StoredEvent) -> Result<Self, Unreadable> {
        let upcast = upcast(&event.event_type, &event.event_version, &event.payload);
        upcast.map(Self).map_err(|error| Unreadable::damaged(event.position, error.to_string()))
    }

    /// The version that the facts are of.
    pub(super) fn version<'a>(&'a self, event: &'a StoredEvent) -> &'a str {
        self.0.as_ref().map_or(event.event_version.as_str(), |(version, _)| version)
    }
}

/// Writes events of one ledger for one reader.
#[derive(Clone, Debug)]
pub struct CloudEvents {
    source: Uuid,
    sight: Sight,
}

/// What surrounds an event that everybody may know, by the names that extension attributes may have.
pub(super) const ATTRIBUTES: [(&str, &str); 5] =
    [("actor", "actor"), ("correlation_id", "correlationid"), ("operation", "operation"), ("request_id", "requestid"), ("source", "channel")];
/// What a person wrote or is called.
pub(super) const PERSONAL_ATTRIBUTES: [(&str, &str); 2] = [("operator", "operator"), ("reason", "reason")];

impl CloudEvents {
    #[must_use]
    pub fn new(ledger_id: Uuid, sight: Sight) -> Self {
        Self { source: ledger_id, sight }
    }

    #[must_use]
    pub fn sight(&self) -> Sight {
        self.sight
    }

    /// By which URI the ledger goes.
    #[must_use]
    pub fn source(&self) -> String {
        format!("urn:uuid:{}", self.source)
    }

    /// Writes one, as JSON on one line without its end.
    ///
    /// # Errors
    /// When the event is damaged.
    pub fn write(&self, facts: &Facts<'_>, upcast: &Upcast, shown: &Shown, out: &mut Vec<u8>) -> Result<(), Unreadable> {
        let event = facts.event;
        let (name, version, metadata) = (facts.name(), upcast.version(event), facts.metadata()?);
        // Writing to memory can't fail.
        let _ = write!(
            out,
            "{{\"specversion\":\"1.0\",\"id\":\"{}\",\"source\":\"urn:uuid:{}\",\"type\":\"{name}\",\"subject\":\"{}/{}\",\"time\":\"{}\",\
             \"datacontenttype\":\"application/json\",\"eventid\":\"{}\",\"eventtype\":\"{}\",\"eventversion\":\"{version}\",\"streamsequence\":{}",
            event.position,
            self.source,
            event.aggregate_type,
            event.aggregate_id,
            event.recorded_at,
            event.event_id,
            event.event_type,
            event.sequence,
        );
        let personal = if self.sight.personal { PERSONAL_ATTRIBUTES.as_slice() } else { &[] };
        for (name, attribute) in ATTRIBUTES.iter().chain(personal) {
            if let Some(value) = metadata.get(name) {
                put(out, &[",\"", attribute, "\":", value]);
            }
        }
        put(out, &[",\"data\":"]);
        self.data(facts, shown, out)?;
        put(out, &["}"]);
        Ok(())
    }

    /// Writes what happened, as JSON on one line.
    pub(super) fn data(&self, facts: &Facts<'_>, shown: &Shown, out: &mut Vec<u8>) -> Result<(), Unreadable> {
        let of = |error: serde_json::Error| facts.unreadable(error.to_string());
        let keys: &[&str] = if self.sight.keys { &[] } else { key_facts(&facts.event.event_type) };
        let mut separator = "{";
        for (name, value) in &facts.members.0 {
            let value = value.get();
            if *name == "personal" {
                if value == "null" {
                    continue;
                }
                put(out, &[separator, "\"personal\":"]);
                match shown {
                    Shown::Open(data) => serde_json::to_writer(&mut *out, data).map_err(of)?,
                    Shown::Erased => put(out, &["\"erased\""]),
                    Shown::Closed => put(out, &["\"sealed\""]),
                }
            } else if keys.contains(name) {
                let key: String = serde_json::from_str(value).map_err(of)?;
                put(out, &[separator, "\"", name, "\":"]);
                serde_json::to_writer(&mut *out, &masked(&key)).map_err(of)?;
            } else {
                put(out, &[separator, "\"", name, "\":", value]);
            }
            separator = ",";
        }
        put(out, &[if separator == "{" { "{}" } else { "}" }]);
        Ok(())
    }
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

/// The first characters that a masked key shows: enough to tell keys apart for who knows them.
const MASK_SHOWS: usize = 4;

/// A key for those who may not see it: its first characters, and of a short one fewer.
#[must_use]
pub fn masked(key: &str) -> String {
    let shown = MASK_SHOWS.min(key.chars().count() / 3);
    key.chars().take(shown).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(aggregate_type: &str, event_type: &str, facts: &str) -> StoredEvent {
        StoredEvent {
            position: 7,
            aggregate_type: aggregate_type.to_owned(),
            aggregate_id: Uuid::from_u128(1),
            sequence: 1,
            event_id: Uuid::nil(),
            event_type: event_type.to_owned(),
            event_version: "1.0".to_owned(),
            recorded_at: keyledger_events::Timestamp(0),
            payload: format!("{{\"{event_type}\":{facts}}}"),
            metadata: "{}".to_owned(),
            leaf_hash: [0; 32],
        }
    }

    #[test]
    fn events_keep_the_order_of_their_license_or_of_their_stream() {
        let of = |aggregate_type, event_type, facts| {
            let event = stored(aggregate_type, event_type, facts);
            Facts::read(&event, &Upcast::default()).unwrap().lane()
        };
        let stream = Lane::Stream(Uuid::from_u128(1));
        assert_eq!(of("license", "LicenseActivated", r#"{"license":42}"#), Lane::License(42));
        assert_eq!(of("download_token", "TokenIssued", r#"{"license":42}"#), Lane::License(42));
        assert_eq!(of("product", "ProductCreated", r#"{"product":3}"#), stream);
        // All of one delivery, whether they name its license or not.
        assert_eq!(of("delivery", "DeliveryQueued", r#"{"delivery":1,"license":42}"#), stream);
        assert_eq!(of("delivery", "DeliverySucceeded", r#"{"delivery":1}"#), stream);
    }

    #[test]
    fn an_event_of_a_newer_program_is_told_from_a_damaged_one() {
        let of = |event_type, facts| Facts::read(&stored("license", event_type, facts), &Upcast::default()).map(drop).unwrap_err();
        let newer = of("LicenseTeleported", r#"{"license":42}"#);
        assert!(newer.is_newer && newer.to_string().contains("event 7 can't be read: LicenseTeleported is of a newer version"), "{newer}");
        let damaged = of("LicenseActivated", "{");
        assert!(!damaged.is_newer && damaged.to_string().starts_with("event 7 can't be read: "), "{damaged}");
    }

    #[test]
    fn a_masked_key_shows_its_beginning_alone() {
        assert_eq!(masked("ABCD-EFGH-IJKL"), "ABCD…");
        assert_eq!(masked("K-12345"), "K-…");
        assert_eq!(masked("ab"), "…");
        assert_eq!(masked("größe-1234567"), "größ…");
    }
}
