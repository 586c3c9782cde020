//! The events between an endpoint's place in the log and how far it was read: bounded, and in order for each license.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyledger_events::Timestamp;

use crate::{feed::Lane, store::StoredEvent};

/// Events that are delivered, or wait, beyond the stored place: so many are delivered again at most when a server dies, and so many wait
/// behind one that is not taken.
pub(super) const EVENTS_MAX: usize = 256;
/// Bytes of them: a hundred endpoints that are far behind stay within what a server has.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// How often an event was not taken, since when, and when it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub attempts: i64,
    pub since: Timestamp,
    pub due: Instant,
}

#[derive(Debug)]
struct Entry {
    event: Arc<StoredEvent>,
    lane: Lane,
    failed: Option<Failed>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Called,
    Taken,
}

#[derive(Debug)]
pub(super) struct Window {
    entries: BTreeMap<i64, Entry>,
    /// The last event that was looked at.
    read: i64,
    bytes: usize,
    remembered: Remembered,
}

/// What is known of events behind the place from before this server told the endpoint.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    pub failed: HashMap<i64, Failed>,
    pub taken: HashSet<i64>,
}

impl Window {
    pub(super) fn new(place: i64, remembered: Remembered) -> Self {
        Self { entries: BTreeMap::new(), read: place, bytes: 0, remembered }
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= EVENTS_MAX || self.bytes >= BYTES_MAX
    }

    pub(super) fn read(&self) -> i64 {
        self.read
    }

    /// Takes in the next event; one that is not wanted has no lane.
    pub(super) fn look_at(&mut self, event: &Arc<StoredEvent>, lane: Option<Lane>) {
        self.read = event.position;
        let failed = self.remembered.failed.remove(&event.position);
        let state = if self.remembered.taken.remove(&event.position) { State::Taken } else { State::Waiting };
        if let Some(lane) = lane {
            self.bytes += event.bytes();
            self.entries.insert(event.position, Entry { event: Arc::clone(event), lane, failed, state });
        }
    }

    /// The events to call with now, so many at most; and when the next one is due.
    pub(super) fn due(&mut self, room: usize, now: Instant) -> (Vec<Arc<StoredEvent>>, Option<Instant>) {
        let (mut events, mut next) = (Vec::new(), None);
        let mut lanes = HashSet::with_capacity(self.entries.len());
        for entry in self.entries.values_mut() {
            // Whatever is not taken holds back the later ones of its lane, and no others.
            if events.len() >= room || entry.state == State::Taken || !lanes.insert(entry.lane) || entry.state == State::Called {
                continue;
            }
            match entry.failed.map(|failed| failed.due).filter(|due| *due > now) {
                Some(due) => next = Some(next.map_or(due, |next: Instant| next.min(due))),
                None => {
                    entry.state = State::Called;
                    events.push(Arc::clone(&entry.event));
                }
            }
        }
        (events, next)
    }

    /// How many attempts of an event were made before.
    pub(super) fn attempts(&self, position: i64) -> i64 {
        self.entries.get(&position).and_then(|entry| entry.failed).map_or(0, |failed| failed.attempts)
    }

    /// Since when an event fails.
    pub(super) fn failing_since(&self, position: i64) -> Option<Timestamp> {
        self.entries.get(&position).and_then(|entry| entry.failed).map(|failed| failed.since)
    }

    pub(super) fn taken(&mut self, position: i64) {
        if let Some(entry) = self.entries.get_mut(&position) {
            entry.state = State::Taken;
        }
    }

    pub(super) fn not_taken(&mut self, position: i64, at: Timestamp, wait: Duration) {
        let (attempts, since) = (self.attempts(position) + 1, self.failing_since(position).unwrap_or(at));
        if let Some(entry) = self.entries.get_mut(&position) {
            entry.state = State::Waiting;
            entry.failed = Some(Failed { attempts, since, due: Instant::now() + wait });
        }
    }

    /// The first event that is not taken, and since when it fails.
    pub(super) fn first(&self) -> Option<(i64, Option<Timestamp>)> {
        let first = self.entries.iter().find(|(_, entry)| entry.state != State::Taken);
        first.map(|(position, entry)| (*position, entry.failed.map(|failed| failed.since)))
    }

    /// Whether something in it is not taken yet.
    pub(super) fn has_untaken(&self) -> bool {
        self.first().is_some()
    }

    /// The last event up to which all are done with.
    pub(super) fn place(&self) -> i64 {
        self.first().map_or(self.read, |(position, _)| position - 1)
    }

    /// The place was stored: what is before it is never delivered again.
    pub(super) fn stored(&mut self, place: i64) {
        self.entries = self.entries.split_off(&(place + 1));
        self.bytes = self.entries.values().map(|entry| entry.event.bytes()).sum();
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn window(lanes: &[Option<i64>]) -> Window {
        let mut window = Window::new(-1, Remembered::default());
        add(&mut window, lanes);
        window
    }

    fn add(window: &mut Window, lanes: &[Option<i64>]) {
        for lane in lanes {
            window.look_at(&event(window.read + 1), lane.map(Lane::License));
        }
    }

    fn event(position: i64) -> Arc<StoredEvent> {
        Arc::new(StoredEvent {
            position,
            aggregate_type: "license".to_owned(),
            aggregate_id: Uuid::nil(),
            sequence: 1,
            event_id: Uuid::nil(),
            event_type: "LicenseActivated".to_owned(),
            event_version: "1.0".to_owned(),
            recorded_at: Timestamp(0),
            payload: String::new(),
            metadata: String::new(),
            leaf_hash: [0; 32],
        })
    }

    fn due(window: &mut Window, room: usize) -> Vec<i64> {
        window.due(room, Instant::now()).0.iter().map(|event| event.position).collect()
    }

    #[test]
    fn a_license_waits_for_its_own_events_alone() {
        let mut window = window(&[Some(1), Some(1), None, Some(2), Some(1), Some(2), Some(3)]);
        assert_eq!(due(&mut window, 2), [0, 3]);
        assert_eq!(due(&mut window, 16), [6]);
        assert!(due(&mut window, 16).is_empty());
        window.taken(3);
        window.not_taken(0, Timestamp(5), Duration::from_secs(60));
        assert_eq!(due(&mut window, 16), [5]);
        assert!(window.due(16, Instant::now()).1.is_some(), "the failed one is due again some time");
        assert_eq!((window.place(), window.first(), window.attempts(0)), (-1, Some((0, Some(Timestamp(5)))), 1));
        // It fails since the first time that it did.
        window.not_taken(0, Timestamp(9), Duration::ZERO);
        assert_eq!((window.failing_since(0), window.attempts(0)), (Some(Timestamp(5)), 2));
        assert_eq!(due(&mut window, 16), [0]);
        window.taken(0);
        assert_eq!((due(&mut window, 16), window.place()), (vec![1], 0));
    }

    #[test]
    fn the_place_is_before_the_first_that_is_not_taken() {
        let mut window = window(&[None, Some(1), Some(2), None]);
        assert_eq!((window.place(), window.read()), (0, 3));
        due(&mut window, 16);
        window.taken(2);
        assert_eq!(window.place(), 0);
        window.taken(1);
        assert_eq!(window.place(), 3);
        window.stored(3);
        assert_eq!((window.place(), window.entries.len()), (3, 0));
    }

    #[test]
    fn what_is_taken_but_not_stored_counts() {
        let mut window = window(&[Some(1); EVENTS_MAX]);
        assert!(window.is_full());
        due(&mut window, 16);
        window.taken(0);
        assert!(window.is_full());
        window.stored(0);
        assert!(!window.is_full());
    }

    #[test]
    fn what_failed_before_is_remembered() {
        let later = Instant::now() + Duration::from_secs(60);
        let failed = Failed { attempts: 7, since: Timestamp(3), due: later };
        let mut window = Window::new(-1, Remembered { failed: HashMap::from([(0, failed)]), taken: HashSet::from([1, 3]) });
        add(&mut window, &[Some(1), Some(2), Some(2), Some(3)]);
        let (events, next) = window.due(16, Instant::now());
        assert_eq!((events.iter().map(|event| event.position).collect::<Vec<_>>(), next), (vec![2], Some(later)), "what was taken is not sent again");
        assert_eq!((window.attempts(0), window.first()), (7, Some((0, Some(Timestamp(3))))));
        window.taken(0);
        window.taken(2);
        assert_eq!(window.place(), 3);
    }

    #[test]
    fn long_events_fill_it_too() {
        let mut window = Window::new(-1, Remembered::default());
        let long = StoredEvent { payload: "x".repeat(64 * 1024), ..StoredEvent::clone(&event(0)) };
        for position in 0..64 {
            assert!(!window.is_full(), "{position}");
            window.look_at(&Arc::new(StoredEvent { position, ..long.clone() }), Some(Lane::License(position)));
        }
        assert!(window.is_full());
        due(&mut window, 16);
        window.taken(0);
        window.stored(0);
        assert!(!window.is_full());
    }
}
