//! Streams: one read by its sequences, those of a type one after the other, and the licenses that had a key once.

use keyledger::store::{STREAM, STREAMS, Store, StoredEvent};
use keyledger_projections::Value;
use uuid::Uuid;

use crate::{
    on_both_backends,
    place::Place,
    samples::{commit, event},
};

on_both_backends!(
    a_stream_is_read_from_a_sequence_on,
    streams_of_a_type_are_read_one_after_the_other,
    a_license_is_found_by_a_key_that_it_had,
    streams_are_found_by_their_index,
);

fn stream(number: u128) -> Uuid {
    Uuid::from_u128(0xABCD_0000 + number)
}

/// Appends one event of a stream.
async fn append(store: &dyn Store, aggregate_type: &str, stream: Uuid, sequence: i64, change: impl FnOnce(&mut StoredEvent)) -> StoredEvent {
    let mut appended = None;
    commit(store, 1, |write| {
        let event = &mut write.events[0];
        event.aggregate_type = aggregate_type.to_owned();
        event.aggregate_id = stream;
        event.sequence = sequence;
        change(event);
        appended = Some(event.clone());
    })
    .await;
    appended.unwrap()
}

async fn a_stream_is_read_from_a_sequence_on(place: &Place) {
    let store = place.founded().await;
    let mut expected = Vec::new();
    for sequence in 1..=3 {
        expected.push(append(store.as_ref(), "license", stream(1), sequence, |_| {}).await);
        append(store.as_ref(), "license", stream(2), sequence, |_| {}).await;
        // The same id under another type is another stream.
        append(store.as_ref(), "product", stream(1), sequence, |_| {}).await;
    }
    assert_eq!(store.stream("license", stream(1), 1, 100).await.unwrap(), expected);
    assert_eq!(store.stream("license", stream(1), 2, 1).await.unwrap(), expected[1..2]);
    assert_eq!(store.stream("license", stream(1), 4, 100).await.unwrap(), []);
    assert_eq!(store.stream("license", stream(3), 1, 100).await.unwrap(), []);
    assert_eq!(store.stream("licens", stream(1), 1, 100).await.unwrap(), []);
}

async fn streams_of_a_type_are_read_one_after_the_other(place: &Place) {
    let store = place.founded().await;
    let mut expected = Vec::new();
    for sequence in 1..=2 {
        for of in [3, 1, 2] {
            expected.push(append(store.as_ref(), "block", stream(of), sequence, |_| {}).await);
            append(store.as_ref(), "license", stream(of), sequence, |_| {}).await;
        }
    }
    expected.sort_by_key(|event| (event.aggregate_id, event.sequence));
    let (mut after, mut found) = ((Uuid::nil(), 0), Vec::new());
    loop {
        let page = store.streams("block", after, 4).await.unwrap();
        let Some(last) = page.last() else { break };
        after = (last.aggregate_id, last.sequence);
        found.extend(page);
    }
    assert_eq!(found, expected);
    assert_eq!(store.streams("settings", (Uuid::nil(), 0), 10).await.unwrap(), []);
}

async fn a_license_is_found_by_a_key_that_it_had(place: &Place) {
    let store = place.founded().await;
    let replaced = |from: &str| {
        let payload = serde_json::json!({ "LicenseKeyReplaced": { "from": from, "key": "K-new" } }).to_string();
        move |event: &mut StoredEvent| {
            event.event_type = "LicenseKeyReplaced".to_owned();
            event.payload = payload;
        }
    };
    append(store.as_ref(), "license", stream(2), 1, replaced("K-é\"1")).await;
    append(store.as_ref(), "license", stream(2), 2, replaced("K-2")).await;
    append(store.as_ref(), "license", stream(2), 3, replaced("K-2")).await;
    append(store.as_ref(), "license", stream(1), 1, replaced("K-2")).await;
    // One of another type says nothing of keys.
    append(store.as_ref(), "license", stream(3), 1, |event| event.payload = r#"{"LicenseKeyReplaced":{"from":"K-2"}}"#.to_owned()).await;
    assert_eq!(store.licenses_before_replacement("K-é\"1", 10).await.unwrap(), [stream(2)]);
    assert_eq!(store.licenses_before_replacement("K-2", 10).await.unwrap(), [stream(1), stream(2)]);
    assert_eq!(store.licenses_before_replacement("K-2", 1).await.unwrap(), [stream(1)]);
    assert!(store.licenses_before_replacement("K-new", 10).await.unwrap().is_empty());
}

/// However many events of others there are: nothing but the stream's own are looked at.
async fn streams_are_found_by_their_index(place: &Place) {
    let store = place.founded().await;
    commit(store.as_ref(), 2_000, |_| {}).await;
    append(store.as_ref(), "block", stream(9_000), 1, |_| {}).await;
    let id = match place {
        Place::Sqlite(_) => Value::Uuid(event(7).aggregate_id),
        Place::Postgres { .. } => Value::Text(event(7).aggregate_id.to_string()),
    };
    let (explain, index) = match place {
        Place::Sqlite(_) => ("EXPLAIN QUERY PLAN", "events_by_stream"),
        Place::Postgres { .. } => {
            place.execute("ANALYZE events").await.unwrap();
            ("EXPLAIN", "events_pkey")
        }
    };
    for condition in [STREAM, STREAMS] {
        let sql: &'static str = format!("{explain} SELECT * FROM events WHERE {condition}").leak();
        let plan = store.query(sql, &["license".into(), id.clone(), Value::Int(1), Value::Int(10)]).await.unwrap();
        let plan = format!("{plan:?}");
        assert!(plan.contains(index) && !plan.contains("Seq Scan") && !plan.contains("SCAN events"), "{plan}");
        assert!(!plan.to_lowercase().contains("sort") && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}
