//! Rebuilds: fresh tables beside the ones in use, and their swap.

use std::time::{Duration, Instant};

use keyledger::store::{Lookups, Store, StoreError};
use keyledger_projections::{Row, RowKey, Table};

use crate::{
    on_both_backends,
    place::Place,
    samples::{begin, commit, found, found_rows, row, row_with, sparse_row},
};

on_both_backends!(
    a_swap_puts_fresh_tables_in_place,
    a_dropped_rebuild_leaves_the_tables_as_they_are,
    two_rebuilds_at_once_are_refused,
    the_lock_keeps_others_from_appending,
    swapped_tables_have_their_indexes,
    a_snapshot_delays_a_swap_but_nobody_else,
);

fn licenses(numbers: std::ops::RangeInclusive<i64>) -> Vec<Row> {
    numbers.map(|number| row(Table::License, number)).collect()
}

async fn keys_of(place: &Place) -> Vec<String> {
    place.texts("SELECT license_key FROM license ORDER BY number").await
}

async fn a_swap_puts_fresh_tables_in_place(place: &Place) {
    let store = place.founded().await;
    commit(store.as_ref(), 1, |write| write.inserts = licenses(1..=3)).await;
    // As where a newer program is the first to have it.
    place.execute("DROP TABLE product_meta").await.unwrap();
    // Several in a row: the tables in use and the fresh ones change places each time.
    for round in 0..3 {
        let changed = row_with(Table::License, 2, |name| (name == "epoch").then_some((100 + round).into()));
        let mut rebuild = store.rebuild().await.unwrap();
        assert_eq!(rebuild.load(&[RowKey(Table::License, 1)]).await.unwrap(), []);
        let every_table: Vec<Row> = Table::ALL.iter().map(|table| sparse_row(*table, 50)).collect();
        rebuild.write(&every_table, &[], &[]).await.unwrap();
        rebuild.write(&licenses(1..=4), &[], &[]).await.unwrap();
        rebuild.write(&[], std::slice::from_ref(&changed), &[RowKey(Table::License, 3), RowKey(Table::License, 50)]).await.unwrap();
        let mut loaded = rebuild.load(&[RowKey(Table::License, 2), RowKey(Table::License, 3), RowKey(Table::Activation, 50)]).await.unwrap();
        loaded.sort_by_key(Row::key);
        assert_eq!(loaded, [changed.clone(), sparse_row(Table::Activation, 50)]);
        // The ones in use are still in use.
        commit(store.as_ref(), 1, |write| write.inserts = licenses(9..=9)).await;
        rebuild.index().await.unwrap();
        let head = rebuild.lock().await.unwrap();
        assert_eq!(head.next_position, 2 + round);
        rebuild.write(&licenses(5..=5), &[], &[]).await.unwrap();
        assert!(rebuild.swap(&format!("round {round}")).await.unwrap());

        assert_eq!(store.head().await.unwrap().projections, format!("round {round}"));
        let expected = [row(Table::License, 1), changed, row(Table::License, 4), row(Table::License, 5)];
        let keys: Vec<RowKey> = (1..=50).map(|number| RowKey(Table::License, number)).collect();
        assert_eq!(found_rows(store.as_ref(), &keys).await, expected);
        assert_eq!(store.query("SELECT count(*) FROM license", &[]).await.unwrap(), [[4.into()]]);
    }
    commit(store.as_ref(), 1, |write| write.inserts = licenses(6..=7)).await;
    assert_eq!(keys_of(place).await.len(), 6);
    assert_eq!(place.open().await.unwrap().head().await.unwrap().projections, "round 2");
}

/// What tables there are whose names or schemas speak of a rebuild.
async fn left_behind(place: &Place) -> Vec<String> {
    match place {
        Place::Sqlite(_) => place.texts("SELECT name FROM sqlite_schema WHERE name LIKE '%rebuild%'").await,
        Place::Postgres { .. } => place.texts("SELECT nspname FROM pg_namespace WHERE nspname LIKE '%rebuild%'").await,
    }
}

async fn a_dropped_rebuild_leaves_the_tables_as_they_are(place: &Place) {
    let store = place.founded().await;
    commit(store.as_ref(), 1, |write| write.inserts = licenses(1..=3)).await;
    let before = keys_of(place).await;
    for locked in [false, true] {
        let mut rebuild = store.rebuild().await.unwrap();
        rebuild.write(&licenses(7..=8), &[], &[]).await.unwrap();
        if locked {
            rebuild.index().await.unwrap();
            rebuild.lock().await.unwrap();
        }
        drop(rebuild);
        assert_eq!(keys_of(place).await, before);
        commit(store.as_ref(), 1, |_| {}).await;
    }
    assert_eq!(store.head().await.unwrap().projections, "all=1");
    // Nothing of it stays, since it may be personal: at the latest when the store is opened again.
    drop(store);
    let mut rebuild = place.open().await.unwrap().rebuild().await.unwrap();
    rebuild.write(&licenses(7..=8), &[], &[]).await.unwrap();
    rebuild.lock().await.unwrap();
    drop(rebuild);
    let mut tries = 0;
    loop {
        place.open().await.unwrap();
        let left = left_behind(place).await;
        if left.is_empty() {
            break;
        }
        tries += 1;
        assert!(tries < 50, "{left:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn two_rebuilds_at_once_are_refused(place: &Place) {
    let store = place.founded().await;
    let first = store.rebuild().await.unwrap();
    let other = place.open().await.unwrap();
    for store in [&store, &other] {
        let error = store.rebuild().await.err();
        assert!(matches!(&error, Some(StoreError::Unavailable(text)) if text.contains("another rebuild")), "{error:?}");
    }
    drop(first);
    let mut tries = 0;
    while other.rebuild().await.is_err() {
        tries += 1;
        assert!(tries < 50, "the lock outlives its rebuild");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn the_lock_keeps_others_from_appending(place: &Place) {
    let store: std::sync::Arc<dyn Store> = place.founded().await.into();
    let mut rebuild = store.rebuild().await.unwrap();
    rebuild.lock().await.unwrap();
    let other = std::sync::Arc::clone(&store);
    let mut waiting = tokio::spawn(async move {
        let (_transaction, head, _) = begin(other.as_ref()).await;
        head
    });
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.is_err(), "the lock was given twice");
    assert!(rebuild.swap("other=1").await.unwrap());
    assert_eq!(waiting.await.unwrap().projections, "other=1", "whoever waited sees the new versions");
}

async fn index_count(place: &Place) -> Vec<String> {
    let sql = match place {
        Place::Sqlite(_) => "SELECT CAST(count(*) AS TEXT) FROM sqlite_schema WHERE type = 'index'",
        Place::Postgres { .. } => "SELECT count(*)::text FROM pg_indexes WHERE schemaname = current_schema()",
    };
    place.texts(sql).await
}

async fn swapped_tables_have_their_indexes(place: &Place) {
    let store = place.founded().await;
    let before = index_count(place).await;
    let mut rebuild = store.rebuild().await.unwrap();
    rebuild.write(&licenses(1..=2), &[], &[]).await.unwrap();
    rebuild.index().await.unwrap();
    rebuild.lock().await.unwrap();
    assert!(rebuild.swap("all=2").await.unwrap());
    assert_eq!(index_count(place).await, before);
    let lookups = Lookups { licenses: vec!["license_key-2-é".into()], ..Lookups::default() };
    assert_eq!(found(store.as_ref(), &lookups).await, [row(Table::License, 2)]);
    let (transaction, head, _) = begin(store.as_ref()).await;
    let mut write = crate::samples::write(&head, 1);
    write.inserts = vec![row_with(Table::License, 3, |name| (name == "license_key").then(|| "license_key-2-é".into()))];
    assert!(matches!(transaction.commit(&write).await, Err(StoreError::Refused(_))), "keys are unique still");
}

async fn a_snapshot_delays_a_swap_but_nobody_else(place: &Place) {
    let store = place.founded().await;
    commit(store.as_ref(), 1, |write| write.inserts = licenses(1..=1)).await;
    let mut snapshot = store.snapshot().await.unwrap();
    let mut rebuild = store.rebuild().await.unwrap();
    rebuild.write(&licenses(1..=2), &[], &[]).await.unwrap();
    rebuild.index().await.unwrap();
    // SQLite keeps the old tables for whoever looks at them.
    let is_delayed = matches!(place, Place::Postgres { .. });
    for number in 3..=4 {
        if is_delayed {
            rebuild.lock().await.unwrap();
            rebuild.write(&licenses(8..=9), &[], &[]).await.unwrap();
            let started = Instant::now();
            assert!(!rebuild.swap("all=2").await.unwrap());
            assert!(started.elapsed() < Duration::from_secs(10), "others waited for {:?}", started.elapsed());
        }
        // What was written under the lock is undone, and others have it.
        assert_eq!(rebuild.load(&[RowKey(Table::License, 8)]).await.unwrap(), []);
        commit(store.as_ref(), 1, |write| write.inserts = licenses(number..=number)).await;
        rebuild.write(&licenses(number..=number), &[], &[]).await.unwrap();
    }
    assert_eq!(keys_of(place).await.len(), 3);
    if is_delayed {
        assert_eq!(snapshot.rows(Table::License, 0, 9).await.unwrap(), licenses(1..=1));
        drop(snapshot);
        // The server notices a closed connection a little later.
        for tries in 0.. {
            assert_eq!(rebuild.lock().await.unwrap().next_position, 3);
            if rebuild.swap("all=2").await.unwrap() {
                break;
            }
            assert!(tries < 50, "the snapshot's locks outlive it");
        }
    } else {
        rebuild.lock().await.unwrap();
        assert!(rebuild.swap("all=2").await.unwrap());
        assert_eq!(snapshot.rows(Table::License, 0, 9).await.unwrap(), licenses(1..=1));
    }
    assert_eq!(keys_of(place).await.len(), 4);
    assert_eq!(store.head().await.unwrap().projections, "all=2");
}
