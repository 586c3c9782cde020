//! `keyledger api-key` and `keyledger block`.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Args, Subcommand};
use keyledger_events::{Timestamp, block::BlockKind, values::Identifier, values::short_text};
use keyledger_projections::{ApiKeyRow, BlockRow, Table};

use super::{ChangeArgs, Failure, StoreArgs, unexpected};
use crate::{
    access::parse_network,
    http::capabilities,
    ledger::{Command, CommandResult},
    vault::random,
};

#[derive(Debug, Subcommand)]
pub enum ApiKeyCommand {
    /// Make a key and print it, this once.
    Create(CreateArgs),
    /// List the keys, without their values.
    List(ListArgs),
    /// Disable a key for good.
    Disable(DisableArgs),
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// What the key is for, as lists and histories show it.
    #[arg(long)]
    name: String,
    /// What the key may ask for: the last part of an operation's path, as `verify`, or `*` for everything.
    #[arg(long = "capability", required = true, value_name = "CAPABILITY")]
    capabilities: Vec<String>,
    /// Network the key may be used from; without any, from anywhere.
    #[arg(long = "allow-ip", value_name = "CIDR")]
    allow_ips: Vec<String>,
    /// When the key stops working: RFC 3339 or YYYY-MM-DD (UTC).
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub struct DisableArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// The key's number in the list.
    number: i64,
}

#[derive(Debug, Subcommand)]
pub enum BlockCommand {
    /// Block a network or an identifier.
    Add(EntryArgs),
    /// Unblock it.
    Remove(EntryArgs),
    /// List what is blocked.
    List(ListArgs),
}

#[derive(Debug, Args)]
#[group(id = "entry", required = true, multiple = false, args = ["ip", "identifier"])]
pub struct EntryArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// An address or a network.
    #[arg(long, value_name = "CIDR")]
    ip: Option<String>,
    /// An identifier, exactly as clients send it.
    #[arg(long, value_name = "TEXT")]
    identifier: Option<String>,
}

pub async fn api_key(command: ApiKeyCommand) -> Result<(), Failure> {
    match command {
        ApiKeyCommand::Create(args) => create(args).await,
        ApiKeyCommand::List(args) => list_keys(args).await,
        ApiKeyCommand::Disable(args) => match args.change.execute("api-key disable", |_| Ok(Command::DisableApiKey { number: args.number })).await? {
            CommandResult::ApiKeyDisabled => {
                println!("API key {} is disabled", args.number);
                Ok(())
            }
            CommandResult::ApiKeyRefused(error) => Err(format!("API key {}: {error}", args.number).into()),
            other => Err(unexpected(&other)),
        },
    }
}

async fn create(args: CreateArgs) -> Result<(), Failure> {
    let name = short_text(&args.name).map_err(|error| format!("--name {error}"))?.to_owned();
    for capability in &args.capabilities {
        if capability != "*" && !capabilities().contains(capability) {
            return Err(format!("unknown capability {capability:?}; there are: *, {}", capabilities().join(", ")).into());
        }
    }
    let network =
        |text: &String| parse_network(text).map(|network| network.to_string()).ok_or_else(|| format!("--allow-ip {text}: not an address or network"));
    let allow_ips = args.allow_ips.iter().map(network).collect::<Result<Vec<_>, _>>()?;
    let expires_at = match &args.expires_at {
        Some(text) => Some(Timestamp::parse(text).ok_or_else(|| format!("--expires-at {text}: not a time"))?),
        None => None,
    };
    // 256 random bits: nothing to guess.
    let salt = random::<32>()?;
    let capabilities = args.capabilities;
    let mut value = String::new();
    let result = args
        .change
        .execute("api-key create", |ledger| {
            value = ledger.vault().api_key_value(&salt);
            let hmac = ledger.vault().api_key_hash(&value);
            Ok(Command::CreateApiKey { name, capabilities, allow_ips, expires_at, hmac, salt: URL_SAFE_NO_PAD.encode(salt) })
        })
        .await?;
    match result {
        CommandResult::ApiKeyCreated { number, .. } => {
            println!("{value}");
            eprintln!("API key {number} is made. Keep it now: it is not stored and can't be shown again.");
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

static API_KEYS: LazyLock<String> = LazyLock::new(|| select_all(Table::ApiKey));
static BLOCKS: LazyLock<String> = LazyLock::new(|| select_all(Table::Block));

fn select_all(table: Table) -> String {
    let columns: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
    format!("SELECT {} FROM {} ORDER BY number", columns.join(", "), table.name())
}

async fn list_keys(args: ListArgs) -> Result<(), Failure> {
    let store = args.store.store(false).await?;
    println!("{:<6} {:<9} {:<20} {:<28} {:<24} name", "number", "state", "expires", "capabilities", "from");
    for row in store.query(API_KEYS.as_str(), &[]).await? {
        let key = ApiKeyRow::read(&mut row.into())?.api_key;
        let state = if key.disabled { "disabled" } else { "active" };
        let expires = key.expires_at.map_or_else(|| "never".to_owned(), Timestamp::date_time);
        let from = if key.allow_ips.is_empty() { "anywhere".to_owned() } else { key.allow_ips.join(",") };
        println!("{:<6} {state:<9} {expires:<20} {:<28} {from:<24} {}", key.number, key.capabilities.join(","), key.name);
    }
    Ok(())
}

fn entry(args: &EntryArgs) -> Result<(BlockKind, String), Failure> {
    match (&args.ip, &args.identifier) {
        (Some(ip), _) => {
            let network = parse_network(ip).ok_or_else(|| format!("--ip {ip}: not an address or network"))?;
            Ok((BlockKind::Ip, network.to_string()))
        }
        (None, Some(text)) => {
            let identifier = Identifier::parse(text).map_err(|error| format!("--identifier {error}"))?;
            Ok((BlockKind::Identifier, identifier.into_string()))
        }
        (None, None) => Err("give --ip or --identifier".into()),
    }
}

pub async fn block(command: BlockCommand) -> Result<(), Failure> {
    match command {
        BlockCommand::Add(args) => {
            let (kind, value) = entry(&args)?;
            let shown = value.clone();
            match args.change.execute("block add", |_| Ok(Command::AddBlock { kind, value })).await? {
                CommandResult::BlockAdded => println!("{} {shown} is blocked", kind.as_str()),
                CommandResult::BlockRefused(error) => return Err(format!("{} {shown}: {error}", kind.as_str()).into()),
                other => return Err(unexpected(&other)),
            }
        }
        BlockCommand::Remove(args) => {
            let (kind, value) = entry(&args)?;
            let shown = value.clone();
            match args.change.execute("block remove", |_| Ok(Command::RemoveBlock { kind, value })).await? {
                CommandResult::BlockRemoved => println!("{} {shown} is no longer blocked", kind.as_str()),
                CommandResult::BlockRefused(error) => return Err(format!("{} {shown}: {error}", kind.as_str()).into()),
                other => return Err(unexpected(&other)),
            }
        }
        BlockCommand::List(args) => {
            let store = args.store.store(false).await?;
            println!("{:<11} {:<20} value", "kind", "since");
            for row in store.query(BLOCKS.as_str(), &[]).await? {
                let row = BlockRow::read(&mut row.into())?;
                let value = row.block.value.unwrap_or_else(|| "(forgotten)".to_owned());
                println!("{:<11} {:<20} {value}", row.block.kind.as_str(), row.created_at.date_time());
            }
        }
    }
    Ok(())
}
