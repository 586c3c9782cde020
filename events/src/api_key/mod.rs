//! An API key: who may ask for what, from where, until when. The key's value is never here.

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use crate::{Context, Personal, Timestamp, domain::domain_event};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ApiKeyEvent {
    ApiKeyCreated(ApiKeyCreated),
    ApiKeyDisabled(ApiKeyDisabled),
}

domain_event!(ApiKeyEvent personal { ApiKeyCreated "1.0", ApiKeyDisabled "1.0" });

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiKeyCreated {
    /// Networks (CIDR) the key may be used from; none is anywhere.
    pub allow_ips: Vec<String>,
    pub api_key: i64,
    /// Whether it is the one that the server's configuration asks for.
    pub bootstrap: bool,
    /// `*` is every capability.
    pub capabilities: Vec<String>,
    pub expires_at: Option<Timestamp>,
    pub name: String,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiKeyDisabled {
    pub api_key: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    pub number: i64,
    pub name: String,
    pub capabilities: Vec<String>,
    pub allow_ips: Vec<String>,
    pub expires_at: Option<Timestamp>,
    pub bootstrap: bool,
    pub disabled: bool,
}

impl ApiKey {
    /// Whether it is neither disabled nor expired.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        !self.disabled && self.expires_at.is_none_or(|at| now < at)
    }

    #[must_use]
    pub fn allows(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|held| held == "*" || held == capability)
    }

    /// Folds one event.
    #[must_use]
    pub fn fold(state: Option<Self>, event: &ApiKeyEvent) -> Option<Self> {
        match event {
            ApiKeyEvent::ApiKeyCreated(event) => Some(Self {
                number: event.api_key,
                name: event.name.clone(),
                capabilities: event.capabilities.clone(),
                allow_ips: event.allow_ips.clone(),
                expires_at: event.expires_at,
                bootstrap: event.bootstrap,
                disabled: false,
            }),
            ApiKeyEvent::ApiKeyDisabled(_) => state.map(|key| Self { disabled: true, ..key }),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiKeyCommand {
    Create { name: String, capabilities: Vec<String>, allow_ips: Vec<String>, expires_at: Option<Timestamp>, bootstrap: bool },
    Disable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiKeyError {
    #[error("the API key does not exist")]
    Unknown,
    #[error("the API key exists already")]
    Exists,
    #[error("the API key is disabled already")]
    Disabled,
}

/// Decides a command.
///
/// # Errors
/// Why it was refused.
pub fn decide(state: Option<&ApiKey>, command: &ApiKeyCommand, context: &Context) -> Result<ApiKeyEvent, ApiKeyError> {
    match (state, command) {
        (None, ApiKeyCommand::Create { name, capabilities, allow_ips, expires_at, bootstrap }) => Ok(ApiKeyEvent::ApiKeyCreated(ApiKeyCreated {
            allow_ips: allow_ips.clone(),
            api_key: context.next.api_key,
            bootstrap: *bootstrap,
            capabilities: capabilities.clone(),
            expires_at: *expires_at,
            name: name.clone(),
            personal: Personal::None,
        })),
        (Some(_), ApiKeyCommand::Create { .. }) => Err(ApiKeyError::Exists),
        (None, ApiKeyCommand::Disable) => Err(ApiKeyError::Unknown),
        (Some(key), ApiKeyCommand::Disable) if key.disabled => Err(ApiKeyError::Disabled),
        (Some(key), ApiKeyCommand::Disable) => Ok(ApiKeyEvent::ApiKeyDisabled(ApiKeyDisabled { api_key: key.number, personal: Personal::None })),
    }
}

/// The cqrs-es aggregate is the state itself; a key that was never made is the default.
impl Aggregate for ApiKey {
    const TYPE: &'static str = "api_key";
    type Command = ApiKeyCommand;
    type Event = ApiKeyEvent;
    type Error = ApiKeyError;
    type Services = Context;

    async fn handle(&mut self, command: ApiKeyCommand, context: &Context, sink: &EventSink<Self>) -> Result<(), ApiKeyError> {
        let state = (self.number > 0).then_some(&*self);
        let event = decide(state, &command, context)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: ApiKeyEvent) {
        let state = (self.number > 0).then(|| std::mem::take(self));
        *self = Self::fold(state, &event).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    fn create() -> ApiKeyCommand {
        ApiKeyCommand::Create { name: "shop".into(), capabilities: vec!["verify".into()], allow_ips: vec![], expires_at: None, bootstrap: false }
    }

    fn created() -> ApiKeyEvent {
        decide(None, &create(), &Context::default()).unwrap()
    }

    #[test]
    fn a_key_is_made_once_and_disabled_once() {
        TestFramework::<ApiKey>::with(Context::default()).given_no_previous_events().when(create()).then_expect_events(vec![created()]);
        TestFramework::<ApiKey>::with(Context::default()).given(vec![created()]).when(create()).then_expect_error(ApiKeyError::Exists);
        let disabled = ApiKeyEvent::ApiKeyDisabled(ApiKeyDisabled { api_key: 1, personal: Personal::None });
        TestFramework::<ApiKey>::with(Context::default())
            .given(vec![created()])
            .when(ApiKeyCommand::Disable)
            .then_expect_events(vec![disabled.clone()]);
        TestFramework::<ApiKey>::with(Context::default())
            .given(vec![created(), disabled])
            .when(ApiKeyCommand::Disable)
            .then_expect_error(ApiKeyError::Disabled);
        TestFramework::<ApiKey>::with(Context::default())
            .given_no_previous_events()
            .when(ApiKeyCommand::Disable)
            .then_expect_error(ApiKeyError::Unknown);
    }

    #[test]
    fn capabilities_and_expiry_bound_a_key() {
        let key = ApiKey { number: 1, capabilities: vec!["verify".into()], expires_at: Some(Timestamp(10)), ..ApiKey::default() };
        assert!(key.allows("verify") && !key.allows("activate"));
        assert!(key.is_active(Timestamp(9)) && !key.is_active(Timestamp(10)));
        assert!(ApiKey { capabilities: vec!["*".into()], ..key }.allows("activate"));
    }
}
