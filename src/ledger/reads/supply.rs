//! Generators and contracts.

use std::sync::LazyLock;

use keyledger_projections::{ContractRow, GeneratorRow, LicenseRow, Table, Value};

use super::{columns, read};
use crate::{ledger::Ledger, store::StoreError};

static GENERATORS: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM generator g WHERE NOT g.deleted ORDER BY g.number", columns(Table::Generator, "g")));

static GENERATOR: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM generator g WHERE g.number = $1 AND NOT g.deleted", columns(Table::Generator, "g")));

static GENERATOR_OF: LazyLock<String> = LazyLock::new(|| {
    let columns = columns(Table::Generator, "g");
    format!("SELECT {columns} FROM generator g WHERE g.product = $1 AND g.active AND NOT g.deleted ORDER BY g.number LIMIT 1")
});

fn contracts(condition: &str) -> String {
    format!(
        "SELECT {}, c.license_keys FROM contract k JOIN contract_count c ON c.contract = k.number WHERE NOT k.deleted {condition} ORDER BY k.number",
        columns(Table::Contract, "k")
    )
}

static CONTRACTS: LazyLock<String> = LazyLock::new(|| contracts(""));
static CONTRACT_PAGE: LazyLock<String> = LazyLock::new(|| format!("{} LIMIT $2", contracts("AND k.number > $1")));
static CONTRACTS_OF: LazyLock<String> = LazyLock::new(|| contracts("AND k.product = $1"));
static CONTRACT: LazyLock<String> = LazyLock::new(|| contracts("AND k.number = $1"));
static CONTRACT_BY_KEY: LazyLock<String> = LazyLock::new(|| contracts("AND k.contract_key = $1"));

static LAST_OF_CONTRACT: &str = "SELECT l.number FROM license l WHERE l.contract = $1 AND NOT l.deleted ORDER BY l.number DESC LIMIT 1";

/// A contract, and how many license keys it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractView {
    pub contract: ContractRow,
    pub license_keys: i64,
}

fn contract(mut row: Vec<Value>) -> Result<ContractView, StoreError> {
    let count = row.split_off(Table::Contract.columns().len());
    let license_keys = read(Table::ContractCount, count, |values| values.int())?;
    Ok(ContractView { contract: read(Table::Contract, row, ContractRow::read)?, license_keys })
}

static LICENSE_EVEN_DELETED: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM license l WHERE l.number = $1", columns(Table::License, "l")));

impl Ledger {
    /// All generators that are not deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn generators(&self) -> Result<Vec<GeneratorRow>, StoreError> {
        let rows = self.query_list(GENERATORS.as_str(), Vec::new()).await?;
        rows.into_iter().map(|row| read(Table::Generator, row, GeneratorRow::read)).collect()
    }

    /// A generator that is not deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn generator(&self, number: i64) -> Result<Option<GeneratorRow>, StoreError> {
        let mut rows = self.store.query(GENERATOR.as_str(), &[number.into()]).await?;
        rows.pop().map(|row| read(Table::Generator, row, GeneratorRow::read)).transpose()
    }

    /// The generator that makes a product's keys: the first active one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn generator_of(&self, product: i64) -> Result<Option<GeneratorRow>, StoreError> {
        let mut rows = self.store.query(GENERATOR_OF.as_str(), &[product.into()]).await?;
        rows.pop().map(|row| read(Table::Generator, row, GeneratorRow::read)).transpose()
    }

    /// All contracts that are not deleted, or those of one product.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn contracts(&self, product: Option<i64>) -> Result<Vec<ContractView>, StoreError> {
        let rows = match product {
            Some(product) => self.query_list(CONTRACTS_OF.as_str(), vec![product.into()]).await?,
            None => self.query_list(CONTRACTS.as_str(), Vec::new()).await?,
        };
        rows.into_iter().map(contract).collect()
    }

    /// Contracts that are not deleted, in ascending number after one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list_contracts(&self, after: Option<i64>, limit: i64) -> Result<Vec<ContractView>, StoreError> {
        let rows = self.query_list(CONTRACT_PAGE.as_str(), vec![after.unwrap_or(0).into(), limit.into()]).await?;
        rows.into_iter().map(contract).collect()
    }

    /// A contract that is not deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn contract(&self, number: i64) -> Result<Option<ContractView>, StoreError> {
        self.store.query(CONTRACT.as_str(), &[number.into()]).await?.pop().map(contract).transpose()
    }

    /// The contract that has this key.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn contract_by_key(&self, key: &str) -> Result<Option<ContractView>, StoreError> {
        self.store.query(CONTRACT_BY_KEY.as_str(), &[key.into()]).await?.pop().map(contract).transpose()
    }

    /// The highest number of a contract's licenses.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn last_license_of_contract(&self, contract: i64) -> Result<Option<i64>, StoreError> {
        let mut rows = self.store.query(LAST_OF_CONTRACT, &[contract.into()]).await?;
        rows.pop().map(|row| read(Table::License, row, |values| values.int())).transpose()
    }

    /// A license by number, also when it is deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn license_even_deleted(&self, number: i64) -> Result<Option<LicenseRow>, StoreError> {
        let mut rows = self.store.query(LICENSE_EVEN_DELETED.as_str(), &[number.into()]).await?;
        rows.pop().map(|row| read(Table::License, row, LicenseRow::read)).transpose()
    }
}
