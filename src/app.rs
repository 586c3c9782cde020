//! What a running server is made of.

use std::sync::Arc;

use ipnet::IpNet;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::{
    access::Access,
    clock::Clock,
    ledger::{Ledger, OpenError},
    signer::Signer,
};

/// What of the configuration concerns HTTP.
#[derive(Clone, Debug, Default)]
pub struct HttpConfig {
    /// Peers whose `X-Forwarded-For` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Under which clients reach this server, for links in answers.
    pub public_url: Option<String>,
}

pub struct App {
    pub ledger: Ledger,
    pub signer: Signer,
    pub access: Access,
    pub clock: Clock,
    pub config: HttpConfig,
    pub metrics: Option<PrometheusHandle>,
}

impl App {
    /// Puts a server together around an open ledger.
    ///
    /// # Errors
    /// When the global signing key can't be had.
    pub async fn new(ledger: Ledger, clock: Clock, config: HttpConfig, metrics: Option<PrometheusHandle>) -> Result<Self, OpenError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let signer = Signer::new(Arc::clone(ledger.store()), Arc::clone(ledger.vault()), cores).await?;
        let access = Access::new(Arc::clone(ledger.store()), Arc::clone(ledger.vault()));
        Ok(Self { ledger, signer, access, clock, config, metrics })
    }
}
