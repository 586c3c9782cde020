//! The SQL of tables and look-ups, written out once. Every statement takes any number of keys or rows.

use std::sync::LazyLock;

use keyledger_projections::{ColumnType, Table};

use crate::store::{GENERATORS_MAX, STREAM, STREAMS, StoreError};

pub(super) const SUBJECT_COLUMNS: &str = "kind, number, id, sealed_key, email_index";
pub(super) const HEAD: &str = "SELECT ledger_id, next_position, recorded_at, tree_edge, projections FROM head WHERE id = 1";
pub(super) const HEAD_LOCKED: &str = "SELECT ledger_id, next_position, recorded_at, tree_edge, projections FROM head WHERE id = 1 FOR UPDATE";
const EVENT_COLUMNS: &str = "position, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version, recorded_at, \
                             payload::text, metadata::text, leaf_hash";
pub(super) static EVENTS: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {EVENT_COLUMNS} FROM events WHERE position >= $1 ORDER BY position LIMIT $2"));
/// The same, but none behind those that have so many bytes: what is not wanted is not sent.
pub(super) static PORTION: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {EVENT_COLUMNS} FROM (SELECT *, sum(octet_length(payload::text) + octet_length(metadata::text)) \
         OVER (ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before \
         FROM events WHERE position >= $1 ORDER BY position LIMIT $2) AS portion WHERE coalesce(bytes_before, 0) < $3 ORDER BY position"
    )
});
pub(super) static EVENTS_OF_STREAM: LazyLock<String> = LazyLock::new(|| format!("SELECT {EVENT_COLUMNS} FROM events WHERE {STREAM}"));
pub(super) static EVENTS_OF_STREAMS: LazyLock<String> = LazyLock::new(|| format!("SELECT {EVENT_COLUMNS} FROM events WHERE {STREAMS}"));
/// As the index has it.
pub(super) const BEFORE_REPLACEMENT: &str = "SELECT DISTINCT aggregate_id FROM events WHERE event_type = 'LicenseKeyReplaced' \
                                             AND payload #>> '{LicenseKeyReplaced,from}' = $1 ORDER BY aggregate_id LIMIT $2";
pub(super) const INSERT_EVENTS: &str = "INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_id, event_type, \
                                        event_version, recorded_at, payload, metadata, leaf_hash) \
                                        SELECT a, b, c, d, e, f, g, h, i::json, j::json, k FROM unnest($1::bigint[], $2::text[], \
                                        $3::text[], $4::bigint[], $5::uuid[], $6::text[], $7::text[], $8::timestamptz[], $9::text[], \
                                        $10::text[], $11::bytea[]) AS new (a, b, c, d, e, f, g, h, i, j, k)";
pub(super) const INSERT_SUBJECTS: &str = "INSERT INTO subject (kind, number, id, sealed_key, email_index) \
                                          SELECT * FROM unnest($1::text[], $2::bigint[], $3::uuid[], $4::bytea[], $5::bytea[])";
pub(super) const DELETE_SUBJECTS: &str = "DELETE FROM subject WHERE id = ANY($1::uuid[])";
pub(super) const PUT_REQUESTS: &str = "INSERT INTO request (id, parameters, outcome, expires_at) \
                                       SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::text[], $4::timestamptz[]) \
                                       ON CONFLICT (id) DO UPDATE SET parameters = EXCLUDED.parameters, outcome = EXCLUDED.outcome, \
                                       expires_at = EXCLUDED.expires_at";
pub(super) const PUT_API_KEY_SECRETS: &str = "INSERT INTO api_key_secret (hmac, api_key) SELECT * FROM unnest($1::bytea[], $2::bigint[]) \
                                              ON CONFLICT (hmac) DO UPDATE SET api_key = EXCLUDED.api_key";
pub(super) const INSERT_KEY_PAIR_SECRETS: &str = "INSERT INTO key_pair_secret (key_pair, sealed) SELECT * FROM unnest($1::bigint[], $2::bytea[])";
/// At most 1,000 in one batch.
pub(super) const EXPIRE_REQUESTS: &str =
    "DELETE FROM request WHERE id = ANY (ARRAY(SELECT id FROM request WHERE expires_at < $1 ORDER BY expires_at LIMIT 1000))";
pub(super) const MOVE_HEAD: &str =
    "UPDATE head SET ledger_id = $1, next_position = $2, recorded_at = $3, tree_edge = $4, projections = $5 WHERE id = 1";
pub(super) const INSERT_HEAD: &str = "INSERT INTO head (id, ledger_id, next_position, recorded_at, tree_edge, projections) \
                                      VALUES (1, $1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING";
pub(super) const INSERT_SECRET: &str = "INSERT INTO ledger_secret (id, sealed) VALUES (1, $1)";
pub(super) const SECRET: &str = "SELECT sealed FROM ledger_secret WHERE id = 1";

/// What a table's rows are read and written with.
#[derive(Debug)]
pub(super) struct TableSql {
    /// By primary keys.
    pub(super) select: String,
    /// Those from a primary key on, in order, so many at most.
    pub(super) page: String,
    pub(super) insert: String,
    /// Changes rows that are there.
    pub(super) update: String,
    pub(super) delete: String,
    pub(super) copy: String,
}

fn type_name(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Int => "bigint",
        ColumnType::Bool => "boolean",
        ColumnType::Text => "text",
        ColumnType::Bytes => "bytea",
        ColumnType::Time => "timestamptz",
        ColumnType::Uuid => "uuid",
    }
}

impl TableSql {
    fn new(table: Table) -> Self {
        let name = table.name();
        let names: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
        let key = names.first().copied().unwrap_or_default();
        let columns = names.join(", ");
        let arrays = table.columns().iter().enumerate().map(|(i, column)| format!("${}::{}[]", i + 1, type_name(column.ty)));
        let arrays = arrays.collect::<Vec<_>>().join(", ");
        let changed = names.iter().skip(1).map(|name| format!("{name} = new.{name}")).collect::<Vec<_>>().join(", ");
        Self {
            select: format!("SELECT {columns} FROM {name} WHERE {key} = ANY($1)"),
            page: format!("SELECT {columns} FROM {name} WHERE {key} >= $1 ORDER BY {key} LIMIT $2"),
            insert: format!("INSERT INTO {name} ({columns}) SELECT * FROM unnest({arrays})"),
            // Without ON CONFLICT: what is there is known, and looking for it costs as much as changing it.
            update: format!("UPDATE {name} t SET {changed} FROM unnest({arrays}) AS new ({columns}) WHERE t.{key} = new.{key}"),
            delete: format!("DELETE FROM {name} WHERE {key} = ANY($1)"),
            copy: format!("COPY {name} ({columns}) FROM STDIN BINARY"),
        }
    }
}

/// All of it.
#[derive(Debug)]
pub(super) struct Sql {
    tables: Vec<TableSql>,
    pub(super) license_by_key: String,
    pub(super) activation: String,
    pub(super) license_meta: String,
    pub(super) product_meta: String,
    pub(super) block: String,
    pub(super) product_by_slug: String,
    pub(super) release: String,
    pub(super) release_by_text: String,
    pub(super) subject: String,
    pub(super) subject_by_id: String,
    pub(super) owner_by_email: String,
    pub(super) request: String,
    pub(super) available: String,
    pub(super) generators: String,
    pub(super) contract_by_key: String,
    pub(super) contract_licenses: String,
}

impl Sql {
    pub(super) fn new() -> Self {
        let by_pair = |table: Table, pair: [&str; 2], types: [&str; 2]| {
            let columns = table.columns().iter().map(|column| format!("t.{}", column.name)).collect::<Vec<_>>().join(", ");
            join_pairs(table.name(), &columns, pair, types)
        };
        let columns = |table: Table| table.columns().iter().map(|column| column.name).collect::<Vec<_>>().join(", ");
        let (license_columns, product_columns) = (columns(Table::License), columns(Table::Product));
        Self {
            tables: Table::ALL.iter().map(|table| TableSql::new(*table)).collect(),
            license_by_key: format!("SELECT {license_columns} FROM license WHERE license_key = ANY($1) AND NOT deleted"),
            activation: by_pair(Table::Activation, ["license", "identifier"], ["bigint", "text"]),
            license_meta: by_pair(Table::LicenseMeta, ["license", "meta_key"], ["bigint", "text"]),
            product_meta: by_pair(Table::ProductMeta, ["product", "meta_key"], ["bigint", "text"]),
            block: by_pair(Table::Block, ["kind", "value"], ["text", "text"]),
            product_by_slug: format!("SELECT {product_columns} FROM product WHERE slug = ANY($1) AND NOT deleted"),
            release: by_pair(Table::Release, ["product", "numeric_version"], ["bigint", "bigint"]) + " AND NOT t.withdrawn",
            release_by_text: by_pair(Table::Release, ["product", "version"], ["bigint", "text"]) + " AND NOT t.withdrawn",
            subject: join_pairs("subject", "t.kind, t.number, t.id, t.sealed_key, t.email_index", ["kind", "number"], ["text", "bigint"]),
            subject_by_id: format!("SELECT {SUBJECT_COLUMNS} FROM subject WHERE id = ANY($1)"),
            owner_by_email: format!("SELECT {SUBJECT_COLUMNS} FROM subject WHERE email_index = ANY($1)"),
            request: "SELECT id, parameters, outcome, expires_at FROM request WHERE id = ANY($1)".to_owned(),
            available: first_of_each(Table::License, "product = wanted.a AND status = 'available' AND NOT deleted", "wanted.b"),
            generators: first_of_each(Table::Generator, "product = wanted.a AND active AND NOT deleted", &GENERATORS_MAX.to_string()),
            contract_by_key: format!("SELECT {} FROM contract WHERE contract_key = ANY($1) AND NOT deleted", column_names(Table::Contract)),
            contract_licenses: first_of_each(Table::License, "contract = wanted.a AND NOT deleted", "wanted.b"),
        }
    }

    pub(super) fn table(&self, table: Table) -> Result<&TableSql, StoreError> {
        self.tables.get(table as usize).ok_or_else(|| StoreError::Refused(format!("there is no table {}", table.name())))
    }
}

fn column_names(table: Table) -> String {
    table.columns().iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

/// For each wanted number, the first so many rows that belong to it.
fn first_of_each(table: Table, condition: &str, limit: &str) -> String {
    let columns = column_names(table);
    let wanted = if limit == "wanted.b" { "unnest($1::bigint[], $2::bigint[]) AS wanted (a, b)" } else { "unnest($1::bigint[]) AS wanted (a)" };
    format!(
        "SELECT t.* FROM {wanted} CROSS JOIN LATERAL \
         (SELECT {columns} FROM {} WHERE {condition} ORDER BY number LIMIT {limit}) t",
        table.name()
    )
}

/// Looks up rows by pairs of values.
fn join_pairs(table: &str, columns: &str, [first, second]: [&str; 2], [first_type, second_type]: [&str; 2]) -> String {
    format!(
        "SELECT {columns} FROM unnest($1::{first_type}[], $2::{second_type}[]) AS wanted (a, b) \
         JOIN {table} t ON t.{first} = wanted.a AND t.{second} = wanted.b"
    )
}

/// A part of `projections.sql`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Tables,
    Indexes,
}

/// The projections' tables in their present shape, in the schema that comes first in the search path.
pub(super) fn projections(part: Part) -> &'static str {
    const PROJECTIONS: &str = include_str!("../../../migrations/postgres/projections.sql");
    let (tables, indexes) = PROJECTIONS.split_once("-- indexes").unwrap_or((PROJECTIONS, ""));
    match part {
        Part::Tables => tables,
        // What follows the mark in its line is text.
        Part::Indexes => indexes.split_once('\n').map_or("", |(_, statements)| statements),
    }
}
