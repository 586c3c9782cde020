//! Assigning a license, and assigning and activating it in one step.

use crate::support::{Backend, GLOBAL, Json, PRODUCT, Running, both_backends, fields};

both_backends!(only_an_available_license_can_be_assigned, assign_and_activate_does_both_or_neither);

async fn only_an_available_license_can_be_assigned(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;

    on.api.assign("no such key").await.expect(801, GLOBAL);
    on.api.form("assign-license-key", fields!()).await.expect(801, GLOBAL);
    for status in ["assigned", "reserved", "blocked"] {
        let license = on.api.new_license(product, fields!(status: status)).await;
        on.api.assign(&license).await.expect(801, GLOBAL);
        let row = on.api.listed(product, &license).await.expect("the license is listed");
        assert_eq!(row.at("status").text(), status, "a refused assignment changes nothing");
    }

    let license = on.api.new_license(product, fields!(status: "available", validity: 30)).await;
    let request = fields!(license_key: license, owner_name: "Ada Lovelace", email: "ada@a.example");
    on.api.form("assign-license-key", request.clone()).await.expect(800, GLOBAL).expect_members(&[]);
    on.api.form("assign-license-key", request).await.expect(801, GLOBAL);
    let row = on.api.listed(product, &license).await.expect("the license is listed");
    assert_eq!(row.at("status").text(), "assigned");
    assert_eq!(row.at("owner_name").text(), "Ada Lovelace");
    assert_eq!(row.at("owner_email").text(), "ada@a.example");
    assert_ne!(row.at("assigned_at"), &Json::Null);
    on.api.verify(&license, "a.example").await.expect(202, PRODUCT);
}

async fn assign_and_activate_does_both_or_neither(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let route = "assign-and-activate-license-key";
    let request = |license: &str| fields!(license_key: license, identifier: "a.example", owner_email: "ada@a.example", owner_name: "Ada Lovelace");
    let without_identifier = |license: &str| fields!(license_key: license, owner_email: "ada@a.example", owner_name: "Ada");

    on.api.form(route, request("no such key")).await.expect(801, GLOBAL);
    let license = on.api.new_license(product, fields!(status: "available", activation_limit: 1)).await;
    on.api.form(route, without_identifier(&license)).await.expect(215, PRODUCT);
    let row = on.api.listed(product, &license).await.expect("the license is listed");
    assert_eq!(row.at("status").text(), "available", "neither assigned nor activated without an identifier");
    assert_eq!(row.at("owner_email"), &Json::Null);

    on.api.form(route, request(&license)).await.expect(300, PRODUCT).expect_members(&[]);
    on.api.verify(&license, "a.example").await.expect(200, PRODUCT);
    let row = on.api.listed(product, &license).await.expect("the license is listed");
    assert_eq!(row.at("status").text(), "assigned");
    assert_eq!(row.at("owner_email").text(), "ada@a.example");
    on.api.activate(&license, "b.example").await.expect(302, PRODUCT);

    on.api.form(route, request(&license)).await.expect(801, PRODUCT);
    for status in ["assigned", "reserved", "blocked"] {
        let license = on.api.new_license(product, fields!(status: status)).await;
        on.api.form(route, request(&license)).await.expect(801, PRODUCT);
        let row = on.api.listed(product, &license).await.expect("the license is listed");
        assert_eq!(row.at("status").text(), status);
        assert_eq!(row.at("owner_email"), &Json::Null, "a refused assignment leaves no owner");
    }
    on.ledger.expect_intact().await;
}
