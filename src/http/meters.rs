//! What is counted of each route. The handles are made once: a recorder installed after the router sees nothing of them.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use metrics::{Counter, Histogram};

pub struct RouteMeters {
    route: &'static str,
    seconds: Histogram,
    /// One counter for each code answered so far: a dozen at most.
    requests: RwLock<Vec<(u16, Counter)>>,
}

impl RouteMeters {
    pub fn new(route: &'static str) -> Self {
        let seconds = metrics::histogram!("keyledger_request_seconds", "route" => route);
        Self { route, seconds, requests: RwLock::default() }
    }

    /// Counts one answered request and notes it in the log: never more of it than its route.
    pub fn answered(&self, status: u16, code: u16, took: Duration) {
        self.seconds.record(took.as_secs_f64());
        let known = self.requests.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = known.iter().find(|(known, _)| *known == code) {
            counter.increment(1);
        } else {
            drop(known);
            let counter = metrics::counter!("keyledger_requests_total", "route" => self.route, "code" => code.to_string());
            counter.increment(1);
            let mut known = self.requests.write().unwrap_or_else(PoisonError::into_inner);
            // Two may come here at once: both handles count the same series.
            if !known.iter().any(|(known, _)| *known == code) {
                known.push((code, counter));
            }
        }
        tracing::debug!(route = self.route, status, code, duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX), "answered");
    }
}
