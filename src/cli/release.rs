//! `keyledger release`.

use std::path::PathBuf;

use bytes::Bytes;
use clap::{Args, Subcommand};
use futures::{Stream, stream};
use keyledger_events::Timestamp;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::{ChangeArgs, Failure, StoreArgs, change::CLOSE_PATIENCE, files::FilesArgs, unexpected};
use crate::{
    ledger::{Command, CommandResult, DistributionCommand, Origin, Request},
    releases::{self, ReleaseDetails},
};

/// How much of a file is read at once.
const PIECE_BYTES: usize = 256 * 1024;
/// Releases that a list reads at once.
const PAGE: i64 = 500;

#[derive(Debug, Subcommand)]
pub enum ReleaseCommand {
    /// Upload a file as a release of a product; nobody sees it until it is published.
    Upload(UploadArgs),
    /// Offer a release for download.
    Publish(PublishArgs),
    /// Offer it no longer; it can be published again.
    Unpublish(NumberArgs),
    /// Take a release back for good, and delete its file; its version can be used again.
    Withdraw(WithdrawArgs),
    /// List the releases.
    List(ListArgs),
}

#[derive(Debug, Args)]
pub struct UploadArgs {
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    files: FilesArgs,
    /// The product's number.
    #[arg(long, value_name = "NUMBER")]
    product: i64,
    /// The version, as people read it.
    #[arg(long = "release-version", value_name = "VERSION")]
    version: String,
    /// The version as a number, unique for the product [default: the version's digits]
    #[arg(long, value_name = "NUMBER")]
    numeric_version: Option<i64>,
    /// What is new, in a line.
    #[arg(long, default_value = "", value_name = "TEXT")]
    summary: String,
    /// What is new, in full.
    #[arg(long, default_value = "", value_name = "TEXT")]
    changelog: String,
    /// The file's media type [default: by its name]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Publish it at once.
    #[arg(long)]
    publish: bool,
    /// The file.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub struct PublishArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// The date that clients see: RFC 3339 or YYYY-MM-DD (UTC) [default: now]
    #[arg(long, value_name = "TIME")]
    release_date: Option<String>,
    /// The release's number in the list.
    number: i64,
}

#[derive(Debug, Args)]
pub struct NumberArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// The release's number in the list.
    number: i64,
}

#[derive(Debug, Args)]
pub struct WithdrawArgs {
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    files: FilesArgs,
    /// The release's number in the list.
    number: i64,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Those of one product alone.
    #[arg(long, value_name = "NUMBER")]
    product: Option<i64>,
}

pub async fn release(command: ReleaseCommand) -> Result<(), Failure> {
    match command {
        ReleaseCommand::Upload(args) => upload(args).await,
        ReleaseCommand::Publish(args) => {
            let date = |text: &String| Timestamp::parse(text).ok_or_else(|| format!("--release-date {text}: not a time"));
            let release_date = args.release_date.as_ref().map(date).transpose()?;
            let command = DistributionCommand::PublishRelease { release: args.number, release_date };
            let result = args.change.execute("release publish", |_| Ok(Command::Distribution(command))).await?;
            told(args.number, &result, "is published")
        }
        ReleaseCommand::Unpublish(args) => {
            let command = DistributionCommand::UnpublishRelease { release: args.number };
            let result = args.change.execute("release unpublish", |_| Ok(Command::Distribution(command))).await?;
            told(args.number, &result, "is no longer published")
        }
        ReleaseCommand::Withdraw(args) => {
            let origin = args.change.origin("release withdraw")?;
            let files = args.files.open(&args.change.store.data_dir)?;
            let ledger = args.change.store.open().await?;
            let outcome = releases::withdraw(&ledger, &files, args.number, origin, None).await;
            ledger.close(CLOSE_PATIENCE).await;
            told(args.number, &outcome?.result, "is withdrawn")
        }
        ReleaseCommand::List(args) => list(args).await,
    }
}

fn told(number: i64, result: &CommandResult, done: &str) -> Result<(), Failure> {
    match result {
        CommandResult::ReleasePublished | CommandResult::ReleaseUnpublished | CommandResult::ReleaseWithdrawn => {
            println!("release {number} {done}");
            Ok(())
        }
        CommandResult::ReleaseRefused(error) => Err(format!("release {number}: {error}").into()),
        other => Err(unexpected(other)),
    }
}

async fn upload(args: UploadArgs) -> Result<(), Failure> {
    let origin = args.change.origin("release upload")?;
    let shown = args.file.display().to_string();
    let file = File::open(&args.file).await.map_err(|error| format!("cannot read {shown}: {error}"))?;
    if !file.metadata().await?.is_file() {
        return Err(format!("{shown} is no file").into());
    }
    let details = ReleaseDetails {
        product: args.product,
        version: args.version,
        numeric_version: args.numeric_version,
        update_summary: args.summary,
        changelog: args.changelog,
        file_name: args.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        content_type: args.content_type,
    };
    let files = args.files.open(&args.change.store.data_dir)?;
    let ledger = args.change.store.open().await?;
    let uploaded = async {
        let outcome = releases::upload(&ledger, &files, &details, origin.clone(), None, pieces(file)).await?;
        let CommandResult::ReleaseUploaded { release } = outcome.result else { return Err(unexpected(&outcome.result)) };
        println!("release {release} is uploaded");
        if args.publish {
            let origin = Origin { operation: Some("release publish"), ..origin };
            let command = Command::Distribution(DistributionCommand::PublishRelease { release, release_date: None });
            let outcome = ledger.execute(Request { command, origin, idempotency: None }).await?;
            told(release, &outcome.result, "is published")?;
        }
        Ok(())
    };
    let uploaded = uploaded.await;
    ledger.close(CLOSE_PATIENCE).await;
    uploaded
}

fn pieces(file: File) -> impl Stream<Item = std::io::Result<Bytes>> {
    stream::try_unfold(file, |mut file| async move {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let read = (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut piece).await?;
        Ok((read > 0).then(|| (Bytes::from(piece), file)))
    })
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let ledger = args.store.open().await?;
    println!(
        "{:<6} {:<7} {:<12} {:<16} {:<11} {:<20} {:>12} {:>9} file",
        "number", "product", "version", "numeric version", "state", "date", "bytes", "downloads"
    );
    let mut after = 0;
    loop {
        let page = ledger.release_page(args.product, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.release.number;
        for row in &page {
            let release = &row.release;
            let state = match (release.withdrawn, release.published) {
                (true, _) => "withdrawn",
                (false, true) => "published",
                (false, false) => "draft",
            };
            let date = release.release_date.map(Timestamp::date_time).unwrap_or_default();
            println!(
                "{:<6} {:<7} {:<12} {:<16} {state:<11} {date:<20} {:>12} {:>9} {}",
                release.number, release.product, release.version, release.numeric_version, release.size, row.downloads, release.file_name
            );
        }
    }
    ledger.close(CLOSE_PATIENCE).await;
    Ok(())
}
