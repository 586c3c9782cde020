//! `keyledger verify`, `rebuild` and `public-key`.

use crate::support::{Backend, GLOBAL, Json, PRODUCT, Running, both_backends, fields};

both_backends!(verify_and_rebuild_work_beside_a_running_server_and_change_no_answer, public_keys_are_printed_as_pem, a_new_ledger_verifies,);

async fn verify_and_rebuild_work_beside_a_running_server_and_change_no_answer(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    on.api.form("create-product-meta", fields!(product_id: product, key: "colour", value: "blue")).await.expect(273, PRODUCT);
    let mut licenses = Vec::new();
    for number in 0..20 {
        let owner = fields!(owner_name: format!("Owner {number}"), owner_email: format!("{number}@a.example"), activation_limit: 3);
        let license = on.api.new_license(product, owner).await;
        for identifier in ["a.example", "b.example"] {
            on.api.activate(&license, identifier).await.expect(300, PRODUCT);
        }
        on.api.deactivate(&license, "b.example").await.expect("400", GLOBAL);
        let meta = fields!(license_key: license, identifier: "a.example", key: "colour", value: number);
        on.api.form("create-license-key-meta", meta).await.expect(453, PRODUCT);
        licenses.push(license);
    }
    on.api.form("delete-license-key", fields!(license_key: licenses[0])).await.expect(850, PRODUCT);
    on.api.update_license(&licenses[1], fields!(status: "available")).await.expect(950, PRODUCT);

    let everything = async || {
        let mut answers: Vec<Json> = Vec::new();
        for license in &licenses {
            answers.push(on.api.details(license, "a.example").await.response.without("timestamp"));
            answers.push(on.api.verify(license, "b.example").await.response.without("timestamp"));
        }
        answers.push(on.api.get("get-license-keys", fields!()).await.response.without("timestamp"));
        answers.push(on.api.get("get-all-products", fields!()).await.response.without("timestamp"));
        answers.push(on.api.get("get-available-license-keys-count", fields!(product_id: product)).await.response.without("timestamp"));
        answers
    };
    let before = everything().await;
    let said = on.ledger.run(&["verify"]).await.success();
    assert!(!said.trim().is_empty(), "verify says what it has checked");
    on.ledger.run(&["rebuild"]).await.success();
    assert_eq!(everything().await, before, "a rebuild changes no answer");
    on.ledger.expect_intact().await;
    // What was rebuilt is what later changes build on.
    on.api.activate(&licenses[2], "c.example").await.expect(300, PRODUCT);
    on.api.activate(&licenses[2], "d.example").await.expect(300, PRODUCT);
    on.api.activate(&licenses[2], "e.example").await.expect(302, PRODUCT);
    on.ledger.run(&["rebuild"]).await.success();
    on.api.activate(&licenses[2], "e.example").await.expect(302, PRODUCT);
    on.ledger.expect_intact().await;
}

async fn public_keys_are_printed_as_pem(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let global = on.ledger.run(&["public-key"]).await.success();
    let own = on.ledger.run(&["public-key", "--product", &product.to_string()]).await.success();
    for pem in [&global, &own] {
        assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n") && pem.ends_with("-----END PUBLIC KEY-----\n"), "{pem}");
        crate::support::keyring::PublicKey::from_pem(pem);
    }
    assert_ne!(global, own);
    let said = on.ledger.run(&["public-key", "--product", "999999999"]).await.failure(1);
    assert!(said.contains("999999999"), "{said}");
}

async fn a_new_ledger_verifies(backend: Backend) {
    let on = Running::start(backend).await;
    on.ledger.expect_intact().await;
    on.ledger.run(&["rebuild"]).await.success();
    on.ledger.expect_intact().await;
}
