//! All public keys as one JSON web key set, kept for a moment: whoever asks, and however often, reads the key pairs at
//! most once in that time.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;

use crate::{ledger::Ledger, signer::Jwk, store::StoreError};

/// How old the set in memory may be.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// The set, written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    pub json: String,
    /// Changes whenever the set does.
    pub tag: String,
}

#[derive(Serialize)]
struct Keys {
    keys: Vec<Jwk>,
}

#[derive(Default)]
pub struct PublicKeys {
    seen: RwLock<Option<(Instant, Arc<KeySet>)>>,
    /// One look at the database at a time.
    looking: tokio::sync::Mutex<()>,
}

impl PublicKeys {
    /// Every key that answers were, are or will be signed with: retired ones too, so that old answers can be checked.
    ///
    /// # Errors
    /// When the key pairs can't be read.
    pub async fn key_set(&self, ledger: &Ledger) -> Result<Arc<KeySet>, StoreError> {
        if let Some(set) = self.fresh() {
            return Ok(set);
        }
        let _alone = self.looking.lock().await;
        if let Some(set) = self.fresh() {
            return Ok(set);
        }
        // The time is taken before the look, so that the set is never older than it claims.
        let at = Instant::now();
        let set = Arc::new(written(ledger).await?);
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = Some((at, Arc::clone(&set)));
        Ok(set)
    }

    fn fresh(&self) -> Option<Arc<KeySet>> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().filter(|(at, _)| at.elapsed() < FRESH_FOR).map(|(_, set)| Arc::clone(set))
    }
}

async fn written(ledger: &Ledger) -> Result<KeySet, StoreError> {
    let mut keys: Vec<Jwk> = Vec::new();
    for row in ledger.key_pairs().await? {
        let Some(key) = Jwk::of_pem(&row.key_pair.public_key) else {
            tracing::error!(key_pair = row.key_pair.number, "a public key can't be read");
            continue;
        };
        // Several products may have taken over one key.
        if !keys.iter().any(|known| known.kid == key.kid) {
            keys.push(key);
        }
    }
    let json = serde_json::to_string(&Keys { keys }).map_err(|error| StoreError::Refused(error.to_string()))?;
    let tag = hex::encode(digest(&SHA256, json.as_bytes()));
    Ok(KeySet { json, tag })
}
