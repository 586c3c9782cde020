//! What a forger can try who has a true file and all of its proofs, but not the keys. `build` makes all that can be made without
//! them, as a forger would, and checks the result.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use keyledger_evidence::{CaseInput, Given, build, read_archive, rsa_check::checkpoint_message, time, verify, write_archive};
use serde_json::{Value, json};
use support::{BEGIN, LICENSE, LICENSE_KEY, Log, MINUTE, pem, rsa_sign, story};

fn refused(input: &CaseInput, sentence: &str) {
    let wrong = build(input).expect_err(sentence).to_string();
    assert!(wrong.contains(sentence), "“{sentence}” is not in: {wrong}");
}

fn verdict(archive: &[u8], given: &Given, sentence: &str) {
    let wrong = verify(archive, given).wrong.expect(sentence).to_string();
    assert!(wrong.contains(sentence), "“{sentence}” is not in: {wrong}");
}

fn position(leaf: &str) -> u64 {
    serde_json::from_str::<Value>(leaf).unwrap()["position"].as_u64().unwrap()
}

fn without(log: &Log, at: u64) -> CaseInput {
    let mut input = log.input();
    input.events.retain(|event| position(&event.leaf) != at);
    input
}

#[test]
fn an_event_taken_out_of_the_middle_is_named() {
    let log = story(1);
    refused(&without(&log, 8), "the license's event number 2 is missing: between position 6 and position 9");
    refused(&without(&log, 12), "the license's event number 5 is missing: between position 11 and position 13");
    refused(&without(&log, 6), "the license's first event, at position 8, is not LicenseCreated");
}

#[test]
fn an_event_taken_off_the_end_is_named() {
    let log = story(1);
    refused(&without(&log, 13), "does not say that the license's last event is number 5 at position 12: an event after it is missing");
    // With the map's entry left as it was, and everything else made anew.
    let files = read_archive(&build(&log.input()).unwrap()).unwrap();
    let mut forged = files.clone();
    let events: Vec<&str> = str::from_utf8(&files["events.jsonl"]).unwrap().lines().filter(|line| position(line) != 13).collect();
    forged.insert("events.jsonl".to_owned(), format!("{}\n", events.join("\n")).into_bytes());
    verdict(
        &write_archive(&forged).unwrap(),
        &Given::default(),
        "line 11 of events.jsonl is the event at position 14, proof.json expects the one at 13",
    );
    let mut proof: Value = serde_json::from_slice(&files["proof.json"]).unwrap();
    proof["inclusion"].as_array_mut().unwrap().retain(|entry| entry["position"] != 13);
    forged.insert("proof.json".to_owned(), serde_json_canonicalizer::to_vec(&proof).unwrap());
    let sentence = "the license's event number 6 at position 13 is missing: the file ends with number 5 at position 12";
    verdict(&write_archive(&forged).unwrap(), &Given::default(), sentence);
}

#[test]
fn an_altered_event_is_named() {
    let log = story(1);
    let mut input = log.input();
    let event = input.events.iter_mut().find(|event| position(&event.leaf) == 12).unwrap();
    event.leaf = event.leaf.replace("charge <back>", "request");
    refused(&input, "the event at position 12");
    // An event twice, with its own true proof.
    let mut input = log.input();
    input.events.insert(1, input.events[0].clone());
    refused(&input, "the event at position 0 stands in the wrong place");
}

#[test]
fn context_that_is_missing_or_too_much_is_named() {
    let log = story(1);
    refused(&without(&log, 0), "LedgerCreated at position 0, is missing");
    refused(&without(&log, 1), "the creation of the ledger's global key pair is missing");
    refused(&without(&log, 2), "the creation of API key 1, which acts in the license's events, is missing");
    refused(&without(&log, 4), "the creation of key pair 2 is missing");
    refused(&without(&log, 5), "the creation of product 1, which the license's events name, is missing");
    refused(&without(&log, 14), "the file does not have exactly one recorded stream map");
}

#[test]
fn a_stream_map_of_another_time_or_license_does_not_help() {
    let mut log = story(1);
    log.push(LICENSE, "LicenseReserved", json!({ "from": "blocked", "license": 1, "product": 1 }));
    // The map is older than the license's last event.
    refused(&log.input(), "the event at position 16 is later than the stream map");
    let mut input = log.input();
    input.license = 2;
    refused(&input, "is not of license 2");
}

#[test]
fn a_checkpoint_signed_by_somebody_else_is_refused() {
    let (log, forger) = (story(1), story(2));
    let mut input = log.input();
    input.checkpoint_signature = rsa_sign(&forger.global, &checkpoint_message(&input.checkpoint));
    refused(&input, "checkpoint.sig is not a signature of the checkpoint by the ledger's global key pair");
    input.checkpoint_signature = rsa_sign(&log.global, input.checkpoint.as_bytes());
    refused(&input, "checkpoint.sig is not a signature");
    let mut input = log.input();
    input.vkey = forger.vkey().to_string();
    refused(&input, "it is not signed by the key");
}

#[test]
fn a_whole_ledger_made_up_is_told_by_the_keys_that_one_has() {
    let (log, forger) = (story(1), story(2));
    let forged = build(&forger.input()).unwrap();
    let key = |key: String| Given { public_keys: vec![key], ..Given::default() };
    assert_eq!(verify(&forged, &key(forger.vkey().to_string())).wrong, None);
    verdict(&forged, &key(log.vkey().to_string()), "not by the given key");
    verdict(&forged, &key(pem(&log.global)), "the given public key is not in the ledger");
    verdict(&forged, &key(pem(&forger.product)), "the given public key is key pair 2 of this ledger, which does not sign checkpoints");
    verdict(&forged, &key("no key".to_owned()), "can't be read");
    let kept = Given { checkpoints: vec![log.note(5)], ..Given::default() };
    verdict(&forged, &kept, "the given checkpoint does not fit");
}

/// The operator itself rewrites the log: it has all keys, but not the checkpoints that others hold.
#[test]
fn a_rewritten_log_is_told_by_an_earlier_checkpoint() {
    let log = story(1);
    let mut rewritten = Log::new(1);
    (rewritten.global, rewritten.product) = (log.global.clone(), log.product.clone());
    let leaves: Vec<String> = log.input().events.into_iter().map(|event| event.leaf).collect();
    // Only what is in the file, at new positions.
    for leaf in &leaves {
        let leaf: Value = serde_json::from_str(leaf).unwrap();
        let id: [u8; 16] = hex::decode(leaf["aggregate_id"].as_str().unwrap().replace('-', "")).unwrap().try_into().unwrap();
        let (kind, name) = (leaf["aggregate_type"].as_str().unwrap(), leaf["event_type"].as_str().unwrap());
        if name == "StreamMapRecorded" {
            rewritten.push_as("api_key:1", None, ("license", support::stream(b'L', 2)), "LicenseCreated", "2.0", json!({}));
            rewritten.record_map();
        } else if name != "LicenseBlocked" {
            rewritten.push_as("api_key:1", None, (kind, id), name, leaf["event_version"].as_str().unwrap(), leaf["payload"][name].clone());
        }
    }
    let mut input = rewritten.input();
    let archive = build(&input).unwrap();
    assert_eq!(verify(&archive, &Given { public_keys: vec![pem(&log.global)], ..Given::default() }).wrong, None);
    let kept = |size| Given { checkpoints: vec![log.note(size)], ..Given::default() };
    verdict(&archive, &kept(5), "no consistency proof from the given checkpoint of 5 events");
    verdict(&archive, &kept(rewritten.size()), "there are two versions of this log");
    verdict(&archive, &kept(log.size()), "the file ends at 12 events, the given checkpoint is of 16");
    input.earlier = vec![rewritten.earlier(5)];
    let archive = build(&input).unwrap();
    verdict(&archive, &kept(5), "the given checkpoint of 5 events has another root: there are two versions of this log");
    input.earlier[0].note = log.note(5);
    refused(&input, "the log is not the one that the checkpoint earlier/5 was made of");
}

#[test]
fn a_secret_opens_its_own_event_alone() {
    let log = story(1);
    let mut input = log.input();
    let (first, last) = (*log.secrets.first_key_value().unwrap().0, *log.secrets.last_key_value().unwrap().1);
    input.secrets = Some([(first, last)].into());
    refused(&input, "the secret in opened.json for position 8 does not open that event's personal data");
    input.secrets = Some([(1, last)].into());
    refused(&input, "opened.json has a secret for position 1, which is no event of this license");
    input.secrets = Some([(11, last)].into());
    refused(&input, "for position 11 does not open");
}

#[test]
fn a_period_must_be_one() {
    let mut input = story(1).input();
    (input.from, input.to) = (Some(time::write(BEGIN + MINUTE)), Some(time::write(BEGIN)));
    refused(&input, "ends before it begins");
    input.from = Some("yesterday".to_owned());
    refused(&input, "“yesterday” is no time");
}

fn answer(key: &rsa::RsaPrivateKey, used: &str, at: i64, code: i64) -> Value {
    let response = json!({ "code": code, "license_key": LICENSE_KEY, "message": "License key blocked", "timestamp": at / 1_000_000 });
    let encoded = BASE64.encode(response.to_string());
    let signature = BASE64.encode(rsa_sign(key, encoded.as_bytes()));
    json!({ "response": response, "response_base64": encoded, "private_key_used": used, "signature": signature })
}

#[test]
fn an_answer_that_was_kept_is_checked_with_the_keys_of_the_log() {
    let (log, forger) = (story(1), story(2));
    let archive = build(&log.input()).unwrap();
    let given = |answer: &Value| Given { answers: vec![answer.to_string().into_bytes()], ..Given::default() };
    let true_answer = answer(&log.product, "product", BEGIN + 13 * MINUTE, 204);
    let result = verify(&archive, &given(&true_answer));
    assert_eq!(result.wrong, None);
    let said = result.checked.join("\n");
    for sentence in [
        "code 204 (“License key blocked”), made on 3 May 2026, 10:13:00 UTC, is signed by key pair 2",
        "names this license's key",
        "the license was blocked, as of position 13",
    ] {
        assert!(said.contains(sentence), "{said}");
    }
    assert_eq!(verify(&archive, &given(&answer(&log.global, "global", BEGIN, 210))).wrong, None);
    let at = BEGIN + 13 * MINUTE;
    verdict(&archive, &given(&answer(&forger.product, "product", at, 204)), "not signed by any key of this ledger");
    verdict(&archive, &given(&answer(&log.product, "global", at, 204)), "which is not so");
    let mut altered = true_answer.clone();
    altered["response"]["code"] = 200.into();
    verdict(&archive, &given(&altered), "is not what was signed");
    altered["response_base64"] = BASE64.encode(altered["response"].to_string()).into();
    verdict(&archive, &given(&altered), "not signed by any key");
    verdict(&archive, &given(&json!({ "code": 200 })), "no signed answer");
}
