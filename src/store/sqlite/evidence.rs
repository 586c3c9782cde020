//! Writing the evidence's tiles and checkpoints.

use rusqlite::{Connection, params};

use super::connection::OrStoreError;
use crate::store::{Publication, StoreError, StoredHandOut};

/// Inside a transaction; `false` where the evidence is further already.
pub(super) fn publish(connection: &Connection, publication: &Publication) -> Result<bool, StoreError> {
    let Publication { from, to, tiles, checkpoint } = publication;
    let sql = "UPDATE evidence SET size = ?1, licenses = ?2 WHERE id = 1 AND size = ?3 AND licenses = ?4";
    let values = params![to.events, to.licenses, from.events, from.licenses];
    if connection.prepare_cached(sql).or_store_error()?.execute(values).or_store_error()? == 0 {
        return Ok(false);
    }
    let sql = "INSERT INTO tile (tree, level, number, entries) VALUES (?1, ?2, ?3, ?4) \
               ON CONFLICT (tree, level, number) DO UPDATE SET entries = excluded.entries";
    let mut statement = connection.prepare_cached(sql).or_store_error()?;
    for (key, entries) in tiles {
        statement.execute(params![key.tree, key.level, key.number, entries]).or_store_error()?;
    }
    if let Some(checkpoint) = checkpoint {
        let sql = "INSERT INTO checkpoint (size, root, made_at, note) SELECT ?1, ?2, ?3, ?4 \
                   WHERE NOT EXISTS (SELECT 1 FROM checkpoint WHERE size >= ?1)";
        let values = params![checkpoint.size, checkpoint.root, checkpoint.made_at.0, checkpoint.note];
        return Ok(connection.execute(sql, values).or_store_error()? == 1);
    }
    Ok(true)
}

pub(super) fn keep_hand_out(connection: &Connection, hand_out: &StoredHandOut) -> Result<(), StoreError> {
    let sql = "INSERT INTO hand_out (destination, size, made_at, answer) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (destination, size) DO NOTHING";
    let values = params![hand_out.destination, hand_out.size, hand_out.made_at.0, hand_out.answer];
    connection.prepare_cached(sql).or_store_error()?.execute(values).or_store_error()?;
    Ok(())
}
