//! `keyledger product`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyledger_events::{
    product::{ProductFields, ProductStatus, Source, UpdateProduct},
    values::{Slug, long_text, short_text},
};
use keyledger_projections::ProductRow;

use super::{ChangeArgs, Failure, StoreArgs, unexpected};
use crate::{
    http::is_url,
    ledger::{Command, CommandResult, Ledger, NewKeyPair},
    signer::{self, Bits, SignerError},
    vault::Vault,
};

/// Rows read at a time for a list.
const ROWS: i64 = 500;

#[derive(Debug, Subcommand)]
pub enum ProductCommand {
    /// Make a product and print its number.
    Create(CreateArgs),
    /// Change a product; what is not given stays.
    Update(UpdateArgs),
    /// List the products.
    List(ListArgs),
    /// Delete a product that has no license keys.
    Delete(DeleteArgs),
    /// Make a new key pair for a product; it signs from here on.
    RotateKey(RotateArgs),
    /// Take over a private key (RSA, PEM) for a product; it signs from here on.
    ImportKey(ImportArgs),
}

/// What can be said of a product.
#[derive(Debug, Args)]
struct Given {
    /// `internal` or `envato`.
    #[arg(long, value_name = "SOURCE", value_parser = source)]
    source: Option<Source>,
    /// `active` or `inactive`.
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<ProductStatus>,
    /// Whether an expired license gets no downloads.
    #[arg(long, value_name = "BOOL")]
    require_non_expired: Option<bool>,
    /// The product's name elsewhere, as an item's number.
    #[arg(long, value_name = "TEXT")]
    external_reference: Option<String>,
    /// Where remote deactivations are told.
    #[arg(long, value_name = "URL")]
    post_url: Option<String>,
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    change: ChangeArgs,
    #[arg(long, value_name = "TEXT")]
    name: String,
    #[arg(long, value_name = "TEXT")]
    description: String,
    /// Without a key pair of its own: the service's key signs.
    #[arg(long)]
    no_key_pair: bool,
    #[command(flatten)]
    given: Given,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// The product's number in the list.
    number: i64,
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Its name in addresses: groups of small letters and digits, with one hyphen between two groups.
    #[arg(long, value_name = "SLUG", value_parser = slug)]
    slug: Option<Slug>,
    /// Whether its changelog is public.
    #[arg(long, value_name = "BOOL")]
    changelog: Option<bool>,
    /// Whether its files can be had through the license service.
    #[arg(long, value_name = "BOOL")]
    api_download: Option<bool>,
    #[command(flatten)]
    given: Given,
}

#[derive(Debug, Args)]
pub struct RotateArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// The product's number in the list.
    number: i64,
    /// 2048, 3072 or 4096.
    #[arg(long, default_value = "2048", value_parser = bits)]
    bits: Bits,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// The product's number in the list.
    number: i64,
    /// The private key: RSA of 2048 to 4096 bits, PKCS#1 or PKCS#8, PEM, without a passphrase.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub struct DeleteArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// The product's number in the list.
    number: i64,
}

fn source(text: &str) -> Result<Source, String> {
    Source::parse(text).ok_or_else(|| "internal or envato".to_owned())
}

fn slug(text: &str) -> Result<Slug, String> {
    Slug::parse(text).ok_or_else(|| "small letters and digits, with single hyphens between".to_owned())
}

fn bits(text: &str) -> Result<Bits, String> {
    text.parse().ok().and_then(Bits::parse).ok_or_else(|| "2048, 3072 or 4096".to_owned())
}

fn status(text: &str) -> Result<ProductStatus, String> {
    ProductStatus::parse(text).ok_or_else(|| "active or inactive".to_owned())
}

fn checked_name(text: &str) -> Result<String, Failure> {
    Ok(short_text(text).map_err(|error| format!("--name {error}"))?.to_owned())
}

fn checked_description(text: &str) -> Result<String, Failure> {
    if text.trim().is_empty() {
        return Err("--description must not be blank".into());
    }
    Ok(long_text(text).map_err(|error| format!("--description {error}"))?.to_owned())
}

impl Given {
    fn update(self, name: Option<&str>, description: Option<&str>) -> Result<UpdateProduct, Failure> {
        let reference = match self.external_reference.as_deref().map(str::trim) {
            Some("") => Some(String::new()),
            Some(text) => Some(short_text(text).map_err(|error| format!("--external-reference {error}"))?.to_owned()),
            None => None,
        };
        let post_url = self.post_url.map(|url| url.trim().to_owned());
        if let Some(url) = post_url.as_deref().filter(|url| !url.is_empty() && !is_url(url)) {
            return Err(format!("--post-url {url}: not an http or https URL").into());
        }
        Ok(UpdateProduct {
            source: self.source,
            name: name.map(checked_name).transpose()?,
            description: description.map(checked_description).transpose()?,
            external_reference: reference,
            post_url,
            require_non_expired: self.require_non_expired,
            status: self.status,
        })
    }
}

pub async fn product(command: ProductCommand) -> Result<(), Failure> {
    match command {
        ProductCommand::Create(args) => create(args).await,
        ProductCommand::Update(args) => {
            let update = args.given.update(args.name.as_deref(), args.description.as_deref())?;
            let product = args.number;
            let (slug, changelog, api_download) = (args.slug, args.changelog, args.api_download);
            let command = |_: &_| Ok(Command::ChangeProduct { product, update, slug, changelog, api_download });
            match args.change.execute("product update", command).await? {
                CommandResult::ProductUpdated => println!("product {product} is as it shall be"),
                CommandResult::ProductRefused(error) => return Err(format!("product {product}: {error}").into()),
                other => return Err(unexpected(&other)),
            }
            Ok(())
        }
        ProductCommand::List(args) => list(args).await,
        ProductCommand::RotateKey(args) => add_key(&args.change, "product rotate-key", args.number, |vault| signer::generate(vault, args.bits)).await,
        ProductCommand::ImportKey(args) => {
            let pem = std::fs::read_to_string(&args.file).map_err(|error| format!("cannot read {}: {error}", args.file.display()))?;
            add_key(&args.change, "product import-key", args.number, |vault| signer::import(vault, &pem)).await
        }
        ProductCommand::Delete(args) => {
            let product = args.number;
            match args.change.execute("product delete", |_| Ok(Command::DeleteProduct { product })).await? {
                CommandResult::ProductDeleted => println!("product {product} is deleted"),
                CommandResult::ProductRefused(error) => return Err(format!("product {product}: {error}").into()),
                other => return Err(unexpected(&other)),
            }
            Ok(())
        }
    }
}

async fn create(args: CreateArgs) -> Result<(), Failure> {
    let given = args.given.update(Some(&args.name), Some(&args.description))?;
    let fields = ProductFields {
        source: given.source.unwrap_or_default(),
        name: given.name.unwrap_or_default(),
        description: given.description.unwrap_or_default(),
        external_reference: given.external_reference.unwrap_or_default(),
        post_url: given.post_url.unwrap_or_default(),
        require_non_expired: given.require_non_expired.unwrap_or_default(),
        status: given.status.unwrap_or_default(),
    };
    let result = args
        .change
        .execute("product create", |ledger| {
            let key_pair = if args.no_key_pair { None } else { Some(signer::generate(ledger.vault(), signer::Bits::default())?) };
            Ok(Command::CreateProduct { fields, key_pair })
        })
        .await?;
    match result {
        CommandResult::ProductCreated { product } => {
            println!("{product}");
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

async fn add_key(
    change: &ChangeArgs,
    operation: &'static str,
    product: i64,
    make: impl FnOnce(&Vault) -> Result<NewKeyPair, SignerError>,
) -> Result<(), Failure> {
    let command = |ledger: &Ledger| Ok(Command::AddKeyPair { product, key_pair: make(ledger.vault())?, make_current: true });
    match change.execute(operation, command).await? {
        CommandResult::KeyPairAdded { number } => {
            println!("{number}");
            Ok(())
        }
        CommandResult::ProductRefused(error) => Err(format!("product {product}: {error}").into()),
        other => Err(unexpected(&other)),
    }
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let ledger = args.store.open().await?;
    println!("{:<6} {:<9} {:<9} {:<8} {:<24} name", "number", "source", "status", "key pair", "slug");
    let mut after = None;
    loop {
        let rows = ledger.list_products(after, ROWS).await?;
        for ProductRow { product, .. } in &rows {
            let key_pair = product.key_pair.map_or_else(|| "global".to_owned(), |number| number.to_string());
            let (slug, source, status) = (product.slug.as_deref().unwrap_or("-"), product.source.as_str(), product.status.as_str());
            println!("{:<6} {source:<9} {status:<9} {key_pair:<8} {slug:<24} {}", product.number, product.name);
        }
        after = rows.last().map(|row| row.product.number);
        if after.is_none() {
            return Ok(());
        }
    }
}
