//! The events relayed to a stream of NATS JetStream: each once and in order, on a subject for each aggregate and type.
//!
//! The stream itself is the memory of the relay. Its last message says how far it has come, and each message is published on the condition
//! that the one before it is the last: so whoever publishes, whatever is lost, sent late or sent twice, the stream is a beginning of the log.

mod config;
mod session;
mod stream;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

pub use self::config::{ConfigError, Given, REPLICAS_MAX, RelayConfig, STREAM_DEFAULT, SUBJECT_DEFAULT};
use crate::{
    app::App,
    feed::{Claim, FeedError, position_of},
    store::StoreError,
};

/// How often it is looked whether the place is free, where another server relays.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the lag is told where another server relays, or none does.
const LAG_EVERY: Duration = Duration::from_secs(5);
/// The wait after a session that worked: a cluster that lost a node goes on with the others.
const WAIT_AFTER_WORK: Duration = Duration::from_millis(200);
/// The wait where NATS is away: after the first time, and at most.
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How long to wait where somebody has to do something.
const TROUBLE_PAUSE: Duration = Duration::from_secs(10);

/// What must be put right before anything is published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("NATS has no JetStream for this account ({0}): switch it on in the server's configuration")]
    NoJetStream(String),
    #[error("the stream {stream} can't be made: {problem}")]
    NotMade { stream: String, problem: String },
    #[error("events can't be relayed to the stream {stream}: {problem}")]
    Unsuitable { stream: String, problem: String },
    #[error(
        "the last message of the stream {stream} (sequence {sequence}) is no event of a ledger: only keyledger may publish to it; give the \
         relay another stream with --nats-stream"
    )]
    NotOurs { stream: String, sequence: u64 },
    #[error("the stream {stream} is the relay of another ledger, {ledger} (this one is {own}): give this one another with --nats-stream")]
    OtherLedger { stream: String, ledger: Uuid, own: Uuid },
    #[error(
        "the stream {stream} ends with event {position}, but the log with event {last}: an older copy of the ledger was put back. Put \
         the newer one back; or, where that is lost, delete the stream, or name another with --nats-stream, and have everything relayed anew"
    )]
    Ahead { stream: String, position: i64, last: i64 },
    #[error(
        "event {position}, with which the stream {stream} ends, is another one than the log's: an older copy of the ledger was put back and \
         has grown since. Delete the stream, or name another with --nats-stream, and have everything relayed anew"
    )]
    OtherPast { stream: String, position: i64 },
    #[error(
        "the stream {stream} has lost its last message (sequence {sequence}), and was another one when events were last relayed to it: \
         delete it, or name another with --nats-stream, and have everything relayed anew"
    )]
    Unknown { stream: String, sequence: u64 },
    #[error("event {position} is too large for the NATS server ({problem}): raise its max_payload")]
    TooLarge { position: i64, problem: String },
    #[error("the stream {stream} does not take event {position}: {problem}")]
    Refused { stream: String, position: i64, problem: String },
    #[error(transparent)]
    Log(FeedError),
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// NATS can't be reached, or doesn't do what it is asked.
    #[error("{0}")]
    Away(String),
    #[error(transparent)]
    Wrong(#[from] Wrong),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("another server took the place")]
    Lost,
}

impl From<FeedError> for Broken {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Store(error) => Self::Store(error),
            error => Self::Wrong(Wrong::Log(error)),
        }
    }
}

/// What the relay's place in the log is called.
fn place_name(stream: &str) -> String {
    format!("nats/{stream}")
}

/// What was said in the log: each trouble once, and once that it is over.
#[derive(Debug, Default)]
struct Told {
    trouble: Option<String>,
    /// Whether the session does what it is for.
    works: bool,
    waits: u32,
}

impl Told {
    /// An event got there, or there is none to send.
    fn works(&mut self, relay: &RelayConfig, position: i64) {
        if std::mem::replace(&mut self.works, true) {
            return;
        }
        if self.trouble.take().is_some() {
            tracing::info!(stream = relay.stream, after = position, "events are relayed to NATS again");
        } else {
            tracing::info!(stream = relay.stream, after = position, "events are relayed to NATS");
        }
    }

    /// Says what happened, and how long to wait.
    fn broken(&mut self, broken: &Broken) -> Duration {
        let worked = std::mem::take(&mut self.works);
        if worked {
            self.waits = 0;
        }
        let (kind, pause) = match broken {
            Broken::Lost => {
                tracing::info!("another server relays the events to NATS");
                return LOOK_EVERY;
            }
            Broken::Away(_) if worked => ("away".to_owned(), WAIT_AFTER_WORK),
            Broken::Away(_) => {
                self.waits = self.waits.saturating_add(1);
                ("away".to_owned(), WAIT_MAX.min(WAIT_FIRST.saturating_mul(1 << (self.waits - 1).min(16))))
            }
            Broken::Store(_) => ("store".to_owned(), TROUBLE_PAUSE),
            // How large it is depends on what is sent with it.
            Broken::Wrong(Wrong::TooLarge { position, .. }) => (format!("too large: {position}"), TROUBLE_PAUSE),
            Broken::Wrong(wrong) => (wrong.to_string(), TROUBLE_PAUSE),
        };
        if self.trouble.as_ref() == Some(&kind) {
            tracing::debug!(error = %broken, "events still can't be relayed to NATS");
        } else {
            match broken {
                Broken::Wrong(_) => tracing::error!(error = %broken, "events can't be relayed to NATS until somebody does something"),
                _ => tracing::warn!(error = %broken, "events can't be relayed to NATS at the moment; it is tried again and again"),
            }
            self.trouble = Some(kind);
        }
        pause
    }
}

/// Relays events until the server stops.
pub async fn run(app: Arc<App>, relay: RelayConfig) {
    let claim = Claim::new(Arc::clone(app.feed.store()), app.clock.clone(), place_name(&relay.stream));
    let mut told = Told::default();
    let mut lag_told: Option<Instant> = None;
    loop {
        if lag_told.is_none_or(|at| at.elapsed() >= LAG_EVERY) {
            lag_told = Some(Instant::now());
            tell_kept_lag(&app, &relay).await;
        }
        let pause = tokio::select! {
            pause = turn(&app, &relay, &claim, &mut told) => pause,
            () = app.stopped() => break,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = app.stopped() => break,
        }
    }
    claim.give_back().await;
}

/// Relays for as long as that works and the place is this server's; how long to wait then.
async fn turn(app: &App, relay: &RelayConfig, claim: &Claim, told: &mut Told) -> Duration {
    let broken = match claim.take(-1).await {
        Ok(None) => return LOOK_EVERY,
        Ok(Some(_)) => match session::relay(app, relay, claim, told).await {
            Ok(never) => match never {},
            Err(broken) => broken,
        },
        Err(error) => error.into(),
    };
    if !matches!(broken, Broken::Lost) {
        // Another server may reach what this one doesn't.
        claim.give_back().await;
    }
    told.broken(&broken)
}

/// Tells the lag by the place that was kept.
async fn tell_kept_lag(app: &App, relay: &RelayConfig) {
    let lag = async {
        let position = position_of(app.feed.store().as_ref(), &place_name(&relay.stream)).await?;
        Ok::<_, StoreError>(app.feed.next_position().await? - 1 - position)
    };
    match lag.await {
        Ok(lag) => tell_lag(lag),
        Err(error) => tracing::debug!(%error, "the lag of the relay to NATS is not known"),
    }
}

fn tell_lag(events: i64) {
    metrics::gauge!("keyledger_nats_lag_events").set(events.max(0) as f64);
}

fn tell_relayed(events: i64) {
    metrics::counter!("keyledger_nats_relayed_events_total").increment(u64::try_from(events).unwrap_or(0));
}

/// A session ends with why it did.
type Ended = Result<Infallible, Broken>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_grow_up_to_half_a_minute() {
        let (mut told, away) = (Told::default(), Broken::Away("refused".to_owned()));
        let waits: Vec<u64> = (0..8).map(|_| told.broken(&away).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        told.works = true;
        assert_eq!((told.broken(&away), told.broken(&away)), (WAIT_AFTER_WORK, WAIT_FIRST));
    }
}
