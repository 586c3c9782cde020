//! The meta entries of a product.

use crate::support::{Backend, Fields, GLOBAL, Json, PRODUCT, Running, both_backends, fields};

both_backends!(product_meta_is_created_once_changed_and_deleted, what_is_missing_has_its_own_code);

async fn product_meta_is_created_once_changed_and_deleted(backend: Backend) {
    let on = Running::start(backend).await;
    let (product, other) = (on.api.new_product().await, on.api.new_product().await);
    let entry = |rest: Fields| crate::support::world::merged(fields!(product_id: product), rest);
    let colour = |value: &str| entry(fields!(key: "colour", value: value));
    let (create, update, delete) = ("create-product-meta", "update-product-meta", "delete-product-meta");

    on.api.form(create, colour("blue")).await.expect(273, PRODUCT).expect_members(&[]).expect_signed_by(product);
    on.api.form(create, colour("red")).await.expect(272, PRODUCT).expect_members(&[]);
    on.api.form(update, colour("green")).await.expect(373, PRODUCT).expect_members(&[]);
    on.api.form(update, entry(fields!(key: "size", value: "XL"))).await.expect(372, PRODUCT).expect_members(&[]);
    on.api.form(create, entry(fields!(key: "size", value: "XL"))).await.expect(273, PRODUCT);
    on.api.form(create, fields!(product_id: other, key: "colour", value: "black")).await.expect(273, PRODUCT);

    let shown = async || {
        let answer = on.api.get("get-all-products", fields!()).await;
        let rows = answer.expect(810, GLOBAL).response.at("products").items().iter();
        rows.clone().find(|row| row.at("id").integer() == product).expect("the product is listed").at("meta_data").clone()
    };
    let both = r#"[{"key":"colour","value":"green"},{"key":"size","value":"XL"}]"#;
    assert_eq!(shown().await, Json::parse(both));
    // An inactive product keeps its meta, and it can be changed.
    on.api.set_product_status(product, "inactive").await;
    on.api.form(delete, entry(fields!(key: "colour"))).await.expect(482, PRODUCT).expect_members(&[]);
    on.api.form(delete, entry(fields!(key: "colour"))).await.expect(481, PRODUCT).expect_members(&[]);
    on.api.form(update, colour("blue")).await.expect(372, PRODUCT);
    assert_eq!(shown().await, Json::parse(r#"[{"key":"size","value":"XL"}]"#));
    on.api.form(create, colour("blue")).await.expect(273, PRODUCT);
    on.ledger.expect_intact().await;
}

async fn what_is_missing_has_its_own_code(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let before = on.ledger.event_count().await;
    let cases = [("create-product-meta", 270, Some(271), 274), ("update-product-meta", 370, Some(371), 374), ("delete-product-meta", 480, None, 483)];
    for (route, key_missing, value_missing, no_product) in cases {
        // The product comes first: nothing else is looked at without it.
        on.api.form(route, fields!()).await.expect(no_product, GLOBAL);
        on.api.form(route, fields!(product_id: 999_999_999)).await.expect(no_product, GLOBAL);
        on.api.form(route, fields!(product_id: "first", key: "colour", value: "blue")).await.expect(no_product, GLOBAL);
        on.api.form(route, fields!(product_id: product)).await.expect(key_missing, PRODUCT);
        on.api.form(route, fields!(product_id: product, key: "", value: "blue")).await.expect(key_missing, PRODUCT);
        if let Some(code) = value_missing {
            on.api.form(route, fields!(product_id: product, key: "colour")).await.expect(code, PRODUCT);
            on.api.form(route, fields!(product_id: product, key: "colour", value: "")).await.expect(code, PRODUCT);
        }
    }
    assert_eq!(on.ledger.event_count().await, before);
}
