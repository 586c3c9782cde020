//! Queued assignments: those that wait, and what the others came to.

use keyledger_events::{
    Event, Recorded, Timestamp,
    assignment_job::{AssignmentJob, AssignmentJobEvent, AssignmentResult},
};
use uuid::Uuid;

use crate::{
    Column, ColumnType as Type, FoldError, ReadError, Table, Value, Values,
    registry::{check_sequence, require},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignmentJobRow {
    pub job: AssignmentJob,
    pub id: Uuid,
    pub sequence: i64,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

impl AssignmentJobRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "number", ty: Type::Int },
        Column { name: "id", ty: Type::Uuid },
        Column { name: "sequence", ty: Type::Int },
        Column { name: "product", ty: Type::Int },
        Column { name: "quantity", ty: Type::Int },
        Column { name: "generate", ty: Type::Bool },
        Column { name: "owner", ty: Type::Int },
        Column { name: "owner_name", ty: Type::Text },
        Column { name: "owner_email", ty: Type::Text },
        Column { name: "identifier", ty: Type::Text },
        Column { name: "webhook_url", ty: Type::Text },
        Column { name: "result", ty: Type::Text },
        Column { name: "assigned", ty: Type::Int },
        Column { name: "available", ty: Type::Int },
        Column { name: "created_at", ty: Type::Time },
        Column { name: "finished_at", ty: Type::Time },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        self.job.number
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        let job = &self.job;
        vec![
            job.number.into(),
            self.id.into(),
            self.sequence.into(),
            job.product.into(),
            job.quantity.into(),
            job.generate.into(),
            job.owner.into(),
            job.owner_name.as_deref().into(),
            job.owner_email.as_deref().into(),
            job.identifier.as_deref().into(),
            job.webhook_url.as_deref().into(),
            job.result.map(AssignmentResult::as_str).into(),
            job.assigned.into(),
            job.available.into(),
            self.created_at.into(),
            self.finished_at.into(),
        ]
    }

    /// # Errors
    /// When a column holds what it can't.
    pub fn read(values: &mut Values) -> Result<Self, ReadError> {
        let number = values.int()?;
        let id = values.uuid()?;
        let sequence = values.int()?;
        let job = AssignmentJob {
            number,
            product: values.int()?,
            quantity: values.int()?,
            generate: values.bool()?,
            owner: values.maybe_int()?,
            owner_name: values.maybe_text()?,
            owner_email: values.maybe_text()?,
            identifier: values.maybe_text()?,
            webhook_url: values.maybe_text()?,
            result: values.maybe_named("a result", AssignmentResult::parse)?,
            assigned: values.int()?,
            available: values.maybe_int()?,
        };
        Ok(Self { job, id, sequence, created_at: values.time()?, finished_at: values.maybe_time()? })
    }

    /// # Errors
    /// When the event doesn't fit the row.
    pub fn fold(number: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let Event::AssignmentJob(event) = &recorded.event else { return Ok(row) };
        check_sequence(row.as_ref().map(|row| row.sequence), recorded)?;
        let at = recorded.recorded_at;
        let (state, created_at) = row.map_or((None, at), |row| (Some(row.job), row.created_at));
        let job = require(AssignmentJob::fold(state, event), Table::AssignmentJob, number, recorded)?;
        let finished_at = matches!(event, AssignmentJobEvent::AssignmentJobFinished(_)).then_some(at);
        Ok(Some(Self { job, id: recorded.aggregate_id, sequence: recorded.sequence, created_at, finished_at }))
    }
}
