//! The ledger itself: its first event names it.

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Context, domain::domain_event, envelope::LEAF_FORMAT};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LedgerEvent {
    LedgerCreated(LedgerCreated),
}

domain_event!(LedgerEvent { LedgerCreated "1.0" });

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerCreated {
    pub format: String,
    pub ledger_id: Uuid,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub ledger_id: Option<Uuid>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerCommand {
    Create { ledger_id: Uuid },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    #[error("the ledger exists already")]
    Exists,
}

impl Ledger {
    /// Folds one event.
    #[must_use]
    pub fn fold(_: Option<Self>, event: &LedgerEvent) -> Option<Self> {
        match event {
            LedgerEvent::LedgerCreated(event) => Some(Self { ledger_id: Some(event.ledger_id) }),
        }
    }
}

/// Decides a command.
///
/// # Errors
/// When the ledger was made already.
pub fn decide(state: Option<&Ledger>, command: &LedgerCommand) -> Result<LedgerEvent, LedgerError> {
    match (state, command) {
        (None, LedgerCommand::Create { ledger_id }) => {
            Ok(LedgerEvent::LedgerCreated(LedgerCreated { format: LEAF_FORMAT.to_owned(), ledger_id: *ledger_id }))
        }
        (Some(_), LedgerCommand::Create { .. }) => Err(LedgerError::Exists),
    }
}

impl Aggregate for Ledger {
    const TYPE: &'static str = "ledger";
    type Command = LedgerCommand;
    type Event = LedgerEvent;
    type Error = LedgerError;
    type Services = Context;

    async fn handle(&mut self, command: LedgerCommand, _: &Context, sink: &EventSink<Self>) -> Result<(), LedgerError> {
        let event = decide(self.ledger_id.is_some().then_some(&*self), &command)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: LedgerEvent) {
        *self = Self::fold(None, &event).unwrap_or_default();
    }
}
