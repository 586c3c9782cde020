//! PostgreSQL runs but turns the server away: it is as good as gone, so 503 and no 500, and all is well when it lets the
//! server in again.

use crate::support::cluster::Cluster;
use crate::support::{Ledger, PRODUCT, eventually, fields, postgres};

/// What keeps the role `app` from its database `app`, and what lets it in again.
const CASES: [(&str, &str, &str); 5] = [
    ("the database is renamed away", "ALTER DATABASE app RENAME TO away", "ALTER DATABASE away RENAME TO app"),
    ("the role may not log in", "ALTER ROLE app NOLOGIN", "ALTER ROLE app LOGIN"),
    ("there are no connections left", "ALTER ROLE app CONNECTION LIMIT 0", "ALTER ROLE app CONNECTION LIMIT -1"),
    ("the database can only be read", "ALTER ROLE app SET default_transaction_read_only = on", "ALTER ROLE app RESET default_transaction_read_only"),
    ("commits are not durable", "ALTER ROLE app SET synchronous_commit = off", "ALTER ROLE app RESET synchronous_commit"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_turns_the_server_away_is_unavailable() {
    let cluster = Cluster::start().await;
    let superuser = postgres::connect(&cluster.url()).await.expect("the cluster runs");
    let sql = async |statement: &str| superuser.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    // A role without any rights but those of the owner of its database.
    sql("CREATE ROLE app LOGIN").await;
    sql("CREATE DATABASE app OWNER app").await;
    let terminate = async || sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'app'").await;

    let ledger = Ledger::on_postgres(&cluster.url_of("app", "app"));
    let server = ledger.serve().await;
    let api = server.client();
    let product = api.new_product().await;
    let license = api.new_license(product, fields!(activation_limit: 0)).await;
    api.activate(&license, "a.example").await.expect(300, PRODUCT);
    for (number, (what, breaks, mends)) in CASES.into_iter().enumerate() {
        let identifier = format!("{number}.example");
        let is_renamed = breaks.contains("DATABASE");
        if is_renamed {
            // Nobody may be there, and the server comes again at once.
            sql("ALTER ROLE app NOLOGIN").await;
            terminate().await;
        }
        sql(breaks).await;
        if is_renamed {
            sql("ALTER ROLE app LOGIN").await;
        }
        terminate().await;
        let refused = api.activate(&license, &identifier).await;
        assert_eq!(refused.status, 503, "a change when {what}: {}", refused.response);
        refused.expect_error(503);
        let asked = api.verify(&license, "a.example").await;
        assert!(matches!(asked.status, 200 | 503), "a question when {what}: {}", asked.response);
        assert_eq!(api.plain("/health/live").await.0, 200);

        sql(mends).await;
        terminate().await;
        eventually(&format!("the server works after {what}"), || async {
            let answer = api.verify(&license, &identifier).await;
            assert!(matches!(answer.status, 200 | 503), "{what}: {}", answer.response);
            (answer.status == 200).then(|| answer.expect(202, PRODUCT).clone())
        })
        .await;
        api.activate(&license, &identifier).await.expect(300, PRODUCT);
        assert_eq!(api.plain("/health/ready").await.0, 200);
    }
    ledger.expect_intact().await;
    server.stop().await;
}
