//! When an event is tried again, and when an endpoint is given a rest.

use std::num::NonZeroU32;
use std::time::Duration;

use keyledger_events::Timestamp;

use crate::{clock::passed, vault};

/// How long to wait after each attempt that failed; after the last of them again and again. A receiver that was down for a moment is told
/// in a moment, one that is down for days is hardly troubled.
const WAITS_S: [u64; 7] = [5, 30, 2 * 60, 10 * 60, 30 * 60, 60 * 60, 2 * 60 * 60];
/// Waits are longer or shorter by up to a fifth, so that many that failed together don't come back together.
const JITTER_DIVISOR: u32 = 5;
/// How long the first event that is not taken may fail until the endpoint is paused: longer than a weekend.
const PAUSE_AFTER: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// The times of a server: shorter than usual by a factor where tests want it.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    hurry: NonZeroU32,
}

impl Times {
    #[must_use]
    pub fn new(hurry: NonZeroU32) -> Self {
        Self { hurry }
    }

    /// How long to wait after so many attempts.
    #[must_use]
    pub(super) fn wait(self, attempts: i64) -> Duration {
        // Without randomness the waits are all alike.
        let drawn = vault::random::<4>().map_or(u32::MAX / 2, u32::from_be_bytes);
        self.wait_with(attempts, f64::from(drawn) / f64::from(u32::MAX))
    }

    fn wait_with(self, attempts: i64, drawn: f64) -> Duration {
        let at = usize::try_from(attempts).unwrap_or(0).saturating_sub(1).min(WAITS_S.len() - 1);
        let wait = Duration::from_secs(WAITS_S[at]) / self.hurry.get();
        let jitter = wait / JITTER_DIVISOR;
        wait - jitter + (jitter * 2).mul_f64(drawn)
    }

    /// Whether what fails since then has failed for so long that the endpoint is paused.
    #[must_use]
    pub(super) fn is_too_long(self, since: Timestamp, now: Timestamp) -> bool {
        passed(since, now) >= PAUSE_AFTER / self.hurry.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_grow_up_to_two_hours() {
        let times = Times::new(NonZeroU32::MIN);
        assert_eq!([1, 2, 7, 8, 1_000].map(|attempts| times.wait_with(attempts, 0.5).as_secs()), [5, 30, 7_200, 7_200, 7_200]);
        assert_eq!((times.wait_with(1, 0.0), times.wait_with(1, 1.0)), (Duration::from_secs(4), Duration::from_secs(6)));
        assert!(times.wait(3) >= Duration::from_secs(96) && times.wait(3) <= Duration::from_secs(144));
        assert_eq!(Times::new(NonZeroU32::MIN.saturating_add(999)).wait_with(1, 0.5), Duration::from_millis(5));
    }

    #[test]
    fn three_days_are_too_long() {
        let times = Times::new(NonZeroU32::MIN);
        let days = |days: i64| Timestamp(days * 24 * 60 * 60 * 1_000_000);
        assert!(times.is_too_long(days(1), days(4)) && !times.is_too_long(days(1), Timestamp(days(4).0 - 1)));
        assert!(!times.is_too_long(days(4), days(1)));
    }
}
