//! Reading a request's body: bounded in size, in time, and in what all requests together hold in memory.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    codes::Code,
    envelope::{Answer, Answered},
};

/// Largest body of most operations: a hundred times what their parameters can take.
pub const BODY_MAX: usize = 1024 * 1024;
/// Largest body of create-license-keys: 10,000 keys of 255 characters and their quotes, some of them in four bytes.
pub const LARGE_BODY_MAX: usize = 8 * 1024 * 1024;

/// Until here a body needs no permit. Ordinary requests are a few hundred bytes.
const SMALL_BODY: usize = 64 * 1024;
/// Larger bodies in memory at the same time: together at most 256 MiB.
static LARGE_BODIES: Semaphore = Semaphore::const_new(32);
/// How long a body waits for such a permit.
const PERMIT_WITHIN: Duration = Duration::from_secs(10);
/// How long a body may take to arrive: 8 MiB at 2.2 Mbit/s.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// How much of a body that nobody wants is read before the answer, and for how long. A client that is still sending when
/// the connection closes would lose the answer.
const DISCARD_MAX: usize = 16 * 1024 * 1024;
const DISCARD_WITHIN: Duration = Duration::from_secs(10);

/// A body in memory. While it is held, so is its permit.
#[derive(Default)]
pub struct Received {
    pub bytes: Bytes,
    _permit: Option<SemaphorePermit<'static>>,
}

enum Trouble {
    TooLarge,
    Broken,
    /// Too many large bodies are in memory.
    Busy,
}

/// Reads a whole body.
///
/// # Errors
/// When it is larger than `max` bytes, broken, or too slow.
pub async fn read(mut body: Body, headers: &HeaderMap, max: usize) -> Answered<Received> {
    if body.is_end_stream() {
        return Ok(Received::default());
    }
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let trouble = if announced > max {
        Trouble::TooLarge
    } else {
        match tokio::time::timeout(BODY_WITHIN, collect(&mut body, max)).await {
            Ok(Ok(received)) => return Ok(received),
            Ok(Err(trouble)) => trouble,
            Err(_) => return Err(Answer::bad_request("The body did not arrive in time.")),
        }
    };
    match trouble {
        Trouble::TooLarge => {
            discard(body, headers).await;
            Err(Answer::error(Code::PayloadTooLarge, format!("The body must be at most {max} bytes.")))
        }
        Trouble::Broken => Err(Answer::bad_request("The body ended early or is broken.")),
        Trouble::Busy => {
            discard(body, headers).await;
            Err(Answer::unavailable("Too many large requests are in progress; nothing was done."))
        }
    }
}

async fn collect(body: &mut Body, max: usize) -> Result<Received, Trouble> {
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    let mut total = 0;
    let mut permit = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Trouble::Broken)?.into_data() else { continue };
        total += data.len();
        if total > max {
            return Err(Trouble::TooLarge);
        }
        if total > SMALL_BODY && permit.is_none() {
            let waited = tokio::time::timeout(PERMIT_WITHIN, LARGE_BODIES.acquire()).await;
            permit = Some(waited.ok().and_then(Result::ok).ok_or(Trouble::Busy)?);
        }
        // Most bodies are one piece, which needs no copy.
        if total == data.len() {
            first = data;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&data);
        }
    }
    Ok(Received { bytes: if joined.is_empty() { first } else { joined.freeze() }, _permit: permit })
}

/// A body that is lent to a reader which may leave off: what it leaves is read on before the answer, or the client, still sending,
/// might never see it.
pub struct Lent(Arc<Mutex<BodyDataStream>>);

impl Lent {
    #[must_use]
    pub fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(body.into_data_stream())))
    }

    /// What the reader takes.
    pub fn stream(&self) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send + 'static {
        let body = Arc::clone(&self.0);
        futures::stream::poll_fn(move |context| body.lock().unwrap_or_else(PoisonError::into_inner).poll_next_unpin(context))
    }

    /// Reads on where the reader left off.
    pub async fn discard(self, headers: &HeaderMap) {
        discard(Body::from_stream(self.stream()), headers).await;
    }
}

/// Reads on without keeping anything, within limits.
pub async fn discard(mut body: Body, headers: &HeaderMap) {
    // Who waits to be told to go on hasn't sent anything.
    if body.is_end_stream() || headers.contains_key(header::EXPECT) {
        return;
    }
    let reading = async {
        let mut total = 0;
        while let Some(Ok(frame)) = body.frame().await {
            total += frame.data_ref().map_or(0, Bytes::len);
            if total > DISCARD_MAX {
                break;
            }
        }
    };
    // What comes later is the connection's end.
    let _ = tokio::time::timeout(DISCARD_WITHIN, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        let headers = HeaderMap::new();
        assert_eq!(read(Body::empty(), &headers, 3).await.unwrap().bytes, "");
        assert_eq!(read(Body::from("abc"), &headers, 3).await.unwrap().bytes, "abc");
        assert_eq!(read(Body::from("abcd"), &headers, 3).await.err().unwrap().code, Code::PayloadTooLarge);
        let pieces = |texts: &[&'static str]| {
            let texts: Vec<_> = texts.iter().map(|text| Ok::<_, std::io::Error>(Bytes::from_static(text.as_bytes()))).collect();
            Body::from_stream(futures::stream::iter(texts))
        };
        assert_eq!(read(pieces(&["", "ab", "", "c"]), &headers, 3).await.unwrap().bytes, "abc");
        assert_eq!(read(pieces(&["ab", "cd"]), &headers, 3).await.err().unwrap().code, Code::PayloadTooLarge);
        let broken = Body::from_stream(futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]));
        assert_eq!(read(broken, &headers, 3).await.err().unwrap().code, Code::BadRequest);
    }
}
