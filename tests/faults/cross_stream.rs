//! Rules across streams under concurrency: each race ends in one consistent outcome, and nobody else's command suffers.

use futures::future::{join, join_all};

use crate::support::world::{fresh_key, new_license_fields};
use crate::support::{Backend, Client, GLOBAL, Json, PRODUCT, Running, both_backends, fields};

const ROUNDS: usize = 30;
const RIVALS: usize = 6;
const INNOCENTS: usize = 8;

both_backends!(
    a_product_is_deleted_while_keys_are_created_for_it,
    several_requests_create_the_same_key,
    several_requests_create_the_same_meta_entry,
    a_license_is_deleted_while_it_is_activated,
);

/// Commands that have nothing to do with the race beside them, and must succeed whatever happens in their batch.
struct Innocents {
    license: String,
    sent: usize,
}

impl Innocents {
    async fn new(api: &Client) -> Innocents {
        let product = api.new_product().await;
        Innocents { license: api.new_license(product, fields!(activation_limit: 0)).await, sent: 0 }
    }

    async fn beside<T>(&mut self, api: &Client, race: impl Future<Output = T>) -> T {
        let identifiers: Vec<String> = (0..INNOCENTS).map(|number| format!("{}.example", self.sent + number)).collect();
        self.sent += INNOCENTS;
        let (outcome, answers) = join(race, join_all(identifiers.iter().map(|identifier| api.activate(&self.license, identifier)))).await;
        for answer in answers {
            answer.expect(300, PRODUCT);
        }
        outcome
    }
}

async fn a_product_is_deleted_while_keys_are_created_for_it(backend: Backend) {
    let on = Running::start(backend).await;
    let mut innocents = Innocents::new(&on.api).await;
    let mut deletions = 0;
    for round in 0..ROUNDS {
        let product = on.api.new_product_with(fields!(own_key_pair: 0)).await;
        let keys: Vec<String> = (0..RIVALS).map(|_| fresh_key()).collect();
        let create = |key: &String| on.api.form("create-license-keys", new_license_fields(product, std::slice::from_ref(key), fields!()));
        // The deletion is sent first, in the middle or last, so that either can win.
        let position = round % (RIVALS + 1);
        let race = async {
            let before = join_all(keys[..position].iter().map(create));
            let deletion = on.api.form("delete-product", fields!(product_id: product));
            let (before, (deletion, after)) = join(before, join(deletion, join_all(keys[position..].iter().map(create)))).await;
            (deletion, [before, after].concat())
        };
        let (deletion, creations) = innocents.beside(&on.api, race).await;
        let created = creations.iter().filter(|answer| answer.code() == 900).count();
        if deletion.code() == 550 {
            deletions += 1;
            assert_eq!(created, 0, "keys were created for a product that is gone");
            for answer in &creations {
                answer.expect(901, GLOBAL).expect_errors(r#"{"product_id":["The selected product id is invalid."]}"#);
            }
        } else {
            deletion.expect(551, GLOBAL).expect_errors(r#"{"product_id":["The product still has license keys."]}"#);
            assert_eq!(created, RIVALS, "the product is still there, so every key could be created");
        }
    }
    println!("{deletions} of {ROUNDS} deletions came first");
    on.ledger.expect_intact().await;
}

async fn several_requests_create_the_same_key(backend: Backend) {
    let on = Running::start(backend).await;
    let mut innocents = Innocents::new(&on.api).await;
    let (one, other) = (on.api.new_product().await, on.api.new_product().await);
    for round in 0..ROUNDS {
        // Lists that overlap in every way: each key string becomes exactly one license.
        let keys: Vec<String> = (0..4).map(|_| fresh_key()).collect();
        let lists: Vec<Vec<String>> = (0..RIVALS).map(|rival| (0..3).map(|index| keys[(rival + index) % keys.len()].clone()).collect()).collect();
        let create = |(rival, list): (usize, &Vec<String>)| {
            let product = if rival % 2 == 0 { one } else { other };
            on.api.form("create-license-keys", new_license_fields(product, list, fields!()))
        };
        let answers = innocents.beside(&on.api, join_all(lists.iter().enumerate().map(create))).await;
        let mut created = 0;
        for answer in &answers {
            if answer.code() == 902 {
                answer.expect(902, PRODUCT);
            } else {
                let count = |name: &str| answer.expect(900, PRODUCT).response.at(name).integer();
                assert_eq!(count("created") + count("duplicate"), 3, "{}", answer.response);
                created += count("created");
            }
        }
        assert_eq!(created, 4, "round {round}: four key strings, four licenses");
        for key in &keys {
            on.api.verify(key, "a.example").await.expect(202, PRODUCT);
        }
    }
    let listed = async |product: i64| {
        let answer = on.api.get("get-license-keys", fields!(product_id: product, items_per_page: 1000)).await;
        answer.response.at("license_keys").items().len()
    };
    assert_eq!(listed(one).await + listed(other).await, 4 * ROUNDS);
    on.ledger.expect_intact().await;
}

async fn several_requests_create_the_same_meta_entry(backend: Backend) {
    let on = Running::start(backend).await;
    let mut innocents = Innocents::new(&on.api).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    on.api.activate(&license, "a.example").await.expect(300, PRODUCT);
    for round in 0..ROUNDS {
        let create = async |rival: usize| {
            let entry = fields!(license_key: license, identifier: "a.example", key: format!("round-{round}"), value: rival);
            (rival.to_string(), on.api.form("create-license-key-meta", entry).await)
        };
        let race = join_all((0..RIVALS).map(create));
        let answers = innocents.beside(&on.api, race).await;
        let (winners, losers): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, answer)| answer.code() == 453);
        assert_eq!(winners.len(), 1, "round {round}: one entry is created once");
        for (_, answer) in losers {
            answer.expect(452, PRODUCT);
        }
        let details = on.api.details(&license, "a.example").await;
        let meta = details.expect(500, PRODUCT).response.at("licenseKey").at("meta_data").items().last().cloned();
        assert_eq!(meta.map(|row| row.at("value").clone()), Some(Json::from(&*winners[0].0)), "the value is the winner's");
    }
    on.ledger.expect_intact().await;
}

async fn a_license_is_deleted_while_it_is_activated(backend: Backend) {
    let on = Running::start(backend).await;
    let mut innocents = Innocents::new(&on.api).await;
    let product = on.api.new_product().await;
    for _ in 0..ROUNDS {
        let license = on.api.new_license(product, fields!(activation_limit: 0)).await;
        let identifiers: Vec<String> = (0..RIVALS).map(|number| format!("{number}.example")).collect();
        let activations = join_all(identifiers.iter().map(|identifier| on.api.activate(&license, identifier)));
        let deletion = on.api.form("delete-license-key", fields!(license_key: license));
        let (deletion, activations) = innocents.beside(&on.api, join(deletion, activations)).await;
        deletion.expect(850, PRODUCT);
        for answer in activations {
            match answer.code() {
                300 => answer.expect(300, PRODUCT),
                _ => answer.expect(210, GLOBAL),
            };
        }
        on.api.verify(&license, "0.example").await.expect(210, GLOBAL);
        on.api.activate(&license, "0.example").await.expect(210, GLOBAL);
    }
    on.ledger.expect_intact().await;
}
