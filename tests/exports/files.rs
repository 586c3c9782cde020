//! `keyledger export`: files that are the log, and go on with it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use keyledger::{
    clock::Clock,
    ledger::{Command, Ledger, Options, Origin, Request},
    store::{
        Store,
        sqlite::{SqliteOptions, SqliteStore},
    },
    vault::MasterKey,
};
use keyledger_events::{Timestamp, product::ProductFields};
use serde_json::Value;

use crate::reader::{in_micros, rows};
use crate::support::feed::tells_of_jane;
use crate::support::{Backend, PRODUCT, Running, both_backends, fields, raw};
use crate::tables::life;

both_backends!(
    an_export_is_the_log_and_the_next_one_what_came_since,
    keys_and_personal_data_are_in_files_that_were_asked_for_them,
    a_folder_that_does_not_go_with_an_export_is_left_alone,
    a_folder_of_another_past_is_left_alone,
);

/// The files of events in a folder, and what mode they have.
fn files(folder: &Path) -> BTreeMap<String, u32> {
    let mut files = BTreeMap::new();
    for day in std::fs::read_dir(folder).expect("a folder").map(|day| day.expect("an entry").path()).filter(|path| path.is_dir()) {
        for file in std::fs::read_dir(&day).expect("a folder").map(|file| file.expect("an entry")) {
            let name = format!("{}/{}", day.file_name().expect("a name").to_string_lossy(), file.file_name().to_string_lossy());
            files.insert(name, file.metadata().expect("a file").permissions().mode() & 0o777);
        }
    }
    files
}

/// Which events a file has, as its name says.
fn span(name: &str) -> (i64, i64) {
    let positions = name.split_once("/events-").expect("a file of events").1.split('.').next().expect("a name");
    let (first, last) = positions.split_once('-').expect("two positions");
    (first.parse().expect("a position"), last.parse().expect("a position"))
}

fn lines(folder: &Path) -> Vec<Value> {
    let text = files(folder).keys().map(|name| std::fs::read_to_string(folder.join(name)).expect("a file")).collect::<String>();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

async fn an_export_is_the_log_and_the_next_one_what_came_since(backend: Backend) {
    let on = Running::start(backend).await;
    let reader = on.caller(&["--capability", "feed:read"]).await;
    life(&on, 3).await;
    let mut first = 0;
    for round in 0..3 {
        let said = on.ledger.run(&["export", "--format", "parquet", "-o", "table"]).await.success();
        on.ledger.run(&["export", "--format", "ndjson", "--events-per-file", "5", "-o", "lines"]).await.success();
        let last = on.ledger.event_count().await - 1;
        assert!(said.contains(&format!("events {first} to {last} are in table")), "{said}");
        let events = reader.feed_lines("").await;
        assert_eq!(lines(&on.ledger.directory().join("lines")), events, "round {round}");
        assert_eq!(rows("table/*/*.parquet", on.ledger.directory()).await, in_micros(events), "round {round}");
        let names = files(&on.ledger.directory().join("table")).into_keys().collect::<Vec<_>>();
        assert!(names.iter().any(|name| span(name) == (first, last)) || names.len() > round + 1, "a day ended in between: {names:?}");
        assert!(files(&on.ledger.directory().join("lines")).keys().map(|name| span(name)).all(|(first, last)| last - first < 5));
        first = last + 1;
        life(&on, 2).await;
    }
    let nothing = on.ledger.run(&["export", "--format", "parquet", "-o", "table"]).await.success();
    assert!(nothing.starts_with("events "), "{nothing}");
    let nothing = on.ledger.run(&["export", "--format", "parquet", "-o", "table"]).await.success();
    assert!(nothing.starts_with("nothing is new in table"), "{nothing}");
    // What is taken away from the front doesn't come back.
    for name in files(&on.ledger.directory().join("lines")).keys().filter(|name| span(name).1 < 20) {
        std::fs::remove_file(on.ledger.directory().join("lines").join(name)).expect("a file");
    }
    on.ledger.run(&["export", "--format", "ndjson", "-o", "lines"]).await.success();
    let first = span(files(&on.ledger.directory().join("lines")).keys().next().expect("a file")).0;
    assert_eq!(lines(&on.ledger.directory().join("lines")), reader.feed_lines(&format!("after={}", first - 1)).await);
    // Another folder may begin anywhere.
    on.ledger.run(&["export", "--format", "ndjson", "--after", "7", "-o", "rest"]).await.success();
    assert_eq!(lines(&on.ledger.directory().join("rest")), reader.feed_lines("after=7").await);
}

async fn keys_and_personal_data_are_in_files_that_were_asked_for_them(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!(owner_name: "Jane Doe", owner_email: "jane@shop.example")).await;
    on.api.activate(&license, "jane.example").await.expect(300, PRODUCT);
    let exported = async |folder: &str, args: &[&str]| {
        on.ledger.run(&[&["export", "--format", "ndjson", "-o", folder], args].concat()).await.success();
        let path = on.ledger.directory().join(folder);
        (Value::from(lines(&path)).to_string(), *files(&path).values().next().expect("a file"))
    };
    let (plain, mode) = exported("plain", &[]).await;
    assert!(!plain.contains(&license) && !tells_of_jane(&plain));
    assert_eq!(mode & 0o600, 0o600);
    let (keys, mode) = exported("keys", &["--with-license-keys"]).await;
    assert!(keys.contains(&license) && !tells_of_jane(&keys));
    assert_eq!(mode, 0o600, "for its owner alone");
    let (personal, mode) = exported("personal", &["--with-personal-data"]).await;
    assert!(!personal.contains(&license) && personal.contains("jane@shop.example") && personal.contains("jane.example"));
    assert_eq!(mode, 0o600);
}

async fn a_folder_that_does_not_go_with_an_export_is_left_alone(backend: Backend) {
    let on = Running::start(backend).await;
    life(&on, 1).await;
    let reader = on.caller(&["--capability", "feed:read"]).await;
    let last = on.ledger.event_count().await - 1;
    let export = async |args: &[&str]| on.ledger.run(&[&["export", "-o", "folder"], args].concat()).await;
    export(&["--format", "parquet"]).await.success();
    let folder = on.ledger.directory().join("folder");
    let before = files(&folder);
    for (args, says) in [
        (&["--format", "ndjson"][..], "does not go with"),
        (&["--format", "parquet", "--with-license-keys"], "does not go with"),
        (&["--format", "parquet", "--with-personal-data"], "does not go with"),
        (&["--format", "parquet", "--after", "3"], "leave --after out"),
    ] {
        let said = export(args).await.failure(1);
        assert!(said.contains(says), "{args:?}: {said}");
    }
    let begins = on.ledger.run(&["export", "--format", "ndjson", "-o", "whole", "--after", "-1"]).await.success();
    assert!(begins.starts_with("events 0 to "), "{begins}");
    let said = export(&["--format", "parquet", "--after", "-2"]).await.failure(2);
    assert!(said.contains("-2 is not in -1.."), "{said}");
    for args in [&["--format", "csv"][..], &["--format", "parquet", "--events-per-file", "0"], &[]] {
        export(args).await.failure(2);
    }
    let beyond = on.ledger.run(&["export", "--format", "parquet", "-o", "other", "--after", &(last + 1).to_string()]).await.failure(1);
    assert!(beyond.contains(&format!("the last event is {last}")), "{beyond}");
    // What is to begin behind the end begins there, whenever something comes.
    let later = ["export", "--format", "ndjson", "-o", "later"];
    let last_text = last.to_string();
    let nothing = on.ledger.run(&[&later[..], &["--after", &last_text]].concat()).await.success();
    assert!(nothing.starts_with("nothing is new"), "{nothing}");
    let other = on.ledger.run(&[&later[..], &["--after", "1"]].concat()).await.failure(1);
    assert!(other.contains(&format!("is to begin after event {last}")), "{other}");
    on.ledger.run(&["block", "add", "--identifier", "later.example"]).await.success();
    for more in [&[][..], &["--after", &last_text]] {
        on.ledger.run(&[&later[..], more].concat()).await.success();
        assert_eq!(lines(&on.ledger.directory().join("later")), reader.feed_lines(&format!("after={last}")).await);
    }
    // Of a ledger that was put back it knows too much, or begins behind its end.
    let contents = folder.join("_keyledger.json");
    let text = std::fs::read_to_string(&contents).expect("what it is of");
    let behind = on.ledger.directory().join("behind");
    std::fs::create_dir(&behind).expect("a folder");
    let mut of: Value = serde_json::from_str(&text).expect("JSON");
    of["after"] = 9_999.into();
    std::fs::write(behind.join("_keyledger.json"), of.to_string()).expect("a file");
    let said = on.ledger.run(&["export", "--format", "parquet", "-o", "behind"]).await.failure(1);
    assert!(said.contains("begins after event 9999") && said.contains("an old copy of it was put back"), "{said}");
    let ahead = "day=2199-01-01/events-000000000900-000000000999.parquet";
    std::fs::create_dir(folder.join("day=2199-01-01")).expect("a folder");
    std::fs::write(folder.join(ahead), "").expect("a file");
    let said = export(&["--format", "parquet"]).await.failure(1);
    assert!(said.contains("an old copy of it was put back"), "{said}");
    std::fs::remove_file(folder.join(ahead)).expect("a file");
    std::fs::write(on.ledger.directory().join("file"), "").expect("a file");
    on.ledger.run(&["export", "--format", "parquet", "-o", "file"]).await.failure(1);
    std::fs::create_dir(on.ledger.directory().join("strange")).expect("a folder");
    std::fs::write(on.ledger.directory().join("strange/_keyledger.json"), "{}").expect("a file");
    let said = on.ledger.run(&["export", "--format", "parquet", "-o", "strange"]).await.failure(1);
    assert!(said.contains("not of an export"), "{said}");
    assert_eq!(files(&folder), before);
}

/// An old copy of the ledger was put back, and has grown beyond what was exported of the days that are gone.
async fn a_folder_of_another_past_is_left_alone(backend: Backend) {
    let on = Running::start(backend).await;
    raw::keep_end(&on.ledger.place).await;
    life(&on, 2).await;
    let exports = ["parquet", "ndjson"].map(|format| ["export", "--format", format, "-o", format]);
    for export in &exports {
        on.ledger.run(export).await.success();
    }
    let last = on.ledger.event_count().await - 1;
    raw::put_back(&on.ledger.place).await;
    life(&on, 4).await;
    assert!(on.ledger.event_count().await > last + 1);
    for export in &exports {
        let before = files(&on.ledger.directory().join(export[4]));
        let said = on.ledger.run(export).await.failure(1);
        assert!(said.contains(&format!("holds another event {last} than the ledger has")), "{said}");
        assert_eq!(files(&on.ledger.directory().join(export[4])), before);
    }
    // A file that is none is no reason to go on behind it.
    let folder = on.ledger.directory().join("ndjson");
    let file = folder.join(files(&folder).into_keys().next_back().expect("a file"));
    std::fs::write(&file, "{}\n").expect("a file");
    let said = on.ledger.run(&exports[1]).await.failure(1);
    assert!(said.contains("not of an export"), "{said}");
}

/// A file appears when it is whole: whoever kills an export in whichever moment finds no part of one, and no event twice afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_is_killed_goes_on_where_it_was() {
    let on = Running::start(Backend::Sqlite).await;
    life(&on, 60).await;
    let folder = on.ledger.directory().join("folder");
    let args = ["export", "--format", "ndjson", "--events-per-file", "1", "-o", "folder"];
    for pause in (0..12).map(|step| step * 15) {
        let mut command = on.ledger.place.command(&args);
        let mut child = command.spawn().expect("the program can be run");
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
        child.kill().await.expect("it can be killed");
        let mut next = 0;
        for name in if folder.exists() { files(&folder) } else { BTreeMap::new() }.keys() {
            let (first, last) = span(name);
            assert_eq!((first, std::fs::read_to_string(folder.join(name)).expect("a file").lines().count() as i64), (next, last - first + 1));
            next = last + 1;
        }
    }
    on.ledger.run(&args).await.success();
    assert!(!folder.join("_unfinished").exists());
    let reader = on.caller(&["--capability", "feed:read"]).await;
    on.ledger.run(&args).await.success();
    assert_eq!(lines(&folder), reader.feed_lines("").await);
}

/// On a terminal it shows how far it has come; into a file it writes its result alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_shows_how_far_it_has_come() {
    let on = Running::start(Backend::Sqlite).await;
    life(&on, 20).await;
    let command = on.ledger.place.command(&["export", "--format", "ndjson", "--events-per-file", "7", "-o", "folder"]);
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(|word| format!("'{}'", word.to_string_lossy()));
    let mut terminal = tokio::process::Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &words.collect::<Vec<_>>().join(" "), "/dev/null"]).env("TERM", "xterm");
    terminal.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(on.ledger.directory());
    let shown = terminal.output().await.expect("a terminal");
    let text = String::from_utf8_lossy(&shown.stdout);
    let count = on.ledger.event_count().await;
    assert!(shown.status.success() && text.contains(&format!("/{count} events, ")), "{text}");
    assert!(text.trim_end().lines().last().is_some_and(|last| last.contains(&format!("events 0 to {}", count - 1))), "{text}");
    let quiet = on.ledger.run(&["export", "--format", "ndjson", "-o", "other"]).await.success();
    assert!(quiet.starts_with("events 0 to ") && quiet.trim_end().lines().count() == 1, "{quiet}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_exports_do_not_write_into_one_folder() {
    let on = Running::start(Backend::Sqlite).await;
    life(&on, 1).await;
    let folder: PathBuf = on.ledger.directory().join("folder");
    on.ledger.run(&["export", "--format", "ndjson", "-o", "folder"]).await.success();
    let held = std::fs::File::open(folder.join("_keyledger.json")).expect("a file");
    held.try_lock().expect("nobody has it");
    let said = on.ledger.run(&["export", "--format", "ndjson", "-o", "folder"]).await.failure(1);
    assert!(said.contains("another export is writing into folder"), "{said}");
    drop(held);
    on.ledger.run(&["export", "--format", "ndjson", "-o", "folder"]).await.success();
}

/// A ledger of three days, made by a clock that is set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_day_has_a_folder_of_its_own() {
    const DAY: i64 = 86_400_000_000;
    let place = crate::support::Ledger::new(Backend::Sqlite).await;
    std::fs::create_dir(&place.place.data_dir).expect("a folder");
    let master = MasterKey::read_or_create(&place.place.data_dir.join("master.key")).expect("a key");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&place.place.sqlite_file(), SqliteOptions::default()).expect("a store"));
    // The last microsecond of a day, and the first one of the next.
    let begin = Timestamp::parse("2026-02-28 00:00:00").expect("a time").0;
    let time = Arc::new(AtomicI64::new(begin));
    let options = Options { clock: Clock::Manual(Arc::clone(&time)), rebuild_older: false };
    let ledger = Ledger::open(store, &master, options).await.expect("a ledger");
    let mut counts = BTreeMap::new();
    let mut before = 0;
    for (at, day) in [(0, "2026-02-28"), (DAY - 1, "2026-02-28"), (DAY, "2026-03-01"), (3 * DAY + 5, "2026-03-03")] {
        time.store(begin + at, Ordering::Relaxed);
        let fields = ProductFields { name: format!("Doors {at}"), description: "x".into(), ..ProductFields::default() };
        let command = Command::CreateProduct { fields, key_pair: None };
        ledger.execute(Request { command, origin: Origin::operator(), idempotency: None }).await.expect("a product");
        let count = ledger.store().head().await.expect("the head").next_position;
        *counts.entry(day).or_insert(0) += count - before;
        before = count;
    }
    assert!(ledger.close(std::time::Duration::from_secs(10)).await);
    drop(ledger);
    place.run(&["export", "--format", "ndjson", "-o", "folder"]).await.success();
    let folder = place.directory().join("folder");
    let mut next = 0;
    for (name, (day, count)) in files(&folder).into_keys().zip(&counts) {
        assert!(name.starts_with(&format!("day={day}/")), "{name}");
        assert_eq!(span(&name), (next, next + count - 1), "{name}");
        next += count;
    }
    assert_eq!(files(&folder).len(), counts.len());
    assert!(lines(&folder).iter().all(|event| event["time"].as_str().is_some_and(|time| counts.keys().any(|day| time.starts_with(day)))));
}
