//! Python with DuckDB: somebody else's reader of what is written.

use std::path::Path;
use std::process::Stdio;

use keyledger_events::Timestamp;
use serde_json::Value;
use tokio::process::Command;

/// Runs Python code in a folder; what it printed.
pub async fn python(code: &str, args: &[&str], folder: &Path) -> String {
    let python = std::env::var("KEYLEDGER_TEST_PYTHON").expect("run this with scripts/with-duckdb, as scripts/test does");
    let mut command = Command::new(python);
    command.args(["-c", code]).args(args).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.expect("Python");
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The events of Parquet files, which may be named by a pattern, in order.
pub async fn rows(files: &str, folder: &Path) -> Vec<Value> {
    let printed = python(include_str!("rows.py"), &[files], folder).await;
    printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Events of the feed, with their times as rows have them.
pub fn in_micros(mut events: Vec<Value>) -> Vec<Value> {
    for event in &mut events {
        let time = event["time"].as_str().expect("a time");
        event["time"] = Timestamp::parse(time).expect("a time").0.into();
    }
    events
}
