//! `keyledger statistics`.

use clap::{Args, Subcommand};

use super::{Failure, StoreArgs};
use crate::feed::statistics;

#[derive(Debug, Subcommand)]
pub enum StatisticsCommand {
    /// Forget all sums and have them added up anew from the log, by the running server or the next one.
    Rebuild(RebuildArgs),
}

#[derive(Debug, Args)]
pub struct RebuildArgs {
    #[command(flatten)]
    store: StoreArgs,
}

pub async fn run(command: StatisticsCommand) -> Result<(), Failure> {
    let StatisticsCommand::Rebuild(args) = command;
    statistics::begin_anew(args.store.store(false).await?).await?;
    println!("The statistics are added up anew, from the first event on");
    Ok(())
}
