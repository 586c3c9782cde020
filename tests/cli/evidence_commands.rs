//! `keyledger evidence`: dispute files of real licenses, made beside a running server, without one, and over HTTP; and checked
//! offline, with what a customer may have kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use keyledger_evidence::{read_archive, write_archive};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::ledger::{bare_command, finish};
use crate::support::{ApiKey, Backend, CliOutput, Client, GLOBAL, PRODUCT, Running, ServeOptions, both_backends, eventually, fields};

both_backends!(
    a_file_holds_however_it_was_made,
    the_log_keeps_its_name_where_none_is_given,
    personal_data_is_in_it_where_it_was_asked_for,
    what_was_forgotten_is_in_no_new_file_and_old_ones_hold,
    an_altered_file_is_refused_with_the_first_thing_wrong,
    a_deleted_license_and_one_of_many_seats_have_files_too,
    what_cannot_be_is_said_in_words,
);

const CLIENT_IP: &str = "203.0.113.79";
/// Every text about the owner holds one of these, and no Base64 does.
const TRACES: [&str; 5] = ["jane@", ".jane.", "Jane ", "the colour she likes", CLIENT_IP];

/// A license to which everything has happened, and what its customer kept.
struct Scene {
    on: Running,
    folder: PathBuf,
    number: i64,
    license: String,
    /// A checkpoint of before the end, as a file.
    kept: String,
    /// An answer about the license, as a file.
    answer: String,
}

impl Scene {
    /// A file of this name in the test's folder.
    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a file can be written");
        path
    }

    /// `evidence export` of the license.
    async fn export(&self, name: &str, args: &[&str]) -> String {
        let path = self.path(name);
        let args = [&["evidence", "export", "--license", &self.license, "-o", &path][..], args].concat();
        let said = self.on.ledger.run(&args).await.success();
        assert!(said.contains(&format!("evidence verify {path}")), "{said}");
        path
    }

    async fn verify(&self, case: &str, args: &[&str]) -> CliOutput {
        verify(&self.folder, case, args).await
    }

    /// Promises that a file holds with all that the customer kept, and gives what was said.
    async fn expect_holds(&self, case: &str) -> String {
        let global = self.path("global.pem");
        let vkey = self.path("vkey");
        let given = ["--checkpoint", &self.kept, "--public-key", &global, "--public-key", &vkey, "--answer", &self.answer];
        let said = self.verify(case, &given).await.success();
        for sentence in [
            "The given checkpoint of",
            "is the beginning of this one",
            "Key pair 1 is the given public key.",
            "The checkpoint's key is the given one",
            "It names this license's key.",
            "No event of the license is missing",
            "the same byte for byte",
        ] {
            assert!(said.contains(sentence), "{sentence} is not in:\n{said}");
        }
        assert!(!said.contains("taken from the file itself") && said.ends_with("holds.\n"), "{said}");
        said
    }

    /// Promises that the file's states are what the server says that the license was at the same points.
    async fn expect_states(&self, case: &str) {
        let steps = text(case, "states.jsonl");
        assert!(steps.lines().count() > 10);
        for line in steps.lines() {
            let step: Value = serde_json::from_str(line).expect("a state is JSON");
            let path = format!("licenses/{}/state?as_of={}", self.number, step["position"]);
            let then = self.on.api.ledger_get(&path).await.expect(200).clone();
            let state = &step["state"];
            for (own, told) in [
                ("activation_limit", "/activation_limit"),
                ("active", "/active_count"),
                ("assigned_at", "/assigned_at"),
                ("deleted", "/deleted"),
                ("expires_at", "/expires_at"),
                ("key", "/license_key"),
                ("owner", "/owner/number"),
                ("product", "/product"),
                ("status", "/status"),
                ("validity_days", "/validity_days"),
            ] {
                assert_eq!(Some(&state[own]), then.pointer(told), "{own} after {line}");
            }
            let activations = then["activations"]["items"].as_array().expect("activations");
            let in_force: Vec<&Value> = activations.iter().filter(|one| one["active"] == true).map(|one| &one["number"]).collect();
            assert_eq!(state["activations"], json!(in_force), "{line}");
            let meta: Vec<&Value> = then["meta"].as_array().expect("meta entries").iter().map(|entry| &entry["key"]).collect();
            assert_eq!(state["meta"], json!(meta), "{line}");
            assert_eq!(then["last_event"], json!({ "position": step["position"], "time": step["recorded_at"] }));
        }
    }

    async fn over_http(&self, api: &Client, name: &str, body: &Value) -> String {
        let request = api.request(Method::POST, &format!("/ledger/v1/licenses/{}/evidence", self.number)).json(body);
        let response = request.send().await.expect("the server answers");
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        assert_eq!((response.status().as_u16(), header("content-type").as_deref()), (200, Some("application/zip")));
        assert_eq!(header("cache-control").as_deref(), Some("no-store"));
        assert!(header("content-disposition").is_some_and(|value| value.contains(&format!("license-{}.zip", self.number))));
        self.write(name, response.bytes().await.expect("a whole archive"))
    }
}

/// `evidence verify`, with no ledger and nothing configured.
async fn verify(folder: &Path, case: &str, args: &[&str]) -> CliOutput {
    finish(bare_command(&[&["evidence", "verify", case][..], args].concat(), folder)).await
}

fn files(case: &str) -> BTreeMap<String, Vec<u8>> {
    read_archive(&std::fs::read(case).expect("the file is there")).expect("an archive")
}

fn text(case: &str, name: &str) -> String {
    String::from_utf8(files(case)[name].clone()).expect("text")
}

/// The types of the license's own events.
fn types(case: &str) -> Vec<String> {
    let events = text(case, "events.jsonl");
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event is JSON"));
    let own = events.filter(|event| event["aggregate_type"] == "license");
    own.map(|event| event["event_type"].as_str().expect("a type").to_owned()).collect()
}

fn holds(case: &str, trace: &str) -> bool {
    let bytes = std::fs::read(case).expect("the file is there");
    bytes.windows(trace.len()).any(|window| window == trace.as_bytes())
}

/// An API key of that name, which the server knows.
async fn named(on: &Running, name: &str) -> Client {
    let api = on.api.with_key(ApiKey::Header(on.ledger.create_named_api_key(name, &["--capability", "*"]).await));
    eventually("the API key works", || async { (api.form("verify", fields!()).await.code() == 210).then_some(()) }).await;
    api
}

async fn scene(backend: Backend) -> Scene {
    let mut on = Running::start_with(backend, ServeOptions::args(&["--trusted-proxy", "127.0.0.1/32"])).await;
    on.api = on.api.with_header("x-forwarded-for", CLIENT_IP);
    let (shop, support) = (named(&on, "the shop").await, named(&on, "the support <desk>").await);
    let (product, other) = (on.api.new_product().await, on.api.new_product_with(fields!(name: "Windows & \"Doors\"")).await);
    // Others' events stand between those of the license.
    let noise = on.api.new_license(product, fields!()).await;
    let first = on.api.new_license(product, fields!(status: "available", activation_limit: 1, validity: 365)).await;
    let number = on.api.admin_list(&format!("licenses?license_key={first}"), 10).await[0]["number"].as_i64().expect("a number");
    on.api.activate(&noise, "noise.example").await.expect(300, PRODUCT);

    let assign = fields!(license_key: first, name: "Jane Doe", email: "jane@shop.example");
    shop.form("assign-license-key", assign).await.expect(800, GLOBAL);
    shop.activate(&first, "seat.jane.example").await.expect(300, PRODUCT);
    shop.activate(&first, "more.jane.example").await.expect(302, PRODUCT);
    let meta = fields!(license_key: first, identifier: "seat.jane.example", key: "colour", value: "the colour she likes");
    shop.form("create-license-key-meta", meta).await.expect(453, PRODUCT);
    let folder = on.ledger.directory().to_path_buf();
    let mut scene = Scene { on, folder, number, license: first, kept: String::new(), answer: String::new() };

    // What the customer keeps: a checkpoint, and an answer.
    let on = &scene.on;
    let covered = on.ledger.event_count().await - 1;
    let receipt = on.api.ledger_get(&format!("receipts/{covered}")).await.expect(200).clone();
    let kept = scene.write("kept.checkpoint", receipt["checkpoint"]["note"].as_str().expect("a note"));
    let details = on.api.post("get-license-key-details").form(&[("license_key", scene.license.as_str()), ("identifier", "seat.jane.example")]);
    let answer = scene.write("answer.json", details.send().await.expect("the server answers").bytes().await.expect("a body"));
    scene.write("global.pem", on.ledger.run(&["public-key"]).await.success());
    scene.write("vkey", on.ledger.run(&["evidence", "verifier-key"]).await.success());

    // It is blocked and unblocked, gets another key, goes to another product and another owner; and its first product another key pair.
    let path = format!("licenses/{number}");
    let block = support.with_header("x-reason", "charged back <twice>");
    block.admin_post(&format!("{path}/block"), json!(null)).await.expect(200);
    shop.verify(&scene.license, "seat.jane.example").await.expect(204, PRODUCT);
    eventually("the refusal is recorded", || async {
        let history = on.api.history(&format!("licenses/{number}/history"), 50).await;
        history.iter().any(|event| event["type"] == "AccessRefused").then_some(())
    })
    .await;
    support.with_header("x-reason", "it was a mistake").admin_post(&format!("{path}/unblock"), json!(null)).await.expect(200);
    let license = format!("{}-NEW", scene.license);
    support.admin_put(&format!("{path}/license-key"), json!({ "license_key": license })).await.expect(200);
    let changes = fields!(product_id: other, activation_limit: 3, validity: 0, owner_name: "Jane Roe", owner_email: "jane@home.example");
    shop.update_license(&license, changes).await.expect(950, PRODUCT);
    shop.activate(&license, "third.jane.example").await.expect(300, PRODUCT);
    shop.deactivate(&license, "seat.jane.example").await.expect("400", GLOBAL);
    on.api.admin_post(&format!("products/{product}/key-pairs"), json!({})).await.expect(201);
    scene.kept = kept;
    scene.answer = answer;
    scene.license = license;
    scene
}

async fn a_file_holds_however_it_was_made(backend: Backend) {
    let scene = scene(backend).await;
    let made = scene.export("beside.zip", &["--checkpoint", &scene.kept, "--from", "2024-01-01", "--to", "2099-12-31T23:59:59Z"]).await;
    let said = scene.expect_holds(&made).await;
    assert!(said.contains(&format!("about license {}", scene.number)), "{said}");
    let recorded = types(&made);
    for name in [
        "LicenseCreated",
        "LicenseAssigned",
        "LicenseActivated",
        "ActivationRefused",
        "LicenseMetaCreated",
        "LicenseBlocked",
        "AccessRefused",
        "LicenseKeyReplaced",
        "LicenseProductChanged",
        "OwnerChanged",
        "ActivationLimitChanged",
        "ValidityChanged",
        "LicenseDeactivated",
    ] {
        assert!(recorded.iter().any(|known| known == name), "{name} is not in {recorded:?}");
    }
    let report = text(&made, "report.html");
    for words in [
        "the license was blocked by API key “the support &lt;desk&gt;”",
        "(reason: “charged back &lt;twice&gt;”)",
        "(reason: “it was a mistake”)",
        "because the license was blocked",
        "because 1 of 1 allowed ones were in force",
        "from product 1 “Test Product” to product 2 “Windows &amp;",
        "API key “the shop”",
    ] {
        assert!(report.contains(words), "{words} is not in:\n{report}");
    }
    let keys: Value = serde_json::from_str(&text(&made, "keys.json")).expect("JSON");
    let ended = keys["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .flat_map(|key| key["signs"].as_array().expect("periods"))
        .filter(|period| period["to"].is_string());
    assert_eq!(ended.count(), 1, "{keys}");

    scene.expect_states(&made).await;

    // Over HTTP with a key that may do just this, and with the server stopped.
    let clerk = scene.on.caller(&["--capability", "ledger:entries"]).await;
    let kept = std::fs::read_to_string(&scene.kept).expect("the kept checkpoint");
    let sent = scene.over_http(&clerk, "http.zip", &json!({ "checkpoints": [kept], "from": "2024-01-01" })).await;
    scene.expect_holds(&sent).await;
    assert_eq!(types(&sent), recorded);
    // Its checkpoint was published: a file made later proves that the log goes on from it.
    let newest = scene.on.api.bytes("/ledger/v1/checkpoint").await.2;
    assert_eq!(newest, files(&sent)["checkpoint"]);
    let newest = scene.write("newest.checkpoint", newest);
    let Scene { on, folder, number, license, kept, answer } = scene;
    let Running { server, ledger, api } = on;
    server.stop().await;
    let number_text = number.to_string();
    let alone = folder.join("alone.zip").to_string_lossy().into_owned();
    let export = ["evidence", "export", "--license", &number_text, "-o", &alone, "--checkpoint", &newest, "--checkpoint", &kept];
    ledger.run(&export).await.success();
    let said = verify(&folder, &alone, &["--checkpoint", &newest, "--checkpoint", &kept, "--answer", &answer]).await.success();
    assert!(said.contains("taken from the file itself"), "{said}");
    assert_eq!(types(&alone), recorded);
    // Of the checkpoints that it was not made with, nothing can be said.
    let without = verify(&folder, &made, &["--checkpoint", &newest]).await.failure(1);
    assert!(without.contains("ask for a newer file"), "{without}");
    ledger.expect_intact().await;
    // The server goes on where the command line left off.
    let server = ledger.serve().await;
    let again = server.client();
    assert_eq!(again.bytes("/ledger/v1/checkpoint").await.2, files(&alone)["checkpoint"]);
    again.activate(&license, "later.example").await.expect(300, PRODUCT);
    drop(api);
    ledger.expect_intact().await;
}

async fn the_log_keeps_its_name_where_none_is_given(backend: Backend) {
    let named = |name: &str| ServeOptions::args(&["--checkpoint-origin", name]);
    let Running { api, mut server, ledger } = Running::start_with(backend, named("vendor.example/log")).await;
    let product = api.new_product().await;
    let license = api.new_license(product, fields!()).await;
    // The server's name of the log, by its newest checkpoint.
    let name = async |api: &Client| {
        let last = ledger.event_count().await - 1;
        let receipt = api.ledger_get(&format!("receipts/{last}")).await.expect(200).clone();
        let name = receipt["checkpoint"]["note"].as_str().and_then(|note| note.lines().next()).expect("a note").to_owned();
        let vkey = String::from_utf8(api.bytes("/ledger/v1/verifier-key").await.2).expect("text");
        assert!(vkey.contains(&format!("{name}+")), "{vkey}");
        name
    };
    // And what the command line calls it, which is told nothing.
    let exported = async |file: &str| {
        let path = ledger.directory().join(file).to_string_lossy().into_owned();
        ledger.run(&["evidence", "export", "--license", &license, "-o", &path]).await.success();
        verify(ledger.directory(), &path, &[]).await.success();
        let name = text(&path, "checkpoint").lines().next().expect("a name").to_owned();
        let vkey = ledger.run(&["evidence", "verifier-key"]).await.success();
        assert_eq!(vkey.trim_end(), text(&path, "checkpoint.vkey").trim_end());
        name
    };
    assert_eq!((name(&api).await, exported("beside.zip").await), ("vendor.example/log".to_owned(), "vendor.example/log".to_owned()));
    for (options, expected) in [
        (ServeOptions::default(), "vendor.example/log"),
        (named("vendor.example/renamed"), "vendor.example/renamed"),
        (ServeOptions::default(), "vendor.example/renamed"),
    ] {
        server.stop().await;
        server = ledger.serve_with(options).await;
        let api = server.client();
        api.new_license(product, fields!()).await;
        assert_eq!(name(&api).await, expected);
    }
    assert_eq!(exported("after.zip").await, "vendor.example/renamed");
    ledger.expect_intact().await;
}

async fn personal_data_is_in_it_where_it_was_asked_for(backend: Backend) {
    let scene = scene(backend).await;
    let sealed = scene.export("sealed.zip", &[]).await;
    let open = scene.export("open.zip", &["--with-personal-data", "--checkpoint", &scene.kept]).await;
    let said = scene.expect_holds(&open).await;
    assert!(said.contains("The personal data of"), "{said}");
    for trace in TRACES {
        assert!(!holds(&sealed, trace), "{trace} is in a file without personal data");
        assert!(holds(&open, trace), "{trace} is not in a file with personal data");
    }
    assert!(!files(&sealed).contains_key("opened.json"));
    assert!(!scene.verify(&sealed, &[]).await.success().contains("personal data"));

    // Over HTTP this takes a capability more.
    let clerk = scene.on.caller(&["--capability", "ledger:entries"]).await;
    let with = json!({ "with_personal_data": true });
    let ask = async |api: &Client, body: &Value| {
        api.admin_answer(api.request(Method::POST, &format!("/ledger/v1/licenses/{}/evidence", scene.number)).json(body)).await
    };
    let refused = ask(&clerk, &with).await;
    refused.expect_problem(403, "not-permitted");
    assert!(refused.body["detail"].as_str().is_some_and(|detail| detail.contains("ledger:personal-data")), "{}", refused.body);
    let sent = scene.over_http(&clerk, "http-sealed.zip", &json!({})).await;
    assert!(TRACES.iter().all(|trace| !holds(&sent, trace)));
    let trusted = scene.on.caller(&["--capability", "ledger:entries", "--capability", "ledger:personal-data"]).await;
    let sent = scene.over_http(&trusted, "http-open.zip", &with).await;
    assert!(TRACES.iter().all(|trace| holds(&sent, trace)));
    scene.verify(&sent, &[]).await.success();
    // Another's file holds nothing of her.
    let bystander = scene.path("bystander.zip");
    scene.on.ledger.run(&["evidence", "export", "--license", "1", "--with-personal-data", "-o", &bystander]).await.success();
    assert!(holds(&bystander, "noise.example") && !holds(&bystander, "jane@") && !holds(&bystander, ".jane."));
    scene.verify(&bystander, &[]).await.success();
    let log = scene.on.server.log_text();
    assert!(!TRACES.iter().any(|trace| log.contains(trace)) && !log.contains(&scene.license), "{log}");
}

async fn what_was_forgotten_is_in_no_new_file_and_old_ones_hold(backend: Backend) {
    let scene = scene(backend).await;
    let open = scene.export("open.zip", &["--with-personal-data", "--checkpoint", &scene.kept]).await;
    let sealed = scene.export("sealed.zip", &["--checkpoint", &scene.kept]).await;
    // The first owner and the second one.
    for email in ["jane@shop.example", "jane@home.example"] {
        scene.on.ledger.run(&["subject", "forget", "--email", email]).await.success();
    }
    for case in [&open, &sealed] {
        scene.expect_holds(case).await;
    }
    let after = scene.export("after.zip", &["--with-personal-data", "--checkpoint", &scene.kept]).await;
    scene.expect_holds(&after).await;
    for trace in ["jane@", ".jane.", "Jane ", "the colour she likes"] {
        assert!(holds(&open, trace), "what was given out is given out");
        assert!(!holds(&after, trace), "{trace} is in a new file");
    }
    assert_eq!(types(&after), types(&open), "what happened stays");
    // Where a request came from is about the owner, where the license had one; else about whoever's API key it was.
    for api_key in ["1", "2", "3"] {
        scene.on.ledger.run(&["subject", "forget", "--api-key", api_key]).await;
    }
    let last = scene.export("last.zip", &["--with-personal-data", "--checkpoint", &scene.kept]).await;
    scene.expect_holds(&last).await;
    assert!(holds(&after, CLIENT_IP) && !holds(&last, CLIENT_IP));
    scene.on.ledger.run(&["rebuild"]).await.success();
    let rebuilt = scene.export("rebuilt.zip", &["--with-personal-data", "--checkpoint", &scene.kept]).await;
    scene.expect_holds(&rebuilt).await;
    assert!(TRACES.iter().all(|trace| !holds(&rebuilt, trace)));
    scene.on.ledger.expect_intact().await;
}

async fn an_altered_file_is_refused_with_the_first_thing_wrong(backend: Backend) {
    let scene = scene(backend).await;
    let made = scene.export("case.zip", &["--checkpoint", &scene.kept]).await;
    let altered = async |name: &str, from: &str, to: &str| {
        let mut files = files(&made);
        let whole = String::from_utf8(files[name].clone()).expect("text");
        assert!(whole.contains(from), "{from} is not in {name}");
        files.insert(name.to_owned(), whole.replacen(from, to, 1).into_bytes());
        let path = scene.write("altered.zip", write_archive(&files).expect("an archive"));
        scene.verify(&path, &[]).await.failure(1)
    };
    for (name, from, to, wrong) in [
        ("events.jsonl", "charged back", "charged bock", "is not in the log as signed"),
        ("events.jsonl", "\"LicenseBlocked\"", "\"LicenseReserved\"", "line "),
        ("states.jsonl", "\"blocked\"", "\"assigned\"", "states.jsonl is not what the events add up to"),
        ("keys.json", "RSA-2048", "RSA-4096", "keys.json is not what the events add up to"),
        ("report.html", "charged back", "paid in full", "report.html is not what the events add up to"),
        ("checkpoint.vkey", "keyledger/", "keylodger/", "checkpoint"),
        ("proof.json", "\"license_key\":\"", "\"license_key\":\"X", "license's key"),
    ] {
        let said = altered(name, from, to).await;
        assert!(said.contains("does not hold") && said.contains(wrong), "{name}: {said}");
    }
    // An event out of the middle, and the last one, with their proofs.
    let events = text(&made, "events.jsonl");
    let mut proof: Value = serde_json::from_str(&text(&made, "proof.json")).expect("JSON");
    let own: Vec<usize> = events.lines().enumerate().filter(|(_, line)| line.contains("\"aggregate_type\":\"license\"")).map(|(at, _)| at).collect();
    let inclusion = proof["inclusion"].as_array().expect("proofs").clone();
    for gone in [own[own.len() / 2], own[own.len() - 1]] {
        let mut files = files(&made);
        let kept: String = events.lines().enumerate().filter(|(at, _)| *at != gone).map(|(_, line)| format!("{line}\n")).collect();
        let proofs: Vec<&Value> = inclusion.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, proof)| proof).collect();
        proof["inclusion"] = json!(proofs);
        files.insert("events.jsonl".to_owned(), kept.into_bytes());
        files.insert("proof.json".to_owned(), proof.to_string().into_bytes());
        let path = scene.write("fewer.zip", write_archive(&files).expect("an archive"));
        let said = scene.verify(&path, &[]).await.failure(1);
        assert!(said.contains("the license's event number") && said.contains("is missing"), "{said}");
    }
    // What is given beside it must fit, too.
    let product_key = scene.write("product.pem", scene.on.ledger.run(&["public-key", "--product", "1"]).await.success());
    let said = scene.verify(&made, &["--public-key", &product_key]).await.failure(1);
    assert!(said.contains("give the global one"), "{said}");
    let answer = std::fs::read_to_string(&scene.answer).expect("the answer");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let mut forged = answer.clone();
    forged["response"]["code"] = json!(999);
    let forged = scene.write("forged.json", forged.to_string());
    let said = scene.verify(&made, &["--answer", &forged]).await.failure(1);
    assert!(said.contains("is not what was signed"), "{said}");
}

async fn a_deleted_license_and_one_of_many_seats_have_files_too(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let folder = on.ledger.directory().to_path_buf();
    let license = on.api.new_license(product, fields!(activation_limit: 0, owner_email: "many@a.example")).await;
    for seat in 0..150 {
        on.api.activate(&license, &format!("{seat}.example")).await.expect(300, PRODUCT);
    }
    on.api.update_license(&license, fields!(status: "available")).await.expect(950, PRODUCT);
    on.api.form("delete-license-key", fields!(license_key: license)).await.expect(850, PRODUCT);
    let again = on.api.new_license(product, fields!()).await;
    let export = async |license: &str, name: &str| {
        let path = folder.join(name).to_string_lossy().into_owned();
        on.ledger.run(&["evidence", "export", "--with-personal-data", "--license", license, "-o", &path]).await.success();
        let said = verify(&folder, &path, &[]).await.success();
        assert!(said.contains("No event of the license is missing"), "{said}");
        path
    };
    let gone = export(&license, "gone.zip").await;
    let last: Value = serde_json::from_str(text(&gone, "states.jsonl").lines().last().expect("a state")).expect("JSON");
    assert_eq!((&last["state"]["deleted"], &last["state"]["active"]), (&json!(true), &json!(0)));
    assert!(types(&gone).len() >= 153 && holds(&gone, "149.example"));
    let states = text(&gone, "states.jsonl");
    assert!(states.contains("\"active\":150") && states.contains("\"activations\":null"), "more than are listed");
    // One to which nothing happened yet, the newest of all; and generated ones.
    assert_eq!(types(&export(&again, "new.zip").await), ["LicenseCreated"]);
    on.ledger.expect_intact().await;
}

async fn what_cannot_be_is_said_in_words(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    let folder = on.ledger.directory().to_path_buf();
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let write = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).expect("a file can be written");
        path(name)
    };
    let export = async |args: &[&str]| on.ledger.run(&[&["evidence", "export"][..], args].concat()).await;
    let (case, taken) = (path("case.zip"), write("taken.zip", "mine"));
    let events = on.ledger.event_count().await;

    let said = export(&["--license", "NO-SUCH-KEY", "-o", &case]).await.failure(1);
    assert!(said.contains("--license: nothing in the log has this name"), "{said}");
    let said = export(&["--license", "999", "-o", &case]).await.failure(1);
    assert!(said.contains("nothing in the log has this name"), "{said}");
    let said = export(&["--license", &license, "-o", &taken]).await.failure(1);
    assert!(said.contains("taken.zip") && said.contains("exists"), "{said}");
    assert_eq!(std::fs::read_to_string(&taken).expect("it is there"), "mine");
    let said = export(&["--license", &license, "-o", &path("no/such/folder.zip")]).await.failure(1);
    assert!(said.contains("folder.zip"), "{said}");
    for (from, to, wrong) in
        [("yesterday", "2024-01-01", "--from yesterday"), ("2024-02-01", "2024-01-01", "before --from"), ("2024-02-30", "2025-01-01", "2024-02-30")]
    {
        let said = export(&["--license", &license, "-o", &case, "--from", from, "--to", to]).await.failure(1);
        assert!(said.contains(wrong), "{said}");
    }
    let said = export(&["--license", &license, "-o", &case, "--checkpoint", &path("none")]).await.failure(1);
    assert!(said.contains("none"), "{said}");
    let foreign = write("foreign", "example.com/log\n3\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— example.com/log AAAAAQID\n");
    let said = export(&["--license", &license, "-o", &case, "--checkpoint", &foreign]).await.failure(1);
    assert!(said.contains("not signed by this ledger"), "{said}");
    export(&["--license", &license]).await.failure(2);
    export(&["-o", &case]).await.failure(2);
    let said = export(&["--license", &license, "-o", &case, "--checkpoint-origin", "two words"]).await.failure(1);
    assert!(said.contains("--checkpoint-origin"), "{said}");
    assert!(!Path::new(&case).exists(), "nothing is left of what did not come to its end");
    assert!(on.ledger.event_count().await <= events + 1, "what is refused makes no checkpoint");

    let said = finish(bare_command(&["evidence", "export", "--license", "1", "-o", "x.zip"], &folder)).await.failure(1);
    assert!(said.contains("ledger") && !folder.join("x.zip").exists(), "{said}");

    // Over HTTP.
    let ask = async |license: &str, body: Value| {
        on.api.admin_answer(on.api.request(Method::POST, &format!("/ledger/v1/licenses/{license}/evidence")).json(&body)).await
    };
    ask("NO-SUCH-KEY", json!({})).await.expect_problem(404, "not-found");
    ask(&license, json!({ "from": "x", "to": "2024-13-01" })).await.expect_invalid(&["/from", "/to"]);
    ask(&license, json!({ "from": "2024-02-01", "to": "2024-01-01" })).await.expect_invalid(&["/to"]);
    ask(&license, json!({ "checkpoints": ["none"] })).await.expect_invalid(&["/checkpoints/0"]);
    ask(&license, json!({ "checkpoints": vec!["none"; 101] })).await.expect_problem(422, "invalid-parameters");
    ask(&license, json!({ "with": 1 })).await.expect_problem(422, "invalid-parameters");

    // And the verifier.
    export(&["--license", &license, "-o", &case]).await.success();
    let check = async |case: &str, args: &[&str]| verify(&folder, case, args).await;
    check(&case, &[]).await.success();
    let said = check(&taken, &[]).await.failure(1);
    assert!(said.contains("taken.zip does not hold") && said.contains("no ZIP file"), "{said}");
    let said = check(&path("none.zip"), &[]).await.failure(1);
    assert!(said.contains("none.zip can't be read"), "{said}");
    let said = check(&folder.to_string_lossy(), &[]).await.failure(1);
    assert!(said.contains("can't be read") || said.contains("no ZIP file"), "{said}");
    for (option, wrong) in [
        ("--checkpoint", "the given checkpoint does not fit"),
        ("--public-key", "the given public key can't be read"),
        ("--answer", "is no signed answer"),
    ] {
        let said = check(&case, &[option, &taken]).await.failure(1);
        assert!(said.contains(wrong), "{said}");
        let said = check(&case, &[option, &path("none")]).await.failure(1);
        assert!(said.contains("can't be read"), "{said}");
    }
    let cut = write("cut.zip", "");
    let bytes = std::fs::read(&case).expect("the file is there");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).expect("a file can be written");
    let said = check(&cut, &[]).await.failure(1);
    assert!(said.contains("cut off"), "{said}");
    finish(bare_command(&["evidence", "verify"], &folder)).await.failure(2);
    finish(bare_command(&["evidence", "frobnicate"], &folder)).await.failure(2);
    on.ledger.expect_intact().await;
}
