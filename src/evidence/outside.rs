//! Keeps those outside up to date: every newest checkpoint is handed out, and what comes back is kept.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{
    checkpoint, consistency_proof,
    handout::{self, Checkpoint, Destination, Kept},
};
use crate::{
    clock::Clock,
    ledger::tree::Hash,
    store::{Store, StoredCheckpoint, StoredHandOut},
};

/// The witnesses' lines for a checkpoint of one size.
#[derive(Debug, Default)]
struct Cosigned {
    size: u64,
    lines: Vec<String>,
}

/// The hand-outs of a running server; they end when this is dropped.
pub struct Outside {
    newest: watch::Sender<Option<Checkpoint>>,
    cosigned: Arc<Mutex<Cosigned>>,
    _tasks: JoinSet<()>,
}

impl Outside {
    /// Must be called within the runtime that makes the calls.
    pub fn start(store: Arc<dyn Store>, clock: Clock, destinations: Vec<Destination>) -> Self {
        let (newest, news) = watch::channel(None);
        let cosigned = Arc::new(Mutex::new(Cosigned::default()));
        let mut tasks = JoinSet::new();
        if !destinations.is_empty() {
            let home = Home { store, clock, cosigned: Arc::clone(&cosigned) };
            tasks.spawn(async move { handout::run(destinations, news, &home).await });
        }
        Self { newest, cosigned, _tasks: tasks }
    }

    /// There is a new checkpoint.
    pub fn note(&self, newest: &StoredCheckpoint) {
        self.newest.send_replace(Some(Checkpoint { size: newest.size.unsigned_abs(), note: newest.note.as_str().into() }));
    }

    /// The checkpoint's note with the lines of witnesses, as far as they came back.
    pub fn cosigned(&self, newest: &StoredCheckpoint) -> String {
        let cosigned = self.cosigned.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = if cosigned.size == newest.size.unsigned_abs() { cosigned.lines.concat() } else { String::new() };
        format!("{}{lines}", newest.note)
    }
}

/// What the hand-outs know of this ledger.
struct Home {
    store: Arc<dyn Store>,
    clock: Clock,
    cosigned: Arc<Mutex<Cosigned>>,
}

fn stored(size: u64) -> Result<i64, String> {
    i64::try_from(size).map_err(|error| error.to_string())
}

#[async_trait]
impl handout::Home for Home {
    async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, String> {
        consistency_proof(&self.store, stored(old)?, stored(new)?).await.map_err(|error| error.to_string())
    }

    async fn published(&self, size: u64) -> Result<Option<Hash>, String> {
        let found = checkpoint(&self.store, stored(size)?).await.map_err(|error| error.to_string())?;
        Ok(found.map(|found| found.root))
    }

    async fn keep(&self, brought: &Kept) -> Result<(), String> {
        let (destination, size, answer) = match brought {
            Kept::Cosignatures { witness, size, cosignatures } => {
                let lines: String = cosignatures.iter().map(|cosignature| cosignature.line.as_str()).collect();
                (format!("witness {witness}"), *size, lines.into_bytes())
            }
            Kept::Timestamp { authority, size, token } => (format!("timestamp {authority}"), *size, token.der.clone()),
        };
        let hand_out = StoredHandOut { destination, size: stored(size)?, made_at: self.clock.now(), answer };
        self.store.keep_hand_out(&hand_out).await.map_err(|error| error.to_string())?;
        if let Kept::Cosignatures { size, cosignatures, .. } = brought {
            let mut cosigned = self.cosigned.lock().unwrap_or_else(PoisonError::into_inner);
            if cosigned.size < *size {
                *cosigned = Cosigned { size: *size, lines: Vec::new() };
            }
            if cosigned.size == *size {
                cosigned.lines.extend(cosignatures.iter().map(|cosignature| cosignature.line.clone()));
            }
        }
        Ok(())
    }
}
