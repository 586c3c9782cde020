//! Opening: migrations, founding, and what is refused.

use std::collections::BTreeMap;

use keyledger::store::{Lookups, Store, StoreError};
use keyledger_projections::{ColumnType, Table};

use crate::{
    on_both_backends,
    place::Place,
    samples::{begin, commit, first_head},
};

on_both_backends!(
    many_may_open_at_once,
    only_one_founds_the_ledger,
    a_ledger_that_is_not_founded_says_so,
    a_newer_database_is_refused,
    the_tables_have_the_columns_of_their_rows,
);

async fn many_may_open_at_once(place: &Place) {
    let opened = (0..8).map(|_| async { place.open().await.unwrap() });
    let stores: Vec<Box<dyn Store>> = match place {
        Place::Postgres { .. } => futures::future::join_all(opened).await,
        // SQLite opens on the caller's thread, so several at once takes several.
        Place::Sqlite(_) => std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| futures::executor::block_on(place.open()).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        }),
    };
    let mut founders = 0;
    for store in &stores {
        founders += usize::from(store.initialize(&first_head(), b"sealed").await.unwrap());
    }
    assert_eq!(founders, 1);
    for store in &stores {
        commit(store.as_ref(), 1, |_| {}).await;
    }
    assert_eq!(stores[0].head().await.unwrap().next_position, 8);
}

async fn only_one_founds_the_ledger(place: &Place) {
    let stores = futures::future::join_all((0..4).map(|_| async { place.open().await.unwrap() })).await;
    let founding = stores.iter().enumerate().map(|(i, store)| async move {
        let head = keyledger::store::Head { ledger_id: uuid::Uuid::from_u128(i as u128), ..first_head() };
        store.initialize(&head, &[i as u8]).await.unwrap().then_some(i)
    });
    let founders: Vec<usize> = futures::future::join_all(founding).await.into_iter().flatten().collect();
    let [founder] = founders[..] else { panic!("{founders:?} founded the ledger") };
    for store in &stores {
        assert_eq!(store.head().await.unwrap().ledger_id, uuid::Uuid::from_u128(founder as u128));
        assert_eq!(store.sealed_secret().await.unwrap(), Some(vec![founder as u8]));
    }
}

async fn a_ledger_that_is_not_founded_says_so(place: &Place) {
    let store = place.open().await.unwrap();
    assert_eq!(store.sealed_secret().await.unwrap(), None);
    for error in [store.head().await.err(), store.begin(&Lookups::default()).await.err(), store.snapshot().await.err()] {
        assert!(matches!(&error, Some(StoreError::Unsuitable(text)) if text == "the ledger is not initialised"), "{error:?}");
    }
    assert!(store.initialize(&first_head(), b"sealed").await.unwrap());
    commit(store.as_ref(), 1, |_| {}).await;
}

async fn a_newer_database_is_refused(place: &Place) {
    place.founded().await;
    match place {
        Place::Sqlite(_) => place.execute("PRAGMA user_version = 999").await.unwrap(),
        Place::Postgres { .. } => place.execute("INSERT INTO migration (number) VALUES (999)").await.unwrap(),
    }
    let error = place.open().await.err();
    assert!(matches!(&error, Some(StoreError::Unsuitable(text)) if text.contains("999")), "{error:?}");
}

async fn the_tables_have_the_columns_of_their_rows(place: &Place) {
    place.open().await.unwrap();
    let mut types = BTreeMap::new();
    for table in Table::ALL {
        let name = table.name();
        let columns = match place {
            Place::Sqlite(_) => place.texts(&format!("SELECT name || ' ' || type FROM pragma_table_info('{name}') ORDER BY cid")).await,
            Place::Postgres { .. } => {
                place
                    .texts(&format!(
                        "SELECT column_name || ' ' || data_type FROM information_schema.columns \
                         WHERE table_schema = current_schema() AND table_name = '{name}' ORDER BY ordinal_position"
                    ))
                    .await
            }
        };
        let expected = table.columns().iter().map(|column| format!("{} {}", column.name, type_name(place, column.ty)));
        assert_eq!(columns, expected.collect::<Vec<_>>(), "{name}");
        types.insert(name, columns);
    }
    assert_eq!(types.len(), Table::ALL.len());
}

fn type_name(place: &Place, ty: ColumnType) -> &'static str {
    match (place, ty) {
        (Place::Sqlite(_), ColumnType::Int | ColumnType::Bool | ColumnType::Time) => "INTEGER",
        (Place::Sqlite(_), ColumnType::Text) => "TEXT",
        (Place::Sqlite(_), ColumnType::Bytes | ColumnType::Uuid) => "BLOB",
        (Place::Postgres { .. }, ColumnType::Int) => "bigint",
        (Place::Postgres { .. }, ColumnType::Bool) => "boolean",
        (Place::Postgres { .. }, ColumnType::Text) => "text",
        (Place::Postgres { .. }, ColumnType::Bytes) => "bytea",
        (Place::Postgres { .. }, ColumnType::Time) => "timestamp with time zone",
        (Place::Postgres { .. }, ColumnType::Uuid) => "uuid",
    }
}

#[tokio::test]
async fn sqlite_refuses_a_file_of_another_program() {
    let place = Place::sqlite();
    place.execute("CREATE TABLE theirs (a)").await.unwrap();
    let error = place.open().await.err();
    assert!(matches!(&error, Some(StoreError::Unsuitable(_))), "{error:?}");
    assert_eq!(place.texts("SELECT name FROM sqlite_schema").await, ["theirs"]);
}

#[tokio::test]
async fn postgres_that_loses_commits_is_refused() {
    let place = Place::postgres().await;
    let Place::Postgres { name, .. } = &place else { unreachable!() };
    place.execute(&format!("ALTER DATABASE {name} SET synchronous_commit = off")).await.unwrap();
    let error = place.open().await.err();
    assert!(matches!(&error, Some(StoreError::Unsuitable(text)) if text.contains("synchronous_commit")), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_not_available() {
    let place = Place::Postgres { url: "postgres://nobody@127.0.0.1:1/nothing".to_owned(), name: String::new() };
    let error = place.open().await.err();
    assert!(matches!(&error, Some(StoreError::Unavailable(_))), "{error:?}");
    std::mem::forget(place);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_connection_is_opened_anew() {
    let place = Place::postgres().await;
    let store = place.founded().await;
    let break_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    commit(store.as_ref(), 1, |_| {}).await;
    store.head().await.unwrap();
    place.execute(break_all).await.unwrap();
    assert_eq!(store.head().await.unwrap().next_position, 1);
    commit(store.as_ref(), 1, |_| {}).await;
    // Under way, it is not committed, and says so.
    let (transaction, head, _) = begin(store.as_ref()).await;
    place.execute(break_all).await.unwrap();
    let error = transaction.commit(&crate::samples::write(&head, 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_) | StoreError::CommitUnknown(_)), "{error:?}");
    commit(store.as_ref(), 1, |_| {}).await;
    assert_eq!(store.head().await.unwrap().next_position, 3);
}
