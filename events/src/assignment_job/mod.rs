//! A queued assignment: license keys that were asked for and are assigned when it is their turn, once.

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use crate::{Context, Personal, PersonalData, domain::domain_event, license::Owner};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AssignmentJobEvent {
    AssignmentJobQueued(AssignmentJobQueued),
    AssignmentJobFinished(AssignmentJobFinished),
}

domain_event!(AssignmentJobEvent personal { AssignmentJobQueued "1.0", AssignmentJobFinished "1.0" });

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AssignmentJobQueued {
    /// Whether keys may be generated where too few are available.
    pub generate: bool,
    pub job: i64,
    /// The owner's number; name and address are in `personal`.
    pub owner: Option<i64>,
    /// With the owner, the web hook's URL (`post_url`), and what the request calls itself (`identifier`).
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub quantity: i64,
}

/// The assignments themselves are events of the licenses, each of which names the job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AssignmentJobFinished {
    pub assigned: i64,
    /// How many keys there were where they were too few.
    pub available: Option<i64>,
    pub job: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub result: AssignmentResult,
}

/// What an assignment of several license keys can come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssignmentResult {
    Assigned,
    TooFew,
    NoProduct,
    NoGenerator,
}

impl AssignmentResult {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::TooFew => "too_few",
            Self::NoProduct => "no_product",
            Self::NoGenerator => "no_generator",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Assigned, Self::TooFew, Self::NoProduct, Self::NoGenerator].into_iter().find(|result| result.as_str() == text)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignmentJob {
    pub number: i64,
    pub product: i64,
    pub quantity: i64,
    pub generate: bool,
    pub owner: Option<i64>,
    pub owner_name: Option<String>,
    pub owner_email: Option<String>,
    pub identifier: Option<String>,
    pub webhook_url: Option<String>,
    /// `None` while it waits.
    pub result: Option<AssignmentResult>,
    pub assigned: i64,
    pub available: Option<i64>,
}

impl AssignmentJob {
    /// Folds one event.
    #[must_use]
    pub fn fold(state: Option<Self>, event: &AssignmentJobEvent) -> Option<Self> {
        match event {
            AssignmentJobEvent::AssignmentJobQueued(event) => Some(Self {
                number: event.job,
                product: event.product,
                quantity: event.quantity,
                generate: event.generate,
                owner: event.owner,
                owner_name: event.personal.owner_name(),
                owner_email: event.personal.owner_email(),
                identifier: event.personal.identifier(),
                webhook_url: event.personal.post_url(),
                ..Self::default()
            }),
            AssignmentJobEvent::AssignmentJobFinished(event) => {
                state.map(|job| Self { result: Some(event.result), assigned: event.assigned, available: event.available, ..job })
            }
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueAssignment {
    pub product: i64,
    pub quantity: i64,
    pub generate: bool,
    pub owner: Owner,
    pub identifier: Option<String>,
    pub webhook_url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssignmentJobCommand {
    Queue(QueueAssignment),
    Finish { result: AssignmentResult, assigned: i64, available: Option<i64> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssignmentJobError {
    #[error("the job does not exist")]
    Unknown,
    #[error("the job exists already")]
    Exists,
    #[error("the job is finished already")]
    Finished,
}

/// Decides a command.
///
/// # Errors
/// Why it was refused.
pub fn decide(state: Option<&AssignmentJob>, command: &AssignmentJobCommand, context: &Context) -> Result<AssignmentJobEvent, AssignmentJobError> {
    match (state, command) {
        (None, AssignmentJobCommand::Queue(queue)) => Ok(AssignmentJobEvent::AssignmentJobQueued(AssignmentJobQueued {
            generate: queue.generate,
            job: context.next.assignment_job,
            owner: queue.owner.number,
            personal: Personal::new(PersonalData {
                identifier: queue.identifier.clone(),
                owner_email: queue.owner.email.clone(),
                owner_name: queue.owner.name.clone(),
                post_url: queue.webhook_url.clone(),
                ..PersonalData::default()
            }),
            product: queue.product,
            quantity: queue.quantity,
        })),
        (Some(_), AssignmentJobCommand::Queue(_)) => Err(AssignmentJobError::Exists),
        (None, AssignmentJobCommand::Finish { .. }) => Err(AssignmentJobError::Unknown),
        (Some(job), AssignmentJobCommand::Finish { .. }) if job.result.is_some() => Err(AssignmentJobError::Finished),
        (Some(job), AssignmentJobCommand::Finish { result, assigned, available }) => {
            Ok(AssignmentJobEvent::AssignmentJobFinished(AssignmentJobFinished {
                assigned: *assigned,
                available: *available,
                job: job.number,
                personal: Personal::None,
                product: job.product,
                result: *result,
            }))
        }
    }
}

/// The cqrs-es aggregate is the state itself; a job that was never queued is the default.
impl Aggregate for AssignmentJob {
    const TYPE: &'static str = "assignment_job";
    type Command = AssignmentJobCommand;
    type Event = AssignmentJobEvent;
    type Error = AssignmentJobError;
    type Services = Context;

    async fn handle(&mut self, command: AssignmentJobCommand, context: &Context, sink: &EventSink<Self>) -> Result<(), AssignmentJobError> {
        let event = decide((self.number > 0).then_some(&*self), &command, context)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: AssignmentJobEvent) {
        let state = (self.number > 0).then(|| std::mem::take(self));
        *self = Self::fold(state, &event).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    #[test]
    fn a_job_is_queued_once_and_finished_once() {
        let framework = || TestFramework::<AssignmentJob>::with(Context::default());
        let queue =
            || AssignmentJobCommand::Queue(QueueAssignment { product: 2, quantity: 7, identifier: Some("31".into()), ..QueueAssignment::default() });
        let queued = decide(None, &queue(), &Context::default()).unwrap();
        framework().given_no_previous_events().when(queue()).then_expect_events(vec![queued.clone()]);
        framework().given(vec![queued.clone()]).when(queue()).then_expect_error(AssignmentJobError::Exists);
        let finish = || AssignmentJobCommand::Finish { result: AssignmentResult::TooFew, assigned: 0, available: Some(5) };
        let finished = AssignmentJobEvent::AssignmentJobFinished(AssignmentJobFinished {
            assigned: 0,
            available: Some(5),
            job: 1,
            personal: Personal::None,
            product: 2,
            result: AssignmentResult::TooFew,
        });
        framework().given(vec![queued.clone()]).when(finish()).then_expect_events(vec![finished.clone()]);
        framework().given(vec![queued, finished]).when(finish()).then_expect_error(AssignmentJobError::Finished);
        framework().given_no_previous_events().when(finish()).then_expect_error(AssignmentJobError::Unknown);
    }
}
