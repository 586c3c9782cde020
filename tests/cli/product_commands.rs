//! `keyledger product`, beside a running server.

use crate::support::{Backend, GLOBAL, Json, Running, both_backends, fields};

both_backends!(products_are_made_changed_listed_and_deleted, what_a_product_cannot_be_is_said);

async fn products_are_made_changed_listed_and_deleted(backend: Backend) {
    let on = Running::start(backend).await;
    let made = on.ledger.run(&["product", "create", "--name", "Größe/Ω", "--description", "What I sell", "--source", "envato"]).await.success();
    let number = made.trim().to_owned();
    let listed = async || {
        let answer = on.api.get("get-all-products", fields!()).await;
        answer.expect(810, GLOBAL).response.at("products").items().first().cloned()
    };
    let product = listed().await.expect("the server sees it at once");
    assert_eq!(product.at("id"), &Json::from(number.parse::<i64>().expect("its number alone is printed")));
    assert_eq!((product.at("name").text(), product.at("source").text()), ("Größe/Ω", "envato"));
    on.ledger.run(&["public-key", "--product", &number]).await.success();

    let change = ["product", "update", &number, "--status", "inactive", "--require-non-expired", "true", "--post-url", "https://a.example/x"];
    on.ledger.run(&change).await.success();
    let product = listed().await.expect("it is still there");
    assert_eq!((product.at("status").text(), product.at("require_non_expired")), ("inactive", &Json::from(1)));
    assert_eq!((product.at("post_url").text(), product.at("description").text()), ("https://a.example/x", "What I sell"));

    let before = on.ledger.run(&["public-key", "--product", &number]).await.success();
    on.ledger.run(&["product", "rotate-key", &number]).await.success();
    let after = on.ledger.run(&["public-key", "--product", &number]).await.success();
    assert_ne!(after, before);
    let file = on.ledger.directory().join("own.pem");
    let openssl = std::process::Command::new("openssl").args(["genrsa", "-out"]).arg(&file).arg("2048").output().expect("openssl runs");
    assert!(openssl.status.success(), "{openssl:?}");
    on.ledger.run(&["product", "import-key", &number, file.to_str().expect("UTF-8")]).await.success();
    let own = std::process::Command::new("openssl").args(["rsa", "-pubout", "-in"]).arg(&file).output().expect("openssl runs");
    assert_eq!(on.ledger.run(&["public-key", "--product", &number]).await.success(), String::from_utf8_lossy(&own.stdout));
    std::fs::write(&file, "no key").expect("the file can be written");
    on.ledger.run(&["product", "import-key", &number, file.to_str().expect("UTF-8")]).await.failure(1);
    on.ledger.run(&["product", "update", &number, "--slug", "doors", "--changelog", "false"]).await.success();
    assert!(on.ledger.run(&["product", "list"]).await.success().contains("doors"));

    let global = ["product", "create", "--name", "B", "--description", "C", "--no-key-pair", "--reason", "ticket 7"];
    let other = on.ledger.run(&global).await.success();
    on.ledger.run(&["public-key", "--product", other.trim()]).await.failure(1);
    let list = on.ledger.run(&["product", "list"]).await.success();
    assert_eq!(list.lines().count(), 3, "a head and two products: {list}");
    assert!(list.contains("Größe/Ω") && list.contains("inactive") && list.contains("global"), "{list}");

    on.api.new_license(other.trim().parse().expect("a number"), fields!()).await;
    let said = on.ledger.run(&["product", "delete", other.trim()]).await.failure(1);
    assert!(said.contains("license"), "{said}");
    on.ledger.run(&["product", "delete", &number]).await.success();
    on.ledger.run(&["product", "delete", &number]).await.failure(1);
    assert!(!on.ledger.run(&["product", "list"]).await.success().contains("Größe/Ω"));
    on.ledger.expect_intact().await;
}

async fn what_a_product_cannot_be_is_said(backend: Backend) {
    let on = Running::start(backend).await;
    let events = on.ledger.event_count().await;
    let wrong: [&[&str]; 9] = [
        &["create"],
        &["create", "--name", " ", "--description", "B"],
        &["create", "--name", "A", "--description", " "],
        &["create", "--name", "A", "--description", "B", "--status", "sold"],
        &["create", "--name", "A", "--description", "B", "--post-url", "ftp://a.example"],
        &["update", "999999", "--name", "A"],
        &["delete", "first"],
        &["update", "1", "--slug", "Doors 98"],
        &["rotate-key", "999999"],
    ];
    for arguments in wrong {
        let output = on.ledger.run(&[&["product"][..], arguments].concat()).await;
        assert!(output.stdout.is_empty(), "{arguments:?} prints {}", output.stdout);
        let code = output.code;
        assert!(matches!(code, 1 | 2), "{arguments:?} exits with {code}");
        output.failure(code);
    }
    assert_eq!(on.ledger.event_count().await, events);
}
