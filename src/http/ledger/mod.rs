//! The reading of the log under `/ledger/v1`: what happened, and what follows from it. It speaks as the administration does
//! (JSON, problem details, pages with cursors), and so its handlers are written as those are.

pub mod evidence;
pub mod head;
pub mod history;
mod input;
pub mod proofs;
pub mod state;
pub mod tiles;
pub mod verify;

pub use input::Repeatable;

use keyledger_events::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    admin::{Kind, Problem, Replied},
    doc::{Parameter, Place, Shape},
};
use crate::ledger::{
    history::{AsOf, HistoryError, Point, Secrecy},
    replay::ReplayError,
};

/// The capability that shows license keys whole.
pub const ENTRIES: &str = "ledger:entries";
/// The capability that shows personal data.
pub const PERSONAL_DATA: &str = "ledger:personal-data";

const LICENSE: Parameter = Parameter::required("license", Shape::Text, "Its number, its id, or a key that it has or had.").at(Place::Path);

/// A point in the log.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct LedgerPoint {
    /// The last event that counts.
    pub position: i64,
    /// What time it is taken to be.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
}

impl From<Point> for LedgerPoint {
    fn from(point: Point) -> Self {
        Self { position: point.position, time: point.time }
    }
}

/// What became of something personal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PersonalDataState {
    /// It is shown.
    Open,
    /// It is there, and not shown to this API key.
    Sealed,
    /// Its key is destroyed: nobody can read it any more.
    Erased,
}

impl PersonalDataState {
    fn new(secrecy: Secrecy) -> Option<Self> {
        match secrecy {
            Secrecy::None => None,
            Secrecy::Open => Some(Self::Open),
            Secrecy::Sealed => Some(Self::Sealed),
            Secrecy::Erased => Some(Self::Erased),
        }
    }
}

/// As of when: a position or a time; the end of the log where nothing is said.
fn as_of(text: Option<&str>) -> Replied<AsOf> {
    let Some(text) = text.map(str::trim) else { return Ok(AsOf::Head) };
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let as_of = if is_number { text.parse().ok().map(AsOf::Position) } else { Timestamp::parse(text).map(AsOf::Time) };
    let wrong = "must be a position, or a time as RFC 3339 has it (in a query a + is written %2B).";
    as_of.ok_or_else(|| Problem::invalid_field("as_of", wrong))
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Unknown => Self::new(Kind::NotFound, "The log has nothing of this name."),
            HistoryError::BeforeAll => Self::new(Kind::NotFound, "Nothing was recorded by then."),
            HistoryError::Ambiguous(numbers) => {
                let numbers = numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
                Self::conflict(format!("Several licenses are meant, with the numbers {numbers}: name one by its number or id."))
            }
            HistoryError::TooMany(most) => Self::conflict(format!("More than {most} licenses had this key: name one by its number or id.")),
            HistoryError::NotYet(position) => Self::invalid_field("as_of", format!("there is no event {position} yet.")),
            HistoryError::Future => Self::invalid_field("as_of", "lies in the future."),
            HistoryError::Replay(ReplayError::Store(error)) => error.into(),
            HistoryError::Replay(ReplayError::Interrupted(error)) => {
                tracing::error!(error, "the log was not read to its end");
                Self::internal()
            }
            // Who reads the log as evidence must learn that it is none, and where.
            HistoryError::Replay(error @ (ReplayError::Decode { .. } | ReplayError::Difference(_) | ReplayError::Fold(_))) => {
                tracing::error!(%error, "the log is damaged");
                Self::new(Kind::InternalError, format!("The log is damaged: {error}."))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_a_position_or_a_time() {
        assert_eq!(as_of(None).unwrap(), AsOf::Head);
        assert_eq!(as_of(Some("17")).unwrap(), AsOf::Position(17));
        let time = Timestamp::parse("2024-11-23T19:02:08.829115Z").unwrap();
        assert_eq!(as_of(Some("2024-11-23T20:02:08.829115+01:00")).unwrap(), AsOf::Time(time));
        for bad in ["", "-1", "1.5", "yesterday", "99999999999999999999", "2024-11-23T20:02:08 01:00"] {
            assert!(as_of(Some(bad)).is_err(), "{bad}");
        }
    }
}
