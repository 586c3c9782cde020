//! What the events of a file mean, read once for the report and for the other files that are made from them.

use crate::{
    Wrong,
    case::Case,
    context::Names,
    event::Event,
    keys::{self, Key},
    open::{self, Opened},
    state::{self, Step},
};

/// The stream map that the file relies on.
pub struct MapFacts<'a> {
    pub event: &'a Event,
    /// So many events the map is of.
    pub size: u64,
    /// So many licenses there were.
    pub licenses: u64,
    pub root: &'a str,
}

pub struct Facts<'a> {
    /// The license's own events.
    pub events: Vec<&'a Event>,
    /// The state after each of them.
    pub steps: Vec<Step>,
    pub keys: Vec<Key>,
    pub names: Names,
    pub opened: Opened,
    pub map: MapFacts<'a>,
}

/// The one `StreamMapRecorded` of the file.
pub fn map(events: &[Event]) -> Result<MapFacts<'_>, Wrong> {
    let mut maps = events.iter().filter(|event| event.is("stream_map", "StreamMapRecorded"));
    let (Some(event), None) = (maps.next(), maps.next()) else {
        return Err(Wrong("the file does not have exactly one recorded stream map".to_owned()));
    };
    let count = |member: &str| {
        event.number(member).and_then(|count| u64::try_from(count).map_err(|_| Wrong(format!("the stream map's “{member}” is negative"))))
    };
    Ok(MapFacts { event, size: count("size")?, licenses: count("licenses")?, root: event.text("root")? })
}

impl<'a> Facts<'a> {
    pub fn of(case: &'a Case) -> Result<Self, Wrong> {
        let events = case.license_events();
        let steps = state::replay(events.iter().copied())?;
        let names = Names::read(&case.events, &events)?;
        let opened = case.secrets.as_ref().map(|secrets| open::open_all(events.iter().copied(), secrets)).transpose()?.unwrap_or_default();
        Ok(Self { steps, keys: keys::read(&case.events)?, names, opened, map: map(&case.events)?, events })
    }

    /// The license before an event, by the event's place among the license's own; `None` before its creation.
    pub fn before(&self, index: usize) -> Option<&Step> {
        index.checked_sub(1).and_then(|index| self.steps.get(index))
    }
}
