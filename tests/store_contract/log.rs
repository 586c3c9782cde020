//! The log: it is read as it was written, and nothing but appending is possible.

use keyledger::store::{Portion, Store, StoreError, WriteSet};
use keyledger_events::{SubjectKind, Timestamp};
use uuid::Uuid;

use crate::{
    on_both_backends,
    place::Place,
    samples::{NOW, begin, commit, event, first_head, subject, write},
};

on_both_backends!(
    events_are_read_as_they_were_written,
    a_portion_is_bounded_in_events_and_bytes,
    the_head_is_read_as_it_was_written,
    the_log_cannot_be_changed,
    a_position_that_is_not_the_next_is_refused,
    a_sequence_that_exists_is_refused,
    times_at_the_ends_of_their_range_are_kept,
    a_snapshot_stands_still,
);

async fn events_are_read_as_they_were_written(place: &Place) {
    let store = place.founded().await;
    commit(store.as_ref(), 3, |_| {}).await;
    commit(store.as_ref(), 2, |_| {}).await;
    let all: Vec<_> = (0..5).map(event).collect();
    assert_eq!(store.events(0, 100).await.unwrap(), all);
    assert_eq!(store.events(2, 2).await.unwrap(), all[2..4]);
    assert_eq!(store.events(5, 10).await.unwrap(), []);
    assert_eq!(place.open().await.unwrap().events(0, 100).await.unwrap(), all);
}

async fn a_portion_is_bounded_in_events_and_bytes(place: &Place) {
    let store = place.founded().await;
    commit(store.as_ref(), 5, |_| {}).await;
    let all: Vec<_> = (0..5).map(event).collect();
    let two = all[0].bytes() + all[1].bytes();
    // On PostgreSQL whoever counts the bytes depends on what was read before.
    for (from, events, bytes, expected) in [
        (0, 3, usize::MAX, 0..3),
        (0, 9, two, 0..2),
        (0, 9, two - 1, 0..2),
        (0, 9, two + 1, 0..3),
        (1, 9, 1, 1..2),
        (3, 9, usize::MAX, 3..5),
        (0, 9, 0, 0..0),
    ] {
        assert_eq!(store.portion(from, Portion { events, bytes }).await.unwrap(), all[expected], "{from} {events} {bytes}");
    }
    // Nothing is left behind that the next one would read.
    assert_eq!(store.events(0, 9).await.unwrap(), all);
}

async fn the_head_is_read_as_it_was_written(place: &Place) {
    let store = place.founded().await;
    assert_eq!(store.head().await.unwrap(), first_head());
    let written = write(&first_head(), 2).head;
    commit(store.as_ref(), 2, |_| {}).await;
    assert_eq!(store.head().await.unwrap(), written);
    let (_transaction, head, _) = begin(store.as_ref()).await;
    assert_eq!(head, written);
}

async fn the_log_cannot_be_changed(place: &Place) {
    let store = place.founded().await;
    commit(store.as_ref(), 3, |_| {}).await;
    let columns = "position, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version, recorded_at, payload, metadata, leaf_hash";
    let copy = |position: &str, sequence: &str| {
        let values = columns.replace("position", position).replace("sequence", sequence);
        format!("({columns}) SELECT {values} FROM events WHERE position = 1")
    };
    let mut changes = vec![
        "UPDATE events SET event_type = 'other'".to_owned(),
        "UPDATE events SET payload = payload WHERE position = 1".to_owned(),
        "DELETE FROM events WHERE position = 2".to_owned(),
        "DELETE FROM events".to_owned(),
        format!("INSERT INTO events {}", copy("7", "2")),
        format!("INSERT INTO events {}", copy("-1", "2")),
        format!("INSERT INTO events {}", copy("1", "2")),
        format!("INSERT INTO events {}", copy("3", "1")),
        "UPDATE head SET next_position = 2".to_owned(),
        "DELETE FROM head".to_owned(),
    ];
    match place {
        Place::Sqlite(_) => {
            // Also on a connection without the settings that the store makes.
            let replace = |position, sequence| format!("PRAGMA recursive_triggers = OFF; INSERT OR REPLACE INTO events {}", copy(position, sequence));
            changes.extend([replace("1", "1"), replace("1", "9"), replace("3", "1")]);
            changes.push(format!("REPLACE INTO events {}", copy("0", "1")));
            changes.push("UPDATE head SET ledger_id = zeroblob(16)".to_owned());
            changes.push("INSERT OR REPLACE INTO head SELECT id, ledger_id, 0, recorded_at, tree_edge, projections FROM head".to_owned());
        }
        Place::Postgres { .. } => {
            changes.push("TRUNCATE events".to_owned());
            changes.push("TRUNCATE head".to_owned());
            changes.push("SET session_replication_role = replica; DELETE FROM events".to_owned());
            changes.push("UPDATE head SET ledger_id = gen_random_uuid()".to_owned());
            let upsert = copy("1", "1");
            changes.push(format!("INSERT INTO events {upsert} ON CONFLICT (position) DO UPDATE SET event_type = 'other'"));
        }
    }
    for sql in changes {
        let error = place.execute(&sql).await.expect_err(&sql);
        assert!(error.contains("append-only") || error.contains("unique") || error.contains("head"), "{sql}: {error}");
        assert_eq!(store.events(0, 10).await.unwrap(), (0..3).map(event).collect::<Vec<_>>(), "{sql}");
        assert_eq!(store.head().await.unwrap().next_position, 3, "{sql}");
    }
    commit(store.as_ref(), 1, |_| {}).await;
}

async fn refuse(store: &dyn Store, spoil: impl FnOnce(&mut WriteSet)) {
    let before = (store.head().await.unwrap(), store.events(0, 100).await.unwrap());
    let (transaction, head, _) = begin(store).await;
    let mut write = write(&head, 2);
    spoil(&mut write);
    let error = transaction.commit(&write).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    assert_eq!((store.head().await.unwrap(), store.events(0, 100).await.unwrap()), before);
}

async fn a_position_that_is_not_the_next_is_refused(place: &Place) {
    let store = place.founded().await;
    commit(store.as_ref(), 2, |_| {}).await;
    refuse(store.as_ref(), |write| write.events[0].position = 9).await;
    refuse(store.as_ref(), |write| write.events[1].position = 9).await;
    refuse(store.as_ref(), |write| write.events.iter_mut().for_each(|event| event.position += 1)).await;
    refuse(store.as_ref(), |write| write.events.iter_mut().for_each(|event| event.position -= 1)).await;
    refuse(store.as_ref(), |write| write.head.next_position = 1).await;
    refuse(store.as_ref(), |write| write.head.ledger_id = Uuid::from_u128(8)).await;
}

async fn a_sequence_that_exists_is_refused(place: &Place) {
    let store = place.founded().await;
    commit(store.as_ref(), 2, |_| {}).await;
    refuse(store.as_ref(), |write| write.events[0].aggregate_id = event(0).aggregate_id).await;
    refuse(store.as_ref(), |write| write.events[1].aggregate_id = write.events[0].aggregate_id).await;
    commit(store.as_ref(), 1, |write| {
        write.events[0].aggregate_id = event(0).aggregate_id;
        write.events[0].sequence = 2;
    })
    .await;
}

async fn times_at_the_ends_of_their_range_are_kept(place: &Place) {
    let store = place.founded().await;
    let last = Timestamp(253_402_300_799_999_999);
    commit(store.as_ref(), 2, |write| {
        write.events[0].recorded_at = Timestamp(0);
        write.events[1].recorded_at = last;
        write.head.recorded_at = last;
    })
    .await;
    let times: Vec<_> = store.events(0, 2).await.unwrap().iter().map(|event| event.recorded_at).collect();
    assert_eq!(times, [Timestamp(0), last]);
    assert_eq!(store.head().await.unwrap().recorded_at, last);
}

async fn a_snapshot_stands_still(place: &Place) {
    use keyledger_projections::Table;

    use crate::samples::row;
    let store = place.founded().await;
    commit(store.as_ref(), 3, |write| {
        write.inserts = (1..=5).map(|number| row(Table::License, number)).collect();
        write.subjects = vec![subject(SubjectKind::License, 1)];
    })
    .await;
    let mut snapshot = store.snapshot().await.unwrap();
    commit(store.as_ref(), 2, |write| {
        write.inserts = vec![row(Table::License, 6)];
        write.deletes = vec![keyledger_projections::RowKey(Table::License, 1)];
        write.subjects = vec![subject(SubjectKind::License, 2)];
    })
    .await;
    assert_eq!(snapshot.head().await.unwrap().next_position, 3);
    assert_eq!(snapshot.head().await.unwrap().recorded_at, Timestamp(NOW.0 + 3));
    assert_eq!(snapshot.events(1, 100).await.unwrap(), [event(1), event(2)]);
    let ids = [subject(SubjectKind::License, 1).id, subject(SubjectKind::License, 2).id];
    assert_eq!(snapshot.subjects(&ids).await.unwrap(), [subject(SubjectKind::License, 1)]);
    assert_eq!(snapshot.rows(Table::License, 0, 2).await.unwrap(), [row(Table::License, 1), row(Table::License, 2)]);
    let rest: Vec<_> = (3..=5).map(|number| row(Table::License, number)).collect();
    assert_eq!(snapshot.rows(Table::License, 3, 100).await.unwrap(), rest);
    assert_eq!(store.events(0, 100).await.unwrap().len(), 5);
}
