//! Witnesses: services of others that cosign a checkpoint once they have checked that it continues what they saw before. Protocol:
//! C2SP tlog-witness.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{
    Checkpoint,
    note::{CosignError, Cosignature, CosignerKey},
};
use crate::{
    ledger::tree::Hash,
    notes::decimal,
    outgoing::{Outgoing, OutgoingError, is_http_url},
};

/// Longest consistency proof, as the protocol says.
const PROOF_HASHES_MAX: usize = 63;
/// How often one hand-out is repeated because the witness is at another size than was thought: it learns of this ledger from all of
/// its servers.
const TRIES_MAX: u32 = 3;
/// Longest answer: cosignatures of a few keys, those that withstand quantum computers too.
const REPLY_BYTES_MAX: usize = 64 * 1024;
/// The media type of an answer that says which size the witness knows.
const SIZE_TYPE: &str = "text/x.tlog.size";

#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    #[error(
        "the witness has cosigned {theirs} events, and the checkpoint has {ours}: the ledger was put back, or a newer checkpoint came from elsewhere"
    )]
    Ahead { theirs: u64, ours: u64 },
    #[error("the witness knows another tree of this size: the ledger was changed, or the witness was")]
    OtherTree,
    #[error("the witness doesn't accept that the checkpoint continues the one it knows")]
    ProofRejected,
    #[error("the witness does not know this ledger")]
    UnknownLedger,
    #[error("the witness does not trust the key that signed the checkpoint")]
    UntrustedKey,
    #[error("the witness answered with status {0}")]
    Status(u16),
    #[error("the witness is at another size each time")]
    Unsteady,
    #[error("the witness's answer can't be read")]
    Malformed,
    #[error("there is no consistency proof: {0}")]
    NoProof(String),
    #[error(transparent)]
    Cosignature(#[from] CosignError),
    #[error(transparent)]
    Outgoing(#[from] OutgoingError),
}

/// One witness.
pub struct Witness {
    url: String,
    key: CosignerKey,
    outgoing: Outgoing,
    /// The size that it cosigned last, as far as is known here.
    cosigned: AtomicU64,
}

impl Witness {
    /// Reads `URL#VKEY`: where checkpoints are submitted, and the verifier key of the witness.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, outgoing: Outgoing) -> Result<Self, &'static str> {
        let (url, vkey) = text.split_once('#').ok_or("a witness has the form URL#VKEY")?;
        if !is_http_url(url) {
            return Err("a witness's URL must be one of http or https");
        }
        let url = format!("{}/add-checkpoint", url.trim_end_matches('/'));
        Ok(Self { url, key: CosignerKey::parse(vkey)?, outgoing, cosigned: AtomicU64::new(0) })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        self.key.name()
    }

    /// Has a checkpoint cosigned. `consistency` proves that the tree of a size is continued by the checkpoint's.
    ///
    /// # Errors
    /// When the witness doesn't, or there is no valid cosignature by its key.
    pub async fn hand_out<F>(&self, checkpoint: &Checkpoint, consistency: impl Fn(u64) -> F) -> Result<Vec<Cosignature>, WitnessError>
    where
        F: Future<Output = Result<Vec<Hash>, String>>,
    {
        let mut old = self.cosigned.load(Ordering::Relaxed);
        for _ in 0..TRIES_MAX {
            if old > checkpoint.size {
                return Err(WitnessError::Ahead { theirs: old, ours: checkpoint.size });
            }
            let proof = if old == 0 || old == checkpoint.size { Vec::new() } else { consistency(old).await.map_err(WitnessError::NoProof)? };
            if proof.len() > PROOF_HASHES_MAX {
                return Err(WitnessError::NoProof(format!("{} hashes are too many", proof.len())));
            }
            let body = request(old, &proof, &checkpoint.note);
            let reply = self.outgoing.post_for_reply(&self.url, &[], body, REPLY_BYTES_MAX).await?;
            match reply.status {
                200 => {
                    let lines = String::from_utf8(reply.body).map_err(|_| WitnessError::Malformed)?;
                    let cosignatures = self.key.check(&checkpoint.note, &lines)?;
                    self.cosigned.store(checkpoint.size, Ordering::Relaxed);
                    return Ok(cosignatures);
                }
                409 if reply.is_of_type(SIZE_TYPE) => {
                    let text = String::from_utf8(reply.body).ok();
                    let size = text.as_deref().and_then(|text| decimal(text.strip_suffix('\n').unwrap_or(text))).ok_or(WitnessError::Malformed)?;
                    if size == old && size == checkpoint.size {
                        return Err(WitnessError::OtherTree);
                    }
                    old = size;
                    self.cosigned.store(size, Ordering::Relaxed);
                }
                409 if old == checkpoint.size => return Err(WitnessError::OtherTree),
                403 => return Err(WitnessError::UntrustedKey),
                404 => return Err(WitnessError::UnknownLedger),
                422 => return Err(WitnessError::ProofRejected),
                status => return Err(WitnessError::Status(status)),
            }
        }
        Err(WitnessError::Unsteady)
    }
}

fn request(old: u64, proof: &[Hash], note: &str) -> Vec<u8> {
    let mut body = format!("old {old}\n");
    for hash in proof {
        body.push_str(&BASE64.encode(hash));
        body.push('\n');
    }
    body.push('\n');
    body.push_str(note);
    body.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_the_protocol_has_it() {
        let body = request(20_852_014, &[[0; 32], [255; 32]], "origin\n");
        let expected = "old 20852014\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n//////////////////////////////////////////8=\n\norigin\n";
        assert_eq!(String::from_utf8(body).unwrap(), expected);
        assert_eq!(request(0, &[], "origin\n"), b"old 0\n\norigin\n");
    }
}
