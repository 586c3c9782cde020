//! `GET /feed/v1/events`: a page, a range, or a stream of events.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::StreamExt as _;
use keyledger_events::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use utoipa::openapi::{RefOr, Schema};
use uuid::Uuid;

use super::{
    READ,
    request::{FeedRequest, Format},
    sending::{Ended, Sender, Sending, sending},
    sight, still_permitted, to_follow,
};
use crate::{
    app::App,
    clock::later,
    feed::{Filter, Form, Frame, Range, Sight},
    http::{
        admin::{AdminCall, Problem, Replied, Reply},
        doc::{Doc, Given, Parameter, Place, Shape},
        envelope,
        turns::turn,
    },
    store::{Portion, StoredEvent},
};

/// Events that one page looks at: where a filter takes none of them, the page is empty and says how far it has come.
const PAGE_LOOKS_AT: i64 = 20_000;
/// Bytes after which a page is full.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Events looked at between two marks of where a stream has come to.
const MARK_EVERY: i64 = 10_000;
/// What is read at a time, for pages and streams.
const CHUNK: Portion = Portion { events: 250, bytes: 256 * 1024 };
/// Ranges at the same time: each reads ahead, a few megabytes usually, and some tens at most.
static RANGES: Semaphore = Semaphore::const_new(32);
/// Of those, tables: each has some tens of megabytes in memory.
static TABLES: Semaphore = Semaphore::const_new(4);
/// How long a range waits for one of them.
const TURN_WITHIN: Duration = Duration::from_secs(5);

/// How far the clocks of several servers may be apart: what lies so far back, no event that comes can be of.
const CLOCKS_APART: Duration = Duration::from_secs(60);

/// How far the answer has come: the position to go on after.
const POSITION: HeaderName = HeaderName::from_static("feed-position");
const BATCH: HeaderValue = HeaderValue::from_static("application/cloudevents-batch+json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const PARQUET: HeaderValue = HeaderValue::from_static("application/vnd.apache.parquet");

pub const EVENTS: Doc = Doc::new("Events, in order")
    .details(
        "CloudEvents 1.0; an event's id is its position in the log, which has no gaps. As application/cloudevents-batch+json a page, which waits \
         for events where timeout says so; as text/event-stream a stream that goes on; as application/x-ndjson or \
         application/vnd.apache.parquet a range up to the present end. \
         The header Feed-Position says how far a page has come, with a filter also where it holds no event: go on after it. License keys are \
         masked without feed:license-keys, personal data is left sealed without feed:personal-data.",
    )
    .parameters(&[
        Parameter::optional("Last-Event-ID", Shape::Text, "As after, and before it: what an EventSource sends when it comes again.")
            .at(Place::Header),
        Parameter::optional("Accept", Shape::Text, "In which form the events are wanted.").at(Place::Header),
    ])
    .given(&[
        Given::new(200, "Events.", "application/cloudevents-batch+json", Shape::List(&Shape::Any)),
        Given::new(200, "Events, one message each.", "text/event-stream", Shape::Text),
        Given::new(200, "Events, one line each.", "application/x-ndjson", Shape::Text),
        Given::new(200, "Events as a table.", "application/vnd.apache.parquet", Shape::Binary),
        Given::new(204, "A stream that has come to its end: an EventSource doesn't come again.", "", Shape::Any),
    ])
    .refusals(&[406, 409, 503]);

/// 200 with events; 204 where there can be none any more.
pub struct Events {
    status: StatusCode,
    content_type: HeaderValue,
    position: Option<i64>,
    body: Body,
}

impl Reply for Events {
    const STATUS: StatusCode = StatusCode::OK;

    fn schema(_: &mut Vec<(String, RefOr<Schema>)>) -> Option<RefOr<Schema>> {
        None
    }

    fn into_response(self, request_id: Uuid) -> Response {
        let is_stream = self.content_type == EVENT_STREAM;
        let mut response = envelope::plain(self.status, self.content_type, self.body, request_id);
        if let Some(position) = self.position {
            response.headers_mut().insert(POSITION, position.into());
        }
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
        if is_stream {
            // Proxies that would keep messages back know this.
            response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
        }
        response
    }
}

/// Which events, as pages and streams go through them.
struct Following {
    filter: Filter,
    sight: Sight,
    /// The last event looked at.
    position: i64,
    /// The last event that is wanted.
    through: i64,
    /// How many more.
    room: i64,
}

impl Following {
    async fn new(call: &AdminCall, request: &FeedRequest) -> Replied<Self> {
        let feed = &call.app.feed;
        let mut position = request.after.unwrap_or(-1);
        let last = feed.next_position().await? - 1;
        if position > last {
            return Err(beyond(position, last));
        }
        if let Some(from) = request.filter.from {
            position = position.max(feed.last_before(from).await?);
        }
        let mut through = request.through.unwrap_or(i64::MAX);
        // A range ends with what is there; what goes on, where nothing more can be of that time.
        let is_over = |to: Timestamp| matches!(request.format, Format::Range(_)) || later(to, CLOCKS_APART) < call.app.clock.now();
        if let Some(to) = request.filter.to.filter(|to| is_over(*to)) {
            through = through.min(feed.last_by(to).await?);
        }
        Ok(Self { sight: sight(call).await?, filter: request.filter.clone(), position, through, room: request.limit.unwrap_or(i64::MAX) })
    }

    fn room(&self) -> usize {
        usize::try_from(self.room).unwrap_or(usize::MAX)
    }

    fn is_at_end(&self) -> bool {
        self.room <= 0 || self.position >= self.through
    }

    /// Writes of what comes next, of so many events at most, what is wanted. `false` where there is nothing yet.
    async fn advance(&mut self, app: &App, chunk: Portion, frame: Frame, out: &mut Vec<u8>) -> Replied<bool> {
        let chunk = chunk.at_most(self.through.saturating_sub(self.position));
        let known = app.ledger.head_position();
        if self.position >= known {
            return Err(beyond(self.position, known - 1));
        }
        if self.position + 1 == known {
            return Ok(false);
        }
        let events = app.feed.after(self.position, chunk).await?;
        self.take(app, &events, frame, out).await
    }

    async fn take(&mut self, app: &App, events: &[Arc<StoredEvent>], frame: Frame, out: &mut Vec<u8>) -> Replied<bool> {
        if events.is_empty() {
            return Ok(false);
        }
        let written = app.feed.write_json(events, &self.filter, self.room(), (self.sight, frame), out).await?;
        self.position = written.position;
        self.room -= i64::try_from(written.events).unwrap_or(i64::MAX);
        // Those behind it were not looked at: the room was full, or one is damaged.
        let last = events.iter().rfind(|event| event.position <= self.position);
        if last.zip(self.filter.to).is_some_and(|(last, to)| last.recorded_at > to) {
            self.through = self.position;
        }
        Ok(true)
    }
}

fn beyond(position: i64, last: i64) -> Problem {
    Problem::conflict(format!(
        "There is no event {position}: the last one is {last}. Who was told of it follows another ledger, or an old copy of this one was put back."
    ))
}

pub async fn events(call: AdminCall, request: FeedRequest) -> Replied<Events> {
    let range = Following::new(&call, &request).await?;
    match request.format {
        Format::Batch => page(&call, range, request.timeout).await,
        Format::EventStream => stream(call, range),
        Format::Range(form) => finite(call, range, form, &request).await,
    }
}

async fn page(call: &AdminCall, mut range: Following, timeout: Duration) -> Replied<Events> {
    let app = &call.app;
    let deadline = Instant::now() + timeout;
    let (begin, mut out) = (range.position, vec![b'[']);
    let mut moved = app.feed.moved();
    let mut waiting = None;
    loop {
        moved.mark_unchanged();
        while out.len() < PAGE_BYTES && range.position - begin < PAGE_LOOKS_AT && !range.is_at_end() {
            // What a filter leaves out is not worth a read of its own.
            let chunk = if range.filter == Filter::default() { CHUNK.at_most(range.room) } else { CHUNK };
            match range.advance(app, chunk, Frame::Element, &mut out).await {
                Ok(true) => {}
                Ok(false) => break,
                // What is before it can be told; who asks for more is told why there is none.
                Err(_) if out.len() > 1 => break,
                Err(problem) => return Err(problem),
            }
        }
        let is_done = out.len() > 1 || range.position - begin >= PAGE_LOOKS_AT || range.is_at_end();
        if is_done || timeout.is_zero() {
            break;
        }
        if waiting.is_none() {
            waiting = Some(to_follow()?);
        }
        let waited = tokio::select! {
            waited = timeout_at(deadline, moved.changed()) => waited.is_ok(),
            () = app.stopped() => false,
        };
        if !waited {
            break;
        }
        still_permitted(call, READ).await?;
    }
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.push(b']');
    Ok(Events { status: Events::STATUS, content_type: BATCH, position: Some(range.position), body: out.into() })
}

fn begin(call: AdminCall) -> Replied<(Sender, Sending)> {
    Ok(sending(to_follow()?, call))
}

async fn finite(call: AdminCall, following: Following, form: Form, request: &FeedRequest) -> Replied<Events> {
    let table = match form {
        Form::Lines => None,
        Form::Parquet => Some(turn(&TABLES, TURN_WITHIN, "Too many tables are made at the moment.").await?),
    };
    let turn = turn(&RANGES, TURN_WITHIN, "Too many ranges are read at the moment.").await?;
    let (sender, body) = begin(call)?;
    // Others wait for what it holds.
    let mut sender = sender.paced();
    let app = sender.app();
    let through = following.through.min(app.ledger.head_position() - 1);
    let (after, room) = (following.position, following.room());
    let mut pieces = app.feed.range(Range { filter: following.filter, sight: following.sight, after, through, room }, form)?;
    tokio::spawn(async move {
        let _turns = (turn, table);
        loop {
            // Where a filter takes nothing, nothing is sent for long: who went is noticed all the same.
            let piece = tokio::select! {
                piece = pieces.next() => piece,
                () = sender.gone() => return sender.end(Ended::Gone),
                () = app.stopped() => return sender.end(Ended::Stopping),
            };
            let sent = match piece {
                Some(Ok(piece)) => sender.send(piece.bytes).await,
                Some(Err(error)) => Err(Ended::Failed(error.into())),
                None => return sender.complete(),
            };
            if let Err(ended) = sent {
                // The body is broken off, so that nobody takes a part for the whole.
                return sender.end(ended);
            }
        }
    });
    let content_type = match form {
        Form::Lines => LINES,
        Form::Parquet => PARQUET,
    };
    // With a limit it ends nobody knows where yet.
    let position = request.limit.is_none().then_some(through.max(after));
    Ok(Events { status: Events::STATUS, content_type, position, body: body.into_body() })
}

fn stream(call: AdminCall, range: Following) -> Replied<Events> {
    let position = Some(range.position);
    if range.is_at_end() {
        return Ok(Events { status: StatusCode::NO_CONTENT, content_type: EVENT_STREAM, position, body: Body::empty() });
    }
    let (mut sender, body) = begin(call)?;
    tokio::spawn(async move {
        let ended = follow(range, &mut sender).await;
        sender.say_goodbye(&ended);
    });
    Ok(Events { status: Events::STATUS, content_type: EVENT_STREAM, position, body: body.into_body() })
}

/// Sends what comes, until it ends; why it does.
async fn follow(mut range: Following, sender: &mut Sender) -> Ended {
    let app = sender.app();
    let (mut moved, mut marked) = (app.feed.moved(), range.position);
    // The first bytes tell the client that the stream is there.
    let mut out = b"retry: 1000\n\n".to_vec();
    loop {
        moved.mark_unchanged();
        loop {
            if range.is_at_end() {
                mark(range.position, &mut out);
                let sent = sender.send(out).await;
                return sent.err().unwrap_or(Ended::Complete);
            }
            let before = out.len();
            let has_more = match range.advance(&app, CHUNK, Frame::Message, &mut out).await {
                Ok(has_more) => has_more,
                Err(problem) => return Ended::Failed(problem),
            };
            if out.len() > before {
                marked = range.position;
            } else if range.position - marked >= MARK_EVERY {
                mark(range.position, &mut out);
                marked = range.position;
            }
            // Also while there is much to send, or to leave out.
            if Instant::now() >= sender.beat_at() {
                out.extend_from_slice(b": heart-beat\n");
                mark(range.position, &mut out);
                marked = range.position;
            }
            if !out.is_empty()
                && let Err(ended) = sender.send(std::mem::take(&mut out)).await
            {
                return ended;
            }
            if app.is_stopping() {
                return Ended::Stopping;
            }
            if !has_more {
                break;
            }
        }
        tokio::select! {
            changed = moved.changed() => if changed.is_err() {
                return Ended::Stopping;
            },
            () = tokio::time::sleep_until(sender.beat_at()) => {}
            () = app.stopped() => return Ended::Stopping,
            () = sender.gone() => return Ended::Gone,
        }
    }
}

/// Where the stream has come to: a message without data sets what the client sends as `Last-Event-ID`, and is shown to nobody.
fn mark(position: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("id: {position}\n\n").as_bytes());
}
