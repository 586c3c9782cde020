//! Deliveries to web hooks: those that are tried, and what became of the others.

use keyledger_events::{
    Event, Recorded, Timestamp,
    delivery::{Delivery, DeliveryKind, DeliveryState},
};
use uuid::Uuid;

use crate::{
    Column, ColumnType as Type, FoldError, ReadError, Table, Value, Values,
    registry::{check_sequence, require},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    pub delivery: Delivery,
    /// What the receiver knows the message by.
    pub id: Uuid,
    pub sequence: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl DeliveryRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "number", ty: Type::Int },
        Column { name: "id", ty: Type::Uuid },
        Column { name: "sequence", ty: Type::Int },
        Column { name: "kind", ty: Type::Text },
        Column { name: "job", ty: Type::Int },
        Column { name: "license", ty: Type::Int },
        Column { name: "activation", ty: Type::Int },
        Column { name: "product", ty: Type::Int },
        Column { name: "state", ty: Type::Text },
        Column { name: "attempts", ty: Type::Int },
        Column { name: "due_at", ty: Type::Time },
        Column { name: "last_status", ty: Type::Int },
        Column { name: "last_error", ty: Type::Text },
        Column { name: "created_at", ty: Type::Time },
        Column { name: "updated_at", ty: Type::Time },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        self.delivery.number
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        let delivery = &self.delivery;
        vec![
            delivery.number.into(),
            self.id.into(),
            self.sequence.into(),
            delivery.kind.as_str().into(),
            delivery.job.into(),
            delivery.license.into(),
            delivery.activation.into(),
            delivery.product.into(),
            delivery.state.as_str().into(),
            delivery.attempts.into(),
            delivery.due_at.into(),
            delivery.status.into(),
            delivery.error.as_deref().into(),
            self.created_at.into(),
            self.updated_at.into(),
        ]
    }

    /// # Errors
    /// When a column holds what it can't.
    pub fn read(values: &mut Values) -> Result<Self, ReadError> {
        let number = values.int()?;
        let id = values.uuid()?;
        let sequence = values.int()?;
        let delivery = Delivery {
            number,
            kind: values.named("a kind", DeliveryKind::parse)?,
            job: values.maybe_int()?,
            license: values.maybe_int()?,
            activation: values.maybe_int()?,
            product: values.int()?,
            state: values.named("a state", DeliveryState::parse)?,
            attempts: values.int()?,
            due_at: values.time()?,
            status: values.maybe_int()?,
            error: values.maybe_text()?,
        };
        Ok(Self { delivery, id, sequence, created_at: values.time()?, updated_at: values.time()? })
    }

    /// # Errors
    /// When the event doesn't fit the row.
    pub fn fold(number: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let Event::Delivery(event) = &recorded.event else { return Ok(row) };
        check_sequence(row.as_ref().map(|row| row.sequence), recorded)?;
        let at = recorded.recorded_at;
        let (state, created_at) = row.map_or((None, at), |row| (Some(row.delivery), row.created_at));
        let delivery = require(Delivery::fold(state, event, at), Table::Delivery, number, recorded)?;
        Ok(Some(Self { delivery, id: recorded.aggregate_id, sequence: recorded.sequence, created_at, updated_at: at }))
    }
}
