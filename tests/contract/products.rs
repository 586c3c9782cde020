//! Products: created, changed, deleted, and which key signs what is about them.

use crate::support::world::{fresh_key, new_license_fields};
use crate::support::{Backend, Fields, GLOBAL, Json, PRODUCT, Running, SignedBy, both_backends, fields};

both_backends!(
    a_product_is_listed_as_it_was_given_and_as_it_was_changed,
    bad_data_is_refused_field_by_field,
    a_product_with_license_keys_cannot_be_deleted,
    a_deleted_product_is_gone_everywhere,
    a_product_without_its_own_key_pair_signs_with_the_global_key,
    each_product_signs_with_its_own_key,
);

async fn listed(on: &Running, product: i64) -> Option<Json> {
    let answer = on.api.get("get-all-products", fields!()).await;
    let rows = answer.expect(810, GLOBAL).expect_members(&["products"]).response.at("products").items().to_vec();
    let numbers: Vec<i64> = rows.iter().map(|row| row.at("id").integer()).collect();
    assert!(numbers.is_sorted(), "products in ascending number: {numbers:?}");
    rows.into_iter().find(|row| row.at("id").integer() == product)
}

async fn a_product_is_listed_as_it_was_given_and_as_it_was_changed(backend: Backend) {
    let on = Running::start(backend).await;
    let least = on.api.form("create-product", fields!(name: "Least", description: "No more than it takes")).await;
    least.expect(750, GLOBAL).expect_members(&["product_id"]);
    let row = listed(&on, least.response.at("product_id").integer()).await.expect("the product is listed");
    assert_eq!((row.at("source").text(), row.at("status").text()), ("internal", "active"));
    assert_eq!(row.at("require_non_expired"), &Json::from(0));
    assert_eq!((row.at("external_reference").text(), row.at("post_url").text()), ("", ""));

    let given = fields!(
        source: "envato", name: "Größe/Ω", description: "A \"description\"", require_non_expired: 1,
        external_reference: "4444", status: "inactive",
    );
    let product = on.api.new_product_with(given).await;
    let row = listed(&on, product).await.expect("the product is listed");
    assert_eq!((row.at("source").text(), row.at("name").text()), ("envato", "Größe/Ω"));
    assert_eq!((row.at("description").text(), row.at("external_reference").text()), ("A \"description\"", "4444"));
    assert_eq!((row.at("status").text(), row.at("require_non_expired")), ("inactive", &Json::from(1)));
    assert_eq!(row.at("meta_data"), &Json::List(Vec::new()));

    let changed = fields!(
        product_id: product, source: "internal", name: "Changed", description: "Too", require_non_expired: 0,
        external_reference: "", status: "active",
    );
    on.api.form("update-product", changed).await.expect(650, GLOBAL).expect_members(&[]);
    let after = listed(&on, product).await.expect("the product is listed");
    assert_eq!((after.at("source").text(), after.at("name").text()), ("internal", "Changed"));
    assert_eq!((after.at("description").text(), after.at("external_reference").text()), ("Too", ""));
    assert_eq!((after.at("status").text(), after.at("require_non_expired")), ("active", &Json::from(0)));
    assert_eq!(after.at("created_at"), row.at("created_at"));
    assert!(after.at("updated_at").text() > row.at("updated_at").text(), "{after} after {row}");
}

async fn bad_data_is_refused_field_by_field(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let before = on.ledger.event_count().await;
    let given = |wrong: Fields| crate::support::world::merged(fields!(name: "A", description: "B", product_id: product), wrong);
    let cases = [
        (fields!(name: ""), r#"{"name":["The name field is required."]}"#),
        (fields!(description: "  "), r#"{"description":["The description field is required."]}"#),
        (fields!(status: "test"), r#"{"status":["The selected status is invalid."]}"#),
        (fields!(source: "elsewhere"), r#"{"source":["The selected source is invalid."]}"#),
    ];
    for (wrong, errors) in cases {
        on.api.form("create-product", given(wrong.clone())).await.expect(751, GLOBAL).expect_errors(errors);
        on.api.form("update-product", given(wrong)).await.expect(651, GLOBAL).expect_errors(errors);
    }
    let unknown = r#"{"product_id":["The selected product id is invalid."]}"#;
    for number in ["999999999", "-1", "first", "18446744073709551617"] {
        let answer = on.api.form("update-product", given(fields!(product_id: number))).await;
        answer.expect(651, GLOBAL).expect_errors(unknown);
        on.api.form("delete-product", fields!(product_id: number)).await.expect(551, GLOBAL);
    }
    on.api.form("delete-product", fields!()).await.expect(551, GLOBAL);
    assert_eq!(on.ledger.event_count().await, before);
}

async fn a_product_with_license_keys_cannot_be_deleted(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    let refused = on.api.form("delete-product", fields!(product_id: product)).await;
    refused.expect(551, GLOBAL).expect_errors(r#"{"product_id":["The product still has license keys."]}"#);
    on.api.verify(&license, "a.example").await.expect(202, PRODUCT);
    on.api.form("delete-license-key", fields!(license_key: license)).await.expect(850, PRODUCT);
    on.api.form("delete-product", fields!(product_id: product)).await.expect(550, GLOBAL).expect_members(&[]);
    on.ledger.expect_intact().await;
}

async fn a_deleted_product_is_gone_everywhere(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let meta = fields!(product_id: product, key: "colour", value: "blue");
    on.api.form("create-product-meta", meta.clone()).await.expect(273, PRODUCT);
    on.api.form("delete-product", fields!(product_id: product)).await.expect(550, GLOBAL);

    on.api.form("delete-product", fields!(product_id: product)).await.expect(551, GLOBAL);
    let update = fields!(product_id: product, name: "A", description: "B");
    let invalid = r#"{"product_id":["The selected product id is invalid."]}"#;
    on.api.form("update-product", update).await.expect(651, GLOBAL).expect_errors(invalid);
    let create = new_license_fields(product, &[fresh_key()], fields!());
    on.api.form("create-license-keys", create).await.expect(901, GLOBAL).expect_errors(invalid);
    on.api.form("create-product-meta", meta.clone()).await.expect(274, GLOBAL);
    on.api.form("update-product-meta", meta.clone()).await.expect(374, GLOBAL);
    on.api.form("delete-product-meta", meta).await.expect(483, GLOBAL);
    on.api.get("get-available-license-keys-count", fields!(product_id: product)).await.expect(740, GLOBAL);
    assert_eq!(listed(&on, product).await, None);
    assert!(on.api.new_product().await > product, "a number is never used again");
    on.ledger.expect_intact().await;
}

async fn a_product_without_its_own_key_pair_signs_with_the_global_key(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product_with(fields!(own_key_pair: 0)).await;
    let created = on.api.try_new_licenses(product, &[fresh_key()], fields!()).await;
    created.expect(900, GLOBAL);
    let license = on.api.form("create-product-meta", fields!(product_id: product, key: "colour", value: "blue")).await;
    license.expect(273, GLOBAL);
    let key = fresh_key();
    on.api.try_new_licenses(product, std::slice::from_ref(&key), fields!()).await.expect(900, GLOBAL);
    on.api.verify(&key, "a.example").await.expect(202, GLOBAL);
    on.api.activate(&key, "a.example").await.expect(300, GLOBAL);
    on.api.verify(&key, "a.example").await.expect(200, GLOBAL);
    on.api.details(&key, "a.example").await.expect(500, GLOBAL);
    on.api.deactivate(&key, "a.example").await.expect("400", GLOBAL);
    on.api.deactivate(&key, "a.example").await.expect(401, GLOBAL);
}

async fn each_product_signs_with_its_own_key(backend: Backend) {
    let on = Running::start(backend).await;
    let products = [on.api.new_product().await, on.api.new_product_with(fields!(own_key_pair: 1)).await];
    let mut seen = vec![on.api.ring().global().await.pem.clone()];
    for product in products {
        let key = on.api.ring().product(product).await.expect("a product has its own key pair");
        assert!(!seen.contains(&key.pem), "no key pair is shared");
        seen.push(key.pem);
        let license = on.api.new_license(product, fields!()).await;
        let answer = on.api.verify(&license, "a.example").await;
        assert_eq!(answer.expect(202, PRODUCT).signed_by, SignedBy::Product(product));
    }
    // The keys outlive the process.
    let Running { api, server, ledger } = on;
    drop(api);
    server.stop().await;
    let server = ledger.serve().await;
    assert_eq!(ledger.run(&["public-key"]).await.success(), seen[0]);
    let licenses = server.client().get("get-license-keys", fields!(product_id: products[0])).await;
    let license = licenses.expect(730, GLOBAL).response.at("license_keys").items()[0].at("license_key").text().to_string();
    server.client().verify(&license, "a.example").await.expect(202, PRODUCT).expect_signed_by(products[0]);
}
