//! Times as the ledger writes them: UTC with six decimals, one way to write each. Inside, microseconds since 1970.

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// The latest time that the ledger writes, a day before the end of the year 9999; what lies beyond is cut to it.
const LAST_MICROS: i64 = 253_402_207_199_999_999;
const MONTHS: [&str; 12] = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

struct Parts {
    year: i64,
    month: i64,
    day: i64,
    second_of_day: i64,
    micros: i64,
}

/// Days since 1970 of a date, and back: the Gregorian calendar in eras of 400 years whose years begin in March, so that the
/// leap day is the last of its year.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn parts(micros: i64) -> Parts {
    let micros = micros.clamp(0, LAST_MICROS);
    let seconds = micros / MICROS_PER_SECOND;
    let days = seconds / SECONDS_PER_DAY + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    Parts { year, month, day, second_of_day: seconds % SECONDS_PER_DAY, micros: micros % MICROS_PER_SECOND }
}

/// `2026-05-03T10:12:03.000000Z`.
#[must_use]
pub fn write(micros: i64) -> String {
    let at = parts(micros);
    let (hour, minute, second) = (at.second_of_day / 3_600, at.second_of_day / 60 % 60, at.second_of_day % 60);
    format!("{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", at.year, at.month, at.day, at.micros)
}

/// Reads what [`write`] writes, and nothing else.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i64>().ok())?
    };
    let days = days_of(number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let seconds = number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?;
    let micros = (days * SECONDS_PER_DAY + seconds) * MICROS_PER_SECOND + number(20, 26)?;
    (write(micros) == text).then_some(micros)
}

/// The same time of day so many days later.
#[must_use]
pub fn plus_days(micros: i64, days: i64) -> i64 {
    let sum = i128::from(days) * i128::from(SECONDS_PER_DAY) * i128::from(MICROS_PER_SECOND) + i128::from(micros);
    i64::try_from(sum).unwrap_or(LAST_MICROS).clamp(0, LAST_MICROS)
}

/// For people: `3 May 2026, 10:12:03 UTC`.
#[must_use]
pub fn in_words(micros: i64) -> String {
    let at = parts(micros);
    let month = usize::try_from(at.month - 1).ok().and_then(|month| MONTHS.get(month)).copied().unwrap_or_default();
    let (hour, minute, second) = (at.second_of_day / 3_600, at.second_of_day / 60 % 60, at.second_of_day % 60);
    format!("{} {month} {}, {hour:02}:{minute:02}:{second:02} UTC", at.day, at.year)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_one_way_and_read_back() {
        assert_eq!(write(1_732_388_528_829_115), "2024-11-23T19:02:08.829115Z");
        assert_eq!(in_words(1_732_388_528_829_115), "23 November 2024, 19:02:08 UTC");
        for day in (0..60_000).chain(2_932_800..2_932_895) {
            let micros = day * 86_400_000_000 + day % 86_400 * 1_000_003;
            assert_eq!(parse(&write(micros)), Some(micros), "{}", write(micros));
        }
    }

    #[test]
    fn nothing_else_is_a_time() {
        for bad in [
            "",
            "2024-11-23",
            "2024-11-23T19:02:08Z",
            "2024-11-23T19:02:08.829115+00:00",
            "2024-02-30T00:00:00.000000Z",
            "2024-11-23T24:00:00.000000Z",
            "2024-11-23 19:02:08.829115Z",
            "+024-11-23T19:02:08.829115Z",
            "2024-11-23T19:02:08.829115Zé",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn adding_days_ends_where_the_ledger_ends() {
        assert_eq!(write(plus_days(0, 365)), "1971-01-01T00:00:00.000000Z");
        assert_eq!(write(plus_days(i64::MAX, i64::MAX)), "9999-12-30T21:59:59.999999Z");
    }
}
