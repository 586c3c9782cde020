//! Batches: locked, loaded, written, or nothing of it.

use std::{sync::Arc, time::Duration};

use keyledger::store::{ApiKeySecret, KeyPairSecret, Lookups, Store, StoreError, StoredRequest, StoredSubject};
use keyledger_events::{SubjectKind, Timestamp, block::BlockKind};
use keyledger_projections::{Row, RowKey, Table, Value};
use tokio::time::timeout;

use crate::{
    on_both_backends,
    place::{Place, connect, server_url},
    samples::{NOW, begin, commit, found, found_rows, key, row, row_with, sparse_row, subject, write},
};

on_both_backends!(
    the_head_lock_takes_turns,
    two_nodes_take_turns,
    a_dropped_transaction_leaves_no_trace,
    a_refused_batch_leaves_no_trace,
    rows_of_every_table_come_back,
    rows_are_found_by_what_else_identifies_them,
    the_first_of_a_product_and_of_a_contract_are_found,
    deleted_licenses_free_their_key,
    subjects_are_found,
    a_forgotten_subject_is_gone_and_its_number_free,
    requests_are_found_replaced_and_expire,
    secrets_are_kept,
    queries_take_and_give_every_type,
);

async fn the_head_lock_takes_turns(place: &Place) {
    let store: Arc<dyn Store> = place.founded().await.into();
    let (first, head, _) = begin(store.as_ref()).await;
    let other = Arc::clone(&store);
    let mut second = tokio::spawn(async move { begin(other.as_ref()).await });
    assert!(timeout(Duration::from_millis(300), &mut second).await.is_err(), "the lock was given twice");
    first.commit(&write(&head, 1)).await.unwrap();
    let (second, head, _) = second.await.unwrap();
    assert_eq!(head.next_position, 1, "whoever waited sees what was done");
    second.commit(&write(&head, 1)).await.unwrap();
    assert_eq!(store.head().await.unwrap().next_position, 2);
}

async fn two_nodes_take_turns(place: &Place) {
    place.founded().await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let store = place.open().await.unwrap();
        nodes.push(tokio::spawn(async move {
            for _ in 0..25 {
                commit(store.as_ref(), 2, |write| {
                    let row = row_with(Table::Counters, 1, |name| (name == "next_license").then_some(write.head.next_position.into()));
                    let is_first = write.head.next_position == 2;
                    *(if is_first { &mut write.inserts } else { &mut write.updates }) = vec![row];
                })
                .await;
            }
        }));
    }
    for node in nodes {
        node.await.unwrap();
    }
    let store = place.open().await.unwrap();
    assert_eq!(store.head().await.unwrap().next_position, 100);
    let positions: Vec<i64> = store.events(0, 1000).await.unwrap().iter().map(|event| event.position).collect();
    assert_eq!(positions, (0..100).collect::<Vec<_>>());
    let rows = store.query("SELECT next_license FROM counters", &[]).await.unwrap();
    assert_eq!(rows, [[Value::Int(100)]]);
}

async fn a_dropped_transaction_leaves_no_trace(place: &Place) {
    let store = place.founded().await;
    for _ in 0..5 {
        let (mut transaction, _, _) = begin(store.as_ref()).await;
        transaction.load(&Lookups { licenses: vec!["a".into()], ..Lookups::default() }).await.unwrap();
        drop(transaction);
    }
    commit(store.as_ref(), 1, |_| {}).await;
    assert_eq!(store.head().await.unwrap().next_position, 1);
}

async fn a_refused_batch_leaves_no_trace(place: &Place) {
    let store = place.founded().await;
    commit(store.as_ref(), 1, |write| write.inserts = vec![row(Table::License, 1)]).await;
    let (transaction, head, _) = begin(store.as_ref()).await;
    let mut refused = write(&head, 2);
    let twice = row_with(Table::License, 3, |name| (name == "license_key").then(|| "license_key-1-é".into()));
    refused.inserts = vec![row(Table::License, 2), twice];
    refused.subjects = vec![subject(SubjectKind::License, 2)];
    let error = transaction.commit(&refused).await.unwrap_err();
    let StoreError::Refused(text) = &error else { panic!("{error:?}") };
    assert!(!text.contains("license_key-1"), "values stay out of errors: {text}");
    assert_eq!(store.head().await.unwrap(), head);
    assert_eq!(store.events(1, 10).await.unwrap(), []);
    assert_eq!(found_rows(store.as_ref(), &[RowKey(Table::License, 2), RowKey(Table::License, 3)]).await, []);
    assert_eq!(store.subjects(&[subject(SubjectKind::License, 2).id]).await.unwrap(), []);
    commit(store.as_ref(), 1, |write| write.inserts = vec![row(Table::License, 2)]).await;
}

async fn rows_of_every_table_come_back(place: &Place) {
    let store = place.founded().await;
    for table in Table::ALL {
        let all = [row(*table, 1), sparse_row(*table, 2), row(*table, 300)];
        let all = if matches!(table, Table::Counters | Table::Settings) { &all[..1] } else { &all[..] };
        let keys: Vec<RowKey> = all.iter().map(Row::key).collect();
        assert_eq!(found_rows(store.as_ref(), &keys).await, [], "{}", table.name());
        commit(store.as_ref(), 1, |write| write.inserts = all.to_vec()).await;
        assert_eq!(found_rows(store.as_ref(), &keys).await, all, "{}", table.name());
        // Everything changes but the key; then nothing does.
        let changed = row_with(*table, 1, |name| match name {
            "epoch" | "sequence" | "next_license" | "available" => Some(77.into()),
            "license_key" | "meta_key" | "value" | "identifier" | "name" => Some("changed".into()),
            "product" if *table != Table::LicenseCount => Some(78.into()),
            _ => None,
        });
        for _ in 0..2 {
            commit(store.as_ref(), 1, |write| write.updates = vec![changed.clone()]).await;
            assert_eq!(found_rows(store.as_ref(), &keys[..1]).await, std::slice::from_ref(&changed), "{}", table.name());
        }
        commit(store.as_ref(), 1, |write| write.deletes = vec![key(*table, 1), key(*table, 9999)]).await;
        assert_eq!(found_rows(store.as_ref(), &keys).await, all[1..], "{}", table.name());
    }
}

async fn rows_are_found_by_what_else_identifies_them(place: &Place) {
    let store = place.founded().await;
    let tables = [Table::License, Table::Activation, Table::LicenseMeta, Table::Product, Table::ProductMeta, Table::Block, Table::Release];
    commit(store.as_ref(), 1, |write| {
        write.inserts = tables.iter().flat_map(|table| [row(*table, 1), row(*table, 2), sparse_row(*table, 3)]).collect()
    })
    .await;
    let name = |name: &str, number: i64| format!("{name}-{number}-é");
    let lookups = Lookups {
        licenses: vec![name("license_key", 2), name("license_key", 9)],
        activations: vec![(1, name("identifier", 1)), (1, name("identifier", 2)), (3, name("identifier", 3))],
        license_meta: vec![(1, name("meta_key", 1)), (2, name("meta_key", 1))],
        product_meta: vec![(2, name("meta_key", 2)), (9, name("meta_key", 2))],
        blocks: vec![(BlockKind::Ip, name("value", 1)), (BlockKind::Identifier, name("value", 2))],
        slugs: vec![name("slug", 2), name("slug", 9)],
        releases: vec![(1, 1), (2, 9), (9, 2)],
        release_versions: vec![(2, name("version", 2)), (2, name("version", 1))],
        rows: vec![RowKey(Table::License, 3), RowKey(Table::License, 99)],
        ..Lookups::default()
    };
    let mut expected = [
        row(Table::License, 2),
        sparse_row(Table::License, 3),
        row(Table::Activation, 1),
        row(Table::LicenseMeta, 1),
        row(Table::Product, 2),
        row(Table::ProductMeta, 2),
        row(Table::Block, 1),
        row(Table::Release, 1),
        row(Table::Release, 2),
    ];
    expected.sort_by_key(Row::key);
    assert_eq!(found(store.as_ref(), &lookups).await, expected);
    assert!(Lookups::default().is_empty());
    assert_eq!(found(store.as_ref(), &Lookups::default()).await, []);
}

async fn the_first_of_a_product_and_of_a_contract_are_found(place: &Place) {
    let store = place.founded().await;
    let license = |number: i64, product: i64, contract: Option<i64>, status: &'static str, deleted: bool| {
        row_with(Table::License, number, move |name| match name {
            "product" => Some(product.into()),
            "contract" => Some(contract.into()),
            "status" => Some(status.into()),
            "deleted" => Some(deleted.into()),
            _ => None,
        })
    };
    let generator = |number: i64, active: bool, deleted: bool| {
        row_with(Table::Generator, number, move |name| match name {
            "product" => Some(7.into()),
            "active" => Some(active.into()),
            "deleted" => Some(deleted.into()),
            _ => None,
        })
    };
    let contract = |number: i64, deleted: bool| {
        row_with(Table::Contract, number, move |name| match name {
            "contract_key" => Some("C".into()),
            "deleted" => Some(deleted.into()),
            _ => None,
        })
    };
    let licenses = [
        license(1, 7, None, "assigned", false),
        license(2, 7, Some(3), "available", false),
        license(3, 7, Some(3), "available", true),
        license(4, 8, Some(3), "available", false),
        license(5, 7, None, "available", false),
        license(6, 7, Some(3), "assigned", false),
        license(7, 7, None, "available", false),
    ];
    let generators = [generator(1, false, false), generator(2, true, true), generator(3, true, false), generator(4, true, false)];
    let contracts = [contract(1, true), contract(2, false)];
    commit(store.as_ref(), 1, |write| {
        write.inserts = licenses.iter().chain(&generators).chain(&contracts).cloned().collect();
    })
    .await;
    let available = |wanted: &[(i64, i64)]| Lookups { available: wanted.to_vec(), ..Lookups::default() };
    assert_eq!(found(store.as_ref(), &available(&[(7, 2)])).await, [licenses[1].clone(), licenses[4].clone()]);
    assert_eq!(found(store.as_ref(), &available(&[(7, 1), (8, 9), (9, 9)])).await, [licenses[1].clone(), licenses[3].clone()]);
    let of_contract = Lookups { contract_licenses: vec![(3, 2), (4, 2)], ..Lookups::default() };
    assert_eq!(found(store.as_ref(), &of_contract).await, [licenses[1].clone(), licenses[3].clone()]);
    let of_product = Lookups { generators: vec![7, 8], ..Lookups::default() };
    assert_eq!(found(store.as_ref(), &of_product).await, generators[2..]);
    let by_key = Lookups { contracts: vec!["C".into(), "D".into()], ..Lookups::default() };
    assert_eq!(found(store.as_ref(), &by_key).await, contracts[1..]);
}

async fn deleted_licenses_free_their_key(place: &Place) {
    let store = place.founded().await;
    let deleted = |number| {
        row_with(Table::License, number, |name| match name {
            "deleted" => Some(true.into()),
            "license_key" => Some("again".into()),
            _ => None,
        })
    };
    let live = |number| row_with(Table::License, number, |name| (name == "license_key").then(|| "again".into()));
    let again = Lookups { licenses: vec!["again".into()], ..Lookups::default() };
    commit(store.as_ref(), 1, |write| write.inserts = vec![live(1)]).await;
    assert_eq!(found(store.as_ref(), &again).await, [live(1)]);
    // Deleted and made again in one batch.
    commit(store.as_ref(), 1, |write| (write.updates, write.inserts) = (vec![deleted(1)], vec![live(2)])).await;
    assert_eq!(found(store.as_ref(), &again).await, [live(2)]);
    commit(store.as_ref(), 1, |write| write.updates = vec![deleted(2)]).await;
    assert_eq!(found(store.as_ref(), &again).await, []);
    // A row that goes makes room for another in the same batch.
    commit(store.as_ref(), 1, |write| write.inserts = vec![row(Table::Block, 1)]).await;
    let next = row_with(Table::Block, 2, |name| (name == "value").then(|| "value-1-é".into()));
    commit(store.as_ref(), 1, |write| {
        write.deletes = vec![RowKey(Table::Block, 1)];
        write.inserts = vec![next.clone()];
    })
    .await;
    let lookups = Lookups { blocks: vec![(BlockKind::Ip, "value-1-é".into())], ..Lookups::default() };
    assert_eq!(found(store.as_ref(), &lookups).await, [next]);
}

async fn subjects_are_found(place: &Place) {
    let store = place.founded().await;
    let kinds = [SubjectKind::Owner, SubjectKind::License, SubjectKind::Actor, SubjectKind::Block];
    let all: Vec<_> = kinds.iter().flat_map(|kind| [subject(*kind, 1), subject(*kind, 2)]).collect();
    commit(store.as_ref(), 1, |write| write.subjects = all.clone()).await;
    let (mut transaction, _, _) = begin(store.as_ref()).await;
    let lookups = Lookups {
        subjects: vec![(SubjectKind::Actor, 2), (SubjectKind::Block, 3)],
        owners_by_email: vec![subject(SubjectKind::Owner, 1).email_index.unwrap(), vec![9; 32]],
        ..Lookups::default()
    };
    let mut found = transaction.load(&lookups).await.unwrap().subjects;
    found.sort_by_key(|subject| subject.number);
    assert_eq!(found, [subject(SubjectKind::Owner, 1), subject(SubjectKind::Actor, 2)]);
    drop(transaction);
    let mut found = store.subjects(&[all[3].id, uuid::Uuid::from_u128(99), all[6].id]).await.unwrap();
    found.sort_by_key(|subject| subject.number);
    assert_eq!(found, [all[6].clone(), all[3].clone()]);
    assert_eq!(store.subjects(&[]).await.unwrap(), []);
}

async fn a_forgotten_subject_is_gone_and_its_number_free(place: &Place) {
    let store = place.founded().await;
    let (one, two) = (subject(SubjectKind::Owner, 1), subject(SubjectKind::Owner, 2));
    commit(store.as_ref(), 1, |write| write.subjects = vec![one.clone(), two.clone()]).await;
    commit(store.as_ref(), 1, |write| write.forgotten = vec![one.id]).await;
    assert_eq!(store.subjects(&[one.id, two.id]).await.unwrap(), std::slice::from_ref(&two));
    let another = StoredSubject { id: uuid::Uuid::from_u128(77), ..one.clone() };
    commit(store.as_ref(), 1, |write| write.subjects = vec![another.clone()]).await;
    assert_eq!(store.subjects(&[one.id, another.id]).await.unwrap(), [another]);
    // What is left of the first one goes, and nothing else.
    store.vacuum().await.unwrap();
    assert_eq!(store.subjects(&[two.id]).await.unwrap(), [two]);
    assert_eq!(store.head().await.unwrap().next_position, 3);
}

/// Whose transaction began before a row was deleted may see it still, in whichever database that is: until then the row stays in the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vacuum_waits_for_whoever_may_see_what_was_deleted() {
    let place = Place::postgres().await;
    let store = place.founded().await;
    let one = subject(SubjectKind::Owner, 1);
    commit(store.as_ref(), 1, |write| write.subjects = vec![one.clone()]).await;
    let elsewhere = connect(&server_url()).await;
    elsewhere.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    commit(store.as_ref(), 1, |write| write.forgotten = vec![one.id]).await;
    let Place::Postgres { url, .. } = &place else { unreachable!() };
    let reader = connect(url).await;
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM events").await.unwrap();
    let mut vacuum = std::pin::pin!(store.vacuum());
    for open in [elsewhere, reader] {
        assert!(timeout(Duration::from_secs(2), &mut vacuum).await.is_err(), "it waits");
        open.batch_execute("COMMIT").await.unwrap();
    }
    vacuum.await.unwrap();
    assert_eq!(store.subjects(&[one.id]).await.unwrap(), []);
}

async fn requests_are_found_replaced_and_expire(place: &Place) {
    let store = place.founded().await;
    let request = |id: i64, expires_at: i64| StoredRequest {
        id: id.to_be_bytes().to_vec(),
        parameters: vec![1, 2],
        outcome: "{\"a\": \"é\"}".into(),
        expires_at: Timestamp(NOW.0 + expires_at),
    };
    let load = async |ids: &[i64]| {
        let (mut transaction, _, _) = begin(store.as_ref()).await;
        let requests = ids.iter().map(|id| id.to_be_bytes().to_vec()).collect();
        let mut found = transaction.load(&Lookups { requests, ..Lookups::default() }).await.unwrap().requests;
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    };
    commit(store.as_ref(), 1, |write| write.requests = (0..1200).map(|id| request(id, id)).collect()).await;
    assert_eq!(load(&[3, 1199, 5000]).await, [request(3, 3), request(1199, 1199)]);
    commit(store.as_ref(), 0, |write| write.requests = vec![request(3, 9000)]).await;
    assert_eq!(load(&[3]).await, [request(3, 9000)]);
    // Those that expired first go first, at most 1,000 at a time; record 3 has a later end now.
    let expire = |before: i64| commit(store.as_ref(), 0, move |write| write.requests_expired_before = Some(Timestamp(NOW.0 + before)));
    expire(1100).await;
    assert_eq!(load(&[0, 3, 1000, 1001, 1099, 1100]).await, [request(3, 9000), request(1001, 1001), request(1099, 1099), request(1100, 1100)]);
    expire(1100).await;
    assert_eq!(load(&[3, 1001, 1099, 1100]).await, [request(3, 9000), request(1100, 1100)]);
}

async fn secrets_are_kept(place: &Place) {
    let store = place.founded().await;
    assert_eq!(store.sealed_secret().await.unwrap().as_deref(), Some(&b"sealed"[..]));
    commit(store.as_ref(), 1, |write| {
        write.api_key_secrets = vec![ApiKeySecret { hmac: vec![1], api_key: 1 }, ApiKeySecret { hmac: vec![2], api_key: 2 }];
        write.key_pair_secrets = vec![KeyPairSecret { key_pair: 1, sealed: vec![0, 9] }];
    })
    .await;
    commit(store.as_ref(), 1, |write| write.api_key_secrets = vec![ApiKeySecret { hmac: vec![2], api_key: 3 }]).await;
    let keys = store.query("SELECT api_key FROM api_key_secret WHERE hmac = $1", &[vec![2].into()]).await.unwrap();
    assert_eq!(keys, [[Value::Int(3)]]);
    let sealed = store.query("SELECT sealed FROM key_pair_secret WHERE key_pair = $1", &[1.into()]).await.unwrap();
    assert_eq!(sealed, [[Value::Bytes(vec![0, 9])]]);
}

async fn queries_take_and_give_every_type(place: &Place) {
    let store = place.founded().await;
    let license = row(Table::License, 1);
    commit(store.as_ref(), 1, |write| write.inserts = vec![license.clone(), sparse_row(Table::License, 2)]).await;
    let columns = Table::License.columns().iter().map(|column| column.name).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT {columns} FROM license WHERE id = $1 AND license_key = $2 AND created_at = $3 AND deleted = $4 AND number < $5 \
         AND owner_name = $6 ORDER BY number LIMIT $7"
    );
    let Row::License(values) = &license else { unreachable!() };
    let parameters: [Value; 7] = [
        values.id.into(),
        values.license.key.as_str().into(),
        values.created_at.into(),
        false.into(),
        2.into(),
        values.license.owner_name.clone().into(),
        10.into(),
    ];
    let sql: &'static str = sql.leak();
    for _ in 0..8 {
        let rows = store.query(sql, &parameters).await.unwrap();
        let rows: Vec<Row> = rows.into_iter().map(|values| Row::read(Table::License, values).unwrap()).collect();
        assert_eq!(rows, std::slice::from_ref(&license));
    }
    let unknown = store.query("SELECT owner FROM license WHERE owner_name = $1", &[Value::Null]).await.unwrap();
    assert_eq!(unknown, Vec::<Vec<Value>>::new());
    let empty = store.query("SELECT owner FROM license WHERE number = $1", &[2.into()]).await.unwrap();
    assert_eq!(empty, [[Value::Null]]);
    let counted = store.query("SELECT count(*) FROM license WHERE NOT deleted", &[]).await.unwrap();
    assert_eq!(counted, [[Value::Int(2)]]);
    assert!(store.query("SELECT nothing FROM nowhere", &[]).await.is_err());
}
