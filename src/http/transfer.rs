//! Handing out the file of a release: whole or one range of it, with the headers that go with it. Pieces are passed on as they are
//! read, so a transfer needs as little memory as a slow client takes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use keyledger_events::release::Release;
use tokio::sync::mpsc;

use crate::files::{FilesError, STALLED_AFTER};

/// Pieces between the store and the connection. One is written while the next is read.
const PIECES_AHEAD: usize = 1;

/// What of a file is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Whole,
    Range(Range<u64>),
    /// None of the file's bytes.
    Unsatisfiable,
}

impl Part {
    /// Reads `Range` and `If-Range`. Several ranges at once, and what is no range of bytes, is as good as none.
    #[must_use]
    pub fn asked_for(headers: &HeaderMap, release: &Release) -> Self {
        let size = size(release);
        let if_range = headers.get(header::IF_RANGE).map(|value| value.as_bytes());
        if if_range.is_some_and(|value| value != etag(release).as_bytes()) {
            return Self::Whole;
        }
        let mut values = headers.get_all(header::RANGE).iter();
        match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
            (Some(value), None) => Self::read(value, size),
            _ => Self::Whole,
        }
    }

    fn read(value: &str, size: u64) -> Self {
        let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let Some((unit, set)) = value.split_once('=') else { return Self::Whole };
        let Some((first, last)) = set.trim().split_once('-') else { return Self::Whole };
        if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
            return Self::Whole;
        }
        let range = match (first, last) {
            ("", last) => match number(last) {
                Some(count) => size.saturating_sub(count)..size,
                None => return Self::Whole,
            },
            (first, "") => match number(first) {
                Some(first) => first..size,
                None => return Self::Whole,
            },
            (first, last) => match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => first..size.min(last.saturating_add(1)),
                _ => return Self::Whole,
            },
        };
        if range.start < range.end { Self::Range(range) } else { Self::Unsatisfiable }
    }

    /// The bytes it is, as the file's first and the one after its last.
    #[must_use]
    pub fn bytes(&self, release: &Release) -> Range<u64> {
        match self {
            Self::Whole => 0..size(release),
            Self::Range(range) => range.clone(),
            Self::Unsatisfiable => 0..0,
        }
    }

    /// Whether a transfer of it begins the file.
    #[must_use]
    pub fn is_beginning(&self) -> bool {
        match self {
            Self::Whole => true,
            Self::Range(range) => range.start == 0,
            Self::Unsatisfiable => false,
        }
    }
}

fn size(release: &Release) -> u64 {
    u64::try_from(release.size).unwrap_or_default()
}

fn etag(release: &Release) -> String {
    format!("\"{}\"", release.sha256)
}

/// Whether the client has the file already.
#[must_use]
pub fn is_known(headers: &HeaderMap, release: &Release) -> bool {
    let etag = etag(release);
    let mut given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    given.any(|tag| tag.trim().trim_start_matches("W/") == etag)
}

/// What names a file and says what it is: the headers of every answer about it.
fn name(headers: &mut HeaderMap, release: &Release) {
    let content_type = HeaderValue::from_str(&release.content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_TYPE, content_type);
    // Never shown inside a page, whatever it claims to be.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(&disposition(&release.file_name)) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    if let Ok(value) = HeaderValue::from_str(&etag(release)) {
        headers.insert(header::ETAG, value);
    }
}

/// RFC 6266: the name in ASCII, and where that is not all of it, in UTF-8 too.
fn disposition(file_name: &str) -> String {
    let plain: String = file_name.chars().map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ' { c } else { '_' }).collect();
    if plain == file_name {
        return format!("attachment; filename=\"{plain}\"");
    }
    let mut encoded = String::new();
    for byte in file_name.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

/// The answer that carries a part of a file, or would.
#[must_use]
pub fn response(release: &Release, part: &Part, body: Body) -> Response {
    let mut response = Response::new(body);
    let bytes = part.bytes(release);
    *response.status_mut() = match part {
        Part::Whole => StatusCode::OK,
        Part::Range(_) => StatusCode::PARTIAL_CONTENT,
        Part::Unsatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
    };
    let headers = response.headers_mut();
    let range = match part {
        Part::Whole => None,
        Part::Range(range) => Some(format!("bytes {}-{}/{}", range.start, range.end - 1, size(release))),
        Part::Unsatisfiable => Some(format!("bytes */{}", size(release))),
    };
    if *part != Part::Unsatisfiable {
        name(headers, release);
    }
    if let Some(range) = range.and_then(|text| HeaderValue::from_str(&text).ok()) {
        headers.insert(header::CONTENT_RANGE, range);
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.end - bytes.start));
    response
}

/// The answer to a client that has the file already.
#[must_use]
pub fn not_modified(release: &Release) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    name(response.headers_mut(), release);
    response
}

/// Why a transfer did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error("the store has fewer bytes than it said")]
    Short,
    #[error("nothing moved for {STALLED_AFTER:?}")]
    Stalled,
    #[error("the client is gone")]
    Gone,
}

/// A body, and the work that fills it: whoever runs that learns how the transfer ended.
pub fn body(content: BoxStream<'static, Result<Bytes, FilesError>>, length: u64) -> (Body, impl Future<Output = Result<(), Broken>> + Send) {
    let (sender, receiver) = mpsc::channel::<Bytes>(PIECES_AHEAD);
    let handed_over = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&handed_over);
    // The pieces' channel ends when the work does, also when that is given up: a body that is too short then is an error, so that
    // the connection is cut and the client sees it.
    let pieces = futures::stream::unfold((receiver, length, count), |(mut receiver, left, count)| async move {
        if left == 0 {
            return None;
        }
        match receiver.recv().await {
            Some(piece) => {
                let taken = piece.len() as u64;
                count.fetch_add(taken, Ordering::SeqCst);
                Some((Ok(piece), (receiver, left.saturating_sub(taken), count)))
            }
            None => Some((Err(Broken::Short), (receiver, 0, count))),
        }
    });
    let work = async move {
        let passed_on = pass_on(content, length, sender).await;
        // Whoever took the last piece need not ask for another.
        if handed_over.load(Ordering::SeqCst) == length { Ok(()) } else { passed_on.and(Err(Broken::Gone)) }
    };
    (Body::from_stream(pieces), work)
}

async fn pass_on(mut content: BoxStream<'static, Result<Bytes, FilesError>>, length: u64, sender: mpsc::Sender<Bytes>) -> Result<(), Broken> {
    let mut left = length;
    while left > 0 {
        let piece = tokio::select! {
            piece = tokio::time::timeout(STALLED_AFTER, content.next()) => piece.map_err(|_| Broken::Stalled)?.ok_or(Broken::Short)??,
            () = sender.closed() => return Err(Broken::Gone),
        };
        let piece = if piece.len() as u64 > left { piece.slice(..usize::try_from(left).unwrap_or(0)) } else { piece };
        left -= piece.len() as u64;
        let sent = tokio::time::timeout(STALLED_AFTER, sender.send(piece)).await;
        sent.map_err(|_| Broken::Stalled)?.map_err(|_| Broken::Gone)?;
    }
    // The channel has room again once the last piece was taken out of it.
    let taken = async {
        let permit = sender.reserve().await.map_err(|_| Broken::Gone)?;
        drop(permit);
        sender.closed().await;
        Ok(())
    };
    tokio::time::timeout(STALLED_AFTER, taken).await.map_err(|_| Broken::Stalled)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        Release { size: 10, sha256: "ab".into(), file_name: "doors.zip".into(), content_type: "application/zip".into(), ..Release::default() }
    }

    #[test]
    fn ranges_are_read_as_they_are_meant() {
        let read = |value: &str| Part::read(value, 10);
        for (value, range) in [("bytes=0-9", 0..10), ("bytes=2-4", 2..5), ("bytes=7-", 7..10), ("bytes=-3", 7..10), ("bytes=-30", 0..10)] {
            assert_eq!(read(value), Part::Range(range), "{value}");
        }
        assert_eq!(read("Bytes=5-99999999999999999"), Part::Range(5..10));
        for value in ["bytes=10-", "bytes=10-20", "bytes=-0"] {
            assert_eq!(read(value), Part::Unsatisfiable, "{value}");
        }
        for value in
            ["", "bytes", "bytes=", "bytes=-", "bytes=4-2", "bytes=0-1,3-4", "items=0-1", "bytes=a-b", "bytes=+1-2", "bytes=1-99999999999999999999"]
        {
            assert_eq!(read(value), Part::Whole, "{value}");
        }
        assert_eq!(Part::read("bytes=0-", 0), Part::Unsatisfiable);
    }

    #[test]
    fn a_range_of_another_file_is_the_whole_file() {
        let asked = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
            Part::asked_for(&headers, &release())
        };
        assert_eq!(asked(&[]), Part::Whole);
        assert_eq!(asked(&[("range", "bytes=1-2")]), Part::Range(1..3));
        assert_eq!(asked(&[("range", "bytes=1-2"), ("if-range", "\"ab\"")]), Part::Range(1..3));
        assert_eq!(asked(&[("range", "bytes=1-2"), ("if-range", "\"cd\"")]), Part::Whole);
        assert_eq!(asked(&[("range", "bytes=1-2"), ("if-range", "W/\"ab\"")]), Part::Whole);
    }

    #[test]
    fn a_name_stays_inside_its_quotes() {
        assert_eq!(disposition("doors 1.zip"), "attachment; filename=\"doors 1.zip\"");
        assert_eq!(disposition("a\"b.zip"), "attachment; filename=\"a_b.zip\"; filename*=UTF-8''a%22b.zip");
        assert_eq!(disposition("tür.zip"), "attachment; filename=\"t_r.zip\"; filename*=UTF-8''t%C3%BCr.zip");
    }

    async fn taken(content: Vec<Result<Bytes, FilesError>>, length: u64) -> (Result<Bytes, axum::Error>, Result<(), Broken>) {
        let (body, work) = body(futures::stream::iter(content).boxed(), length);
        tokio::join!(axum::body::to_bytes(body, 100), work)
    }

    #[tokio::test]
    async fn a_transfer_tells_how_it_ended() {
        let (bytes, ended) = taken(vec![Ok("ab".into()), Ok("cde".into())], 5).await;
        assert_eq!((bytes.unwrap().as_ref(), ended.is_ok()), (b"abcde".as_slice(), true));
        let (bytes, ended) = taken(vec![Ok("abcde".into())], 3).await;
        assert_eq!((bytes.unwrap().as_ref(), ended.is_ok()), (b"abc".as_slice(), true));
        let (bytes, ended) = taken(vec![Ok("ab".into())], 5).await;
        assert!(bytes.is_err() && matches!(ended, Err(Broken::Short)));
        let (bytes, ended) = taken(vec![Ok("ab".into()), Err(FilesError::Missing)], 5).await;
        assert!(bytes.is_err() && matches!(ended, Err(Broken::Files(_))));
        let (body, work) = body(futures::stream::iter([Ok("ab".into())]).boxed(), 2);
        drop(body);
        assert!(matches!(work.await, Err(Broken::Gone)));
    }
}
