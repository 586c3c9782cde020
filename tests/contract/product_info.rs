//! One product by number, UUID or slug: what it is, its public key, its meta entries; and all public keys as a JSON web
//! key set.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use rsa::pkcs8::{EncodePublicKey as _, LineEnding};
use rsa::{BigUint, RsaPublicKey};

use crate::support::{Backend, Client, Fields, GLOBAL, Json, PRODUCT, Running, both_backends, fields};

both_backends!(
    a_product_is_found_by_number_uuid_and_slug,
    a_new_product_gets_a_slug_of_its_own,
    the_public_key_of_a_product_is_the_one_that_signs,
    the_meta_entries_of_a_product_are_shown,
    every_public_key_is_in_the_key_set,
);

async fn shown(api: &Client, name: Fields) -> Json {
    let answer = api.get("get-product", name).await;
    answer.expect(631, GLOBAL).expect_members(&["product"]).response.at("product").clone()
}

async fn a_product_is_found_by_number_uuid_and_slug(backend: Backend) {
    let on = Running::start(backend).await;
    let given = fields!(
        name: "Größe Ω", description: "What it is", source: "envato", external_reference: "4444", require_non_expired: 1, status: "inactive",
        post_url: "https://vendor.example/receive",
    );
    let product = on.api.new_product_with(given).await;
    on.api.form("create-product-meta", fields!(product_id: product, key: "colour", value: "red")).await.expect(273, PRODUCT);
    let row = shown(&on.api, fields!(product_id: product)).await;
    let names = [
        "id",
        "uuid",
        "slug",
        "name",
        "external_reference",
        "source",
        "post_url",
        "description",
        "status",
        "require_non_expired",
        "created_at",
        "updated_at",
        "meta_data",
    ];
    assert_eq!(row.names(), names);
    assert_eq!((row.at("id").integer(), row.at("slug").text(), row.at("name").text()), (product, "grosse-o", "Größe Ω"));
    assert_eq!((row.at("source").text(), row.at("external_reference").text(), row.at("status").text()), ("envato", "4444", "inactive"));
    assert_eq!(row.at("meta_data"), &Json::parse(r#"[{"key":"colour","value":"red"}]"#));
    assert_eq!(shown(&on.api, fields!(product_uuid: row.at("uuid").text())).await, row);
    assert_eq!(shown(&on.api, fields!(product_slug: "grosse-o")).await, row);
    assert_eq!(shown(&on.api, fields!(product_id: product, product_slug: "another")).await, row, "the number comes first");

    let unknown = [
        fields!(),
        fields!(product_id: 999_999_999),
        fields!(product_id: "first"),
        fields!(product_uuid: "0190a5c0-0000-7000-8000-000000000001"),
        fields!(product_uuid: "no uuid"),
        fields!(product_slug: "doors"),
        fields!(product_slug: "Größe Ω"),
    ];
    for name in unknown {
        on.api.get("get-product", name.clone()).await.expect(551, GLOBAL).expect_members(&[]);
        on.api.get("get-product-meta", name.clone()).await.expect(551, GLOBAL);
        on.api.get("get-product-public-key", name).await.expect(633, GLOBAL);
    }
    on.api.form("delete-product", fields!(product_id: product)).await.expect(550, GLOBAL);
    for name in [fields!(product_id: product), fields!(product_uuid: row.at("uuid").text()), fields!(product_slug: "grosse-o")] {
        on.api.get("get-product", name).await.expect(551, GLOBAL);
    }
    on.ledger.expect_intact().await;
}

async fn a_new_product_gets_a_slug_of_its_own(backend: Backend) {
    let on = Running::start(backend).await;
    let slug_of = async |product: i64| shown(&on.api, fields!(product_id: product)).await.at("slug").text().to_string();
    let new = async |name: &str| on.api.new_product_with(fields!(name: name, own_key_pair: 0)).await;
    let first = new("Doors 98").await;
    assert_eq!(slug_of(first).await, "doors-98");
    assert_eq!(slug_of(new("Doors: 98!").await).await, "doors-98-2");
    // Renamed, a product keeps its slug: links to it live on.
    on.api.form("update-product", fields!(product_id: first, name: "Gates")).await.expect(650, GLOBAL);
    assert_eq!(slug_of(first).await, "doors-98");
    // A deleted one's is free.
    on.api.form("delete-product", fields!(product_id: first)).await.expect(550, GLOBAL);
    assert_eq!(slug_of(new("Doors 98").await).await, "doors-98");
    for number in 3..=9 {
        assert_eq!(slug_of(new("Doors 98").await).await, format!("doors-98-{number}"));
    }
    let last = new("Doors 98").await;
    assert_eq!(slug_of(last).await, format!("doors-98--{last}"));
    // At once, too: one batch decides several.
    let (a, b, c) = tokio::join!(new("Same"), new("Same"), new("Same"));
    let mut slugs = [slug_of(a).await, slug_of(b).await, slug_of(c).await];
    slugs.sort();
    assert_eq!(slugs, ["same", "same-2", "same-3"]);
    on.ledger.expect_intact().await;
}

async fn the_public_key_of_a_product_is_the_one_that_signs(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product_with(fields!(name: "Doors")).await;
    let answer = on.api.get("get-product-public-key", fields!(product_slug: "doors")).await;
    answer.expect(632, GLOBAL).expect_members(&["product", "public_key", "algorithm", "kid"]);
    assert_eq!(answer.response.at("product").names(), ["id", "uuid", "slug", "name"]);
    assert_eq!(answer.response.at("product").at("id").integer(), product);
    let pem = answer.response.at("public_key").text();
    assert_eq!(pem, on.api.ring().product(product).await.expect("the product has its own key").pem);
    assert_eq!(answer.response.at("algorithm").text(), "RSA-2048");

    let without = on.api.new_product_with(fields!(own_key_pair: 0)).await;
    on.api.get("get-product-public-key", fields!(product_id: without)).await.expect(633, GLOBAL).expect_members(&[]);
}

async fn the_meta_entries_of_a_product_are_shown(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let other = on.api.new_product_with(fields!(own_key_pair: 0)).await;
    for (key, value) in [("colour", "red"), ("size", "XL")] {
        on.api.form("create-product-meta", fields!(product_id: product, key: key, value: value)).await.expect(273, PRODUCT);
    }
    let answer = on.api.get("get-product-meta", fields!(product_id: product)).await;
    answer.expect(631, PRODUCT).expect_members(&["product", "meta_data"]).expect_signed_by(product);
    assert_eq!(answer.response.at("meta_data"), &Json::parse(r#"[{"key":"colour","value":"red"},{"key":"size","value":"XL"}]"#));
    let none = on.api.get("get-product-meta", fields!(product_id: other)).await;
    assert_eq!(none.expect(631, GLOBAL).response.at("meta_data"), &Json::List(Vec::new()));
}

/// The public key that a JSON web key describes, as PEM.
fn pem(jwk: &serde_json::Value) -> String {
    let number = |name: &str| BigUint::from_bytes_be(&URL_SAFE_NO_PAD.decode(jwk[name].as_str().expect("text")).expect("Base64"));
    let key = RsaPublicKey::new(number("n"), number("e")).expect("an RSA public key");
    key.to_public_key_pem(LineEnding::LF).expect("PEM")
}

async fn every_public_key_is_in_the_key_set(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    // A second at most until the new key is seen.
    let (set, tag) = crate::support::eventually("the product's key is in the set", || async {
        let response = on.api.request(Method::GET, "/.well-known/jwks.json").send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/jwk-set+json");
        assert_eq!(response.headers()["cache-control"], "public, max-age=300");
        let tag = response.headers()["etag"].to_str().expect("text").to_owned();
        let set: serde_json::Value = serde_json::from_str(&response.text().await.expect("a body")).expect("JSON");
        (set["keys"].as_array().is_some_and(|keys| keys.len() == 2)).then_some((set, tag))
    })
    .await;
    let keys = set["keys"].as_array().expect("a list");
    assert_eq!(pem(&keys[0]), on.api.ring().global().await.pem);
    assert_eq!(pem(&keys[1]), on.api.ring().product(product).await.expect("a key").pem);
    for key in keys {
        assert_eq!((&key["kty"], &key["use"], &key["alg"]), (&"RSA".into(), &"sig".into(), &"RS256".into()));
    }
    let answer = on.api.get("get-product-public-key", fields!(product_id: product)).await;
    assert_eq!(Some(answer.response.at("kid").text()), keys[1]["kid"].as_str());
    let cached = on.api.request(Method::GET, "/.well-known/jwks.json").header("if-none-match", tag).send().await.expect("an answer");
    assert_eq!(cached.status(), 304);
    assert_eq!(cached.text().await.expect("no body"), "");
    let posted = on.api.request(Method::POST, "/.well-known/jwks.json").send().await.expect("an answer");
    assert_eq!(posted.status(), 405);
}
