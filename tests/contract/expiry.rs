//! Expiry is a fact of the clock: assigned_at + validity days, and gone the instant that passes.

use std::time::UNIX_EPOCH;

use crate::support::{Backend, Json, PRODUCT, Running, both_backends, eventually, fields};

both_backends!(a_license_expires_without_anything_happening, expiry_is_shown_as_it_is_computed, changing_validity_or_the_date_changes_expiry_at_once,);

const DAY_S: u64 = 24 * 60 * 60;

/// `YYYY-MM-DD HH:MM:SS` of a time that many seconds from now; UTC.
fn from_now(seconds: i64) -> String {
    let now = UNIX_EPOCH.elapsed().expect("the clock stands after 1970").as_secs().cast_signed();
    let time = jiff::Timestamp::from_second(now + seconds).expect("a time of our age");
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

async fn a_license_expires_without_anything_happening(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    // It must not expire before it is used: what else is to be known of the product is asked first.
    on.api.ring().product(product).await;
    let seconds_left = 15;
    let assigned_at = from_now(seconds_left - DAY_S.cast_signed());
    let license = on.api.new_license(product, fields!(validity: 1, assigned_at: assigned_at)).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    on.api.verify(&license, "a.example").await.expect(200, PRODUCT);

    let expired_at = eventually("the license expires", || async {
        let answer = on.api.verify(&license, "a.example").await;
        assert!(matches!(answer.code(), 200 | 205), "{}", answer.response);
        (answer.code() == 205).then(|| answer.expect(205, PRODUCT).response.at("timestamp").integer())
    })
    .await;
    let promised = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", &assigned_at).expect("a time");
    let promised = promised.to_zoned(jiff::tz::TimeZone::UTC).expect("a time of our age").timestamp().as_second() + DAY_S.cast_signed();
    assert!(expired_at >= promised, "expired at {expired_at}, promised until {promised}");
    on.api.activate(&license, "b.example").await.expect(205, PRODUCT);
    on.api.details(&license, "a.example").await.expect(205, PRODUCT);
}

async fn expiry_is_shown_as_it_is_computed(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let shown = async |validity: u32, assigned_at: &str| {
        let license = on.api.new_license(product, fields!(validity: validity, assigned_at: assigned_at)).await;
        on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
        let answer = on.api.details(&license, "a.example").await;
        let license = answer.expect(500, PRODUCT).response.at("licenseKey").clone();
        assert_eq!(license.at("assigned_at").text(), assigned_at);
        license.at("expires_at").clone()
    };
    assert_eq!(shown(0, "2024-02-28 12:34:56").await, Json::Bool(false), "unlimited");
    assert_eq!(shown(36500, "2024-02-28 12:34:56").await, Json::from("2124-02-04 12:34:56"), "whole days, leap years counted");
}

async fn changing_validity_or_the_date_changes_expiry_at_once(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!(validity: 0)).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);

    let past = fields!(validity: 10, assigned_at: from_now(-20 * DAY_S.cast_signed()));
    on.api.update_license(&license, past).await.expect(950, PRODUCT);
    on.api.verify(&license, "a.example").await.expect(205, PRODUCT);
    on.api.update_license(&license, fields!(validity: 30)).await.expect(950, PRODUCT);
    on.api.verify(&license, "a.example").await.expect(200, PRODUCT);
    on.api.update_license(&license, fields!(validity: 1)).await.expect(950, PRODUCT);
    on.api.verify(&license, "a.example").await.expect(205, PRODUCT);
    on.api.update_license(&license, fields!(assigned_at: from_now(0))).await.expect(950, PRODUCT);
    on.api.verify(&license, "a.example").await.expect(200, PRODUCT);
}
