//! `keyledger serve`.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use keyledger_events::values::SHORT_TEXT_CHARS_MAX;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, StoreArgs, change::CLOSE_PATIENCE, evidence_args::EvidenceArgs, files::FilesArgs, nats_args::NatsArgs};
use crate::{
    access::parse_network,
    app::{App, HttpConfig},
    background,
    clock::Clock,
    envato::{self, EnvatoConfig},
    feed::{FeedConfig, statistics},
    http,
    ledger::Options,
    limits::RateLimit,
    outgoing::Allowed,
    relay, verifications, watch,
    webhooks::{self, Times},
};

/// A shorter bootstrap key could be guessed.
const BOOTSTRAP_KEY_CHARS_MIN: usize = 16;
/// How long the places of web hook endpoints may take to be given back.
const WEBHOOKS_PATIENCE: Duration = Duration::from_secs(5);
/// How long the relay to NATS may take to give its place back.
const RELAY_PATIENCE: Duration = Duration::from_secs(5);
/// How often the metrics' histograms are condensed.
const METRICS_UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Counts are of minutes, so this is as seldom as they can be recorded.
const COUNT_INTERVAL_MAX: u64 = 60;
/// How long the statistics may take to come to an end between two of their steps when the server stops.
const STATISTICS_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address to listen on.
    #[arg(long, env = "KEYLEDGER_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    files: FilesArgs,
    #[command(flatten)]
    evidence: EvidenceArgs,
    #[command(flatten)]
    nats: NatsArgs,
    /// Under which URL clients reach this server.
    #[arg(long, env = "KEYLEDGER_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    /// Proxy whose X-Forwarded-For and X-Request-Id are believed; may be given several times.
    #[arg(long, env = "KEYLEDGER_TRUSTED_PROXY", value_delimiter = ',', value_name = "CIDR")]
    trusted_proxy: Vec<String>,
    /// Requests with one API key to interface A and the administration, such as 600/min [default: as many as come]
    #[arg(long, env = "KEYLEDGER_RATE_LIMIT_KEY", value_name = "RATE")]
    rate_limit_key: Option<String>,
    /// Requests from one address to interface A and the administration, such as 600/min [default: as many as come]
    #[arg(long, env = "KEYLEDGER_RATE_LIMIT_IP", value_name = "RATE")]
    rate_limit_ip: Option<String>,
    /// Network, address or host name that web hooks and other outgoing calls may reach although it is not public; may be given
    /// several times.
    #[arg(long, env = "KEYLEDGER_ALLOW_OUTGOING", value_delimiter = ',', value_name = "CIDR|HOST")]
    allow_outgoing: Vec<String>,
    /// Base URL of the Envato API.
    #[arg(long, env = "KEYLEDGER_ENVATO_URL", default_value = envato::DEFAULT_URL, value_name = "URL")]
    envato_url: String,
    /// The vendor's personal token for the Envato API: with it, purchase codes of products with the source envato are asked after
    /// there. Better given as the variable, since other users can see a command line.
    #[arg(long, env = "KEYLEDGER_ENVATO_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    envato_token: Option<String>,
    /// Events checked a second while the server watches its log; 0 is none.
    #[arg(long, env = "KEYLEDGER_INTEGRITY_RATE", default_value_t = watch::DEFAULT_EVENTS_PER_SECOND, value_name = "EVENTS")]
    integrity_rate: u32,
    /// How often a stream of events on which nothing happens says that it is there; shorter than proxies on the way wait
    #[arg(long, env = "KEYLEDGER_FEED_HEART_BEAT", default_value_t = 15, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    feed_heart_beat: u64,
    /// How long a consumer of the feed may take nothing, while there is something for it, before its stream ends
    #[arg(long, env = "KEYLEDGER_FEED_PATIENCE", default_value_t = 20, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=300))]
    feed_patience: u64,
    /// How long a client may take nothing of whatever it is answered before its connection is closed
    #[arg(long, env = "KEYLEDGER_WRITE_TIMEOUT", default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    write_timeout: u64,
    /// How often counts of verifications are recorded, in seconds; 0: they are not counted.
    #[arg(long, env = "KEYLEDGER_COUNT_INTERVAL", default_value_t = COUNT_INTERVAL_MAX, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(0..=COUNT_INTERVAL_MAX))]
    count_interval: u64,
    /// By which factor the waits of web hook endpoints are shorter than usual: for tests.
    #[arg(long, env = "KEYLEDGER_WEBHOOK_HURRY", default_value = "1", hide = true)]
    webhook_hurry: NonZeroU32,
    /// An API key with every capability that shall exist; one of an earlier value is disabled.
    #[arg(long, env = "KEYLEDGER_BOOTSTRAP_API_KEY", hide_env_values = true, value_name = "KEY")]
    bootstrap_api_key: Option<String>,
}

fn is_usable_key(key: &str) -> bool {
    (BOOTSTRAP_KEY_CHARS_MIN..=SHORT_TEXT_CHARS_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Networks as they are given; a variable that is set to nothing names none.
fn networks(texts: &[String]) -> Result<Vec<IpNet>, Failure> {
    let named = texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
    named
        .map(|text| parse_network(text).ok_or_else(|| format!("--trusted-proxy {text}: not an address or a network such as 10.0.0.0/8").into()))
        .collect()
}

/// A rate as it is given; a variable that is set to nothing is none.
fn rate_limit(option: &str, text: Option<&str>) -> Result<Option<RateLimit>, Failure> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(|error| format!("{option} {error}").into())).transpose()
}

/// Where purchases are asked after, where a token is given; variables that are set to nothing are unset.
fn envato_config(url: &str, token: Option<&str>) -> Result<Option<EnvatoConfig>, Failure> {
    let Some(token) = token.map(str::trim).filter(|token| !token.is_empty()) else { return Ok(None) };
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("KEYLEDGER_ENVATO_TOKEN must be visible characters of ASCII: it is sent in a header".into());
    }
    let url = Some(url.trim()).filter(|url| !url.is_empty()).unwrap_or(envato::DEFAULT_URL);
    let is_base = |url: &url::Url| matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    if !url::Url::parse(url).is_ok_and(|url| is_base(&url)) {
        return Err(format!("--envato-url {url}: not an http or https URL").into());
    }
    Ok(Some(EnvatoConfig { url: url.to_owned(), token: token.to_owned() }))
}

pub async fn run(args: ServeArgs) -> Result<(), Failure> {
    let bootstrap = args.bootstrap_api_key.as_deref().map(str::trim).filter(|key| !key.is_empty());
    if bootstrap.is_some_and(|key| !is_usable_key(key)) {
        return Err(format!(
            "KEYLEDGER_BOOTSTRAP_API_KEY must have {BOOTSTRAP_KEY_CHARS_MIN} to {SHORT_TEXT_CHARS_MAX} characters, visible ones of ASCII: \
             it is sent in a header (make one with: openssl rand -hex 24)"
        )
        .into());
    }
    let trusted_proxies = networks(&args.trusted_proxy)?;
    let rate_limit_key = rate_limit("--rate-limit-key", args.rate_limit_key.as_deref())?;
    let rate_limit_ip = rate_limit("--rate-limit-ip", args.rate_limit_ip.as_deref())?;
    let allow_outgoing = Allowed::parse(args.allow_outgoing.iter().map(String::as_str))
        .map_err(|entry| format!("--allow-outgoing {entry}: not an address, a network such as 10.0.0.0/8, or a host name"))?;
    let envato = envato_config(&args.envato_url, args.envato_token.as_deref())?;
    let evidence = args.evidence.config(&args.store)?;
    let nats = args.nats.config()?;
    let metrics = install_metrics()?;
    // Before anything else is touched: a second server must not even open the ledger.
    let _lock = match args.store.database_url() {
        None => {
            args.store.create_data_dir()?;
            Some(lock(&args.store.data_dir)?)
        }
        Some(_) => None,
    };
    let files = args.files.open(&args.store.data_dir)?;
    let clock = Clock::default();
    let ledger = args.store.open_or_create(Options { clock: clock.clone(), rebuild_older: true }, evidence.hand_out.file.as_deref()).await?;
    if let Some(key) = bootstrap {
        ledger.bootstrap_api_key(key).await?;
    }
    let listener = TcpListener::bind(args.listen).await.map_err(|error| format!("cannot listen on {}: {error}", args.listen))?;
    let address = listener.local_addr()?;
    let config = HttpConfig {
        trusted_proxies,
        public_url: args.public_url.filter(|url| !url.trim().is_empty()),
        rate_limit_key,
        rate_limit_ip,
        allow_outgoing,
        envato,
        evidence,
        feed: FeedConfig { heart_beat: Duration::from_secs(args.feed_heart_beat), patience: Duration::from_secs(args.feed_patience) },
        write_within: Duration::from_secs(args.write_timeout),
    };
    let app = Arc::new(App::new(ledger.clone(), clock, files, config, Some(metrics.clone())).await?);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(METRICS_UPKEEP_EVERY).await;
            metrics.run_upkeep();
        }
    });
    let background = tokio::spawn(background::run(Arc::clone(&app)));
    let webhooks = tokio::spawn(webhooks::run(Arc::clone(&app), Times::new(args.webhook_hurry)));
    let others = Arc::clone(&app);
    let following = tokio::spawn(async move { others.feed.watch_others().await });
    let watching = NonZeroU32::new(args.integrity_rate).map(|rate| tokio::spawn(watch::run(Arc::clone(&app), rate)));
    let counting = (args.count_interval > 0).then(|| verifications::start(Arc::clone(&app), Duration::from_secs(args.count_interval)));
    let adding_up = tokio::spawn(statistics::run(Arc::clone(&app)));
    let relaying = nats.map(|config| tokio::spawn(relay::run(Arc::clone(&app), config)));
    // Whoever reads that it listens may already stop it.
    let asked_to_stop = asked_to_stop()?;
    println!("keyledger listening on http://{address}");
    tracing::info!(%address, backend = ledger.store().backend(), "serving");

    let watched = ledger.clone();
    let shutdown = async move {
        tokio::select! {
            () = asked_to_stop => {}
            // Without its executor a server would only say no; whoever runs it starts a new one.
            () = watched.stopped() => tracing::error!("the executor has stopped; the server ends"),
        }
    };
    http::serve(listener, app, shutdown).await?;
    // It ends by itself. What it leaves undone, the next server does.
    if tokio::time::timeout(STATISTICS_PATIENCE, adding_up).await.is_err() {
        tracing::warn!("the statistics are left to others only when their claim ends");
    }
    if let Some(counting) = counting {
        counting.stop().await;
    }
    background.abort();
    // It has been told to stop, and leaves its places to other servers.
    if tokio::time::timeout(WEBHOOKS_PATIENCE, webhooks).await.is_err() {
        tracing::warn!("web hook endpoints are told by other servers in a moment only");
    }
    if let Some(relaying) = relaying
        && tokio::time::timeout(RELAY_PATIENCE, relaying).await.is_err()
    {
        tracing::warn!("events are relayed to NATS by other servers in a moment only");
    }
    following.abort();
    if let Some(watching) = watching {
        watching.abort();
    }
    if ledger.has_stopped() {
        return Err("the executor stopped because of a defect; see the log".into());
    }
    if !ledger.close(CLOSE_PATIENCE).await {
        return Err("what was queued could not be finished in time".into());
    }
    tracing::info!("stopped; everything acknowledged is on disk");
    Ok(())
}

/// Resolves at SIGTERM or SIGINT; those signals end the process no more by themselves from here on.
///
/// # Errors
/// When the signals can't be caught.
pub(super) fn asked_to_stop() -> std::io::Result<impl Future<Output = ()> + Send> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Refuses a second server on one data folder. The lock ends with the process, however it ends.
fn lock(data_dir: &Path) -> Result<File, Failure> {
    let path = data_dir.join("serve.lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| format!("cannot open {}: {error}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(format!("another keyledger serve is using the data folder {}; an embedded ledger has one server", data_dir.display()).into())
        }
        Err(TryLockError::Error(error)) => Err(format!("cannot lock {}: {error}", path.display()).into()),
    }
}

fn install_metrics() -> Result<PrometheusHandle, Failure> {
    const SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
    const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_000.0, 10_000.0];
    Ok(PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Prefix("keyledger_commit_batch".to_owned()), COUNTS)?
        .install_recorder()?)
}
