//! Rate limits by address and by API key, each a number of requests in a time: a burst of the whole number is let through,
//! then as many as fit the rate. Off unless configured. Each server counts for itself.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use metrics::Counter;
use moka::sync::Cache;

/// Addresses or keys counted at the same time, some 20 MiB of them. Who could use more addresses is not held up by a limit
/// for each; the one not seen for longest is forgotten first.
const COUNTED_MAX: u64 = 100_000;
/// An IPv6 customer has at least that many bits to choose addresses from: they count as one.
const IPV6_PREFIX_MASK: u128 = !0 << 64;

/// So many requests in such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    count: NonZeroU32,
    per: Duration,
}

impl FromStr for RateLimit {
    type Err = String;

    /// Reads `600/min`, `10/s` or `5000/h`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: not a rate such as 600/min, 10/s or 5000/h");
        let (count, unit) = text.trim().split_once('/').ok_or_else(wrong)?;
        let per = match unit.trim() {
            "s" | "sec" | "second" => 1,
            "min" | "m" | "minute" => 60,
            "h" | "hour" => 3_600,
            _ => return Err(wrong()),
        };
        Ok(Self { count: count.trim().parse().map_err(|_| wrong())?, per: Duration::from_secs(per) })
    }
}

/// One limit, counted for each key.
struct Limiter<K> {
    counted: Cache<K, Arc<DefaultDirectRateLimiter>>,
    quota: Quota,
    clock: DefaultClock,
    refused: Counter,
}

impl<K: Hash + Eq + Send + Sync + 'static> Limiter<K> {
    fn new(limit: RateLimit, by: &'static str) -> Option<Self> {
        let quota = Quota::with_period(limit.per / limit.count.get())?.allow_burst(limit.count);
        // Who was idle for the whole time may use the whole number again: nothing is lost by forgetting it.
        let counted = Cache::builder().max_capacity(COUNTED_MAX).time_to_idle(limit.per).build();
        let refused = metrics::counter!("keyledger_rate_limited_total", "by" => by);
        Some(Self { counted, quota, clock: DefaultClock::default(), refused })
    }

    /// Counts a request. Where it is too many, gives the seconds after which the next would not be.
    fn over(&self, key: K) -> Option<u64> {
        let limiter = self.counted.get_with(key, || Arc::new(RateLimiter::direct(self.quota)));
        let not_until = limiter.check().err()?;
        self.refused.increment(1);
        let wait = not_until.wait_time_from(self.clock.now());
        Some((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
    }
}

/// The limits of one server.
pub struct Limits {
    addresses: Option<Limiter<IpAddr>>,
    keys: Option<Limiter<i64>>,
}

impl Limits {
    #[must_use]
    pub fn new(by_address: Option<RateLimit>, by_key: Option<RateLimit>) -> Self {
        Self { addresses: by_address.and_then(|limit| Limiter::new(limit, "address")), keys: by_key.and_then(|limit| Limiter::new(limit, "api_key")) }
    }

    /// Counts a request from an address. Where it is too many, gives the seconds to wait.
    #[must_use]
    pub fn address_over(&self, address: IpAddr) -> Option<u64> {
        let address = match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & IPV6_PREFIX_MASK).into(),
        };
        self.addresses.as_ref()?.over(address)
    }

    /// Counts a request with an API key. Where it is too many, gives the seconds to wait.
    #[must_use]
    pub fn key_over(&self, api_key: i64) -> Option<u64> {
        self.keys.as_ref()?.over(api_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        let limit = |count, seconds| Ok(RateLimit { count: NonZeroU32::new(count).unwrap(), per: Duration::from_secs(seconds) });
        assert_eq!("600/min".parse(), limit(600, 60));
        assert_eq!(" 10 / s ".parse(), limit(10, 1));
        assert_eq!("5000/h".parse(), limit(5_000, 3_600));
        for wrong in ["", "600", "0/min", "-1/min", "1.5/min", "600/day", "/min", "4294967296/s"] {
            assert!(wrong.parse::<RateLimit>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_address_and_key_has_its_own_count() {
        let limits = Limits::new("2/h".parse().ok(), "1/h".parse().ok());
        let over = |address: &str| limits.address_over(address.parse().unwrap());
        assert_eq!((over("192.0.2.1"), over("192.0.2.1")), (None, None));
        let wait = over("192.0.2.1").unwrap();
        assert!((1_700..=1_800).contains(&wait), "{wait}");
        assert_eq!(over("192.0.2.2"), None);
        assert_eq!((over("2001:db8::1"), over("2001:db8::2"), over("2001:db8::3").is_some()), (None, None, true));
        assert_eq!(over("2001:db8:0:1::1"), None);
        assert_eq!((limits.key_over(1), limits.key_over(2), limits.key_over(1).is_some()), (None, None, true));
        let off = Limits::new(None, None);
        assert!((0..1_000).all(|_| off.key_over(1).is_none() && off.address_over(IpAddr::from([127, 0, 0, 1])).is_none()));
    }
}
