//! Lists and counts: filters, pages, order.

use crate::support::world::fresh_key;
use crate::support::{Backend, Client, Fields, GLOBAL, Json, PRODUCT, Running, both_backends, fields};

both_backends!(license_keys_are_listed_in_pages, license_keys_are_filtered, available_keys_are_counted);

async fn page(api: &Client, query: Fields) -> Vec<Json> {
    let answer = api.get("get-license-keys", query).await;
    answer.expect(730, GLOBAL).expect_members(&["license_keys"]).response.at("license_keys").items().to_vec()
}

fn keys_of(rows: &[Json]) -> Vec<String> {
    rows.iter().map(|row| row.at("license_key").text().to_string()).collect()
}

async fn license_keys_are_listed_in_pages(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    assert!(page(&on.api, fields!()).await.is_empty());
    let keys: Vec<String> = (0..1203).map(|_| fresh_key()).collect();
    on.api.new_licenses(product, &keys, fields!(status: "available")).await;

    let all = page(&on.api, fields!(items_per_page: 1000)).await;
    assert_eq!(keys_of(&all), keys[..1000], "ascending number is the order in which they were given");
    let numbers: Vec<i64> = all.iter().map(|row| row.at("id").integer()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next));
    assert_eq!(keys_of(&page(&on.api, fields!(items_per_page: 1000, page: 2)).await), keys[1000..]);
    assert!(page(&on.api, fields!(items_per_page: 1000, page: 3)).await.is_empty(), "past the end");
    assert!(page(&on.api, fields!(items_per_page: 1000, page: 9_000_000_000_000_000_i64)).await.is_empty(), "far past the end");
    assert_eq!(keys_of(&page(&on.api, fields!()).await), keys[..50], "50 a page by default, from page 1");
    assert_eq!(keys_of(&page(&on.api, fields!(page: 2)).await), keys[50..100]);
    assert_eq!(keys_of(&page(&on.api, fields!(page: 3, items_per_page: 5)).await), keys[10..15]);
    let greedy = on.api.get("get-license-keys", fields!(items_per_page: 5000)).await;
    if greedy.code() == 730 {
        assert_eq!(greedy.response.at("license_keys").items().len(), 1000, "1000 a page at most");
    } else {
        greedy.expect_error(400);
    }
}

async fn license_keys_are_filtered(backend: Backend) {
    let on = Running::start(backend).await;
    let (one, two) = (on.api.new_product().await, on.api.new_product().await);
    let ada = fields!(owner_name: "Ada Lovelace", owner_email: "ada@a.example");
    let adas = on.api.new_license(one, ada.clone()).await;
    let adas_of_two = on.api.new_license(two, ada).await;
    let graces = on.api.new_license(one, fields!(owner_name: "Grace Hopper", owner_email: "grace@a.example")).await;
    let available = on.api.new_license(one, fields!(status: "available")).await;
    let reserved = on.api.new_license(two, fields!(status: "reserved")).await;
    let blocked = on.api.new_license(one, fields!(status: "blocked")).await;

    let found = async |query: Fields| keys_of(&page(&on.api, query).await);
    assert_eq!(found(fields!()).await, [&*adas, &adas_of_two, &graces, &available, &reserved, &blocked]);
    assert_eq!(found(fields!(product_id: one)).await, [&*adas, &graces, &available, &blocked]);
    assert_eq!(found(fields!(product_id: two)).await, [&*adas_of_two, &reserved]);
    assert_eq!(found(fields!(status: "assigned")).await, [&*adas, &adas_of_two, &graces]);
    assert_eq!(found(fields!(status: "available")).await, [&*available]);
    assert_eq!(found(fields!(status: "reserved")).await, [&*reserved]);
    assert_eq!(found(fields!(status: "blocked", product_id: one)).await, [&*blocked]);
    assert!(found(fields!(status: "blocked", product_id: two)).await.is_empty());
    assert_eq!(found(fields!(owner_email: "ada@a.example")).await, [&*adas, &adas_of_two]);
    assert_eq!(found(fields!(owner_name: "Grace Hopper")).await, [&*graces]);
    assert_eq!(found(fields!(owner_email: "ada@a.example", product_id: two)).await, [&*adas_of_two]);
    assert!(found(fields!(owner_email: "nobody@a.example")).await.is_empty());
    assert!(found(fields!(product_id: 999_999_999)).await.is_empty());
    assert_eq!(found(fields!(product_id: one, items_per_page: 2, page: 2)).await, [&*available, &blocked], "pages of what is found");
    let empty_means_absent = fields!(status: "", owner_name: "", owner_email: "", product_id: two);
    assert_eq!(found(empty_means_absent).await, [&*adas_of_two, &reserved]);
}

async fn available_keys_are_counted(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let count = async || {
        let answer = on.api.get("get-available-license-keys-count", fields!(product_id: product)).await;
        answer.expect(741, GLOBAL).expect_members(&["count"]).response.at("count").integer()
    };
    on.api.get("get-available-license-keys-count", fields!()).await.expect(740, GLOBAL);
    on.api.get("get-available-license-keys-count", fields!(product_id: "first")).await.expect(740, GLOBAL);
    assert_eq!(count().await, 0);
    let keys: Vec<String> = (0..4).map(|_| fresh_key()).collect();
    on.api.new_licenses(product, &keys, fields!(status: "available")).await;
    on.api.new_license(product, fields!(status: "reserved")).await;
    assert_eq!(count().await, 4);
    on.api.assign(&keys[0]).await.expect(800, GLOBAL);
    assert_eq!(count().await, 3);
    on.api.update_license(&keys[1], fields!(status: "blocked")).await.expect(950, PRODUCT);
    assert_eq!(count().await, 2);
    on.api.form("delete-license-key", fields!(license_key: keys[2])).await.expect(850, PRODUCT);
    assert_eq!(count().await, 1);
    on.api.update_license(&keys[0], fields!(status: "available")).await.expect(950, PRODUCT);
    assert_eq!(count().await, 2);
    on.ledger.expect_intact().await;
}
