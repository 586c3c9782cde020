//! How many license keys each contract has.

use keyledger_events::{Event, Recorded, license::LicenseEvent};

use crate::{Column, ColumnType as Type, FoldError, ReadError, Value, Values};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContractCountRow {
    pub contract: i64,
    pub license_keys: i64,
}

impl ContractCountRow {
    pub const COLUMNS: &'static [Column] = &[Column { name: "contract", ty: Type::Int }, Column { name: "license_keys", ty: Type::Int }];

    #[must_use]
    pub fn number(&self) -> i64 {
        self.contract
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        vec![self.contract.into(), self.license_keys.into()]
    }

    /// # Errors
    /// When a column holds what it can't.
    pub fn read(values: &mut Values) -> Result<Self, ReadError> {
        Ok(Self { contract: values.int()?, license_keys: values.int()? })
    }

    /// # Errors
    /// Never; the signature is every projection's.
    pub fn fold(contract: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let row = row.unwrap_or(Self { contract, license_keys: 0 });
        let change = match &recorded.event {
            Event::License(LicenseEvent::LicenseCreated(_)) => 1,
            Event::License(LicenseEvent::LicenseDeleted(_)) => -1,
            _ => 0,
        };
        Ok(Some(Self { license_keys: row.license_keys + change, ..row }))
    }
}
