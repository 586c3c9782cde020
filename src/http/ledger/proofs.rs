//! Proofs: that an event is in the log, that one log is the beginning of another.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use keyledger_events::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    evidence::{self, EvidenceError},
    http::{
        admin::{AdminCall, Listing, Paged, Problem, Query, Replied, Shown},
        doc::Doc,
    },
    ledger::tree::Hash,
    store::{StoredCheckpoint, StoredEvent, StoredHandOut},
};

impl From<EvidenceError> for Problem {
    fn from(error: EvidenceError) -> Self {
        match error {
            EvidenceError::Store(error) => error.into(),
            EvidenceError::Signer(error) => error.into(),
            EvidenceError::Execute(error) => error.into(),
            EvidenceError::OutOfRange(text) => Self::conflict(format!("{text}.")),
            EvidenceError::Busy(text) => {
                tracing::warn!(text, "no checkpoint");
                Self::unavailable("There is no checkpoint to be had at the moment.")
            }
            EvidenceError::Damaged(text) => {
                tracing::error!(text, "the evidence is damaged");
                Self::internal()
            }
        }
    }
}

fn hex_list(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(hex::encode).collect()
}

/// A signed checkpoint.
#[derive(Serialize, ToSchema)]
pub struct Checkpoint {
    /// How many events it is of.
    pub size: i64,
    /// The RFC 6962 root over them, in hexadecimal.
    pub root: String,
    #[schema(value_type = String, format = DateTime)]
    pub made_at: Timestamp,
    /// The signed note (C2SP tlog-checkpoint).
    pub note: String,
}

impl From<&StoredCheckpoint> for Checkpoint {
    fn from(stored: &StoredCheckpoint) -> Self {
        Self { size: stored.size, root: hex::encode(stored.root), made_at: stored.made_at, note: stored.note.clone() }
    }
}

pub const CHECKPOINTS: Doc = Doc::new("All checkpoints").details("Oldest first.");

pub async fn checkpoints(call: AdminCall, Query(listing): Query<Listing>) -> Replied<Paged<Checkpoint>> {
    let wanted = listing.wanted()?;
    let rows = evidence::checkpoints(call.app.ledger.store(), wanted.after.unwrap_or(-1), wanted.rows()).await?;
    Ok(Paged(wanted.page(rows, |row| row.size, |row| Checkpoint::from(&row))))
}

/// What somebody outside gave back for a checkpoint.
#[derive(Serialize, ToSchema)]
pub struct HandOut {
    /// `witness` and its name, or `timestamp` and the authority's host and path.
    pub destination: String,
    /// When it came back.
    #[schema(value_type = String, format = DateTime)]
    pub made_at: Timestamp,
    /// In Base64: a witness's signature lines (C2SP tlog-cosignature), an authority's time-stamp token (RFC 3161, DER).
    pub answer: String,
}

/// What those outside gave back for a checkpoint.
#[derive(Serialize, ToSchema)]
pub struct HandOuts {
    /// That of which they are: the bytes of its note.
    pub checkpoint: Checkpoint,
    /// In the order of the destinations' names.
    pub items: Vec<HandOut>,
}

pub const HAND_OUTS: Doc = Doc::new("What witnesses and time-stamping authorities gave back for a checkpoint").details(
    "Each checks by itself: a line with the witness's key, a token with the authority's certificate. Authorities get one checkpoint a minute.",
);

pub async fn hand_outs(call: AdminCall, (): ()) -> Replied<Shown<HandOuts>> {
    let (store, size) = (call.app.ledger.store(), call.number("size")?);
    let checkpoint = evidence::checkpoint(store, size).await?.ok_or_else(|| Problem::not_found("checkpoint"))?;
    let items = evidence::hand_outs(store, size).await?.into_iter().map(HandOut::from).collect();
    Ok(Shown(HandOuts { checkpoint: Checkpoint::from(&checkpoint), items }))
}

impl From<StoredHandOut> for HandOut {
    fn from(stored: StoredHandOut) -> Self {
        Self { destination: stored.destination, made_at: stored.made_at, answer: BASE64.encode(stored.answer) }
    }
}

/// Which event, in a tree of which size.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InclusionQuery {
    #[schema(minimum = 0)]
    pub position: i64,
    /// How many events the tree is of; the newest checkpoint's, unless given.
    #[schema(minimum = 1)]
    pub size: Option<i64>,
}

/// That an event is in the tree of a size.
#[derive(Serialize, ToSchema)]
pub struct InclusionProof {
    pub position: i64,
    /// SHA-256 of a zero byte and the event as it is hashed.
    pub leaf_hash: String,
    pub size: i64,
    /// The audit path from the leaf upwards (RFC 6962, section 2.1.1), in hexadecimal.
    pub hashes: Vec<String>,
}

/// Which two trees.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyQuery {
    #[schema(minimum = 0)]
    pub from: i64,
    /// The newest checkpoint's, unless given.
    #[schema(minimum = 0)]
    pub to: Option<i64>,
}

/// That the tree of one size is the beginning of a larger one.
#[derive(Serialize, ToSchema)]
pub struct ConsistencyProof {
    pub from: i64,
    pub to: i64,
    /// The proof (RFC 6962, section 2.1.2), in hexadecimal.
    pub hashes: Vec<String>,
}

async fn newest_size(call: &AdminCall) -> Replied<i64> {
    match call.app.evidence.latest() {
        Some(newest) => Ok(newest.size),
        None if call.is_nobody() => Err(Problem::conflict("There is no checkpoint yet; there is one within seconds.")),
        None => Ok(call.app.evidence.now().await?.size),
    }
}

async fn event(call: &AdminCall, position: i64) -> Replied<StoredEvent> {
    let found = if position < 0 { Vec::new() } else { call.app.ledger.log_page(position, 1).await? };
    found.into_iter().next().filter(|event| event.position == position).ok_or_else(|| Problem::not_found("event"))
}

async fn proof(call: &AdminCall, position: i64, size: i64) -> Replied<InclusionProof> {
    let event = event(call, position).await?;
    let hashes = evidence::inclusion_proof(call.app.ledger.store(), position, size).await?;
    Ok(InclusionProof { position, leaf_hash: hex::encode(event.leaf_hash), size, hashes: hex_list(&hashes) })
}

pub const INCLUSION: Doc = Doc::new("The proof that an event is in the log").refusals(&[404, 409]);

pub async fn inclusion(call: AdminCall, Query(query): Query<InclusionQuery>) -> Replied<Shown<InclusionProof>> {
    let size = match query.size {
        Some(size) => size,
        None => newest_size(&call).await?,
    };
    Ok(Shown(proof(&call, query.position, size).await?))
}

pub const CONSISTENCY: Doc = Doc::new("The proof that an older log is the beginning of a newer one").refusals(&[409]);

pub async fn consistency(call: AdminCall, Query(query): Query<ConsistencyQuery>) -> Replied<Shown<ConsistencyProof>> {
    let to = match query.to {
        Some(to) => to,
        None => newest_size(&call).await?,
    };
    let hashes = evidence::consistency_proof(call.app.ledger.store(), query.from, to).await?;
    Ok(Shown(ConsistencyProof { from: query.from, to, hashes: hex_list(&hashes) }))
}

/// What proves, without this server, that an event was recorded.
#[derive(Serialize, ToSchema)]
pub struct Receipt {
    #[serde(flatten)]
    pub proof: InclusionProof,
    /// The checkpoint of that size.
    pub checkpoint: Checkpoint,
}

pub const RECEIPT: Doc = Doc::new("The receipt of an event").details("An event that no checkpoint covers yet gets one now.").refusals(&[404, 409]);

pub async fn receipt(call: AdminCall, (): ()) -> Replied<Shown<Receipt>> {
    let position = call.number("position")?;
    event(&call, position).await?;
    let checkpoint = match call.app.evidence.latest().filter(|newest| newest.size > position) {
        Some(newest) => newest,
        // A checkpoint is an event: nobody without a key makes one.
        None if call.is_nobody() => return Err(Problem::conflict("No checkpoint covers the event yet; there is one within seconds.")),
        None => call.app.evidence.now().await?,
    };
    Ok(Shown(Receipt { proof: proof(&call, position, checkpoint.size).await?, checkpoint: Checkpoint::from(&*checkpoint) }))
}

/// An event as it is hashed.
#[derive(Serialize, ToSchema)]
pub struct LeafShown {
    pub position: i64,
    pub leaf_hash: String,
    /// The canonical JSON object that the hash is of, byte for byte, in Base64.
    pub leaf: String,
}

pub const LEAF: Doc = Doc::new("An event as it is hashed").details("It may hold a license key.").refusals(&[404]);

pub async fn leaf(call: AdminCall, (): ()) -> Replied<Shown<LeafShown>> {
    let event = event(&call, call.number("position")?).await?;
    let leaf = BASE64.encode(event.leaf(call.app.ledger.vault().ledger_id()).canonical());
    Ok(Shown(LeafShown { position: event.position, leaf_hash: hex::encode(event.leaf_hash), leaf }))
}
