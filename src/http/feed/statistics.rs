//! `GET /feed/v1/statistics`: what happened on each day, for charts.

use keyledger_events::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    feed::statistics::{self as days, Counts, DayOfProduct},
    http::{
        admin::{AdminCall, Check, Query, Replied, Shown, Wanted},
        doc::Doc,
    },
};

/// Bits of a cursor that are the product's number; the others are the day.
const PRODUCT_BITS: u32 = 40;

/// Which days are wanted; what is absent doesn't matter.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StatisticsQuery {
    /// Only of this product.
    pub product: Option<i64>,
    /// The first day, in UTC.
    #[schema(format = Date)]
    pub from: Option<String>,
    /// The last day.
    #[schema(format = Date)]
    pub to: Option<String>,
    /// How many items, 50 unless given.
    #[schema(minimum = 1, maximum = 500)]
    pub limit: Option<i64>,
    /// The `next` of the page before.
    pub after: Option<String>,
}

/// What happened on one day to one product.
#[derive(Serialize, ToSchema)]
pub struct DailyStatistics {
    #[schema(format = Date)]
    pub day: String,
    pub product: i64,
    /// Licenses that were made.
    pub created: i64,
    /// Licenses that became assigned, or were made so.
    pub assigned: i64,
    pub activations: i64,
    /// Activations that ended, whoever ended them.
    pub deactivations: i64,
    /// Refusals that the log has: one for each license, reason and minute.
    pub refusals: i64,
    /// Verifications that were answered, whatever the answer was.
    pub verifications: i64,
    /// How many more licenses the product has than on the day before, or fewer: made or moved to it, less those deleted or moved away.
    pub licenses: i64,
}

impl DailyStatistics {
    fn new(((day, product), counts): (DayOfProduct, Counts)) -> Self {
        let Counts { created, assigned, activations, deactivations, refusals, verifications, licenses } = counts;
        let day = Timestamp(0).plus_days(day).date();
        Self { day, product, created, assigned, activations, deactivations, refusals, verifications, licenses }
    }
}

/// A page of days.
#[derive(Serialize, ToSchema)]
pub struct StatisticsPage {
    /// In the order of day and product; a day on which nothing happened is not there.
    pub items: Vec<DailyStatistics>,
    /// The cursor of the next page, to be given as `after`; `null` on the last one.
    pub next: Option<String>,
    /// The last event that is counted; -1 before the first.
    pub position: i64,
    /// The last event that there is.
    pub head: i64,
}

pub const STATISTICS: Doc = Doc::new("What happened on each day, for each product").details(
    "Added up behind the log, commonly by a second or two: position says of which events these are the sums, head where the log ends. \
     Verifications are recorded once a minute.",
);

/// A day of UTC as a number.
fn day(check: &mut Check, name: &'static str, text: Option<&str>) -> Option<i64> {
    let text = text?;
    let day = Timestamp::parse(text).filter(|_| text.len() == "YYYY-MM-DD".len()).map(Timestamp::day);
    if day.is_none() {
        check.wrong(name, "must be a day: YYYY-MM-DD.");
    }
    day
}

fn cursor((day, product): DayOfProduct) -> i64 {
    day << PRODUCT_BITS | product
}

pub async fn statistics(call: AdminCall, Query(query): Query<StatisticsQuery>) -> Replied<Shown<StatisticsPage>> {
    let mut check = Check::default();
    let from = day(&mut check, "from", query.from.as_deref());
    let to = day(&mut check, "to", query.to.as_deref());
    check.end()?;
    let wanted = Wanted::new(query.limit, query.after.as_deref())?;
    let after = wanted.after.map_or((-1, -1), |after| (after >> PRODUCT_BITS, after & ((1 << PRODUCT_BITS) - 1)));
    let store = call.app.feed.store();
    // Before the sums: they may be of more events than is said, but not of fewer.
    let position = days::position(store.as_ref()).await?;
    let rows = days::page(store, query.product, (from.unwrap_or(0), to.unwrap_or(i64::MAX)), after, wanted.rows()).await?;
    let page = wanted.page(rows, |(place, _)| cursor(*place), DailyStatistics::new);
    let head = (store.head().await?.next_position - 1).max(position);
    Ok(Shown(StatisticsPage { items: page.items, next: page.next, position, head }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_keeps_day_and_product_in_their_order() {
        let places = [(0, 1), (0, 2), (19_730, 1), (19_730, (1 << PRODUCT_BITS) - 1), (19_731, 1), (2_932_894, 1)];
        assert!(places.windows(2).all(|pair| cursor(pair[0]) < cursor(pair[1])));
        for place in places {
            let number = cursor(place);
            assert_eq!((number >> PRODUCT_BITS, number & ((1 << PRODUCT_BITS) - 1)), place);
        }
    }

    #[test]
    fn a_day_is_a_date_alone() {
        let mut check = Check::default();
        assert_eq!(day(&mut check, "from", Some("2024-01-08")), Some(19_730));
        assert_eq!(day(&mut check, "from", None), None);
        assert!(check.end().is_ok());
        for bad in ["", "2024-01-08 10:00:00", "2024-13-01", "yesterday!", "1969-12-31"] {
            let mut check = Check::default();
            assert_eq!(day(&mut check, "to", Some(bad)), None);
            assert!(check.end().is_err(), "{bad}");
        }
    }
}
