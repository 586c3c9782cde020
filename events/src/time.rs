//! Points in time as the ledger keeps them: microseconds, UTC, always written with six decimals.

use std::fmt;

use jiff::{Timestamp as Instant, ToSpan, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// Latest time that can be written (a day before the end of year 9999); what lies beyond is cut to it.
const LAST_MICROS: i64 = 253_402_207_199_999_999;
const MICROS_PER_SECOND: i64 = 1_000_000;

impl Timestamp {
    fn instant(self) -> Instant {
        Instant::from_microsecond(self.0.clamp(0, LAST_MICROS)).unwrap_or_default()
    }

    /// Whole seconds since the Unix epoch.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// Whole minutes since the Unix epoch.
    #[must_use]
    pub fn minute(self) -> i64 {
        self.0.div_euclid(60 * MICROS_PER_SECOND)
    }

    /// Whole days since the Unix epoch.
    #[must_use]
    pub fn day(self) -> i64 {
        self.seconds().div_euclid(86_400)
    }

    /// The same time of day so many days later; cut at the last time that can be written.
    #[must_use]
    pub fn plus_days(self, days: i64) -> Self {
        let micros = i128::from(days) * 86_400 * i128::from(MICROS_PER_SECOND) + i128::from(self.0);
        Self(i64::try_from(micros).unwrap_or(LAST_MICROS).clamp(0, LAST_MICROS))
    }

    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    #[must_use]
    pub fn date_time(self) -> String {
        self.instant().strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// `YYYY-MM-DD`, UTC.
    #[must_use]
    pub fn date(self) -> String {
        self.instant().strftime("%Y-%m-%d").to_string()
    }

    /// Reads `YYYY-MM-DD`, `YYYY-MM-DD HH:MM:SS` (as UTC) or RFC 3339. `None` for anything else or out of 1970–9999.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let instant = text
            .parse::<Instant>()
            .or_else(|_| text.parse::<jiff::civil::DateTime>().and_then(|at| at.to_zoned(TimeZone::UTC)).map(|at| at.timestamp()))
            .ok()?;
        let micros = instant.checked_add(0.seconds()).ok()?.as_microsecond();
        (0..=LAST_MICROS).contains(&micros).then_some(Self(micros))
    }
}

/// RFC 3339, UTC, six decimals: the one form in which a time enters a hash. Every event has one, so it is written without
/// a calendar library's generality.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.clamp(0, LAST_MICROS);
        let seconds = micros / MICROS_PER_SECOND;
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // The proleptic Gregorian calendar in eras of 400 years, each year beginning in March, so that the leap day is its last.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);

        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let fields = [(0, 4, year), (5, 2, month), (8, 2, day), (11, 2, second / 3_600), (14, 2, second / 60 % 60), (17, 2, second % 60)];
        for (at, width, value) in fields.into_iter().chain([(20, 6, micros % MICROS_PER_SECOND)]) {
            let mut rest = value;
            for digit in text[at..at + width].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not an RFC 3339 time between 1970 and 9999"))
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn is_written_with_six_decimals_and_read_back() {
        let at = Timestamp(1_732_388_528_829_115);
        assert_eq!(at.to_string(), "2024-11-23T19:02:08.829115Z");
        assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
        assert_eq!(Timestamp(1_732_388_528_000_000).to_string(), "2024-11-23T19:02:08.000000Z");
    }

    #[test]
    fn is_written_as_the_calendar_says() {
        // Every day of some years around leap days, and both ends.
        let days = (0..60_000).chain(2_932_800..2_932_895);
        for day in days {
            let at = Timestamp(day * 86_400_000_000 + day % 86_400 * 1_000_003);
            assert_eq!(at.to_string(), at.instant().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
        }
        assert_eq!(Timestamp(-1).to_string(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(Timestamp(i64::MAX).to_string(), "9999-12-30T21:59:59.999999Z");
    }

    #[test]
    fn reads_the_forms_clients_send() {
        assert_eq!(Timestamp::parse("2024-01-08 21:17:32").unwrap().date_time(), "2024-01-08 21:17:32");
        assert_eq!(Timestamp::parse("2024-01-08").unwrap().date_time(), "2024-01-08 00:00:00");
        for bad in ["", "tomorrow", "2024-13-01", "1969-12-31 23:59:59", "-009999-01-01"] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_day_is_of_utc() {
        let at = Timestamp::parse("2024-01-08 23:59:59").unwrap();
        assert_eq!((at.day(), at.date().as_str()), (19_730, "2024-01-08"));
        assert_eq!(Timestamp(0).plus_days(at.day()), Timestamp::parse("2024-01-08").unwrap());
        assert_eq!(Timestamp::parse("2024-01-09").unwrap().day(), 19_731);
    }

    #[test]
    fn adding_days_never_overflows() {
        assert_eq!(Timestamp(i64::MAX).plus_days(i64::MAX).to_string(), "9999-12-30T21:59:59.999999Z");
        assert_eq!(Timestamp(0).plus_days(365).date_time(), "1971-01-01 00:00:00");
    }
}
