//! Turns for requests of which only few may run at once.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::admin::{Problem, Replied};

/// Requests that fold streams from their beginning, of which a long one takes a core for seconds. As many as there are cores: more would
/// only make each other slower, and all other requests with them.
static FOLDS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));
/// How long such a request waits for its turn: less than clients wait for an answer.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Waits for a turn to fold streams, which ends when it is dropped.
///
/// # Errors
/// When too many are before it.
pub async fn to_fold() -> Replied<SemaphorePermit<'static>> {
    turn(&FOLDS, WAIT_MAX, "Too many look into the past at the moment.").await
}

/// Waits for a turn.
///
/// # Errors
/// When it doesn't come in time: unavailable, for this reason.
pub async fn turn<'a>(turns: &'a Semaphore, wait: Duration, refusal: &'static str) -> Replied<SemaphorePermit<'a>> {
    let turn = timeout(wait, turns.acquire()).await;
    turn.ok().and_then(Result::ok).ok_or_else(|| Problem::unavailable(refusal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_too_long_is_refused_and_nobody_else() {
        let (turns, briefly) = (Semaphore::new(1), Duration::from_millis(20));
        let first = turn(&turns, briefly, "Later.").await.unwrap();
        let refused = turn(&turns, briefly, "Later.").await.unwrap_err().into_response(uuid::Uuid::nil());
        assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (503, true));
        let (waited, ()) = tokio::join!(turn(&turns, Duration::from_secs(60), "Later."), async { drop(first) });
        assert!(waited.is_ok());
    }
}
