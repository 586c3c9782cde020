//! What a running server is made of.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{Notify, watch};

use crate::{
    access::Access,
    clock::Clock,
    envato::{Envato, EnvatoConfig},
    evidence::{Evidence, EvidenceConfig, EvidenceError},
    feed::{Feed, FeedConfig},
    files::Files,
    ledger::Ledger,
    limits::{Limits, RateLimit},
    outgoing::{Allowed, Outgoing},
    public_keys::PublicKeys,
    rate::MinuteWindows,
    signer::{NoteSigner, Signer, SignerError},
    verifications::Verifications,
    watch::Watch,
};

/// What one address may ask of the license service, as its contract says.
const LICENSE_REQUESTS_PER_MINUTE: u32 = 60;

/// What of the configuration concerns HTTP.
#[derive(Clone, Debug, Default)]
pub struct HttpConfig {
    /// Peers whose `X-Forwarded-For` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Under which clients reach this server, for links in answers.
    pub public_url: Option<String>,
    /// Requests to interface A and the administration, for each API key.
    pub rate_limit_key: Option<RateLimit>,
    /// The same for each address.
    pub rate_limit_ip: Option<RateLimit>,
    /// Where outgoing calls may go beside public addresses.
    pub allow_outgoing: Allowed,
    /// Where purchases are asked after, where they are.
    pub envato: Option<EnvatoConfig>,
    pub evidence: EvidenceConfig,
    pub feed: FeedConfig,
    /// How long a client may take nothing of an answer before its connection is closed.
    pub write_within: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Signer(#[from] SignerError),
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    #[error("{0}")]
    HandOut(String),
    #[error("failed to prepare outgoing calls: {0}")]
    Outgoing(#[from] reqwest::Error),
}

pub struct App {
    pub ledger: Ledger,
    pub signer: Signer,
    pub evidence: Evidence,
    pub access: Access,
    pub limits: Limits,
    pub outgoing: Outgoing,
    pub envato: Option<Envato>,
    pub public_keys: PublicKeys,
    /// The license service's own limit of requests.
    pub license_rate: MinuteWindows,
    pub files: Arc<Files>,
    pub clock: Clock,
    pub config: HttpConfig,
    pub metrics: Option<PrometheusHandle>,
    /// The signed answer to one request too many, and the second that it is of.
    pub limits_answer: Mutex<(i64, Bytes)>,
    /// The OpenAPI document, made with the router.
    pub openapi: OnceLock<Bytes>,
    /// Tells the background that there is something to do.
    pub wake: Notify,
    /// The log for those who follow it.
    pub feed: Arc<Feed>,
    /// What was verified and is not recorded yet.
    pub verifications: Verifications,
    /// Whether the server stops: what goes on for long ends.
    pub stopping: watch::Sender<bool>,
    /// What the check of the log has come to.
    pub watch: Watch,
}

impl App {
    /// Until the server stops.
    pub async fn stopped(&self) {
        // The sender is here, so it can't be given up before.
        let _ = self.stopping.subscribe().wait_for(|is_stopping| *is_stopping).await;
    }

    #[must_use]
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Puts a server together around an open ledger.
    ///
    /// # Errors
    /// When the global signing key can't be had, the system's certificate authorities can't, or the store fails.
    pub async fn new(
        ledger: Ledger,
        clock: Clock,
        files: Arc<Files>,
        config: HttpConfig,
        metrics: Option<PrometheusHandle>,
    ) -> Result<Self, AppError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let signer = Signer::new(Arc::clone(ledger.store()), Arc::clone(ledger.vault()), cores).await?;
        let origin = config.evidence.origin(ledger.store(), ledger.vault().ledger_id()).await.map_err(EvidenceError::from)?;
        let note_signer = Arc::new(NoteSigner::new(ledger.vault(), &origin)?);
        let access = Access::new(Arc::clone(ledger.store()), Arc::clone(ledger.vault()));
        let limits = Limits::new(config.rate_limit_ip, config.rate_limit_key);
        let outgoing = Outgoing::new(config.allow_outgoing.clone())?;
        let destinations = config.evidence.hand_out.destinations(&outgoing).map_err(AppError::HandOut)?;
        let evidence = Evidence::start(ledger.clone(), clock.clone(), note_signer, &config.evidence, destinations).await?;
        let envato = config.envato.as_ref().map(|config| Envato::new(outgoing.clone(), config));
        Ok(Self {
            feed: Arc::new(Feed::new(ledger.clone())),
            ledger,
            signer,
            evidence,
            access,
            limits,
            outgoing,
            envato,
            public_keys: PublicKeys::default(),
            license_rate: MinuteWindows::new(LICENSE_REQUESTS_PER_MINUTE),
            files,
            clock,
            config,
            metrics,
            limits_answer: Mutex::default(),
            openapi: OnceLock::new(),
            wake: Notify::new(),
            verifications: Verifications::default(),
            stopping: watch::Sender::new(false),
            watch: Watch::default(),
        })
    }
}
