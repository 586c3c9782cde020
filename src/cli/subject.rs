//! `keyledger subject` and `keyledger vacuum`.

use clap::{Args, Subcommand};
use keyledger_events::{SubjectKind, subject::SubjectError, values::short_text};

use super::{ChangeArgs, Failure, StoreArgs, change::CLOSE_PATIENCE, unexpected};
use crate::ledger::{CommandResult, Forget, SubjectName};

#[derive(Debug, Subcommand)]
pub enum SubjectCommand {
    /// Destroy the key of somebody's personal data, and blank what lists and answers show of it. For good.
    Forget(ForgetArgs),
}

#[derive(Args)]
#[group(id = "subject", required = true, multiple = false, args = ["email", "owner", "license", "api_key", "block"])]
pub struct ForgetArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// The owner of licenses with this address; `-` reads it from standard input, so that it stays out of the shell's history.
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// An owner by number: for what was recorded after the address was forgotten.
    #[arg(long, value_name = "NUMBER")]
    owner: Option<i64>,
    /// A license by number: for what was recorded while it had no owner.
    #[arg(long, value_name = "NUMBER")]
    license: Option<i64>,
    /// Whoever asked with this API key, by its number in the list.
    #[arg(long, value_name = "NUMBER")]
    api_key: Option<i64>,
    /// What an entry of the block list blocks, by its number; it blocks nothing from then on.
    #[arg(long, value_name = "NUMBER")]
    block: Option<i64>,
}

/// Without the address.
impl std::fmt::Debug for ForgetArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForgetArgs").finish_non_exhaustive()
    }
}

#[derive(Debug, Args)]
pub struct VacuumArgs {
    #[command(flatten)]
    store: StoreArgs,
}

impl ForgetArgs {
    fn name(&self) -> Result<SubjectName, Failure> {
        if let Some(email) = &self.email {
            let given = if email == "-" { std::io::read_to_string(std::io::stdin())? } else { email.clone() };
            let email = short_text(&given).map_err(|error| format!("--email {error}"))?;
            return Ok(SubjectName::Email(email.to_owned()));
        }
        let numbers = [
            (SubjectKind::Owner, self.owner),
            (SubjectKind::License, self.license),
            (SubjectKind::Actor, self.api_key),
            (SubjectKind::Block, self.block),
        ];
        let named = numbers.into_iter().find_map(|(kind, number)| number.map(|number| SubjectName::Number(kind, number)));
        named.ok_or_else(|| "give --email, --owner, --license, --api-key or --block".into())
    }
}

pub async fn run(command: SubjectCommand) -> Result<(), Failure> {
    let SubjectCommand::Forget(args) = command;
    let (subject, origin) = (args.name()?, args.change.origin("subject forget")?);
    let ledger = args.change.store.open().await?;
    let outcome = ledger.forget(Forget { subject, origin, idempotency: None }).await;
    ledger.close(CLOSE_PATIENCE).await;
    let outcome = outcome?;
    match outcome.result {
        CommandResult::SubjectForgotten { kind, number, sealed, rows } => {
            let kind = if kind == SubjectKind::Actor { "API key" } else { kind.as_str() };
            println!(
                "{kind} {number} is forgotten (event {}): {sealed} events can't be opened any more, {rows} rows are blank",
                outcome.first_position
            );
            eprintln!("Deleted rows stay in the database's files until their room is used again: `keyledger vacuum` clears them away.");
            eprintln!("Backups and archived write-ahead logs from before still hold the data and its key.");
            Ok(())
        }
        CommandResult::SubjectRefused(error @ SubjectError::Unknown) => Err(error.to_string().into()),
        other => Err(unexpected(&other)),
    }
}

pub async fn vacuum(args: VacuumArgs) -> Result<(), Failure> {
    args.store.store(false).await?.vacuum().await?;
    println!("nothing deleted is left in the database's files");
    Ok(())
}
