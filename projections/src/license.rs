//! Licenses, one row each; a deleted one stays, marked, so that its number and history can be found.

use keyledger_events::{
    Event, Recorded, Timestamp,
    license::{License, LicenseEvent, Status},
};
use uuid::Uuid;

use crate::{
    Column, ColumnType as Type, FoldError, ReadError, Table, Value, Values,
    registry::{check_sequence, require},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicenseRow {
    pub license: License,
    /// The stream's id.
    pub id: Uuid,
    /// The last event's sequence in its stream.
    pub sequence: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl LicenseRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "number", ty: Type::Int },
        Column { name: "id", ty: Type::Uuid },
        Column { name: "sequence", ty: Type::Int },
        Column { name: "license_key", ty: Type::Text },
        Column { name: "key_replaced_at", ty: Type::Time },
        Column { name: "product", ty: Type::Int },
        Column { name: "status", ty: Type::Text },
        Column { name: "activation_limit", ty: Type::Int },
        Column { name: "validity_days", ty: Type::Int },
        Column { name: "assigned_at", ty: Type::Time },
        Column { name: "owner", ty: Type::Int },
        Column { name: "owner_name", ty: Type::Text },
        Column { name: "owner_email", ty: Type::Text },
        Column { name: "active_count", ty: Type::Int },
        Column { name: "epoch", ty: Type::Int },
        Column { name: "refusal_minute", ty: Type::Int },
        Column { name: "refusal_reasons", ty: Type::Int },
        Column { name: "contract", ty: Type::Int },
        Column { name: "job", ty: Type::Int },
        Column { name: "deleted", ty: Type::Bool },
        Column { name: "created_at", ty: Type::Time },
        Column { name: "updated_at", ty: Type::Time },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        self.license.number
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        let license = &self.license;
        vec![
            license.number.into(),
            self.id.into(),
            self.sequence.into(),
            license.key.as_str().into(),
            license.key_replaced_at.into(),
            license.product.into(),
            license.status.as_str().into(),
            license.activation_limit.into(),
            license.validity_days.into(),
            license.assigned_at.into(),
            license.owner.into(),
            license.owner_name.as_deref().into(),
            license.owner_email.as_deref().into(),
            license.active_count.into(),
            license.epoch.into(),
            license.refusal_minute.into(),
            license.refusal_reasons.into(),
            license.contract.into(),
            license.job.into(),
            license.deleted.into(),
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
        let license = License {
            number,
            key: values.text()?,
            key_replaced_at: values.maybe_time()?,
            product: values.int()?,
            status: values.named("a status", Status::parse)?,
            activation_limit: values.int()?,
            validity_days: values.int()?,
            assigned_at: values.maybe_time()?,
            owner: values.maybe_int()?,
            owner_name: values.maybe_text()?,
            owner_email: values.maybe_text()?,
            active_count: values.int()?,
            epoch: values.int()?,
            refusal_minute: values.int()?,
            refusal_reasons: values.int()?,
            contract: values.maybe_int()?,
            job: values.maybe_int()?,
            deleted: values.bool()?,
        };
        Ok(Self { license, id, sequence, created_at: values.time()?, updated_at: values.time()? })
    }

    /// # Errors
    /// When the event doesn't fit the row.
    pub fn fold(number: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let Event::License(event) = &recorded.event else { return Ok(row) };
        check_sequence(row.as_ref().map(|row| row.sequence), recorded)?;
        let at = recorded.recorded_at;
        let (state, created_at, updated_at) = row.map_or((None, at, at), |row| (Some(row.license), row.created_at, row.updated_at));
        let license = require(License::fold(state, event, at), Table::License, number, recorded)?;
        // A refusal changes nothing, and activations and meta entries have times of their own.
        let updated_at = match event {
            LicenseEvent::LicenseCreated(_)
            | LicenseEvent::LicenseAssigned(_)
            | LicenseEvent::LicenseReserved(_)
            | LicenseEvent::LicenseBlocked(_)
            | LicenseEvent::LicenseMadeAvailable(_)
            | LicenseEvent::OwnerChanged(_)
            | LicenseEvent::OwnerCleared(_)
            | LicenseEvent::ActivationLimitChanged(_)
            | LicenseEvent::ValidityChanged(_)
            | LicenseEvent::AssignedAtChanged(_)
            | LicenseEvent::LicenseProductChanged(_)
            | LicenseEvent::LicenseKeyReplaced(_)
            | LicenseEvent::LicenseDeleted(_) => at,
            LicenseEvent::LicenseActivated(_)
            | LicenseEvent::LicenseDeactivated(_)
            | LicenseEvent::ActivationsEnded(_)
            | LicenseEvent::ActivationRefused(_)
            | LicenseEvent::AccessRefused(_)
            | LicenseEvent::LicenseMetaCreated(_)
            | LicenseEvent::LicenseMetaUpdated(_)
            | LicenseEvent::LicenseMetaDeleted(_)
            | LicenseEvent::ReleaseDownloaded(_) => updated_at,
        };
        Ok(Some(Self { license, id: recorded.aggregate_id, sequence: recorded.sequence, created_at, updated_at }))
    }
}
