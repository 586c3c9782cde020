//! The command line. Results go to standard output, everything else to standard error.

mod access;
mod change;
mod check;
mod delivery;
mod demo;
mod evidence;
mod evidence_args;
mod export;
mod files;
mod generator;
mod nats_args;
mod product;
mod progress;
mod release;
mod serve;
mod statistics;
mod store;
mod subject;
mod webhook;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use change::{ChangeArgs, unexpected};
pub use store::StoreArgs;

/// How often a worker thread looks for new input between two tasks. The default of 61 makes a request that needs no
/// signature wait for up to 61 signatures.
const EVENT_INTERVAL: u32 = 4;
/// How long threads that still work on something are waited for at the end.
const THREADS_END_WITHIN: Duration = Duration::from_secs(2);

/// A license server whose source of truth is a signed, tamper-evident event ledger.
#[derive(Debug, Parser)]
#[command(name = "keyledger", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Walk through the life of a license on a throw-away ledger, then serve it.
    Demo(demo::DemoArgs),
    /// Serve the ledger over HTTP.
    Serve(Box<serve::ServeArgs>),
    /// Make, list and disable API keys; works beside a running server.
    #[command(subcommand)]
    ApiKey(access::ApiKeyCommand),
    /// Add to, remove from and list the block list; works beside a running server.
    #[command(subcommand)]
    Block(access::BlockCommand),
    /// Make, change, list and delete products; works beside a running server.
    #[command(subcommand)]
    Product(product::ProductCommand),
    /// Upload, publish, withdraw and list releases; works beside a running server.
    #[command(subcommand)]
    Release(release::ReleaseCommand),
    /// Make, change, delete and list generators of license keys; works beside a running server.
    #[command(subcommand)]
    Generator(generator::GeneratorCommand),
    /// List web hook deliveries and have them tried again; works beside a running server.
    #[command(subcommand)]
    Delivery(delivery::DeliveryCommand),
    /// Make, list, pause, resume, replay and delete web hook endpoints; works beside a running server.
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Forget somebody's personal data; works beside a running server.
    #[command(subcommand)]
    Subject(subject::SubjectCommand),
    /// Print the secret with which receivers check the signatures of deliveries; web hook endpoints have secrets of their own.
    WebhookSecret(delivery::SecretArgs),
    /// Print the public key that signs: the global one, or a product's.
    PublicKey(check::PublicKeyArgs),
    /// Check the log against its hashes, and the projections against the log.
    Verify(check::VerifyArgs),
    /// Fold the log into fresh projections and swap them with those in use.
    Rebuild(check::RebuildArgs),
    /// Write events into files for analytics; each time those that came since. Works beside a running server.
    Export(export::ExportArgs),
    /// Daily sums over the log.
    #[command(subcommand)]
    Statistics(statistics::StatisticsCommand),
    /// Dispute files, which anyone can check.
    #[command(subcommand)]
    Evidence(evidence::EvidenceCommand),
    /// Clear what was deleted out of the database's files. Nobody can write meanwhile.
    Vacuum(subject::VacuumArgs),
}

/// What a command that failed says.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the program.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("KEYLEDGER_LOG").unwrap_or_else(|_| EnvFilter::new(default_level(&cli.command)));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().event_interval(EVENT_INTERVAL).build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(dispatch(cli.command));
            // A name that doesn't resolve keeps a thread for long, and nobody waits for it any more.
            runtime.shutdown_timeout(THREADS_END_WITHIN);
            result
        }
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keyledger: {error}");
            ExitCode::FAILURE
        }
    }
}

fn default_level(command: &Command) -> &'static str {
    match command {
        // What becomes of a connection to NATS, the relay says once; the library says it at every attempt.
        Command::Serve(_) => "info,async_nats=off",
        Command::Demo(_)
        | Command::ApiKey(_)
        | Command::Block(_)
        | Command::Product(_)
        | Command::Release(_)
        | Command::Generator(_)
        | Command::Delivery(_)
        | Command::Webhook(_)
        | Command::WebhookSecret(_)
        | Command::PublicKey(_)
        | Command::Verify(_)
        | Command::Rebuild(_)
        | Command::Export(_)
        | Command::Statistics(_)
        | Command::Evidence(_)
        | Command::Subject(_)
        | Command::Vacuum(_) => "warn",
    }
}

async fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Serve(args) => serve::run(*args).await,
        Command::ApiKey(command) => access::api_key(command).await,
        Command::Block(command) => access::block(command).await,
        Command::Product(command) => product::product(command).await,
        Command::Release(command) => release::release(command).await,
        Command::Generator(command) => generator::run(command).await,
        Command::Delivery(command) => delivery::run(command).await,
        Command::Webhook(command) => webhook::run(command).await,
        Command::WebhookSecret(args) => delivery::print_secret(args).await,
        Command::PublicKey(args) => check::public_key(args).await,
        Command::Verify(args) => check::verify(args).await,
        Command::Rebuild(args) => check::rebuild(args).await,
        Command::Export(args) => export::run(args).await,
        Command::Statistics(command) => statistics::run(command).await,
        Command::Evidence(command) => evidence::run(command).await,
        Command::Subject(command) => subject::run(command).await,
        Command::Vacuum(args) => subject::vacuum(args).await,
    }
}
