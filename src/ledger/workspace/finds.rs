//! What a batch finds among its rows by something else than their keys.

use std::collections::BTreeSet;

use keyledger_events::license::Status;
use keyledger_projections::{ContractRow, GeneratorRow, LicenseRow, Table};

use super::Workspace;

impl Workspace<'_> {
    /// The contract that has this key now.
    pub(in crate::ledger) fn contract_by_key(&self, key: &str) -> Option<&ContractRow> {
        let row: &ContractRow = self.row(Table::Contract, *self.contracts_by_key.get(key)?)?;
        (!row.contract.deleted && row.contract.fields.key == key).then_some(row)
    }

    /// The available licenses of a product that the batch knows, in ascending number.
    pub(in crate::ledger) fn available(&self, product: i64) -> impl Iterator<Item = &LicenseRow> {
        self.licenses(self.available.get(&product)).filter(move |row| row.license.product == product && row.license.status == Status::Available)
    }

    /// The licenses of a contract that the batch knows, in ascending number.
    pub(in crate::ledger) fn contract_licenses(&self, contract: i64) -> impl Iterator<Item = &LicenseRow> {
        self.licenses(self.contract_licenses.get(&contract))
    }

    fn licenses<'a>(&'a self, numbers: Option<&'a BTreeSet<i64>>) -> impl Iterator<Item = &'a LicenseRow> {
        let rows = numbers.into_iter().flatten().filter_map(|number| self.row::<LicenseRow>(Table::License, *number));
        rows.filter(|row| !row.license.deleted)
    }

    /// The generator that makes a product's keys: the first active one.
    pub(in crate::ledger) fn generator_of(&self, product: i64) -> Option<&GeneratorRow> {
        let numbers = self.generators.get(&product).into_iter().flatten();
        let mut rows = numbers.filter_map(|number| self.row::<GeneratorRow>(Table::Generator, *number));
        rows.find(|row| row.generator.is_active() && row.generator.fields.product == product)
    }
}
