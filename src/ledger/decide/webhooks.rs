//! Web hook endpoints.

use keyledger_events::{
    Event,
    webhook_endpoint::{self, EndpointFields, MaySend, WebhookEndpoint, WebhookEndpointCommand, WebhookEndpointError},
};
use keyledger_projections::{CountersRow, Table, WebhookEndpointRow, registry::COUNTERS};

use super::{Executed, outcome};
use crate::ledger::{
    command::{CommandResult, ExecuteError},
    workspace::Staged,
};

/// Makes an endpoint, which is told of what comes after it unless something else is said.
pub(super) fn create(staged: &mut Staged<'_, '_>, fields: &EndpointFields, may: MaySend, salt: &str, after: Option<i64>) -> Executed {
    let own = own_position(staged);
    if after.is_some_and(|after| after >= own) {
        return outcome(staged, CommandResult::WebhookEndpointRefused(WebhookEndpointError::NotYet), None);
    }
    let others = staged.row::<CountersRow>(COUNTERS.0, COUNTERS.1).map_or(0, |row| row.webhook_endpoints);
    let command = WebhookEndpointCommand::Create { fields: fields.clone(), may, salt: salt.to_owned(), after: after.unwrap_or(own), others };
    let endpoint = staged.context().next.webhook_endpoint;
    let result = append(staged, endpoint, None, &command)?;
    outcome(staged, result, None)
}

/// A command on an endpoint: on this very state of it, where its last event is named.
pub(super) fn change(staged: &mut Staged<'_, '_>, endpoint: i64, sequence: Option<i64>, command: &WebhookEndpointCommand) -> Executed {
    let row = staged.row::<WebhookEndpointRow>(Table::WebhookEndpoint, endpoint).cloned();
    let refused = match (&row, command) {
        (None, _) => Some(WebhookEndpointError::Unknown),
        (Some(row), _) if sequence.is_some_and(|sequence| sequence != row.sequence) => Some(WebhookEndpointError::Changed),
        (_, WebhookEndpointCommand::Replay { after }) if *after >= own_position(staged) => Some(WebhookEndpointError::NotYet),
        _ => None,
    };
    let result = match refused {
        Some(error) => CommandResult::WebhookEndpointRefused(error),
        None => append(staged, endpoint, row.map(|row| row.endpoint), command)?,
    };
    outcome(staged, result, None)
}

/// The position that the command's next event gets.
fn own_position(staged: &Staged<'_, '_>) -> i64 {
    let (first, count) = staged.positions();
    first + count
}

fn append(
    staged: &mut Staged<'_, '_>,
    endpoint: i64,
    state: Option<WebhookEndpoint>,
    command: &WebhookEndpointCommand,
) -> Result<CommandResult, ExecuteError> {
    Ok(match webhook_endpoint::decide(state.as_ref(), command, &staged.context()) {
        Ok(event) => {
            if let Some(event) = event {
                staged.append(Event::WebhookEndpoint(event))?;
            }
            CommandResult::WebhookEndpointSet { endpoint }
        }
        Err(error) => CommandResult::WebhookEndpointRefused(error),
    })
}
