//! `keyledger demo`: the main job in one command, with nothing configured.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::support::ledger::{bare_command, finish};

/// How many curl commands the demo offers to try.
const CURL_COMMANDS: usize = 3;

#[tokio::test]
async fn the_walk_shows_each_step_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let shown = finish(demo_command(&["demo", "--no-serve"], directory.path())).await.success();
    // Assigned, activated, verified, refused at the limit, deactivated.
    let mut rest = shown.as_str();
    for answer in ["750 Product created", "900 ", "800 ", "300 ", "200 ", "302 ", "400 License key deactivated"] {
        let found = rest.find(answer).unwrap_or_else(|| panic!("no step answers {answer:?} in its turn:\n{shown}"));
        rest = &rest[found + answer.len()..];
    }
    for event in ["LicenseAssigned", "LicenseActivated", "ActivationRefused", "LicenseDeactivated"] {
        let spelled_out = shown.contains(event) || shown.contains(&spaced(event));
        assert!(spelled_out, "no step shows the event {event}:\n{shown}");
    }
    assert!(shown.to_lowercase().contains("signature"), "no signature is verified:\n{shown}");
    assert!(!shown.contains("PRIVATE KEY"));
    let left: Vec<_> = std::fs::read_dir(directory.path()).expect("it is there").flatten().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// A demo that has nowhere to leave anything but this directory.
fn demo_command(args: &[&str], directory: &Path) -> Command {
    let mut command = bare_command(args, directory);
    command.env("TMPDIR", directory);
    command
}

/// `LicenseActivated` as `license activated`.
fn spaced(name: &str) -> String {
    let mut spaced = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !spaced.is_empty() {
            spaced.push(' ');
        }
        spaced.extend(character.to_lowercase());
    }
    spaced
}

#[tokio::test]
async fn afterwards_it_serves_and_its_curl_commands_work() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut command = demo_command(&["demo"], directory.path());
    command.env("KEYLEDGER_LISTEN", "127.0.0.1:0").stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut demo = command.spawn().expect("the demo can be started");
    let mut lines = BufReader::new(demo.stdout.take().expect("standard output is piped")).lines();
    let mut text = String::new();
    while curl_commands(&text).len() < CURL_COMMANDS {
        let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("no {CURL_COMMANDS} curl commands in:\n{text}"));
        text.push_str(&line.expect("text").unwrap_or_else(|| panic!("the demo ended after:\n{text}")));
        text.push('\n');
    }
    let mut codes = Vec::new();
    for command in curl_commands(&text) {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{command} --silent --show-error --retry 20 --retry-connrefused --retry-delay 1")]);
        let answer = finish(shell).await.success();
        assert!(answer.contains("\"response\"") && answer.contains("\"signature\""), "{command}\n{answer}");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{command}\n{answer}: {error}"));
        codes.push(answer["response"]["code"].as_i64().unwrap_or_else(|| panic!("{command}\n{answer}")));
    }
    assert_eq!(codes, [900, 300, 200], "the commands belong together: a key is made, activated and verified");
    kill(Pid::from_raw(demo.id().expect("it runs").cast_signed()), Signal::SIGTERM).expect("the demo can be signalled");
    let status = tokio::time::timeout(Duration::from_secs(60), demo.wait()).await.expect("the demo ends").expect("it can be waited for");
    assert_eq!(status.code(), Some(0));
    let left: Vec<_> = std::fs::read_dir(directory.path()).expect("it is there").flatten().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// The curl commands in a text; a line that ends in a backslash goes on in the next.
fn curl_commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let complete = if text.ends_with("\\\n") { "" } else { joined.as_str() };
    complete.lines().filter_map(|line| line.find("curl ").map(|start| line[start..].trim_end().to_string())).collect()
}
