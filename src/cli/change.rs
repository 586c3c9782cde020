//! What every command that changes the ledger takes and does: where, why, and one command under the name of its operation.

use std::time::Duration;

use clap::Args;
use keyledger_events::values::short_text;

use super::{Failure, StoreArgs};
use crate::ledger::{Command, CommandResult, Ledger, Origin, Request};

/// How long the executor may take to finish what is queued when the program ends.
pub const CLOSE_PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub struct ChangeArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Why, for the history.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl ChangeArgs {
    /// Who asks, and why.
    ///
    /// # Errors
    /// When the reason is no short text.
    pub fn origin(&self, operation: &'static str) -> Result<Origin, Failure> {
        let reason = self.reason.as_deref().map(|text| short_text(text).map(str::to_owned)).transpose();
        let reason = reason.map_err(|error| format!("--reason {error}"))?;
        let operator = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).ok();
        let operator = operator.as_deref().and_then(|name| short_text(name).ok()).map(str::to_owned);
        Ok(Origin { operation: Some(operation), operator, reason, ..Origin::operator() })
    }

    /// Opens the ledger for one command.
    ///
    /// # Errors
    /// When the ledger can't be opened, the command can't be made, or has no outcome.
    pub async fn execute(
        &self,
        operation: &'static str,
        command: impl FnOnce(&Ledger) -> Result<Command, Failure>,
    ) -> Result<CommandResult, Failure> {
        let origin = self.origin(operation)?;
        let ledger = self.store.open().await?;
        let request = Request { command: command(&ledger)?, origin, idempotency: None };
        let outcome = ledger.execute(request).await;
        ledger.close(CLOSE_PATIENCE).await;
        Ok(outcome?.result)
    }
}

/// A result that no command of this kind has.
pub fn unexpected(result: &CommandResult) -> Failure {
    format!("unexpected result: {result:?}").into()
}
