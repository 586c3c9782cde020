//! Where the log ends.

use keyledger_events::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{
    admin::{AdminCall, Replied, Shown},
    doc::Doc,
};

/// The end of the log.
#[derive(Serialize, ToSchema)]
pub struct LedgerHead {
    pub ledger_id: uuid::Uuid,
    /// How many events there are; positions count from 0.
    pub size: i64,
    /// When the last one was recorded.
    #[schema(value_type = String, format = DateTime)]
    pub recorded_at: Timestamp,
}

pub const SHOW: Doc = Doc::new("Where the log ends");

pub async fn show(call: AdminCall, (): ()) -> Replied<Shown<LedgerHead>> {
    let head = call.app.ledger.store().head().await?;
    Ok(Shown(LedgerHead { ledger_id: head.ledger_id, size: head.next_position, recorded_at: head.recorded_at }))
}
