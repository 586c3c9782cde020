//! Web hook endpoints are told of events: each by a task of its own, on the one server that holds the endpoint's place in the log. So
//! an endpoint that is slow or dead holds up nobody else.
//!
//! What was delivered is remembered by the place, which moves on when all before it are taken, and behind it by the log of calls: at least once,
//! in order for each license.

mod attempts;
mod teller;
mod times;
mod window;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use keyledger_events::webhook_endpoint::ENDPOINTS_MAX;
use keyledger_projections::WebhookEndpointRow;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use url::Url;

use self::teller::Teller;
pub use self::times::Times;
use crate::{app::App, feed::Claim, ledger::place_name, outgoing::is_http_url};

/// How often it is looked what endpoints there are, and whether their places are free: what is changed is noticed within this time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often what belonged to deleted endpoints is cleared away.
const TIDY_EVERY: Duration = Duration::from_secs(10 * 60);
/// How long a task that is asked to end may take: it waits for an endpoint's answers, and stores how far it came.
const ENDED_WITHIN: Duration = Duration::from_secs(2);
/// Longest URL of an endpoint: no browser or server takes much more.
const URL_BYTES_MAX: usize = 2_048;

/// Connections to endpoints at the same time.
pub const CONNECTIONS_MAX: usize = ENDPOINTS_MAX as usize * teller::CALLS_MAX;

/// Why a text is no URL of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("must be a URL of http or https with a host")]
    NoUrl,
    #[error("must be at most {URL_BYTES_MAX} bytes")]
    TooLong,
    #[error("must not hold a user, password or fragment: it is recorded for ever")]
    Secret,
}

/// Checks the URL of an endpoint. Where it leads is decided when it is called.
///
/// # Errors
/// Why it is none.
pub fn endpoint_url(text: &str) -> Result<String, UrlError> {
    let text = text.trim();
    if text.len() > URL_BYTES_MAX {
        return Err(UrlError::TooLong);
    }
    let url = Url::parse(text).ok().filter(|_| is_http_url(text)).ok_or(UrlError::NoUrl)?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(UrlError::Secret);
    }
    Ok(text.to_owned())
}

/// One endpoint that this server tells, or waits to.
struct Running {
    /// The endpoint's last event when the task began.
    sequence: i64,
    place: String,
    claim: Claim,
    /// Asks the task to end.
    ending: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Running {
    /// Ends the task. What it was about to deliver is delivered by whoever goes on.
    async fn stop(mut self) -> (String, Claim) {
        self.ending.notify_one();
        if timeout(ENDED_WITHIN, &mut self.task).await.is_err() {
            self.task.abort();
            let _ = self.task.await;
        }
        (self.place, self.claim)
    }

    async fn leave(self) {
        self.stop().await.1.give_back().await;
    }
}

/// Works until the server stops; then the places are left to other servers.
pub async fn run(app: Arc<App>, times: Times) {
    let mut running = HashMap::new();
    let mut tidied: Option<Instant> = None;
    loop {
        match app.ledger.active_webhook_endpoints().await {
            Ok(rows) => keep_up(&app, times, rows, &mut running).await,
            Err(error) => tracing::warn!(%error, "the web hook endpoints can't be read"),
        }
        if tidied.is_none_or(|at| at.elapsed() >= TIDY_EVERY) {
            match attempts::tidy(app.feed.store()).await {
                Ok(()) => tidied = Some(Instant::now()),
                Err(error) => tracing::warn!(%error, "what belonged to deleted web hook endpoints can't be cleared away"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = app.stopped() => break,
        }
    }
    join_all(running.into_values().map(Running::leave)).await;
}

/// Has a task for each endpoint, begun anew where the endpoint has changed or the task has ended.
async fn keep_up(app: &Arc<App>, times: Times, rows: Vec<WebhookEndpointRow>, running: &mut HashMap<i64, Running>) {
    let rows: HashMap<i64, WebhookEndpointRow> = rows.into_iter().map(|row| (row.number(), row)).collect();
    let is_as_it_was = |number: i64, known: &Running| rows.get(&number).is_some_and(|row| row.sequence == known.sequence);
    let ended: Vec<Running> =
        running.extract_if(|number, known| known.task.is_finished() || !is_as_it_was(*number, known)).map(|(_, known)| known).collect();
    // Side by side: one that hangs holds up the others only once.
    let mut claims: HashMap<String, Claim> = join_all(ended.into_iter().map(Running::stop)).await.into_iter().collect();
    for (number, row) in rows {
        if running.contains_key(&number) {
            continue;
        }
        let place = place_name(&row);
        // Held by the same holder, the place need not be waited for.
        let claim = claims.remove(&place).unwrap_or_else(|| Claim::new(Arc::clone(app.feed.store()), app.clock.clone(), place.as_str()));
        let sequence = row.sequence;
        let ending = Arc::new(Notify::new());
        let task = tokio::spawn(Teller::tell(Arc::clone(app), times, row, claim.clone(), Arc::clone(&ending)));
        running.insert(number, Running { sequence, place, claim, ending, task });
    }
    join_all(claims.values().map(Claim::give_back)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoints_url_holds_no_secret() {
        assert_eq!(endpoint_url(" https://vendor.example/hook?a=1 ").as_deref(), Ok("https://vendor.example/hook?a=1"));
        for (text, error) in [
            ("", UrlError::NoUrl),
            ("vendor.example", UrlError::NoUrl),
            ("ftp://vendor.example/", UrlError::NoUrl),
            ("https://user@vendor.example/", UrlError::Secret),
            ("https://:word@vendor.example/", UrlError::Secret),
            ("https://vendor.example/#here", UrlError::Secret),
        ] {
            assert_eq!(endpoint_url(text), Err(error), "{text}");
        }
        assert_eq!(endpoint_url(&format!("https://vendor.example/{}", "x".repeat(2_048))), Err(UrlError::TooLong));
    }
}
