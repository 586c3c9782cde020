//! `keyledger delivery` and `keyledger webhook-secret`.

use std::sync::LazyLock;

use clap::{Args, Subcommand};
use keyledger_events::delivery::{DeliveryCommand as LedgerDelivery, DeliveryState};
use keyledger_projections::{DeliveryRow, Table};

use super::{ChangeArgs, Failure, StoreArgs, unexpected};
use crate::ledger::{Command, CommandResult};

/// Deliveries shown at most.
const SHOWN_MAX: i64 = 1_000;

#[derive(Debug, Subcommand)]
pub enum DeliveryCommand {
    /// List deliveries, newest first: those that are tried, and those that were given up.
    List(ListArgs),
    /// Have a delivery tried again that was given up or taken.
    Retry(RetryArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Those that were taken, too.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub struct RetryArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// The delivery's number in the list.
    number: i64,
}

#[derive(Debug, Args)]
pub struct SecretArgs {
    #[command(flatten)]
    store: StoreArgs,
}

pub async fn run(command: DeliveryCommand) -> Result<(), Failure> {
    match command {
        DeliveryCommand::List(args) => list(&args).await,
        DeliveryCommand::Retry(args) => {
            let command = |_: &_| Ok(Command::Delivery { delivery: args.number, command: LedgerDelivery::Retry });
            match args.change.execute("delivery retry", command).await? {
                CommandResult::DeliveryDone => {
                    println!("Delivery {} is tried again", args.number);
                    Ok(())
                }
                CommandResult::DeliveryRefused(error) => Err(format!("delivery {}: {error}", args.number).into()),
                other => Err(unexpected(&other)),
            }
        }
    }
}

/// The secret is the ledger's; whoever has it can sign as the ledger does.
pub async fn print_secret(args: SecretArgs) -> Result<(), Failure> {
    let (_, vault) = args.store.open_vault().await?;
    println!("{}", vault.webhook_secret().reveal());
    Ok(())
}

static DELIVERIES: LazyLock<String> = LazyLock::new(|| {
    let columns: Vec<&str> = Table::Delivery.columns().iter().map(|column| column.name).collect();
    format!("SELECT {} FROM delivery ORDER BY number DESC LIMIT $1", columns.join(", "))
});

static UNDELIVERED: LazyLock<String> = LazyLock::new(|| {
    let columns: Vec<&str> = Table::Delivery.columns().iter().map(|column| column.name).collect();
    format!("SELECT {} FROM delivery WHERE state = 'pending' OR state = 'given_up' ORDER BY number DESC LIMIT $1", columns.join(", "))
});

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let sql: &'static str = if args.all { DELIVERIES.as_str() } else { UNDELIVERED.as_str() };
    println!("number\tkind\tabout\tstate\tattempts\tnext\tstatus\terror\tcreated");
    for row in args.store.store(false).await?.query(sql, &[SHOWN_MAX.into()]).await? {
        let row = DeliveryRow::read(&mut row.into())?;
        let delivery = &row.delivery;
        let about = match (delivery.job, delivery.license, delivery.activation) {
            (Some(job), _, _) => format!("job {job}"),
            (None, Some(license), Some(activation)) => format!("license {license} activation {activation}"),
            _ => String::new(),
        };
        let next = if delivery.state == DeliveryState::Pending { delivery.due_at.to_string() } else { String::new() };
        let status = delivery.status.map_or_else(String::new, |status| status.to_string());
        println!(
            "{}\t{}\t{about}\t{}\t{}\t{next}\t{status}\t{}\t{}",
            delivery.number,
            delivery.kind.as_str(),
            delivery.state.as_str(),
            delivery.attempts,
            delivery.error.as_deref().unwrap_or_default(),
            row.created_at
        );
    }
    Ok(())
}
