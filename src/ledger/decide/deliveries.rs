//! Deliveries, and the activations ended from this side that are told by them.

use keyledger_events::{
    Event,
    delivery::{self, About, Delivery, DeliveryCommand, DeliveryError, DeliveryEvent, DeliveryKind},
    license::{self, AtHand, Done, LicenseCommand},
};
use keyledger_projections::{ActivationRow, DeliveryRow, LicenseRow, ProductRow, Table};

use super::{Executed, internal, license_result, outcome};
use crate::ledger::{
    command::{CommandResult, ExecuteError},
    workspace::Staged,
};

/// Decides a command on a delivery and adds its event; gives the event.
pub(super) fn append(
    staged: &mut Staged<'_, '_>,
    state: Option<&Delivery>,
    command: &DeliveryCommand,
) -> Result<Result<DeliveryEvent, DeliveryError>, ExecuteError> {
    match delivery::decide(state, command, &staged.context()) {
        Ok(event) => {
            staged.append(Event::Delivery(event.clone()))?;
            Ok(Ok(event))
        }
        Err(error) => Ok(Err(error)),
    }
}

pub(super) fn on_delivery(staged: &mut Staged<'_, '_>, number: i64, command: &DeliveryCommand) -> Executed {
    let state = staged.row::<DeliveryRow>(Table::Delivery, number).map(|row| row.delivery.clone());
    // Only what happens queues a delivery.
    let decided = if state.is_some() { append(staged, state.as_ref(), command)? } else { Err(DeliveryError::Unknown) };
    let result = match decided {
        Ok(DeliveryEvent::DeliveryStarted(event)) => CommandResult::DeliveryStarted { attempt: event.attempt },
        Ok(_) => CommandResult::DeliveryDone,
        Err(error) => CommandResult::DeliveryRefused(error),
    };
    outcome(staged, result, None)
}

/// Ends an activation. Whoever gave a URL to be told at is told: the client with its activation, the vendor with the product.
pub(super) fn end_activation(staged: &mut Staged<'_, '_>, number: i64, activation: i64) -> Executed {
    let license = staged.row::<LicenseRow>(Table::License, number).map(|row| row.license.clone());
    let row = staged.row::<ActivationRow>(Table::Activation, activation).map(|row| row.activation.clone());
    let product = license.as_ref().and_then(|license| staged.row::<ProductRow>(Table::Product, license.product)).map(|row| row.product.clone());
    let key_pair = product.as_ref().and_then(|product| product.signing_key_pair());
    let at_hand = AtHand { license: license.as_ref(), activation: row.as_ref(), ..AtHand::default() };
    let decision = license::decide(at_hand, &LicenseCommand::EndActivation { activation }, &staged.context());
    for event in decision.events {
        staged.append(Event::License(event))?;
    }
    let result = match decision.outcome {
        Ok(done) => {
            if done == Done::Deactivated {
                let activation_url = row.as_ref().and_then(|row| row.post_url.as_deref()).unwrap_or_default();
                let product_url = product.as_ref().filter(|product| !product.deleted).map_or("", |product| product.post_url.as_str());
                let about = About {
                    license: Some(number),
                    activation: Some(activation),
                    product: license.as_ref().map_or(0, |license| license.product),
                    ..About::default()
                };
                let mut kinds = Vec::new();
                kinds.extend((!activation_url.is_empty()).then_some(DeliveryKind::ActivationEnded));
                kinds.extend((!product_url.is_empty() && product_url != activation_url).then_some(DeliveryKind::ProductActivationEnded));
                for kind in kinds {
                    append(staged, None, &DeliveryCommand::Queue(About { kind, ..about }))?.map_err(internal)?;
                }
            }
            license_result(done)
        }
        Err(error) => CommandResult::LicenseRefused(error),
    };
    outcome(staged, result, key_pair)
}
