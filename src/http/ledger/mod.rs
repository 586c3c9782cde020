//! The reading of the log under `/ledger/v1`: what happened, and what follows from it. It speaks as the administration does
//! (JSON, problem details, pages with cursors), and so its handlers are written as those are.

pub mod head;
pub mod proofs;
pub mod tiles;

/// The capability that shows license keys whole.
pub const ENTRIES: &str = "ledger:entries";
/// The capability that shows personal data.
pub const PERSONAL_DATA: &str = "ledger:personal-data";
