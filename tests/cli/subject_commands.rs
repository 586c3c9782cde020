//! `keyledger subject forget` and `keyledger vacuum`, beside a running server; and that nothing of a forgotten subject is left,
//! wherever one looks, down to the bytes of the database's files.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{ApiKey, Backend, GLOBAL, Ledger, PRODUCT, Running, ServeOptions, both_backends, eventually, fields, raw};

both_backends!(
    nothing_of_a_forgotten_owner_is_left,
    a_license_that_changed_hands_keeps_what_is_its_new_owners,
    api_keys_licenses_and_blocks_are_forgotten_by_number,
    whom_nobody_knows_cannot_be_forgotten,
);

const CLIENT_IP: &str = "203.0.113.78";
/// Every text about the one to be forgotten holds one of these. What is sealed, or a key, could hold the name alone by chance.
const TRACES: [&str; 10] = ["jane@", "Jane@", "Jane ", ".jane.", " jane", ":9/jane", "jane-7", "jane-8", "for-jane", CLIENT_IP];
/// The same of somebody else.
const TRACES_OF_BOB: [&str; 4] = ["Bob Roe", "Bob's", "bob@shop", "bob.example"];

/// A server, and Jane with all that can be known of her, beside Bob.
struct Scene {
    on: Running,
    product: i64,
    licenses: Vec<String>,
    bobs: String,
}

async fn scene(backend: Backend) -> Scene {
    // A port where nobody takes web hooks.
    let arguments = ["--trusted-proxy", "127.0.0.1/32", "--allow-outgoing", "127.0.0.1"];
    let mut on = Running::start_with(backend, ServeOptions::args(&arguments)).await;
    on.api = on.api.with_header("x-forwarded-for", CLIENT_IP);
    let product = on.api.new_product().await;
    let mut licenses = Vec::new();
    for number in 0..3 {
        let owner = fields!(owner_name: "Jane Doe", owner_email: "jane@shop.example");
        // What is remembered of requests is done away with, or holds nothing.
        let remembered = on.api.with_header("idempotency-key", &format!("an order of jane's {number}"));
        let license = remembered.new_license(product, owner).await;
        for seat in ["one", "two"] {
            let identifier = format!("{seat}-{number}.jane.example");
            let activation = fields!(license_key: license, identifier: identifier, post_url: "http://127.0.0.1:9/jane");
            remembered.form("activate", activation).await;
            on.api.activate(&license, &identifier).await;
        }
        let seat = format!("one-{number}.jane.example");
        let meta = fields!(license_key: license, identifier: seat, key: "colour", value: "what Jane likes");
        on.api.form("create-license-key-meta", meta).await.expect(453, PRODUCT);
        on.api.deactivate(&license, &format!("two-{number}.jane.example")).await.expect("400", GLOBAL);
        let report = fields!(
            data_type: "text", data_group: "starts", text_data: "started by jane", license_key: license, product_id: product,
            user_identifier: "jane-7", activation_identifier: seat, product_version: "1",
        );
        on.api.form("send-telemetry-data", report).await;
        licenses.push(license);
    }
    let bob = fields!(owner_name: "Bob Roe", owner_email: "bob@shop.example");
    let bobs = on.api.new_license(product, bob).await;
    on.api.activate(&bobs, "bob.example").await.expect(300, PRODUCT);
    on.api.new_license(product, fields!(status: "available")).await;
    let job = fields!(
        product_id: product, quantity: 1, generate: 0, owner_name: "Jane Doe", owner_email: "Jane@Shop.Example",
        identifier: "order of jane", webhook_url: "http://127.0.0.1:9/for-jane",
    );
    on.api.form("random-assign-license-keys-queued", job).await;
    eventually("the job is done", || async {
        let done = raw::number(&on.ledger.place, "select count(*) from assignment_job where result = 'assigned'").await;
        (done == 1).then_some(())
    })
    .await;
    Scene { on, product, licenses, bobs }
}

async fn nothing_of_a_forgotten_owner_is_left(backend: Backend) {
    let Scene { on, product, licenses, bobs } = scene(backend).await;
    let place = &on.ledger.place;
    if backend == Backend::Postgres {
        raw::execute(place, "ANALYZE").await.expect("the planner samples the columns");
        let sampled = raw::number(place, "select count(*) from pg_stats where most_common_vals::text like '%jane%'").await;
        assert!(sampled > 0, "the planner has samples of her data");
    }
    flush(&on.ledger).await;
    for trace in ["jane.example", "Jane Doe", "what Jane likes", "jane-7"] {
        assert!(!files_with(&on.ledger, &[trace]).await.is_empty(), "the test looks in the wrong place: {trace} is nowhere");
    }

    let said = on.ledger.run(&["subject", "forget", "--email", " JANE@shop.example ", "--reason", "ticket 7"]).await;
    assert!(said.stderr.contains("keyledger vacuum") && said.stderr.contains("Backups"), "{}", said.stderr);
    let said = said.success();
    assert!(!said.to_lowercase().contains("jane") && said.contains("owner") && said.contains("forgotten"), "{said}");

    let forgotten = "select payload, metadata from events where event_type = 'SubjectForgotten'";
    let forgotten = raw::rows(place, forgotten).await.expect("an event").remove(0);
    let payload: Value = serde_json::from_str(forgotten[0].as_deref().expect("a payload")).expect("JSON");
    assert_eq!(payload["SubjectForgotten"]["kind"], "owner");
    assert!(forgotten[1].as_deref().is_some_and(|metadata| metadata.contains("ticket 7")), "{forgotten:?}");
    for row in everything(&on.ledger).await {
        assert!(!TRACES.iter().any(|trace| row.contains(trace)), "left in a row: {row}");
    }
    // What happened stays, without whom it happened to; and Bob's stays whole.
    let shown = licenses_of(&on, &licenses[0]).await;
    assert_eq!((&shown["owner_name"], &shown["owner_email"], &shown["active_count"]), (&Value::Null, &Value::Null, &json!(1)));
    assert_eq!(shown["meta"], json!([{ "key": "colour", "value": null }]));
    assert!(shown["activations"]["items"].as_array().expect("a list").iter().all(|row| row["identifier"].is_null() && row["post_url"].is_null()));
    assert_eq!(licenses_of(&on, &bobs).await["owner_email"], "bob@shop.example");
    on.api.verify(&bobs, "bob.example").await.expect(200, PRODUCT);
    assert!(on.api.admin_list("licenses?owner_email=jane%40shop.example", 100).await.is_empty());

    on.ledger.expect_intact().await;
    on.ledger.run(&["rebuild"]).await.success();
    on.ledger.expect_intact().await;
    on.ledger.run(&["vacuum"]).await.success();
    flush(&on.ledger).await;
    let traces = [&TRACES[..], &["JANE@"]].concat();
    assert_eq!(files_with(&on.ledger, &traces).await, [] as [PathBuf; 0], "what is left in the files");
    assert!(!files_with(&on.ledger, &["bob.example"]).await.is_empty(), "Bob is there still");
    let log = on.server.log_text();
    assert!(!traces.iter().any(|trace| log.contains(trace)), "what is left in the log: {log}");

    // The ledger goes on: the license is used anew, under a new key of the same owner; the address is somebody new.
    on.api.activate(&licenses[0], "again.example").await.expect(300, PRODUCT);
    on.api.verify(&licenses[0], "again.example").await.expect(200, PRODUCT);
    on.api.new_license(product, fields!(owner_email: "jane@shop.example")).await;
    on.ledger.expect_intact().await;
    let owner = payload["SubjectForgotten"]["number"].to_string();
    on.ledger.run(&["subject", "forget", "--owner", &owner]).await.success();
    on.api.verify(&licenses[0], "again.example").await.expect(202, PRODUCT);
    assert_eq!(on.api.admin_list("licenses?owner_email=jane%40shop.example", 100).await.len(), 1, "another owner's number, so another subject");
    on.ledger.run(&["subject", "forget", "--email", "jane@shop.example"]).await.success();
    on.ledger.run(&["rebuild"]).await.success();
    on.ledger.expect_intact().await;
}

async fn a_license_that_changed_hands_keeps_what_is_its_new_owners(backend: Backend) {
    let Scene { on, licenses, .. } = scene(backend).await;
    let license = &licenses[0];
    on.api.update_license(license, fields!(owner_name: "Bob Roe", owner_email: "bob@shop.example")).await.expect(950, PRODUCT);
    on.api.activate(license, "new.bob.example").await.expect(300, PRODUCT);
    let meta = fields!(license_key: license, identifier: "new.bob.example", key: "size", value: "Bob's");
    on.api.form("create-license-key-meta", meta).await.expect(453, PRODUCT);
    // An entry of hers that he has changed is his.
    let meta = fields!(license_key: license, identifier: "new.bob.example", key: "colour", value: "Bob's too");
    on.api.form("update-license-key-meta", meta).await.expect(353, PRODUCT);
    on.ledger.run(&["subject", "forget", "--email", "jane@shop.example"]).await.success();

    let shown = licenses_of(&on, license).await;
    assert_eq!((&shown["owner_name"], &shown["owner_email"]), (&json!("Bob Roe"), &json!("bob@shop.example")));
    assert_eq!(shown["meta"], json!([{ "key": "colour", "value": "Bob's too" }, { "key": "size", "value": "Bob's" }]));
    let identifiers: Vec<&Value> = shown["activations"]["items"].as_array().expect("a list").iter().map(|row| &row["identifier"]).collect();
    assert_eq!(identifiers, [&Value::Null, &Value::Null, &json!("new.bob.example")]);
    on.ledger.expect_intact().await;
    on.ledger.run(&["subject", "forget", "--email", "bob@shop.example"]).await.success();
    for row in everything(&on.ledger).await {
        assert!(!TRACES_OF_BOB.iter().any(|trace| row.contains(trace)), "left in a row: {row}");
    }
    on.ledger.expect_intact().await;
    on.ledger.run(&["rebuild"]).await.success();
    on.ledger.expect_intact().await;
}

async fn api_keys_licenses_and_blocks_are_forgotten_by_number(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    on.api.activate(&license, "nobodys.jane.example").await.expect(300, PRODUCT);
    let key = on.ledger.create_named_api_key("programs", &["--capability", "*"]).await;
    let number = on.ledger.api_key_number("programs").await;
    let caller = on.api.with_key(ApiKey::Header(key));
    let report = fields!(data_type: "text", data_group: "g", text_data: "a", product_id: product, license_key: "none", user_identifier: "jane-8");
    eventually("the key is known", || async { (caller.form("send-telemetry-data", report.clone()).await.code() / 10 == 83).then_some(()) }).await;
    on.ledger.run(&["block", "add", "--identifier", "blocked.jane.example"]).await.success();
    eventually("it is blocked", || async { (on.api.verify(&license, "blocked.jane.example").await.code() == 150).then_some(()) }).await;

    let said = on.ledger.run(&["subject", "forget", "--license", "1"]).await.success();
    assert!(said.contains("license 1"), "{said}");
    let said = on.ledger.run(&["subject", "forget", "--api-key", &number]).await.success();
    assert!(said.contains(&format!("API key {number}")), "{said}");
    let said = on.ledger.run(&["subject", "forget", "--block", "1"]).await.success();
    assert!(said.contains("block 1"), "{said}");
    for row in everything(&on.ledger).await {
        assert!(!TRACES.iter().any(|trace| row.contains(trace)), "left in a row: {row}");
    }
    // An entry that nobody can read blocks nobody, also in a server that had read it before.
    eventually("it is not blocked", || async { (on.api.verify(&license, "blocked.jane.example").await.code() != 150).then_some(()) }).await;
    assert!(on.ledger.run(&["block", "list"]).await.success().contains("(forgotten)"));
    // The API key and the license are used as before.
    caller.activate(&license, "new.example").await.expect(300, PRODUCT);
    on.ledger.expect_intact().await;
    on.ledger.run(&["rebuild"]).await.success();
    on.ledger.expect_intact().await;
}

async fn whom_nobody_knows_cannot_be_forgotten(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    on.api.new_license(product, fields!(owner_email: "jane@shop.example")).await;
    let events = on.ledger.event_count().await;
    let forget = async |arguments: &[&str]| on.ledger.run(&[&["subject", "forget"][..], arguments].concat()).await;
    let said = forget(&["--email", "nobody@shop.example"]).await.failure(1);
    assert!(said.contains("no such data subject") && !said.contains("nobody@"), "{said}");
    for arguments in [&["--license", "1"][..], &["--owner", "99"], &["--api-key", "99"], &["--block", "1"]] {
        forget(arguments).await.failure(1);
    }
    for arguments in [&[][..], &["--email", "a@b.example", "--license", "1"], &["--license", "x"]] {
        forget(arguments).await.failure(2);
    }
    forget(&["--email", " "]).await.failure(1);
    assert_eq!(on.ledger.event_count().await, events);
    forget(&["--email", "jane@shop.example"]).await.success();
    forget(&["--email", "jane@shop.example"]).await.failure(1);
    assert_eq!(on.ledger.event_count().await, events + 1, "once");
}

/// A license as the administration shows it, by its key.
async fn licenses_of(on: &Running, key: &str) -> Value {
    let found = on.api.admin_list(&format!("licenses?license_key={key}"), 10).await;
    on.api.admin_get(&format!("licenses/{}", found[0]["number"])).await.expect(200).clone()
}

/// Every row of every table as text.
async fn everything(ledger: &Ledger) -> Vec<String> {
    let mut rows = Vec::new();
    for table in raw::tables(&ledger.place).await {
        let found = raw::rows(&ledger.place, &format!("select * from \"{table}\"")).await.expect("a table can be read");
        rows.extend(found.into_iter().map(|row| format!("{table}: {}", row.into_iter().flatten().collect::<Vec<_>>().join(" | "))));
    }
    rows
}

/// Has the database write what it holds in memory.
async fn flush(ledger: &Ledger) {
    let sql = match ledger.place.backend {
        Backend::Sqlite => "PRAGMA wal_checkpoint(TRUNCATE)",
        Backend::Postgres => "CHECKPOINT",
    };
    raw::rows(&ledger.place, sql).await.expect("a checkpoint");
}

/// The database's files that hold one of these texts.
async fn files_with(ledger: &Ledger, texts: &[&str]) -> Vec<PathBuf> {
    let folder = match ledger.place.backend {
        Backend::Sqlite => ledger.place.data_dir.clone(),
        Backend::Postgres => {
            // Tables, their indexes, what doesn't fit into their rows, and the catalogues of this one database.
            let sql = "select current_setting('data_directory') || '/base/' || oid from pg_database where datname = current_database()";
            let row = raw::rows(&ledger.place, sql).await.expect("the folder of the database").remove(0);
            PathBuf::from(row[0].clone().expect("a folder"))
        }
    };
    let mut found = Vec::new();
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for file in files {
        let path = file.expect("an entry of the folder").path();
        if holds_one(&path, texts) {
            found.push(path);
        }
    }
    found
}

fn holds_one(path: &Path, texts: &[&str]) -> bool {
    // A file that is gone meanwhile holds nothing.
    let Ok(bytes) = std::fs::read(path) else { return false };
    texts.iter().any(|text| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}
