//! Contracts, one row each; a deleted one stays, marked, and its key can be another contract's.

use keyledger_events::{
    Event, Recorded, Timestamp,
    contract::{Contract, ContractFields},
};
use uuid::Uuid;

use crate::{
    Column, ColumnType as Type, FoldError, ReadError, Table, Value, Values,
    registry::{check_sequence, require},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractRow {
    pub contract: Contract,
    pub id: Uuid,
    pub sequence: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl ContractRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "number", ty: Type::Int },
        Column { name: "id", ty: Type::Uuid },
        Column { name: "sequence", ty: Type::Int },
        Column { name: "contract_key", ty: Type::Text },
        Column { name: "name", ty: Type::Text },
        Column { name: "information", ty: Type::Text },
        Column { name: "product", ty: Type::Int },
        Column { name: "license_keys_quantity", ty: Type::Int },
        Column { name: "active", ty: Type::Bool },
        Column { name: "can_get_info", ty: Type::Bool },
        Column { name: "can_generate", ty: Type::Bool },
        Column { name: "can_destroy", ty: Type::Bool },
        Column { name: "can_destroy_all", ty: Type::Bool },
        Column { name: "deleted", ty: Type::Bool },
        Column { name: "created_at", ty: Type::Time },
        Column { name: "updated_at", ty: Type::Time },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        self.contract.number
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        let fields = &self.contract.fields;
        vec![
            self.contract.number.into(),
            self.id.into(),
            self.sequence.into(),
            fields.key.as_str().into(),
            fields.name.as_str().into(),
            fields.information.as_str().into(),
            fields.product.into(),
            fields.license_keys_quantity.into(),
            fields.active.into(),
            fields.can_get_info.into(),
            fields.can_generate.into(),
            fields.can_destroy.into(),
            fields.can_destroy_all.into(),
            self.contract.deleted.into(),
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
        let fields = ContractFields {
            key: values.text()?,
            name: values.text()?,
            information: values.text()?,
            product: values.int()?,
            license_keys_quantity: values.int()?,
            active: values.bool()?,
            can_get_info: values.bool()?,
            can_generate: values.bool()?,
            can_destroy: values.bool()?,
            can_destroy_all: values.bool()?,
        };
        let contract = Contract { number, fields, deleted: values.bool()? };
        Ok(Self { contract, id, sequence, created_at: values.time()?, updated_at: values.time()? })
    }

    /// # Errors
    /// When the event doesn't fit the row.
    pub fn fold(number: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let Event::Contract(event) = &recorded.event else { return Ok(row) };
        check_sequence(row.as_ref().map(|row| row.sequence), recorded)?;
        let at = recorded.recorded_at;
        let (state, created_at) = row.map_or((None, at), |row| (Some(row.contract), row.created_at));
        let contract = require(Contract::fold(state, event), Table::Contract, number, recorded)?;
        Ok(Some(Self { contract, id: recorded.aggregate_id, sequence: recorded.sequence, created_at, updated_at: at }))
    }
}
