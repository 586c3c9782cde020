//! A signing key pair: the public half and whose answers it signs. The private half is never here.

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use crate::{Context, domain::domain_event};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum KeyPairEvent {
    KeyPairCreated(KeyPairCreated),
}

domain_event!(KeyPairEvent { KeyPairCreated "1.0" });

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

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    pub number: i64,
    pub product: Option<i64>,
    pub algorithm: String,
    pub public_key: String,
}

impl KeyPair {
    /// Folds one event.
    #[must_use]
    pub fn fold(_: Option<Self>, event: &KeyPairEvent) -> Option<Self> {
        match event {
            KeyPairEvent::KeyPairCreated(event) => Some(Self {
                number: event.key_pair,
                product: event.product,
                algorithm: event.algorithm.clone(),
                public_key: event.public_key.clone(),
            }),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPairCommand {
    Create { product: Option<i64>, algorithm: String, public_key: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyPairError {
    #[error("the key pair exists already")]
    Exists,
}

/// Decides a command.
///
/// # Errors
/// Why it was refused.
pub fn decide(state: Option<&KeyPair>, command: &KeyPairCommand, context: &Context) -> Result<KeyPairEvent, KeyPairError> {
    match (state, command) {
        (None, KeyPairCommand::Create { product, algorithm, public_key }) => Ok(KeyPairEvent::KeyPairCreated(KeyPairCreated {
            algorithm: algorithm.clone(),
            key_pair: context.next.key_pair,
            product: *product,
            public_key: public_key.clone(),
        })),
        (Some(_), KeyPairCommand::Create { .. }) => Err(KeyPairError::Exists),
    }
}

impl Aggregate for KeyPair {
    const TYPE: &'static str = "key_pair";
    type Command = KeyPairCommand;
    type Event = KeyPairEvent;
    type Error = KeyPairError;
    type Services = Context;

    async fn handle(&mut self, command: KeyPairCommand, context: &Context, sink: &EventSink<Self>) -> Result<(), KeyPairError> {
        let event = decide((self.number > 0).then_some(&*self), &command, context)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: KeyPairEvent) {
        *self = Self::fold(None, &event).unwrap_or_default();
    }
}
