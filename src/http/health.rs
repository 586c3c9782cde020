//! What watches the service. Nothing here is signed, so nothing here waits for a signature.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode};

use super::{
    doc::{Doc, Field, Given, Guard, Shape},
    endpoint::Plain,
};
use crate::{app::App, watch::Status};

/// How long the database may take to say that it is there.
const READY_WITHIN: Duration = Duration::from_secs(2);
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

const STATUS: Shape = Shape::Object(&[Field::always("status", Shape::Text, "One word.")]);
pub const LIVE: Doc = Doc::new("Whether the process answers").guard(Guard::Nobody).given(&[Given::json(200, "It does.", STATUS)]);
pub const READY: Doc = Doc::new("Whether the ledger can be written")
    .guard(Guard::Nobody)
    .given(&[Given::json(200, "It can.", STATUS), Given::json(503, "It can't at the moment; the log says why.", STATUS)]);
pub const INTEGRITY: Doc = Doc::new("Whether the log is what was written")
    .details(
        "The server reads its log again and again, a little at a time, and checks each event against its hash and all of them against the tree. \
         After damage was found the answer stays 503 until a full pass finds none; /health/ready is not affected.",
    )
    .guard(Guard::Nobody)
    .given(&[Given::json(200, "No damage was found.", INTEGRITY_SHAPE), Given::json(503, "The log is damaged.", INTEGRITY_SHAPE)]);
const INTEGRITY_SHAPE: Shape = Shape::Object(&[
    Field::always("status", Shape::Choice(&["ok", "damaged", "checking", "off"]), "`checking` until a first pass is complete."),
    Field::always("checked", Shape::Integer, "Events checked in this pass."),
    Field::always("events", Shape::Integer, "Events that there were when it began."),
    Field::always("last_full_pass", Shape::Nullable(&Shape::Time), "When the last pass was complete, RFC 3339."),
    Field::always("damaged_events", Shape::Integer, "How many events are damaged or missing."),
    Field::always(
        "damage",
        Shape::List(&Shape::Object(&[
            Field::always("position", Shape::Nullable(&Shape::Integer), "`null` where it is the head of the log."),
            Field::always("what", Shape::Text, "For a person."),
        ])),
        "The first 100 places.",
    ),
]);
pub const METRICS: Doc = Doc::new("All metrics, for Prometheus").guard(Guard::Nobody).given(&[
    Given::new(200, "Prometheus' text form.", "text/plain", Shape::Text),
    Given::new(404, "No metrics are recorded.", "text/plain", Shape::Text),
]);

/// The process answers.
pub async fn live(_: Arc<App>) -> Plain {
    json(StatusCode::OK, "live")
}

/// Commands can be executed. Why not is for the log: it may name hosts and files.
pub async fn ready(app: Arc<App>) -> Plain {
    let checked = tokio::time::timeout(READY_WITHIN, app.ledger.is_ready()).await;
    match checked.unwrap_or_else(|_| Err("the database does not answer".to_owned())) {
        Ok(()) => json(StatusCode::OK, "ready"),
        Err(reason) => {
            tracing::warn!(reason, "not ready");
            json(StatusCode::SERVICE_UNAVAILABLE, "unavailable")
        }
    }
}

/// What the check of the log has come to. Positions alone: what an event says is for those who may read it.
pub async fn integrity(app: Arc<App>) -> Plain {
    let report = app.watch.report();
    let status = match report.status {
        Status::Ok | Status::Checking | Status::Off => StatusCode::OK,
        Status::Damaged => StatusCode::SERVICE_UNAVAILABLE,
    };
    Plain { status, content_type: JSON, body: serde_json::to_string(&report).unwrap_or_default() }
}

fn json(status: StatusCode, word: &str) -> Plain {
    Plain { status, content_type: JSON, body: format!(r#"{{"status":"{word}"}}"#) }
}

/// All metrics in Prometheus' text form; what is a state rather than an event is read now.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; both are far below 2^53")]
pub async fn metrics(app: Arc<App>) -> Plain {
    metrics::gauge!("keyledger_queue_length").set(app.ledger.queue_length() as f64);
    metrics::gauge!("keyledger_head_position").set(app.ledger.head_position() as f64);
    match &app.metrics {
        Some(handle) => Plain { status: StatusCode::OK, content_type: PROMETHEUS, body: handle.render() },
        None => Plain { status: StatusCode::NOT_FOUND, content_type: PROMETHEUS, body: "# metrics are not recorded here\n".to_owned() },
    }
}
