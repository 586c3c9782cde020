//! Many callers at once: never the same key to two of them, and never more keys under a contract than agreed.

use std::collections::HashSet;

use futures::future::join_all;

use crate::support::world::fresh_key;
use crate::support::{Backend, Client, GLOBAL, Ledger, ServeOptions, both_backends, fields};

const CALLERS: usize = 32;
const KEYS: usize = 1_000;
const QUOTA: i64 = 100;

both_backends!(each_caller_gets_keys_of_its_own, a_contract_has_no_more_keys_than_agreed);

async fn each_caller_gets_keys_of_its_own(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let server = ledger.serve().await;
    assign_everything(&ledger, &[server.client()]).await;
}

async fn a_contract_has_no_more_keys_than_agreed(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let server = ledger.serve().await;
    generate_up_to_the_quota(&ledger, &[server.client()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_hold_across_two_servers_on_one_postgresql() {
    let ledger = Ledger::new(Backend::Postgres).await;
    let one = ledger.serve().await;
    let other = ledger.serve_at(&ledger.place.another_node("other"), ServeOptions::default()).await;
    let servers = [one.client(), other.client()];
    assign_everything(&ledger, &servers).await;
    generate_up_to_the_quota(&ledger, &servers).await;
}

/// All callers assign at random until nothing is left; some take keys by name meanwhile.
async fn assign_everything(ledger: &Ledger, servers: &[Client]) {
    let api = &servers[0];
    let product = api.new_product().await;
    let keys: Vec<String> = (0..KEYS).map(|_| fresh_key()).collect();
    api.new_licenses(product, &keys, fields!(status: "available")).await;
    let callers = (0..CALLERS).map(|caller| {
        let (api, by_name) = (servers[caller % servers.len()].clone(), keys[KEYS - 1 - caller * 20].clone());
        tokio::spawn(async move {
            let mut mine = Vec::new();
            if api.assign(&by_name).await.code() == 800 {
                mine.push(by_name);
            }
            loop {
                let quantity = 1 + (mine.len() + caller) % 9;
                let request = fields!(product_id: product, quantity: quantity, owner_email: format!("{caller}@a.example"));
                let answer = api.form("random-assign-license-keys", request).await;
                if answer.code() == 802 {
                    let left = answer.expect(802, GLOBAL).response.at("available_quantity").integer();
                    assert!((left as usize) < quantity, "{left} are enough for {quantity}");
                    if left == 0 {
                        return mine;
                    }
                    let rest = fields!(product_id: product, quantity: left);
                    let answer = api.form("random-assign-license-keys", rest).await;
                    if answer.code() == 803 {
                        mine.extend(answer.response.at("license_keys").items().iter().map(|row| row.at("license_key").text().to_string()));
                    }
                    continue;
                }
                let rows = answer.expect(803, GLOBAL).response.at("license_keys").items().to_vec();
                assert_eq!(rows.len(), quantity);
                mine.extend(rows.iter().map(|row| row.at("license_key").text().to_string()));
            }
        })
    });
    let mut all = Vec::new();
    for mine in join_all(callers).await {
        all.extend(mine.expect("a caller does not panic"));
    }
    assert_eq!(all.len(), KEYS, "each key is somebody's");
    assert_eq!(all.into_iter().collect::<HashSet<_>>(), keys.into_iter().collect(), "and nobody else's");
    ledger.expect_intact().await;
}

/// All callers generate, and destroy some of what they got, until the contract is full.
async fn generate_up_to_the_quota(ledger: &Ledger, servers: &[Client]) {
    let api = &servers[0];
    let product = api.new_product().await;
    ledger.new_generator(product, &[]).await;
    let contract = fields!(
        contract_key: "C-RACE", contract_name: "Reseller", contract_information: "x", product_id: product, license_keys_quantity: QUOTA,
        status: "active", can_get_info: 1, can_generate: 1, can_destroy: 1, can_destroy_all: 1,
    );
    api.form("create-contract", contract).await.expect(841, GLOBAL);
    let callers = (0..CALLERS).map(|caller| {
        let api = servers[caller % servers.len()].clone();
        tokio::spawn(async move {
            let (mut mine, mut refused) = (Vec::new(), 0);
            while refused < 3 {
                let quantity = 1 + caller % 3;
                let answer = api.form("contracts/generate", fields!(contract_key: "C-RACE", quantity: quantity)).await;
                if answer.code() == 1205 {
                    refused += 1;
                    continue;
                }
                mine.extend(answer.expect(1300, GLOBAL).response.at("license_keys").items().iter().map(|key| key.text().to_string()));
                if refused == 0 && mine.len() % 4 == 3 {
                    let key = mine.pop().unwrap_or_default();
                    api.form("contracts/destroy", fields!(contract_key: "C-RACE", license_key: key)).await.expect(1400, GLOBAL);
                }
            }
            mine
        })
    });
    let mut all = Vec::new();
    for mine in join_all(callers).await {
        all.extend(mine.expect("a caller does not panic"));
    }
    while all.len() < QUOTA as usize {
        let answer = api.form("contracts/generate", fields!(contract_key: "C-RACE", quantity: 1)).await;
        all.push(answer.expect(1300, GLOBAL).response.at("license_keys").items()[0].text().to_string());
    }
    api.form("contracts/generate", fields!(contract_key: "C-RACE", quantity: 1)).await.expect(1205, GLOBAL);
    assert_eq!(all.len(), QUOTA as usize, "never more than agreed");
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    let info = api.get("contracts/get-info", fields!(contract_key: "C-RACE")).await;
    assert_eq!(info.response.at("contract").at("license_keys_count").integer(), QUOTA);
    ledger.expect_intact().await;
}
