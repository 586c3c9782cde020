//! Upcasters: how an event stored in an older version becomes the current one. A stored format changes only by a new
//! `event_version` and an upcaster here; the samples of older versions stay, and must still decode.

use std::sync::LazyLock;

use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use serde_json::Value;

/// All upcasters, oldest first. A reader through cqrs-es passes the same list to its event store.
#[must_use]
pub fn upcasters() -> Vec<Box<dyn EventUpcaster>> {
    vec![
        // There were neither contracts nor queued assignments.
        Box::new(Added { event_type: "LicenseCreated", from: "1.0", to: "2.0", members: &["contract", "job"] }),
        Box::new(Added { event_type: "LicenseAssigned", from: "1.0", to: "2.0", members: &["job"] }),
        Box::new(Added { event_type: "LicenseDeleted", from: "1.0", to: "2.0", members: &["contract"] }),
    ]
}

/// A version that added members, which are `null` in events from before. (The upcaster of cqrs-es would write the version
/// with a third number, which ours don't have.)
struct Added {
    event_type: &'static str,
    from: &'static str,
    to: &'static str,
    members: &'static [&'static str],
}

impl EventUpcaster for Added {
    fn can_upcast(&self, event_type: &str, event_version: &str) -> bool {
        event_type == self.event_type && event_version == self.from
    }

    fn upcast(&self, mut event: SerializedEvent) -> SerializedEvent {
        if let Some(Value::Object(payload)) = event.payload.get_mut(self.event_type) {
            for member in self.members {
                payload.entry(*member).or_insert(Value::Null);
            }
        }
        SerializedEvent { event_version: self.to.to_owned(), ..event }
    }
}

/// Brings a payload of an older version up to the current one, with its version; `None` where there is nothing to do.
///
/// # Errors
/// When the payload is no JSON.
pub fn upcast(event_type: &str, event_version: &str, payload: &str) -> Result<Option<(String, String)>, serde_json::Error> {
    // Made once: replay asks for every event.
    static UPCASTERS: LazyLock<Vec<Box<dyn EventUpcaster>>> = LazyLock::new(upcasters);
    let upcasters = &*UPCASTERS;
    if !upcasters.iter().any(|upcaster| upcaster.can_upcast(event_type, event_version)) {
        return Ok(None);
    }
    let event = SerializedEvent {
        aggregate_id: String::new(),
        sequence: 0,
        aggregate_type: String::new(),
        event_type: event_type.to_owned(),
        event_version: event_version.to_owned(),
        payload: serde_json::from_str(payload)?,
        metadata: serde_json::Value::Null,
    };
    let event = upcasters
        .iter()
        .fold(event, |event, upcaster| if upcaster.can_upcast(&event.event_type, &event.event_version) { upcaster.upcast(event) } else { event });
    Ok(Some((event.event_version, event.payload.to_string())))
}
