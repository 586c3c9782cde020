//! A signing key pair: the public half and whose answers it signs. The private half is never here.

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use crate::{Context, domain::domain_event};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum KeyPairEvent {
    KeyPairCreated(KeyPairCreated),
    KeyPairRetired(KeyPairRetired),
}

domain_event!(KeyPairEvent { KeyPairCreated "1.0", KeyPairRetired "1.0" });

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyPairCreated {
    /// As `RSA-2048`.
    pub algorithm: String,
    pub key_pair: i64,
    /// The product whose answers it signs; `None` for the global key pair.
    pub product: Option<i64>,
    /// SPKI, PEM.
    pub public_key: String,
}

/// It signs no more, for good; what it signed can still be checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyPairRetired {
    pub key_pair: i64,
    pub product: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    pub number: i64,
    pub product: Option<i64>,
    pub algorithm: String,
    pub public_key: String,
    pub retired: bool,
}

impl KeyPair {
    /// Folds one event.
    #[must_use]
    pub fn fold(state: Option<Self>, event: &KeyPairEvent) -> Option<Self> {
        match event {
            KeyPairEvent::KeyPairCreated(event) => Some(Self {
                number: event.key_pair,
                product: event.product,
                algorithm: event.algorithm.clone(),
                public_key: event.public_key.clone(),
                retired: false,
            }),
            KeyPairEvent::KeyPairRetired(_) => state.map(|pair| Self { retired: true, ..pair }),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPairCommand {
    Create { product: Option<i64>, algorithm: String, public_key: String },
    Retire,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPairError {
    #[error("the key pair exists already")]
    Exists,
    #[error("the key pair does not exist")]
    Unknown,
    #[error("the key pair is retired already")]
    Retired,
    #[error("the key pair is the one that signs; make another the current one first")]
    Current,
}

/// Decides a command. `is_current` tells whether the pair is the one that signs for its product, or the global one.
///
/// # Errors
/// Why it was refused.
pub fn decide(state: Option<&KeyPair>, is_current: bool, command: &KeyPairCommand, context: &Context) -> Result<KeyPairEvent, KeyPairError> {
    match (state, command) {
        (None, KeyPairCommand::Create { product, algorithm, public_key }) => Ok(KeyPairEvent::KeyPairCreated(KeyPairCreated {
            algorithm: algorithm.clone(),
            key_pair: context.next.key_pair,
            product: *product,
            public_key: public_key.clone(),
        })),
        (Some(_), KeyPairCommand::Create { .. }) => Err(KeyPairError::Exists),
        (None, KeyPairCommand::Retire) => Err(KeyPairError::Unknown),
        (Some(pair), KeyPairCommand::Retire) if pair.retired => Err(KeyPairError::Retired),
        (Some(_), KeyPairCommand::Retire) if is_current => Err(KeyPairError::Current),
        (Some(pair), KeyPairCommand::Retire) => Ok(KeyPairEvent::KeyPairRetired(KeyPairRetired { key_pair: pair.number, product: pair.product })),
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct KeyPairServices {
    pub context: Context,
    pub is_current: bool,
}

impl Aggregate for KeyPair {
    const TYPE: &'static str = "key_pair";
    type Command = KeyPairCommand;
    type Event = KeyPairEvent;
    type Error = KeyPairError;
    type Services = KeyPairServices;

    async fn handle(&mut self, command: KeyPairCommand, services: &KeyPairServices, sink: &EventSink<Self>) -> Result<(), KeyPairError> {
        let event = decide((self.number > 0).then_some(&*self), services.is_current, &command, &services.context)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: KeyPairEvent) {
        let state = (self.number > 0).then(|| std::mem::take(self));
        *self = Self::fold(state, &event).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    fn framework(is_current: bool) -> TestFramework<KeyPair> {
        TestFramework::with(KeyPairServices { is_current, ..KeyPairServices::default() })
    }

    fn create() -> KeyPairCommand {
        KeyPairCommand::Create { product: Some(2), algorithm: "RSA-2048".into(), public_key: "PEM".into() }
    }

    #[test]
    fn a_key_pair_is_made_once_and_retired_once_unless_it_signs() {
        let created = decide(None, false, &create(), &Context::default()).unwrap();
        let retired = KeyPairEvent::KeyPairRetired(KeyPairRetired { key_pair: 1, product: Some(2) });
        framework(false).given_no_previous_events().when(create()).then_expect_events(vec![created.clone()]);
        framework(false).given(vec![created.clone()]).when(create()).then_expect_error(KeyPairError::Exists);
        framework(true).given(vec![created.clone()]).when(KeyPairCommand::Retire).then_expect_error(KeyPairError::Current);
        framework(false).given(vec![created.clone()]).when(KeyPairCommand::Retire).then_expect_events(vec![retired.clone()]);
        framework(false).given(vec![created, retired]).when(KeyPairCommand::Retire).then_expect_error(KeyPairError::Retired);
        framework(false).given_no_previous_events().when(KeyPairCommand::Retire).then_expect_error(KeyPairError::Unknown);
    }
}
