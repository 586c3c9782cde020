//! What the compatibility test and the baseline share: a fresh database on the PostgreSQL server that is given.

use sqlx::{Connection, Executor, PgConnection};

/// Names the server, as in the tests of the workspace: `postgres://user@host:port/database`.
pub const SERVER_VARIABLE: &str = "KEYLEDGER_TEST_POSTGRES_URL";

/// The address of the server that is given.
///
/// # Panics
/// When none is given: nothing here means anything without it.
#[must_use]
pub fn server_url() -> String {
    std::env::var(SERVER_VARIABLE).unwrap_or_else(|_| panic!("{SERVER_VARIABLE} is not set: run scripts/test, or scripts/with-postgres CMD…"))
}

/// An empty database of its own; [`Database::drop_now`] removes it.
pub struct Database {
    pub url: String,
    name: String,
    server: String,
}

impl Database {
    /// Makes a database.
    ///
    /// # Errors
    /// When the server can't be reached or refuses.
    pub async fn create(server: &str) -> sqlx::Result<Self> {
        let name = format!("keyledger_compat_{}", uuid::Uuid::new_v4().simple());
        // From template0: template1 can't be copied while anybody is connected to it.
        execute(server, &format!("CREATE DATABASE {name} TEMPLATE template0")).await?;
        let base = server.rsplit_once('/').map_or(server, |(base, _)| base);
        Ok(Self { url: format!("{base}/{name}"), name, server: server.to_owned() })
    }

    /// Removes the database, whoever is still connected to it.
    ///
    /// # Errors
    /// When the server can't be reached or refuses.
    pub async fn drop_now(self) -> sqlx::Result<()> {
        execute(&self.server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).await
    }
}

async fn execute(server: &str, sql: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(server).await?;
    connection.execute(sql).await?;
    connection.close().await
}
