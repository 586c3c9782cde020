//! Whoever uses cqrs-es and postgres-es can read this ledger: every stream that a real server wrote is loaded through the
//! stock event repository, and is what the table holds and what the projections say.

mod support;

use std::collections::BTreeMap;

use cqrs_es::{
    Aggregate, AggregateContext, EventStore,
    persist::{PersistedEventRepository, PersistedEventStore, SerializedEvent},
};
use keyledger_compat::{Database, server_url};
use keyledger_events::{
    Event,
    api_key::ApiKey,
    block::Block,
    envelope::canonical_json,
    key_pair::KeyPair,
    ledger::Ledger,
    license::{LicenseAggregate, Status},
    product::ProductAggregate,
    telemetry::Telemetry,
    upcast::upcasters,
};
use postgres_es::PostgresEventRepository;
use sqlx::{PgPool, Row, postgres::PgRow};
use support::Server;

#[tokio::test]
async fn every_stream_loads_through_the_stock_event_repository() {
    let database = Database::create(&server_url()).await.expect("a database can be made");
    let server = Server::start(&database.url);
    let product = live(&server).await;

    let pool = PgPool::connect(&database.url).await.expect("the ledger's database can be reached");
    let rows = sqlx::query("SELECT DISTINCT aggregate_type, aggregate_id FROM events ORDER BY 1, 2").fetch_all(&pool).await.unwrap();
    let mut streams: BTreeMap<String, usize> = BTreeMap::new();
    let mut events = 0;
    for row in rows {
        let (kind, id): (String, String) = (row.get(0), row.get(1));
        events += check_stream(&pool, &kind, &id).await;
        *streams.entry(kind).or_default() += 1;
    }
    let total: i64 = sqlx::query("SELECT next_position FROM head").fetch_one(&pool).await.unwrap().get(0);
    assert_eq!(events as i64, total, "events of all streams together");
    let expected = [("api_key", 2), ("block", 1), ("key_pair", 2), ("ledger", 1), ("license", 5), ("product", 2), ("telemetry", 1)];
    assert_eq!(streams, expected.map(|(kind, count)| (kind.to_owned(), count)).into(), "streams by aggregate");
    assert_eq!(license(&pool, "COMPAT-ACTIVE").await.status, Status::Assigned);
    assert_eq!(license(&pool, "COMPAT-ACTIVE").await.active, [2, 1], "one of its two activations was ended");
    assert_eq!(license(&pool, "COMPAT-BLOCKED").await.status, Status::Blocked);
    assert!(license(&pool, "COMPAT-DELETED").await.deleted);
    assert_eq!(license(&pool, "COMPAT-AGAIN").await.active, [2, 0], "made available again, its activations are there but don't count");
    assert!(product > 0);

    drop(server);
    pool.close().await;
    database.drop_now().await.expect("the database can be removed");
}

/// Something of everything that can happen.
async fn live(server: &Server) -> i64 {
    let product = server
        .form("create-product", &[("name", "Compat é/\"1\""), ("description", "line 1\nline 2"), ("source", "internal"), ("status", "active")], 750)
        .await["product_id"]
        .as_i64()
        .expect("a product's number");
    let number = product.to_string();
    let id = ("product_id", number.as_str());
    server.form("create-product-meta", &[id, ("key", "colour"), ("value", "blue")], 273).await;
    server.form("update-product-meta", &[id, ("key", "colour"), ("value", "red/\u{1f511}")], 373).await;
    server.form("update-product", &[id, ("description", "changed")], 650).await;
    let keys = r#"["COMPAT-ACTIVE","COMPAT-BLOCKED","COMPAT-DELETED","COMPAT-AGAIN","COMPAT-IDLE"]"#;
    let limits = [("activation_limit", "2"), ("validity", "30")];
    server.form("create-license-keys", &[id, ("license_keys", keys), ("status", "available"), limits[0], limits[1]], 900).await;

    let active = ("license_key", "COMPAT-ACTIVE");
    let owner = [("owner_name", "Jane Doe"), ("owner_email", "jane@shop.example")];
    server.form("assign-license-key", &[active, owner[0], ("email", "jane@shop.example")], 800).await;
    server.form("activate", &[active, ("identifier", "a.example")], 300).await;
    server.form("activate", &[active, ("identifier", "b.example")], 300).await;
    server.form("activate", &[active, ("identifier", "c.example")], 302).await;
    server.form("deactivate", &[active, ("identifier", "a.example")], 400).await;
    let meta = [("identifier", "b.example"), ("key", "plan"), ("value", "gold")];
    server.form("create-license-key-meta", &[active, meta[0], meta[1], meta[2]], 453).await;
    server.form("update-license-key-meta", &[active, meta[0], meta[1], ("value", "silver")], 353).await;
    server.form("delete-license-key-meta", &[active, meta[0], meta[1]], 252).await;
    server.form("update-license-key", &[active, ("activation_limit", "5"), ("validity", "0"), ("owner_name", "Jane Roe")], 950).await;

    let blocked = ("license_key", "COMPAT-BLOCKED");
    server.form("assign-and-activate-license-key", &[blocked, owner[0], owner[1], ("identifier", "d.example")], 300).await;
    server.form("update-license-key", &[blocked, ("status", "blocked")], 950).await;
    server.form("verify", &[blocked, ("identifier", "d.example")], 204).await;

    server.form("delete-license-key", &[("license_key", "COMPAT-DELETED")], 850).await;

    let again = ("license_key", "COMPAT-AGAIN");
    server.form("assign-and-activate-license-key", &[again, owner[0], owner[1], ("identifier", "e.example")], 300).await;
    server.form("update-license-key", &[again, ("status", "available")], 950).await;
    server.form("assign-license-key", &[again], 800).await;
    server.form("activate", &[again, ("identifier", "f.example")], 300).await;
    server.form("update-license-key", &[again, ("status", "available")], 950).await;

    let report = [("data_type", "text"), ("text_data", "started"), ("data_group", "starts"), active, id];
    server.form("send-telemetry-data", &report, 831).await;

    // A product without a key pair of its own, which goes again.
    let other = server.form("create-product", &[("name", "Other"), ("description", "short-lived"), ("own_key_pair", "0")], 750).await;
    server.form("delete-product", &[("product_id", &other["product_id"].to_string())], 550).await;
    server.run(&["api-key", "create", "--name", "compat", "--capability", "verify", "--allow-ip", "10.0.0.0/8"]);
    server.run(&["block", "add", "--identifier", "thief.example"]);
    server.run(&["block", "remove", "--identifier", "thief.example"]);
    product
}

async fn check_stream(pool: &PgPool, kind: &str, id: &str) -> usize {
    match kind {
        LicenseAggregate::TYPE => {
            let (count, license) = load::<LicenseAggregate>(pool, id, Event::License).await;
            check_license(pool, id, &license).await;
            count
        }
        ProductAggregate::TYPE => {
            let (count, product) = load::<ProductAggregate>(pool, id, Event::Product).await;
            check_product(pool, id, &product).await;
            count
        }
        ApiKey::TYPE => {
            let (count, key) = load::<ApiKey>(pool, id, Event::ApiKey).await;
            let row = row_of(pool, "SELECT number, name, capabilities, disabled FROM api_key WHERE id = $1::uuid", id).await.expect("a row");
            assert_eq!((key.number, key.name, key.disabled), (row.get(0), row.get(1), row.get(3)), "API key {id}");
            assert!(key.capabilities.iter().all(|capability| row.get::<String, _>(2).contains(capability)));
            count
        }
        KeyPair::TYPE => {
            let (count, pair) = load::<KeyPair>(pool, id, Event::KeyPair).await;
            let row = row_of(pool, "SELECT number, product, public_key FROM key_pair WHERE id = $1::uuid", id).await.expect("a row");
            assert_eq!((pair.number, pair.product, pair.public_key), (row.get(0), row.get(1), row.get(2)), "key pair {id}");
            count
        }
        Block::TYPE => {
            let (count, _) = load::<Block>(pool, id, Event::Block).await;
            assert!(row_of(pool, "SELECT number FROM block WHERE id = $1::uuid", id).await.is_none(), "a removed entry has no row");
            count
        }
        Telemetry::TYPE => {
            let (count, record) = load::<Telemetry>(pool, id, Event::Telemetry).await;
            let row = row_of(pool, "SELECT number, license, data_group, has_red_flags FROM telemetry WHERE id = $1::uuid", id).await.expect("a row");
            assert_eq!((record.number, record.license, record.data_group.as_deref()), (row.get(0), row.get(1), row.get(2)), "record {id}");
            assert_eq!(record.has_red_flags(), row.get::<bool, _>(3));
            count
        }
        Ledger::TYPE => {
            let (count, ledger) = load::<Ledger>(pool, id, Event::Ledger).await;
            assert_eq!(ledger.ledger_id.map(|id| id.to_string()).as_deref(), Some(id), "the ledger's own stream");
            count
        }
        other => panic!("no aggregate of type {other} is known here"),
    }
}

/// A stream, through the stock repository and store; held against the table read directly and against our own reader.
async fn load<A>(pool: &PgPool, id: &str, of_ours: fn(A::Event) -> Event) -> (usize, A)
where
    A: Aggregate + PartialEq + std::fmt::Debug,
{
    let sql = "SELECT sequence, event_type, event_version, payload::text, metadata::text FROM events \
               WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence";
    let stored = sqlx::query(sql).bind(A::TYPE).bind(id).fetch_all(pool).await.expect("the events can be read");
    let direct: Vec<SerializedEvent> = stored.iter().map(|row| serialized::<A>(id, row)).collect();
    let loaded = PostgresEventRepository::new(pool.clone()).get_events::<A>(id).await.expect("the stock repository reads the stream");
    assert_eq!(loaded, direct, "{} {id}", A::TYPE);
    assert!(loaded.iter().map(|event| event.sequence).eq(1..=loaded.len()), "sequences count from 1: {loaded:?}");

    let store = PersistedEventStore::<_, A>::new_event_store(PostgresEventRepository::new(pool.clone())).with_upcasters(upcasters());
    let envelopes = store.load_events(id).await.expect("the stock store deserializes the stream");
    let mut folded = A::default();
    for (envelope, row) in envelopes.into_iter().zip(&stored) {
        let text: String = row.get(3);
        assert_eq!(canonical_json(&envelope.payload).expect("JSON"), text, "the stored payload is what the event is written as");
        assert_eq!(canonical_json(&envelope.metadata).expect("JSON"), row.get::<String, _>(4), "the stored metadata");
        let ours = Event::decode(A::TYPE, row.get(1), row.get(2), &text).expect("our reader decodes it");
        assert_eq!(of_ours(envelope.payload.clone()), ours, "{} {id}, event {}", A::TYPE, envelope.sequence);
        folded.apply(envelope.payload);
    }
    let mut context = store.load_aggregate(id).await.expect("the stock store folds the stream");
    assert_eq!(*context.aggregate(), folded, "{} {id}", A::TYPE);
    (stored.len(), folded)
}

fn serialized<A: Aggregate>(id: &str, row: &PgRow) -> SerializedEvent {
    let json = |column: usize| serde_json::from_str(row.get::<&str, _>(column)).expect("stored JSON");
    let sequence = usize::try_from(row.get::<i64, _>(0)).expect("a sequence");
    SerializedEvent::new(id.to_owned(), sequence, A::TYPE.to_owned(), row.get(1), row.get(2), json(3), json(4))
}

async fn row_of(pool: &PgPool, sql: &str, id: &str) -> Option<PgRow> {
    sqlx::query(sql).bind(id).fetch_optional(pool).await.expect("a row can be read")
}

async fn rows_of(pool: &PgPool, sql: &str, number: i64) -> Vec<PgRow> {
    sqlx::query(sql).bind(number).fetch_all(pool).await.expect("rows can be read")
}

/// The aggregate folded by the framework says what the projections' rows say; names and addresses are sealed in the log,
/// so the framework does not see them.
async fn check_license(pool: &PgPool, id: &str, aggregate: &LicenseAggregate) {
    let license = aggregate.license.as_ref().expect("a license's stream begins with its creation");
    let sql = "SELECT number, license_key, product, status, activation_limit, validity_days, \
               (extract(epoch FROM assigned_at) * 1000000)::bigint, owner, active_count, epoch, deleted \
               FROM license WHERE id = $1::uuid";
    let row = row_of(pool, sql, id).await.expect("a license keeps its row");
    assert_eq!((license.number, license.key.as_str(), license.product), (row.get(0), row.get(1), row.get(2)));
    assert_eq!((license.status.as_str(), license.activation_limit, license.validity_days), (row.get(3), row.get(4), row.get(5)));
    assert_eq!((license.assigned_at.map(|at| at.0), license.owner), (row.get(6), row.get(7)), "{}", license.key);
    assert_eq!((license.active_count, license.epoch, license.deleted), (row.get(8), row.get(9), row.get(10)), "{}", license.key);

    let rows = rows_of(pool, "SELECT number, active, epoch FROM activation WHERE license = $1 ORDER BY number", license.number).await;
    let projected: Vec<(i64, bool, i64)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let folded: Vec<(i64, bool, i64)> = aggregate.activations.values().map(|row| (row.number, row.active, row.epoch)).collect();
    assert_eq!(folded, projected, "activations of {}", license.key);
    let counted = aggregate.activations.values().filter(|activation| license.is_active(activation)).count();
    assert_eq!(counted as i64, license.active_count, "active count of {}", license.key);

    let rows = rows_of(pool, "SELECT number, meta_key FROM license_meta WHERE license = $1 ORDER BY number", license.number).await;
    let projected: Vec<(i64, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let folded: Vec<(i64, String)> = aggregate.meta.values().map(|row| (row.number, row.key.clone())).collect();
    assert_eq!(folded, projected, "meta entries of {}", license.key);
}

async fn check_product(pool: &PgPool, id: &str, aggregate: &ProductAggregate) {
    let product = aggregate.product.as_ref().expect("a product's stream begins with its creation");
    let row = row_of(pool, "SELECT number, name, description, status, key_pair, deleted FROM product WHERE id = $1::uuid", id).await.expect("a row");
    assert_eq!((product.number, product.name.as_str(), product.description.as_str()), (row.get(0), row.get(1), row.get(2)));
    assert_eq!((product.status.as_str(), product.key_pair, product.deleted), (row.get(3), row.get(4), row.get(5)));
    let rows = rows_of(pool, "SELECT meta_key, value FROM product_meta WHERE product = $1 ORDER BY number", product.number).await;
    let projected: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let folded: Vec<(String, String)> = aggregate.meta.values().map(|row| (row.key.clone(), row.value.clone())).collect();
    assert_eq!(folded, projected, "meta entries of product {}", product.number);
}

struct Summary {
    status: Status,
    /// How many activations there are, and how many of them count.
    active: [usize; 2],
    deleted: bool,
}

/// A license as the framework folds it, found by its key.
async fn license(pool: &PgPool, key: &str) -> Summary {
    let row = sqlx::query("SELECT id::text FROM license WHERE license_key = $1").bind(key).fetch_one(pool).await.expect("the license has a row");
    let (_, aggregate) = load::<LicenseAggregate>(pool, row.get(0), Event::License).await;
    let license = aggregate.license.expect("a license");
    let active = aggregate.activations.values().filter(|activation| license.is_active(activation)).count();
    Summary { status: license.status, active: [aggregate.activations.len(), active], deleted: license.deleted }
}
