//! `keyledger evidence`: dispute files.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use keyledger_events::Timestamp;
use keyledger_evidence::command::{self, Paths};

use super::{
    Failure, StoreArgs,
    change::CLOSE_PATIENCE,
    evidence_args::{CheckpointFileArgs, OriginArgs},
};
use crate::{
    clock::Clock,
    evidence::{self, ExportOptions, Publisher},
    ledger::Ledger,
    signer::{NoteSigner, Signer},
};

#[derive(Debug, Subcommand)]
pub enum EvidenceCommand {
    /// Make a dispute file of a license; works beside a running server.
    Export(ExportArgs),
    /// Check a dispute file, offline and without a ledger.
    Verify(VerifyArgs),
    /// Print the key that checks the ledger's checkpoints.
    VerifierKey(KeyArgs),
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    origin: OriginArgs,
    #[command(flatten)]
    file: CheckpointFileArgs,
    /// The license's key, number or id.
    #[arg(long, value_name = "LICENSE")]
    license: String,
    /// The beginning of the period in dispute: RFC 3339 or YYYY-MM-DD (UTC). The file always holds the license's whole history, from
    /// which its state follows; the report marks what is inside the period
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Its end.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// A checkpoint that the customer kept: the file proves that the log goes on from it; may be given several times.
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Open the personal data of the license's events.
    #[arg(long)]
    with_personal_data: bool,
    /// The file to write; one that is there already stays.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Args)]
pub struct KeyArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    origin: OriginArgs,
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

pub async fn run(command: EvidenceCommand) -> Result<(), Failure> {
    match command {
        EvidenceCommand::Export(args) => export(args).await,
        EvidenceCommand::Verify(args) => {
            let paths = Paths { case: args.case, checkpoints: args.checkpoint, public_keys: args.public_key, answers: args.answer };
            Ok(command::run(&paths, &mut std::io::stdout().lock())?)
        }
        EvidenceCommand::VerifierKey(args) => {
            let (store, vault) = args.store.open_vault().await?;
            println!("{}", NoteSigner::new(&vault, &args.origin.name(&store, vault.ledger_id()).await?)?.verifier_key());
            Ok(())
        }
    }
}

fn time(option: &str, text: Option<&String>) -> Result<Option<Timestamp>, Failure> {
    text.map(|text| Timestamp::parse(text).ok_or_else(|| format!("{option} {text}: not a time").into())).transpose()
}

async fn export(args: ExportArgs) -> Result<(), Failure> {
    let (from, to) = (time("--from", args.from.as_ref())?, time("--to", args.to.as_ref())?);
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err("--to is before --from".into());
    }
    let read = |path: &PathBuf| std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
    let earlier = args.checkpoint.iter().map(read).collect::<Result<_, _>>()?;
    let options = ExportOptions { from, to, earlier, with_personal_data: args.with_personal_data };
    let shown = args.output.display().to_string();
    // Before the work, and never over another file. It holds a license key.
    let file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&args.output);
    let mut file = file.map_err(|error| format!("cannot make {shown}: {error}"))?;
    let made = make(&args, options).await;
    let written = made.and_then(|bytes| {
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(|error| format!("cannot write {shown}: {error}"))?;
        Ok(())
    });
    if written.is_err() {
        // Nothing is left of what did not come to its end.
        let _ = std::fs::remove_file(&args.output);
    }
    written?;
    println!("{shown} is made; check it with: keyledger evidence verify {shown}");
    Ok(())
}

async fn make(args: &ExportArgs, options: ExportOptions) -> Result<Vec<u8>, Failure> {
    let ledger = args.store.open().await?;
    let made = make_from(&ledger, args, options).await;
    ledger.close(CLOSE_PATIENCE).await;
    made
}

async fn make_from(ledger: &Ledger, args: &ExportArgs, options: ExportOptions) -> Result<Vec<u8>, Failure> {
    let vault = ledger.vault();
    let notes = Arc::new(NoteSigner::new(vault, &args.origin.name(ledger.store(), vault.ledger_id()).await?)?);
    // A checkpoint will be signed: never of an old copy that was put back.
    evidence::check_start(ledger.store(), &notes, args.file.path(&args.store).as_deref()).await?;
    let signer = Signer::new(Arc::clone(ledger.store()), Arc::clone(vault), 1).await?;
    let stream = ledger.license_stream(&args.license).await.map_err(|error| format!("--license: {error}"))?;
    let number = ledger.license_number(stream).await?;
    let published = Publisher::new(ledger.clone(), Clock::default(), Arc::clone(&notes)).publish_for(number).await?;
    Ok(evidence::export(ledger, &signer, &notes, stream, published, options).await?)
}
