//! What is checked, in the order in which it is checked.

use crate::Wrong;

/// What the one who checks brings along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Checkpoints that were kept: signed notes.
    pub checkpoints: Vec<String>,
    /// Keys that are trusted: a vkey, or the global public key in PEM.
    pub public_keys: Vec<String>,
    /// Signed answers of the server that were kept.
    pub answers: Vec<Vec<u8>>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What was checked and holds, a sentence each.
    pub checked: Vec<String>,
    /// The first thing wrong.
    pub wrong: Option<Wrong>,
}

/// Checks a dispute file.
#[must_use]
pub fn verify(_archive: &[u8], _given: &Given) -> Verdict {
    Verdict { checked: Vec::new(), wrong: Some(Wrong("checking is not written yet".to_owned())) }
}
