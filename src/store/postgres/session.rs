//! One connection: how it is opened and set, and the statements prepared on it.

use std::{
    collections::HashMap,
    path::PathBuf,
    pin::Pin,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{BoxFuture, MaybeDone, maybe_done},
};
use tokio::{runtime::Handle, time::timeout};
use tokio_postgres::{Client, Config, NoTls, Row, RowStream, Statement, config::SslMode, types::ToSql};

use super::{
    error::{OrStoreError, is_broken, store_error},
    tls,
    value::Parameter,
};
use crate::store::StoreError;

/// A server that doesn't take a connection within this time is not available.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// No answer at all within this time: longer than the server's own time-outs, so only a broken network comes to it.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);
/// A peer that acknowledges nothing for so long is gone.
const TCP_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection keeps its plans; making them anew takes a millisecond.
const PLANS_KEPT: Duration = Duration::from_secs(1);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Shared by all queries.
    Reader,
    /// One write transaction at a time.
    Writer,
    /// Long transactions: snapshots, rebuilds, migrations.
    Long,
}

impl Role {
    fn settings(self) -> &'static str {
        // Every look-up has an index. Without statistics (tables that have just been filled) the planner wouldn't know.
        match self {
            Self::Reader => "SET statement_timeout = '30s'; SET lock_timeout = '10s'; SET enable_seqscan = off; SET jit = off",
            Self::Writer => {
                "SET statement_timeout = '30s'; SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '5s'; \
                 SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; \
                 SET plan_cache_mode = force_generic_plan; SET default_transaction_isolation = 'read committed'"
            }
            Self::Long => {
                "SET statement_timeout = 0; SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '10min'; \
                 SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; \
                 SET plan_cache_mode = force_generic_plan; SET default_transaction_isolation = 'read committed'"
            }
        }
    }
}

/// Opens connections. They live on the runtime that made this, whichever thread asks for them.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    ca_file: Option<PathBuf>,
    runtime: Handle,
}

impl Connector {
    pub(super) fn new(url: &str, ca_file: Option<PathBuf>) -> Result<Self, StoreError> {
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            // The error names the parameter at fault, never the password.
            StoreError::Unsuitable(format!("the database URL can't be used: {}", describe(&error)))
        })?;
        config.connect_timeout(CONNECT_TIMEOUT).tcp_user_timeout(TCP_TIMEOUT).keepalives_idle(TCP_TIMEOUT).application_name("keyledger");
        Ok(Self { config, ca_file, runtime: Handle::current() })
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(super) async fn open(&self, role: Role) -> Result<Session, StoreError> {
        let connector = self.clone();
        // Who writes waits for nothing else meanwhile: its connection is driven by its own thread, which saves two changes of
        // threads with every round trip.
        let runtime = if role == Role::Writer { Handle::current() } else { self.runtime.clone() };
        let opening = runtime.spawn(async move {
            let client = connector.connect().await?;
            client.batch_execute(role.settings()).await.or_store_error()?;
            check_durability(&client).await?;
            Ok(Session { client, statements: RwLock::default(), planned_at: Mutex::new(Instant::now()), is_broken: AtomicBool::new(false) })
        });
        match timeout(CONNECT_TIMEOUT, opening).await {
            Ok(Ok(session)) => session,
            Ok(Err(_)) => Err(StoreError::Unavailable("connecting was broken off".to_owned())),
            Err(_) => Err(StoreError::Unavailable("the server does not take the connection in time".to_owned())),
        }
    }

    async fn connect(&self) -> Result<Client, StoreError> {
        if self.config.get_ssl_mode() == SslMode::Require {
            let (client, connection) = self.config.connect(tls::connector(self.ca_file.as_deref())?).await.or_store_error()?;
            tokio::spawn(serve(connection));
            Ok(client)
        } else {
            let (client, connection) = self.config.connect(NoTls).await.or_store_error()?;
            tokio::spawn(serve(connection));
            Ok(client)
        }
    }
}

async fn serve(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(error = %store_error(&error), "a connection to PostgreSQL ended");
    }
}

fn describe(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// A server that loses commits is no ledger: asked of every connection, since a server can be restarted with other settings.
async fn check_durability(client: &Client) -> Result<(), StoreError> {
    let sql = "SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('server_encoding'), \
               pg_is_in_recovery()::text";
    let row = client.query_one(sql, &[]).await.or_store_error()?;
    let setting = |i| row.try_get::<_, String>(i).or_store_error();
    let refuse = |why: &str| Err(StoreError::Unsuitable(format!("PostgreSQL can't keep the ledger: {why}")));
    if setting(0)? != "on" {
        return refuse("fsync is off, so a crash of the machine destroys the database");
    }
    if setting(1)? == "off" {
        return refuse("synchronous_commit is off, so a crash loses changes that were acknowledged");
    }
    if setting(2)? != "UTF8" {
        return refuse("the database's encoding is not UTF8");
    }
    if setting(3)? != "false" {
        return Err(StoreError::Unavailable("the server is a standby".to_owned()));
    }
    Ok(())
}

/// A statement and its parameters.
pub(super) struct Call<'a> {
    pub(super) sql: &'a str,
    pub(super) parameters: Vec<Parameter<'a>>,
}

/// One connection.
pub(super) struct Session {
    pub(super) client: Client,
    statements: RwLock<HashMap<String, Statement>>,
    planned_at: Mutex<Instant>,
    /// The server has said that it ends the connection: known before the connection is seen to be closed.
    is_broken: AtomicBool,
}

impl Session {
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed() || self.is_broken.load(Ordering::Relaxed)
    }

    /// Remembers what an error says about the connection.
    pub(super) fn noted(&self, error: tokio_postgres::Error) -> tokio_postgres::Error {
        if is_broken(&error) {
            self.is_broken.store(true, Ordering::Relaxed);
        }
        error
    }

    /// Prepares a statement, the first time.
    pub(super) async fn statement(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.prepared(sql) {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await.map_err(|error| self.noted(error))?;
        self.statements.write().unwrap_or_else(PoisonError::into_inner).insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    fn prepared(&self, sql: &str) -> Option<Statement> {
        self.statements.read().unwrap_or_else(PoisonError::into_inner).get(sql).cloned()
    }

    /// Runs a query.
    pub(super) async fn query(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, tokio_postgres::Error> {
        let statement = self.statement(sql).await?;
        let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync)).collect();
        self.client.query(&statement, &parameters).await.map_err(|error| self.noted(error))
    }

    /// Runs a query whose rows are taken one by one.
    pub(super) async fn stream(&self, sql: &str, parameters: Vec<Parameter<'_>>) -> Result<RowStream, tokio_postgres::Error> {
        let statement = self.statement(sql).await?;
        let parameters = parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync));
        self.client.query_raw(&statement, parameters).await.map_err(|error| self.noted(error))
    }

    /// Runs a statement.
    pub(super) async fn execute(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, tokio_postgres::Error> {
        let statement = self.statement(sql).await?;
        let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync)).collect();
        self.client.execute(&statement, &parameters).await.map_err(|error| self.noted(error))
    }

    /// Has the server plan its statements anew, now and then: a plan made when a table was empty reads all of it later, and
    /// the server itself notices only when the table is next analyzed.
    pub(super) async fn refresh_plans(&self) -> Result<(), tokio_postgres::Error> {
        {
            let mut planned_at = self.planned_at.lock().unwrap_or_else(PoisonError::into_inner);
            if planned_at.elapsed() < PLANS_KEPT {
                return Ok(());
            }
            *planned_at = Instant::now();
        }
        self.client.batch_execute("DISCARD PLANS").await.map_err(|error| self.noted(error))
    }

    /// Prepares those statements that are not yet, in one round trip.
    pub(super) async fn prepare_all(&self, calls: &[Call<'_>]) -> Result<(), tokio_postgres::Error> {
        self.refresh_plans().await?;
        let mut sent = Sent::default();
        for call in calls.iter().filter(|call| self.prepared(call.sql).is_none()) {
            sent.send(self.statement(call.sql));
        }
        sent.answers().await.into_iter().try_for_each(|answer| answer.map(drop))
    }

    /// Sends all queries in one go; their rows one after another.
    pub(super) async fn query_all(&self, calls: &[Call<'_>]) -> Result<Vec<Vec<Row>>, tokio_postgres::Error> {
        self.prepare_all(calls).await?;
        let mut sent = Sent::default();
        for call in calls {
            sent.send(self.query(call.sql, &call.parameters));
        }
        sent.answers().await.into_iter().collect()
    }
}

type Answer<'a, T> = BoxFuture<'a, Result<T, tokio_postgres::Error>>;

/// Statements under way on one connection. What is sent one after another, without waiting in between, travels together and
/// is answered in its order.
pub(super) struct Sent<'a, T>(Vec<MaybeDone<Answer<'a, T>>>);

impl<T> Default for Sent<'_, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, T> Sent<'a, T> {
    /// Sends at once: the client sends a statement when its future is first polled.
    pub(super) fn send(&mut self, statement: impl Future<Output = Result<T, tokio_postgres::Error>> + Send + 'a) {
        let mut answer = maybe_done(statement.boxed());
        let _not_yet = (&mut answer).now_or_never();
        self.0.push(answer);
    }

    /// The error of a statement that was not sent at all, if that is known already.
    pub(super) fn unsent(&self) -> Option<&tokio_postgres::Error> {
        self.0.iter().find_map(|answer| match answer {
            MaybeDone::Done(Err(error)) => Some(error),
            _ => None,
        })
    }

    pub(super) async fn answers(self) -> Vec<Result<T, tokio_postgres::Error>> {
        let mut answers = Vec::with_capacity(self.0.len());
        for mut answer in self.0 {
            (&mut answer).await;
            answers.extend(Pin::new(&mut answer).take_output());
        }
        answers
    }
}

/// Gives up when no answer comes at all.
pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| Err(StoreError::Unavailable("the server does not answer".to_owned())))
}
