//! Dispute files over HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use utoipa::ToSchema;

use super::PERSONAL_DATA;
use crate::{
    app::App,
    evidence::{self, EARLIER_MAX, ExportOptions},
    http::{
        admin::{AdminCall, Check, Json, Problem, Raw, Replied},
        doc::{Doc, Given, Parameter, Place, Shape},
        transfer,
        turns::turn,
    },
};

const ZIP: HeaderValue = HeaderValue::from_static("application/zip");
/// Files that are made or on their way at the same time: each may take a core for seconds, and a hundred megabytes.
static EXPORTS: Semaphore = Semaphore::const_new(1);
/// A turn ends a moment after its client has the last byte: who asks for one file after the other must not be refused.
const EXPORT_WAIT_MAX: Duration = Duration::from_secs(1);
/// A file goes out in pieces of this size, each a copy: so nothing but them is left of it once its transfer is given up.
const PIECE_BYTES: usize = 64 * 1024;
const NOT_KEPT: HeaderValue = HeaderValue::from_static("no-store");
/// Longest note of a checkpoint: its own lines, and those of a few dozen witnesses.
const NOTE_CHARS_MAX: usize = 16 * 1024;

/// What the file is to hold.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvidenceRequest {
    /// The beginning of the period in dispute; the file marks what is inside it.
    #[schema(format = DateTime)]
    pub from: Option<String>,
    #[schema(format = DateTime)]
    pub to: Option<String>,
    /// Checkpoints that the customer holds: the file proves that the log goes on from them.
    #[schema(max_items = 100)]
    pub checkpoints: Vec<String>,
    /// Opens the personal data of the license's events; needs the capability ledger:personal-data too.
    pub with_personal_data: bool,
}

pub const EXPORT: Doc = Doc::new("Make a dispute file of a license")
    .details(
        "An archive that proves, without this server, what happened to the license and that nothing is left out; `keyledger evidence verify` \
         checks it. It holds the license's key, as entries do. A checkpoint is published for it.",
    )
    .parameters(&[Parameter::required("license", Shape::Text, "The license's number, id or key.").at(Place::Path)])
    .given(&[Given::new(200, "The archive.", "application/zip", Shape::Binary)]);

pub async fn export(call: AdminCall, Json(request): Json<EvidenceRequest>) -> Replied<Raw> {
    let mut check = Check::default();
    let from = request.from.and_then(|text| check.time("/from", &text));
    let to = request.to.and_then(|text| check.time("/to", &text));
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        check.wrong("/to", "must not be before from.");
    }
    if request.checkpoints.len() > EARLIER_MAX {
        check.wrong("/checkpoints", format!("must be at most {EARLIER_MAX}."));
    }
    for (at, note) in request.checkpoints.iter().enumerate() {
        if note.len() > NOTE_CHARS_MAX || call.app.evidence.signer().read(note).is_none() {
            check.wrong(format!("/checkpoints/{at}"), "is not a checkpoint that this ledger signed.");
        }
    }
    check.end()?;
    if request.with_personal_data && !call.may(PERSONAL_DATA).await? {
        return Err(Problem::lacks(PERSONAL_DATA));
    }
    let app = &call.app;
    let stream = app.ledger.license_stream(call.text("license")).await?;
    let number = app.ledger.license_number(stream).await?;
    // Before the checkpoint, which is an event. It goes with the work, which a client that hangs up does not end.
    let permit = turn(&EXPORTS, EXPORT_WAIT_MAX, "Another dispute file is being made.").await?;
    let published = app.evidence.for_license(number).await?;
    let options = ExportOptions { from, to, earlier: request.checkpoints, with_personal_data: request.with_personal_data };
    let (making, runtime) = (Arc::clone(app), Handle::current());
    let made = spawn_blocking(move || {
        let App { ledger, signer, evidence, .. } = &*making;
        let file = runtime.block_on(evidence::export(ledger, signer, evidence.signer(), stream, published, options));
        (file, permit)
    });
    let (file, permit) = made.await.map_err(|_| Problem::internal())?;
    Ok(Raw { content_type: ZIP, cache: NOT_KEPT, file_name: Some(format!("license-{number}.zip")), body: body(file?.into(), permit) })
}

/// A body that holds file and permit until all is sent, the client is gone, or it has taken nothing for too long.
fn body(file: Bytes, permit: SemaphorePermit<'static>) -> Body {
    let length = file.len() as u64;
    let pieces = stream::unfold((file, permit), async |(mut file, permit)| {
        let piece = Bytes::copy_from_slice(&file.split_to(PIECE_BYTES.min(file.len())));
        (!piece.is_empty()).then_some((Ok(piece), (file, permit)))
    });
    let (body, work) = transfer::body(pieces.boxed(), length);
    tokio::spawn(async move {
        if let Err(error) = work.await {
            tracing::debug!(%error, "the transfer of a dispute file broke off");
        }
    });
    body
}
