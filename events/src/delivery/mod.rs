//! A delivery: one message that has to reach a web hook, tried until it is taken or given up. Where it goes and what it says
//! is in the rows of what it is about, so nothing personal is repeated here.
//!
//! An attempt is recorded before it is made: so no two servers make the same one, and one that ends with its server counts.

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use crate::{Context, Personal, Timestamp, domain::domain_event};

/// Seconds to wait after each attempt that failed. There is one attempt more than waits: twelve over 23 hours, which a
/// receiver that is down for a night or an update outlasts.
const WAITS_S: [i64; 11] = [5, 30, 120, 300, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 32_400];
/// How many attempts are made.
pub const ATTEMPTS_MAX: i64 = WAITS_S.len() as i64 + 1;
/// Waits are longer or shorter by up to a fifth, so that many that failed together don't come back together.
const JITTER_DIVISOR: i64 = 5;
/// How long an attempt has that was begun: longer than a call can take. If nothing is heard of it until then, its server is gone.
pub const ATTEMPT_WITHIN_S: i64 = 120;
const MICROS: i64 = 1_000_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum DeliveryEvent {
    DeliveryQueued(DeliveryQueued),
    DeliveryStarted(DeliveryStarted),
    DeliveryFailed(DeliveryFailed),
    DeliverySucceeded(DeliverySucceeded),
    DeliveryGivenUp(DeliveryGivenUp),
    DeliveryRetried(DeliveryRetried),
}

domain_event!(DeliveryEvent personal {
    DeliveryQueued "1.0",
    DeliveryStarted "1.0",
    DeliveryFailed "1.0",
    DeliverySucceeded "1.0",
    DeliveryGivenUp "1.0",
    DeliveryRetried "1.0",
});

impl DeliveryEvent {
    /// The number of the delivery it happened to.
    #[must_use]
    pub fn delivery(&self) -> i64 {
        match self {
            Self::DeliveryQueued(event) => event.delivery,
            Self::DeliveryStarted(event) => event.delivery,
            Self::DeliveryFailed(event) => event.delivery,
            Self::DeliverySucceeded(event) => event.delivery,
            Self::DeliveryGivenUp(event) => event.delivery,
            Self::DeliveryRetried(event) => event.delivery,
        }
    }
}

/// What a message is about, and whose URL it goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryKind {
    /// A queued assignment is finished; to the URL that the request gave.
    #[default]
    AssignmentJob,
    /// An operator ended an activation; to the activation's `post_url`.
    ActivationEnded,
    /// An operator ended an activation; to the product's `post_url`.
    ProductActivationEnded,
}

impl DeliveryKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AssignmentJob => "assignment_job",
            Self::ActivationEnded => "activation_ended",
            Self::ProductActivationEnded => "product_activation_ended",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::AssignmentJob, Self::ActivationEnded, Self::ProductActivationEnded].into_iter().find(|kind| kind.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryQueued {
    pub activation: Option<i64>,
    pub delivery: i64,
    pub job: Option<i64>,
    pub kind: DeliveryKind,
    pub license: Option<i64>,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryStarted {
    pub attempt: i64,
    pub delivery: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    /// From when on the next attempt may begin if this one is never heard of again.
    pub until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryFailed {
    pub attempt: i64,
    pub delivery: i64,
    /// A class of errors; never text from outside.
    pub error: String,
    pub next_attempt_at: Timestamp,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub status: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliverySucceeded {
    pub attempt: i64,
    pub delivery: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub status: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryGivenUp {
    pub attempt: i64,
    pub delivery: i64,
    pub error: String,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub status: Option<i64>,
}

/// An operator wants it tried again, from the first attempt on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryRetried {
    pub delivery: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    #[default]
    Pending,
    Delivered,
    GivenUp,
}

impl DeliveryState {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::GivenUp => "given_up",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Delivered, Self::GivenUp].into_iter().find(|state| state.as_str() == text)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub number: i64,
    pub kind: DeliveryKind,
    pub job: Option<i64>,
    pub license: Option<i64>,
    pub activation: Option<i64>,
    pub product: i64,
    pub state: DeliveryState,
    /// Attempts begun.
    pub attempts: i64,
    /// From when on the next attempt may begin; without meaning unless it is pending.
    pub due_at: Timestamp,
    /// Of the last attempt that ended.
    pub status: Option<i64>,
    pub error: Option<String>,
}

impl Delivery {
    /// Folds one event. `at` is when it was recorded.
    #[must_use]
    pub fn fold(state: Option<Self>, event: &DeliveryEvent, at: Timestamp) -> Option<Self> {
        if let DeliveryEvent::DeliveryQueued(queued) = event {
            return Some(Self {
                number: queued.delivery,
                kind: queued.kind,
                job: queued.job,
                license: queued.license,
                activation: queued.activation,
                product: queued.product,
                due_at: at,
                ..Self::default()
            });
        }
        let delivery = state?;
        Some(match event {
            DeliveryEvent::DeliveryQueued(_) => delivery,
            DeliveryEvent::DeliveryStarted(event) => Self { attempts: event.attempt, due_at: event.until, ..delivery },
            DeliveryEvent::DeliveryFailed(event) => {
                Self { due_at: event.next_attempt_at, status: event.status, error: Some(event.error.clone()), ..delivery }
            }
            DeliveryEvent::DeliverySucceeded(event) => {
                Self { state: DeliveryState::Delivered, status: Some(event.status), error: None, due_at: at, ..delivery }
            }
            DeliveryEvent::DeliveryGivenUp(event) => {
                Self { state: DeliveryState::GivenUp, status: event.status, error: Some(event.error.clone()), due_at: at, ..delivery }
            }
            DeliveryEvent::DeliveryRetried(_) => Self { state: DeliveryState::Pending, attempts: 0, due_at: at, ..delivery },
        })
    }
}

/// What a delivery is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    pub kind: DeliveryKind,
    pub job: Option<i64>,
    pub license: Option<i64>,
    pub activation: Option<i64>,
    pub product: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryCommand {
    Queue(About),
    /// Begin the next attempt.
    Start,
    Succeed {
        attempt: i64,
        status: i64,
    },
    /// `jitter` is drawn from 0 to 1,000. What can't succeed later is given up at once.
    Fail {
        attempt: i64,
        error: &'static str,
        status: Option<i64>,
        jitter: i64,
        is_final: bool,
    },
    Retry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryError {
    #[error("the delivery does not exist")]
    Unknown,
    #[error("the delivery exists already")]
    Exists,
    #[error("no attempt is due")]
    NotDue,
    #[error("this attempt is not the present one any more")]
    Late,
    #[error("the delivery is still being tried")]
    Pending,
}

/// Decides a command.
///
/// # Errors
/// Why it was refused.
pub fn decide(state: Option<&Delivery>, command: &DeliveryCommand, context: &Context) -> Result<DeliveryEvent, DeliveryError> {
    let now = context.now;
    let Some(delivery) = state else {
        return match command {
            DeliveryCommand::Queue(about) => Ok(DeliveryEvent::DeliveryQueued(DeliveryQueued {
                activation: about.activation,
                delivery: context.next.delivery,
                job: about.job,
                kind: about.kind,
                license: about.license,
                personal: Personal::None,
                product: about.product,
            })),
            _ => Err(DeliveryError::Unknown),
        };
    };
    let (number, is_pending) = (delivery.number, delivery.state == DeliveryState::Pending);
    let is_present = |attempt: &i64| is_pending && delivery.attempts == *attempt;
    match command {
        DeliveryCommand::Queue(_) => Err(DeliveryError::Exists),
        DeliveryCommand::Start if !is_pending || now < delivery.due_at => Err(DeliveryError::NotDue),
        // The last attempt was begun and never heard of again.
        DeliveryCommand::Start if delivery.attempts >= ATTEMPTS_MAX => Ok(DeliveryEvent::DeliveryGivenUp(DeliveryGivenUp {
            attempt: delivery.attempts,
            delivery: number,
            error: "interrupted".to_owned(),
            personal: Personal::None,
            status: None,
        })),
        DeliveryCommand::Start => Ok(DeliveryEvent::DeliveryStarted(DeliveryStarted {
            attempt: delivery.attempts + 1,
            delivery: number,
            personal: Personal::None,
            until: Timestamp(now.0 + ATTEMPT_WITHIN_S * MICROS),
        })),
        DeliveryCommand::Succeed { attempt, status } if is_present(attempt) => {
            Ok(DeliveryEvent::DeliverySucceeded(DeliverySucceeded { attempt: *attempt, delivery: number, personal: Personal::None, status: *status }))
        }
        DeliveryCommand::Fail { attempt, error, status, jitter, is_final } if is_present(attempt) => {
            let (attempt, error, status) = (*attempt, (*error).to_owned(), *status);
            Ok(match wait(attempt, *jitter) {
                Some(wait) if !is_final => DeliveryEvent::DeliveryFailed(DeliveryFailed {
                    attempt,
                    delivery: number,
                    error,
                    next_attempt_at: Timestamp(now.0 + wait),
                    personal: Personal::None,
                    status,
                }),
                _ => DeliveryEvent::DeliveryGivenUp(DeliveryGivenUp { attempt, delivery: number, error, personal: Personal::None, status }),
            })
        }
        DeliveryCommand::Succeed { .. } | DeliveryCommand::Fail { .. } => Err(DeliveryError::Late),
        DeliveryCommand::Retry if is_pending => Err(DeliveryError::Pending),
        DeliveryCommand::Retry => Ok(DeliveryEvent::DeliveryRetried(DeliveryRetried { delivery: number, personal: Personal::None })),
    }
}

/// Microseconds until the attempt after this one; `None` where it was the last.
fn wait(attempt: i64, jitter: i64) -> Option<i64> {
    let wait = *WAITS_S.get(usize::try_from(attempt).ok()?.checked_sub(1)?)? * MICROS;
    let span = wait / JITTER_DIVISOR;
    Some(wait - span + 2 * span / 1_000 * jitter.clamp(0, 1_000))
}

/// The cqrs-es aggregate is the state itself; a delivery that was never queued is the default. cqrs-es hands no time over
/// with an event, so when the next attempt is due only the rows know exactly.
impl Aggregate for Delivery {
    const TYPE: &'static str = "delivery";
    type Command = DeliveryCommand;
    type Event = DeliveryEvent;
    type Error = DeliveryError;
    type Services = Context;

    async fn handle(&mut self, command: DeliveryCommand, context: &Context, sink: &EventSink<Self>) -> Result<(), DeliveryError> {
        let event = decide((self.number > 0).then_some(&*self), &command, context)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: DeliveryEvent) {
        let state = (self.number > 0).then(|| std::mem::take(self));
        *self = Self::fold(state, &event, Timestamp::default()).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(now: i64) -> Context {
        Context { now: Timestamp(now), ..Context::default() }
    }

    /// Decides and folds, as the ledger does.
    fn step(state: &mut Option<Delivery>, command: &DeliveryCommand, now: i64) -> Result<DeliveryEvent, DeliveryError> {
        let event = decide(state.as_ref(), command, &at(now))?;
        *state = Delivery::fold(state.take(), &event, Timestamp(now));
        Ok(event)
    }

    fn fail(attempt: i64) -> DeliveryCommand {
        DeliveryCommand::Fail { attempt, error: "refused", status: Some(500), jitter: 500, is_final: false }
    }

    #[test]
    fn one_server_at_a_time_makes_an_attempt() {
        let mut state = None;
        step(&mut state, &DeliveryCommand::Queue(About::default()), 10).unwrap();
        assert_eq!(step(&mut state, &DeliveryCommand::Queue(About::default()), 10), Err(DeliveryError::Exists));
        step(&mut state, &DeliveryCommand::Start, 10).unwrap();
        assert_eq!(step(&mut state, &DeliveryCommand::Start, 11), Err(DeliveryError::NotDue));
        // The first server is never heard of again: the next attempt begins, and the first one's end comes too late.
        let later = 10 + ATTEMPT_WITHIN_S * MICROS;
        let DeliveryEvent::DeliveryStarted(started) = step(&mut state, &DeliveryCommand::Start, later).unwrap() else { panic!("not started") };
        assert_eq!(started.attempt, 2);
        assert_eq!(step(&mut state, &DeliveryCommand::Succeed { attempt: 1, status: 200 }, later), Err(DeliveryError::Late));
        step(&mut state, &DeliveryCommand::Succeed { attempt: 2, status: 200 }, later).unwrap();
        assert_eq!(step(&mut state, &DeliveryCommand::Start, i64::MAX), Err(DeliveryError::NotDue));
        assert_eq!(state.unwrap().state, DeliveryState::Delivered);
        assert_eq!(decide(None, &DeliveryCommand::Start, &at(1)), Err(DeliveryError::Unknown));
    }

    #[test]
    fn it_is_given_up_after_twelve_attempts_in_about_a_day_and_can_be_tried_again() {
        let mut state = None;
        let mut now = 0;
        step(&mut state, &DeliveryCommand::Queue(About::default()), now).unwrap();
        for attempt in 1..ATTEMPTS_MAX {
            step(&mut state, &DeliveryCommand::Start, now).unwrap();
            let DeliveryEvent::DeliveryFailed(failed) = step(&mut state, &fail(attempt), now).unwrap() else { panic!("not failed") };
            assert_eq!(decide(state.as_ref(), &DeliveryCommand::Start, &at(failed.next_attempt_at.0 - 1)), Err(DeliveryError::NotDue));
            assert_eq!(decide(state.as_ref(), &DeliveryCommand::Retry, &at(now)), Err(DeliveryError::Pending));
            now = failed.next_attempt_at.0;
        }
        step(&mut state, &DeliveryCommand::Start, now).unwrap();
        assert!(matches!(step(&mut state, &fail(ATTEMPTS_MAX), now), Ok(DeliveryEvent::DeliveryGivenUp(_))));
        assert!((20..26).contains(&(now / MICROS / 3_600)), "{now}");
        step(&mut state, &DeliveryCommand::Retry, now).unwrap();
        let DeliveryEvent::DeliveryStarted(started) = step(&mut state, &DeliveryCommand::Start, now).unwrap() else { panic!("not started") };
        assert_eq!(started.attempt, 1);
    }

    #[test]
    fn an_interrupted_last_attempt_and_a_final_error_give_up() {
        let last = Delivery { number: 1, attempts: ATTEMPTS_MAX, ..Delivery::default() };
        assert!(matches!(decide(Some(&last), &DeliveryCommand::Start, &at(1)), Ok(DeliveryEvent::DeliveryGivenUp(_))));
        let first = Delivery { number: 1, attempts: 1, ..Delivery::default() };
        let is_final = DeliveryCommand::Fail { attempt: 1, error: "no_url", status: None, jitter: 0, is_final: true };
        assert!(matches!(decide(Some(&first), &is_final, &at(1)), Ok(DeliveryEvent::DeliveryGivenUp(_))));
    }

    #[test]
    fn waits_grow_and_vary_by_a_fifth() {
        assert_eq!((wait(1, 0), wait(1, 1_000)), (Some(4 * MICROS), Some(6 * MICROS)));
        assert!((1..11).all(|attempt| wait(attempt, 500) < wait(attempt + 1, 500)));
        assert_eq!((wait(0, 0), wait(ATTEMPTS_MAX, 0)), (None, None));
    }
}
