//! Many clients race for the last seats of a license: never more active than the limit, never fewer once all have answered.

use std::collections::BTreeMap;

use futures::future::join_all;

use crate::support::world::fresh_key;
use crate::support::{Backend, Client, Ledger, PRODUCT, ServeOptions, both_backends, fields, soak_rounds};

const CLIENTS: usize = 64;
const LIMIT: usize = 3;
const ROUNDS: usize = 200;

both_backends!(the_limit_holds_under_a_race);

async fn the_limit_holds_under_a_race(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let server = ledger.serve().await;
    race(&ledger, &[server.client()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_holds_across_two_servers_on_one_postgresql() {
    let ledger = Ledger::new(Backend::Postgres).await;
    let one = ledger.serve().await;
    let other = ledger.serve_at(&ledger.place.another_node("other"), ServeOptions::default()).await;
    race(&ledger, &[one.client(), other.client()]).await;
}

/// Races on one license after the other, each time with all clients at once, spread over the servers.
async fn race(ledger: &Ledger, servers: &[Client]) {
    let rounds = soak_rounds(ROUNDS);
    let product = servers[0].new_product().await;
    servers[0].ring().product(product).await.expect("the product has its own key pair");
    let licenses: Vec<String> = (0..rounds).map(|_| fresh_key()).collect();
    for some in licenses.chunks(1000) {
        servers[0].new_licenses(product, some, fields!(activation_limit: LIMIT)).await;
    }
    for (round, license) in licenses.iter().enumerate() {
        // Every second round several clients speak for one identifier: it must never take two seats.
        let identifiers = if round % 2 == 0 { CLIENTS } else { 20 };
        let answers = all_at_once(servers, license, identifiers).await;
        expect_exactly_the_limit(round, identifiers, &answers);

        let verified = verified(&servers[round % servers.len()], license, identifiers).await;
        let winners: Vec<usize> = answers.keys().filter(|identifier| answers[*identifier].contains(&300)).copied().collect();
        assert_eq!(verified, winners, "round {round}: who is active is who was told so");
    }
    ledger.expect_intact().await;
}

/// The codes that each identifier's clients got.
async fn all_at_once(servers: &[Client], license: &str, identifiers: usize) -> BTreeMap<usize, Vec<i64>> {
    let tasks = (0..CLIENTS).map(|number| {
        let (api, license) = (servers[number % servers.len()].clone(), license.to_string());
        let identifier = number % identifiers;
        tokio::spawn(async move { (identifier, api.activate(&license, &format!("{identifier}.example")).await) })
    });
    let mut codes = BTreeMap::<usize, Vec<i64>>::new();
    for answered in join_all(tasks).await {
        let (identifier, answer) = answered.expect("a client does not panic");
        answer.expect(answer.code(), PRODUCT);
        codes.entry(identifier).or_default().push(answer.code());
    }
    codes
}

fn expect_exactly_the_limit(round: usize, identifiers: usize, answers: &BTreeMap<usize, Vec<i64>>) {
    let active: Vec<&Vec<i64>> = answers.values().filter(|codes| codes.contains(&300)).collect();
    assert_eq!(active.len(), LIMIT, "round {round}: identifiers that got in: {answers:?}");
    for codes in active {
        assert_eq!(codes.iter().filter(|code| **code == 300).count(), 1, "round {round}: one seat was counted twice: {codes:?}");
    }
    assert_eq!(answers.len(), identifiers);
    for codes in answers.values().filter(|codes| !codes.contains(&300)) {
        assert!(codes.iter().all(|code| *code == 302), "round {round}: refused otherwise than at the limit: {codes:?}");
    }
}

/// The identifiers that `verify` calls active.
async fn verified(api: &Client, license: &str, identifiers: usize) -> Vec<usize> {
    let asked = (0..identifiers).map(|number| async move {
        let answer = api.verify(license, &format!("{number}.example")).await;
        assert!(matches!(answer.code(), 200 | 202), "{}", answer.response);
        (answer.code() == 200).then_some(number)
    });
    join_all(asked).await.into_iter().flatten().collect()
}
