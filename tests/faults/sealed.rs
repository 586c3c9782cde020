//! What somebody with the database alone may not learn: personal data from the log, API keys and private keys from anywhere.

use crate::support::raw;
use crate::support::{Backend, GLOBAL, Ledger, PRODUCT, Running, ServeOptions, both_backends, fields};

both_backends!(the_log_holds_personal_data_only_sealed, no_table_holds_an_api_key_or_a_private_key);

const CLIENT_IP: &str = "203.0.113.77";

async fn the_log_holds_personal_data_only_sealed(backend: Backend) {
    let on = Running::start_with(backend, ServeOptions::args(&["--trusted-proxy", "127.0.0.1/32"])).await;
    let api = on.api.with_header("x-forwarded-for", CLIENT_IP);
    let product = api.new_product().await;
    let owner = fields!(owner_name: "Personal-Created", owner_email: "created@personal.example", activation_limit: 1);
    let license = api.new_license(product, owner).await;
    let changed = fields!(owner_name: "Personal-Changed", owner_email: "changed@personal.example");
    api.update_license(&license, changed).await.expect(950, PRODUCT);
    api.activate(&license, "identifier.personal.example").await.expect(300, PRODUCT);
    api.activate(&license, "refused.personal.example").await.expect(302, PRODUCT);
    let meta = |value: &str| fields!(license_key: license, identifier: "meta.personal.example", key: "colour", value: value);
    api.form("create-license-key-meta", meta("Personal-Meta-1")).await.expect(453, PRODUCT);
    api.form("update-license-key-meta", meta("Personal-Meta-2")).await.expect(353, PRODUCT);
    api.deactivate(&license, "identifier.personal.example").await.expect("400", GLOBAL);
    let available = api.new_license(product, fields!(status: "available")).await;
    let assign = fields!(license_key: available, owner_name: "Personal-Assigned", email: "assigned@personal.example");
    api.form("assign-license-key", assign).await.expect(800, GLOBAL);
    let other = api.new_license(product, fields!(status: "available")).await;
    let both = fields!(
        license_key: other, identifier: "both.personal.example", owner_name: "Personal-Both", owner_email: "both@personal.example",
    );
    api.form("assign-and-activate-license-key", both).await.expect(300, PRODUCT);
    api.form("delete-license-key", fields!(license_key: license)).await.expect(850, PRODUCT);

    let events = dump(&on.ledger, "events").await;
    assert!(events.contains(&license), "license keys are in the events in clear");
    for personal in ["Personal-", "personal.example", CLIENT_IP] {
        assert!(!events.contains(personal), "{personal} is in the log");
    }
    on.ledger.expect_intact().await;
}

async fn no_table_holds_an_api_key_or_a_private_key(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let caller = on.caller(&["--capability", "*"]).await;
    caller.form("create-product-meta", fields!(product_id: product, key: "colour", value: "blue")).await.expect(273, PRODUCT);
    let made = on.ledger.create_api_key(&["--capability", "verify"]).await;
    let master = on.ledger.place.master_key_file.clone().unwrap_or_else(|| on.ledger.place.data_dir.join("master.key"));
    let master = std::fs::read_to_string(master).expect("there is a master key file").trim().to_string();
    for table in raw::tables(&on.ledger.place).await {
        let content = dump(&on.ledger, &table).await;
        for secret in [&on.ledger.bootstrap_key, &made, &master, "PRIVATE KEY"] {
            assert!(!content.contains(secret), "a secret is in the table {table}");
        }
        // The start of an RSA private key in PKCS#8, as bytes and as hexadecimal.
        for der in ["\u{2}\u{1}\u{0}0\r\u{6}\t*", "020100300d06092a864886f70d010101"] {
            assert!(!content.contains(der), "a private key is in the table {table}");
        }
    }
    let log = on.server.log_text();
    for secret in [&on.ledger.bootstrap_key, &made, &master] {
        assert!(!log.contains(secret.as_str()), "a secret is in the server's log");
    }
}

/// Everything in one table as text.
async fn dump(ledger: &Ledger, table: &str) -> String {
    let rows = raw::rows(&ledger.place, &format!("select * from \"{table}\"")).await;
    let rows = rows.unwrap_or_else(|error| panic!("{table}: {error}"));
    rows.into_iter().flatten().flatten().collect::<Vec<_>>().join("\n")
}
