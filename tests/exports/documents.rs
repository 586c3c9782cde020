//! What the documentation shows of files, run as it stands there.

use crate::reader::python;
use crate::support::{Backend, Running};
use crate::tables::life;

const DOCUMENT: &str = include_str!("../../docs/analytics.md");

/// The code that stands under a line of the document.
fn code(under: &str) -> &'static str {
    let (_, rest) = DOCUMENT.split_once(under).unwrap_or_else(|| panic!("no {under}"));
    let (_, rest) = rest.split_once("```python\n").expect("code");
    rest.split_once("```").expect("its end").0
}

async fn exported(format: &str) -> Running {
    let on = Running::start(Backend::Sqlite).await;
    life(&on, 4).await;
    on.ledger.run(&["export", "--format", format, "-o", "events"]).await.success();
    on
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duckdb_asks_files() {
    let on = exported("parquet").await;
    let printed = python(code("With DuckDB:"), &[], on.ledger.directory()).await;
    assert!(printed.contains("activations") && printed.contains('4'), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duckdb_asks_lines() {
    let on = exported("ndjson").await;
    let printed = python(code("The same of NDJSON:"), &[], on.ledger.directory()).await;
    assert!(printed.contains("license.activated") && printed.contains('4'), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pandas_reads_a_folder() {
    let on = exported("parquet").await;
    let printed = python(code("With pandas:"), &[], on.ledger.directory()).await;
    assert!(printed.contains("product") && printed.contains('4'), "{printed}");
}
