//! What a license's events add up to: replayed here from the events alone, in a second implementation of the rules.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Wrong, canonical, ensure, event::Event, time};

/// So many activations or meta entries are listed in a state, else none of them (`null`) but their count: with ten thousand of
/// them after each of ten thousand events, a file could be neither made nor read.
pub const LISTED_MAX: usize = 100;

/// All events that a license can have, with the versions of their stored forms. A version that is not here may mean anything.
const KNOWN: [(&str, &[&str]); 22] = [
    ("LicenseCreated", &["1.0", "2.0"]),
    ("LicenseAssigned", &["1.0", "2.0"]),
    ("LicenseReserved", &["1.0"]),
    ("LicenseBlocked", &["1.0"]),
    ("LicenseMadeAvailable", &["1.0"]),
    ("OwnerChanged", &["1.0"]),
    ("OwnerCleared", &["1.0"]),
    ("ActivationLimitChanged", &["1.0"]),
    ("ValidityChanged", &["1.0"]),
    ("AssignedAtChanged", &["1.0"]),
    ("LicenseProductChanged", &["1.0"]),
    ("LicenseActivated", &["1.0"]),
    ("LicenseDeactivated", &["1.0"]),
    ("ActivationsEnded", &["1.0"]),
    ("ActivationRefused", &["1.0"]),
    ("AccessRefused", &["1.0"]),
    ("LicenseMetaCreated", &["1.0"]),
    ("LicenseMetaUpdated", &["1.0"]),
    ("LicenseMetaDeleted", &["1.0"]),
    ("LicenseKeyReplaced", &["1.0"]),
    ("ReleaseDownloaded", &["1.0"]),
    ("LicenseDeleted", &["1.0", "2.0"]),
];

/// A license after one of its events, as it is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct State {
    /// 0 is unlimited.
    pub activation_limit: i64,
    /// The numbers of the activations in force; `None` where they are more than are listed.
    pub activations: Option<Vec<i64>>,
    /// How many activations are in force.
    pub active: i64,
    pub assigned_at: Option<String>,
    pub deleted: bool,
    pub expires_at: Option<String>,
    pub key: String,
    /// The keys of the meta entries, the oldest first; `None` as with activations.
    pub meta: Option<Vec<String>>,
    /// The owner's number; name and address are personal data.
    pub owner: Option<i64>,
    pub product: i64,
    pub status: String,
    /// 0 is unlimited.
    pub validity_days: i64,
}

/// One line of `states.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    pub position: u64,
    pub recorded_at: String,
    pub sequence: u64,
    pub state: State,
}

/// The replay: the state so far, and what it takes to go on.
#[derive(Default)]
struct Replay {
    state: State,
    assigned_at: Option<i64>,
    /// Epoch by number. An activation is in force while its epoch is the license's.
    activations: BTreeMap<i64, i64>,
    /// Key by number.
    meta: BTreeMap<i64, String>,
}

impl Replay {
    fn created(event: &Event) -> Result<Self, Wrong> {
        let state = State {
            activation_limit: event.number("activation_limit")?,
            key: event.text("key")?.to_owned(),
            owner: event.maybe_number("owner")?,
            product: event.number("product")?,
            status: event.text("status")?.to_owned(),
            validity_days: event.number("validity_days")?,
            ..State::default()
        };
        Ok(Self { state, assigned_at: event.maybe_time("assigned_at")?, ..Self::default() })
    }

    fn apply(&mut self, event: &Event) -> Result<(), Wrong> {
        let state = &mut self.state;
        match event.event_type.as_str() {
            "LicenseAssigned" => {
                "assigned".clone_into(&mut state.status);
                state.owner = event.maybe_number("owner")?;
                self.assigned_at = Some(event.time("assigned_at")?);
            }
            "LicenseReserved" => "reserved".clone_into(&mut state.status),
            "LicenseBlocked" => "blocked".clone_into(&mut state.status),
            "LicenseMadeAvailable" => {
                "available".clone_into(&mut state.status);
                self.assigned_at = None;
            }
            "OwnerChanged" => state.owner = event.maybe_number("owner")?,
            "OwnerCleared" => state.owner = None,
            "ActivationLimitChanged" => state.activation_limit = event.number("to")?,
            "ValidityChanged" => state.validity_days = event.number("to")?,
            "AssignedAtChanged" => self.assigned_at = Some(event.time("to")?),
            "LicenseProductChanged" => state.product = event.number("to")?,
            "LicenseActivated" => {
                self.activations.insert(event.number("activation")?, event.number("epoch")?);
                state.active = event.number("active")?;
            }
            "LicenseDeactivated" => {
                self.activations.remove(&event.number("activation")?);
                state.active = event.number("active")?;
            }
            "ActivationsEnded" => {
                let epoch = event.number("epoch")?;
                self.activations.retain(|_, of| *of == epoch);
                state.active = 0;
            }
            "LicenseMetaCreated" | "LicenseMetaUpdated" => {
                self.meta.insert(event.number("meta")?, event.text("key")?.to_owned());
            }
            "LicenseMetaDeleted" => {
                self.meta.remove(&event.number("meta")?);
            }
            "LicenseKeyReplaced" => event.text("key")?.clone_into(&mut state.key),
            "LicenseDeleted" => state.deleted = true,
            // Refusals and downloads are recorded, and change nothing.
            "ActivationRefused" | "AccessRefused" | "ReleaseDownloaded" => {}
            other => return Err(Wrong(format!("the event at position {} ({other}) can't come after the license was created", event.position))),
        }
        Ok(())
    }

    fn step(&self, event: &Event) -> Step {
        let expires_at = self.assigned_at.filter(|_| self.state.validity_days > 0).map(|at| time::plus_days(at, self.state.validity_days));
        let state = State {
            activations: (self.activations.len() <= LISTED_MAX).then(|| self.activations.keys().copied().collect()),
            assigned_at: self.assigned_at.map(time::write),
            expires_at: expires_at.map(time::write),
            meta: (self.meta.len() <= LISTED_MAX).then(|| self.meta.values().cloned().collect()),
            ..self.state.clone()
        };
        Step { position: event.position, recorded_at: time::write(event.recorded_at), sequence: event.sequence, state }
    }
}

/// The state after each of a license's events.
pub fn replay<'a>(events: impl Iterator<Item = &'a Event>) -> Result<Vec<Step>, Wrong> {
    let mut replay: Option<Replay> = None;
    let mut steps = Vec::new();
    for event in events {
        let versions = KNOWN.iter().find(|(name, _)| *name == event.event_type).map(|(_, versions)| *versions).unwrap_or_default();
        ensure(versions.contains(&event.event_version.as_str()), || {
            let Event { position, event_type, event_version, .. } = event;
            format!("the event at position {position} is {event_type} of version {event_version}, which this program does not know; use a newer one")
        })?;
        let replay = match &mut replay {
            None => {
                ensure(event.event_type == "LicenseCreated", || {
                    format!("the license's first event, at position {}, is not LicenseCreated", event.position)
                })?;
                replay.insert(Replay::created(event)?)
            }
            Some(replay) => {
                replay.apply(event)?;
                replay
            }
        };
        steps.push(replay.step(event));
    }
    Ok(steps)
}

/// `states.jsonl`.
pub fn write(steps: &[Step]) -> Result<String, Wrong> {
    let mut text = String::new();
    for step in steps {
        text.push_str(&canonical(step)?);
        text.push('\n');
    }
    Ok(text)
}

/// The last state at or before a time; `None` before the license was there.
pub fn at(steps: &[Step], micros: i64) -> Option<&Step> {
    // All times are written in one way, so they sort as they follow each other.
    let at = time::write(micros);
    steps.iter().rev().find(|step| step.recorded_at <= at)
}
