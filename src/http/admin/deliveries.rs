//! Deliveries to web hooks: listed, shown, tried again.

use keyledger_events::{
    Timestamp,
    delivery::{DeliveryCommand, DeliveryError, DeliveryKind, DeliveryState},
};
use keyledger_projections::DeliveryRow;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AdminCall, Paged, Problem, Query, Replied, Shown, Wanted};
use crate::{
    http::doc::Doc,
    ledger::{Command, CommandResult},
};

/// What a message is about.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// A queued assignment is finished.
    AssignmentJob,
    /// An operator ended an activation; to the activation's URL.
    ActivationEnded,
    /// An operator ended an activation; to the product's URL.
    ProductActivationEnded,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    Pending,
    Delivered,
    GivenUp,
}

impl From<DeliveryStatus> for DeliveryState {
    fn from(status: DeliveryStatus) -> Self {
        match status {
            DeliveryStatus::Pending => Self::Pending,
            DeliveryStatus::Delivered => Self::Delivered,
            DeliveryStatus::GivenUp => Self::GivenUp,
        }
    }
}

/// A message to a web hook.
#[derive(Serialize, ToSchema)]
pub struct Delivery {
    pub number: i64,
    /// What the receiver knows it by: the header webhook-id.
    pub id: uuid::Uuid,
    pub kind: MessageKind,
    pub state: DeliveryStatus,
    pub product: i64,
    pub license: Option<i64>,
    pub activation: Option<i64>,
    /// The number of the queued assignment.
    pub job: Option<i64>,
    /// Attempts begun since it was queued or tried again.
    pub attempts: i64,
    /// When the next attempt is due; `null` where there is none.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due_at: Option<Timestamp>,
    /// The HTTP status that the last attempt got.
    pub last_status: Option<i64>,
    /// Which kind of error the last attempt met.
    pub last_error: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl Delivery {
    fn new(row: DeliveryRow) -> Self {
        let delivery = row.delivery;
        let state = match delivery.state {
            DeliveryState::Pending => DeliveryStatus::Pending,
            DeliveryState::Delivered => DeliveryStatus::Delivered,
            DeliveryState::GivenUp => DeliveryStatus::GivenUp,
        };
        Self {
            number: delivery.number,
            id: row.id,
            kind: match delivery.kind {
                DeliveryKind::AssignmentJob => MessageKind::AssignmentJob,
                DeliveryKind::ActivationEnded => MessageKind::ActivationEnded,
                DeliveryKind::ProductActivationEnded => MessageKind::ProductActivationEnded,
            },
            state,
            product: delivery.product,
            license: delivery.license,
            activation: delivery.activation,
            job: delivery.job,
            attempts: delivery.attempts,
            due_at: (state == DeliveryStatus::Pending).then_some(delivery.due_at),
            last_status: delivery.status,
            last_error: delivery.error,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Which deliveries are wanted.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryQuery {
    /// Only those of this state.
    pub state: Option<DeliveryStatus>,
    /// How many items, 50 unless given.
    #[schema(minimum = 1, maximum = 500)]
    pub limit: Option<i64>,
    /// The `next` of the page before.
    pub after: Option<String>,
}

pub const LIST: Doc = Doc::new("Deliveries to web hooks").details("Newest first.");

pub async fn list(call: AdminCall, Query(query): Query<DeliveryQuery>) -> Replied<Paged<Delivery>> {
    let wanted = Wanted::new(query.limit, query.after.as_deref())?;
    let below = wanted.after.unwrap_or(i64::MAX);
    let rows = call.app.ledger.deliveries(query.state.map(DeliveryState::from), below, wanted.rows()).await?;
    Ok(Paged(wanted.page(rows, |row| row.delivery.number, Delivery::new)))
}

pub const SHOW: Doc = Doc::new("A delivery");

pub async fn show(call: AdminCall, (): ()) -> Replied<Shown<Delivery>> {
    Ok(Shown(shown(&call, call.number("delivery")?).await?))
}

async fn shown(call: &AdminCall, number: i64) -> Replied<Delivery> {
    call.app.ledger.delivery(number).await?.map(Delivery::new).ok_or_else(|| Problem::not_found("delivery"))
}

pub const RETRY: Doc = Doc::new("Try a delivery again, from the first attempt on").details("Not one that is still being tried.");

pub async fn retry(call: AdminCall, (): ()) -> Replied<Shown<Delivery>> {
    let delivery = call.number("delivery")?;
    let outcome = call.execute(Command::Delivery { delivery, command: DeliveryCommand::Retry }).await?;
    match outcome.result {
        CommandResult::DeliveryDone => Ok(Shown(shown(&call, delivery).await?)),
        CommandResult::DeliveryRefused(DeliveryError::Unknown) => Err(Problem::not_found("delivery")),
        CommandResult::DeliveryRefused(error) => Err(Problem::conflict(format!("Refused: {error}."))),
        other => Err(Problem::unexpected(&other)),
    }
}
