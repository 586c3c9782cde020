//! What happened and what was, from the log alone: the history of a stream, a license as it was at a point, what a
//! verification would have answered then and which event decided it. Rows are asked for nothing but where a stream is.

mod find;
mod page;
mod point;
mod state;
mod stream;
mod verdict;

pub use find::LicenseStreams;
pub use page::{Change, HistoryEntry, HistoryFilter};
pub use point::{AsOf, Point};
pub use state::{ActivationState, LicenseState, MetaState, Page};
pub use stream::{Secrecy, Stream, Told};
pub use verdict::{Decided, Question, Verdict, VerdictAt};

use super::replay::ReplayError;
use crate::store::StoreError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("nothing in the log has this name")]
    Unknown,
    /// The numbers of the licenses that it could be.
    #[error("several licenses are meant: numbers {}", .0.iter().map(i64::to_string).collect::<Vec<_>>().join(", "))]
    Ambiguous(Vec<i64>),
    #[error("more than {0} licenses had this key; name the license by its number")]
    TooMany(i64),
    #[error("there is no event {0} yet")]
    NotYet(i64),
    #[error("this lies in the future")]
    Future,
    #[error("nothing was recorded by then")]
    BeforeAll,
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl From<StoreError> for HistoryError {
    fn from(error: StoreError) -> Self {
        Self::Replay(error.into())
    }
}
