//! A data subject: whose personal data the sealed objects hold. Its key is no part of the log; that it was destroyed is.

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{SubjectKind, domain::domain_event};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SubjectEvent {
    SubjectForgotten(SubjectForgotten),
}

domain_event!(SubjectEvent { SubjectForgotten "1.0" });

/// The subject's key is gone: what was sealed with it can't be opened any more. Nothing personal may ever be added here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubjectForgotten {
    pub kind: SubjectKind,
    /// The owner's, license's, API key's or block entry's number.
    pub number: i64,
    /// As the sealed objects name it; also the stream's id.
    pub subject: Uuid,
}

/// A subject that has its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    pub kind: SubjectKind,
    pub number: i64,
    pub id: Uuid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectCommand {
    Forget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectError {
    /// It never was, or it is forgotten: nobody can tell the two apart, and nobody should.
    #[error("there is no such data subject")]
    Unknown,
}

/// Decides a command.
///
/// # Errors
/// Why it was refused.
pub fn decide(subject: Option<&Subject>, command: SubjectCommand) -> Result<SubjectEvent, SubjectError> {
    let SubjectCommand::Forget = command;
    let Subject { kind, number, id } = *subject.ok_or(SubjectError::Unknown)?;
    Ok(SubjectEvent::SubjectForgotten(SubjectForgotten { kind, number, subject: id }))
}

/// The cqrs-es aggregate: what a subject's stream tells. That it exists stands beside the log, so the stream begins with its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectAggregate {
    pub forgotten: bool,
}

impl Aggregate for SubjectAggregate {
    const TYPE: &'static str = "subject";
    type Command = SubjectCommand;
    type Event = SubjectEvent;
    type Error = SubjectError;
    /// The subject, where it has its key.
    type Services = Option<Subject>;

    async fn handle(&mut self, command: SubjectCommand, subject: &Option<Subject>, sink: &EventSink<Self>) -> Result<(), SubjectError> {
        let event = decide(subject.as_ref().filter(|_| !self.forgotten), command)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: SubjectEvent) {
        match event {
            SubjectEvent::SubjectForgotten(_) => self.forgotten = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    #[test]
    fn a_subject_is_forgotten_once() {
        let subject = Subject { kind: SubjectKind::Owner, number: 4, id: Uuid::from_u128(7) };
        let forgotten = SubjectEvent::SubjectForgotten(SubjectForgotten { kind: SubjectKind::Owner, number: 4, subject: Uuid::from_u128(7) });
        let framework = |subject| TestFramework::<SubjectAggregate>::with(subject);
        framework(Some(subject)).given_no_previous_events().when(SubjectCommand::Forget).then_expect_events(vec![forgotten.clone()]);
        framework(Some(subject)).given(vec![forgotten]).when(SubjectCommand::Forget).then_expect_error(SubjectError::Unknown);
        framework(None).given_no_previous_events().when(SubjectCommand::Forget).then_expect_error(SubjectError::Unknown);
    }
}
