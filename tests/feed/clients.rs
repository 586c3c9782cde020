//! The consumers of the documentation, run as they stand there.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::support::{Backend, Running, fields};

const DOCUMENT: &str = include_str!("../../docs/feed.md");

/// The code of the document in a language, of which there is one consumer.
fn code(language: &str) -> &'static str {
    let (_, rest) = DOCUMENT.split_once("## In ten lines").expect("the consumers");
    let (_, rest) = rest.split_once(&format!("```{language}\n")).unwrap_or_else(|| panic!("no {language}"));
    rest.split_once("```").expect("its end").0
}

/// The program as the test's own build made it.
fn example() -> PathBuf {
    let tests = std::env::current_exe().expect("this test");
    tests.parent().and_then(Path::parent).expect("the build's folder").join("examples/follow")
}

/// Runs a consumer until it has printed so many lines; these.
async fn lines(on: &Running, folder: &Path, program: &str, args: &[&str], count: usize) -> Vec<String> {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).stdout(Stdio::piped()).kill_on_drop(true);
    command.env("KEYLEDGER_URL", &on.server.url).env("KEYLEDGER_API_KEY", &on.ledger.bootstrap_key).process_group(0);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut printed = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut lines = Vec::new();
    while lines.len() < count {
        let line = tokio::time::timeout(Duration::from_secs(60), printed.next_line()).await;
        lines.push(line.unwrap_or_else(|_| panic!("{program} prints no more than {lines:?}")).expect("text").expect("another line"));
    }
    // It keeps its position after it printed.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let group = format!("-{}", child.id().expect("it runs"));
    let killed = Command::new("kill").args(["-KILL", "--", &group]).status().await.expect("kill");
    assert!(killed.success());
    child.wait().await.expect("it ends");
    lines
}

/// All that is there, and after another start what came since.
async fn follows(program: &str, args: &[&str]) {
    let on = Running::start(Backend::Sqlite).await;
    let product = on.api.new_product().await;
    let folder = on.ledger.directory().join("consumer");
    std::fs::create_dir(&folder).expect("a folder");
    let count = usize::try_from(on.ledger.event_count().await).expect("a count");
    let (_, events) = on.api.feed_page("").await;
    let first = lines(&on, &folder, program, args, count).await;
    for (line, event) in first.iter().zip(&events) {
        let (id, kind) = (event["id"].as_str().expect("an id"), event["type"].as_str().expect("a type"));
        assert!(line == &format!("{id} {kind}") || line == &event.to_string() || line.contains(&format!("\"id\":\"{id}\"")), "{line}");
    }
    on.api.new_license(product, fields!()).await;
    let second = lines(&on, &folder, program, args, 1).await;
    assert!(second[0].contains(&count.to_string()) && second[0].contains("license.created"), "{second:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_curl() {
    follows("sh", &["-c", code("sh")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_javascript() {
    follows("node", &["-e", code("js")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_python() {
    follows("python3", &["-c", code("python")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_rust() {
    assert_eq!(code("rust"), include_str!("../../examples/follow.rs"), "the document shows the example");
    follows(example().to_str().expect("UTF-8"), &[]).await;
}
