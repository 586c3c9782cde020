//! A body that is written while it is sent: a piece at a time, and no piece waits for longer than the client is given.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use tokio::sync::{SemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use super::READ;
use crate::{
    app::App,
    http::admin::{AdminCall, Problem},
};

/// Bytes that are sent at a time: even a slow line takes them within the patience there is.
const PIECE_BYTES: usize = 256 * 1024;

/// What ends a message of a stream, and stands nowhere within one.
const MESSAGE_END: &[u8] = b"\n\n";

/// Bytes a second that a client must take of what others wait for: with less, a range of a million events would hold its turn for hours.
const PACE_BYTES: u32 = 64 * 1024;

/// How long a client may still be waited for. It has its patience to begin with, uses it up, and earns it anew with what it takes.
#[derive(Clone, Copy, Debug)]
struct Pace {
    left: Duration,
    patience: Duration,
}

impl Pace {
    fn new(patience: Duration) -> Self {
        Self { left: patience, patience }
    }

    fn take(&mut self, waited: Duration, bytes: usize) {
        let earned = Duration::from_secs(1).mul_f64(bytes as f64 / f64::from(PACE_BYTES));
        self.left = (self.left.saturating_sub(waited) + earned).min(self.patience);
    }
}

/// Why a stream ended.
#[derive(Debug)]
pub enum Ended {
    /// All that was wanted is sent.
    Complete,
    /// The client went.
    Gone,
    /// The client took nothing for so long that it is not waited for.
    TooSlow,
    /// The API key was disabled, or lost the capability.
    NotPermitted,
    Stopping,
    Failed(Problem),
}

impl Ended {
    fn reason(&self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Gone => "gone",
            Self::TooSlow => "too_slow",
            Self::NotPermitted => "not_permitted",
            Self::Stopping => "stopping",
            Self::Failed(_) => "failed",
        }
    }
}

/// What is said last, past what waits to be sent. A body whose writer vanishes is broken off.
#[derive(Default)]
enum Last {
    #[default]
    Broken,
    Whole,
    Goodbye(Bytes),
}

/// Where pieces go in.
pub struct Sender {
    pieces: mpsc::Sender<Bytes>,
    /// Ends with the body.
    gone: oneshot::Receiver<()>,
    last: Arc<Mutex<Last>>,
    call: AdminCall,
    /// When the caller's key is looked at next.
    beat_at: Instant,
    pace: Option<Pace>,
}

/// Where they come out.
pub struct Sending {
    pieces: mpsc::Receiver<Bytes>,
    last: Arc<Mutex<Last>>,
    held: Held,
}

/// What a body holds for as long as it is there.
struct Held {
    _permit: SemaphorePermit<'static>,
    _there: oneshot::Sender<()>,
}

pub fn sending(permit: SemaphorePermit<'static>, call: AdminCall) -> (Sender, Sending) {
    // One piece waits while another is on its way.
    let (sender, pieces) = mpsc::channel(1);
    let last = Arc::new(Mutex::new(Last::default()));
    let (there, gone) = oneshot::channel();
    let held = Held { _permit: permit, _there: there };
    let beat_at = Instant::now() + call.app.config.feed.heart_beat;
    (Sender { pieces: sender, gone, last: Arc::clone(&last), call, beat_at, pace: None }, Sending { pieces, last, held })
}

impl Sender {
    /// One whose client must not take its time.
    pub fn paced(self) -> Self {
        let pace = Pace::new(self.patience());
        Self { pace: Some(pace), ..self }
    }

    /// Sends bytes; none are as good for having the caller's key looked at.
    ///
    /// # Errors
    /// When the client went, took nothing for too long, or may not read any more.
    pub async fn send(&mut self, bytes: Vec<u8>) -> Result<(), Ended> {
        let mut bytes = Bytes::from(bytes);
        loop {
            if Instant::now() >= self.beat_at {
                self.look_at_key().await?;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            // A range that ends early is broken off, wherever that is; a stream says why it ends.
            let piece = bytes.split_to(if self.pace.is_some() { bytes.len().min(PIECE_BYTES) } else { piece_of_messages(&bytes) });
            let (length, begun) = (piece.len(), Instant::now());
            let patience = self.pace.map_or(self.patience(), |pace| pace.left);
            self.pieces.send_timeout(piece, patience).await.map_err(|error| match error {
                mpsc::error::SendTimeoutError::Timeout(_) => Ended::TooSlow,
                mpsc::error::SendTimeoutError::Closed(_) => Ended::Gone,
            })?;
            if let Some(pace) = &mut self.pace {
                pace.take(begun.elapsed(), length);
            }
        }
    }

    async fn look_at_key(&mut self) -> Result<(), Ended> {
        self.beat_at = Instant::now() + self.call.app.config.feed.heart_beat;
        match self.call.is_still_permitted(READ).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Ended::NotPermitted),
            Err(problem) => Err(Ended::Failed(problem)),
        }
    }

    pub fn app(&self) -> Arc<App> {
        Arc::clone(&self.call.app)
    }

    /// When a stream says next that it is there: with that the caller's key is looked at.
    pub fn beat_at(&self) -> Instant {
        self.beat_at
    }

    fn patience(&self) -> Duration {
        self.call.app.config.feed.patience
    }

    /// Until the client went.
    pub async fn gone(&mut self) {
        // Nothing is ever said there.
        let _ = (&mut self.gone).await;
    }

    /// Ends a body that is whole.
    pub fn complete(self) {
        self.finish(&Ended::Complete, Last::Whole);
    }

    /// Ends a body that must not be taken for whole.
    pub fn end(self, ended: Ended) {
        self.finish(&ended, Last::Broken);
    }

    /// Ends a stream of messages, saying why.
    pub fn say_goodbye(self, ended: &Ended) {
        let goodbye = format!("event: end\ndata: {{\"reason\":\"{}\"}}\n\n", ended.reason());
        self.finish(ended, Last::Goodbye(goodbye.into()));
    }

    fn finish(self, ended: &Ended, last: Last) {
        metrics::counter!("keyledger_feed_ended_total", "reason" => ended.reason()).increment(1);
        if let Ended::Failed(problem) = ended {
            tracing::warn!(?problem, "a stream of events ended");
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }
}

/// Bytes of the messages that are sent next. What is said last stands behind a whole message: in the middle of one it would be taken for the
/// rest of that, whose event would be lost.
fn piece_of_messages(bytes: &[u8]) -> usize {
    let most = bytes.len().min(PIECE_BYTES);
    let ends = |from: usize| bytes[from..].windows(MESSAGE_END.len()).position(|window| window == MESSAGE_END).map(|at| from + at);
    let last = bytes[..most].windows(MESSAGE_END.len()).rposition(|window| window == MESSAGE_END);
    // One message can be longer.
    last.or_else(|| ends(most.saturating_sub(1))).map_or(bytes.len(), |at| at + MESSAGE_END.len())
}

impl Sending {
    pub fn into_body(self) -> Body {
        let Self { pieces, last, held } = self;
        let body = stream::unfold((pieces, held, false), move |(mut pieces, held, is_over)| {
            let last = Arc::clone(&last);
            async move {
                if is_over {
                    return None;
                }
                if let Some(piece) = pieces.recv().await {
                    return Some((Ok(piece), (pieces, held, false)));
                }
                let last = std::mem::take(&mut *last.lock().unwrap_or_else(PoisonError::into_inner));
                match last {
                    Last::Broken => Some((Err(io::Error::other("the events end early")), (pieces, held, true))),
                    Last::Whole => None,
                    Last::Goodbye(goodbye) => Some((Ok(goodbye), (pieces, held, true))),
                }
            }
        });
        Body::from_stream(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_a_stream_ends_behind_a_message() {
        let message = |length: usize| [vec![b'x'; length], b"\n\n".to_vec()].concat();
        let pieces = |bytes: &[u8]| {
            let (mut lengths, mut left) = (Vec::new(), bytes);
            while !left.is_empty() {
                let length = piece_of_messages(left);
                left = &left[length..];
                lengths.push(length);
            }
            lengths
        };
        assert_eq!(pieces(&message(8)), [10]);
        assert_eq!(pieces(&message(8).repeat(3)), [30]);
        assert_eq!(pieces(&message(98).repeat(3_000)), [262_100, 37_900]);
        for end in PIECE_BYTES - 2..=PIECE_BYTES + 2 {
            assert_eq!(pieces(&[message(end - 2), message(8)].concat()), [end, 10]);
        }
        assert_eq!(pieces(&[message(8), message(2 * PIECE_BYTES), message(8)].concat()), [10, 2 * PIECE_BYTES + 2, 10]);
        // What is no message is sent all the same.
        assert_eq!(pieces(b"xx\n"), [3]);
    }

    #[test]
    fn who_takes_its_time_uses_up_its_patience() {
        let (patience, second) = (Duration::from_secs(20), Duration::from_secs(1));
        // As fast as it must be, and faster, for as long as it likes.
        let mut pace = Pace::new(patience);
        for _ in 0..1_000 {
            pace.take(4 * second, PIECE_BYTES);
            pace.take(second, PIECE_BYTES);
        }
        assert_eq!(pace.left, patience);
        // A pause is made up for.
        pace.take(15 * second, PIECE_BYTES);
        assert_eq!(pace.left, 9 * second);
        pace.take(Duration::ZERO, 4 * PIECE_BYTES);
        assert_eq!(pace.left, patience);
        // Half as fast.
        let pieces = (0..).find(|_| {
            pace.take(8 * second, PIECE_BYTES);
            pace.left < 8 * second
        });
        assert_eq!(pieces, Some(3));
    }
}
