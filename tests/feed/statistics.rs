//! What happened on each day: sums that are the log's, whoever is killed when.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ApiKey, Backend, Client, GLOBAL, Ledger, PRODUCT, Running, ServeOptions, both_backends, eventually, fields, raw};

both_backends!(
    what_happened_is_added_up,
    the_answers_of_verifications_are_recorded,
    what_was_counted_is_recorded_when_the_server_stops,
    sums_survive_kill_9,
    sums_can_be_made_anew,
    days_come_in_pages,
    what_is_no_question_is_refused,
);

const ROUNDS: usize = 5;
const NAMES: [&str; 7] = ["created", "assigned", "activations", "deactivations", "refusals", "verifications", "licenses"];

type Sums = BTreeMap<(String, i64), [i64; 7]>;

fn counting_every_second() -> ServeOptions {
    ServeOptions::environment("KEYLEDGER_COUNT_INTERVAL", "1")
}

async fn statistics(api: &Client, query: &str) -> Value {
    let answer = api.admin_answer(api.request(Method::GET, &format!("/feed/v1/statistics?limit=500&{query}"))).await;
    answer.expect(200).clone()
}

fn sums(page: &Value) -> Sums {
    let items = page["items"].as_array().expect("items");
    let place = |item: &Value| (item["day"].as_str().expect("a day").to_owned(), item["product"].as_i64().expect("a product"));
    items.iter().map(|item| (place(item), NAMES.map(|name| item[name].as_i64().expect("a count")))).collect()
}

/// The sums once they are of all events that there are.
async fn complete(api: &Client) -> Sums {
    eventually("the statistics are of the whole log", || async {
        let page = statistics(api, "").await;
        assert!(page["position"].as_i64() <= page["head"].as_i64(), "{page}");
        (page["position"] == page["head"]).then(|| sums(&page))
    })
    .await
}

async fn events(api: &Client, query: &str) -> Vec<Value> {
    let request = api.request(Method::GET, &format!("/feed/v1/events?{query}")).header("accept", "application/x-ndjson");
    let text = request.send().await.expect("an answer").text().await.expect("lines");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The same sums, from the events one by one.
async fn of_the_log(api: &Client) -> Sums {
    let mut sums = Sums::new();
    for event in events(api, "").await {
        let data = &event["data"];
        let ended = data["ended"].as_i64().unwrap_or(0);
        let (time, counts) = match event["eventtype"].as_str().expect("a type") {
            "LicenseCreated" => (&event["time"], [1, i64::from(data["status"] == "assigned"), 0, 0, 0, 0, 1]),
            "LicenseAssigned" => (&event["time"], [0, 1, 0, 0, 0, 0, 0]),
            "LicenseActivated" => (&event["time"], [0, 0, 1, 0, 0, 0, 0]),
            "LicenseDeactivated" => (&event["time"], [0, 0, 0, 1, 0, 0, 0]),
            "ActivationsEnded" => (&event["time"], [0, 0, 0, ended, 0, 0, 0]),
            "ActivationRefused" | "AccessRefused" => (&event["time"], [0, 0, 0, 0, 1, 0, 0]),
            "LicenseDeleted" => (&event["time"], [0, 0, 0, 0, 0, 0, -1]),
            "LicenseProductChanged" => {
                let day = event["time"].as_str().expect("a time")[..10].to_owned();
                sums.entry((day.clone(), data["from"].as_i64().expect("a product"))).or_default()[6] -= 1;
                sums.entry((day, data["to"].as_i64().expect("a product"))).or_default()[6] += 1;
                continue;
            }
            "VerificationsCounted" => {
                let counts = data["counts"].as_object().expect("counts").values().filter_map(Value::as_i64).sum();
                (&data["minute"], [0, 0, 0, 0, 0, counts, 0])
            }
            _ => continue,
        };
        let day = time.as_str().expect("a time")[..10].to_owned();
        let sum = sums.entry((day, data["product"].as_i64().expect("a product"))).or_default();
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    sums
}

/// What is so of a product on all days together: a test may run at midnight.
fn of_product(sums: &Sums, product: i64) -> [i64; 7] {
    let mut all = [0; 7];
    for (_, counts) in sums.iter().filter(|((_, known), _)| *known == product) {
        all.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    all
}

async fn service_verify(api: &Client, license: &str, product: i64, domain: &str, status: u16) {
    let request = api.with_key(ApiKey::Missing).request(Method::GET, &format!("/api/license/verify?domain={domain}&product_id={product}"));
    let response = request.header("authorization", format!("Bearer {license}")).send().await.expect("an answer");
    assert_eq!(response.status().as_u16(), status, "{}", response.text().await.unwrap_or_default());
}

async fn what_happened_is_added_up(backend: Backend) {
    let on = Running::start(backend).await;
    let (product, other) = (on.api.new_product().await, on.api.new_product().await);
    let license = on.api.new_license(product, fields!(activation_limit: 1)).await;
    let available = on.api.new_license(product, fields!(status: "available")).await;
    on.api.assign(&available).await.expect(800, GLOBAL);
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    on.api.activate(&license, "b.example").await.expect(302, PRODUCT);
    on.api.deactivate(&license, "a.example").await.expect("400", GLOBAL);
    for identifier in ["a.example", "b.example"] {
        on.api.activate(&available, identifier).await.expect(300, PRODUCT);
    }
    on.api.update_license(&available, fields!(status: "available")).await.expect(950, PRODUCT);
    // A product has as many licenses as there were made for it and moved to it, less those deleted and moved away.
    let deleted = on.api.new_license(product, fields!()).await;
    on.api.form("delete-license-key", fields!(license_key: deleted)).await.expect(850, PRODUCT);
    assert_eq!(on.api.update_license(&license, fields!(product_id: other)).await.code(), 950);
    let blocked = on.api.new_license(other, fields!(status: "blocked")).await;
    on.api.activate(&blocked, "a.example").await.expect(204, PRODUCT);

    let sums = eventually("the refusal is recorded", || async {
        let sums = complete(&on.api).await;
        (of_product(&sums, other)[4] == 1).then_some(sums)
    })
    .await;
    assert_eq!(of_product(&sums, product), [3, 3, 3, 3, 1, 0, 1]);
    assert_eq!(of_product(&sums, other), [1, 0, 0, 0, 1, 0, 2]);
    assert_eq!(sums, of_the_log(&on.api).await);
    let (status, metrics) = on.api.plain("/metrics").await;
    assert!(status == 200 && metrics.contains("keyledger_statistics_lag_events 0"), "{metrics}");
}

async fn the_answers_of_verifications_are_recorded(backend: Backend) {
    let on = Running::start_with(backend, counting_every_second()).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    for _ in 0..3 {
        on.api.verify(&license, "a.example").await.expect(200, PRODUCT);
    }
    on.api.verify(&license, "b.example").await.expect(202, PRODUCT);
    on.api.verify("NOBODYS", "a.example").await.expect(210, GLOBAL);
    service_verify(&on.api, &license, product, "a.example", 200).await;
    service_verify(&on.api, &license, product, "b.example", 403).await;
    service_verify(&on.api, "NOBODYS", product, "a.example", 401).await;
    let download = on.api.with_key(ApiKey::Missing).request(Method::POST, &format!("/api/license/download?domain=b.example&product_id={product}"));
    let refused = download.header("authorization", format!("Bearer {license}")).send().await.expect("an answer");
    assert_eq!(refused.status().as_u16(), 403);

    let sums = eventually("all verifications are recorded", || async {
        let sums = complete(&on.api).await;
        (of_product(&sums, product)[5] >= 6).then_some(sums)
    })
    .await;
    assert_eq!(of_product(&sums, product), [1, 1, 1, 0, 0, 6, 1]);
    assert_eq!(sums, of_the_log(&on.api).await);
    let mut codes = BTreeMap::<String, i64>::new();
    for event in events(&on.api, &format!("type=verification.counted&product={product}")).await {
        assert!(event["data"]["minute"].as_str().expect("a minute").ends_with(":00.000000Z"), "{event}");
        for (code, count) in event["data"]["counts"].as_object().expect("counts") {
            *codes.entry(code.clone()).or_default() += count.as_i64().expect("a number");
        }
    }
    assert_eq!(json!(codes), json!({"200": 4, "202": 1, "DOMAIN_MISMATCH": 1}));
    on.ledger.expect_intact().await;
}

async fn what_was_counted_is_recorded_when_the_server_stops(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let server = ledger.serve_with(ServeOptions::environment("KEYLEDGER_COUNT_INTERVAL", "60")).await;
    let product = server.client().new_product().await;
    let license = server.client().new_license(product, fields!()).await;
    for _ in 0..5 {
        server.client().verify(&license, "a.example").await.expect(202, PRODUCT);
    }
    server.stop().await;
    let server = ledger.serve().await;
    assert_eq!(of_product(&complete(&server.client()).await, product)[5], 5);
    // This server counts nothing.
    server.client().verify(&license, "a.example").await.expect(202, PRODUCT);
    let events = ledger.event_count().await;
    server.stop().await;
    assert_eq!(ledger.event_count().await, events);
    ledger.expect_intact().await;
}

async fn sums_survive_kill_9(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let mut server = ledger.serve_with(counting_every_second()).await;
    let product = server.client().new_product().await;
    let license = server.client().new_license(product, fields!(activation_limit: 0)).await;
    for round in 0..ROUNDS {
        // Something new all the time, over some of the moments at which it is added up.
        let stop_after = tokio::time::Instant::now() + Duration::from_millis(rand::random_range(900..2_400));
        let mut number = 0;
        while tokio::time::Instant::now() < stop_after {
            number += 1;
            server.client().activate(&license, &format!("{round}-{number}.example")).await.expect(300, PRODUCT);
            server.client().verify(&license, "a.example").await.expect(202, PRODUCT);
        }
        server.kill_9();
        // Nobody has to wait until the dead server's time is over.
        let over = if backend == Backend::Sqlite { "0" } else { "to_timestamp(0)" };
        raw::execute(&ledger.place, &format!("UPDATE consumer SET held_until = {over}")).await.expect("an update");
        server = ledger.serve_with(counting_every_second()).await;
    }
    let sums = complete(&server.client()).await;
    assert_eq!(sums, of_the_log(&server.client()).await);
    assert!(of_product(&sums, product)[2] > 0 && of_product(&sums, product)[5] > 0, "{sums:?}");
    ledger.expect_intact().await;
}

/// Another server goes on where the one that added up stands still for longer than it holds the place, and neither adds anything twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_goes_on_adding_up() {
    let ledger = Ledger::new(Backend::Postgres).await;
    let one = ledger.serve_with(counting_every_second()).await;
    let product = one.client().new_product().await;
    let license = one.client().new_license(product, fields!(activation_limit: 0)).await;
    complete(&one.client()).await;
    let other = ledger.serve_at(&ledger.place.another_node("other"), counting_every_second()).await;
    let more = async |api: &Client, round: &str| {
        for number in 0..20 {
            api.activate(&license, &format!("{round}-{number}.example")).await.expect(300, PRODUCT);
        }
    };
    more(&one.client(), "both").await;
    one.signal(Signal::SIGSTOP);
    more(&other.client(), "other").await;
    complete(&other.client()).await;
    one.signal(Signal::SIGCONT);
    more(&one.client(), "both again").await;
    more(&other.client(), "both once more").await;
    // One that is stopped leaves the place at once; one that is killed, when its time is over.
    one.stop().await;
    more(&other.client(), "one is stopped").await;
    complete(&other.client()).await;
    let third = ledger.serve_at(&ledger.place.another_node("third"), counting_every_second()).await;
    other.kill_9();
    more(&third.client(), "other is killed").await;
    let sums = complete(&third.client()).await;
    assert_eq!(sums, of_the_log(&third.client()).await);
    assert_eq!(of_product(&sums, product)[2], 100 + 20);
    ledger.expect_intact().await;
}

async fn sums_can_be_made_anew(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    let before = complete(&on.api).await;
    raw::execute(&on.ledger.place, "UPDATE daily_statistics SET created = 99").await.expect("an update");
    on.ledger.run(&["statistics", "rebuild"]).await.success();
    eventually("the sums are right again", || async { (complete(&on.api).await == before).then_some(()) }).await;
    // And they go on from there.
    on.api.activate(&license, "b.example").await.expect(300, PRODUCT);
    let after = eventually("the next event is added up", || async {
        let sums = complete(&on.api).await;
        (sums != before).then_some(sums)
    })
    .await;
    assert_eq!(of_product(&after, product), [1, 1, 2, 0, 0, 0, 1]);
}

async fn days_come_in_pages(backend: Backend) {
    let on = Running::start(backend).await;
    complete(&on.api).await;
    let days = [("2024-01-08", 19_730, [1, 2]), ("2024-01-09", 19_731, [1, 2]), ("2024-02-01", 19_754, [2, 3])];
    for (_, day, products) in days {
        for product in products {
            let values = format!("({day}, {product}, 1, 0, 0, 0, 0, 0, 1)");
            raw::execute(&on.ledger.place, &format!("INSERT INTO daily_statistics VALUES {values}")).await.expect("a row");
        }
    }
    let of = async |query: &str| -> Vec<(String, i64)> {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!("/feed/v1/statistics?limit=2{after}&{query}");
            let page = on.api.admin_answer(on.api.request(Method::GET, &path)).await.expect(200).clone();
            found.extend(sums(&page).into_keys());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return found,
            }
        }
    };
    let expected = |from: &str, to: &str, product: Option<i64>| -> Vec<(String, i64)> {
        let all = days.iter().flat_map(|(day, _, products)| products.iter().map(|product| ((*day).to_owned(), *product)));
        all.filter(|(day, known)| day.as_str() >= from && day.as_str() <= to && product.is_none_or(|product| product == *known)).collect()
    };
    assert_eq!(of("").await, expected("", "9", None));
    assert_eq!(of("from=2024-01-09").await, expected("2024-01-09", "9", None));
    assert_eq!(of("to=2024-01-09").await, expected("", "2024-01-09", None));
    assert_eq!(of("from=2024-01-09&to=2024-01-09&product=2").await, expected("2024-01-09", "2024-01-09", Some(2)));
    assert_eq!(of("product=2").await, expected("", "9", Some(2)));
    assert_eq!(of("product=99").await, []);
}

async fn what_is_no_question_is_refused(backend: Backend) {
    let on = Running::start(backend).await;
    let ask = async |api: &Client, query: &str| api.admin_answer(api.request(Method::GET, &format!("/feed/v1/statistics?{query}"))).await;
    ask(&on.api, "from=yesterday&to=2024-01-08%2010:00:00").await.expect_invalid(&["from", "to"]);
    ask(&on.api, "limit=501").await.expect_invalid(&["limit"]);
    ask(&on.api, "after=5").await.expect_invalid(&["after"]);
    ask(&on.api, "days=5").await.expect_problem(422, "invalid-parameters");
    let other = on.caller(&["--capability", "verify"]).await;
    ask(&other, "").await.expect_problem(403, "not-permitted");
}
