//! Reading, on any connection.

use std::sync::LazyLock;

use keyledger_events::{SubjectKind, Timestamp};
use keyledger_projections::{Row, Table, Value};
use rusqlite::{Connection, ToSql, params, types::ValueRef};
use uuid::Uuid;

use super::{
    connection::OrStoreError,
    sql::{Parameter, TableSql, lookup},
};
use crate::store::{Found, GENERATORS_MAX, Head, Lookups, Portion, STREAM, STREAMS, StoreError, StoredEvent, StoredRequest, StoredSubject};

const SUBJECT_COLUMNS: &str = "kind, number, id, sealed_key, email_index";

/// The SQL of reading: by table, and by what else a batch looks up.
#[derive(Debug)]
pub(super) struct ReadSql {
    tables: Vec<TableSql>,
    license_by_key: String,
    activation: String,
    license_meta: String,
    product_meta: String,
    block: String,
    product_by_slug: String,
    release: String,
    release_by_text: String,
    subject: String,
    subject_by_id: String,
    owner_by_email: String,
    available: String,
    generators: String,
    contract_by_key: String,
    contract_licenses: String,
}

impl ReadSql {
    pub(super) fn new() -> Self {
        let subject = |condition: &str| format!("SELECT {SUBJECT_COLUMNS} FROM subject WHERE {condition}");
        Self {
            tables: TableSql::all(""),
            license_by_key: lookup(Table::License, "license_key = ?1 AND NOT deleted"),
            activation: lookup(Table::Activation, "license = ?1 AND identifier = ?2"),
            license_meta: lookup(Table::LicenseMeta, "license = ?1 AND meta_key = ?2"),
            product_meta: lookup(Table::ProductMeta, "product = ?1 AND meta_key = ?2"),
            block: lookup(Table::Block, "kind = ?1 AND value = ?2"),
            product_by_slug: lookup(Table::Product, "slug = ?1 AND NOT deleted"),
            release: lookup(Table::Release, "product = ?1 AND numeric_version = ?2 AND NOT withdrawn"),
            release_by_text: lookup(Table::Release, "product = ?1 AND version = ?2 AND NOT withdrawn"),
            subject: subject("kind = ?1 AND number = ?2"),
            subject_by_id: subject("id = ?1"),
            owner_by_email: subject("email_index = ?1"),
            available: lookup(Table::License, "product = ?1 AND status = 'available' AND NOT deleted ORDER BY number LIMIT ?2"),
            generators: lookup(Table::Generator, "product = ?1 AND active AND NOT deleted ORDER BY number LIMIT ?2"),
            contract_by_key: lookup(Table::Contract, "contract_key = ?1 AND NOT deleted"),
            contract_licenses: lookup(Table::License, "contract = ?1 AND NOT deleted ORDER BY number LIMIT ?2"),
        }
    }

    pub(super) fn tables(&self) -> &[TableSql] {
        &self.tables
    }

    pub(super) fn table(&self, table: Table) -> Result<&TableSql, StoreError> {
        by_table(&self.tables, table)
    }
}

/// The SQL of a table out of that of all.
pub(super) fn by_table(tables: &[TableSql], table: Table) -> Result<&TableSql, StoreError> {
    tables.get(table as usize).ok_or_else(|| StoreError::Refused(format!("there is no table {}", table.name())))
}

fn value(value: ValueRef<'_>) -> Result<Value, StoreError> {
    let text =
        |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| StoreError::Refused("the database holds text that is not UTF-8".to_owned()));
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Text(bytes) => Value::Text(text(bytes)?),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        ValueRef::Real(_) => return Err(StoreError::Refused("a query came to a fraction".to_owned())),
    })
}

/// Runs a query; its rows as they are.
pub(super) fn query(connection: &Connection, sql: &str, parameters: &[&dyn ToSql]) -> Result<Vec<Vec<Value>>, StoreError> {
    let mut statement = connection.prepare_cached(sql).or_store_error()?;
    let columns = statement.column_count();
    let mut rows = statement.query(parameters).or_store_error()?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().or_store_error()? {
        let values = (0..columns).map(|column| value(row.get_ref(column).or_store_error()?));
        found.push(values.collect::<Result<_, StoreError>>()?);
    }
    Ok(found)
}

pub(super) fn query_values(connection: &Connection, sql: &str, parameters: &[Value]) -> Result<Vec<Vec<Value>>, StoreError> {
    let parameters: Vec<Parameter<'_>> = parameters.iter().map(Parameter).collect();
    let parameters: Vec<&dyn ToSql> = parameters.iter().map(|parameter| parameter as &dyn ToSql).collect();
    query(connection, sql, &parameters)
}

/// Runs a query for rows of a table.
pub(super) fn rows(connection: &Connection, table: Table, sql: &str, parameters: &[&dyn ToSql], into: &mut Vec<Row>) -> Result<(), StoreError> {
    for values in query(connection, sql, parameters)? {
        into.push(Row::read(table, values).map_err(|source| StoreError::Read { table: table.name(), source })?);
    }
    Ok(())
}

pub(super) fn head(connection: &Connection) -> Result<Head, StoreError> {
    let sql = "SELECT ledger_id, next_position, recorded_at, tree_edge, projections FROM head WHERE id = 1";
    let mut statement = connection.prepare_cached(sql).or_store_error()?;
    let head = statement.query_row([], |row| {
        Ok(Head {
            ledger_id: Uuid::from_bytes(row.get(0)?),
            next_position: row.get(1)?,
            recorded_at: Timestamp(row.get(2)?),
            tree_edge: row.get(3)?,
            projections: row.get(4)?,
        })
    });
    match head {
        Err(rusqlite::Error::QueryReturnedNoRows) => Err(StoreError::Unsuitable("the ledger is not initialised".to_owned())),
        head => head.or_store_error(),
    }
}

const EVENT_COLUMNS: &str =
    "position, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version, recorded_at, payload, metadata, leaf_hash";
static EVENTS: LazyLock<String> = LazyLock::new(|| format!("SELECT {EVENT_COLUMNS} FROM events WHERE position >= ?1 ORDER BY position LIMIT ?2"));
static EVENTS_OF_STREAM: LazyLock<String> = LazyLock::new(|| format!("SELECT {EVENT_COLUMNS} FROM events WHERE {STREAM}"));
static EVENTS_OF_STREAMS: LazyLock<String> = LazyLock::new(|| format!("SELECT {EVENT_COLUMNS} FROM events WHERE {STREAMS}"));
/// As the index has it.
const BEFORE_REPLACEMENT: &str = "SELECT DISTINCT aggregate_id FROM events WHERE event_type = 'LicenseKeyReplaced' \
                                  AND CASE WHEN json_valid(payload) THEN payload ->> '$.LicenseKeyReplaced.from' END = ?1 \
                                  ORDER BY aggregate_id LIMIT ?2";

pub(super) fn events(connection: &Connection, from: i64, portion: Portion) -> Result<Vec<StoredEvent>, StoreError> {
    found_events(connection, &EVENTS, params![from, portion.events], portion.bytes)
}

pub(super) fn stream(connection: &Connection, aggregate_type: &str, id: Uuid, from: i64, limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
    found_events(connection, &EVENTS_OF_STREAM, params![aggregate_type, id.as_bytes(), from, limit], usize::MAX)
}

pub(super) fn streams(connection: &Connection, aggregate_type: &str, after: (Uuid, i64), limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
    found_events(connection, &EVENTS_OF_STREAMS, params![aggregate_type, after.0.as_bytes(), after.1, limit], usize::MAX)
}

pub(super) fn licenses_before_replacement(connection: &Connection, key: &str, limit: i64) -> Result<Vec<Uuid>, StoreError> {
    let mut statement = connection.prepare_cached(BEFORE_REPLACEMENT).or_store_error()?;
    let ids = statement.query_map(params![key, limit], |row| row.get(0).map(Uuid::from_bytes)).or_store_error()?;
    ids.map(OrStoreError::or_store_error).collect()
}

fn found_events(connection: &Connection, sql: &str, parameters: &[&dyn ToSql], bytes_max: usize) -> Result<Vec<StoredEvent>, StoreError> {
    let mut statement = connection.prepare_cached(sql).or_store_error()?;
    let mut rows = statement.query(parameters).or_store_error()?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    while bytes < bytes_max
        && let Some(row) = rows.next().or_store_error()?
    {
        let position = row.get(0).or_store_error()?;
        let event = event(position, row).map_err(|error| StoreError::Refused(format!("event {position} can't be read: {error}")))?;
        bytes += event.bytes();
        events.push(event);
    }
    Ok(events)
}

fn event(position: i64, row: &rusqlite::Row<'_>) -> rusqlite::Result<StoredEvent> {
    Ok(StoredEvent {
        position,
        aggregate_type: row.get(1)?,
        aggregate_id: Uuid::from_bytes(row.get(2)?),
        sequence: row.get(3)?,
        event_id: Uuid::from_bytes(row.get(4)?),
        event_type: row.get(5)?,
        event_version: row.get(6)?,
        recorded_at: Timestamp(row.get(7)?),
        payload: row.get(8)?,
        metadata: row.get(9)?,
        leaf_hash: row.get(10)?,
    })
}

fn add_subject(connection: &Connection, sql: &str, parameters: &[&dyn ToSql], into: &mut Vec<StoredSubject>) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(sql).or_store_error()?;
    let mut rows = statement.query(parameters).or_store_error()?;
    while let Some(row) = rows.next().or_store_error()? {
        let kind: String = row.get(0).or_store_error()?;
        into.push(StoredSubject {
            kind: subject_kind(&kind)?,
            number: row.get(1).or_store_error()?,
            id: Uuid::from_bytes(row.get(2).or_store_error()?),
            sealed_key: row.get(3).or_store_error()?,
            email_index: row.get(4).or_store_error()?,
        });
    }
    Ok(())
}

fn subject_kind(text: &str) -> Result<SubjectKind, StoreError> {
    let all = [SubjectKind::Owner, SubjectKind::License, SubjectKind::Actor, SubjectKind::Block];
    all.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| StoreError::Refused("a subject is of an unknown kind".to_owned()))
}

pub(super) fn subjects(connection: &Connection, sql: &ReadSql, ids: &[Uuid]) -> Result<Vec<StoredSubject>, StoreError> {
    let mut found = Vec::with_capacity(ids.len());
    // One transaction for all, unless there is one already: or else each look-up takes and gives back the file's lock.
    let _transaction = if connection.is_autocommit() { Some(connection.unchecked_transaction().or_store_error()?) } else { None };
    for id in ids {
        add_subject(connection, &sql.subject_by_id, &[id.as_bytes()], &mut found)?;
    }
    Ok(found)
}

fn add_request(connection: &Connection, id: &[u8], into: &mut Vec<StoredRequest>) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("SELECT parameters, outcome, expires_at FROM request WHERE id = ?1").or_store_error()?;
    let mut rows = statement.query([id]).or_store_error()?;
    while let Some(row) = rows.next().or_store_error()? {
        into.push(StoredRequest {
            id: id.to_vec(),
            parameters: row.get(0).or_store_error()?,
            outcome: row.get(1).or_store_error()?,
            expires_at: Timestamp(row.get(2).or_store_error()?),
        });
    }
    Ok(())
}

/// Everything that a batch looks up: each by a statement of its own, since none costs more than a few microseconds.
pub(super) fn load(connection: &Connection, sql: &ReadSql, lookups: &Lookups) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let into = &mut found.rows;
    for key in &lookups.rows {
        rows(connection, key.0, &sql.table(key.0)?.select, &[&key.1], into)?;
    }
    for key in &lookups.licenses {
        rows(connection, Table::License, &sql.license_by_key, &[key], into)?;
    }
    for (license, identifier) in &lookups.activations {
        rows(connection, Table::Activation, &sql.activation, &[license, identifier], into)?;
    }
    for (license, key) in &lookups.license_meta {
        rows(connection, Table::LicenseMeta, &sql.license_meta, &[license, key], into)?;
    }
    for (product, key) in &lookups.product_meta {
        rows(connection, Table::ProductMeta, &sql.product_meta, &[product, key], into)?;
    }
    for (kind, value) in &lookups.blocks {
        rows(connection, Table::Block, &sql.block, &[&kind.as_str(), value], into)?;
    }
    for slug in &lookups.slugs {
        rows(connection, Table::Product, &sql.product_by_slug, &[slug], into)?;
    }
    for (product, version) in &lookups.releases {
        rows(connection, Table::Release, &sql.release, &[product, version], into)?;
    }
    for (product, version) in &lookups.release_versions {
        rows(connection, Table::Release, &sql.release_by_text, &[product, version], into)?;
    }
    for (product, count) in &lookups.available {
        rows(connection, Table::License, &sql.available, &[product, count], into)?;
    }
    for product in &lookups.generators {
        rows(connection, Table::Generator, &sql.generators, &[product, &GENERATORS_MAX], into)?;
    }
    for key in &lookups.contracts {
        rows(connection, Table::Contract, &sql.contract_by_key, &[key], into)?;
    }
    for (contract, count) in &lookups.contract_licenses {
        rows(connection, Table::License, &sql.contract_licenses, &[contract, count], into)?;
    }
    for (kind, number) in &lookups.subjects {
        add_subject(connection, &sql.subject, &[&kind.as_str(), number], &mut found.subjects)?;
    }
    for index in &lookups.owners_by_email {
        add_subject(connection, &sql.owner_by_email, &[index], &mut found.subjects)?;
    }
    for id in &lookups.requests {
        add_request(connection, id, &mut found.requests)?;
    }
    Ok(found)
}
