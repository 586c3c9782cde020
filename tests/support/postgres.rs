//! A database of its own for each test, on the server that `scripts/with-postgres` started.

use tokio_postgres::{Client, NoTls};

use super::ledger::random_hex;

const URL_VARIABLE: &str = "KEYLEDGER_TEST_POSTGRES_URL";

/// A PostgreSQL database that is dropped with this value.
pub struct TestDatabase {
    pub url: String,
    name: String,
}

impl TestDatabase {
    /// Makes an empty database.
    pub async fn create() -> TestDatabase {
        let server = server_url();
        let name = format!("keyledger_test_{}", random_hex(8));
        // From template0: template1 can't be copied while anybody is connected to it.
        execute(&server, &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        let (base, _) = server.rsplit_once('/').expect("the server's URL ends with a database");
        TestDatabase { url: format!("{base}/{name}"), name }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, name) = (server_url(), self.name.clone());
        // A thread of its own, since the test's runtime can't be waited for from here.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(execute(&server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")));
        });
        if dropped.join().is_err() {
            eprintln!("could not drop the test database {}", self.name);
        }
    }
}

/// A connection, served by a task until the client is dropped.
///
/// # Errors
/// When PostgreSQL can't be reached.
pub async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(client)
}

async fn execute(url: &str, sql: &str) {
    let client = connect(url).await.unwrap_or_else(|error| panic!("PostgreSQL at {url} can't be reached: {error}"));
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

fn server_url() -> String {
    std::env::var(URL_VARIABLE).unwrap_or_else(|_| {
        panic!(
            "{URL_VARIABLE} is not set: run scripts/test, or `scripts/with-postgres cargo test` for some of the tests, \
             which start a throw-away PostgreSQL"
        )
    })
}
