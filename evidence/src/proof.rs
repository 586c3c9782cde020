//! `proof.json`: what the file is about, and the proofs.

use serde::{Deserialize, Serialize};

use crate::{
    CASE_FORMAT, Wrong, canonical, ensure, time,
    tree::{Hash, PROOF_HASHES_MAX},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Consistency proofs from the earlier checkpoints, by ascending size.
    pub earlier: Vec<EarlierProof>,
    pub format: String,
    pub from: Option<String>,
    /// Of each line of `events.jsonl`, in order.
    pub inclusion: Vec<Inclusion>,
    pub ledger_id: String,
    pub license: u64,
    /// The key that the license has after its last event.
    pub license_key: String,
    pub map: MapProof,
    pub size: u64,
    pub to: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inclusion {
    pub hashes: Vec<String>,
    pub position: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapProof {
    pub entry: String,
    /// The position of the `StreamMapRecorded` that names the map's root.
    pub event: u64,
    pub hashes: Vec<String>,
    pub index: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlierProof {
    pub hashes: Vec<String>,
    pub size: u64,
}

/// Reads a hash: 64 small hexadecimal digits.
pub fn hash(text: &str) -> Option<Hash> {
    let hash: Hash = hex::decode(text).ok()?.try_into().ok()?;
    (hex::encode(hash) == text).then_some(hash)
}

/// Reads a proof's hashes.
pub fn hashes(list: &[String]) -> Result<Vec<Hash>, Wrong> {
    ensure(list.len() <= PROOF_HASHES_MAX, || format!("a proof in proof.json has more than {PROOF_HASHES_MAX} hashes"))?;
    list.iter().map(|text| hash(text).ok_or_else(|| Wrong(format!("“{text}” in proof.json is no hash")))).collect()
}

pub fn write_hashes(list: &[Hash]) -> Vec<String> {
    list.iter().map(hex::encode).collect()
}

impl Proof {
    pub fn read(text: &str) -> Result<Self, Wrong> {
        let proof: Self = serde_json::from_str(text).map_err(|error| Wrong(format!("proof.json can't be read: {error}")))?;
        ensure(canonical(&proof)? == text, || "proof.json is not canonical JSON (RFC 8785)".to_owned())?;
        ensure(proof.format == CASE_FORMAT, || format!("proof.json is of format “{}”; this program reads “{CASE_FORMAT}”", proof.format))?;
        proof.period()?;
        Ok(proof)
    }

    /// The period in dispute.
    pub fn period(&self) -> Result<(Option<i64>, Option<i64>), Wrong> {
        let read = |bound: &Option<String>| match bound {
            None => Ok(None),
            Some(text) => time::parse(text).map(Some).ok_or_else(|| Wrong(format!("“{text}” is no time such as 2026-05-03T00:00:00.000000Z"))),
        };
        let (from, to) = (read(&self.from)?, read(&self.to)?);
        ensure(from.is_none() || to.is_none() || from <= to, || "the period in dispute ends before it begins".to_owned())?;
        Ok((from, to))
    }
}
