//! Products: listed, made, changed, deleted.

use keyledger_events::product::{ProductError, ProductFields, ProductStatus, Source, UpdateProduct};
use keyledger_events::values::Slug;
use keyledger_projections::{LicenseCountRow, ProductRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AdminCall, Check, Created, Done, Json, Listing, Paged, Problem, Query, Replied, Shown};
use crate::{
    http::{
        doc::Doc,
        validate::{URL_BYTES_MAX, is_url},
    },
    ledger::{Command, CommandResult},
    signer::Bits,
};

/// Where a product comes from.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProductSource {
    Internal,
    Envato,
}

/// Whether licenses of it may be used.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProductState {
    Active,
    Inactive,
}

impl From<ProductSource> for Source {
    fn from(source: ProductSource) -> Self {
        match source {
            ProductSource::Internal => Self::Internal,
            ProductSource::Envato => Self::Envato,
        }
    }
}

impl From<Source> for ProductSource {
    fn from(source: Source) -> Self {
        match source {
            Source::Internal => Self::Internal,
            Source::Envato => Self::Envato,
        }
    }
}

impl From<ProductState> for ProductStatus {
    fn from(state: ProductState) -> Self {
        match state {
            ProductState::Active => Self::Active,
            ProductState::Inactive => Self::Inactive,
        }
    }
}

impl From<ProductStatus> for ProductState {
    fn from(status: ProductStatus) -> Self {
        match status {
            ProductStatus::Active => Self::Active,
            ProductStatus::Inactive => Self::Inactive,
        }
    }
}

/// A product.
#[derive(Serialize, ToSchema)]
pub struct Product {
    pub number: i64,
    pub id: uuid::Uuid,
    pub name: String,
    pub description: String,
    pub source: ProductSource,
    pub status: ProductState,
    /// Whether an expired license gets no downloads.
    pub require_non_expired: bool,
    pub external_reference: String,
    /// Where remote deactivations are told; empty where nowhere.
    pub post_url: String,
    /// Its name in addresses; `null` for a product that is older than slugs, until it is given one.
    pub slug: Option<String>,
    /// Whether its changelog is public.
    pub changelog: bool,
    /// Whether its files can be had through the license service.
    pub api_download: bool,
    /// The number of the key pair that signs; `null` where the service's own does.
    pub key_pair: Option<i64>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: keyledger_events::Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: keyledger_events::Timestamp,
}

impl Product {
    fn new(row: ProductRow) -> Self {
        let product = row.product;
        Self {
            number: product.number,
            id: row.id,
            source: product.source.into(),
            status: product.status.into(),
            require_non_expired: product.require_non_expired,
            key_pair: product.key_pair,
            slug: product.slug,
            changelog: product.changelog,
            api_download: product.api_download,
            name: product.name,
            description: product.description,
            external_reference: product.external_reference,
            post_url: product.post_url,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// How many licenses a product has in each status.
#[derive(Serialize, ToSchema)]
pub struct LicenseCounts {
    pub available: i64,
    pub assigned: i64,
    pub reserved: i64,
    pub blocked: i64,
}

/// A product with what belongs to it.
#[derive(Serialize, ToSchema)]
pub struct ProductDetail {
    #[serde(flatten)]
    pub product: Product,
    pub licenses: LicenseCounts,
    pub meta: Vec<MetaEntry>,
}

/// A meta entry.
#[derive(Serialize, ToSchema)]
pub struct MetaEntry {
    pub key: String,
    /// `null` once it is forgotten.
    pub value: Option<String>,
}

/// A product to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProduct {
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    #[schema(min_length = 1)]
    pub description: String,
    /// `internal` unless given.
    #[serde(default)]
    pub source: Option<ProductSource>,
    /// `active` unless given.
    #[serde(default)]
    pub status: Option<ProductState>,
    #[serde(default)]
    pub require_non_expired: bool,
    #[serde(default)]
    #[schema(max_length = 255)]
    pub external_reference: String,
    #[serde(default)]
    pub post_url: String,
    /// Whether it gets a key pair of its own; `true` unless given.
    #[serde(default)]
    pub own_key_pair: Option<bool>,
}

/// What changes of a product; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct ProductChanges {
    #[schema(min_length = 1, max_length = 255)]
    pub name: Option<String>,
    #[schema(min_length = 1)]
    pub description: Option<String>,
    pub source: Option<ProductSource>,
    pub status: Option<ProductState>,
    pub require_non_expired: Option<bool>,
    #[schema(max_length = 255)]
    pub external_reference: Option<String>,
    /// Empty clears it.
    pub post_url: Option<String>,
    /// Groups of small letters and digits, with one hyphen between two groups.
    #[schema(min_length = 1, max_length = 100)]
    pub slug: Option<String>,
    pub changelog: Option<bool>,
    pub api_download: Option<bool>,
}

fn post_url(check: &mut Check, url: &str) -> String {
    let url = url.trim();
    if !url.is_empty() && !is_url(url) {
        check.wrong("/post_url", format!("must be an http or https URL of at most {URL_BYTES_MAX} bytes."));
    }
    url.to_owned()
}

pub const LIST: Doc = Doc::new("Products").details("In ascending number.");

pub async fn list(call: AdminCall, Query(query): Query<Listing>) -> Replied<Paged<Product>> {
    let wanted = query.wanted()?;
    let rows = call.app.ledger.list_products(wanted.after, wanted.rows()).await?;
    Ok(Paged(wanted.page(rows, |row| row.product.number, Product::new)))
}

pub const CREATE: Doc = Doc::new("Make a product");

pub async fn create(call: AdminCall, Json(new): Json<NewProduct>) -> Replied<Created<Product>> {
    let mut check = Check::default();
    let fields = ProductFields {
        source: new.source.map(Source::from).unwrap_or_default(),
        name: check.short("/name", &new.name),
        description: check.long("/description", &new.description),
        external_reference: check.short_or_empty("/external_reference", &new.external_reference),
        post_url: post_url(&mut check, &new.post_url),
        require_non_expired: new.require_non_expired,
        status: new.status.map(ProductStatus::from).unwrap_or_default(),
    };
    check.end()?;
    // Slow, so it is made before the command queues.
    let key_pair = if new.own_key_pair.unwrap_or(true) { Some(call.app.signer.generate(Bits::default()).await?) } else { None };
    let outcome = call.execute(Command::CreateProduct { fields, key_pair }).await?;
    match outcome.result {
        CommandResult::ProductCreated { product } => {
            let body = shown(&call, product).await?;
            Ok(Created { location: format!("/admin/v1/products/{product}"), body })
        }
        other => Err(Problem::unexpected(&other)),
    }
}

async fn shown(call: &AdminCall, number: i64) -> Replied<Product> {
    call.app.ledger.product(number).await?.map(Product::new).ok_or_else(|| Problem::not_found("product"))
}

/// # Errors
/// When there is no such product.
pub(super) async fn exists(call: &AdminCall, number: i64) -> Replied<()> {
    shown(call, number).await.map(|_| ())
}

pub const SHOW: Doc = Doc::new("A product, with its meta entries and the number of its licenses");

pub async fn show(call: AdminCall, (): ()) -> Replied<Shown<ProductDetail>> {
    let number = call.number("product")?;
    let product = shown(&call, number).await?;
    let counts = call.app.ledger.license_count(number).await?.unwrap_or_default();
    let LicenseCountRow { available, assigned, reserved, blocked, .. } = counts;
    let meta = call.app.ledger.product_meta(number).await?.into_iter();
    let meta = meta.map(|row| MetaEntry { key: row.meta.key, value: Some(row.meta.value) }).collect();
    Ok(Shown(ProductDetail { product, licenses: LicenseCounts { available, assigned, reserved, blocked }, meta }))
}

pub const UPDATE: Doc = Doc::new("Change a product").details("What is absent stays as it is.");

pub async fn update(call: AdminCall, Json(changes): Json<ProductChanges>) -> Replied<Shown<Product>> {
    let number = call.number("product")?;
    let mut check = Check::default();
    let update = UpdateProduct {
        source: changes.source.map(Source::from),
        name: changes.name.map(|name| check.short("/name", &name)),
        description: changes.description.map(|text| check.long("/description", &text)),
        external_reference: changes.external_reference.map(|text| check.short_or_empty("/external_reference", &text)),
        post_url: changes.post_url.map(|url| post_url(&mut check, &url)),
        require_non_expired: changes.require_non_expired,
        status: changes.status.map(ProductStatus::from),
    };
    let slug = changes.slug.and_then(|text| {
        let slug = Slug::parse(&text);
        if slug.is_none() {
            check.wrong("/slug", "must be groups of small letters and digits (ASCII), with one hyphen between two groups.");
        }
        slug
    });
    check.end()?;
    let (changelog, api_download) = (changes.changelog, changes.api_download);
    let outcome = call.execute(Command::ChangeProduct { product: number, update, slug, changelog, api_download }).await?;
    match outcome.result {
        CommandResult::ProductUpdated => Ok(Shown(shown(&call, number).await?)),
        CommandResult::ProductRefused(error) => Err(refused(error)),
        other => Err(Problem::unexpected(&other)),
    }
}

pub const DELETE: Doc = Doc::new("Delete a product").details("One that has license keys can't be deleted: its keys must go first.");

pub async fn delete(call: AdminCall, (): ()) -> Replied<Done> {
    let number = call.number("product")?;
    let outcome = call.execute(Command::DeleteProduct { product: number }).await?;
    match outcome.result {
        CommandResult::ProductDeleted => Ok(Done),
        CommandResult::ProductRefused(error) => Err(refused(error)),
        other => Err(Problem::unexpected(&other)),
    }
}

/// The problem with what the ledger refused.
pub fn refused(error: ProductError) -> Problem {
    match error {
        ProductError::Unknown => Problem::not_found("product"),
        ProductError::HasLicenses => Problem::conflict("The product still has license keys."),
        other => Problem::conflict(format!("Refused: {other}.")),
    }
}
