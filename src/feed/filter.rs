//! Which events a subscriber wants.

use keyledger_events::{
    Timestamp,
    public::{public_name, public_names},
    webhook_endpoint::WantedEvents,
};
use serde::{Deserialize, Serialize};

use super::cloud_event::{Facts, Lane};
use crate::store::StoredEvent;

/// Names of types that one filter may have: more than there are.
const TYPES_MAX: usize = 100;

/// Why there is no such filter.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("{0} is no type of event; they are listed in the documentation, and license.* means all of licenses")]
    UnknownType(String),
    #[error("{} types at most can be named", TYPES_MAX)]
    TooManyTypes,
}

/// What is wanted; everything where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Public names, or with `*` behind the dot all of what they concern.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    types: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    product: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    license: Option<i64>,
    /// Recorded at or after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Recorded at or before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// Of those, one part: which one, and of how many.
    #[serde(skip)]
    partition: Option<(i64, i64)>,
}

impl Filter {
    /// # Errors
    /// When a type is none.
    pub fn new(
        types: Vec<String>,
        product: Option<i64>,
        license: Option<i64>,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Result<Self, FilterError> {
        if types.len() > TYPES_MAX {
            return Err(FilterError::TooManyTypes);
        }
        if let Some(unknown) = types.iter().find(|wanted| !public_names().any(|name| is_meant(wanted, name))) {
            return Err(FilterError::UnknownType(unknown.clone()));
        }
        Ok(Self { types, product, license, from, to, partition: None })
    }

    /// Of what it wants, only one part of several. All events of a lane are in the same.
    #[must_use]
    pub fn of_partition(self, number: i64, of: i64) -> Self {
        Self { partition: Some((number, of)), ..self }
    }

    /// Whether an event may be wanted, from what needs no look at its payload.
    #[must_use]
    pub fn may_take(&self, event: &StoredEvent) -> bool {
        let is_in_time = self.from.is_none_or(|from| event.recorded_at >= from) && self.to.is_none_or(|to| event.recorded_at <= to);
        // What a newer program recorded may be wanted: who can't tell must not leave it out.
        let is_of_type = || public_name(&event.event_type).is_none_or(|name| self.types.iter().any(|wanted| is_meant(wanted, name)));
        is_in_time && (self.types.is_empty() || is_of_type())
    }

    /// Whether one that may be wanted is.
    #[must_use]
    pub fn takes(&self, facts: &Facts<'_>) -> bool {
        let is_of_license = self.license.is_none_or(|license| facts.license() == Some(license));
        let is_of_part = self.partition.is_none_or(|(number, of)| partition(facts, of) == number);
        is_of_license && is_of_part && self.product.is_none_or(|product| facts.concerns_product(product))
    }
}

/// Which of so many parts an event is in.
fn partition(facts: &Facts<'_>, of: i64) -> i64 {
    let number = match facts.lane() {
        Lane::License(number) => number.cast_unsigned(),
        Lane::Stream(id) => id.as_u128() as u64,
    };
    // Consecutive numbers are spread over all parts, whatever their number: the golden ratio's bits.
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    i64::try_from(spread % of.max(1).unsigned_abs()).unwrap_or(0)
}

/// As it was checked when it was recorded: a name that is none any more means nothing.
impl From<&WantedEvents> for Filter {
    fn from(wanted: &WantedEvents) -> Self {
        Self { types: wanted.types.clone(), product: wanted.product, license: wanted.license, ..Self::default() }
    }
}

fn is_meant(wanted: &str, name: &str) -> bool {
    wanted.strip_suffix('*').map_or(wanted == name, |front| front.ends_with('.') && name.starts_with(front))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_one_by_one_or_by_what_they_concern() {
        assert!(is_meant("license.activated", "license.activated") && is_meant("license.*", "license.activated"));
        assert!(!is_meant("license.*", "activation.failed") && !is_meant("lic*", "license.activated") && !is_meant("*", "license.activated"));
        let of = |name: &str| Filter::new(vec![name.to_owned()], None, None, None, None);
        assert!(of("telemetry.*").is_ok());
        for bad in ["", "*", "license", "license.", "LicenseActivated", "licence.*"] {
            assert_eq!(of(bad), Err(FilterError::UnknownType(bad.to_owned())));
        }
    }

    #[test]
    fn a_filter_is_kept_as_text() {
        let filter = Filter::new(vec!["license.*".to_owned()], Some(7), None, Some(Timestamp(1)), None).unwrap();
        let text = serde_json::to_string(&filter).unwrap();
        assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), filter);
        assert_eq!(serde_json::from_str::<Filter>(&serde_json::to_string(&filter.clone().of_partition(1, 2)).unwrap()).unwrap(), filter);
        assert_eq!(serde_json::to_string(&Filter::default()).unwrap(), "{}");
    }
}
