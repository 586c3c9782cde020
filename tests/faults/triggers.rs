//! The database itself refuses every change of events, whoever asks.

use crate::support::raw;
use crate::support::{Backend, Ledger, PRODUCT, Running, both_backends, fields};

both_backends!(events_can_only_be_appended);

async fn events_can_only_be_appended(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    let before = everything(&on.ledger).await;
    assert!(before.len() > 3);

    let mut statements: Vec<String> = [
        "UPDATE events SET payload = payload",
        "UPDATE events SET event_type = 'x' WHERE position = 0",
        "UPDATE events SET position = position + 1000",
        "DELETE FROM events",
        "DELETE FROM events WHERE position = 1",
    ]
    .map(ToString::to_string)
    .into();
    let last = before.len() - 1;
    // Copies of an event at a position that is taken, that leaves a gap, and before the first.
    for position in ["0", "position", "position + 1000", "-1"] {
        statements.push(copy(&on.ledger, "INSERT", position, last, "").await);
    }
    match backend {
        Backend::Sqlite => {
            for position in ["0", "position", "position + 1"] {
                statements.push(copy(&on.ledger, "INSERT OR REPLACE", position, last, "").await);
                statements.push(copy(&on.ledger, "REPLACE", position, last, "").await);
                statements.push(copy(&on.ledger, "INSERT OR IGNORE", position, 0, "").await);
            }
            statements.push(copy(&on.ledger, "INSERT", "position", last, "ON CONFLICT DO UPDATE SET payload = 'x'").await);
            statements.push("UPDATE OR REPLACE events SET position = 0 WHERE position = 1".to_string());
        }
        Backend::Postgres => {
            statements.push("TRUNCATE events".to_string());
            statements.push("TRUNCATE events CASCADE".to_string());
            let update = "ON CONFLICT (position) DO UPDATE SET event_type = 'x'";
            statements.push(copy(&on.ledger, "INSERT", "position", last, update).await);
            statements.push("WITH gone AS (DELETE FROM events RETURNING *) SELECT count(*) FROM gone".to_string());
        }
    }
    for statement in &statements {
        let outcome = raw::execute(&on.ledger.place, statement).await;
        assert!(outcome.is_err() || statement.contains("IGNORE"), "not refused: {statement}");
        assert_eq!(everything(&on.ledger).await, before, "changed by {statement}");
    }
    on.api.activate(&license, "b.example").await.expect(300, PRODUCT);
    on.ledger.expect_intact().await;
}

/// All events with all their columns.
async fn everything(ledger: &Ledger) -> Vec<raw::Row> {
    raw::rows(&ledger.place, "select * from events order by position").await.expect("the events can be read")
}

/// A statement that inserts a copy of one event at another position.
async fn copy(ledger: &Ledger, insert: &str, position: &str, source: usize, then: &str) -> String {
    let columns = raw::columns(&ledger.place, "events").await;
    let values: Vec<&str> = columns.iter().map(|column| if column == "position" { position } else { column.as_str() }).collect();
    format!("{insert} INTO events ({}) SELECT {} FROM events WHERE position = {source} {then}", columns.join(", "), values.join(", "))
}
