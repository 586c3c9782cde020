//! Telemetry, one row for each record.

use keyledger_events::{Event, Recorded, Timestamp, telemetry::Telemetry};
use uuid::Uuid;

use crate::{
    Column, ColumnType as Type, FoldError, ReadError, Table, Value, Values,
    registry::{check_sequence, require},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryRow {
    pub telemetry: Telemetry,
    pub id: Uuid,
    pub sequence: i64,
    pub created_at: Timestamp,
}

impl TelemetryRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "number", ty: Type::Int },
        Column { name: "id", ty: Type::Uuid },
        Column { name: "sequence", ty: Type::Int },
        Column { name: "license", ty: Type::Int },
        Column { name: "user_identifier", ty: Type::Text },
        Column { name: "license_key", ty: Type::Text },
        Column { name: "activation_identifier", ty: Type::Text },
        Column { name: "product", ty: Type::Int },
        Column { name: "product_version", ty: Type::Text },
        Column { name: "data_type", ty: Type::Text },
        Column { name: "data_group", ty: Type::Text },
        Column { name: "data", ty: Type::Text },
        Column { name: "is_correct_format", ty: Type::Bool },
        Column { name: "license_key_exists", ty: Type::Bool },
        Column { name: "product_exists", ty: Type::Bool },
        Column { name: "product_version_exists", ty: Type::Bool },
        Column { name: "has_red_flags", ty: Type::Bool },
        Column { name: "created_at", ty: Type::Time },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        self.telemetry.number
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        let record = &self.telemetry;
        vec![
            record.number.into(),
            self.id.into(),
            self.sequence.into(),
            record.license.into(),
            record.user_identifier.as_deref().into(),
            record.license_key.as_deref().into(),
            record.activation_identifier.as_deref().into(),
            record.product.into(),
            record.product_version.as_deref().into(),
            record.data_type.as_deref().into(),
            record.data_group.as_deref().into(),
            record.data.as_deref().into(),
            record.is_correct_format.into(),
            record.license_key_exists().into(),
            record.product_exists.into(),
            record.product_version_exists.into(),
            record.has_red_flags().into(),
            self.created_at.into(),
        ]
    }

    /// # Errors
    /// When a column holds what it can't.
    pub fn read(values: &mut Values) -> Result<Self, ReadError> {
        let number = values.int()?;
        let id = values.uuid()?;
        let sequence = values.int()?;
        let mut telemetry = Telemetry {
            number,
            license: values.maybe_int()?,
            user_identifier: values.maybe_text()?,
            license_key: values.maybe_text()?,
            activation_identifier: values.maybe_text()?,
            product: values.maybe_int()?,
            product_version: values.maybe_text()?,
            data_type: values.maybe_text()?,
            data_group: values.maybe_text()?,
            data: values.maybe_text()?,
            is_correct_format: values.bool()?,
            ..Telemetry::default()
        };
        // The two flags that follow from the others are columns for those who ask in SQL.
        values.following(telemetry.license_key_exists())?;
        telemetry.product_exists = values.bool()?;
        telemetry.product_version_exists = values.bool()?;
        values.following(telemetry.has_red_flags())?;
        Ok(Self { telemetry, id, sequence, created_at: values.time()? })
    }

    /// # Errors
    /// When the event doesn't fit the row.
    pub fn fold(number: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let Event::Telemetry(event) = &recorded.event else { return Ok(row) };
        check_sequence(row.as_ref().map(|row| row.sequence), recorded)?;
        let telemetry = require(Telemetry::fold(row.map(|row| row.telemetry), event), Table::Telemetry, number, recorded)?;
        Ok(Some(Self { telemetry, id: recorded.aggregate_id, sequence: recorded.sequence, created_at: recorded.recorded_at }))
    }
}
