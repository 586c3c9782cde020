//! The meta entries of a license.

use crate::support::{Backend, Client, Fields, PRODUCT, Running, both_backends, fields};

both_backends!(license_meta_is_created_once_changed_and_deleted, what_is_missing_has_its_own_code);

fn entry(license: &str, rest: Fields) -> Fields {
    let mut request = fields!(license_key: license, identifier: "a.example");
    request.extend(rest);
    request
}

/// The license's meta as `get-license-key-details` shows it: `[["key","value"],…]`.
async fn shown(api: &Client, license: &str) -> Vec<(String, String)> {
    let answer = api.details(license, "a.example").await;
    let meta = answer.expect(500, PRODUCT).response.at("licenseKey").at("meta_data").items().to_vec();
    meta.iter().map(|row| (row.at("key").text().to_string(), row.at("value").text().to_string())).collect()
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_string(), value.to_string())
}

async fn license_meta_is_created_once_changed_and_deleted(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    let (create, update, delete) = ("create-license-key-meta", "update-license-key-meta", "delete-license-key-meta");

    // No activation is needed for any of this.
    let colour = |value: &str| entry(&license, fields!(key: "colour", value: value));
    let created = on.api.form(create, colour("blue")).await;
    created.expect(453, PRODUCT).expect_members(&["meta_id"]).expect_signed_by(product);
    let number = created.response.at("meta_id").integer();
    on.api.form(create, colour("red")).await.expect(452, PRODUCT).expect_members(&[]);
    let updated = on.api.form(update, colour("green / grün")).await;
    updated.expect(353, PRODUCT).expect_members(&["meta_id"]);
    assert_eq!(updated.response.at("meta_id").integer(), number, "the entry keeps its number");
    on.api.form(update, entry(&license, fields!(key: "size", value: "XL"))).await.expect(352, PRODUCT).expect_members(&[]);
    let size = on.api.form(create, entry(&license, fields!(key: "size", value: "XL"))).await;
    assert_ne!(size.expect(453, PRODUCT).response.at("meta_id").integer(), number);

    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    assert_eq!(shown(&on.api, &license).await, [pair("colour", "green / grün"), pair("size", "XL")]);
    on.api.form(delete, entry(&license, fields!(key: "colour"))).await.expect(252, PRODUCT).expect_members(&[]);
    on.api.form(delete, entry(&license, fields!(key: "colour"))).await.expect(251, PRODUCT).expect_members(&[]);
    on.api.form(update, colour("blue")).await.expect(352, PRODUCT);
    assert_eq!(shown(&on.api, &license).await, [pair("size", "XL")]);
    let again = on.api.form(create, colour("blue")).await;
    assert_ne!(again.expect(453, PRODUCT).response.at("meta_id").integer(), number, "a number is never used again");

    let other = on.api.new_license(product, fields!()).await;
    on.api.form(create, entry(&other, fields!(key: "colour", value: "black"))).await.expect(453, PRODUCT);
    on.api.activate(&other, "a.example").await.expect(300, PRODUCT);
    assert_eq!(shown(&on.api, &other).await, [pair("colour", "black")]);
    on.ledger.expect_intact().await;
}

async fn what_is_missing_has_its_own_code(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    let before = on.ledger.event_count().await;
    let cases = [("create-license-key-meta", 450, 451), ("update-license-key-meta", 350, 351)];
    for (route, key_missing, value_missing) in cases {
        on.api.form(route, entry(&license, fields!())).await.expect(key_missing, PRODUCT);
        on.api.form(route, entry(&license, fields!(key: "", value: "blue"))).await.expect(key_missing, PRODUCT);
        on.api.form(route, entry(&license, fields!(key: "colour"))).await.expect(value_missing, PRODUCT);
        on.api.form(route, entry(&license, fields!(key: "colour", value: ""))).await.expect(value_missing, PRODUCT);
    }
    on.api.form("delete-license-key-meta", entry(&license, fields!())).await.expect(250, PRODUCT);
    assert_eq!(on.ledger.event_count().await, before);
}
