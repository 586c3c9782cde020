//! Publishes checkpoints while the server runs, on a thread of its own: hashing and writing tiles hold up no request.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::{
    EvidenceError, Published, Publisher,
    handout::{self, Destination},
    newest_checkpoint,
    outside::Outside,
};
use crate::{
    clock::Clock,
    ledger::Ledger,
    notes::Tree,
    signer::NoteSigner,
    store::{Store, StoreError, StoredCheckpoint},
};

/// A checkpoint is there at most twice this after an event.
const PUBLISH_EVERY: Duration = Duration::from_secs(4);
/// Requests that may wait for a checkpoint: each one more makes those before it wait longer.
const WAITING_MAX: usize = 64;

/// What of the configuration concerns evidence.
#[derive(Clone, Debug)]
pub struct EvidenceConfig {
    /// The log's name in checkpoints, where it is said.
    pub origin: Option<String>,
    /// How often it is looked whether there is something to publish.
    pub publish_every: Duration,
    /// Whether checkpoints, hash tiles and proofs are for everybody.
    pub public_proofs: bool,
    /// Where checkpoints are handed out to.
    pub hand_out: handout::Config,
}

impl EvidenceConfig {
    /// The log's name in checkpoints. Where it is not said, it stays what the newest one says, so that whoever leaves the option out
    /// gives the log no other name; at first it is made of the ledger's id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn origin(&self, store: &Arc<dyn Store>, ledger_id: Uuid) -> Result<String, StoreError> {
        if let Some(origin) = &self.origin {
            return Ok(origin.clone());
        }
        let newest = newest_checkpoint(store).await?;
        let known = newest.as_ref().and_then(|newest| Tree::read(&newest.note)).map(|tree| tree.origin.to_owned());
        Ok(known.unwrap_or_else(|| format!("keyledger/{ledger_id}")))
    }
}

impl Default for EvidenceConfig {
    fn default() -> Self {
        Self { origin: None, publish_every: PUBLISH_EVERY, public_proofs: false, hand_out: handout::Config::default() }
    }
}

enum Wanted {
    /// A checkpoint over everything that is recorded when this is taken up.
    Now(oneshot::Sender<Result<Arc<StoredCheckpoint>, EvidenceError>>),
    /// The same, and the proof where a license's stream ends.
    License(i64, oneshot::Sender<Result<Published, EvidenceError>>),
}

/// The evidence of a running server.
pub struct Evidence {
    signer: Arc<NoteSigner>,
    latest: watch::Receiver<Option<Arc<StoredCheckpoint>>>,
    wanted: mpsc::Sender<Wanted>,
    is_public: bool,
    outside: Arc<Outside>,
}

impl Evidence {
    /// Starts publishing; it ends when this is dropped.
    ///
    /// # Errors
    /// When the newest checkpoint can't be read, or there is no thread.
    pub async fn start(
        ledger: Ledger,
        clock: Clock,
        signer: Arc<NoteSigner>,
        config: &EvidenceConfig,
        destinations: Vec<Destination>,
    ) -> Result<Self, EvidenceError> {
        let newest = newest_checkpoint(ledger.store()).await?;
        let outside = Arc::new(Outside::start(Arc::clone(ledger.store()), clock.clone(), destinations));
        if let Some(newest) = &newest {
            outside.note(newest);
        }
        let (noted, latest) = watch::channel(newest.map(Arc::new));
        let (wanted, asked) = mpsc::channel(WAITING_MAX);
        let worker = Worker {
            publisher: Publisher::new(ledger, clock.clone(), Arc::clone(&signer)),
            clock,
            every: config.publish_every,
            noted,
            outside: Arc::clone(&outside),
        };
        let no_thread = |error: std::io::Error| EvidenceError::Busy(format!("failed to start publishing: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
        std::thread::Builder::new().name("evidence".to_owned()).spawn(move || runtime.block_on(worker.run(asked))).map_err(no_thread)?;
        Ok(Self { signer, latest, wanted, is_public: config.public_proofs, outside })
    }

    /// The newest checkpoint that this server knows of.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<StoredCheckpoint>> {
        self.latest.borrow().clone()
    }

    /// Its note, with the lines of witnesses as far as they came back.
    #[must_use]
    pub fn latest_note(&self) -> Option<String> {
        self.latest().map(|newest| self.outside.cosigned(&newest))
    }

    #[must_use]
    pub fn signer(&self) -> &NoteSigner {
        &self.signer
    }

    /// Whether what proofs are made of is for everybody.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.is_public
    }

    /// A checkpoint over everything that is recorded by now.
    ///
    /// # Errors
    /// When there is none to be had.
    pub async fn now(&self) -> Result<Arc<StoredCheckpoint>, EvidenceError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Wanted::Now(reply))?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// A checkpoint over everything that is recorded by now, and the proof where a license's stream ends.
    ///
    /// # Errors
    /// When there is no such license, or no checkpoint to be had.
    pub async fn for_license(&self, license: i64) -> Result<Published, EvidenceError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Wanted::License(license, reply))?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    fn ask(&self, wanted: Wanted) -> Result<(), EvidenceError> {
        self.wanted.try_send(wanted).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => EvidenceError::Busy("too many wait for a checkpoint".to_owned()),
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })
    }
}

fn stopping() -> EvidenceError {
    EvidenceError::Busy("the server is stopping".to_owned())
}

struct Worker {
    publisher: Publisher,
    clock: Clock,
    every: Duration,
    noted: watch::Sender<Option<Arc<StoredCheckpoint>>>,
    outside: Arc<Outside>,
}

impl Worker {
    /// Until nobody can ask any more. A defect met by one checkpoint must not end all of them.
    async fn run(self, mut asked: mpsc::Receiver<Wanted>) {
        while AssertUnwindSafe(self.serve(&mut asked)).catch_unwind().await.is_err() {
            metrics::counter!("keyledger_checkpoint_failures_total").increment(1);
            tracing::error!("the publishing of checkpoints met a defect and begins anew");
            tokio::time::sleep(self.every).await;
        }
    }

    async fn serve(&self, asked: &mut mpsc::Receiver<Wanted>) {
        let mut waiting = Vec::new();
        loop {
            tokio::select! {
                count = asked.recv_many(&mut waiting, WAITING_MAX) => {
                    if count == 0 {
                        return;
                    }
                    self.answer(std::mem::take(&mut waiting)).await;
                }
                () = tokio::time::sleep(self.every) => self.tick().await,
            }
        }
    }

    /// Publishes, unless another node just did.
    async fn tick(&self) {
        let result = match newest_checkpoint(self.publisher.store()).await {
            Ok(Some(newest)) if self.is_fresh(&newest) => Ok(Some(newest)),
            Ok(_) => self.publisher.publish().await,
            Err(error) => Err(error.into()),
        };
        match result {
            Ok(newest) => {
                newest.map(|newest| self.note(newest));
            }
            Err(error) => {
                metrics::counter!("keyledger_checkpoint_failures_total").increment(1);
                tracing::error!(%error, "no checkpoint was published");
            }
        }
    }

    fn is_fresh(&self, newest: &StoredCheckpoint) -> bool {
        // One of a time to come is of a clock that was wrong.
        u128::try_from(self.clock.now().0.saturating_sub(newest.made_at.0)).is_ok_and(|age| age < self.every.as_micros())
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; this is far below 2^53")]
    fn note(&self, newest: StoredCheckpoint) -> Arc<StoredCheckpoint> {
        metrics::gauge!("keyledger_checkpoint_size").set(newest.size as f64);
        let newest = Arc::new(newest);
        self.noted.send_if_modified(|known| {
            let is_newer = known.as_ref().is_none_or(|known| known.size < newest.size);
            if is_newer {
                *known = Some(Arc::clone(&newest));
                self.outside.note(&newest);
            }
            is_newer
        });
        newest
    }

    async fn answer(&self, waiting: Vec<Wanted>) {
        let mut simple = Vec::new();
        for wanted in waiting {
            match wanted {
                Wanted::Now(reply) => simple.push(reply),
                Wanted::License(license, reply) => {
                    let published = self.publisher.publish_for(license).await;
                    if let Ok(published) = &published {
                        self.note(published.checkpoint.clone());
                    }
                    // Who asked may be gone.
                    let _ = reply.send(published);
                }
            }
        }
        if simple.is_empty() {
            return;
        }
        // One checkpoint for all of them, or one error.
        let published = match self.publisher.publish().await {
            Ok(Some(newest)) => Ok(self.note(newest)),
            Ok(None) => Err(EvidenceError::OutOfRange("the ledger has no events".to_owned())),
            Err(error) => Err(error),
        };
        for reply in simple {
            let _ = reply.send(published.as_ref().map(Arc::clone).map_err(EvidenceError::again));
        }
    }
}
