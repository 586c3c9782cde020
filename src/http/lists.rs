//! Lists and counts, all signed by the global key.

use keyledger_events::{Timestamp, license::Status};
use keyledger_projections::{LicenseRow, ProductMetaRow, ProductRow};
use serde::Serialize;

use super::{
    codes::Code,
    doc::{
        Doc, Field, Parameter, Shape,
        common::{META, PRODUCT_ID},
    },
    envelope::{Answer, Answered},
    extract::{Call, NO_PRODUCT},
    license::{Meta, product_meta_data},
};
use crate::ledger::LicenseFilter;

const ITEMS_PER_PAGE: i64 = 50;
/// Rows of one page: a third of a megabyte of JSON.
const ITEMS_PER_PAGE_MAX: i64 = 1_000;

pub const PRODUCTS: Doc = Doc::new("All products").codes(&[Code::AllProducts]).fields(&[Field::new(
    "products",
    Shape::List(&Shape::Object(&[
        Field::always("id", Shape::Integer, "Its number."),
        Field::always("external_reference", Shape::Text, ""),
        Field::always("source", Shape::Text, ""),
        Field::always("name", Shape::Text, ""),
        Field::always("post_url", Shape::Text, ""),
        Field::always("description", Shape::Text, ""),
        Field::always("status", Shape::Text, ""),
        Field::always("require_non_expired", Shape::Flag, ""),
        Field::always("created_at", Shape::Time, ""),
        Field::always("updated_at", Shape::Time, ""),
        Field::always("meta_data", META, ""),
    ])),
    "In ascending number.",
)]);

pub async fn products(call: Call) -> Answered {
    let products = call.app.ledger.products().await?;
    let rows: Vec<ProductListed<'_>> = products.iter().map(|(row, meta)| ProductListed::new(row, meta)).collect();
    Answer::new(Code::AllProducts).field("products", &rows)
}

pub const LICENSE_KEYS: Doc = Doc::new("A page of licenses")
    .parameters(&[
        Parameter::optional("product_id", Shape::Integer, "Only this product's."),
        Parameter::optional("status", Shape::Choice(&["available", "assigned", "reserved", "blocked"]), "Only those of this status."),
        Parameter::optional("owner_email", Shape::Text, "Only this owner's."),
        Parameter::optional("owner_name", Shape::Text, "Only those whose owner has exactly this name."),
        Parameter::optional("page", Shape::Integer, "Which page, from 1."),
        Parameter::optional("items_per_page", Shape::Integer, "50 unless given, 1000 at most."),
    ])
    .codes(&[Code::LicenseKeysList])
    .fields(&[Field::new(
        "license_keys",
        Shape::List(&Shape::Object(&[
            Field::always("id", Shape::Integer, "Its number."),
            Field::always("product_id", Shape::Integer, ""),
            Field::always("license_key", Shape::Text, ""),
            Field::always("owner_name", Shape::Nullable(&Shape::Text), ""),
            Field::always("owner_email", Shape::Nullable(&Shape::Text), ""),
            Field::always("activation_limit", Shape::Integer, ""),
            Field::always("validity", Shape::Integer, ""),
            Field::always("assigned_at", Shape::Nullable(&Shape::Time), ""),
            Field::always("status", Shape::Text, ""),
            Field::always("created_at", Shape::Time, ""),
            Field::always("updated_at", Shape::Time, ""),
        ])),
        "In ascending number.",
    )]);

pub async fn license_keys(mut call: Call) -> Answered {
    let filter = LicenseFilter {
        product: call.product_number()?,
        status: status(&mut call)?,
        owner_email: call.short_text("owner_email")?,
        owner_name: call.short_text("owner_name")?,
    };
    let page = positive(&mut call, "page", 1, i64::MAX)?;
    let items_per_page = positive(&mut call, "items_per_page", ITEMS_PER_PAGE, ITEMS_PER_PAGE_MAX)?;
    let licenses = call.app.ledger.license_page(&filter, page, items_per_page).await?;
    let rows: Vec<LicenseListed<'_>> = licenses.iter().map(LicenseListed::new).collect();
    Answer::new(Code::LicenseKeysList).field("license_keys", &rows)
}

pub const AVAILABLE_COUNT: Doc = Doc::new("How many available licenses a product has")
    .parameters(&[PRODUCT_ID])
    .codes(&[Code::AvailableLicenseKeysCount, Code::ProductNotExistsCount])
    .fields(&[Field::new("count", Shape::Integer, "")]);

pub async fn available_count(mut call: Call) -> Answered {
    let product = call.product_number()?.unwrap_or(NO_PRODUCT);
    match call.app.ledger.license_count(product).await? {
        Some(counts) => Answer::new(Code::AvailableLicenseKeysCount).field("count", &counts.available),
        None => Ok(Answer::new(Code::ProductNotExistsCount)),
    }
}

fn status(call: &mut Call) -> Answered<Option<Status>> {
    let Some(text) = call.short_text("status")? else { return Ok(None) };
    match Status::parse(&text) {
        Some(status) => Ok(Some(status)),
        None => Err(Answer::bad_request("status must be available, assigned, reserved or blocked.")),
    }
}

/// An integer of 1 to `max`; blank is absent. More than `max` is refused rather than cut: who asks for pages of 5000 and gets
/// 1000 would miss the others without knowing.
pub(super) fn positive(call: &mut Call, name: &'static str, default: i64, max: i64) -> Answered<i64> {
    let Some(text) = call.short_text(name)? else { return Ok(default) };
    match text.parse() {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        _ => Err(Answer::bad_request(format!("{name} must be an integer of 1 to {max}."))),
    }
}

#[derive(Serialize)]
struct ProductListed<'a> {
    id: i64,
    external_reference: &'a str,
    source: &'a str,
    name: &'a str,
    post_url: &'a str,
    description: &'a str,
    status: &'a str,
    require_non_expired: u8,
    created_at: Timestamp,
    updated_at: Timestamp,
    meta_data: Vec<Meta<'a>>,
}

impl<'a> ProductListed<'a> {
    fn new(row: &'a ProductRow, meta: &'a [ProductMetaRow]) -> Self {
        let product = &row.product;
        Self {
            id: product.number,
            external_reference: &product.external_reference,
            source: product.source.as_str(),
            name: &product.name,
            post_url: &product.post_url,
            description: &product.description,
            status: product.status.as_str(),
            require_non_expired: product.require_non_expired.into(),
            created_at: row.created_at,
            updated_at: row.updated_at,
            meta_data: product_meta_data(meta),
        }
    }
}

#[derive(Serialize)]
struct LicenseListed<'a> {
    id: i64,
    product_id: i64,
    license_key: &'a str,
    owner_name: Option<&'a str>,
    owner_email: Option<&'a str>,
    activation_limit: i64,
    validity: i64,
    assigned_at: Option<String>,
    status: &'a str,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl<'a> LicenseListed<'a> {
    fn new(row: &'a LicenseRow) -> Self {
        let license = &row.license;
        Self {
            id: license.number,
            product_id: license.product,
            license_key: &license.key,
            owner_name: license.owner_name.as_deref(),
            owner_email: license.owner_email.as_deref(),
            activation_limit: license.activation_limit,
            validity: license.validity_days,
            assigned_at: license.assigned_at.map(|at| at.date_time()),
            status: license.status.as_str(),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
