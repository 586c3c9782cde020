//! `kill -9` of the server while it works on queued assignments: after a restart each is finished, and has its effect once.

use crate::support::receiver::Receiver;
use crate::support::world::fresh_key;
use crate::support::{Backend, GLOBAL, Json, Ledger, ServeOptions, both_backends, eventually, fields, raw};

const ROUNDS: usize = 4;
const JOBS: usize = 12;
const QUANTITY: usize = 150;

both_backends!(a_queued_job_is_finished_once_whenever_its_server_is_killed);

async fn a_queued_job_is_finished_once_whenever_its_server_is_killed(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let options = || ServeOptions::args(&["--allow-outgoing", "127.0.0.1"]);
    let mut server = ledger.serve_with(options()).await;
    let receiver = Receiver::start().await;
    let api = server.client();
    let product = api.new_product().await;
    ledger.new_generator(product, &["--prefix", "GEN-"]).await;
    let jobs_of = |round: usize| JOBS * (round + 1);
    for round in 0..ROUNDS {
        let api = server.client();
        // Half of what is asked for is there, the generator makes the rest.
        let keys: Vec<String> = (0..JOBS * QUANTITY / 2).map(|_| fresh_key()).collect();
        api.new_licenses(product, &keys, fields!(status: "available")).await;
        for job in 0..JOBS {
            let request = fields!(
                product_id: product, quantity: QUANTITY, generate: 1, owner_email: format!("{round}-{job}@a.example"),
                webhook_url: receiver.url("/"), identifier: format!("{round}-{job}"),
            );
            api.form("random-assign-license-keys-queued", request).await.expect(807, GLOBAL);
        }
        let done = round * JOBS + 2 * round;
        eventually("some jobs are done", || async { (finished(&ledger).await >= done as i64).then_some(()) }).await;
        server.kill_9();
        ledger.expect_intact().await;
        server = ledger.serve_with(options()).await;
        eventually("all jobs are done", || async { (finished(&ledger).await == jobs_of(round) as i64).then_some(()) }).await;
        let assigned = raw::number(&ledger.place, "select count(*) from license where status = 'assigned'").await;
        assert_eq!(assigned, (jobs_of(round) * QUANTITY) as i64, "round {round}: each job assigned its keys once");
    }
    let events = raw::number(&ledger.place, "select count(*) from events where event_type = 'AssignmentJobFinished'").await;
    assert_eq!(events, jobs_of(ROUNDS - 1) as i64);
    // Each web hook is told at least once, and always the same.
    eventually("all web hooks are told", || async {
        let pending = raw::number(&ledger.place, "select count(*) from delivery where state = 'pending' and attempts = 0").await;
        (pending == 0).then_some(())
    })
    .await;
    let received = receiver.received();
    for round in 0..ROUNDS {
        for job in 0..JOBS {
            let identifier = format!("{round}-{job}");
            let told: Vec<Json> = received
                .iter()
                .map(|received| Json::parse(&received.body).at("original").at("response").clone())
                .filter(|response| response.at("identifier").text() == identifier)
                .collect();
            // One that was sent when its server was killed is sent again when its time is over.
            for response in &told {
                assert_eq!(response.at("license_keys").items().len(), QUANTITY);
                assert_eq!(response.without("timestamp"), told[0].without("timestamp"));
            }
        }
    }
    ledger.expect_intact().await;
}

async fn finished(ledger: &Ledger) -> i64 {
    raw::number(&ledger.place, "select count(*) from assignment_job where result = 'assigned'").await
}
