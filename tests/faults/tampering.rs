//! Somebody with all rights on the database changes it behind the server's back: `keyledger verify` names the place, and a
//! rebuild stops at a corrupt event instead of folding on.

use crate::support::raw::{self, literal};
use crate::support::{Backend, GLOBAL, Ledger, PRODUCT, both_backends, fields};

both_backends!(
    verify_names_the_position_of_a_changed_event,
    verify_names_the_position_of_a_missing_event,
    verify_finds_a_cut_off_log,
    verify_finds_a_projection_that_does_not_follow_from_the_log,
    a_corrupt_event_stops_verify_and_rebuild_with_its_position,
);

/// A stopped ledger with some history of every kind.
async fn with_history(backend: Backend) -> Ledger {
    let ledger = Ledger::new(backend).await;
    let server = ledger.serve().await;
    let api = server.client();
    let product = api.new_product().await;
    api.form("create-product-meta", fields!(product_id: product, key: "colour", value: "blue")).await.expect(273, PRODUCT);
    for number in 0..8 {
        let owner = fields!(owner_name: format!("Owner {number}"), owner_email: format!("{number}@a.example"), activation_limit: 2);
        let license = api.new_license(product, owner).await;
        api.activate(&license, "a.example").await.expect(300, PRODUCT);
        api.activate(&license, "b.example").await.expect(300, PRODUCT);
        api.deactivate(&license, "a.example").await.expect("400", GLOBAL);
    }
    server.stop().await;
    ledger.expect_intact().await;
    ledger
}

/// Whether the text names this position, as a number of its own.
fn names(text: &str, position: i64) -> bool {
    text.split(|character: char| !character.is_ascii_digit()).any(|digits| digits == position.to_string())
}

async fn expect_difference_at(ledger: &Ledger, position: i64) {
    let said = ledger.run(&["verify"]).await.failure(1);
    assert!(names(&said, position), "verify does not name position {position}: {said}");
}

/// One column of the event at that position.
async fn column(ledger: &Ledger, column: &str, position: i64) -> String {
    let sql = format!("select {column} from events where position = {position}");
    let rows = raw::rows(&ledger.place, &sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows[0][0].clone().expect("a value")
}

async fn set_column(ledger: &Ledger, column: &str, position: i64, value: &str) {
    let sql = format!("UPDATE events SET {column} = {} WHERE position = {position}", literal(value));
    raw::tamper(&ledger.place, &sql).await;
}

async fn verify_names_the_position_of_a_changed_event(backend: Backend) {
    let ledger = with_history(backend).await;
    let events = ledger.event_count().await;
    for position in [0, events / 2, events - 1] {
        for changed in ["payload", "metadata"] {
            let original = column(&ledger, changed, position).await;
            // Still the same JSON but for one character of one text, as an intruder would do it.
            let Some(index) = original.rfind(|character: char| character.is_ascii_alphanumeric()) else { continue };
            let replacement = if &original[index..=index] == "1" { "2" } else { "1" };
            let altered = format!("{}{replacement}{}", &original[..index], &original[index + 1..]);
            set_column(&ledger, changed, position, &altered).await;
            expect_difference_at(&ledger, position).await;
            set_column(&ledger, changed, position, &original).await;
            ledger.expect_intact().await;
        }
    }
}

async fn verify_names_the_position_of_a_missing_event(backend: Backend) {
    let ledger = with_history(backend).await;
    let position = ledger.event_count().await / 2;
    raw::tamper(&ledger.place, &format!("DELETE FROM events WHERE position = {position}")).await;
    expect_difference_at(&ledger, position).await;
    let said = ledger.run(&["rebuild"]).await.failure(1);
    assert!(names(&said, position), "rebuild does not name position {position}: {said}");
}

async fn verify_finds_a_cut_off_log(backend: Backend) {
    let ledger = with_history(backend).await;
    let last = ledger.event_count().await - 1;
    raw::tamper(&ledger.place, &format!("DELETE FROM events WHERE position = {last}")).await;
    expect_difference_at(&ledger, last).await;
}

async fn verify_finds_a_projection_that_does_not_follow_from_the_log(backend: Backend) {
    for change in ["activation_limit = activation_limit + 1", "activation_limit = 0"] {
        let ledger = with_history(backend).await;
        let table = table_with_column(&ledger, "active_count").await;
        let sql = format!("UPDATE {table} SET {change} WHERE number = (SELECT max(number) FROM {table})");
        raw::execute(&ledger.place, &sql).await.expect("a projection can be changed");
        let said = ledger.run(&["verify"]).await.failure(1);
        assert!(said.contains(&table), "verify does not name {table}: {said}");
        // The log is right, so a rebuild puts it in order again.
        ledger.run(&["rebuild"]).await.success();
        ledger.expect_intact().await;
    }
    let ledger = with_history(backend).await;
    let table = table_with_column(&ledger, "active_count").await;
    let sql = format!("DELETE FROM {table} WHERE number = (SELECT min(number) FROM {table})");
    raw::execute(&ledger.place, &sql).await.expect("a projection can be changed");
    ledger.run(&["verify"]).await.failure(1);
    ledger.run(&["rebuild"]).await.success();
    ledger.expect_intact().await;
}

async fn table_with_column(ledger: &Ledger, column: &str) -> String {
    for table in raw::tables(&ledger.place).await {
        if table != "events" && raw::columns(&ledger.place, &table).await.iter().any(|name| name == column) {
            return table;
        }
    }
    panic!("no table has a column {column}")
}

async fn a_corrupt_event_stops_verify_and_rebuild_with_its_position(backend: Backend) {
    let ledger = with_history(backend).await;
    let position = ledger.event_count().await * 2 / 3;
    let original = column(&ledger, "payload", position).await;
    let mut corruptions = vec![r#"{"broken":true}"#, "[]"];
    if backend == Backend::Sqlite {
        corruptions.extend(["", "no JSON at all", &original[..original.len() / 2]]);
    }
    for corrupt in corruptions {
        set_column(&ledger, "payload", position, corrupt).await;
        expect_difference_at(&ledger, position).await;
        let said = ledger.run(&["rebuild"]).await.failure(1);
        assert!(names(&said, position), "rebuild does not name position {position} at {corrupt:?}: {said}");
        set_column(&ledger, "payload", position, &original).await;
        // The rebuild that failed has left the rows as they were.
        ledger.expect_intact().await;
    }
    set_column(&ledger, "event_type", position, "SomethingThatNeverWas").await;
    let said = ledger.run(&["rebuild"]).await.failure(1);
    assert!(names(&said, position), "{said}");
    expect_difference_at(&ledger, position).await;
}
