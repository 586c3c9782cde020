//! The server watches its own log: what somebody with all rights on the database changes turns `/health/integrity` red and names
//! the position, and nothing else stops.

use serde_json::Value;

use crate::support::raw::{self, literal};
use crate::support::{Backend, Client, Ledger, PRODUCT, Running, ServeOptions, both_backends, eventually, fields};

both_backends!(
    an_untouched_log_passes_again_and_again,
    damage_is_named_until_a_full_pass_finds_none,
    a_head_of_another_tree_is_found,
    a_missing_event_and_a_cut_off_log_are_found,
    a_restart_begins_a_new_pass,
    it_can_be_switched_off,
);

async fn integrity(api: &Client) -> (u16, Value) {
    let (status, body) = api.plain("/health/integrity").await;
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

/// Waits until the answer says so, and promises the HTTP status that belongs to it.
async fn until(api: &Client, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let (status, report) = eventually(what, || async { Some(integrity(api).await).filter(|(_, report)| is_so(report)) }).await;
    assert_eq!(status, if report["status"] == "damaged" { 503 } else { 200 }, "{report}");
    report
}

fn says(word: &str) -> impl Fn(&Value) -> bool {
    move |report| report["status"] == word
}

/// Ok over at least so many events.
async fn until_ok(api: &Client, events: i64) -> Value {
    until(api, "the log is whole", |report| report["status"] == "ok" && report["events"].as_i64() >= Some(events)).await
}

fn positions(report: &Value) -> Vec<i64> {
    report["damage"].as_array().expect("a list").iter().filter_map(|damage| damage["position"].as_i64()).collect()
}

async fn metric(api: &Client, name: &str) -> f64 {
    let (_, text) = api.plain("/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or_else(|| panic!("{name} is not in:\n{text}"));
    line.trim().parse().expect("a number")
}

async fn with_history(backend: Backend) -> Running {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!(activation_limit: 0)).await;
    for number in 0..20 {
        on.api.activate(&license, &format!("{number}.example")).await.expect(300, PRODUCT);
    }
    on
}

async fn column(ledger: &Ledger, column: &str, position: i64) -> String {
    let rows = raw::rows(&ledger.place, &format!("select {column} from events where position = {position}")).await;
    rows.expect("the events can be read")[0][0].clone().expect("a value")
}

async fn set(ledger: &Ledger, position: i64, assignments: &str) {
    raw::tamper(&ledger.place, &format!("UPDATE events SET {assignments} WHERE position = {position}")).await;
}

async fn an_untouched_log_passes_again_and_again(backend: Backend) {
    let on = with_history(backend).await;
    let events = on.ledger.event_count().await;
    let first = until_ok(&on.api, events).await;
    assert_eq!((&first["damaged_events"], positions(&first)), (&Value::from(0), Vec::new()), "{first}");
    let license = on.api.new_license(on.api.new_product().await, fields!()).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    let second = until(&on.api, "a second pass", |report| report["last_full_pass"].as_str() > first["last_full_pass"].as_str()).await;
    assert_eq!(second["status"], "ok", "{second}");
    until_ok(&on.api, on.ledger.event_count().await).await;
    assert_eq!(metric(&on.api, "keyledger_integrity_damaged_events").await, 0.0);
    // It begins anew with each pass.
    let all_checked = || async { (metric(&on.api, "keyledger_integrity_checked_events").await >= events as f64).then_some(()) };
    eventually("the metrics say that all is checked", all_checked).await;
    assert!(metric(&on.api, "keyledger_integrity_last_full_pass_timestamp_seconds").await > 1.7e9);
}

async fn damage_is_named_until_a_full_pass_finds_none(backend: Backend) {
    let on = with_history(backend).await;
    let events = on.ledger.event_count().await;
    until_ok(&on.api, events).await;
    let position = events / 2;
    let original = column(&on.ledger, "payload", position).await;
    let at = original.rfind(|character: char| character.is_ascii_digit()).expect("a digit");
    let other = if &original[at..=at] == "1" { "2" } else { "1" };
    let altered = format!("{}{other}{}", &original[..at], &original[at + 1..]);
    set(&on.ledger, position, &format!("payload = {}", literal(&altered))).await;

    let report = until(&on.api, "the damage is found", says("damaged")).await;
    assert_eq!(positions(&report), [position], "{report}");
    assert_eq!(report["damaged_events"], 1, "{report}");
    assert!(!report.to_string().contains(&altered), "what an event says is not told: {report}");
    assert_eq!(on.api.plain("/health/ready").await.0, 200);
    let license = on.api.new_license(on.api.new_product().await, fields!()).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    assert_eq!(metric(&on.api, "keyledger_integrity_damaged_events").await, 1.0);
    assert!(metric(&on.api, "keyledger_integrity_damage_found_total").await >= 1.0);
    let log = on.server.log_text();
    assert!(log.contains("the log is damaged") && log.contains(&format!("position={position}")), "{log}");
    assert!(!log.contains(&altered));

    set(&on.ledger, position, &format!("payload = {}", literal(&original))).await;
    until_ok(&on.api, on.ledger.event_count().await).await;
    assert_eq!(metric(&on.api, "keyledger_integrity_damaged_events").await, 0.0);
    on.ledger.expect_intact().await;
}

async fn a_head_of_another_tree_is_found(backend: Backend) {
    let on = with_history(backend).await;
    let events = on.ledger.event_count().await;
    until_ok(&on.api, events).await;
    let edge = match backend {
        Backend::Sqlite => ("SELECT hex(tree_edge) FROM head", "UPDATE head SET tree_edge = zeroblob(length(tree_edge))"),
        Backend::Postgres => {
            ("SELECT encode(tree_edge, 'hex') FROM head", "UPDATE head SET tree_edge = decode(repeat('00', length(tree_edge)), 'hex')")
        }
    };
    let original = raw::rows(&on.ledger.place, edge.0).await.expect("the head can be read")[0][0].clone().expect("an edge");
    raw::execute(&on.ledger.place, edge.1).await.expect("the head can be changed");
    let report = until(&on.api, "the damage is found", says("damaged")).await;
    assert_eq!(positions(&report), [0], "{report}");
    let restored = match backend {
        Backend::Sqlite => format!("UPDATE head SET tree_edge = x'{original}'"),
        Backend::Postgres => format!("UPDATE head SET tree_edge = decode('{original}', 'hex')"),
    };
    raw::execute(&on.ledger.place, &restored).await.expect("the head can be changed");
    until_ok(&on.api, events).await;
}

async fn a_missing_event_and_a_cut_off_log_are_found(backend: Backend) {
    let on = with_history(backend).await;
    let events = on.ledger.event_count().await;
    until_ok(&on.api, events).await;
    raw::tamper(&on.ledger.place, &format!("DELETE FROM events WHERE position = {}", events / 3)).await;
    let report = until(&on.api, "the damage is found", says("damaged")).await;
    assert_eq!(positions(&report), [events / 3], "{report}");
    raw::tamper(&on.ledger.place, &format!("DELETE FROM events WHERE position >= {}", events - 2)).await;
    let both = until(&on.api, "both are found", |report| positions(report) == [events / 3, events - 2]).await;
    assert_eq!(both["damaged_events"], 3, "{both}");
    assert_eq!(on.api.plain("/health/ready").await.0, 200);
}

async fn a_restart_begins_a_new_pass(backend: Backend) {
    let Running { api, server, ledger } = with_history(backend).await;
    let events = ledger.event_count().await;
    until_ok(&api, events).await;
    server.stop().await;
    set(&ledger, events - 1, "event_type = 'LicenseDeleted'").await;
    let server = ledger.serve().await;
    let report = until(&server.client(), "the damage is found", says("damaged")).await;
    assert_eq!(positions(&report), [events - 1], "{report}");
}

async fn it_can_be_switched_off(backend: Backend) {
    let on = Running::start_with(backend, ServeOptions::args(&["--integrity-rate", "0"])).await;
    let (status, report) = integrity(&on.api).await;
    assert_eq!((status, &report["status"], &report["last_full_pass"]), (200, &"off".into(), &Value::Null), "{report}");
}
