//! Waiting without guessing how long: ask again until it is so, give up after a deadline.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything may take before a test calls it hung; generous, since it only matters when something is broken.
pub const DEADLINE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(20);

/// Asks `probe` until it answers `Some`, and panics naming `what` when the deadline passes.
pub async fn eventually<T, F, P>(what: &str, mut probe: P) -> T
where
    P: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(started.elapsed() < DEADLINE, "after {DEADLINE:?} still not so: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The number of rounds of a race or kill test: `minimum`, or KEYLEDGER_SOAK_ROUNDS where that is more.
pub fn soak_rounds(minimum: usize) -> usize {
    let wanted = std::env::var("KEYLEDGER_SOAK_ROUNDS").ok();
    let wanted = wanted.map(|text| text.parse::<usize>().expect("KEYLEDGER_SOAK_ROUNDS must be a number"));
    wanted.map_or(minimum, |rounds| rounds.max(minimum))
}
