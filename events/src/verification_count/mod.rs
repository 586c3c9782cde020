//! How often licenses of a product were verified. A verification changes nothing, so it is no event of its own: what was answered in
//! a minute is counted and recorded at once. A record is a stream of one event; each server records what it answered itself.

use std::collections::BTreeMap;

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use crate::{Context, Timestamp, domain::domain_event};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum VerificationCountEvent {
    VerificationsCounted(VerificationsCounted),
}

domain_event!(VerificationCountEvent { VerificationsCounted "1.0" });

/// So many verifications of a product's licenses were answered within a minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationsCounted {
    /// How often each response code was given.
    pub counts: BTreeMap<String, i64>,
    /// The beginning of the minute.
    pub minute: Timestamp,
    pub product: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerificationCountCommand {
    Record(VerificationsCounted),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerificationCountError {
    #[error("this record is written")]
    Exists,
    #[error("a record counts something")]
    Nothing,
}

/// The aggregate: what was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationCount {
    pub recorded: Option<VerificationsCounted>,
}

/// Decides a command.
///
/// # Errors
/// When the record is written already, or counts nothing.
pub fn decide(state: Option<&VerificationsCounted>, command: &VerificationCountCommand) -> Result<VerificationCountEvent, VerificationCountError> {
    let VerificationCountCommand::Record(record) = command;
    if state.is_some() {
        return Err(VerificationCountError::Exists);
    }
    if record.counts.is_empty() || record.counts.values().any(|count| *count <= 0) {
        return Err(VerificationCountError::Nothing);
    }
    Ok(VerificationCountEvent::VerificationsCounted(record.clone()))
}

impl Aggregate for VerificationCount {
    const TYPE: &'static str = "verification_count";
    type Command = VerificationCountCommand;
    type Event = VerificationCountEvent;
    type Error = VerificationCountError;
    type Services = Context;

    async fn handle(&mut self, command: VerificationCountCommand, _: &Context, sink: &EventSink<Self>) -> Result<(), VerificationCountError> {
        let event = decide(self.recorded.as_ref(), &command)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: VerificationCountEvent) {
        let VerificationCountEvent::VerificationsCounted(record) = event;
        self.recorded = Some(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_recorded_once() {
        let of = |counts: &[(&str, i64)]| VerificationsCounted {
            counts: counts.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect(),
            minute: Timestamp(60_000_000),
            product: 2,
        };
        let record = of(&[("200", 3), ("205", 1)]);
        let command = VerificationCountCommand::Record(record.clone());
        assert_eq!(decide(None, &command), Ok(VerificationCountEvent::VerificationsCounted(record.clone())));
        assert_eq!(decide(Some(&record), &command), Err(VerificationCountError::Exists));
        for nothing in [of(&[]), of(&[("200", 3), ("205", 0)]), of(&[("200", -1)])] {
            assert_eq!(decide(None, &VerificationCountCommand::Record(nothing)), Err(VerificationCountError::Nothing));
        }
    }
}
