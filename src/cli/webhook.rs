//! `keyledger webhook`: web hook endpoints.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Args, Subcommand};
use keyledger_events::webhook_endpoint::{ENDPOINTS_MAX, EndpointFields, MaySend, PauseReason, WantedEvents, WebhookEndpointCommand as Change};

use super::{ChangeArgs, Failure, StoreArgs, change::CLOSE_PATIENCE, unexpected};
use crate::{
    feed::Filter,
    ledger::{Command, CommandResult},
    vault::random,
    webhooks::endpoint_url,
};

#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// Make an endpoint; prints its number and its secret.
    Create(CreateArgs),
    /// List the endpoints, and how far each was told.
    List(ListArgs),
    /// Print an endpoint's secret.
    Secret(SecretArgs),
    /// Give an endpoint another secret; messages are signed with the one before, too, for a day.
    RotateSecret(NumberArgs),
    /// Tell an endpoint nothing until it is resumed.
    Pause(NumberArgs),
    /// Go on where an endpoint was paused; paused or not, what waits for another try is tried at once.
    Resume(NumberArgs),
    /// Tell an endpoint again of the events behind a position.
    Replay(ReplayArgs),
    /// Delete an endpoint.
    Delete(NumberArgs),
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// Where events are sent.
    #[arg(long)]
    url: String,
    /// A type of events, such as license.activated or license.*; may be given several times [default: all].
    #[arg(long = "type", value_delimiter = ',', value_name = "TYPE")]
    types: Vec<String>,
    /// Only events about this product.
    #[arg(long, value_name = "NUMBER")]
    product: Option<i64>,
    /// Only events about this license.
    #[arg(long, value_name = "NUMBER")]
    license: Option<i64>,
    /// Send license and contract keys whole.
    #[arg(long)]
    license_keys: bool,
    /// Send personal data open.
    #[arg(long)]
    personal_data: bool,
    /// Begin behind this position; -1 is the beginning of the log [default: with what comes].
    #[arg(long, value_name = "POSITION", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    after: Option<i64>,
}

#[derive(Debug, Args)]
pub struct NumberArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// The endpoint's number in the list.
    number: i64,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// The endpoint's number in the list.
    number: i64,
    /// The events behind this position; -1 is the beginning of the log.
    #[arg(long, value_name = "POSITION", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    after: i64,
}

#[derive(Debug, Args)]
pub struct SecretArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The endpoint's number in the list.
    number: i64,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    store: StoreArgs,
}

pub async fn run(command: WebhookCommand) -> Result<(), Failure> {
    match command {
        WebhookCommand::Create(args) => create(args).await,
        WebhookCommand::List(args) => list(&args.store).await,
        WebhookCommand::Secret(args) => print_secret(&args.store, args.number).await,
        WebhookCommand::RotateSecret(args) => {
            let salt = new_salt()?;
            change(&args.change, "webhook rotate-secret", args.number, Change::RotateSecret { salt }).await?;
            print_secret(&args.change.store, args.number).await
        }
        WebhookCommand::Pause(args) => {
            let pause = Change::Pause { reason: PauseReason::Operator, position: None };
            change(&args.change, "webhook pause", args.number, pause).await?;
            say("The endpoint is paused")
        }
        WebhookCommand::Resume(args) => {
            change(&args.change, "webhook resume", args.number, Change::Resume).await?;
            say("The endpoint goes on")
        }
        WebhookCommand::Replay(args) => {
            change(&args.change, "webhook replay", args.number, Change::Replay { after: args.after }).await?;
            say("The endpoint is told again")
        }
        WebhookCommand::Delete(args) => {
            change(&args.change, "webhook delete", args.number, Change::Delete).await?;
            say("The endpoint is deleted")
        }
    }
}

fn say(text: &str) -> Result<(), Failure> {
    println!("{text}");
    Ok(())
}

fn new_salt() -> Result<String, Failure> {
    Ok(URL_SAFE_NO_PAD.encode(random::<32>()?))
}

async fn create(args: CreateArgs) -> Result<(), Failure> {
    let url = endpoint_url(&args.url).map_err(|error| format!("--url {error}"))?;
    Filter::new(args.types.clone(), args.product, args.license, None, None)?;
    let filter = WantedEvents { license: args.license, product: args.product, types: args.types };
    let fields = EndpointFields { filter, license_keys: args.license_keys, personal_data: args.personal_data, url };
    // Who has the master key can see everything.
    let may = MaySend { license_keys: true, personal_data: true };
    let (salt, after) = (new_salt()?, args.after);
    let command = |_: &_| Ok(Command::CreateWebhookEndpoint { fields, may, salt, after });
    let number = number_of(args.change.execute("webhook create", command).await?)?;
    println!("{number}");
    print_secret(&args.change.store, number).await
}

async fn change(args: &ChangeArgs, operation: &'static str, endpoint: i64, command: Change) -> Result<i64, Failure> {
    number_of(args.execute(operation, |_| Ok(Command::ChangeWebhookEndpoint { endpoint, sequence: None, command })).await?)
}

fn number_of(result: CommandResult) -> Result<i64, Failure> {
    match result {
        CommandResult::WebhookEndpointSet { endpoint } => Ok(endpoint),
        CommandResult::WebhookEndpointRefused(error) => Err(error.to_string().into()),
        other => Err(unexpected(&other)),
    }
}

async fn print_secret(store: &StoreArgs, number: i64) -> Result<(), Failure> {
    let ledger = store.open().await?;
    let view = ledger.webhook_endpoint(number).await;
    ledger.close(CLOSE_PATIENCE).await;
    let salt = view?.ok_or("the endpoint does not exist")?.row.endpoint.salt;
    println!("{}", ledger.vault().endpoint_secret(&salt)?.reveal());
    Ok(())
}

async fn list(store: &StoreArgs) -> Result<(), Failure> {
    let ledger = store.open().await?;
    let views = ledger.webhook_endpoints(None, ENDPOINTS_MAX).await;
    ledger.close(CLOSE_PATIENCE).await;
    println!("number\tstate\tposition\tlag\ttypes\tproduct\tlicense\tkeys\tpersonal\turl");
    for view in views? {
        let endpoint = &view.row.endpoint;
        let fields = &endpoint.fields;
        let state = endpoint.paused.map_or("active".to_owned(), |reason| format!("paused ({})", reason.as_str()));
        let types = if fields.filter.types.is_empty() { "*".to_owned() } else { fields.filter.types.join(",") };
        let number = |number: Option<i64>| number.map_or_else(String::new, |number| number.to_string());
        println!(
            "{}\t{state}\t{}\t{}\t{types}\t{}\t{}\t{}\t{}\t{}",
            endpoint.number,
            view.position,
            view.lag,
            number(fields.filter.product),
            number(fields.filter.license),
            fields.license_keys,
            fields.personal_data,
            fields.url
        );
    }
    Ok(())
}
