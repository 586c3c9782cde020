//! Generators: listed, and keys made with them.

use std::collections::HashSet;
use std::time::Instant;

use crate::support::{Backend, GLOBAL, Json, PRODUCT, Running, both_backends, fields};

both_backends!(
    each_method_makes_available_keys_of_its_kind,
    generators_are_changed_and_deleted_on_the_command_line,
    ten_thousand_keys_are_generated_in_one_call,
    a_generator_makes_no_more_keys_than_it_can,
    a_repetition_with_the_same_idempotency_key_generates_nothing,
);

fn keys(answer: &crate::support::Answer) -> Vec<String> {
    answer.expect(815, PRODUCT).expect_members(&["licenseKeys"]).response.at("licenseKeys").items().iter().map(|key| key.text().to_string()).collect()
}

async fn each_method_makes_available_keys_of_its_kind(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let uuid = on.new_generator(product, &["--activation-limit", "3", "--validity", "30"]).await;
    let chunks = on.new_generator(product, &["--method", "chunk-system", "--charset", "AB1", "--prefix", "P-", "--suffix", "-S"]).await;
    let pattern = on.new_generator(product, &["--pattern", "K\\##@-*", "--charset", "xyz"]).await;

    let answer = on.api.form("generate", fields!(generator_id: uuid, quantity: 3)).await;
    answer.expect_signed_by(product);
    for key in &keys(&answer) {
        assert_eq!(key.len(), 36, "{key}");
        assert_eq!((&key[14..15], key.matches('-').count()), ("4", 4), "a random UUID: {key}");
        let row = on.api.listed(product, key).await.expect("a generated key is a license");
        assert_eq!(row.at("status").text(), "available");
        assert_eq!((row.at("activation_limit"), row.at("validity")), (&Json::from(3), &Json::from(30)));
        assert_eq!((row.at("assigned_at"), row.at("owner_name")), (&Json::Null, &Json::Null));
    }
    for key in keys(&on.api.form("generate", fields!(generator_id: chunks, quantity: 20)).await) {
        let inner = key.strip_prefix("P-").and_then(|key| key.strip_suffix("-S")).unwrap_or_else(|| panic!("{key}"));
        assert!(inner.split('-').count() == 4 && inner.split('-').all(|chunk| chunk.len() == 4), "{key}");
        assert!(inner.chars().all(|character| "AB1-".contains(character)), "{key}");
    }
    for key in keys(&on.api.json("generate", serde_json::json!({"generator_id": pattern, "quantity": 20})).await) {
        let characters: Vec<char> = key.chars().collect();
        assert_eq!((characters[0], characters[1], characters[4]), ('K', '#', '-'), "{key}");
        assert!(characters[2].is_ascii_digit() && characters[3].is_ascii_uppercase() && "xyz".contains(characters[5]), "{key}");
    }
    for bad in ["0", "10001", "-1", "x", ""] {
        on.api.form("generate", fields!(generator_id: uuid, quantity: bad)).await.expect_error(400);
    }
    on.api.form("generate", fields!(generator_id: 999, quantity: 1)).await.expect(806, GLOBAL).expect_members(&[]);
    on.api.form("generate", fields!(quantity: 1)).await.expect(806, GLOBAL);
    let without_key_pair = on.api.new_product_with(fields!(own_key_pair: 0)).await;
    let generator = on.new_generator(without_key_pair, &[]).await;
    on.api.form("generate", fields!(generator_id: generator, quantity: 1)).await.expect(815, GLOBAL);
    on.ledger.expect_intact().await;
}

async fn generators_are_changed_and_deleted_on_the_command_line(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let number = on.new_generator(product, &["--prefix", "A-"]).await;
    let text = number.to_string();
    on.ledger.run(&["generator", "update", &text, "--active", "false", "--prefix", "B-"]).await.success();
    on.api.form("generate", fields!(generator_id: number, quantity: 1)).await.expect(806, GLOBAL);
    let listed = on.api.get("get-all-generators", fields!()).await;
    let row = &listed.expect(820, GLOBAL).expect_members(&["products"]).response.at("products").items()[0];
    assert_eq!((row.at("prefix").text(), row.at("status").integer(), row.at("product_id").integer()), ("B-", 0, product));
    on.ledger.run(&["generator", "update", &text, "--active", "true"]).await.success();
    let made = keys(&on.api.form("generate", fields!(generator_id: number, quantity: 1)).await);
    assert!(made[0].starts_with("B-"), "{made:?}");
    let list = on.ledger.run(&["generator", "list"]).await.success();
    assert!(list.lines().any(|line| line.starts_with(&format!("{number}\t{product}\ttrue\tuuid\tB-"))), "{list}");

    for (args, said) in [
        (&["generator", "create", "--product", "999"][..], "no such product"),
        (&["generator", "create", "--product", "1", "--method", "custom"], "no such function"),
        (&["generator", "create", "--product", "1", "--method", "chunk-system", "--charset", ""], "charset"),
        (&["generator", "create", "--product", "1", "--method", "other"], "chunk-system"),
        (&["generator", "update", "999", "--active", "true"], "does not exist"),
    ] {
        let output = on.ledger.run(args).await;
        assert!(output.code != 0 && output.stderr.contains(said), "{args:?}: {output:?}");
    }
    on.ledger.run(&["generator", "delete", &text]).await.success();
    on.api.form("generate", fields!(generator_id: number, quantity: 1)).await.expect(806, GLOBAL);
    assert!(on.api.get("get-all-generators", fields!()).await.response.at("products").items().is_empty());
    on.ledger.expect_intact().await;
}

async fn ten_thousand_keys_are_generated_in_one_call(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let generator = on.new_generator(product, &[]).await;
    let started = Instant::now();
    let made = keys(&on.api.form("generate", fields!(generator_id: generator, quantity: 10_000)).await);
    // A second with a release build; this one is not optimised, and shares its machine with other tests.
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    assert_eq!(made.iter().collect::<HashSet<_>>().len(), 10_000);
    let count = on.api.get("get-available-license-keys-count", fields!(product_id: product)).await;
    assert_eq!(count.response.at("count").integer(), 10_000);
    on.ledger.expect_intact().await;
}

async fn a_generator_makes_no_more_keys_than_it_can(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let generator = on.new_generator(product, &["--pattern", "KEY-##"]).await;
    let mut made = HashSet::new();
    for quantity in [60, 30, 9] {
        made.extend(keys(&on.api.form("generate", fields!(generator_id: generator, quantity: quantity)).await));
    }
    assert_eq!(made.len(), 99, "each key once, although most are in use by then");
    on.api.form("generate", fields!(generator_id: generator, quantity: 2)).await.expect_error(400);
    made.extend(keys(&on.api.form("generate", fields!(generator_id: generator, quantity: 1)).await));
    assert_eq!(made.len(), 100);
    on.api.form("generate", fields!(generator_id: generator, quantity: 1)).await.expect_error(400);
    on.api.form("generate", fields!(generator_id: generator, quantity: 101)).await.expect_error(400);
    on.ledger.expect_intact().await;
}

async fn a_repetition_with_the_same_idempotency_key_generates_nothing(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let generator = on.new_generator(product, &[]).await;
    let once = on.api.with_header("idempotency-key", "order 1");
    let first = keys(&once.form("generate", fields!(generator_id: generator, quantity: 5)).await);
    let events = on.ledger.event_count().await;
    assert_eq!(keys(&once.form("generate", fields!(generator_id: generator, quantity: 5)).await), first);
    assert_eq!(on.ledger.event_count().await, events);
    once.form("generate", fields!(generator_id: generator, quantity: 6)).await.expect_error(409);
}
