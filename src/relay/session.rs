//! One connection to NATS, and what is published on it: pipelined, each message on the condition that the one before it is the stream's last.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::{
    self, Context, ErrorCode,
    context::{ContextBuilder, PublishAckFuture, PublishError, PublishErrorKind},
    message::PublishMessage,
    publish::PublishAck,
};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesOrdered};
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::{
    Broken, Ended, Told, Wrong,
    config::{Heard, RelayConfig, with_causes},
    stream::{self, Place, message_id, sequence_kept},
    tell_lag, tell_relayed,
};
use crate::{
    app::App,
    feed::{Claim, Filter, Frame, Kept, RENEW_EVERY},
    store::{Portion, StoreError, StoredEvent},
};

/// Events on their way: enough that a round trip costs nothing, few enough that what is sent in vain after a failure is little.
const WINDOW_EVENTS: usize = 256;
/// Bytes on their way. An event has 64 KiB at most before its personal data is opened, so some always fit.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// What is read and written at a time: while one of these events is on its way, all are in memory.
const CHUNK: Portion = Portion { events: 250, bytes: 1024 * 1024 };
/// How long an answer of NATS may take. A cluster chooses a new leader in less.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// How often the place is stored while events are relayed.
const STORE_EVERY: Duration = Duration::from_secs(1);
/// How often in a row the stream may be looked at anew without that one event gets into it.
const MISSES_MAX: u32 = 5;
/// The pause before it is: where a cluster chooses a leader, it takes a moment.
const MISS_PAUSE: Duration = Duration::from_millis(250);

/// An event ready to be sent.
struct Message {
    event: Arc<StoredEvent>,
    body: Bytes,
}

/// What became of a message.
struct Answer {
    position: i64,
    sequence: u64,
    bytes: usize,
    result: Result<PublishAck, PublishError>,
}

/// The window was dropped: how far the stream is has to be looked at anew.
struct Missed {
    why: String,
    /// What it means when it stays so.
    meaning: Option<Wrong>,
}

/// Relays events over one connection until it breaks.
pub(super) async fn relay(app: &App, relay: &RelayConfig, claim: &Claim, told: &mut Told) -> Ended {
    let (heard, mut hearing) = watch::channel(Heard::default());
    let client = relay.connect(heard).await.map_err(Broken::Away)?;
    let context = ContextBuilder::new().timeout(ANSWER_PATIENCE).ack_timeout(ANSWER_PATIENCE).build(client);
    let mut session = Session { app, relay, claim, told, context, kept: -1, window: Window::default(), misses: 0, held_at: Instant::now() };
    let ended = tokio::select! {
        ended = session.go_on() => ended,
        // The library would connect again by itself, and send what is on its way there: that would be refused, for what is missing before it.
        _ = hearing.wait_for(|heard| heard.is_gone) => Err(Broken::Away("the connection was lost".to_owned())),
    };
    // Whoever may not publish is told so beside the answers, which only don't come.
    let said = hearing.borrow().said.clone();
    match (ended, said) {
        (Err(Broken::Away(why)), Some(said)) => Err(Broken::Away(format!("{why}; the server said: {said}"))),
        (ended, _) => ended,
    }
}

struct Session<'a> {
    app: &'a App,
    relay: &'a RelayConfig,
    claim: &'a Claim,
    told: &'a mut Told,
    context: Context,
    /// The place in the log that is stored.
    kept: i64,
    window: Window,
    /// How often in a row no event got there.
    misses: u32,
    /// When the place was last stored or taken.
    held_at: Instant,
}

/// What is on its way.
struct Window {
    /// How far the stream was when it was looked at, and how far it is known to be.
    begun: Place,
    done: Place,
    /// The last event that was read, and the last one that was sent, with its sequence to be.
    read: i64,
    sent: Place,
    /// Events read that are not sent.
    ahead: VecDeque<Message>,
    answers: FuturesOrdered<BoxFuture<'static, Answer>>,
    bytes: usize,
    /// How many may be on their way: after a failure one at first, so that one at least gets there whatever is between us.
    room: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self::new(Place { position: -1, sequence: 0 }, WINDOW_EVENTS)
    }
}

impl Window {
    fn new(place: Place, room: usize) -> Self {
        Self { begun: place, done: place, read: place.position, sent: place, ahead: VecDeque::new(), answers: FuturesOrdered::new(), bytes: 0, room }
    }

    fn is_full(&self) -> bool {
        self.answers.len() >= self.room || self.bytes >= WINDOW_BYTES
    }
}

impl Session<'_> {
    async fn go_on(&mut self) -> Ended {
        let mut is_first = true;
        loop {
            let stream = stream::open(&self.context, self.relay).await?;
            let place = stream::place(self.app, self.relay, self.claim, &stream).await?;
            if !stream::keep(self.claim, self.relay, place).await? {
                return Err(Broken::Lost);
            }
            if place.position + 1 >= self.app.ledger.head_position() {
                self.told.works(self.relay, place.position);
            }
            if !is_first {
                // What was on its way when the window was dropped, and got there.
                tell_relayed(place.position - self.window.done.position);
            }
            if place.position > self.window.done.position {
                self.misses = 0;
            }
            (self.kept, self.held_at) = (place.position, Instant::now());
            self.window = Window::new(place, if is_first { WINDOW_EVENTS } else { 1 });
            is_first = false;
            let missed = match self.publish().await {
                Ok(missed) => missed,
                Err(broken) => {
                    if matches!(broken, Broken::Wrong(_)) {
                        // What is before the event that can't be sent still gets there.
                        while let Some(answer) = self.window.answers.next().await {
                            if self.take_in(answer)?.is_some() {
                                break;
                            }
                        }
                    }
                    return Err(broken);
                }
            };
            tracing::debug!(why = missed.why, after = self.window.done.position, "the stream is looked at anew");
            self.misses += 1;
            if self.misses > MISSES_MAX {
                return Err(missed.meaning.map_or(Broken::Away(missed.why), Broken::Wrong));
            }
            // All behind the one that failed fail too; those that don't are seen in the stream.
            while self.window.answers.next().await.is_some() {}
            // Whatever got there may be gone from the stream when it is looked at.
            self.store().await?;
            tokio::time::sleep(MISS_PAUSE).await;
        }
    }

    /// Publishes events until one doesn't get there.
    async fn publish(&mut self) -> Result<Missed, Broken> {
        let mut moved = self.app.feed.moved();
        let mut stored_at = Instant::now();
        loop {
            moved.mark_unchanged();
            let has_more = self.read_on().await?;
            if let Some(missed) = self.send().await? {
                return Ok(missed);
            }
            let store_by = stored_at + if self.window.done.position > self.kept { STORE_EVERY } else { RENEW_EVERY };
            if store_by <= Instant::now() {
                stored_at = Instant::now();
                self.store().await?;
            } else if !has_more || self.window.is_full() {
                tokio::select! {
                    Some(answer) = self.window.answers.next() => if let Some(missed) = self.take_in(answer)? {
                        return Ok(missed);
                    },
                    changed = moved.changed(), if self.window.ahead.is_empty() => if changed.is_err() {
                        return Err(Broken::Lost);
                    },
                    () = sleep_until(store_by.into()) => {}
                }
            }
            while let Some(Some(answer)) = self.window.answers.next().now_or_never() {
                if let Some(missed) = self.take_in(answer)? {
                    return Ok(missed);
                }
            }
            tell_lag(self.app.ledger.head_position() - 1 - self.window.done.position);
        }
    }

    /// Reads the next events. `false` where there are none, or what was read is not sent yet.
    async fn read_on(&mut self) -> Result<bool, Broken> {
        let known = self.app.ledger.head_position();
        // This server may not have heard yet of what another one appended and relayed.
        if self.window.read >= known && self.window.read >= self.app.feed.next_position().await? {
            return Err(Broken::Away(format!("event {} is gone from the log: an old copy of it was put back", self.window.read)));
        }
        if !self.window.ahead.is_empty() || self.window.read + 1 >= known {
            return Ok(false);
        }
        let mut events = self.app.feed.after(self.window.read, CHUNK).await?;
        if events.is_empty() {
            return Ok(false);
        }
        let mut bodies = Vec::new();
        let written = self.app.feed.write_json(&events, &Filter::default(), events.len(), (self.relay.sight, Frame::Line), &mut bodies).await?;
        events.retain(|event| event.position <= written.position);
        let (bodies, mut from) = (Bytes::from(bodies), 0);
        for event in events {
            let end = bodies[from..].iter().position(|byte| *byte == b'\n').map_or(bodies.len(), |length| from + length);
            self.window.read = event.position;
            self.window.ahead.push_back(Message { event, body: bodies.slice(from..end) });
            from = (end + 1).min(bodies.len());
        }
        Ok(true)
    }

    /// Sends what the window has room for.
    async fn send(&mut self) -> Result<Option<Missed>, Broken> {
        while !self.window.is_full()
            && let Some(message) = self.window.ahead.pop_front()
        {
            let Message { event, body } = message;
            let (position, bytes, before) = (event.position, body.len(), self.window.sent.sequence);
            let subject = format!("{}.{}.{}.{}", self.relay.subject, event.aggregate_type, event.aggregate_id, event.event_type);
            let (ledger, last) = (self.app.feed.ledger_id(), self.window.sent.position);
            let mut publish = PublishMessage::build()
                .message_id(message_id(ledger, position))
                .expected_stream(&self.relay.stream)
                .expected_last_sequence(before)
                .header("Content-Type", "application/cloudevents+json")
                .payload(body);
            // What the stream was seen to end with is known by its sequence: a server that was started again may have forgotten its id. Behind
            // that the id counts too, or somebody else's message would stand for the one of ours that it made be refused.
            if self.window.sent != self.window.begun {
                publish = publish.expected_last_message_id(message_id(ledger, last));
            }
            match self.context.send_publish(subject, publish).await {
                Ok(answer) => self.window.answers.push_back(waited_for(answer, position, before + 1, bytes)),
                Err(error) => return self.failed(position, &error).map(Some),
            }
            self.window.sent = Place { position, sequence: before + 1 };
            self.window.bytes += bytes;
        }
        Ok(None)
    }

    /// Notes what became of the first message on its way.
    fn take_in(&mut self, answer: Answer) -> Result<Option<Missed>, Broken> {
        let Answer { position, sequence, bytes, result } = answer;
        self.window.bytes = self.window.bytes.saturating_sub(bytes);
        match result {
            // A duplicate at its own place is one that got there although its acknowledgement did not.
            Ok(ack) if ack.sequence == sequence => {
                self.window.done = Place { position, sequence };
                self.window.room = (self.window.room + 1).min(WINDOW_EVENTS);
                self.misses = 0;
                tell_relayed(1);
                self.told.works(self.relay, position);
                Ok(None)
            }
            Ok(ack) => {
                let why = format!("event {position} is message {} of the stream, not {sequence}", ack.sequence);
                Ok(Some(Missed { why, meaning: None }))
            }
            Err(error) => self.failed(position, &error).map(Some),
        }
    }

    /// Whether a failure may go by when the stream is looked at anew.
    fn failed(&self, position: i64, error: &PublishError) -> Result<Missed, Broken> {
        if error.kind() == PublishErrorKind::MaxPayloadExceeded {
            return Err(Wrong::TooLarge { position, problem: with_causes(error) }.into());
        }
        // A full disk or a stream's limits; what is for a moment only has 503.
        let refused = jetstream_error(error).filter(|refused| refused.code() != 503 || refused.error_code() == ErrorCode::STREAM_STORE_FAILED);
        let meaning = refused.map(|refused| Wrong::Refused { stream: self.relay.stream.clone(), position, problem: refused.to_string() });
        Ok(Missed { why: format!("event {position}: {}", with_causes(error)), meaning })
    }

    /// Stores the place, and holds it longer.
    async fn store(&mut self) -> Result<(), Broken> {
        let (done, of_stream) = (self.window.done, sequence_kept(&self.relay.stream, self.window.done.sequence));
        match self.claim.keep(done.position, vec![of_stream], &mut self.held_at).await {
            Kept::Stored => {
                self.kept = done.position;
                Ok(())
            }
            Kept::Unstored(error) => {
                tracing::debug!(%error, "how far the relay to NATS is can't be stored yet");
                Ok(())
            }
            Kept::Lost(None) => Err(Broken::Lost),
            Kept::Lost(Some(error)) => Err(StoreError::into(error)),
        }
    }
}

fn jetstream_error(error: &PublishError) -> Option<&jetstream::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

fn waited_for(answer: PublishAckFuture, position: i64, sequence: u64, bytes: usize) -> BoxFuture<'static, Answer> {
    answer.into_future().map(move |result| Answer { position, sequence, bytes, result }).boxed()
}
