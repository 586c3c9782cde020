//! The reads of the administration: pages in ascending number, after the number that the page before ended with, and single
//! rows by number.

use std::sync::LazyLock;

use keyledger_events::block::BlockKind;
use keyledger_projections::{ActivationRow, ApiKeyRow, BlockRow, GeneratorRow, LicenseRow, ProductRow, Table, Value};

use super::{
    Ledger, LicenseFilter,
    reads::{columns, read},
};
use crate::store::StoreError;

/// The SQL of a table's pages and of its rows by number.
pub(super) struct ListSql {
    page: String,
    one: String,
}

impl ListSql {
    /// `condition` tells which rows there are for those who ask.
    pub(super) fn new(table: Table, condition: &str) -> Self {
        let select = format!("SELECT {} FROM {} t WHERE {condition}", columns(table, "t"), table.name());
        Self { page: format!("{select} AND t.number > $1 ORDER BY t.number LIMIT $2"), one: format!("{select} AND t.number = $1") }
    }
}

static PRODUCTS: LazyLock<ListSql> = LazyLock::new(|| ListSql::new(Table::Product, "NOT t.deleted"));
static API_KEYS: LazyLock<ListSql> = LazyLock::new(|| ListSql::new(Table::ApiKey, "t.number > 0"));
static BLOCKS: LazyLock<ListSql> = LazyLock::new(|| ListSql::new(Table::Block, "t.number > 0"));
static GENERATORS: LazyLock<ListSql> = LazyLock::new(|| ListSql::new(Table::Generator, "NOT t.deleted"));
static LICENSES: LazyLock<ListSql> = LazyLock::new(|| ListSql::new(Table::License, "NOT t.deleted"));

static BLOCK_BY_VALUE: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM block t WHERE t.kind = $1 AND t.value = $2", columns(Table::Block, "t")));

static ACTIVATIONS: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT {} FROM activation t WHERE t.license = $1 AND t.number > $2 ORDER BY t.number LIMIT $3", columns(Table::Activation, "t"))
});

/// One statement for each combination of filters, so that each can use its index.
static LICENSE_PAGES: LazyLock<Vec<String>> = LazyLock::new(|| (0..1 << LICENSE_FILTERS.len()).map(license_page_sql).collect());

const LICENSE_FILTERS: [&str; 5] = ["product", "status", "owner_email", "owner_name", "license_key"];

fn license_page_sql(filters: usize) -> String {
    let mut conditions = vec!["NOT l.deleted".to_owned()];
    for (bit, column) in LICENSE_FILTERS.iter().enumerate() {
        if filters & (1 << bit) != 0 {
            conditions.push(format!("l.{column} = ${}", conditions.len()));
        }
    }
    let next = conditions.len();
    conditions.push(format!("l.number > ${next}"));
    format!("SELECT {} FROM license l WHERE {} ORDER BY l.number LIMIT ${}", columns(Table::License, "l"), conditions.join(" AND "), next + 1)
}

impl Ledger {
    pub(super) async fn list<R>(
        &self,
        table: Table,
        sql: &'static ListSql,
        after: Option<i64>,
        limit: i64,
        read_row: fn(&mut keyledger_projections::Values) -> Result<R, keyledger_projections::ReadError>,
    ) -> Result<Vec<R>, StoreError> {
        let rows = self.query_list(&sql.page, vec![after.unwrap_or(0).into(), limit.into()]).await?;
        rows.into_iter().map(|row| read(table, row, read_row)).collect()
    }

    pub(super) async fn one<R>(
        &self,
        table: Table,
        sql: &'static ListSql,
        number: i64,
        read_row: fn(&mut keyledger_projections::Values) -> Result<R, keyledger_projections::ReadError>,
    ) -> Result<Option<R>, StoreError> {
        let mut rows = self.store().query(&sql.one, &[number.into()]).await?;
        rows.pop().map(|row| read(table, row, read_row)).transpose()
    }

    /// Products that are not deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list_products(&self, after: Option<i64>, limit: i64) -> Result<Vec<ProductRow>, StoreError> {
        self.list(Table::Product, &PRODUCTS, after, limit, ProductRow::read).await
    }

    /// Generators that are not deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list_generators(&self, after: Option<i64>, limit: i64) -> Result<Vec<GeneratorRow>, StoreError> {
        self.list(Table::Generator, &GENERATORS, after, limit, GeneratorRow::read).await
    }

    /// API keys, disabled ones too.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list_api_keys(&self, after: Option<i64>, limit: i64) -> Result<Vec<ApiKeyRow>, StoreError> {
        self.list(Table::ApiKey, &API_KEYS, after, limit, ApiKeyRow::read).await
    }

    /// # Errors
    /// When the store fails.
    pub async fn api_key(&self, number: i64) -> Result<Option<ApiKeyRow>, StoreError> {
        self.one(Table::ApiKey, &API_KEYS, number, ApiKeyRow::read).await
    }

    /// What is blocked now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list_blocks(&self, after: Option<i64>, limit: i64) -> Result<Vec<BlockRow>, StoreError> {
        self.list(Table::Block, &BLOCKS, after, limit, BlockRow::read).await
    }

    /// # Errors
    /// When the store fails.
    pub async fn block(&self, number: i64) -> Result<Option<BlockRow>, StoreError> {
        self.one(Table::Block, &BLOCKS, number, BlockRow::read).await
    }

    /// The entry of the block list for a value.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn block_of(&self, kind: BlockKind, value: &str) -> Result<Option<BlockRow>, StoreError> {
        let mut rows = self.store().query(&BLOCK_BY_VALUE, &[kind.as_str().into(), value.into()]).await?;
        rows.pop().map(|row| read(Table::Block, row, BlockRow::read)).transpose()
    }

    /// Licenses that are not deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list_licenses(
        &self,
        filter: &LicenseFilter,
        license_key: Option<&str>,
        after: Option<i64>,
        limit: i64,
    ) -> Result<Vec<LicenseRow>, StoreError> {
        let given: [Value; 5] = [
            filter.product.into(),
            filter.status.map(keyledger_events::license::Status::as_str).into(),
            filter.owner_email.as_deref().into(),
            filter.owner_name.as_deref().into(),
            license_key.into(),
        ];
        let filters = given.iter().enumerate().filter(|(_, value)| **value != Value::Null).map(|(bit, _)| 1 << bit).sum::<usize>();
        let mut parameters: Vec<Value> = given.into_iter().filter(|value| *value != Value::Null).collect();
        parameters.extend([after.unwrap_or(0).into(), limit.into()]);
        let rows = self.query_list(LICENSE_PAGES[filters].as_str(), parameters).await?;
        rows.into_iter().map(|row| read(Table::License, row, LicenseRow::read)).collect()
    }

    /// A license that is not deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn license(&self, number: i64) -> Result<Option<LicenseRow>, StoreError> {
        self.one(Table::License, &LICENSES, number, LicenseRow::read).await
    }

    /// The activations of a license, those that have ended too.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list_activations(&self, license: i64, after: Option<i64>, limit: i64) -> Result<Vec<ActivationRow>, StoreError> {
        let rows = self.query_list(&ACTIVATIONS, vec![license.into(), after.unwrap_or(0).into(), limit.into()]).await?;
        rows.into_iter().map(|row| read(Table::Activation, row, ActivationRow::read)).collect()
    }
}
