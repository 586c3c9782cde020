//! Upcasters: how an event stored in an older version becomes the current one. A stored format changes only by a new
//! `event_version` and an upcaster here; the samples of older versions stay, and must still decode.

use cqrs_es::persist::{EventUpcaster, SerializedEvent};

/// All upcasters, oldest first. Every event is in its first version so far, so there is none yet; a reader through
/// cqrs-es passes the same list to its event store.
#[must_use]
pub fn upcasters() -> Vec<Box<dyn EventUpcaster>> {
    Vec::new()
}

/// Brings a payload of an older version up to the current one; `None` where there is nothing to do.
pub(crate) fn upcast(event_type: &str, event_version: &str, payload: &str) -> Result<Option<(String, String)>, serde_json::Error> {
    let upcasters = upcasters();
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
