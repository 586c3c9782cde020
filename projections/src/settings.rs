//! The settings: one row, from the first change on.

use keyledger_events::{Event, Recorded, Timestamp, settings::Settings};
use uuid::Uuid;

use crate::{
    Column, ColumnType as Type, FoldError, ReadError, Table, Value, Values,
    registry::{check_sequence, require},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsRow {
    pub settings: Settings,
    pub id: Uuid,
    pub sequence: i64,
    pub updated_at: Timestamp,
}

impl SettingsRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "number", ty: Type::Int },
        Column { name: "id", ty: Type::Uuid },
        Column { name: "sequence", ty: Type::Int },
        Column { name: "changelog", ty: Type::Bool },
        Column { name: "updated_at", ty: Type::Time },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        1
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        vec![1.into(), self.id.into(), self.sequence.into(), self.settings.changelog.into(), self.updated_at.into()]
    }

    /// # Errors
    /// When a column holds what it can't.
    pub fn read(values: &mut Values) -> Result<Self, ReadError> {
        values.only_row()?;
        let id = values.uuid()?;
        let sequence = values.int()?;
        Ok(Self { settings: Settings { changelog: values.bool()? }, id, sequence, updated_at: values.time()? })
    }

    /// # Errors
    /// When the event doesn't fit the row.
    pub fn fold(number: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let Event::Settings(event) = &recorded.event else { return Ok(row) };
        check_sequence(row.as_ref().map(|row| row.sequence), recorded)?;
        let settings = require(Settings::fold(row.map(|row| row.settings), event), Table::Settings, number, recorded)?;
        Ok(Some(Self { settings, id: recorded.aggregate_id, sequence: recorded.sequence, updated_at: recorded.recorded_at }))
    }
}
