//! The order of checks that verify, activate, deactivate, details and license meta share: license unknown 210, product
//! inactive 203, blocked 204, not assigned 201, expired 205, identifier missing 215, then the operation's own outcome.
//!
//! Each case is wrong in every later way too, so that only the right order gives the right code.

use crate::support::world::merged;
use crate::support::{Backend, Client, Fields, GLOBAL, Json, PRODUCT, Running, both_backends, fields};

both_backends!(each_check_comes_before_the_later_ones, deactivation_needs_neither_an_unblocked_nor_an_unexpired_license);

/// The seven operations with what they need beside license and identifier.
fn operations() -> Vec<(&'static str, Fields)> {
    vec![
        ("verify", fields!()),
        ("activate", fields!()),
        ("deactivate", fields!()),
        ("get-license-key-details", fields!()),
        ("create-license-key-meta", fields!(key: "colour", value: "blue")),
        ("update-license-key-meta", fields!(key: "colour", value: "blue")),
        ("delete-license-key-meta", fields!(key: "colour")),
    ]
}

/// A license whose one day ended long ago.
fn expired() -> Fields {
    fields!(validity: 1, assigned_at: "2020-01-01 00:00:00", status: "assigned")
}

struct Licenses {
    of_inactive_product: String,
    blocked: String,
    available: String,
    reserved: String,
    expired: String,
    good: String,
}

impl Licenses {
    async fn make(api: &Client) -> Licenses {
        let (product, inactive) = (api.new_product().await, api.new_product().await);
        let with_status = |status: &str| merged(expired(), fields!(status: status));
        let licenses = Licenses {
            of_inactive_product: api.new_license(inactive, with_status("blocked")).await,
            blocked: api.new_license(product, with_status("blocked")).await,
            available: api.new_license(product, fields!(status: "available")).await,
            reserved: api.new_license(product, fields!(status: "reserved")).await,
            expired: api.new_license(product, expired()).await,
            good: api.new_license(product, fields!()).await,
        };
        api.set_product_status(inactive, "inactive").await;
        licenses
    }
}

async fn each_check_comes_before_the_later_ones(backend: Backend) {
    let on = Running::start(backend).await;
    let licenses = Licenses::make(&on.api).await;

    for (route, rest) in operations() {
        let send = |license: &str, identifier: Option<&str>| {
            let mut request = merged(rest.clone(), fields!(license_key: license));
            request.extend(identifier.map(|text| ("identifier".to_string(), text.to_string())));
            on.api.form(route, request)
        };
        let unknown = if route == "get-license-key-details" { 501 } else { 210 };
        send("no such key", None).await.expect(unknown, GLOBAL);
        send(&licenses.of_inactive_product, None).await.expect(203, PRODUCT);
        if route != "deactivate" {
            send(&licenses.blocked, None).await.expect(204, PRODUCT);
            send(&licenses.expired, None).await.expect(205, PRODUCT);
        }
        send(&licenses.available, None).await.expect(201, PRODUCT);
        send(&licenses.reserved, None).await.expect(201, PRODUCT);
        send(&licenses.good, None).await.expect(215, PRODUCT);
        send(&licenses.good, Some("")).await.expect(215, PRODUCT);
        send(&licenses.good, Some("  \u{a0} ")).await.expect(215, PRODUCT);

        let own_outcome: Json = match route {
            "verify" | "get-license-key-details" => 202.into(),
            "activate" => 300.into(),
            "deactivate" => "400".into(),
            "create-license-key-meta" => 453.into(),
            "update-license-key-meta" => 353.into(),
            _ => 252.into(),
        };
        let key = if route == "deactivate" { GLOBAL } else { PRODUCT };
        send(&licenses.good, Some("a.example")).await.expect(own_outcome, key);
    }
    on.ledger.expect_intact().await;
}

async fn deactivation_needs_neither_an_unblocked_nor_an_unexpired_license(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;

    let blocked = on.api.new_license(product, fields!()).await;
    on.api.activate(&blocked, "a.example").await.expect(300, PRODUCT);
    on.api.update_license(&blocked, fields!(status: "blocked")).await.expect(950, PRODUCT);
    on.api.form("deactivate", fields!(license_key: blocked)).await.expect(215, PRODUCT);
    on.api.deactivate(&blocked, "other.example").await.expect(401, PRODUCT);
    on.api.deactivate(&blocked, "a.example").await.expect("400", GLOBAL);
    on.api.deactivate(&blocked, "a.example").await.expect(401, PRODUCT);

    let expired = on.api.new_license(product, fields!()).await;
    on.api.activate(&expired, "a.example").await.expect(300, PRODUCT);
    let long_ago = fields!(validity: 1, assigned_at: "2020-01-01 00:00:00");
    on.api.update_license(&expired, long_ago).await.expect(950, PRODUCT);
    on.api.verify(&expired, "a.example").await.expect(205, PRODUCT);
    on.api.deactivate(&expired, "a.example").await.expect("400", GLOBAL);
    on.api.deactivate(&expired, "a.example").await.expect(401, PRODUCT);
}
