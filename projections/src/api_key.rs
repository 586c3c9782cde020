//! API keys: all but their values.

use keyledger_events::{Event, Recorded, Timestamp, api_key::ApiKey};
use uuid::Uuid;

use crate::{
    Column, ColumnType as Type, FoldError, ReadError, Table, Value, Values,
    registry::{check_sequence, require},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRow {
    pub api_key: ApiKey,
    pub id: Uuid,
    pub sequence: i64,
    pub created_at: Timestamp,
}

impl ApiKeyRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "number", ty: Type::Int },
        Column { name: "id", ty: Type::Uuid },
        Column { name: "sequence", ty: Type::Int },
        Column { name: "name", ty: Type::Text },
        Column { name: "capabilities", ty: Type::Text },
        Column { name: "allow_ips", ty: Type::Text },
        Column { name: "expires_at", ty: Type::Time },
        Column { name: "bootstrap", ty: Type::Bool },
        Column { name: "disabled", ty: Type::Bool },
        Column { name: "created_at", ty: Type::Time },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        self.api_key.number
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        let key = &self.api_key;
        vec![
            key.number.into(),
            self.id.into(),
            self.sequence.into(),
            key.name.as_str().into(),
            // Neither a capability nor a network holds a blank.
            key.capabilities.join(" ").into(),
            key.allow_ips.join(" ").into(),
            key.expires_at.into(),
            key.bootstrap.into(),
            key.disabled.into(),
            self.created_at.into(),
        ]
    }

    /// # Errors
    /// When a column holds what it can't.
    pub fn read(values: &mut Values) -> Result<Self, ReadError> {
        let number = values.int()?;
        let id = values.uuid()?;
        let sequence = values.int()?;
        let api_key = ApiKey {
            number,
            name: values.text()?,
            capabilities: values.words()?,
            allow_ips: values.words()?,
            expires_at: values.maybe_time()?,
            bootstrap: values.bool()?,
            disabled: values.bool()?,
        };
        Ok(Self { api_key, id, sequence, created_at: values.time()? })
    }

    /// # Errors
    /// When the event doesn't fit the row.
    pub fn fold(number: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let Event::ApiKey(event) = &recorded.event else { return Ok(row) };
        check_sequence(row.as_ref().map(|row| row.sequence), recorded)?;
        let (state, created_at) = row.map_or((None, recorded.recorded_at), |row| (Some(row.api_key), row.created_at));
        let api_key = require(ApiKey::fold(state, event), Table::ApiKey, number, recorded)?;
        Ok(Some(Self { api_key, id: recorded.aggregate_id, sequence: recorded.sequence, created_at }))
    }
}
