//! Takes the evidence further: folds the log to its head, records the stream map's root as an event, folds that event too, and
//! signs a checkpoint over all. Every step is one small transaction that says what it goes on from, so several nodes, and a
//! command line beside a server, may publish at once: whoever is second goes on from where the first one left it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyledger_events::stream_map::StreamMapRecorded;

use super::{
    EvidenceError, checkpoints,
    fold::{number, step},
    newest_checkpoint,
    shape::inclusion,
    size,
    tiles::{ENTRY_BYTES, Tiles, Tree},
};
use crate::{
    clock::Clock,
    ledger::{
        Command, CommandResult, Ledger, Origin, Request,
        tree::{Edge, Hash},
    },
    signer::{NoteSigner, NotedCheckpoint},
    store::{EvidenceSize, Publication, Store, StoredCheckpoint},
};

/// How long one publication goes on while others are always first, or events come faster than they fold.
const TRIED_FOR: Duration = Duration::from_secs(120);

/// That a license's stream ends where it is said to, in a map whose root is an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapProof {
    /// Position of the event that recorded the map's root.
    pub event: i64,
    /// Events that the map is of.
    pub size: i64,
    /// The license's place in the map.
    pub index: i64,
    pub entry: [u8; ENTRY_BYTES],
    pub hashes: Vec<Hash>,
}

#[derive(Clone, Debug)]
pub struct Published {
    pub checkpoint: StoredCheckpoint,
    /// For the license that was asked for.
    pub map: Option<MapProof>,
}

pub struct Publisher {
    ledger: Ledger,
    clock: Clock,
    signer: Arc<NoteSigner>,
}

impl Publisher {
    #[must_use]
    pub fn new(ledger: Ledger, clock: Clock, signer: Arc<NoteSigner>) -> Self {
        Self { ledger, clock, signer }
    }

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        self.ledger.store()
    }

    /// Publishes a checkpoint if there are events that the newest one doesn't cover; the newest one then.
    ///
    /// # Errors
    /// When the log is damaged or the store fails.
    pub async fn publish(&self) -> Result<Option<StoredCheckpoint>, EvidenceError> {
        let newest = newest_checkpoint(self.store()).await?;
        let head = self.store().head().await?.next_position;
        if newest.as_ref().map_or(0, |newest| newest.size) >= head {
            return Ok(newest);
        }
        Ok(Some(self.publish_map(None).await?.checkpoint))
    }

    /// Publishes a checkpoint over a map that says where a license's stream ends now.
    ///
    /// # Errors
    /// When there is no such license, the log is damaged or the store fails.
    pub async fn publish_for(&self, license: i64) -> Result<Published, EvidenceError> {
        self.publish_map(Some(license)).await
    }

    async fn publish_map(&self, license: Option<i64>) -> Result<Published, EvidenceError> {
        let started = Instant::now();
        let (record, proof) = loop {
            let folded = self.fold_to(self.store().head().await?.next_position, started).await?;
            if let Some(mapped) = self.map_at(folded, license).await? {
                break mapped;
            }
            out_of_time(started)?;
        };
        let origin = Origin { operation: Some("checkpoint"), ..Origin::system() };
        let outcome = self.ledger.execute(Request { command: Command::RecordStreamMap(record), origin, idempotency: None }).await?;
        if outcome.result != CommandResult::StreamMapRecorded {
            return Err(EvidenceError::Busy(format!("recording the stream map came to {:?}", outcome.result)));
        }
        let event = outcome.first_position;
        let map = proof.map(|proof| MapProof { event, ..proof });
        let checkpoint = self.sign(event, started).await?;
        Ok(Published { checkpoint, map })
    }

    /// Folds up to `to` at least; where that ended.
    async fn fold_to(&self, to: i64, started: Instant) -> Result<EvidenceSize, EvidenceError> {
        loop {
            let from = size(self.store()).await?;
            if from.events >= to {
                return Ok(from);
            }
            let publication = step(self.store(), self.ledger.vault().ledger_id(), from, to).await?;
            self.store().publish(&publication).await?;
            out_of_time(started)?;
        }
    }

    /// The map as it is at a size, and the proof of a license's entry; `None` where another node went on meanwhile.
    async fn map_at(&self, at: EvidenceSize, license: Option<i64>) -> Result<Option<(StreamMapRecorded, Option<MapProof>)>, EvidenceError> {
        let mut tiles = Tiles::new(Arc::clone(self.store()));
        let licenses = number(at.licenses);
        let root = tiles.root(Tree::StreamMap, licenses).await;
        let mut proof = None;
        if let Some(license) = license {
            let unknown = || EvidenceError::OutOfRange(format!("there is no license {license}"));
            let index = license - 1;
            let path = inclusion(index, at.licenses).ok_or_else(unknown)?;
            let entries = tiles.entries(Tree::StreamMap, 0, number(index) / super::TILE_WIDTH).await?;
            let within = usize::try_from(index % super::TILE_WIDTH as i64).unwrap_or_default() * ENTRY_BYTES;
            let entry = entries.get(within..within + ENTRY_BYTES).and_then(|entry| entry.try_into().ok()).ok_or_else(unknown)?;
            let hashes = tiles.proof(Tree::StreamMap, path).await?;
            // The event is yet to come.
            proof = Some(MapProof { event: at.events, size: at.events, index, entry, hashes });
        }
        if size(self.store()).await? != at {
            return Ok(None);
        }
        let record = StreamMapRecorded { licenses: at.licenses, root: hex::encode(root?), size: at.events };
        Ok(Some((record, proof)))
    }

    /// A checkpoint that covers an event: a new one, or the one that another node signed meanwhile.
    async fn sign(&self, event: i64, started: Instant) -> Result<StoredCheckpoint, EvidenceError> {
        loop {
            let head = self.store().head().await?;
            let folded = self.fold_to(head.next_position, started).await?;
            let root = Tiles::new(Arc::clone(self.store())).root(Tree::Log, number(head.next_position)).await?;
            let edge = Edge::read(number(head.next_position), &head.tree_edge);
            if edge.map(|edge| edge.root()) != Some(root) {
                return Err(EvidenceError::Damaged(format!(
                    "the tiles over {} events do not give the head's root; nothing is signed (run `keyledger verify`)",
                    head.next_position
                )));
            }
            let note = self.signer.note(&NotedCheckpoint { size: head.next_position, root });
            let checkpoint = StoredCheckpoint { size: head.next_position, root, made_at: self.clock.now(), note };
            let covering = checkpoints(self.store(), event, 1).await?;
            if let Some(covering) = covering.into_iter().next() {
                return Ok(covering);
            }
            let publication = Publication { from: folded, to: folded, tiles: Vec::new(), checkpoint: Some(checkpoint.clone()) };
            if self.store().publish(&publication).await? {
                return Ok(checkpoint);
            }
            out_of_time(started)?;
        }
    }
}

fn out_of_time(started: Instant) -> Result<(), EvidenceError> {
    if started.elapsed() < TRIED_FOR {
        return Ok(());
    }
    Err(EvidenceError::Busy(format!("it was tried for {} seconds", TRIED_FOR.as_secs())))
}
