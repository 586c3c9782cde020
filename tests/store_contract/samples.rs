//! Events and rows to put in. The store doesn't look into them, so they need not make sense.

use keyledger::store::{Found, Head, Lookups, Store, StoredEvent, StoredSubject, Transaction, WriteSet};
use keyledger_events::{SubjectKind, Timestamp};
use keyledger_projections::{ColumnType, Row, RowKey, Table, Value};
use uuid::Uuid;

pub const NOW: Timestamp = Timestamp(1_750_000_000_123_456);

pub fn first_head() -> Head {
    Head { ledger_id: Uuid::from_u128(7), next_position: 0, recorded_at: Timestamp(0), tree_edge: Vec::new(), projections: "all=1".into() }
}

/// A stream has one event here: its number is the position.
pub fn event(position: i64) -> StoredEvent {
    StoredEvent {
        position,
        aggregate_type: "license".into(),
        aggregate_id: Uuid::from_u128(0xABCD_0000 + position as u128),
        sequence: 1,
        event_id: Uuid::from_u128(0x1_0000_0000 + position as u128),
        event_type: "LicenseCreated".into(),
        event_version: "1.0".into(),
        recorded_at: Timestamp(NOW.0 + position),
        // Neither the order nor the blanks nor the repeated name survive where JSON is parsed.
        payload: format!("{{\"b\":1,\"a\": \"\\u00e9 é\u{1F511}\",\"a\":{position}}}"),
        metadata: "{\"actor\":\"1\"}".into(),
        leaf_hash: [position as u8; 32],
    }
}

pub fn subject(kind: SubjectKind, number: i64) -> StoredSubject {
    let email_index = (kind == SubjectKind::Owner).then(|| vec![number as u8; 32]);
    StoredSubject { kind, number, id: Uuid::from_u128(number as u128 + 1000 * kind as u128), sealed_key: vec![0, 255, number as u8], email_index }
}

/// A row with a value in every column, different for each number.
pub fn row(table: Table, number: i64) -> Row {
    row_with(table, number, |_| None)
}

/// The same, but for the columns that have a value of their own.
pub fn row_with(table: Table, number: i64, own: impl Fn(&str) -> Option<Value>) -> Row {
    let values = table.columns().iter().enumerate().map(|(i, column)| {
        if let Some(value) = own(column.name) {
            return value;
        }
        match (column.name, column.ty) {
            ("id", ColumnType::Int) => Value::Int(1),
            ("number", _) if table == Table::Settings => Value::Int(1),
            ("status", _) if table == Table::License => "available".into(),
            ("status", _) => "active".into(),
            ("source", _) => "internal".into(),
            ("kind", _) if table == Table::Delivery => "assignment_job".into(),
            ("kind", _) => "ip".into(),
            ("method", _) => "chunk-system".into(),
            ("result", _) => "assigned".into(),
            ("state", _) => "pending".into(),
            ("paused", _) => "failing".into(),
            // These two follow from others.
            ("license_key_exists", _) => Value::Bool(own("license").is_none()),
            ("has_red_flags", _) => Value::Bool(true),
            (_, ColumnType::Int) => Value::Int(number),
            (_, ColumnType::Bool) => Value::Bool(false),
            (name, ColumnType::Text) => format!("{name}-{number}-é").into(),
            (_, ColumnType::Bytes) => vec![number as u8, 0].into(),
            (_, ColumnType::Time) => Timestamp(NOW.0 + number + i as i64).into(),
            (_, ColumnType::Uuid) => Uuid::from_u128(number as u128).into(),
        }
    });
    Row::read(table, values.collect()).unwrap()
}

/// A row of a table whose columns that may be empty are.
pub fn sparse_row(table: Table, number: i64) -> Row {
    let optional = [
        "assigned_at",
        "owner",
        "owner_name",
        "owner_email",
        "identifier",
        "deactivated_at",
        "key_pair",
        "slug",
        "domain",
        "release_date",
        "claimed_until",
        "key_replaced_at",
        "retired_at",
        "contract",
        "job",
        "webhook_url",
        "result",
        "available",
        "finished_at",
        "activation",
        "last_status",
        "last_error",
        "old_salt",
        "old_salt_until",
        "paused",
    ];
    row_with(table, number, |name| {
        // These are the key of a table, or always there, in others.
        let is_mandatory = matches!((table, name), (Table::ContractCount, "contract") | (Table::LicenseCount, "available"));
        let is_optional = !is_mandatory && optional.contains(&name)
            || table == Table::Telemetry && !["number", "id", "sequence", "created_at"].contains(&name) && !is_flag(name)
            || matches!(
                (table, name),
                (Table::Activation, "post_url")
                    | (Table::Block | Table::LicenseMeta, "value")
                    | (Table::KeyPair, "product")
                    | (Table::ApiKey, "expires_at")
                    | (Table::Delivery, "license")
                    | (Table::WebhookEndpoint, "license" | "product")
            );
        is_optional.then_some(Value::Null)
    })
}

fn is_flag(name: &str) -> bool {
    name.starts_with("is_") || name.starts_with("has_") || name.ends_with("_exists")
}

/// The row of each table with this number; the counters are one row.
pub fn key(table: Table, number: i64) -> RowKey {
    RowKey(table, if matches!(table, Table::Counters | Table::Settings) { 1 } else { number })
}

/// A write of events alone: so many, from the head's position on.
pub fn write(head: &Head, events: i64) -> WriteSet {
    let next_position = head.next_position + events;
    WriteSet {
        head: Head { next_position, recorded_at: Timestamp(NOW.0 + next_position), tree_edge: vec![next_position as u8; 32], ..head.clone() },
        events: (head.next_position..next_position).map(event).collect(),
        inserts: Vec::new(),
        updates: Vec::new(),
        deletes: Vec::new(),
        subjects: Vec::new(),
        forgotten: Vec::new(),
        requests: Vec::new(),
        api_key_secrets: Vec::new(),
        key_pair_secrets: Vec::new(),
        requests_expired_before: None,
    }
}

/// Takes the head lock.
pub async fn begin(store: &dyn Store) -> (Box<dyn Transaction>, Head, Found) {
    store.begin(&Lookups::default()).await.unwrap()
}

/// Commits events, and what else is filled in.
pub async fn commit(store: &dyn Store, events: i64, fill_in: impl FnOnce(&mut WriteSet)) {
    let (transaction, head, _) = begin(store).await;
    let mut write = write(&head, events);
    fill_in(&mut write);
    transaction.commit(&write).await.unwrap();
}

/// Rows as a batch would find them, in the order of their keys.
pub async fn found(store: &dyn Store, lookups: &Lookups) -> Vec<Row> {
    let (mut transaction, _, together) = store.begin(lookups).await.unwrap();
    let mut rows = transaction.load(lookups).await.unwrap().rows;
    rows.sort_by_key(Row::key);
    let mut with_the_lock = together.rows;
    with_the_lock.sort_by_key(Row::key);
    assert_eq!(rows, with_the_lock, "what is looked up with the lock is what is looked up under it");
    rows
}

pub async fn found_rows(store: &dyn Store, keys: &[RowKey]) -> Vec<Row> {
    found(store, &Lookups { rows: keys.to_vec(), ..Lookups::default() }).await
}
