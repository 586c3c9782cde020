//! Writing, inside a transaction: row by row, with statements that are prepared once.

use keyledger_events::Timestamp;
use keyledger_projections::{Row, RowKey};
use rusqlite::{Connection, params, params_from_iter};
use uuid::Uuid;

use super::{
    connection::OrStoreError,
    read::by_table,
    sql::{Parameter, TableSql},
};
use crate::store::{ApiKeySecret, Head, KeyPairSecret, StoreError, StoredEvent, StoredRequest, StoredSubject, WriteSet};

/// How many expired request records go in one batch.
const EXPIRED_MAX: i64 = 1_000;

/// Everything that a batch writes. The head moves after the events.
pub(super) fn write_set(connection: &Connection, tables: &[TableSql], write: &WriteSet) -> Result<(), StoreError> {
    insert_events(connection, &write.events)?;
    delete_rows(connection, tables, &write.deletes)?;
    // Rows change before others take their place: a license key can go from one to another.
    put_rows(connection, tables, &write.updates)?;
    insert_rows(connection, tables, &write.inserts)?;
    insert_subjects(connection, &write.subjects)?;
    delete_subjects(connection, &write.forgotten)?;
    put_requests(connection, &write.requests)?;
    put_secrets(connection, &write.api_key_secrets, &write.key_pair_secrets)?;
    if let Some(before) = write.requests_expired_before {
        expire_requests(connection, before)?;
    }
    move_head(connection, &write.head)
}

fn insert_events(connection: &Connection, events: &[StoredEvent]) -> Result<(), StoreError> {
    let sql = "INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version, recorded_at, payload, \
               metadata, leaf_hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let mut statement = connection.prepare_cached(sql).or_store_error()?;
    for event in events {
        let values = params![
            event.position,
            event.aggregate_type,
            event.aggregate_id.as_bytes(),
            event.sequence,
            event.event_id.as_bytes(),
            event.event_type,
            event.event_version,
            event.recorded_at.0,
            event.payload,
            event.metadata,
            event.leaf_hash,
        ];
        statement.execute(values).or_store_error()?;
    }
    Ok(())
}

/// Changes rows. Most are of licenses whose indexed columns stay as they are.
pub(super) fn put_rows(connection: &Connection, tables: &[TableSql], rows: &[Row]) -> Result<(), StoreError> {
    for row in rows {
        let sql = by_table(tables, row.key().0)?;
        let values = row.values();
        let is_updated =
            connection.prepare_cached(&sql.update).or_store_error()?.execute(params_from_iter(values.iter().map(Parameter))).or_store_error()?;
        if is_updated == 0 {
            connection.prepare_cached(&sql.upsert).or_store_error()?.execute(params_from_iter(values.iter().map(Parameter))).or_store_error()?;
        }
    }
    Ok(())
}

/// Inserts rows that are not there yet.
pub(super) fn insert_rows(connection: &Connection, tables: &[TableSql], rows: &[Row]) -> Result<(), StoreError> {
    for rows in rows.chunk_by(|one, next| one.key().0 == next.key().0) {
        let Some(first) = rows.first() else { continue };
        let mut statement = connection.prepare_cached(&by_table(tables, first.key().0)?.upsert).or_store_error()?;
        for row in rows {
            statement.execute(params_from_iter(row.values().iter().map(Parameter))).or_store_error()?;
        }
    }
    Ok(())
}

pub(super) fn delete_rows(connection: &Connection, tables: &[TableSql], keys: &[RowKey]) -> Result<(), StoreError> {
    for key in keys {
        connection.prepare_cached(&by_table(tables, key.0)?.delete).or_store_error()?.execute([key.1]).or_store_error()?;
    }
    Ok(())
}

fn insert_subjects(connection: &Connection, subjects: &[StoredSubject]) -> Result<(), StoreError> {
    let sql = "INSERT INTO subject (kind, number, id, sealed_key, email_index) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut statement = connection.prepare_cached(sql).or_store_error()?;
    for subject in subjects {
        let values = params![subject.kind.as_str(), subject.number, subject.id.as_bytes(), subject.sealed_key, subject.email_index];
        statement.execute(values).or_store_error()?;
    }
    Ok(())
}

fn delete_subjects(connection: &Connection, ids: &[Uuid]) -> Result<(), StoreError> {
    for id in ids {
        connection.prepare_cached("DELETE FROM subject WHERE id = ?1").or_store_error()?.execute([id.as_bytes()]).or_store_error()?;
    }
    Ok(())
}

fn put_requests(connection: &Connection, requests: &[StoredRequest]) -> Result<(), StoreError> {
    let sql = "INSERT INTO request (id, parameters, outcome, expires_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO UPDATE \
               SET parameters = excluded.parameters, outcome = excluded.outcome, expires_at = excluded.expires_at";
    let mut statement = connection.prepare_cached(sql).or_store_error()?;
    for request in requests {
        statement.execute(params![request.id, request.parameters, request.outcome, request.expires_at.0]).or_store_error()?;
    }
    Ok(())
}

fn put_secrets(connection: &Connection, api_keys: &[ApiKeySecret], key_pairs: &[KeyPairSecret]) -> Result<(), StoreError> {
    let sql = "INSERT INTO api_key_secret (hmac, api_key) VALUES (?1, ?2) ON CONFLICT (hmac) DO UPDATE SET api_key = excluded.api_key";
    for secret in api_keys {
        connection.prepare_cached(sql).or_store_error()?.execute(params![secret.hmac, secret.api_key]).or_store_error()?;
    }
    for secret in key_pairs {
        let sql = "INSERT INTO key_pair_secret (key_pair, sealed) VALUES (?1, ?2)";
        connection.prepare_cached(sql).or_store_error()?.execute(params![secret.key_pair, secret.sealed]).or_store_error()?;
    }
    Ok(())
}

fn expire_requests(connection: &Connection, before: Timestamp) -> Result<(), StoreError> {
    let sql = "DELETE FROM request WHERE rowid IN (SELECT rowid FROM request WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)";
    connection.prepare_cached(sql).or_store_error()?.execute(params![before.0, EXPIRED_MAX]).or_store_error()?;
    Ok(())
}

fn move_head(connection: &Connection, head: &Head) -> Result<(), StoreError> {
    let sql = "UPDATE head SET ledger_id = ?1, next_position = ?2, recorded_at = ?3, tree_edge = ?4, projections = ?5 WHERE id = 1";
    let values = params![head.ledger_id.as_bytes(), head.next_position, head.recorded_at.0, head.tree_edge, head.projections];
    connection.prepare_cached(sql).or_store_error()?.execute(values).or_store_error()?;
    Ok(())
}

/// Inserts the head and the sealed secret, unless the ledger has them; returns whether it did.
pub(super) fn initialize(connection: &Connection, head: &Head, sealed_secret: &[u8]) -> Result<bool, StoreError> {
    let is_founded: bool = connection.query_row("SELECT EXISTS (SELECT 1 FROM head)", [], |row| row.get(0)).or_store_error()?;
    if is_founded {
        return Ok(false);
    }
    let sql = "INSERT INTO head (id, ledger_id, next_position, recorded_at, tree_edge, projections) VALUES (1, ?1, ?2, ?3, ?4, ?5)";
    let values = params![head.ledger_id.as_bytes(), head.next_position, head.recorded_at.0, head.tree_edge, head.projections];
    connection.execute(sql, values).or_store_error()?;
    connection.execute("INSERT INTO ledger_secret (id, sealed) VALUES (1, ?1)", [sealed_secret]).or_store_error()?;
    Ok(true)
}
