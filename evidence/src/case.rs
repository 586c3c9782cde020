//! Making a dispute file. Whoever makes it gives events, proofs and signatures; states, keys, report and the archive are made here,
//! and the file is checked before it is given out.

use std::collections::BTreeMap;

use crate::{Wrong, tree::Hash};

/// One event and where it stands in the tree of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenEvent {
    /// The canonical leaf.
    pub leaf: String,
    /// Its inclusion proof in the tree of the checkpoint's size, from the leaf upwards.
    pub hashes: Vec<Hash>,
}

/// A checkpoint that the customer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// The signed note, as the customer has it; it may carry witnesses' lines.
    pub note: String,
    /// The consistency proof from its size to the checkpoint's.
    pub hashes: Vec<Hash>,
}

/// What a dispute file is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseInput {
    /// The license's number.
    pub license: u64,
    /// The period in dispute, `2026-05-03T00:00:00.000000Z`; it only marks what is inside it.
    pub from: Option<String>,
    pub to: Option<String>,
    /// By ascending position: `LedgerCreated`; exactly one `StreamMapRecorded`, of map size N; all of the license's events with a
    /// position below N; all events of key pairs; `ProductCreated` and `ProductKeyPairChanged` of the products that the license's
    /// events name; all events of the API keys that act in the license's events. All have positions below the checkpoint's size.
    pub events: Vec<ProvenEvent>,
    /// The signed note, with the log's own signature line alone.
    pub checkpoint: String,
    /// The newest global key pair's signature of [`crate::rsa_check::checkpoint_message`].
    pub checkpoint_signature: Vec<u8>,
    /// The key that checks the note, as [`crate::note::VerifierKey`] writes it.
    pub vkey: String,
    /// The inclusion proof of the license's entry ([`crate::map_entry`]) in the map that `StreamMapRecorded` names: index is the
    /// license's number less one, size its `licenses`.
    pub map_hashes: Vec<Hash>,
    /// At most one of each size.
    pub earlier: Vec<Earlier>,
    /// With personal data: by position, the secrets of those events of the license that have personal data and can still be opened.
    pub secrets: Option<BTreeMap<u64, [u8; 32]>>,
}

/// Makes the dispute file: the bytes of the archive.
///
/// # Errors
/// When what is given does not make up a file that passes its own check.
pub fn build(_input: &CaseInput) -> Result<Vec<u8>, Wrong> {
    Err(Wrong("making dispute files is not written yet".to_owned()))
}
