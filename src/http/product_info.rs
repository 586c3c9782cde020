//! One product: what it is, its public key, its meta entries.

use keyledger_events::Timestamp;
use keyledger_projections::ProductRow;
use serde::Serialize;
use uuid::Uuid;

use super::{
    codes::Code,
    doc::{Doc, Field, Parameter, Shape, common::META as META_DATA},
    envelope::{Answer, Answered, internal},
    extract::Call,
    license::{Meta, product_meta_data},
};
use crate::signer::Jwk;

/// By which of them a product is asked for; the first that is given counts.
const NAMES: &[Parameter] = &[
    Parameter::optional("product_id", Shape::Integer, "The product's number."),
    Parameter::optional("product_uuid", Shape::Text, "Or its UUID."),
    Parameter::optional("product_slug", Shape::Text, "Or its slug."),
];

const NAMED: &[Field] = &[
    Field::always("id", Shape::Integer, "Its number."),
    Field::always("uuid", Shape::Text, ""),
    Field::always("slug", Shape::Nullable(&Shape::Text), "`null` for a product that is older than slugs, until it is given one."),
    Field::always("name", Shape::Text, ""),
];

pub const PRODUCT: Doc = Doc::new("One product").parameters(NAMES).codes(&[Code::ProductFound, Code::ProductNotFound]).fields(&[Field::new(
    "product",
    Shape::Object(&[
        Field::always("id", Shape::Integer, "Its number."),
        Field::always("uuid", Shape::Text, ""),
        Field::always("slug", Shape::Nullable(&Shape::Text), ""),
        Field::always("name", Shape::Text, ""),
        Field::always("external_reference", Shape::Text, ""),
        Field::always("source", Shape::Text, ""),
        Field::always("post_url", Shape::Text, ""),
        Field::always("description", Shape::Text, ""),
        Field::always("status", Shape::Text, ""),
        Field::always("require_non_expired", Shape::Flag, ""),
        Field::always("created_at", Shape::Time, ""),
        Field::always("updated_at", Shape::Time, ""),
        Field::always("meta_data", META_DATA, ""),
    ]),
    "",
)]);

pub async fn product(mut call: Call) -> Answered {
    let Some(row) = found(&mut call).await? else { return Ok(Answer::new(Code::ProductNotFound)) };
    let meta = call.app.ledger.product_meta(row.product.number).await?;
    Answer::new(Code::ProductFound).field("product", &ProductShown::new(&row, product_meta_data(&meta)))
}

pub const PUBLIC_KEY: Doc = Doc::new("The public key of a product")
    .details("The key that signs what is about the product now; all keys are in `/.well-known/jwks.json`.")
    .parameters(NAMES)
    .codes(&[Code::ProductPublicKeyFound, Code::ProductPublicKeyNotFound])
    .fields(&[
        Field::new("product", Shape::Object(NAMED), ""),
        Field::new("public_key", Shape::Text, "SPKI, PEM."),
        Field::new("algorithm", Shape::Text, "As `RSA-2048`."),
        Field::new("kid", Shape::Text, "Its name in the key set."),
    ]);

/// The key that signs what is about the product. The global key signs this: who asks may know no other.
pub async fn public_key(mut call: Call) -> Answered {
    let not_found = Answer::new(Code::ProductPublicKeyNotFound);
    let Some(row) = found(&mut call).await? else { return Ok(not_found) };
    let Some(number) = row.product.signing_key_pair() else { return Ok(not_found) };
    let Some(pair) = call.app.ledger.key_pair(number).await? else {
        return Err(internal(&format_args!("product {} has no key pair {number}", row.product.number)));
    };
    let jwk = Jwk::of_pem(&pair.key_pair.public_key).ok_or_else(|| internal(&format_args!("the public key of key pair {number} can't be read")))?;
    Answer::new(Code::ProductPublicKeyFound)
        .field("product", &ProductNamed::new(&row))?
        .field("public_key", &pair.key_pair.public_key)?
        .field("algorithm", &pair.key_pair.algorithm)?
        .field("kid", &jwk.kid)
}

pub const META: Doc = Doc::new("The meta entries of a product")
    .parameters(NAMES)
    .codes(&[Code::ProductFound, Code::ProductNotFound])
    .fields(&[Field::new("product", Shape::Object(NAMED), ""), Field::new("meta_data", META_DATA, "")]);

pub async fn meta(mut call: Call) -> Answered {
    let Some(row) = found(&mut call).await? else { return Ok(Answer::new(Code::ProductNotFound)) };
    let meta = call.app.ledger.product_meta(row.product.number).await?;
    Answer::new(Code::ProductFound)
        .signed_by(row.product.signing_key_pair())
        .field("product", &ProductNamed::new(&row))?
        .field("meta_data", &product_meta_data(&meta))
}

async fn found(call: &mut Call) -> Answered<Option<ProductRow>> {
    let Some(name) = call.product_name()? else { return Ok(None) };
    Ok(call.app.ledger.find_product(&name).await?)
}

#[derive(Serialize)]
struct ProductNamed<'a> {
    id: i64,
    uuid: Uuid,
    slug: Option<&'a str>,
    name: &'a str,
}

impl<'a> ProductNamed<'a> {
    fn new(row: &'a ProductRow) -> Self {
        Self { id: row.product.number, uuid: row.id, slug: row.product.slug.as_deref(), name: &row.product.name }
    }
}

#[derive(Serialize)]
struct ProductShown<'a> {
    #[serde(flatten)]
    named: ProductNamed<'a>,
    external_reference: &'a str,
    source: &'a str,
    post_url: &'a str,
    description: &'a str,
    status: &'a str,
    require_non_expired: u8,
    created_at: Timestamp,
    updated_at: Timestamp,
    meta_data: Vec<Meta<'a>>,
}

impl<'a> ProductShown<'a> {
    fn new(row: &'a ProductRow, meta_data: Vec<Meta<'a>>) -> Self {
        let product = &row.product;
        Self {
            named: ProductNamed::new(row),
            external_reference: &product.external_reference,
            source: product.source.as_str(),
            post_url: &product.post_url,
            description: &product.description,
            status: product.status.as_str(),
            require_non_expired: product.require_non_expired.into(),
            created_at: row.created_at,
            updated_at: row.updated_at,
            meta_data,
        }
    }
}
