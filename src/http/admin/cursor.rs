//! Cursors: where a page ended, in a form that clients hand back and don't look into.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Replied, input::Page, problem::Problem};

/// Items of a page unless the request says.
const LIMIT: i64 = 50;
/// Most items of a page: some hundred kilobytes of JSON.
const LIMIT_MAX: i64 = 500;
/// Tells our cursors from what somebody makes up.
const MARK: &str = "after:";

/// The number that a page ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub i64);

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        text.strip_prefix(MARK)?.parse().ok().map(Self)
    }

    fn write(self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{MARK}{}", self.0))
    }
}

/// Which page of a list is wanted. For lists that have filters, the same members stand in their own query.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Listing {
    /// How many items, 50 unless given.
    #[schema(minimum = 1, maximum = 500)]
    pub limit: Option<i64>,
    /// The `next` of the page before.
    pub after: Option<String>,
}

/// A page as it is asked for: one row more tells whether there is another page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub after: Option<i64>,
    limit: i64,
}

impl Wanted {
    /// # Errors
    /// When the limit is out of bounds or the cursor is none of ours.
    pub fn new(limit: Option<i64>, after: Option<&str>) -> Replied<Self> {
        let limit = limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Problem::invalid_field("limit", format!("must be an integer of 1 to {LIMIT_MAX}.")));
        }
        let after = match after {
            None => None,
            Some(text) => Some(Cursor::parse(text).ok_or_else(|| Problem::invalid_field("after", "is no cursor of a page before."))?.0),
        };
        Ok(Self { after, limit })
    }

    /// How many rows to read.
    #[must_use]
    pub fn rows(&self) -> i64 {
        self.limit + 1
    }

    /// Makes the page of the rows that were read.
    pub fn page<R, T>(&self, mut rows: Vec<R>, number: impl Fn(&R) -> i64, item: impl Fn(R) -> T) -> Page<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| Cursor(number(row)).write());
        Page { items: rows.into_iter().map(item).collect(), next }
    }
}

impl Listing {
    /// # Errors
    /// As [`Wanted::new`].
    pub fn wanted(&self) -> Replied<Wanted> {
        Wanted::new(self.limit, self.after.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_to_the_next_page() {
        let wanted = Wanted::new(Some(2), None).unwrap();
        assert_eq!((wanted.after, wanted.rows()), (None, 3));
        let page = wanted.page(vec![3, 5, 8], |row| *row, |row| row * 10);
        assert_eq!(page.items, [30, 50]);
        let next = Wanted::new(Some(2), page.next.as_deref()).unwrap();
        assert_eq!(next.after, Some(5));
        assert_eq!(next.page(vec![8], |row| *row, |row| row).next, None);
    }

    #[test]
    fn what_is_no_cursor_or_limit_is_refused() {
        for limit in [0, -1, 501, i64::MAX] {
            assert!(Wanted::new(Some(limit), None).is_err(), "{limit}");
        }
        for cursor in ["", "5", "NQ", "YWZ0ZXI6", "YWZ0ZXI6eA", "\u{fc}"] {
            assert!(Wanted::new(None, Some(cursor)).is_err(), "{cursor}");
        }
    }
}
