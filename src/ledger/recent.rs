//! The end of the log, kept for those who follow it: they are many, and all want the same events at the same time. The executor leaves
//! here what it has committed; what others appended is read from the store, once for all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::store::{Portion, Store, StoreError, StoredEvent, events_aside};

/// Events kept: what is appended in a second, or a few.
const EVENTS_MAX: usize = 4_096;
/// Bytes kept, counted by what is long in an event.
const BYTES_MAX: usize = 8 * 1024 * 1024;

#[derive(Debug, Default)]
pub struct Recent {
    kept: Mutex<Kept>,
    /// Whoever reads from the store what all wait for.
    reading: tokio::sync::Mutex<()>,
}

/// Events by their positions. Where several servers append there are gaps, until somebody has read what is in them.
#[derive(Debug, Default)]
struct Kept {
    events: BTreeMap<i64, Arc<StoredEvent>>,
    bytes: usize,
}

impl Kept {
    /// Those after a position up to the next gap; nothing where that comes at once.
    fn after(&self, position: i64, portion: Portion) -> Option<Vec<Arc<StoredEvent>>> {
        let next = position.checked_add(1)?;
        let consecutive = self.events.range(next..).zip(next..).take_while(|((known, _), expected)| *known == expected);
        let mut bytes = 0;
        let fitting = consecutive.take(usize::try_from(portion.events).unwrap_or(0)).take_while(|((_, event), _)| {
            let fits = bytes < portion.bytes;
            bytes += event.bytes();
            fits
        });
        let events: Vec<_> = fitting.map(|((_, event), _)| Arc::clone(event)).collect();
        (!events.is_empty()).then_some(events)
    }

    /// Those nearest to the end stay.
    fn keep(&mut self, events: impl IntoIterator<Item = Arc<StoredEvent>>) {
        for event in events {
            self.bytes += event.bytes();
            if let Some(known) = self.events.insert(event.position, event) {
                self.bytes -= known.bytes();
            }
        }
        while self.events.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            let Some((_, oldest)) = self.events.pop_first() else { break };
            self.bytes -= oldest.bytes();
        }
    }
}

impl Recent {
    fn kept(&self, position: i64, portion: Portion) -> Option<Vec<Arc<StoredEvent>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).after(position, portion)
    }

    /// What was just committed.
    pub(super) fn keep(&self, mut events: Vec<StoredEvent>) {
        let nearest = events.split_off(events.len().saturating_sub(EVENTS_MAX));
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).keep(nearest.into_iter().map(Arc::new));
    }

    /// The log is another one.
    pub(super) fn clear(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }

    /// A portion of the events after one; less where only some of it is here.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn after(&self, store: &Arc<dyn Store>, position: i64, portion: Portion) -> Result<Vec<Arc<StoredEvent>>, StoreError> {
        if let Some(events) = self.kept(position, portion) {
            return Ok(events);
        }
        let _reading = self.reading.lock().await;
        if let Some(events) = self.kept(position, portion) {
            return Ok(events);
        }
        let events = events_aside(Arc::clone(store), position.saturating_add(1), portion).await?;
        let events: Vec<Arc<StoredEvent>> = events.into_iter().map(Arc::new).collect();
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).keep(events.iter().cloned());
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use keyledger_events::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn events(positions: std::ops::Range<i64>, length: usize) -> Vec<Arc<StoredEvent>> {
        let event = |position| StoredEvent {
            position,
            aggregate_type: "license".to_owned(),
            aggregate_id: Uuid::nil(),
            sequence: position,
            event_id: Uuid::nil(),
            event_type: "LicenseActivated".to_owned(),
            event_version: "1.0".to_owned(),
            recorded_at: Timestamp(0),
            payload: "x".repeat(length),
            metadata: String::new(),
            leaf_hash: [0; 32],
        };
        positions.map(|position| Arc::new(event(position))).collect()
    }

    fn positions(kept: &Kept, after: i64, events: i64) -> Option<Vec<i64>> {
        kept.after(after, Portion { events, bytes: 100_000 }).map(|events| events.iter().map(|event| event.position).collect())
    }

    #[test]
    fn what_is_kept_is_given_up_to_a_gap() {
        let mut kept = Kept::default();
        assert_eq!(positions(&kept, -1, 10), None);
        kept.keep(events(10..13, 1));
        kept.keep(events(13..14, 1));
        assert_eq!(positions(&kept, 9, 10), Some(vec![10, 11, 12, 13]));
        assert_eq!(positions(&kept, 11, 1), Some(vec![12]));
        assert_eq!((positions(&kept, 8, 10), positions(&kept, 13, 10), positions(&kept, i64::MAX, 1)), (None, None, None));
        // Another server appended 14 and 15.
        kept.keep(events(16..18, 1));
        assert_eq!((positions(&kept, 12, 9), positions(&kept, 13, 9), positions(&kept, 15, 9)), (Some(vec![13]), None, Some(vec![16, 17])));
        kept.keep(events(14..17, 1));
        assert_eq!(positions(&kept, 12, 9), Some(vec![13, 14, 15, 16, 17]));
    }

    #[test]
    fn it_is_bounded_in_number_and_bytes() {
        let mut kept = Kept::default();
        kept.keep(events(0..5_000, 1));
        assert_eq!((kept.events.len(), positions(&kept, 4_998, 9)), (EVENTS_MAX, Some(vec![4_999])));
        kept.keep(events(5_000..5_200, 60_000));
        // The same again; then somebody far behind, who makes way for what comes.
        kept.keep(events(5_100..5_200, 60_000));
        kept.keep(events(0..5, 1));
        kept.keep(events(5_200..5_202, 60_000));
        assert!(kept.bytes <= BYTES_MAX && kept.events.len() > 100);
        assert_eq!(kept.bytes, kept.events.values().map(|event| event.bytes()).sum::<usize>());
        // What is given at once is too, up to the event with which it is reached.
        assert_eq!(positions(&kept, 5_150, 9), Some(vec![5_151, 5_152]));
        assert_eq!((positions(&kept, 5_199, 9), positions(&kept, -1, 9)), (Some(vec![5_200, 5_201]), None));
    }
}
