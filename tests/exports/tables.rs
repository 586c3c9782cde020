//! A range of the feed as one Parquet file.

use reqwest::Method;
use serde_json::Value;

use crate::reader::{in_micros, rows};
use crate::support::{
    Backend, Client, PRODUCT, Running, both_backends, eventually,
    feed::{positions, types},
    fields,
    world::fresh_key,
};

both_backends!(
    a_table_holds_the_same_events_as_lines,
    a_long_range_is_whole_wherever_it_is_cut,
    a_table_shows_no_more_than_its_reader_may_see,
    a_table_without_events_is_one_too,
    a_ranges_position_is_said_where_it_is_known,
    who_goes_away_leaves_room_for_other_tables,
);

const TABLE: &str = "application/vnd.apache.parquet";

async fn table(api: &Client, query: &str) -> Vec<Value> {
    let request = api.request(Method::GET, &format!("/feed/v1/events?{query}")).header("accept", TABLE);
    let response = request.send().await.expect("the server answers");
    assert_eq!((response.status().as_u16(), response.headers()["content-type"].to_str().expect("text")), (200, TABLE), "{query}");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("events.parquet"), response.bytes().await.expect("a whole answer")).expect("a file");
    rows("events.parquet", folder.path()).await
}

/// Some licenses that are used.
pub async fn life(on: &Running, licenses: usize) -> i64 {
    let product = on.api.new_product().await;
    for number in 0..licenses {
        let owner = fields!(owner_name: format!("Owner {number}"), owner_email: format!("{number}@a.example"), activation_limit: 2);
        let license = on.api.new_license(product, owner).await;
        on.api.activate(&license, "größe.example").await.expect(300, PRODUCT);
    }
    product
}

async fn a_table_holds_the_same_events_as_lines(backend: Backend) {
    let on = Running::start(backend).await;
    let product = life(&on, 6).await;
    assert!(on.api.feed_lines("").await.len() > 12);
    let last = on.ledger.event_count().await - 1;
    for query in [
        String::new(),
        "after=4".to_owned(),
        "after=4&through=9".to_owned(),
        format!("after={}", last - 1),
        "limit=3".to_owned(),
        "type=license.activated&limit=2".to_owned(),
        format!("type=license.*&product={product}"),
        "license=2".to_owned(),
        "to=2020-01-01".to_owned(),
        "from=2020-01-01&to=2199-01-01".to_owned(),
    ] {
        assert_eq!(table(&on.api, &query).await, in_micros(on.api.feed_lines(&query).await), "{query}");
    }
    assert_eq!(types(&table(&on.api, "type=license.activated&limit=2").await), ["license.activated"; 2]);
}

/// It is read in many parts at once, and put together in order.
async fn a_long_range_is_whole_wherever_it_is_cut(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let keys: Vec<String> = (0..3_200).map(|_| fresh_key()).collect();
    on.api.new_licenses(product, &keys, fields!()).await;
    let last_license = on.api.new_license(product, fields!(owner_name: "Jane")).await;
    on.api.activate(&last_license, "a.example").await.expect(300, PRODUCT);
    let count = on.ledger.event_count().await;
    let all = on.api.feed_lines("").await;
    assert_eq!(positions(&all), (0..count).collect::<Vec<_>>());
    let of = |from: usize, to: usize| &all[from..to];
    assert_eq!(on.api.feed_lines("limit=1700").await, of(0, 1_700));
    assert_eq!(on.api.feed_lines("after=699&through=2899").await, of(700, 2_900));
    assert_eq!(on.api.feed_lines("after=699&through=2899&limit=500").await, of(700, 1_200));
    for query in ["", "limit=1700", "after=699&through=2899", "type=license.activated,product.created", "license=3000", "type=license.*&limit=777"] {
        assert_eq!(table(&on.api, query).await, in_micros(on.api.feed_lines(query).await), "{query}");
    }
    assert_eq!(on.api.feed_lines("type=license.activated,product.created").await.len(), 2);
    assert_eq!(on.api.feed_lines("type=license.*&limit=777").await.len(), 777);
}

async fn a_table_shows_no_more_than_its_reader_may_see(backend: Backend) {
    let on = Running::start(backend).await;
    life(&on, 1).await;
    let all = table(&on.api, "").await;
    let text = serde_json::to_string(&all).expect("JSON");
    assert!(text.contains("größe.example") && text.contains("Owner 0"), "{text}");
    let blind = on.caller(&["--capability", "feed:read"]).await;
    let masked = table(&blind, "").await;
    assert_eq!(masked, in_micros(blind.feed_lines("").await));
    let text = serde_json::to_string(&masked).expect("JSON");
    assert!(!text.contains("größe.example") && !text.contains("Owner 0") && text.contains("sealed"), "{text}");
    // The administration changed something for a reason, which is for few.
    assert!(masked.iter().all(|event| event.get("reason").is_none() && event.get("operator").is_none()));
}

async fn a_table_without_events_is_one_too(backend: Backend) {
    let on = Running::start(backend).await;
    let last = on.ledger.event_count().await - 1;
    assert_eq!(table(&on.api, &format!("after={last}")).await, Vec::<Value>::new());
    assert_eq!(table(&on.api, "license=77").await, Vec::<Value>::new());
}

async fn a_ranges_position_is_said_where_it_is_known(backend: Backend) {
    let on = Running::start(backend).await;
    life(&on, 2).await;
    let last = on.ledger.event_count().await - 1;
    for accept in ["application/x-ndjson", TABLE] {
        let position = async |query: &str| {
            let request = on.api.request(Method::GET, &format!("/feed/v1/events?{query}")).header("accept", accept);
            let response = request.send().await.expect("the server answers").error_for_status().expect("a range");
            response.headers().get("feed-position").map(|position| position.to_str().expect("text").to_owned())
        };
        assert_eq!(position("").await, Some(last.to_string()));
        assert_eq!(position("type=contract.*&through=5").await, Some("5".to_owned()));
        assert_eq!(position("to=2020-01-01").await, Some("-1".to_owned()), "nothing is skipped by who goes on there");
        assert_eq!(position("limit=2").await, None);
    }
}

async fn who_goes_away_leaves_room_for_other_tables(backend: Backend) {
    let on = Running::start(backend).await;
    life(&on, 1).await;
    // Tables are made for four at a time: many more begin one and go.
    for _ in 0..20 {
        let request = on.api.request(Method::GET, "/feed/v1/events").header("accept", TABLE);
        drop(request.send().await.expect("the server answers"));
    }
    eventually("a table is made", async || {
        let request = on.api.request(Method::GET, "/feed/v1/events").header("accept", TABLE);
        (request.send().await.expect("the server answers").status() == 200).then_some(())
    })
    .await;
}
