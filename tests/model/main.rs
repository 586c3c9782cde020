//! Random sequences of commands against a plain model of the rules (a few maps, written separately): the same results,
//! the same rows, the same by replay, and the same by folding each stream through the cqrs-es aggregates.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod commands;
mod plain;
mod points;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cqrs_es::Aggregate;
use keyledger::{
    clock::Clock,
    evidence,
    ledger::{Ledger, Options, Origin, Request, replay},
    vault::MasterKey,
};
use keyledger_events::{Event, license::LicenseAggregate, product::ProductAggregate};
use keyledger_projections::{LicenseRow, ProductRow, Row, Table};
use proptest::{prelude::*, test_runner::Config};

use commands::Step;
use plain::Model;

const START: i64 = 1_700_000_000_000_000;

/// Sequences for each backend; more with `KEYLEDGER_MODEL_CASES`.
fn cases() -> u32 {
    std::env::var("KEYLEDGER_MODEL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

fn run(backend: store::Backend) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let config = Config { cases: cases(), failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    proptest!(config, |(steps in prop::collection::vec(commands::step(), 1..120), points in points::points(backend))| {
        runtime.block_on(check(backend, &steps, &points));
    });
}

#[test]
fn random_commands_on_sqlite_match_the_model() {
    run(store::Backend::Sqlite);
}

#[test]
fn random_commands_on_postgres_match_the_model() {
    run(store::Backend::Postgres);
}

async fn check(backend: store::Backend, steps: &[Step], points: &[points::Asked]) {
    let opened = store::open(backend).await;
    let time = Arc::new(AtomicI64::new(START));
    let options = Options { clock: Clock::Manual(Arc::clone(&time)), rebuild_older: false };
    let ledger = Ledger::open(Arc::clone(&opened.store), &MasterKey::random().unwrap(), options).await.unwrap();
    let mut model = Model::default();
    let mut past = points::Past::new(&ledger).await;
    for step in steps {
        let now = time.fetch_add(step.seconds_before * 1_000_000, Ordering::Relaxed) + step.seconds_before * 1_000_000;
        let request = Request { command: step.command.clone(), origin: Origin::operator(), idempotency: None };
        let outcome = ledger.execute(request).await.unwrap();
        assert_eq!(outcome.result, model.execute(&step.command, now), "{step:?}");
        past.remember(&ledger, &model, now).await;
    }
    for asked in points {
        past.check(&ledger, asked).await;
    }
    compare_rows(&ledger, &model).await;
    let mut nothing = |_: i64, _: i64| {};
    evidence::verify(ledger.store(), ledger.vault(), Vec::new(), &mut nothing).await.expect("incremental rows are the rebuilt ones");
    compare_streams(&ledger).await;
    replay::rebuild(ledger.store(), ledger.vault(), &mut nothing).await.unwrap();
    compare_rows(&ledger, &model).await;
    assert!(ledger.close(std::time::Duration::from_secs(10)).await);
}

async fn all_rows(ledger: &Ledger, table: Table) -> Vec<Row> {
    ledger.store().snapshot().await.unwrap().rows(table, i64::MIN, 1_000_000).await.unwrap()
}

/// The rows say what the model says.
async fn compare_rows(ledger: &Ledger, model: &Model) {
    let mut active: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    let licenses: BTreeMap<i64, LicenseRow> = all_rows(ledger, Table::License)
        .await
        .into_iter()
        .map(|row| LicenseRow::try_from(row).unwrap())
        .map(|row| (row.license.number, row))
        .collect();
    for row in all_rows(ledger, Table::Activation).await {
        let Row::Activation(row) = row else { panic!("not an activation") };
        let license = &licenses[&row.activation.license].license;
        if license.is_active(&row.activation) {
            active.entry(row.activation.license).or_default().push(row.activation.identifier.unwrap());
        }
    }
    let mut meta: BTreeMap<i64, Vec<(String, String)>> = BTreeMap::new();
    for row in all_rows(ledger, Table::LicenseMeta).await {
        let Row::LicenseMeta(row) = row else { panic!("not a meta entry") };
        meta.entry(row.meta.license).or_default().push((row.meta.key, row.meta.value.unwrap()));
    }
    assert_eq!(licenses.len(), model.licenses.len());
    for expected in &model.licenses {
        let row = &licenses[&expected.number].license;
        assert_eq!(row.key, expected.key);
        assert_eq!(row.product, expected.product);
        assert_eq!(row.status.as_str(), expected.status);
        assert_eq!((row.activation_limit, row.validity_days), (expected.limit, expected.validity_days));
        assert_eq!(row.assigned_at.map(|at| at.0), expected.assigned_at);
        assert_eq!((&row.owner_name, &row.owner_email), (&expected.owner_name, &expected.owner_email));
        assert_eq!(row.deleted, expected.deleted);
        let mut identifiers = active.remove(&expected.number).unwrap_or_default();
        identifiers.sort();
        assert_eq!(identifiers, expected.active.iter().cloned().collect::<Vec<_>>());
        assert_eq!(row.active_count, expected.active.len() as i64);
        let mut entries = meta.remove(&expected.number).unwrap_or_default();
        entries.sort();
        assert_eq!(entries, expected.meta.clone().into_iter().collect::<Vec<_>>());
    }
    for row in all_rows(ledger, Table::LicenseCount).await {
        let Row::LicenseCount(row) = row else { panic!("not a count") };
        for (status, count) in [("available", row.available), ("assigned", row.assigned), ("reserved", row.reserved), ("blocked", row.blocked)] {
            assert_eq!(count, model.count(row.product, status), "product {} {status}", row.product);
        }
    }
    for row in all_rows(ledger, Table::Product).await {
        let row = ProductRow::try_from(row).unwrap();
        let expected = &model.products[&row.product.number];
        assert_eq!((&row.product.name, row.product.deleted), (&expected.name, expected.deleted));
    }
}

/// A stream folded by cqrs-es's aggregate gives what the row holds, but for what only the time of an event tells.
async fn compare_streams(ledger: &Ledger) {
    let head = ledger.store().head().await.unwrap();
    let mut licenses: BTreeMap<i64, LicenseAggregate> = BTreeMap::new();
    let mut products: BTreeMap<uuid::Uuid, ProductAggregate> = BTreeMap::new();
    for recorded in replay::recorded(ledger.store(), ledger.vault(), 0, head.next_position).await.unwrap() {
        match recorded.event {
            Event::License(event) => licenses.entry(event.license()).or_default().apply(event),
            Event::Product(event) => products.entry(recorded.aggregate_id).or_default().apply(event),
            Event::Ledger(_)
            | Event::KeyPair(_)
            | Event::ApiKey(_)
            | Event::Block(_)
            | Event::Settings(_)
            | Event::Telemetry(_)
            | Event::Release(_)
            | Event::DownloadToken(_) => {}
            Event::Generator(_) | Event::Contract(_) | Event::AssignmentJob(_) | Event::Delivery(_) | Event::WebhookEndpoint(_) => {}
            Event::StreamMap(_) | Event::Subject(_) | Event::VerificationCount(_) => {}
        }
    }
    for row in all_rows(ledger, Table::License).await {
        let mut row = LicenseRow::try_from(row).unwrap().license;
        let mut folded = licenses.remove(&row.number).unwrap().license.unwrap();
        for license in [&mut row, &mut folded] {
            (license.refusal_minute, license.refusal_reasons) = (0, 0);
        }
        assert_eq!(row, folded);
    }
    for row in all_rows(ledger, Table::Product).await {
        let row = ProductRow::try_from(row).unwrap();
        assert_eq!(products.remove(&row.id).unwrap().product.unwrap(), row.product);
    }
}
