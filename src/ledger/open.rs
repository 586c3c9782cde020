//! Opening a ledger: its secret, its first events, its executor.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyledger_events::Timestamp;
use keyledger_projections::{
    Values,
    registry::{Versions, compare_versions, versions},
};
use tokio::sync::{mpsc, watch};

use super::{
    Command, ExecuteError, Ledger, Origin, QUEUE_COMMANDS_MAX, REFUSALS_REMEMBERED_MAX, Request,
    executor::{Executor, Shared},
    replay::{self, ReplayError},
};
use crate::{
    clock::{Clock, new_id},
    signer::{self, SignerError},
    store::{Head, Store, StoreError},
    vault::{MasterKey, Vault, VaultError},
};

/// How long a starting node waits for another that rebuilds the projections: 100 million events take about so long.
const REBUILD_WAITED_FOR: Duration = Duration::from_secs(30 * 60);
const REBUILD_ASKED_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("failed to make the global key pair: {0}")]
    KeyPair(#[from] SignerError),
    #[error("failed to write the ledger's first events: {0}")]
    Found(#[from] ExecuteError),
    #[error("failed to rebuild the projections: {0}")]
    Rebuild(#[from] ReplayError),
    #[error("a newer keyledger has made this database's projections; this one must not write to it")]
    Newer,
    #[error("the projections are of an older version; run `keyledger rebuild`, or start `keyledger serve`, which does it")]
    Older,
    #[error("failed to start the executor: {0}")]
    Executor(#[from] std::io::Error),
}

/// How a ledger is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub clock: Clock,
    /// Rebuild projections of an older version, instead of refusing.
    pub rebuild_older: bool,
}

/// Makes a ledger's secret where there is none yet, and opens it. Nodes that start at the same time end with one secret.
///
/// # Errors
/// When the store fails or the master key is another one.
pub async fn open_vault(store: &dyn Store, master: &MasterKey) -> Result<Vault, OpenError> {
    if store.sealed_secret().await?.is_none() {
        let ledger_id = new_id();
        let head = Head { ledger_id, next_position: 0, recorded_at: Timestamp(0), tree_edge: Vec::new(), projections: versions() };
        store.initialize(&head, &master.new_ledger_secret(ledger_id)?).await?;
    }
    let sealed = store.sealed_secret().await?.ok_or_else(|| StoreError::Unsuitable("the ledger is not initialised".to_owned()))?;
    Ok(Vault::open(master, store.head().await?.ledger_id, &sealed)?)
}

/// Rebuilds, or waits for another node that does already.
async fn rebuild_or_wait(store: &Arc<dyn Store>, vault: &Arc<Vault>) -> Result<(), OpenError> {
    let started = Instant::now();
    loop {
        match replay::rebuild(store, vault, &mut |_, _| {}).await {
            Ok(_) => return Ok(()),
            Err(ReplayError::Store(StoreError::Unavailable(reason))) if started.elapsed() < REBUILD_WAITED_FOR => {
                tracing::info!(reason, "the projections can't be rebuilt yet");
                tokio::time::sleep(REBUILD_ASKED_EVERY).await;
                if compare_versions(&store.head().await?.projections) == Versions::Same {
                    return Ok(());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl Ledger {
    /// Opens the ledger in a store, and makes it where there is none. Must be called within a multi-threaded runtime.
    ///
    /// # Errors
    /// When the master key is another one, the projections don't fit this program, or the store fails.
    pub async fn open(store: Arc<dyn Store>, master: &MasterKey, options: Options) -> Result<Self, OpenError> {
        let vault = Arc::new(open_vault(store.as_ref(), master).await?);
        let head = store.head().await?;
        match compare_versions(&head.projections) {
            Versions::Same => {}
            Versions::Newer => return Err(OpenError::Newer),
            Versions::Older if options.rebuild_older => {
                tracing::info!("rebuilding the projections: their version is older than this program's");
                rebuild_or_wait(&store, &vault).await?;
            }
            Versions::Older => return Err(OpenError::Older),
        }
        let shared = Arc::new(Shared::default());
        shared.move_to(head.next_position);
        let (queue, jobs) = mpsc::channel(QUEUE_COMMANDS_MAX);
        let (stopped, executor) = watch::channel(false);
        let (closing, told_to_close) = watch::channel(false);
        let executing = Executor::new(Arc::clone(&store), Arc::clone(&vault), options.clock.clone(), Arc::clone(&shared));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // A thread of its own: a commit blocks it, and nobody else.
        std::thread::Builder::new().name("executor".to_owned()).spawn(move || {
            struct Notify(watch::Sender<bool>);
            impl Drop for Notify {
                fn drop(&mut self) {
                    self.0.send_replace(true);
                }
            }
            let _notify = Notify(stopped);
            runtime.block_on(executing.run(jobs, told_to_close));
        })?;
        let ledger = Self {
            store,
            vault,
            clock: options.clock,
            queue,
            shared,
            recent_refusals: moka::sync::Cache::builder().max_capacity(REFUSALS_REMEMBERED_MAX).time_to_live(Duration::from_secs(60)).build(),
            executor,
            closing: Arc::new(closing),
            forgetting: Arc::default(),
        };
        if head.next_position == 0 {
            ledger.found().await?;
        }
        Ok(ledger)
    }

    async fn found(&self) -> Result<(), OpenError> {
        let vault = Arc::clone(&self.vault);
        let global_key_pair =
            tokio::task::spawn_blocking(move || signer::generate(&vault, signer::Bits::default())).await.map_err(|_| SignerError::Generation)??;
        self.execute(Request { command: Command::Found { global_key_pair }, origin: Origin::system(), idempotency: None }).await?;
        Ok(())
    }

    /// Makes sure that the bootstrap API key has this value, and that one of an earlier value doesn't work any more.
    ///
    /// # Errors
    /// When the ledger is not available.
    pub async fn bootstrap_api_key(&self, value: &str) -> Result<(), OpenError> {
        let hmac = self.vault.api_key_hash(value);
        // One statement, so one state of the database: the bootstrap keys, and whether one in force has this value.
        let sql = "SELECT k.number, k.disabled, s.hmac FROM api_key k LEFT JOIN api_key_secret s ON s.api_key = k.number \
                   WHERE k.bootstrap ORDER BY k.number";
        let (mut holder, mut earlier, mut newest) = (None, Vec::new(), 0);
        for row in self.store.query(sql, &[]).await? {
            let mut row = Values::from(row);
            let read = |source| StoreError::Read { table: "api_key", source };
            let number = row.int().map_err(read)?;
            newest = number;
            if row.bool().map_err(read)? {
                continue;
            }
            if row.maybe_bytes().map_err(read)?.as_ref() == Some(&hmac) { holder = Some(number) } else { earlier.push(number) }
        }
        // Nodes that start together see the same and ask the same: it is one request, and done once.
        let seen = format!("{newest} {holder:?} {earlier:?}");
        let id = self.vault.request_hash(&[b"bootstrap", &hmac, seen.as_bytes()]);
        let idempotency = Some(super::Idempotency { parameters: id.clone(), id });
        self.execute(Request { command: Command::Bootstrap { hmac, holder, earlier }, origin: Origin::system(), idempotency }).await?;
        Ok(())
    }
}
