//! The key pairs of a product: listed, made, imported, made current, retired.

use keyledger_events::{Timestamp, key_pair::KeyPairError, product::ProductError};
use keyledger_projections::KeyPairRow;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AdminCall, Created, Json, Problem, Replied, Shown, products};
use crate::{
    http::doc::Doc,
    ledger::{Command, CommandResult, NewKeyPair},
    signer::{Bits, SignerError},
};

/// A key pair; the private half is never shown.
#[derive(Serialize, ToSchema)]
pub struct KeyPair {
    pub number: i64,
    pub id: uuid::Uuid,
    pub algorithm: String,
    /// SPKI, PEM.
    pub public_key: String,
    /// Whether it signs for the product now.
    pub current: bool,
    /// Whether it signs no more, for good. What it signed can still be checked.
    pub retired: bool,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl KeyPair {
    fn new(row: KeyPairRow, current: Option<i64>) -> Self {
        let pair = row.key_pair;
        Self {
            number: pair.number,
            id: row.id,
            algorithm: pair.algorithm,
            public_key: pair.public_key,
            current: current == Some(pair.number),
            retired: pair.retired,
            created_at: row.created_at,
        }
    }
}

/// All key pairs of a product: there are few, so they have no pages.
#[derive(Serialize, ToSchema)]
pub struct KeyPairs {
    pub items: Vec<KeyPair>,
}

/// A key pair to be made.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewPair {
    /// Whether it signs from here on; `true` unless given.
    pub make_current: Option<bool>,
    /// 2048, 3072 or 4096; 2048 unless given.
    pub bits: Option<i64>,
}

/// A key pair to be taken over.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportedPair {
    /// The private key: RSA of 2048 to 4096 bits, PKCS#1 or PKCS#8, PEM, without a passphrase.
    #[schema(min_length = 1)]
    pub private_key: String,
    /// Whether it signs from here on; `false` unless given.
    #[serde(default)]
    pub make_current: bool,
}

async fn listed(call: &AdminCall, product: i64) -> Replied<Vec<KeyPair>> {
    let row = call.app.ledger.product(product).await?.ok_or_else(|| Problem::not_found("product"))?;
    let pairs = call.app.ledger.key_pairs_of(product).await?;
    Ok(pairs.into_iter().map(|pair| KeyPair::new(pair, row.product.key_pair)).collect())
}

async fn shown(call: &AdminCall, product: i64, number: i64) -> Replied<KeyPair> {
    listed(call, product).await?.into_iter().find(|pair| pair.number == number).ok_or_else(|| Problem::not_found("key pair"))
}

pub const LIST: Doc = Doc::new("The key pairs of a product").details("In ascending number, retired ones too.");

pub async fn list(call: AdminCall, (): ()) -> Replied<Shown<KeyPairs>> {
    let product = call.number("product")?;
    Ok(Shown(KeyPairs { items: listed(&call, product).await? }))
}

pub const ROTATE: Doc = Doc::new("Make a new key pair for a product")
    .details("It signs from here on, unless it shall not. The one before stays, so that what it signed can be checked.");

pub async fn rotate(call: AdminCall, Json(new): Json<NewPair>) -> Replied<Created<KeyPair>> {
    let product = call.number("product")?;
    products::exists(&call, product).await?;
    let bits = new.bits.map_or(Some(Bits::default()), Bits::parse);
    let bits = bits.ok_or_else(|| Problem::invalid_field("/bits", "must be 2048, 3072 or 4096."))?;
    let key_pair = call.app.signer.generate(bits).await?;
    add(call, product, key_pair, new.make_current.unwrap_or(true)).await
}

pub const IMPORT: Doc = Doc::new("Take over a private key for a product").details("It is sealed at once and never shown again.");

pub async fn import(call: AdminCall, Json(new): Json<ImportedPair>) -> Replied<Created<KeyPair>> {
    let product = call.number("product")?;
    products::exists(&call, product).await?;
    let imported = call.app.signer.import(new.private_key).await;
    let key_pair = imported.map_err(|error| match error {
        SignerError::Import(error) => Problem::invalid_field("/private_key", format!("{error}.")),
        other => other.into(),
    })?;
    add(call, product, key_pair, new.make_current).await
}

async fn add(call: AdminCall, product: i64, key_pair: NewKeyPair, make_current: bool) -> Replied<Created<KeyPair>> {
    let outcome = call.execute(Command::AddKeyPair { product, key_pair, make_current }).await?;
    match outcome.result {
        CommandResult::KeyPairAdded { number } => {
            Ok(Created { location: format!("/admin/v1/products/{product}/key-pairs"), body: shown(&call, product, number).await? })
        }
        other => Err(refused(other)),
    }
}

pub const USE: Doc = Doc::new("Have another key pair of a product sign").details("Not a retired one.");

pub async fn make_current(call: AdminCall, (): ()) -> Replied<Shown<KeyPair>> {
    let (product, key_pair) = (call.number("product")?, call.number("key_pair")?);
    let outcome = call.execute(Command::UseKeyPair { product, key_pair }).await?;
    match outcome.result {
        CommandResult::KeyPairUsed => Ok(Shown(shown(&call, product, key_pair).await?)),
        other => Err(refused(other)),
    }
}

pub const RETIRE: Doc = Doc::new("Retire a key pair of a product for good").details("Not the one that signs.");

pub async fn retire(call: AdminCall, (): ()) -> Replied<Shown<KeyPair>> {
    let (product, key_pair) = (call.number("product")?, call.number("key_pair")?);
    shown(&call, product, key_pair).await?;
    let outcome = call.execute(Command::RetireKeyPair { key_pair }).await?;
    match outcome.result {
        CommandResult::KeyPairRetired => Ok(Shown(shown(&call, product, key_pair).await?)),
        other => Err(refused(other)),
    }
}

fn refused(result: CommandResult) -> Problem {
    match result {
        CommandResult::ProductRefused(ProductError::Unknown) => Problem::not_found("product"),
        CommandResult::KeyPairRefused(KeyPairError::Unknown) | CommandResult::ProductRefused(ProductError::KeyPairUnknown) => {
            Problem::not_found("key pair")
        }
        CommandResult::KeyPairRefused(error) => Problem::conflict(format!("Refused: {error}.")),
        CommandResult::ProductRefused(error) => Problem::conflict(format!("Refused: {error}.")),
        other => Problem::unexpected(&other),
    }
}
