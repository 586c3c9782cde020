//! What a dispute file holds, and that nothing in it can be altered.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use keyledger_evidence::{CaseInput, Given, build, read_archive, time, verify, write_archive};
use support::{BEGIN, MINUTE, everything, pem, story};

/// A file with all that can be in one.
fn full(log: &support::Log) -> CaseInput {
    let mut input = log.input();
    input.from = Some(time::write(BEGIN + 11 * MINUTE));
    input.to = Some(time::write(BEGIN + 12 * MINUTE));
    input.secrets = Some(log.secrets.clone());
    input.earlier = vec![log.earlier(13), log.earlier(4)];
    // A witness's line, which nobody here can check.
    input.earlier[0].note.push_str("— witness.example AAAAAQID\n");
    input
}

fn given(log: &support::Log) -> Given {
    Given { checkpoints: vec![log.note(4), log.note(log.size())], public_keys: vec![log.vkey().to_string(), pem(&log.global)], answers: Vec::new() }
}

#[test]
fn an_untouched_file_passes_and_says_what_was_checked() {
    let log = story(1);
    let verdict = verify(&build(&full(&log)).unwrap(), &given(&log));
    assert_eq!(verdict.wrong, None);
    let said = verdict.checked.join("\n");
    for sentence in [
        "about license 1, and nothing else",
        "its Ed25519 signature is valid",
        "also signed by key pair 1",
        "numbered from 1 to 6 without a gap",
        "No event of the license is missing, up to and with position 13",
        "The given checkpoint of 4 events is of this log",
        "personal data of 2 events was opened",
        "the same byte for byte",
    ] {
        assert!(said.contains(sentence), "{sentence} is not in:\n{said}");
    }
    assert!(!said.contains("taken from the file itself"));
    // Without anything that the checker brings along, the keys are named.
    let verdict = verify(&build(&log.input()).unwrap(), &Given::default());
    assert_eq!(verdict.wrong, None);
    assert!(verdict.checked.last().unwrap().contains(&log.vkey().to_string()));
}

#[test]
fn the_same_input_makes_the_same_bytes() {
    let log = story(1);
    assert_eq!(build(&full(&log)).unwrap(), build(&full(&log)).unwrap());
}

#[test]
fn the_states_are_those_that_the_events_lead_to() {
    let files = read_archive(&build(&story(1).input()).unwrap()).unwrap();
    let states = String::from_utf8(files["states.jsonl"].clone()).unwrap();
    let states: Vec<serde_json::Value> = states.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = states
        .iter()
        .map(|line| (line["position"].as_u64().unwrap(), line["state"]["status"].as_str().unwrap(), line["state"]["active"].as_i64().unwrap()))
        .collect();
    assert_eq!(seen, [(6, "available", 0), (8, "assigned", 0), (9, "assigned", 1), (11, "assigned", 1), (12, "blocked", 1), (13, "blocked", 1)]);
    assert_eq!(
        (&states[1]["state"]["expires_at"], &states[2]["state"]["activations"]),
        (&"2027-05-03T10:08:00.000000Z".into(), &serde_json::json!([1]))
    );
}

#[test]
fn the_report_says_it_in_plain_sentences() {
    let log = story(1);
    let report = |input: &CaseInput| String::from_utf8(read_archive(&build(input).unwrap()).unwrap()["report.html"].clone()).unwrap();
    let open = report(&full(&log));
    for text in [
        "On 3 May 2026, 10:12:00 UTC, the license was blocked by the operator (reason: “charge &lt;back&gt;”). Before: status assigned; after: status blocked.",
        "use of the license was asked for by API key “support” (number 1) and refused, because the license was blocked.",
        "product 1 “Doors &lt;98&gt;”",
        "The period in dispute is from 3 May 2026, 10:11:00 UTC until 3 May 2026, 10:12:00 UTC.",
        "identifier: shop.example",
        "HTTP interface, address 192.0.2.1",
        "jane@shop.example",
    ] {
        assert!(open.contains(text), "{text}");
    }
    assert_eq!(open.matches("<tr class=\"inside\">").count(), 2);
    let sealed = report(&log.input());
    for text in ["shop.example", "192.0.2.1", "Jane"] {
        assert!(!sealed.contains(text), "{text} is personal");
    }
    for report in [open, sealed] {
        assert!(!report.contains("<script") && !report.contains("http://") && !report.contains("https://") && !report.contains("<back>"));
    }
}

/// Everything that can happen to a license, folded and told.
#[test]
fn every_event_is_replayed_and_has_its_words() {
    let log = everything(1);
    let mut input = log.input();
    input.secrets = Some(log.secrets.clone());
    let files = read_archive(&build(&input).unwrap()).unwrap();
    let states = String::from_utf8(files["states.jsonl"].clone()).unwrap();
    let last: serde_json::Value = serde_json::from_str(states.lines().last().unwrap()).unwrap();
    let expected = serde_json::json!({
        "activation_limit": 0, "activations": [], "active": 0, "assigned_at": null, "deleted": true, "expires_at": null, "key": "NEW-KEY", "meta": [],
        "owner": null, "product": 2, "status": "available", "validity_days": 1,
    });
    assert_eq!(last["state"], expected);
    let before_last: Vec<serde_json::Value> = states.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expired = before_last.iter().find(|line| line["state"]["validity_days"] == 1).unwrap();
    assert_eq!((&expired["state"]["expires_at"], &expired["state"]["owner"]), (&"2026-05-04T10:30:00.000000Z".into(), &4.into()));
    let report = String::from_utf8(files["report.html"].clone()).unwrap();
    assert!(!report.contains("was recorded"), "an event has no words");
    for text in [
        "the license was unblocked by API key “support” (number 1), and is assigned again. Before: status blocked",
        "the validity was changed by the operator, from 365 days to 1 day (reason: “bought a day”). Before: validity 365 days, expires",
        "the activation limit was changed by the operator, from 1 to unlimited.",
        "asked for by whoever had the key of license 1 and refused, because the license had expired.",
        "asked for by whoever had the key of contract 7 and refused, because the address or the identifier is on the block list (entry 8).",
        "the license key was changed by API key “support” (number 1), from ABCD-EFGH-1234 to NEW-KEY.",
        "from product 1 “Doors &lt;98&gt;” to product 2 “Windows”",
        "value: red",
    ] {
        assert!(report.contains(text), "{text}");
    }
    let keys: serde_json::Value = serde_json::from_slice(&files["keys.json"]).unwrap();
    assert!(
        keys["keys"][1]["retired_at"].is_string() && keys["keys"][1]["signs"][0]["to"].is_string() && keys["keys"][2]["signs"][0]["to"].is_null()
    );
}

/// Runs a check for every number below `count`, on all cores.
fn for_each(count: usize, check: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(at) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < count) {
                    check(at);
                }
            });
        }
    });
}

#[test]
fn every_altered_byte_of_every_file_is_rejected() {
    let log = story(1);
    let files = read_archive(&build(&full(&log)).unwrap()).unwrap();
    assert_eq!(files.len(), 11);
    let bytes: Vec<(&str, usize)> = files.iter().flat_map(|(name, bytes)| (0..bytes.len()).map(|at| (name.as_str(), at))).collect();
    for_each(bytes.len(), |index| {
        let (name, at) = bytes[index];
        // One bit, which one differs from byte to byte.
        let mut altered = files.clone();
        altered.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
        assert!(verify(&write_archive(&altered).unwrap(), &Given::default()).wrong.is_some(), "{name}: byte {at}");
    });
}

#[test]
fn every_altered_bit_of_the_archive_is_rejected() {
    let archive = build(&story(1).input()).unwrap();
    for_each(archive.len() * 8, |index| {
        let (at, bit) = (index / 8, index % 8);
        let mut altered = archive.clone();
        altered[at] ^= 1 << bit;
        assert!(verify(&altered, &Given::default()).wrong.is_some(), "byte {at}, bit {bit}");
    });
}

#[test]
fn a_file_added_removed_or_renamed_is_noticed() {
    let log = story(1);
    let files = read_archive(&build(&full(&log)).unwrap()).unwrap();
    let wrong = |files: &_| verify(&write_archive(files).unwrap(), &Given::default()).wrong.map(|wrong| wrong.to_string());
    assert_eq!(wrong(&files), None);
    for name in files.keys() {
        let mut fewer = files.clone();
        let bytes = fewer.remove(name).unwrap();
        assert!(wrong(&fewer).is_some(), "without {name}");
        fewer.insert(format!("{name}x"), bytes);
        assert!(wrong(&fewer).is_some(), "{name} renamed");
    }
    for name in ["readme.txt", "earlier/5", "earlier/", "../x", "EVENTS.jsonl"] {
        let mut more = files.clone();
        more.insert(name.to_owned(), log.note(5).into_bytes());
        assert!(wrong(&more).unwrap().contains(name), "{name}");
    }
    let mut more = read_archive(&build(&log.input()).unwrap()).unwrap();
    more.insert("opened.json".to_owned(), b"{}".to_vec());
    assert!(wrong(&more).unwrap().contains("report.html"));
}

#[test]
fn what_is_no_dispute_file_is_refused_in_words() {
    for (bytes, sentence) in [(&b""[..], "no ZIP file"), (b"PK", "no ZIP file"), (&[0; 100], "no ZIP file")] {
        assert!(verify(bytes, &Given::default()).wrong.unwrap().to_string().contains(sentence));
    }
    let empty = write_archive(&std::collections::BTreeMap::new()).unwrap();
    assert_eq!(verify(&empty, &Given::default()).wrong.unwrap().to_string(), "the file events.jsonl is missing");
}
