//! A web hook endpoint: where a vendor wants to be told of events, of which ones, and whether it is told at present.
//!
//! Its secret is made of a salt by the ledger's own secret, so nothing here is secret. What was delivered is no event: it would tell of itself.

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use crate::{Context, Personal, Timestamp, domain::domain_event};

/// Endpoints of one ledger: each has a task, some connections and a window of events in memory.
pub const ENDPOINTS_MAX: i64 = 100;
/// How long messages are signed with the secret before a new one, too: time to give the new one to the receiver.
pub const OLD_SECRET_FOR_S: i64 = 24 * 60 * 60;
const MICROS: i64 = 1_000_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WebhookEndpointEvent {
    EndpointCreated(EndpointCreated),
    EndpointUpdated(EndpointUpdated),
    EndpointSecretRotated(EndpointSecretRotated),
    EndpointPaused(EndpointPaused),
    EndpointResumed(EndpointResumed),
    EndpointReplayed(EndpointReplayed),
    EndpointDeleted(EndpointDeleted),
}

domain_event!(WebhookEndpointEvent personal {
    EndpointCreated "1.0",
    EndpointUpdated "1.0",
    EndpointSecretRotated "1.0",
    EndpointPaused "1.0",
    EndpointResumed "1.0",
    EndpointReplayed "1.0",
    EndpointDeleted "1.0",
});

impl WebhookEndpointEvent {
    /// The number of the endpoint it happened to.
    #[must_use]
    pub fn endpoint(&self) -> i64 {
        match self {
            Self::EndpointCreated(event) => event.endpoint,
            Self::EndpointUpdated(event) => event.endpoint,
            Self::EndpointSecretRotated(event) => event.endpoint,
            Self::EndpointPaused(event) => event.endpoint,
            Self::EndpointResumed(event) => event.endpoint,
            Self::EndpointReplayed(event) => event.endpoint,
            Self::EndpointDeleted(event) => event.endpoint,
        }
    }
}

/// Which events are wanted; all where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedEvents {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<i64>,
    /// Public names, or with `*` behind the dot all of what they concern.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
}

/// What an operator says of an endpoint, checked at the edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointFields {
    pub filter: WantedEvents,
    /// Whether license and contract keys are sent whole.
    pub license_keys: bool,
    /// Whether personal data is sent open.
    pub personal_data: bool,
    pub url: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointCreated {
    /// It is told of the events behind this position.
    pub after: i64,
    pub endpoint: i64,
    pub fields: EndpointFields,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    /// What the secret is made of.
    pub salt: String,
}

/// All that an operator says of it, as it is after the event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointUpdated {
    pub endpoint: i64,
    pub fields: EndpointFields,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointSecretRotated {
    pub endpoint: i64,
    /// Until when messages are signed with the old secret, too.
    pub old_until: Timestamp,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub salt: String,
}

/// Why an endpoint is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseReason {
    /// Somebody wants it so.
    Operator,
    /// One event could not be delivered for days.
    Failing,
    /// The endpoint says that it is gone for good.
    Gone,
}

impl PauseReason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Failing => "failing",
            Self::Gone => "gone",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Operator, Self::Failing, Self::Gone].into_iter().find(|reason| reason.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointPaused {
    pub endpoint: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    /// The event that could not be delivered.
    pub position: Option<i64>,
    pub reason: PauseReason,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointResumed {
    pub endpoint: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
}

/// It is told again of the events behind a position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointReplayed {
    pub after: i64,
    pub endpoint: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointDeleted {
    pub endpoint: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookEndpoint {
    pub number: i64,
    pub fields: EndpointFields,
    pub salt: String,
    /// The salt before, and until when messages are signed with its secret, too.
    pub old_salt: Option<(String, Timestamp)>,
    pub paused: Option<PauseReason>,
    /// Where it was begun: at first, or by the last replay.
    pub after: i64,
    /// How often it was begun again.
    pub replays: i64,
    pub deleted: bool,
}

impl WebhookEndpoint {
    /// Folds one event.
    #[must_use]
    pub fn fold(state: Option<Self>, event: &WebhookEndpointEvent) -> Option<Self> {
        if let WebhookEndpointEvent::EndpointCreated(created) = event {
            return Some(Self {
                number: created.endpoint,
                fields: created.fields.clone(),
                salt: created.salt.clone(),
                after: created.after,
                ..Self::default()
            });
        }
        let endpoint = state?;
        Some(match event {
            WebhookEndpointEvent::EndpointCreated(_) => endpoint,
            WebhookEndpointEvent::EndpointUpdated(event) => Self { fields: event.fields.clone(), ..endpoint },
            WebhookEndpointEvent::EndpointSecretRotated(event) => {
                Self { old_salt: Some((endpoint.salt, event.old_until)), salt: event.salt.clone(), ..endpoint }
            }
            WebhookEndpointEvent::EndpointPaused(event) => Self { paused: Some(event.reason), ..endpoint },
            WebhookEndpointEvent::EndpointResumed(_) => Self { paused: None, ..endpoint },
            WebhookEndpointEvent::EndpointReplayed(event) => Self { after: event.after, replays: endpoint.replays + 1, ..endpoint },
            WebhookEndpointEvent::EndpointDeleted(_) => Self { deleted: true, ..endpoint },
        })
    }
}

/// What whoever asks may have sent: nobody has others told what they may not see themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaySend {
    pub license_keys: bool,
    pub personal_data: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookEndpointCommand {
    /// `after` is where it begins; `others` is how many endpoints there are.
    Create {
        fields: EndpointFields,
        may: MaySend,
        salt: String,
        after: i64,
        others: i64,
    },
    Update {
        fields: EndpointFields,
        may: MaySend,
    },
    RotateSecret {
        salt: String,
    },
    Pause {
        reason: PauseReason,
        position: Option<i64>,
    },
    Resume,
    Replay {
        after: i64,
    },
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookEndpointError {
    #[error("the endpoint does not exist")]
    Unknown,
    #[error("the endpoint exists already")]
    Exists,
    #[error("there are {ENDPOINTS_MAX} endpoints already")]
    TooMany,
    #[error("who may not see license keys can't have them sent")]
    MayNotSendKeys,
    #[error("who may not see personal data can't have it sent")]
    MayNotSendPersonalData,
    #[error("there is no such event yet")]
    NotYet,
    #[error("the endpoint was changed meanwhile")]
    Changed,
}

/// Decides a command; `None` where it changes nothing.
///
/// # Errors
/// Why it was refused.
pub fn decide(
    state: Option<&WebhookEndpoint>,
    command: &WebhookEndpointCommand,
    context: &Context,
) -> Result<Option<WebhookEndpointEvent>, WebhookEndpointError> {
    if let WebhookEndpointCommand::Create { fields, may, salt, after, others } = command {
        if state.is_some() {
            return Err(WebhookEndpointError::Exists);
        }
        if *others >= ENDPOINTS_MAX {
            return Err(WebhookEndpointError::TooMany);
        }
        check(fields, *may)?;
        let endpoint = context.next.webhook_endpoint;
        let created = EndpointCreated { after: *after, endpoint, fields: fields.clone(), personal: Personal::None, salt: salt.clone() };
        return Ok(Some(WebhookEndpointEvent::EndpointCreated(created)));
    }
    let state = state.filter(|state| !state.deleted).ok_or(WebhookEndpointError::Unknown)?;
    let (endpoint, personal) = (state.number, Personal::None);
    Ok(match command {
        WebhookEndpointCommand::Create { .. } => None,
        WebhookEndpointCommand::Update { fields, may } => {
            // Also where only the URL changes: it would be somebody else who is sent them.
            check(fields, *may)?;
            let fields = fields.clone();
            (fields != state.fields).then_some(WebhookEndpointEvent::EndpointUpdated(EndpointUpdated { endpoint, fields, personal }))
        }
        WebhookEndpointCommand::RotateSecret { salt } => {
            let old_until = Timestamp(context.now.0.saturating_add(OLD_SECRET_FOR_S * MICROS));
            Some(WebhookEndpointEvent::EndpointSecretRotated(EndpointSecretRotated { endpoint, old_until, personal, salt: salt.clone() }))
        }
        WebhookEndpointCommand::Pause { reason, position } => {
            let paused = EndpointPaused { endpoint, personal, position: *position, reason: *reason };
            state.paused.is_none().then_some(WebhookEndpointEvent::EndpointPaused(paused))
        }
        // Also where it goes on anyway: what waits is tried at once.
        WebhookEndpointCommand::Resume => Some(WebhookEndpointEvent::EndpointResumed(EndpointResumed { endpoint, personal })),
        WebhookEndpointCommand::Replay { after } => {
            Some(WebhookEndpointEvent::EndpointReplayed(EndpointReplayed { after: *after, endpoint, personal }))
        }
        WebhookEndpointCommand::Delete => Some(WebhookEndpointEvent::EndpointDeleted(EndpointDeleted { endpoint, personal })),
    })
}

fn check(fields: &EndpointFields, may: MaySend) -> Result<(), WebhookEndpointError> {
    if fields.license_keys && !may.license_keys {
        return Err(WebhookEndpointError::MayNotSendKeys);
    }
    if fields.personal_data && !may.personal_data {
        return Err(WebhookEndpointError::MayNotSendPersonalData);
    }
    Ok(())
}

/// The cqrs-es aggregate is the state itself; an endpoint that was never made is the default.
impl Aggregate for WebhookEndpoint {
    const TYPE: &'static str = "webhook_endpoint";
    type Command = WebhookEndpointCommand;
    type Event = WebhookEndpointEvent;
    type Error = WebhookEndpointError;
    type Services = Context;

    async fn handle(&mut self, command: WebhookEndpointCommand, context: &Context, sink: &EventSink<Self>) -> Result<(), WebhookEndpointError> {
        if let Some(event) = decide((self.number > 0).then_some(&*self), &command, context)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: WebhookEndpointEvent) {
        let state = (self.number > 0).then(|| std::mem::take(self));
        *self = Self::fold(state, &event).unwrap_or_default();
    }
}
