//! The SQL of one table, written out once.

use keyledger_projections::{Table, Value};

/// What a table's rows are read and written with. The table's name may have a suffix: then it is one being rebuilt.
#[derive(Debug)]
pub(super) struct TableSql {
    /// By primary key.
    pub(super) select: String,
    /// Those after a primary key, in order, so many at most.
    pub(super) page: String,
    /// Updates a row whose indexed columns stay as they are, so that no index is touched.
    pub(super) update: String,
    /// Inserts a row or replaces the one of its primary key.
    pub(super) upsert: String,
    pub(super) delete: String,
}

impl TableSql {
    pub(super) fn new(table: Table, suffix: &str) -> Self {
        let name = format!("{}{suffix}", table.name());
        let names: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
        let key = names.first().copied().unwrap_or_default();
        let columns = names.join(", ");
        let marks = (1..=names.len()).map(|i| format!("?{i}")).collect::<Vec<_>>().join(", ");
        let replaced = names.iter().skip(1).map(|name| format!("{name} = excluded.{name}")).collect::<Vec<_>>().join(", ");
        let (mut changed, mut same) = (Vec::new(), vec![format!("{key} = ?1")]);
        for (i, name) in names.iter().enumerate().skip(1) {
            if indexed_columns(table).contains(name) {
                same.push(format!("{name} IS ?{}", i + 1));
            } else {
                changed.push(format!("{name} = ?{}", i + 1));
            }
        }
        Self {
            select: format!("SELECT {columns} FROM {name} WHERE {key} = ?1"),
            page: format!("SELECT {columns} FROM {name} WHERE {key} >= ?1 ORDER BY {key} LIMIT ?2"),
            update: format!("UPDATE {name} SET {} WHERE {}", changed.join(", "), same.join(" AND ")),
            upsert: format!("INSERT INTO {name} ({columns}) VALUES ({marks}) ON CONFLICT ({key}) DO UPDATE SET {replaced}"),
            delete: format!("DELETE FROM {name} WHERE {key} = ?1"),
        }
    }

    /// All tables, to be found by [`by_table`].
    pub(super) fn all(suffix: &str) -> Vec<Self> {
        Table::ALL.iter().map(|table| Self::new(*table, suffix)).collect()
    }
}

/// The columns that `projections.sql` has secondary indexes on. One that is missing here makes updates slower, not wrong.
fn indexed_columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::Activation => &["license", "identifier", "domain"],
        Table::License => &["license_key", "product", "status", "owner_email", "contract", "job", "deleted"],
        Table::LicenseMeta => &["license", "meta_key"],
        Table::ProductMeta => &["product", "meta_key"],
        Table::Block => &["kind", "value"],
        Table::KeyPair => &["product"],
        Table::Product => &["id", "slug", "external_reference", "deleted"],
        Table::Telemetry => &["data_group", "data_type"],
        Table::Release => &["product", "numeric_version", "version", "withdrawn"],
        Table::DownloadToken => &["hash"],
        Table::Generator => &["product", "deleted"],
        Table::Contract => &["contract_key", "deleted"],
        Table::AssignmentJob => &["result"],
        Table::Delivery => &["state", "due_at"],
        Table::WebhookEndpoint => &["paused", "deleted"],
        Table::Counters | Table::ApiKey | Table::LicenseCount | Table::ContractCount | Table::Settings => &[],
    }
}

/// The index that finds a row by something else than its primary key: the condition, on a table in use.
pub(super) fn lookup(table: Table, condition: &str) -> String {
    let columns = table.columns().iter().map(|column| column.name).collect::<Vec<_>>().join(", ");
    format!("SELECT {columns} FROM {} WHERE {condition}", table.name())
}

/// A value as SQLite takes it.
pub(super) struct Parameter<'a>(pub(super) &'a Value);

impl rusqlite::ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::{ToSqlOutput, ValueRef};
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Int(value) => ValueRef::Integer(*value),
            Value::Bool(value) => ValueRef::Integer(i64::from(*value)),
            Value::Text(value) => ValueRef::Text(value.as_bytes()),
            Value::Bytes(value) => ValueRef::Blob(value),
            Value::Time(value) => ValueRef::Integer(value.0),
            Value::Uuid(value) => ValueRef::Blob(value.as_bytes()),
        }))
    }
}
