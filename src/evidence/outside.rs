//! Keeps those outside up to date: every newest checkpoint is handed out, and what comes back is kept.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::{
    consistency_proof,
    handout::{self, Checkpoint, Destination, Kept},
};
use crate::{
    clock::Clock,
    store::{Store, StoredCheckpoint, StoredHandOut},
};

/// Answers that wait to be written: a few from each destination.
const KEPT_MAX: usize = 64;

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
        let (kept, mut brought) = mpsc::channel(KEPT_MAX);
        let cosigned = Arc::new(Mutex::new(Cosigned::default()));
        let mut tasks = JoinSet::new();
        if !destinations.is_empty() {
            let of = Arc::clone(&store);
            tasks.spawn(async move {
                let proof = |old: u64, new: u64| {
                    let store = Arc::clone(&of);
                    let range = i64::try_from(old).and_then(|old| i64::try_from(new).map(|new| (old, new)));
                    async move {
                        let (old, new) = range.map_err(|error| error.to_string())?;
                        consistency_proof(&store, old, new).await.map_err(|error| error.to_string())
                    }
                };
                handout::run(destinations, news, proof, kept).await;
            });
            let lines = Arc::clone(&cosigned);
            tasks.spawn(async move {
                while let Some(brought) = brought.recv().await {
                    let hand_out = keep(&lines, brought, &clock);
                    if let Err(error) = store.keep_hand_out(&hand_out).await {
                        tracing::warn!(%error, destination = hand_out.destination, "what came back for a checkpoint could not be kept");
                    }
                }
            });
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

fn keep(cosigned: &Mutex<Cosigned>, brought: Kept, clock: &Clock) -> StoredHandOut {
    let (destination, size, answer) = match brought {
        Kept::Cosignatures { witness, size, cosignatures } => {
            let lines: Vec<String> = cosignatures.into_iter().map(|cosignature| cosignature.line).collect();
            let answer = lines.concat().into_bytes();
            let mut cosigned = cosigned.lock().unwrap_or_else(PoisonError::into_inner);
            if cosigned.size < size {
                *cosigned = Cosigned { size, lines: Vec::new() };
            }
            if cosigned.size == size {
                cosigned.lines.extend(lines);
            }
            (format!("witness {witness}"), size, answer)
        }
        Kept::Timestamp { authority, size, token } => (format!("timestamp {authority}"), size, token.der),
    };
    StoredHandOut { destination, size: i64::try_from(size).unwrap_or(i64::MAX), made_at: clock.now(), answer }
}
