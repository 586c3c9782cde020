//! The stream map, recorded: which event each license's stream ended with, as one root. A record is a stream of one event; what
//! it says was true when so many events were in the log, whenever it was recorded.

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use crate::{Context, domain::domain_event};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StreamMapEvent {
    StreamMapRecorded(StreamMapRecorded),
}

domain_event!(StreamMapEvent { StreamMapRecorded "1.0" });

/// After the first `size` events the map over `licenses` licenses had this root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamMapRecorded {
    pub licenses: i64,
    /// RFC 6962, in hexadecimal.
    pub root: String,
    pub size: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamMapCommand {
    Record(StreamMapRecorded),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamMapError {
    #[error("this record is written")]
    Exists,
    #[error("a map can't be of more events than there are")]
    Ahead,
}

/// The aggregate: what was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamMap {
    pub recorded: Option<StreamMapRecorded>,
}

/// Decides a command. `events` is how many there are.
///
/// # Errors
/// When the record is written already, or says what can't be known yet.
pub fn decide(state: Option<&StreamMapRecorded>, command: &StreamMapCommand, events: i64) -> Result<StreamMapEvent, StreamMapError> {
    let StreamMapCommand::Record(record) = command;
    if state.is_some() {
        return Err(StreamMapError::Exists);
    }
    if record.size > events {
        return Err(StreamMapError::Ahead);
    }
    Ok(StreamMapEvent::StreamMapRecorded(record.clone()))
}

impl Aggregate for StreamMap {
    const TYPE: &'static str = "stream_map";
    type Command = StreamMapCommand;
    type Event = StreamMapEvent;
    type Error = StreamMapError;
    type Services = Context;

    async fn handle(&mut self, command: StreamMapCommand, _: &Context, sink: &EventSink<Self>) -> Result<(), StreamMapError> {
        let event = decide(self.recorded.as_ref(), &command, i64::MAX)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: StreamMapEvent) {
        let StreamMapEvent::StreamMapRecorded(record) = event;
        self.recorded = Some(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_recorded_once_and_not_ahead_of_the_log() {
        let record = StreamMapRecorded { licenses: 1, root: "00".repeat(32), size: 7 };
        let command = StreamMapCommand::Record(record.clone());
        assert_eq!(decide(None, &command, 7), Ok(StreamMapEvent::StreamMapRecorded(record.clone())));
        assert_eq!(decide(None, &command, 6), Err(StreamMapError::Ahead));
        assert_eq!(decide(Some(&record), &command, 7), Err(StreamMapError::Exists));
    }
}
