//! The end of the log, kept for those who follow it: they are many, and all want the same events at the same time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::store::{Store, StoreError, StoredEvent, aside};

/// Events kept: what is appended in a second, or a few.
const EVENTS_MAX: usize = 4_096;
/// Bytes kept, counted by what is long in an event.
const BYTES_MAX: usize = 8 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Recent {
    kept: Mutex<Kept>,
    /// Whoever reads from the store what all wait for.
    reading: tokio::sync::Mutex<()>,
}

/// Consecutive events.
#[derive(Default)]
struct Kept {
    events: VecDeque<Arc<StoredEvent>>,
    bytes: usize,
}

impl Kept {
    /// Those after a position, where the next one is here.
    fn after(&self, position: i64, limit: i64) -> Option<Vec<Arc<StoredEvent>>> {
        let first = self.events.front()?.position;
        let skipped = usize::try_from(position + 1 - first).ok().filter(|skipped| *skipped < self.events.len())?;
        Some(self.events.range(skipped..).take(usize::try_from(limit).unwrap_or(0)).cloned().collect())
    }

    fn keep(&mut self, events: &[Arc<StoredEvent>]) {
        let next = self.events.back().map(|event| event.position + 1);
        if next.is_some_and(|next| events.first().is_some_and(|first| first.position != next)) {
            // Somebody far behind, or a gap: what is here stays of use where it is nearer to the end.
            if events.last().map(|event| event.position + 1) <= next {
                return;
            }
            *self = Self::default();
        }
        for event in events {
            self.bytes += bytes(event);
            self.events.push_back(Arc::clone(event));
        }
        while self.events.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= bytes(&oldest);
        }
    }
}

fn bytes(event: &StoredEvent) -> usize {
    size_of::<StoredEvent>() + event.payload.len() + event.metadata.len()
}

impl Recent {
    fn kept(&self, position: i64, limit: i64) -> Option<Vec<Arc<StoredEvent>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).after(position, limit)
    }

    pub(super) async fn after(&self, store: &Arc<dyn Store>, position: i64, limit: i64) -> Result<Vec<Arc<StoredEvent>>, StoreError> {
        if let Some(events) = self.kept(position, limit) {
            return Ok(events);
        }
        let _reading = self.reading.lock().await;
        if let Some(events) = self.kept(position, limit) {
            return Ok(events);
        }
        let store = Arc::clone(store);
        let events = aside(async move { store.events(position.saturating_add(1), limit).await }).await?;
        let events: Vec<Arc<StoredEvent>> = events.into_iter().map(Arc::new).collect();
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).keep(&events);
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

    fn positions(kept: &Kept, after: i64, limit: i64) -> Option<Vec<i64>> {
        kept.after(after, limit).map(|events| events.iter().map(|event| event.position).collect())
    }

    #[test]
    fn what_is_kept_is_the_end_without_gaps() {
        let mut kept = Kept::default();
        assert_eq!(positions(&kept, -1, 10), None);
        kept.keep(&events(10..13, 1));
        kept.keep(&events(13..14, 1));
        assert_eq!(positions(&kept, 9, 10), Some(vec![10, 11, 12, 13]));
        assert_eq!(positions(&kept, 11, 1), Some(vec![12]));
        assert_eq!((positions(&kept, 8, 10), positions(&kept, 13, 10)), (None, None));
        // Somebody far behind takes nothing from those who follow; a gap does.
        kept.keep(&events(0..5, 1));
        assert_eq!(positions(&kept, 9, 1), Some(vec![10]));
        kept.keep(&events(20..22, 1));
        assert_eq!((positions(&kept, 9, 1), positions(&kept, 19, 9)), (None, Some(vec![20, 21])));
    }

    #[test]
    fn it_is_bounded_in_number_and_bytes() {
        let mut kept = Kept::default();
        kept.keep(&events(0..5_000, 1));
        assert_eq!((kept.events.len(), positions(&kept, 4_998, 9)), (EVENTS_MAX, Some(vec![4_999])));
        kept.keep(&events(5_000..5_200, 60_000));
        assert!(kept.bytes <= BYTES_MAX && kept.events.len() > 100);
        assert_eq!(kept.bytes, kept.events.iter().map(|event| bytes(event)).sum::<usize>());
    }
}
