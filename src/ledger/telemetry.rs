//! Reads of telemetry.

use std::sync::LazyLock;

use keyledger_projections::{Table, TelemetryRow, Value};

use super::{
    Ledger,
    reads::{columns, read},
};
use crate::store::StoreError;

/// Which records a list shows; what is `None` doesn't matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TelemetryFilter {
    pub data_type: String,
    pub data_group: String,
    pub product: Option<i64>,
    pub user_identifier: Option<String>,
    pub license_key: Option<String>,
    pub activation_identifier: Option<String>,
    pub product_version: Option<String>,
    pub license_key_exists: Option<bool>,
    pub product_exists: Option<bool>,
    pub product_version_exists: Option<bool>,
    pub is_correct_format: Option<bool>,
    pub has_red_flags: Option<bool>,
}

/// Group and type are always asked for and have the index; the others only filter what it finds.
const FILTERS: [&str; 10] = [
    "product",
    "user_identifier",
    "license_key",
    "activation_identifier",
    "product_version",
    "license_key_exists",
    "product_exists",
    "product_version_exists",
    "is_correct_format",
    "has_red_flags",
];

static PAGE: LazyLock<String> = LazyLock::new(|| {
    let first = 3;
    let filters: String = FILTERS.iter().enumerate().map(|(i, column)| format!(" AND (t.{column} = ${n} OR ${n} IS NULL)", n = first + i)).collect();
    let limit = first + FILTERS.len();
    format!(
        "SELECT {} FROM telemetry t WHERE t.data_group = $1 AND t.data_type = $2{filters} ORDER BY t.number LIMIT ${limit} OFFSET ${}",
        columns(Table::Telemetry, "t"),
        limit + 1
    )
});

impl Ledger {
    /// One page of records in ascending number; pages count from 1.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn telemetry_page(&self, filter: &TelemetryFilter, page: i64, items_per_page: i64) -> Result<Vec<TelemetryRow>, StoreError> {
        let flag = |flag: Option<bool>| flag.map_or(Value::Null, Value::Bool);
        let parameters = vec![
            filter.data_group.as_str().into(),
            filter.data_type.as_str().into(),
            filter.product.into(),
            filter.user_identifier.as_deref().into(),
            filter.license_key.as_deref().into(),
            filter.activation_identifier.as_deref().into(),
            filter.product_version.as_deref().into(),
            flag(filter.license_key_exists),
            flag(filter.product_exists),
            flag(filter.product_version_exists),
            flag(filter.is_correct_format),
            flag(filter.has_red_flags),
            items_per_page.into(),
            page.saturating_sub(1).saturating_mul(items_per_page).into(),
        ];
        let rows = self.query_list(PAGE.as_str(), parameters).await?;
        rows.into_iter().map(|row| read(Table::Telemetry, row, TelemetryRow::read)).collect()
    }
}
