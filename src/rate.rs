//! How many requests an address may make within a minute: windows that begin with its first request. Each server counts alone.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyledger_events::Timestamp;

const WINDOW_S: i64 = 60;
/// Addresses whose requests are counted at the same time: a few megabytes. Whoever has more of them than that is not held back
/// by a limit per address.
const ADDRESSES_MAX: u64 = 50_000;

#[derive(Debug, Default)]
struct Window {
    began_at: i64,
    requests: u32,
}

/// Where an address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub limit: u32,
    pub remaining: u32,
    /// When the window ends, in seconds of the Unix epoch.
    pub reset_at: i64,
    /// For how many seconds there is nothing more to be had; 0 where there is.
    pub retry_after: i64,
}

pub struct MinuteWindows {
    limit: u32,
    windows: moka::sync::Cache<IpAddr, Arc<Mutex<Window>>>,
}

impl MinuteWindows {
    #[must_use]
    pub fn new(limit: u32) -> Self {
        let idle = Duration::from_secs(2 * WINDOW_S.unsigned_abs());
        Self { limit, windows: moka::sync::Cache::builder().max_capacity(ADDRESSES_MAX).time_to_idle(idle).build() }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// When it is one too many.
    pub fn count(&self, address: IpAddr, now: Timestamp) -> Result<Standing, Standing> {
        let window = self.windows.get_with(subscriber(address), Arc::default);
        let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now.seconds();
        if now >= window.began_at + WINDOW_S || now < window.began_at {
            *window = Window { began_at: now, requests: 0 };
        }
        if window.requests >= self.limit {
            return Err(self.standing(&window, now));
        }
        window.requests += 1;
        Ok(self.standing(&window, now))
    }

    /// Where an address stands, without counting anything.
    #[must_use]
    pub fn look(&self, address: IpAddr, now: Timestamp) -> Standing {
        let now = now.seconds();
        let fresh = Window { began_at: now, requests: 0 };
        let Some(window) = self.windows.get(&subscriber(address)) else { return self.standing(&fresh, now) };
        let window = window.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = now >= window.began_at + WINDOW_S || now < window.began_at;
        self.standing(if is_over { &fresh } else { &window }, now)
    }

    fn standing(&self, window: &Window, now: i64) -> Standing {
        let reset_at = window.began_at + WINDOW_S;
        let remaining = self.limit.saturating_sub(window.requests);
        Standing { limit: self.limit, remaining, reset_at, retry_after: if remaining == 0 { (reset_at - now).max(1) } else { 0 } }
    }
}

/// Who has an IPv6 address has the 2^64 of its network too.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    #[test]
    fn a_window_ends_a_minute_after_its_first_request() {
        let limit = MinuteWindows::new(2);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(limit.look(address, at(99)), Standing { limit: 2, remaining: 2, reset_at: 159, retry_after: 0 });
        assert_eq!(limit.count(address, at(100)), Ok(Standing { limit: 2, remaining: 1, reset_at: 160, retry_after: 0 }));
        assert_eq!(limit.look(address, at(101)).remaining, 1);
        assert_eq!(limit.count(address, at(120)).unwrap().remaining, 0);
        assert_eq!(limit.count(address, at(121)), Err(Standing { limit: 2, remaining: 0, reset_at: 160, retry_after: 39 }));
        assert_eq!(limit.count("192.0.2.2".parse().unwrap(), at(121)).unwrap().remaining, 1);
        assert_eq!(limit.count(address, at(160)).unwrap(), Standing { limit: 2, remaining: 1, reset_at: 220, retry_after: 0 });
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let limit = MinuteWindows::new(1);
        assert!(limit.count("2001:db8::1".parse().unwrap(), at(0)).is_ok());
        assert!(limit.count("2001:db8::ffff:1".parse().unwrap(), at(0)).is_err());
        assert!(limit.count("2001:db8:0:1::1".parse().unwrap(), at(0)).is_ok());
        assert!(limit.count("::ffff:192.0.2.1".parse().unwrap(), at(0)).is_ok());
        assert!(limit.count("192.0.2.1".parse().unwrap(), at(0)).is_err());
    }
}
