//! The baseline: activations through stock cqrs-es and postgres-es, with nothing of this project but its rules.
//!
//! The events carry the same metadata as the ledger's. No snapshots, no queries.
//!
//! `baseline SECONDS TASKS LICENSES CONNECTIONS` makes a database with postgres-es's own schema on the server that
//! `KEYLEDGER_TEST_POSTGRES_URL` names, puts so many licenses into it, lets the tasks activate them one after another
//! for so many seconds, and prints one line: `{"commands": …, "seconds": …, "per_second": …}`.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use keyledger_compat::{Database, server_url};
use keyledger_events::{
    Context, Personal, PersonalData, Timestamp,
    license::{AtHand, LicenseAggregate, LicenseCommand, LicenseCreated, LicenseError, LicenseEvent, Status, decide},
    values::Identifier,
};
use postgres_es::{PostgresCqrs, postgres_cqrs};
use serde::{Deserialize, Serialize};
use sqlx::{Executor, PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

/// As in postgres-es's `db/init.sql`.
const SCHEMA: &str = "CREATE TABLE events (
    aggregate_type text                         NOT NULL,
    aggregate_id   text                         NOT NULL,
    sequence       bigint CHECK (sequence >= 0) NOT NULL,
    event_type     text                         NOT NULL,
    event_version  text                         NOT NULL,
    payload        json                         NOT NULL,
    metadata       json                         NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
)";

/// Licenses inserted by one statement.
const FILL_CHUNK: usize = 5_000;

/// A license event in the stock framework: it seals nothing, so the identifier stands beside the event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StockEvent {
    event: LicenseEvent,
    identifier: Option<String>,
}

impl DomainEvent for StockEvent {
    fn event_type(&self) -> String {
        self.event.event_type()
    }

    fn event_version(&self) -> String {
        self.event.event_version()
    }
}

/// A license in the stock framework: folded from its stream at each command, decided by the same rules as ours.
#[derive(Default, Serialize, Deserialize)]
struct StockLicense {
    license: LicenseAggregate,
}

impl Aggregate for StockLicense {
    const TYPE: &'static str = "license";
    type Command = Identifier;
    type Event = StockEvent;
    type Error = LicenseError;
    type Services = ();

    async fn handle(&mut self, identifier: Identifier, (): &(), sink: &EventSink<Self>) -> Result<(), LicenseError> {
        let activation = self.license.activations.values().find(|row| row.identifier.as_deref() == Some(identifier.as_str()));
        let at_hand = AtHand { license: self.license.license.as_ref(), activation, meta: None, product_active: true, key_taken: false };
        let command = LicenseCommand::Activate { identifier: Some(identifier), post_url: None };
        let decision = decide(at_hand, &command, &Context { now: Timestamp(1), ..Context::default() });
        decision.outcome?;
        for mut event in decision.events {
            let identifier = event.personal().identifier();
            *event.personal_mut() = Personal::None;
            sink.write(StockEvent { event, identifier }, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, stock: StockEvent) {
        let mut event = stock.event;
        *event.personal_mut() = Personal::new(PersonalData { identifier: stock.identifier, ..PersonalData::default() });
        self.license.apply(event);
    }
}

struct Arguments {
    seconds: u64,
    tasks: usize,
    licenses: usize,
    connections: u32,
}

fn arguments() -> Option<Arguments> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [seconds, tasks, licenses, connections] = arguments.as_slice() else { return None };
    Some(Arguments {
        seconds: seconds.parse().ok()?,
        tasks: tasks.parse().ok()?,
        licenses: licenses.parse::<usize>().ok().filter(|licenses| *licenses > 0)?,
        connections: connections.parse().ok()?,
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments().ok_or("usage: baseline SECONDS TASKS LICENSES CONNECTIONS")?;
    let database = Database::create(&server_url()).await?;
    let measured = measure(&database.url, &arguments).await;
    database.drop_now().await?;
    let (commands, seconds) = measured?;
    println!("{}", serde_json::json!({ "commands": commands, "seconds": seconds, "per_second": commands as f64 / seconds }));
    Ok(())
}

async fn measure(url: &str, arguments: &Arguments) -> Result<(usize, f64), Box<dyn Error>> {
    let pool = PgPoolOptions::new().max_connections(arguments.connections).connect(url).await?;
    pool.execute(SCHEMA).await?;
    let licenses = Arc::new(fill(&pool, arguments.licenses).await?);
    pool.execute("VACUUM ANALYZE events").await?;

    let framework: Arc<PostgresCqrs<StockLicense>> = Arc::new(postgres_cqrs(pool.clone(), Vec::new(), ()));
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let until = started + Duration::from_secs(arguments.seconds);
    let tasks: Vec<_> = (0..arguments.tasks)
        .map(|_| {
            let (framework, licenses, next) = (Arc::clone(&framework), Arc::clone(&licenses), Arc::clone(&next));
            tokio::spawn(async move {
                let mut done = 0;
                while Instant::now() < until {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    let identifier = Identifier::parse(&format!("host-{turn}.example.com")).map_err(|error| error.to_string())?;
                    let license = &licenses[turn % licenses.len()];
                    framework.execute_with_metadata(license, identifier, metadata()).await.map_err(|error| error.to_string())?;
                    done += 1;
                }
                Ok::<usize, String>(done)
            })
        })
        .collect();
    let mut commands = 0;
    for task in tasks {
        commands += task.await??;
    }
    let seconds = started.elapsed().as_secs_f64();
    pool.close().await;
    Ok((commands, seconds))
}

/// What the ledger notes beside each event too.
fn metadata() -> HashMap<String, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    HashMap::from([
        ("actor".to_owned(), "api_key:1".to_owned()),
        ("correlation_id".to_owned(), Uuid::now_v7().to_string()),
        ("decided_at".to_owned(), Timestamp(i64::try_from(now).unwrap_or(i64::MAX)).to_string()),
        ("request_id".to_owned(), Uuid::now_v7().to_string()),
        ("source".to_owned(), "api".to_owned()),
    ])
}

/// The first event of each license, as the framework would have stored it; returns the streams' ids.
async fn fill(pool: &PgPool, licenses: usize) -> Result<Vec<String>, Box<dyn Error>> {
    let ids: Vec<String> = (0..licenses).map(|_| Uuid::now_v7().to_string()).collect();
    for (chunk, ids) in ids.chunks(FILL_CHUNK).enumerate() {
        let payloads = (0..ids.len()).map(|at| created(chunk * FILL_CHUNK + at + 1)).collect::<Result<Vec<String>, _>>()?;
        sqlx::query(
            "INSERT INTO events SELECT 'license', id, 1, 'LicenseCreated', '1.0', payload::json, '{}'::json \
             FROM unnest($1::text[], $2::text[]) AS new (id, payload)",
        )
        .bind(ids)
        .bind(payloads)
        .execute(pool)
        .await?;
    }
    Ok(ids)
}

fn created(number: usize) -> serde_json::Result<String> {
    let event = LicenseEvent::LicenseCreated(LicenseCreated {
        activation_limit: 0,
        assigned_at: Some(Timestamp(0)),
        contract: None,
        job: None,
        key: format!("BASE-{number:016}"),
        license: number as i64,
        owner: None,
        personal: Personal::None,
        product: 1,
        status: Status::Assigned,
        validity_days: 0,
    });
    serde_json::to_string(&StockEvent { event, identifier: None })
}
