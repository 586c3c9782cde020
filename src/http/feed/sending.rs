//! A body that is written while it is sent: a piece at a time, and no piece waits for longer than the client is given.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use tokio::sync::{SemaphorePermit, mpsc, oneshot};

use super::HangUp;
use crate::http::admin::Problem;

/// How long a client that took nothing is given for the goodbye.
const GOODBYE_WITHIN: Duration = Duration::from_secs(5);

/// Bytes that are sent at a time: even a slow line takes them within the patience there is.
const PIECE_BYTES: usize = 256 * 1024;

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
    patience: Duration,
    hang_up: HangUp,
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

pub fn sending(permit: SemaphorePermit<'static>, patience: Duration, hang_up: HangUp) -> (Sender, Sending) {
    // One piece waits while another is on its way.
    let (sender, pieces) = mpsc::channel(1);
    let last = Arc::new(Mutex::new(Last::default()));
    let (there, gone) = oneshot::channel();
    let held = Held { _permit: permit, _there: there };
    (Sender { pieces: sender, gone, last: Arc::clone(&last), patience, hang_up }, Sending { pieces, last, held })
}

impl Sender {
    /// # Errors
    /// When the client went, or took nothing for too long.
    pub async fn send(&mut self, bytes: Vec<u8>) -> Result<(), Ended> {
        let mut bytes = Bytes::from(bytes);
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
            self.pieces.send_timeout(piece, self.patience).await.map_err(|error| match error {
                mpsc::error::SendTimeoutError::Timeout(_) => Ended::TooSlow,
                mpsc::error::SendTimeoutError::Closed(_) => Ended::Gone,
            })?;
        }
        Ok(())
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
        if matches!(ended, Ended::TooSlow) {
            // It may take nothing ever again: the connection would stay.
            let Self { gone, hang_up, .. } = self;
            tokio::spawn(async move {
                if tokio::time::timeout(GOODBYE_WITHIN, gone).await.is_err() {
                    hang_up.hang_up();
                }
            });
        }
    }
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
