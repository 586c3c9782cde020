//! `keyledger evidence`: dispute files.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyledger_evidence::command::{self, Paths};

use super::Failure;

#[derive(Debug, Subcommand)]
pub enum EvidenceCommand {
    /// Check a dispute file, offline and without a ledger.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The dispute file.
    #[arg(value_name = "FILE")]
    case: PathBuf,
    /// A checkpoint that you kept; may be given several times.
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// A key that you trust: the vendor's global public key (PEM), or the log's checkpoint key (vkey); may be given several times.
    #[arg(long, value_name = "FILE")]
    public_key: Vec<PathBuf>,
    /// An answer of the server that you kept, the whole JSON body; may be given several times.
    #[arg(long, value_name = "FILE")]
    answer: Vec<PathBuf>,
}

pub fn run(command: EvidenceCommand) -> Result<(), Failure> {
    match command {
        EvidenceCommand::Verify(args) => {
            let paths = Paths { case: args.case, checkpoints: args.checkpoint, public_keys: args.public_key, answers: args.answer };
            Ok(command::run(&paths, &mut std::io::stdout().lock())?)
        }
    }
}
