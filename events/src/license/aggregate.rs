//! A license with everything that belongs to it, folded from its stream: the cqrs-es aggregate. The executor decides on
//! rows instead, with the same [`decide`] and the same folds.

use std::collections::BTreeMap;

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use super::{Activation, AtHand, License, LicenseCommand, LicenseError, LicenseEvent, LicenseMeta, decide};
use crate::Context;

/// What the aggregate's commands need from outside: time, numbers, and whether the product may be used.
#[derive(Clone, Copy, Debug)]
pub struct LicenseServices {
    pub context: Context,
    pub product_active: bool,
    /// Whether another license has the key that is asked for.
    pub key_taken: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LicenseAggregate {
    pub license: Option<License>,
    pub activations: BTreeMap<i64, Activation>,
    pub meta: BTreeMap<i64, LicenseMeta>,
}

impl Aggregate for LicenseAggregate {
    const TYPE: &'static str = "license";
    type Command = LicenseCommand;
    type Event = LicenseEvent;
    type Error = LicenseError;
    type Services = LicenseServices;

    async fn handle(&mut self, command: LicenseCommand, services: &LicenseServices, sink: &EventSink<Self>) -> Result<(), LicenseError> {
        let decision = {
            let (identifier, meta_key) = match &command {
                LicenseCommand::Activate { identifier, .. }
                | LicenseCommand::Deactivate { identifier }
                | LicenseCommand::Download { identifier, .. } => (identifier.as_ref(), None),
                LicenseCommand::CreateMeta { key, .. } | LicenseCommand::UpdateMeta { key, .. } | LicenseCommand::DeleteMeta { key, .. } => {
                    (None, key.as_ref())
                }
                LicenseCommand::Create(_)
                | LicenseCommand::Assign { .. }
                | LicenseCommand::EndActivation { .. }
                | LicenseCommand::Update(_)
                | LicenseCommand::ReplaceKey { .. }
                | LicenseCommand::Block
                | LicenseCommand::Unblock { .. }
                | LicenseCommand::RecordRefusal { .. }
                | LicenseCommand::Delete => (None, None),
            };
            let activation = match &command {
                LicenseCommand::EndActivation { activation } => self.activations.get(activation),
                _ => identifier.and_then(|text| self.activations.values().find(|row| row.identifier.as_deref() == Some(text.as_str()))),
            };
            let at_hand = AtHand {
                license: self.license.as_ref(),
                activation,
                meta: meta_key.and_then(|key| self.meta.values().find(|row| row.key == key.as_str())),
                product_active: services.product_active,
                key_taken: services.key_taken,
            };
            decide(at_hand, &command, &services.context)
        };
        // A refusal that is recorded is an event, so it can't be an error here: an error would discard it.
        if decision.events.is_empty() {
            return decision.outcome.map(|_| ());
        }
        for event in decision.events {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: LicenseEvent) {
        match &event {
            LicenseEvent::LicenseActivated(of) => upsert(&mut self.activations, of.activation, |row| Activation::fold(row, &event)),
            LicenseEvent::LicenseDeactivated(of) => upsert(&mut self.activations, of.activation, |row| Activation::fold(row, &event)),
            LicenseEvent::LicenseMetaCreated(of) | LicenseEvent::LicenseMetaUpdated(of) => {
                upsert(&mut self.meta, of.meta, |row| LicenseMeta::fold(row, &event))
            }
            LicenseEvent::LicenseMetaDeleted(of) => upsert(&mut self.meta, of.meta, |row| LicenseMeta::fold(row, &event)),
            _ => {}
        }
        // cqrs-es hands no time over with an event; what the time decides (coalescing of refusals) only the rows know.
        self.license = License::fold(self.license.take(), &event, crate::Timestamp::default());
    }
}

fn upsert<T>(map: &mut BTreeMap<i64, T>, key: i64, fold: impl FnOnce(Option<T>) -> Option<T>) {
    if let Some(row) = fold(map.remove(&key)) {
        map.insert(key, row);
    }
}
