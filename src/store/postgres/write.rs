//! Writing: what a batch writes as statements that each take all its rows of one table.

use std::collections::BTreeMap;

use keyledger_projections::{Row, RowKey, Table, Value};

use super::{
    read::{by_table, column},
    session::Call,
    sql::{
        DELETE_SUBJECTS, EXPIRE_REQUESTS, INSERT_EVENTS, INSERT_KEY_PAIR_SECRETS, INSERT_SUBJECTS, MOVE_HEAD, PUT_API_KEY_SECRETS, PUT_REQUESTS, Sql,
    },
    value::{Cell, Parameter},
};
use crate::store::{Head, StoreError, StoredEvent, WriteSet};

/// Rows' values by table.
pub(super) type TableValues = BTreeMap<Table, Vec<Vec<Value>>>;

fn table_values(rows: &[Row]) -> TableValues {
    let mut tables = TableValues::new();
    for row in rows {
        tables.entry(row.key().0).or_default().push(row.values());
    }
    tables
}

/// The values of rows to be written.
pub(super) struct WrittenRows {
    inserts: TableValues,
    updates: TableValues,
}

impl WrittenRows {
    pub(super) fn new(inserts: &[Row], updates: &[Row]) -> Self {
        Self { inserts: table_values(inserts), updates: table_values(updates) }
    }
}

/// The statements of a batch, in their order: rows go before others take their place, and the head moves after the events.
pub(super) fn calls<'a>(sql: &'a Sql, write: &'a WriteSet, rows: &'a WrittenRows) -> Result<Vec<Call<'a>>, StoreError> {
    let mut calls = Vec::new();
    if !write.events.is_empty() {
        calls.push(insert_events(&write.events));
    }
    delete_calls(sql, &write.deletes, &mut calls)?;
    row_calls(sql, rows, &mut calls)?;
    let mut call = |sql, parameters| calls.push(Call { sql, parameters });
    let subjects = &write.subjects;
    if !subjects.is_empty() {
        let parameters = vec![
            column(subjects.iter().map(|subject| Cell::Text(subject.kind.as_str()))),
            column(subjects.iter().map(|subject| Cell::Int(subject.number))),
            column(subjects.iter().map(|subject| Cell::Uuid(subject.id))),
            column(subjects.iter().map(|subject| Cell::Bytes(&subject.sealed_key))),
            column(subjects.iter().map(|subject| subject.email_index.as_deref().map_or(Cell::Null, Cell::Bytes))),
        ];
        call(INSERT_SUBJECTS, parameters);
    }
    if !write.forgotten.is_empty() {
        call(DELETE_SUBJECTS, vec![column(write.forgotten.iter().map(|id| Cell::Uuid(*id)))]);
    }
    let requests = &write.requests;
    if !requests.is_empty() {
        let parameters = vec![
            column(requests.iter().map(|request| Cell::Bytes(&request.id))),
            column(requests.iter().map(|request| Cell::Bytes(&request.parameters))),
            column(requests.iter().map(|request| Cell::Text(&request.outcome))),
            column(requests.iter().map(|request| Cell::Time(request.expires_at))),
        ];
        call(PUT_REQUESTS, parameters);
    }
    let secrets = &write.api_key_secrets;
    if !secrets.is_empty() {
        let hmacs = column(secrets.iter().map(|secret| Cell::Bytes(&secret.hmac)));
        call(PUT_API_KEY_SECRETS, vec![hmacs, column(secrets.iter().map(|secret| Cell::Int(secret.api_key)))]);
    }
    let secrets = &write.key_pair_secrets;
    if !secrets.is_empty() {
        let key_pairs = column(secrets.iter().map(|secret| Cell::Int(secret.key_pair)));
        call(INSERT_KEY_PAIR_SECRETS, vec![key_pairs, column(secrets.iter().map(|secret| Cell::Bytes(&secret.sealed)))]);
    }
    if let Some(before) = write.requests_expired_before {
        call(EXPIRE_REQUESTS, vec![Parameter::One(Cell::Time(before))]);
    }
    call(MOVE_HEAD, head_parameters(&write.head));
    Ok(calls)
}

pub(super) fn head_parameters(head: &Head) -> Vec<Parameter<'_>> {
    [
        Cell::Uuid(head.ledger_id),
        Cell::Int(head.next_position),
        Cell::Time(head.recorded_at),
        Cell::Bytes(&head.tree_edge),
        Cell::Text(&head.projections),
    ]
    .map(Parameter::One)
    .into()
}

fn insert_events(events: &[StoredEvent]) -> Call<'_> {
    let parameters = vec![
        column(events.iter().map(|event| Cell::Int(event.position))),
        column(events.iter().map(|event| Cell::Text(&event.aggregate_type))),
        column(events.iter().map(|event| Cell::Uuid(event.aggregate_id))),
        column(events.iter().map(|event| Cell::Int(event.sequence))),
        column(events.iter().map(|event| Cell::Uuid(event.event_id))),
        column(events.iter().map(|event| Cell::Text(&event.event_type))),
        column(events.iter().map(|event| Cell::Text(&event.event_version))),
        column(events.iter().map(|event| Cell::Time(event.recorded_at))),
        column(events.iter().map(|event| Cell::Text(&event.payload))),
        column(events.iter().map(|event| Cell::Text(&event.metadata))),
        column(events.iter().map(|event| Cell::Bytes(&event.leaf_hash))),
    ];
    Call { sql: INSERT_EVENTS, parameters }
}

pub(super) fn delete_calls<'a>(sql: &'a Sql, keys: &[RowKey], into: &mut Vec<Call<'a>>) -> Result<(), StoreError> {
    for (table, keys) in by_table(keys) {
        into.push(Call { sql: &sql.table(table)?.delete, parameters: vec![Parameter::Column(keys)] });
    }
    Ok(())
}

/// Rows change before others take their place: a license key can go from one to another.
pub(super) fn row_calls<'a>(sql: &'a Sql, rows: &'a WrittenRows, into: &mut Vec<Call<'a>>) -> Result<(), StoreError> {
    fn parameters<'a>(table: Table, rows: &'a [Vec<Value>]) -> Vec<Parameter<'a>> {
        let columns = 0..table.columns().len();
        columns.map(|i| column(rows.iter().map(|row| row.get(i).map_or(Cell::Null, Cell::from)))).collect()
    }
    for (table, rows) in &rows.updates {
        into.push(Call { sql: &sql.table(*table)?.update, parameters: parameters(*table, rows) });
    }
    for (table, rows) in &rows.inserts {
        into.push(Call { sql: &sql.table(*table)?.insert, parameters: parameters(*table, rows) });
    }
    Ok(())
}
