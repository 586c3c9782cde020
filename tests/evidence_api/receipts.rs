//! Receipts: who asks for one is told in the answer's headers where its event stands in the log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::Checkpoint;

use crate::support::raw;
use crate::support::world::fresh_key;
use crate::support::{Answer, Backend, Client, Fields, GLOBAL, Ledger, PRODUCT, Running, both_backends, fields};

both_backends!(
    a_receipt_names_the_answers_event,
    where_nothing_was_appended_there_is_no_receipt,
    a_refusal_that_is_recorded_has_a_receipt,
    a_repeated_request_gets_the_first_receipt,
    nothing_changes_for_those_who_do_not_ask,
    a_receipt_comes_with_the_newest_checkpoint,
);

const HEADERS: [&str; 3] = ["x-ledger-position", "x-ledger-leaf-hash", "x-ledger-checkpoint"];

fn asking(api: &Client) -> Client {
    api.with_header("X-Ledger-Receipt", "1")
}

fn header(answer: &Answer, name: &str) -> Option<String> {
    answer.headers.get(name).map(|value| value.to_str().expect("text").to_owned())
}

/// Position and leaf hash.
#[track_caller]
fn receipt(answer: &Answer) -> (i64, String) {
    let position = header(answer, "x-ledger-position").unwrap_or_else(|| panic!("no receipt: {:?}", answer.headers));
    (position.parse().expect("a position"), header(answer, "x-ledger-leaf-hash").expect("a leaf hash"))
}

#[track_caller]
fn expect_no_receipt(answer: &Answer) {
    assert!(HEADERS.iter().all(|name| header(answer, name).is_none()), "{:?}", answer.headers);
}

/// Type and leaf hash of the event at a position.
async fn event(ledger: &Ledger, position: i64) -> (String, String) {
    let hash = match ledger.place.backend {
        Backend::Sqlite => "lower(hex(leaf_hash))",
        Backend::Postgres => "encode(leaf_hash, 'hex')",
    };
    let sql = format!("select event_type, {hash} from events where position = {position}");
    let mut rows = raw::rows(&ledger.place, &sql).await.expect("the events can be read");
    let mut row = rows.pop().unwrap_or_else(|| panic!("there is no event {position}")).into_iter().flatten();
    (row.next().expect("a type"), row.next().expect("a hash"))
}

async fn expect_event(on: &Running, answer: &Answer, event_type: &str) {
    let (position, leaf_hash) = receipt(answer);
    assert_eq!(event(&on.ledger, position).await, (event_type.to_owned(), leaf_hash));
    assert_eq!(position, on.ledger.event_count().await - 1, "it is the last one");
}

async fn new_available(on: &Running, product: i64) -> String {
    let key = fresh_key();
    on.api.new_licenses(product, std::slice::from_ref(&key), fields!(status: "available")).await;
    key
}

async fn a_receipt_names_the_answers_event(backend: Backend) {
    let on = Running::start(backend).await;
    let (api, product) = (asking(&on.api), on.api.new_product().await);
    let license = new_available(&on, product).await;

    let assigned = api.form("assign-license-key", fields!(license_key: license, email: "o@a.example")).await;
    expect_event(&on, assigned.expect(800, GLOBAL), "LicenseAssigned").await;
    let activated = api.activate(&license, "a.example").await;
    expect_event(&on, activated.expect(300, PRODUCT), "LicenseActivated").await;
    let deactivated = api.deactivate(&license, "a.example").await;
    expect_event(&on, deactivated.expect("400", GLOBAL), "LicenseDeactivated").await;

    // Of two events the answer is about the last.
    let other = new_available(&on, product).await;
    let both = api.form("assign-and-activate-license-key", fields!(license_key: other, identifier: "a.example")).await;
    expect_event(&on, both.expect(300, PRODUCT), "LicenseActivated").await;
    on.ledger.expect_intact().await;
}

async fn where_nothing_was_appended_there_is_no_receipt(backend: Backend) {
    let on = Running::start(backend).await;
    let (api, product) = (asking(&on.api), on.api.new_product().await);
    let license = on.api.new_license(product, fields!()).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    let events = on.ledger.event_count().await;
    expect_no_receipt(api.activate(&license, "a.example").await.expect(301, PRODUCT));
    expect_no_receipt(api.deactivate(&license, "b.example").await.expect(401, PRODUCT));
    expect_no_receipt(api.activate("nobody's", "a.example").await.expect(210, GLOBAL));
    expect_no_receipt(api.form("activate", fields!(identifier: "a.example")).await.expect(210, GLOBAL));
    expect_no_receipt(api.assign(&license).await.expect(801, GLOBAL));
    assert_eq!(on.ledger.event_count().await, events);

    // Neither assigned nor activated: what was recorded for a moment is not there.
    let other = new_available(&on, product).await;
    let neither = api.form("assign-and-activate-license-key", fields!(license_key: other)).await;
    expect_no_receipt(neither.expect(215, PRODUCT));
    // These operations give none.
    expect_no_receipt(api.verify(&license, "a.example").await.expect(200, PRODUCT));
    expect_no_receipt(&api.update_license(&license, fields!(activation_limit: 9)).await);
}

async fn a_refusal_that_is_recorded_has_a_receipt(backend: Backend) {
    let on = Running::start(backend).await;
    let (api, product) = (asking(&on.api), on.api.new_product().await);
    let license = on.api.new_license(product, fields!(activation_limit: 1)).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    let refused = api.activate(&license, "b.example").await;
    expect_event(&on, refused.expect(302, PRODUCT), "ActivationRefused").await;
}

async fn a_repeated_request_gets_the_first_receipt(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    let request: Fields = fields!(license_key: license, identifier: "a.example");
    let keyed = on.api.with_header("idempotency-key", "activation");
    // The receipt is the outcome's: it is there even where the first request didn't ask.
    expect_no_receipt(keyed.form("activate", request.clone()).await.expect(300, PRODUCT));
    let first = receipt(asking(&keyed).form("activate", request.clone()).await.expect(300, PRODUCT));
    on.api.deactivate(&license, "a.example").await.expect("400", GLOBAL);
    let again = receipt(asking(&keyed).form("activate", request).await.expect(300, PRODUCT));
    assert_eq!(again, first);
    assert_eq!(event(&on.ledger, first.0).await, ("LicenseActivated".to_owned(), first.1));
}

async fn nothing_changes_for_those_who_do_not_ask(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    let plain = on.api.activate(&license, "a.example").await;
    let asked = asking(&on.api).activate(&license, "b.example").await;
    expect_no_receipt(plain.expect(300, PRODUCT));
    asked.expect(300, PRODUCT).expect_signed_by(product);
    assert_eq!(plain.response.without("timestamp"), asked.response.without("timestamp"));
    for value in ["0", "true", "2"] {
        let answer = on.api.with_header("X-Ledger-Receipt", value).activate(&license, &format!("{value}.example")).await;
        expect_no_receipt(answer.expect(300, PRODUCT));
    }
}

/// The events that the answer's checkpoint is of, and its note, whose signature is checked.
fn checkpoint(answer: &Answer, vkey: &str) -> (i64, String) {
    let note = STANDARD.decode(header(answer, "x-ledger-checkpoint").expect("a checkpoint")).expect("Base64");
    let known = VerifierList::new(vec![Box::new(StandardVerifier::new(vkey).expect("a verifier key"))]);
    let read = Note::from_bytes(&note).expect("a signed note");
    read.verify(&known).expect("signed by the log");
    let size = Checkpoint::from_bytes(read.text()).expect("a checkpoint").size();
    (size.cast_signed(), String::from_utf8(note).expect("text"))
}

async fn a_receipt_comes_with_the_newest_checkpoint(backend: Backend) {
    let on = Running::start(backend).await;
    let vkey = on.ledger.run(&["evidence", "verifier-key"]).await.success();
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!(activation_limit: 0)).await;
    let before = on.api.ledger_get("receipts/0").await.expect(200)["checkpoint"].clone();

    // The newest is of the events before this one, which is covered by a later one.
    let keyed = asking(&on.api).with_header("idempotency-key", "activation");
    let request: Fields = fields!(license_key: license, identifier: "a.example");
    let answer = keyed.form("activate", request.clone()).await;
    let ((position, leaf_hash), (size, note)) = (receipt(answer.expect(300, PRODUCT)), checkpoint(&answer, vkey.trim()));
    assert_eq!((size, note.as_str()), (before["size"].as_i64().expect("a size"), before["note"].as_str().expect("a note")));
    assert!(size <= position, "{size} events, and the event {position}");

    let proved = on.api.ledger_get(&format!("receipts/{position}")).await.expect(200).clone();
    assert_eq!(proved["leaf_hash"], leaf_hash);
    let again = keyed.form("activate", request).await;
    assert_eq!(receipt(again.expect(300, PRODUCT)), (position, leaf_hash));
    let (size, note) = checkpoint(&again, vkey.trim());
    assert!(size > position, "{size} events, and the event {position}");
    assert!(on.server.log_text().contains("a checkpoint may be older than 10 seconds"), "the interval of most tests is a day");
    assert_eq!(Some(note.as_str()), proved["checkpoint"]["note"].as_str());
}
