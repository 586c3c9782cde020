//! What a batch finds among its rows by something else than their keys.

use std::collections::BTreeSet;

use keyledger_events::{Numbers, license::Status};
use keyledger_projections::{ContractRow, GeneratorRow, LicenseRow, RowKey, Table};

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

/// Whether a row's number was not drawn yet when the batch began.
pub(super) fn is_new(key: RowKey, drawn_from: &Numbers) -> bool {
    let first_new = match key.0 {
        Table::Counters | Table::Settings => return false,
        Table::KeyPair => drawn_from.key_pair,
        Table::ApiKey => drawn_from.api_key,
        Table::Block => drawn_from.block,
        Table::Product | Table::LicenseCount => drawn_from.product,
        Table::ProductMeta => drawn_from.product_meta,
        Table::License => drawn_from.license,
        Table::Activation => drawn_from.activation,
        Table::LicenseMeta => drawn_from.license_meta,
        Table::Telemetry => drawn_from.telemetry,
        Table::Release => drawn_from.release,
        Table::DownloadToken => drawn_from.download_token,
        Table::Generator => drawn_from.generator,
        Table::Contract | Table::ContractCount => drawn_from.contract,
        Table::AssignmentJob => drawn_from.assignment_job,
        Table::Delivery => drawn_from.delivery,
        Table::WebhookEndpoint => drawn_from.webhook_endpoint,
    };
    key.1 >= first_new
}
