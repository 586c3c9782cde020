//! Activating, verifying and deactivating: seats are counted per identifier, never beyond the limit, and come back.

use crate::support::{Backend, GLOBAL, PRODUCT, Running, both_backends, fields};

both_backends!(
    an_activation_counts_once_and_only_up_to_the_limit,
    a_deactivated_identifier_frees_its_seat_and_may_come_back,
    a_limit_of_0_is_no_limit,
    a_lowered_limit_keeps_what_is_active_and_refuses_what_is_new,
    an_activation_belongs_to_one_license_and_one_exact_identifier,
    refusals_at_the_limit_are_coalesced_in_the_log,
    a_post_url_need_not_be_a_url,
);

async fn an_activation_counts_once_and_only_up_to_the_limit(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!(activation_limit: 2)).await;

    on.api.verify(&license, "a.example").await.expect(202, PRODUCT);
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT).expect_members(&[]);
    on.api.activate(&license, "a.example").await.expect(301, PRODUCT).expect_members(&[]);
    on.api.activate(&license, "b.example").await.expect(300, PRODUCT);
    on.api.activate(&license, "c.example").await.expect(302, PRODUCT).expect_members(&[]);
    // Full, but these two are in already.
    on.api.activate(&license, "a.example").await.expect(301, PRODUCT);
    on.api.activate(&license, "b.example").await.expect(301, PRODUCT);
    on.api.verify(&license, "a.example").await.expect(200, PRODUCT).expect_signed_by(product);
    on.api.verify(&license, "b.example").await.expect(200, PRODUCT).expect_members(&[]);
    on.api.verify(&license, "c.example").await.expect(202, PRODUCT);
}

async fn a_deactivated_identifier_frees_its_seat_and_may_come_back(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!(activation_limit: 1)).await;

    for round in 0..3 {
        let (inside, outside) = if round % 2 == 0 { ("a.example", "b.example") } else { ("b.example", "a.example") };
        on.api.activate(&license, inside).await.expect(300, PRODUCT);
        on.api.activate(&license, outside).await.expect(302, PRODUCT);
        on.api.deactivate(&license, outside).await.expect(401, PRODUCT).expect_members(&[]);
        on.api.deactivate(&license, inside).await.expect("400", GLOBAL).expect_members(&[]);
        on.api.deactivate(&license, inside).await.expect(401, PRODUCT);
        on.api.verify(&license, inside).await.expect(202, PRODUCT);
    }
    on.ledger.expect_intact().await;
}

async fn a_limit_of_0_is_no_limit(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!(activation_limit: 0)).await;
    for number in 0..25 {
        on.api.activate(&license, &format!("{number}.example")).await.expect(300, PRODUCT);
    }
    on.api.verify(&license, "0.example").await.expect(200, PRODUCT);
    on.api.verify(&license, "24.example").await.expect(200, PRODUCT);
}

async fn a_lowered_limit_keeps_what_is_active_and_refuses_what_is_new(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!(activation_limit: 3)).await;
    let identifiers = ["a.example", "b.example", "c.example"];
    for identifier in identifiers {
        on.api.activate(&license, identifier).await.expect(300, PRODUCT);
    }
    on.api.update_license(&license, fields!(activation_limit: 1)).await.expect(950, PRODUCT);
    for identifier in identifiers {
        on.api.verify(&license, identifier).await.expect(200, PRODUCT);
        on.api.activate(&license, identifier).await.expect(301, PRODUCT);
    }
    on.api.activate(&license, "d.example").await.expect(302, PRODUCT);
    on.api.deactivate(&license, "a.example").await.expect("400", GLOBAL);
    on.api.deactivate(&license, "b.example").await.expect("400", GLOBAL);
    on.api.activate(&license, "d.example").await.expect(302, PRODUCT);
    on.api.deactivate(&license, "c.example").await.expect("400", GLOBAL);
    on.api.activate(&license, "d.example").await.expect(300, PRODUCT);
    on.api.update_license(&license, fields!(activation_limit: 2)).await.expect(950, PRODUCT);
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    on.api.activate(&license, "b.example").await.expect(302, PRODUCT);
}

async fn an_activation_belongs_to_one_license_and_one_exact_identifier(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let (one, other) = (on.api.new_license(product, fields!()).await, on.api.new_license(product, fields!()).await);
    let identifiers = ["https://a.example/x?y=1&z=%41+b", "Grüße-日本-😀", "a\"b\\c'd;--", "A.example", &"i".repeat(255)];
    for identifier in identifiers {
        on.api.activate(&one, identifier).await.expect(300, PRODUCT);
        on.api.verify(&one, identifier).await.expect(200, PRODUCT);
        on.api.verify(&other, identifier).await.expect(202, PRODUCT);
    }
    on.api.verify(&one, "a.example").await.expect(202, PRODUCT);
    on.api.verify(&one, "https://a.example/x?y=1&z=A+b").await.expect(202, PRODUCT);
    on.api.verify(&one.to_lowercase(), "A.example").await.expect(210, GLOBAL);
}

async fn refusals_at_the_limit_are_coalesced_in_the_log(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!(activation_limit: 1)).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    let before = on.ledger.event_count().await;
    for _ in 0..30 {
        on.api.activate(&license, "b.example").await.expect(302, PRODUCT);
    }
    // One for each minute that the loop touched, never one for each refusal.
    let refusals = on.ledger.event_count().await - before;
    assert!((1..=3).contains(&refusals), "{refusals} events for 30 refusals");
}

async fn a_post_url_need_not_be_a_url(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let long = "u".repeat(2_048);
    for (number, post_url) in ["", " ", "a.example/receiver", "not a URL", "ftp://a.example", &long].into_iter().enumerate() {
        let license = on.api.new_license(product, fields!()).await;
        let request = fields!(license_key: license, identifier: format!("{number}.example"), post_url: post_url);
        on.api.form("activate", request).await.expect(300, PRODUCT);
        let license = on.api.new_license(product, fields!(status: "available")).await;
        let request = fields!(license_key: license, identifier: format!("{number}.example"), post_url: post_url);
        on.api.form("assign-and-activate-license-key", request).await.expect(300, PRODUCT);
    }
}
