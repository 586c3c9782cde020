//! The connection to PostgreSQL breaks at COMMIT, where nobody can see whether it is done: the client's answer is right
//! nevertheless. Done is answered as success, not done as 503, and then it stays undone.

use std::time::Duration;

use futures::future::join_all;

use crate::proxy::{CommitProxy, Cut};
use crate::support::world::fresh_key;
use crate::support::{Answer, Backend, Client, Ledger, PRODUCT, ServeOptions, eventually, fields};

const ROUNDS: usize = 8;
const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_never_reached_postgresql_is_answered_as_not_done() {
    let answers = cut_and_compare(Cut::BeforeCommit).await;
    assert!(answers.contains(&9503), "no answer says that it is not done: {answers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_answered_as_done() {
    let answers = cut_and_compare(Cut::AfterCommit).await;
    assert!(answers.iter().all(|code| *code == 300), "done, but answered otherwise: {answers:?}");
}

/// The hardest of the three: whoever looks right after the break finds nothing, and still it gets done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_arrives_late_is_answered_by_what_becomes_of_it() {
    cut_and_compare(Cut::CommitDelayed(Duration::from_millis(1500))).await;
}

/// Rounds of concurrent activations with one COMMIT cut in each; compares every answer with what is there, then and at the
/// end. Returns the codes of all answers.
async fn cut_and_compare(cut: Cut) -> Vec<i64> {
    let ledger = Ledger::new(Backend::Postgres).await;
    let direct = ledger.place.database_url.clone().expect("a PostgreSQL place has a URL");
    let proxy = CommitProxy::before(&direct).await;
    let server = ledger.serve_at(&ledger.place.through(&proxy.url(&direct)), ServeOptions::default()).await;
    let api = server.client();
    let product = api.new_product().await;
    let licenses: Vec<String> = (0..CLIENTS).map(|_| fresh_key()).collect();
    api.new_licenses(product, &licenses, fields!(activation_limit: 0)).await;

    let mut outcomes = Vec::new();
    for round in 0..ROUNDS {
        let identifier = format!("{round}.example");
        let cuts = proxy.cuts();
        proxy.arm(cut);
        let answers = join_all(licenses.iter().map(|license| api.activate(license, &identifier))).await;
        assert!(!proxy.disarm(), "no COMMIT passed the proxy while {CLIENTS} changes were made");
        assert_eq!(proxy.cuts(), cuts + 1);
        for (license, answer) in licenses.iter().zip(answers) {
            outcomes.push((license.clone(), identifier.clone(), done(&answer)));
        }
        eventually("the server works after the cut", || async { (api.verify(&licenses[0], &identifier).await.status == 200).then_some(()) }).await;
        compare(&api, &outcomes[outcomes.len() - CLIENTS..]).await;
        // Again once the delayed COMMIT has certainly come.
        if let Cut::CommitDelayed(delay) = cut {
            tokio::time::sleep(delay).await;
            compare(&api, &outcomes[outcomes.len() - CLIENTS..]).await;
        }
    }
    compare(&api, &outcomes).await;
    ledger.expect_intact().await;
    server.stop().await;
    outcomes.iter().map(|(_, _, done)| if *done { 300 } else { 9503 }).collect()
}

/// What a careful client does: whatever the answer was, it asks again with the same key, and gets the one effect confirmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repetition_with_the_same_idempotency_key_has_one_effect_whatever_became_of_the_first() {
    let ledger = Ledger::new(Backend::Postgres).await;
    let direct = ledger.place.database_url.clone().expect("a PostgreSQL place has a URL");
    let proxy = CommitProxy::before(&direct).await;
    let server = ledger.serve_at(&ledger.place.through(&proxy.url(&direct)), ServeOptions::default()).await;
    let api = server.client();
    let product = api.new_product().await;
    let license = api.new_license(product, fields!(activation_limit: 0)).await;
    let cuts = [Cut::BeforeCommit, Cut::AfterCommit, Cut::CommitDelayed(Duration::from_millis(500))];
    for (round, cut) in cuts.into_iter().cycle().take(2 * cuts.len()).enumerate() {
        let identifiers: Vec<String> = (0..CLIENTS).map(|number| format!("{round}-{number}.example")).collect();
        let activate = async |identifier: &String| {
            let once = api.with_header("idempotency-key", identifier);
            once.activate(&license, identifier).await
        };
        proxy.arm(cut);
        let first = join_all(identifiers.iter().map(activate)).await;
        assert!(!proxy.disarm(), "no COMMIT passed the proxy");
        for answer in &first {
            done(answer);
        }
        for identifier in &identifiers {
            let again = eventually("the server works after the cut", || async {
                let answer = activate(identifier).await;
                (answer.status == 200).then_some(answer)
            });
            // Activated already would be 301: the first request and its record are done together or not at all.
            again.await.expect(300, PRODUCT);
            api.verify(&license, identifier).await.expect(200, PRODUCT);
        }
    }
    ledger.expect_intact().await;
    server.stop().await;
}

/// Whether the answer says that the activation is done; it must be one or the other.
fn done(answer: &Answer) -> bool {
    if answer.status == 503 {
        answer.expect_error(503);
        return false;
    }
    answer.expect(300, PRODUCT);
    true
}

async fn compare(api: &Client, outcomes: &[(String, String, bool)]) {
    for (license, identifier, done) in outcomes {
        let answer = api.verify(license, identifier).await;
        answer.expect(if *done { 200 } else { 202 }, PRODUCT);
    }
}
