//! Counts of verifications. A verification is a query and leaves no event behind: what was answered is counted in memory, and recorded
//! once a minute, an event for each product. A server that is killed loses what it counted since, and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use keyledger_events::{Timestamp, verification_count::VerificationsCounted};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    app::App,
    ledger::{Command, CommandResult, ExecuteError, Ledger, Origin, Request},
};

const MINUTE: Duration = Duration::from_secs(60);
/// Counts kept at the same time, one for each minute, product and response code: a few megabytes. Only a vendor of thousands of products
/// gets there, and who can't record for hours; then what is new is not counted.
const COUNTS_MAX: usize = 65_536;
/// Records queued at the same time: enough to share a batch, few enough to keep nobody waiting.
const RECORDS_AT_ONCE: usize = 64;
/// How long the last counts may take to be recorded when the server stops.
const LAST_WITHIN: Duration = Duration::from_secs(10);
/// The pause before they are tried again.
const LAST_PAUSE: Duration = Duration::from_millis(250);

/// Minute, product and response code.
type Answered = (i64, i64, &'static str);

/// What one event tells: how often each response code was given.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    minute: i64,
    product: i64,
    counts: Vec<(&'static str, i64)>,
}

/// What was answered and is not recorded yet. Nothing is counted before [`start`].
#[derive(Default)]
pub struct Verifications(OnceLock<Mutex<HashMap<Answered, i64>>>);

impl Verifications {
    /// Counts an answer about a license of a product that exists.
    pub fn count(&self, product: i64, code: &'static str, now: Timestamp) {
        self.add((now.minute(), product, code), 1);
    }

    fn add(&self, answered: Answered, times: i64) {
        let Some(counts) = self.0.get() else { return };
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&answered) {
            *count += times;
        } else if counts.len() < COUNTS_MAX {
            counts.insert(answered, times);
        } else {
            metrics::counter!("keyledger_verifications_uncounted_total").increment(times.unsigned_abs());
        }
    }

    /// Takes out what was counted in the minutes before one, by minute and product.
    fn take(&self, before: i64) -> Vec<Record> {
        let Some(counts) = self.0.get() else { return Vec::new() };
        let taken: Vec<_> = counts.lock().unwrap_or_else(PoisonError::into_inner).extract_if(|(minute, ..), _| *minute < before).collect();
        let mut records = BTreeMap::<_, Vec<_>>::new();
        for ((minute, product, code), count) in taken {
            records.entry((minute, product)).or_default().push((code, count));
        }
        records.into_iter().map(|((minute, product), counts)| Record { minute, product, counts }).collect()
    }

    fn put_back(&self, record: &Record) {
        record.counts.iter().for_each(|(code, count)| self.add((record.minute, record.product, code), *count));
    }

    fn is_empty(&self) -> bool {
        self.0.get().is_none_or(|counts| counts.lock().unwrap_or_else(PoisonError::into_inner).is_empty())
    }

    /// Records what was counted in the minutes before one. What can't be recorded, or not before it has to end, stays for the next time.
    async fn record(&self, ledger: &Ledger, before: i64, has_to_end: impl Fn() -> bool) {
        for records in self.take(before).chunks(RECORDS_AT_ONCE) {
            if has_to_end() {
                records.iter().for_each(|record| self.put_back(record));
                continue;
            }
            join_all(records.iter().map(|record| async move {
                let product = record.product;
                match ledger.execute(request(record)).await {
                    Ok(outcome) if outcome.result == CommandResult::VerificationsRecorded => {}
                    Ok(outcome) => tracing::error!(product, result = ?outcome.result, "recording verifications came to something else"),
                    // Too few are better than the same ones twice.
                    Err(error @ ExecuteError::Unknown(_)) => tracing::warn!(product, %error, "counts of verifications may be lost"),
                    Err(error) => {
                        tracing::warn!(product, %error, "counts of verifications can't be recorded yet");
                        self.put_back(record);
                    }
                }
            }))
            .await;
        }
    }
}

fn request(record: &Record) -> Request {
    let counts = record.counts.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect();
    let minute = Timestamp(record.minute.saturating_mul(i64::try_from(MINUTE.as_micros()).unwrap_or(i64::MAX)));
    let command = Command::RecordVerifications(VerificationsCounted { counts, minute, product: record.product });
    Request { command, origin: Origin { operation: Some("count-verifications"), ..Origin::system() }, idempotency: None }
}

/// The task that records.
pub struct Recording {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Recording {
    /// Records what is left, and ends.
    pub async fn stop(self) {
        // Where the task is gone there is nobody to be told.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

/// Counts from here on, and records at each full `every` of the clock: where that is a minute, when a minute ends.
#[must_use]
pub fn start(app: Arc<App>, every: Duration) -> Recording {
    let _ = app.verifications.0.set(Mutex::default());
    let (stop, mut stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(until_next(app.clock.now(), every)) => {}
                _ = &mut stopped => break,
            }
            // The present minute is not over, but whoever records more often wants what there is of it.
            let before = if every < MINUTE { i64::MAX } else { app.clock.now().minute() };
            app.verifications.record(&app.ledger, before, || app.is_stopping()).await;
        }
        if tokio::time::timeout(LAST_WITHIN, record_last(&app)).await.is_err() {
            tracing::warn!("the last counts of verifications could not be recorded");
        }
    });
    Recording { stop, task }
}

/// Until all are recorded: what is away for a moment, as a database that is being started again, is no reason to lose them.
async fn record_last(app: &App) {
    loop {
        app.verifications.record(&app.ledger, i64::MAX, || false).await;
        if app.verifications.is_empty() || app.ledger.has_stopped() {
            return;
        }
        tokio::time::sleep(LAST_PAUSE).await;
    }
}

fn until_next(now: Timestamp, every: Duration) -> Duration {
    let every = u64::try_from(every.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(every - now.0.unsigned_abs() % every)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MICROS: i64 = 60_000_000;

    fn counting() -> Verifications {
        let verifications = Verifications::default();
        verifications.0.set(Mutex::default()).unwrap();
        verifications
    }

    #[test]
    fn nothing_is_counted_before_it_is_asked_for() {
        let verifications = Verifications::default();
        verifications.count(1, "200", Timestamp(0));
        assert!(verifications.0.get().is_none() && verifications.take(i64::MAX).is_empty());
    }

    #[test]
    fn what_is_counted_is_taken_by_minute_and_product() {
        let verifications = counting();
        for (product, code, at) in [(2, "200", 0), (1, "200", 1), (1, "205", 2), (1, "200", 3), (1, "200", MINUTE_MICROS)] {
            verifications.count(product, code, Timestamp(at));
        }
        let mut first = verifications.take(1);
        first.iter_mut().for_each(|record| record.counts.sort_unstable());
        let record = |minute, product, counts: &[_]| Record { minute, product, counts: counts.to_vec() };
        assert_eq!(first, [record(0, 1, &[("200", 2), ("205", 1)]), record(0, 2, &[("200", 1)])]);
        assert_eq!(verifications.take(1), []);
        assert_eq!(verifications.take(2), [record(1, 1, &[("200", 1)])]);
    }

    #[test]
    fn counts_are_bounded_and_known_ones_go_on() {
        let verifications = counting();
        for product in 0..COUNTS_MAX as i64 + 10 {
            verifications.count(product, "200", Timestamp(0));
        }
        verifications.count(0, "200", Timestamp(0));
        let taken = verifications.take(1);
        assert_eq!(taken.len(), COUNTS_MAX);
        assert_eq!(taken[0], Record { minute: 0, product: 0, counts: vec![("200", 2)] });
    }

    #[test]
    fn it_is_recorded_when_the_minute_ends() {
        assert_eq!(until_next(Timestamp(MINUTE_MICROS * 7 + 1), MINUTE), Duration::from_micros(59_999_999));
        assert_eq!(until_next(Timestamp(MINUTE_MICROS * 7), MINUTE), MINUTE);
        assert_eq!(until_next(Timestamp(1_500_000), Duration::from_secs(1)), Duration::from_millis(500));
    }
}
