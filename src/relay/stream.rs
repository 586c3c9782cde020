//! The stream that events are relayed to: made where there is none, and what its last message says of how far it has come.

use async_nats::jetstream::{
    Context, ErrorCode,
    context::{CreateStreamErrorKind, GetStreamErrorKind},
    stream::{Config, RawMessageErrorKind, Stream},
};
use keyledger_events::Timestamp;
use keyledger_projections::Value;
use serde::Deserialize;
use uuid::Uuid;

use super::{
    Broken, Wrong,
    config::{RelayConfig, with_causes},
};
use crate::{
    app::App,
    feed::Claim,
    store::{Portion, Statement, StoreError},
};

/// How long a server remembers ids of messages. The relay doesn't rely on it: it is for those who read the stream's settings.
const DUPLICATE_WINDOW: std::time::Duration = std::time::Duration::from_secs(2 * 60);
/// The header that says whose event a message is, and which.
pub(super) const ID_HEADER: &str = "Nats-Msg-Id";

const KEPT: &str = "SELECT name, position FROM consumer WHERE name IN ($1, $2)";
/// Beside the place in the log stands which message of the stream it is: as long as the stream has its last message, nobody asks.
const KEEP_SEQUENCE: &str = "INSERT INTO consumer (name, position, holder, held_until) VALUES ($1, $2, $3, $4) \
                             ON CONFLICT (name) DO UPDATE SET position = excluded.position, holder = excluded.holder";

/// Messages of others that are looked past for the last one of ours: a second or two, at each look where none of ours is among them.
const STRANGERS_MAX: u64 = 1_000;

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The last event that is in it; -1 where none is.
    pub position: i64,
    /// The sequence of its last message; 0 where it never had one.
    pub sequence: u64,
}

/// A stream whose messages can't be counted on: none comes so far.
const UNKNOWN: Place = Place { position: -1, sequence: u64::MAX };

/// The id of an event's message.
pub(super) fn message_id(ledger: Uuid, position: i64) -> String {
    format!("{ledger}:{position}")
}

/// Whose event a message is, and which; `None` where it is none.
fn parse_id(id: &str) -> Option<(Uuid, i64)> {
    let (ledger, position) = id.split_once(':')?;
    let position: i64 = position.parse().ok()?;
    let ledger = Uuid::parse_str(ledger).ok()?;
    (id == message_id(ledger, position) && position >= 0).then_some((ledger, position))
}

/// The member of a body that tells events at the same position apart.
#[derive(Deserialize)]
struct Body {
    eventid: Uuid,
}

/// Whether one of a stream's subjects takes all of ours: a word for each aggregate, its id and the type stand behind the beginning.
fn takes(filter: &str, beginning: &str) -> bool {
    let mut ours = beginning.split('.').chain(["*"; 3]);
    for word in filter.split('.') {
        let Some(our) = ours.next() else { return false };
        match word {
            ">" => return true,
            "*" => {}
            word if word == our => {}
            _ => return false,
        }
    }
    ours.next().is_none()
}

/// What keeps a stream from being relayed to.
fn unsuitable(config: &Config, relay: &RelayConfig) -> Option<String> {
    if config.mirror.is_some() {
        return Some("it is a mirror of another one, which takes no messages but that one's".to_owned());
    }
    if config.sources.as_ref().is_some_and(|sources| !sources.is_empty()) {
        return Some("it takes in other streams: its last message would not say how far the relay is".to_owned());
    }
    if config.sealed {
        return Some("it is sealed".to_owned());
    }
    if config.no_ack {
        return Some("it acknowledges nothing (no_ack)".to_owned());
    }
    if !config.subjects.iter().any(|filter| takes(filter, &relay.subject)) {
        return Some(format!("none of its subjects ({}) takes {}", config.subjects.join(", "), relay.subjects()));
    }
    None
}

/// The stream, made where there is none.
pub(super) async fn open(context: &Context, relay: &RelayConfig) -> Result<Stream, Broken> {
    let stream = match context.get_stream(&relay.stream).await {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => make(context, relay).await?,
            GetStreamErrorKind::JetStream(error) if is_switched_off(&error) => return Err(Wrong::NoJetStream(error.to_string()).into()),
            _ => return Err(Broken::Away(with_causes(&error))),
        },
    };
    match unsuitable(&stream.cached_info().config, relay) {
        None => Ok(stream),
        Some(problem) => Err(Wrong::Unsuitable { stream: relay.stream.clone(), problem }.into()),
    }
}

fn is_switched_off(error: &async_nats::jetstream::Error) -> bool {
    matches!(error.error_code(), ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT)
}

async fn make(context: &Context, relay: &RelayConfig) -> Result<Stream, Broken> {
    let config = Config {
        name: relay.stream.clone(),
        description: Some("The events of a keyledger ledger, in order".to_owned()),
        subjects: vec![relay.subjects()],
        num_replicas: relay.replicas,
        duplicate_window: DUPLICATE_WINDOW,
        ..Config::default()
    };
    let made = context.create_stream(config).await;
    made.map_err(|error| match error.kind() {
        // The server understood, and will say the same tomorrow.
        CreateStreamErrorKind::JetStream(refused) if refused.code() < 500 || refused.error_code() == ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => {
            Wrong::NotMade { stream: relay.stream.clone(), problem: refused.to_string() }.into()
        }
        _ => Broken::Away(format!("the stream {} can't be made: {}", relay.stream, with_causes(&error))),
    })
}

/// What is remembered of a stream's place beside the place itself.
pub(super) fn sequence_kept(stream: &str, sequence: u64) -> Statement {
    let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
    Statement::new(KEEP_SEQUENCE, vec![sequence_name(stream).as_str().into(), sequence.into(), Value::Uuid(Uuid::nil()), Value::Time(Timestamp(0))])
}

fn sequence_name(stream: &str) -> String {
    format!("{}/sequence", super::place_name(stream))
}

/// The place that was kept: the last event, and the message that it was; `None` where nothing was ever relayed.
async fn kept(app: &App, stream: &str) -> Result<Option<(i64, u64)>, StoreError> {
    let (place, sequence) = (super::place_name(stream), sequence_name(stream));
    let rows = app.feed.store().query(KEPT, &[place.as_str().into(), sequence.as_str().into()]).await?;
    let of = |wanted: &str| {
        rows.iter().find_map(|row| match row.as_slice() {
            [Value::Text(name), Value::Int(position)] if name == wanted => Some(*position),
            _ => None,
        })
    };
    Ok(of(&place).zip(of(&sequence).and_then(|sequence| u64::try_from(sequence).ok())))
}

/// Notes what a message that is not ours stands behind, so that who counts when it is gone counts right.
async fn count_stranger(app: &App, relay: &RelayConfig, claim: &Claim, stream: &Stream, sequence: u64) -> Result<(), Broken> {
    let Some((kept_position, kept_sequence)) = kept(app, &relay.stream).await? else { return Ok(()) };
    let own = app.feed.ledger_id();
    for before in (sequence.saturating_sub(STRANGERS_MAX)..=sequence).rev().filter(|before| *before > 0) {
        // One that is worked off or aged out, or was noted as none before, is known still where it is the one that was kept.
        let is_kept = before == kept_sequence;
        let position = match stream.get_raw_message(before).await {
            Ok(message) => match message.headers.get(ID_HEADER).and_then(|id| parse_id(id.as_str())) {
                Some((ledger, position)) if ledger == own => position,
                Some(_) => break,
                None if is_kept => kept_position,
                None => continue,
            },
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound if is_kept => kept_position,
                RawMessageErrorKind::NoMessageFound => break,
                _ => return Err(Broken::Away(with_causes(&error))),
            },
        };
        keep(claim, relay, Place { position, sequence }).await?;
        return Ok(());
    }
    // Nobody can tell any more: a person has to look.
    keep(claim, relay, UNKNOWN).await?;
    Ok(())
}

/// How far the stream has come. Its own last message says so; where that is gone, each message was one event, so their number does.
pub(super) async fn place(app: &App, relay: &RelayConfig, claim: &Claim, stream: &Stream) -> Result<Place, Broken> {
    let name = || relay.stream.clone();
    let sequence = stream.cached_info().state.last_sequence;
    if sequence == 0 {
        return Ok(Place { position: -1, sequence });
    }
    let message = match stream.get_raw_message(sequence).await {
        Ok(message) => Some(message),
        Err(error) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => None,
            _ => return Err(Broken::Away(with_causes(&error))),
        },
    };
    let next = app.feed.next_position().await?;
    let Some(message) = message else {
        let position = after_gone(sequence, kept(app, &relay.stream).await?);
        return match position {
            Some(position) if position < next => Ok(Place { position, sequence }),
            Some(position) => Err(Wrong::Ahead { stream: name(), position, last: next - 1 }.into()),
            None => Err(Wrong::Unknown { stream: name(), sequence }.into()),
        };
    };
    let id = message.headers.get(ID_HEADER).and_then(|id| parse_id(id.as_str()));
    let (Some((ledger, position)), Ok(Body { eventid })) = (id, serde_json::from_slice::<Body>(&message.payload)) else {
        count_stranger(app, relay, claim, stream, sequence).await?;
        return Err(Wrong::NotOurs { stream: name(), sequence }.into());
    };
    if ledger != app.feed.ledger_id() {
        // When its messages are gone, it is still the other's.
        keep(claim, relay, UNKNOWN).await?;
        return Err(Wrong::OtherLedger { stream: name(), ledger, own: app.feed.ledger_id() }.into());
    }
    if position >= next {
        return Err(Wrong::Ahead { stream: name(), position, last: next - 1 }.into());
    }
    let events = app.feed.after(position - 1, Portion::ONE).await?;
    if events.first().is_none_or(|event| event.event_id != eventid) {
        return Err(Wrong::OtherPast { stream: name(), position }.into());
    }
    Ok(Place { position, sequence })
}

/// The last event of a stream whose last message is gone: purged, aged out, or worked off.
fn after_gone(sequence: u64, kept: Option<(i64, u64)>) -> Option<i64> {
    // Where nothing was kept, whatever it had was not ours.
    let Some((position, kept_sequence)) = kept else { return Some(-1) };
    let more = i64::try_from(sequence.checked_sub(kept_sequence)?).ok()?;
    position.checked_add(more)
}

/// Keeps where a stream was found to be. `false` where another server took the place meanwhile.
pub(super) async fn keep(claim: &Claim, relay: &RelayConfig, place: Place) -> Result<bool, StoreError> {
    claim.put_to(place.position, vec![sequence_kept(&relay.stream, place.sequence)]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_whose_event_it_is() {
        let ledger = Uuid::from_u128(7);
        assert_eq!(parse_id(&message_id(ledger, 812)), Some((ledger, 812)));
        for other in ["", "812", ":812", "x:1", &format!("{ledger}:"), &format!("{ledger}:-1"), &format!("{ledger}:01"), &format!("{ledger}:1:2")] {
            assert_eq!(parse_id(other), None, "{other}");
        }
    }

    #[test]
    fn a_stream_must_take_all_subjects() {
        for filter in [">", "keyledger.>", "keyledger.*.*.*", "*.*.*.*", "keyledger.*.>"] {
            assert!(takes(filter, "keyledger"), "{filter}");
        }
        for filter in ["keyledger", "keyledger.*", "keyledger.license.>", "other.>", "keyledger.*.*.*.*", "a.keyledger.>"] {
            assert!(!takes(filter, "keyledger"), "{filter}");
        }
        assert!(takes("a.b.>", "a.b") && takes("a.>", "a.b") && !takes("a.c.>", "a.b"));
    }

    #[test]
    fn a_stream_without_its_last_message_is_counted_on() {
        assert_eq!(after_gone(12, None), Some(-1));
        assert_eq!(after_gone(12, Some((9, 10))), Some(11));
        assert_eq!(after_gone(12, Some((9, 12))), Some(9));
        assert_eq!(after_gone(3, Some((9, 12))), None);
    }
}
