//! Using a license: verify, activate, assign, deactivate, details.

use std::sync::Arc;

use keyledger_events::{
    license::{self, LicenseError},
    product::Source,
    values::{Identifier, LicenseKey},
};
use keyledger_projections::{LicenseMetaRow, LicenseRow, ProductMetaRow, ProductRow};
use serde::Serialize;

use super::{
    codes::{Code, LicenseOperation as Op, license_refusal},
    doc::{
        Doc, Field, Parameter, Shape,
        common::{IDENTIFIER, LICENSE_KEY, META, POST_URL},
    },
    envelope::{Answer, Answered, internal},
    extract::Call,
    receipt,
};
use crate::{
    app::App,
    ledger::{Command, CommandResult, LicenseUse, LicenseView, Origin, Outcome, OwnerInput},
};

/// The codes of the checks that every use of a license passes first.
macro_rules! use_codes {
    ($($code:expr),* $(,)?) => {
        &[
            Code::InvalidLicenseKey,
            Code::ProductInactive,
            Code::LicenseBlocked,
            Code::LicenseNotAssigned,
            Code::LicenseExpired,
            Code::IdentifierRequired,
            $($code),*
        ]
    };
}
pub(super) use use_codes;

pub const VERIFY: Doc = Doc::new("Check that a license key may be used")
    .parameters(&[LICENSE_KEY, IDENTIFIER, Parameter::optional("email", Shape::Email, "The owner of a purchase code that is not known yet.")])
    .codes(use_codes![Code::NoActivationFound, Code::ValidLicenseKey, Code::EnvatoPurchaseCodeAdded]);

pub async fn verify(mut call: Call) -> Answered {
    let (key, identifier) = (call.license_key()?, call.identifier()?);
    let Some(key) = key else { return Ok(refused(Op::Verify, LicenseError::Unknown, None)) };
    match call.app.ledger.find_use(&key, identifier.as_ref()).await? {
        Some(found) => verified(&call.app, &call.origin, &key, identifier.as_ref(), &found),
        None => purchased(call, &key, identifier.as_ref()).await,
    }
}

fn verified(app: &App, origin: &Origin, key: &LicenseKey, identifier: Option<&Identifier>, found: &LicenseUse) -> Answered {
    let checked = check_use(app, origin, Op::Verify, key, identifier, found);
    let answered = checked.map(|()| Answer::new(Code::ValidLicenseKey).signed_by(found.key_pair));
    let (Ok(answer) | Err(answer)) = &answered;
    app.verifications.count(found.license.product, answer.code.digits(), app.clock.now());
    answered
}

/// A key that the ledger doesn't know may be a purchase on one of Envato's marketplaces: then it becomes a license now.
async fn purchased(mut call: Call, key: &LicenseKey, identifier: Option<&Identifier>) -> Answered {
    let (app, origin) = (Arc::clone(&call.app), call.origin.clone());
    let unknown = || refused(Op::Verify, LicenseError::Unknown, None);
    let Some(envato) = &app.envato else { return Ok(unknown()) };
    if !app.ledger.has_product_of(Source::Envato).await? {
        return Ok(unknown());
    }
    let owner = OwnerInput { name: None, email: call.email("email")? };
    let sale = envato.sale(key.as_str()).await.map_err(|error| {
        tracing::warn!(%error, "a purchase can't be asked after");
        Answer::unavailable("Whether this is a purchase can't be asked at the moment.")
    })?;
    let Some(sale) = sale else { return Ok(unknown()) };
    let Some(row) = app.ledger.product_by_reference(Source::Envato, &sale.item).await? else { return Ok(unknown()) };
    let command = Command::AddPurchased { key: key.clone(), product: row.product.number, external_reference: sale.item, owner };
    let outcome = call.execute(command).await?;
    match outcome.result {
        CommandResult::PurchaseAdded => {
            let code = Code::EnvatoPurchaseCodeAdded;
            app.verifications.count(row.product.number, code.digits(), app.clock.now());
            Ok(Answer::new(code).signed_by(outcome.key_pair))
        }
        // Another request was first: then it is a license like any other.
        CommandResult::LicenseRefused(LicenseError::Exists) => match app.ledger.find_use(key, identifier).await? {
            Some(found) => verified(&app, &origin, key, identifier, &found),
            None => Ok(unknown()),
        },
        CommandResult::NoSuchProduct => Ok(unknown()),
        other => Err(internal(&format_args!("a purchase came to {other:?}"))),
    }
}

pub const ACTIVATE: Doc = Doc::new("Activate a license key for an identifier")
    .details("Idempotent for each identifier; never more active activations than the limit, where 0 is none.")
    .parameters(&[LICENSE_KEY, IDENTIFIER, POST_URL])
    .codes(use_codes![Code::LicenseAlreadyActive, Code::ActivationLimitReached, Code::LicenseActivated])
    .receipt();

pub async fn activate(mut call: Call) -> Answered {
    let (key, identifier, post_url) = (call.license_key()?, call.identifier()?, call.post_url()?);
    execute(call, Op::Activate, key.map(|key| Command::Activate { key, identifier, post_url })).await
}

pub const ASSIGN: Doc = Doc::new("Assign an available license key")
    .parameters(&[
        LICENSE_KEY,
        Parameter::optional("owner_name", Shape::Text, "The owner's name."),
        Parameter::optional("email", Shape::Email, "The owner's address."),
    ])
    .codes(&[Code::LicenseKeyAssigned, Code::InvalidOrAlreadyAssigned])
    .receipt();

pub async fn assign(mut call: Call) -> Answered {
    let key = call.license_key()?;
    let owner = OwnerInput { name: call.short_text("owner_name")?, email: call.email("email")? };
    execute(call, Op::Assign, key.map(|key| Command::Assign { key, owner })).await
}

pub const ASSIGN_AND_ACTIVATE: Doc = Doc::new("Assign an available license key and activate it")
    .details("Both or neither.")
    .parameters(&[
        LICENSE_KEY,
        IDENTIFIER,
        POST_URL,
        Parameter::optional("owner_name", Shape::Text, "The owner's name."),
        Parameter::optional("owner_email", Shape::Email, "The owner's address."),
    ])
    .codes(use_codes![Code::LicenseActivated, Code::InvalidOrAlreadyAssigned, Code::ActivationLimitReached])
    .receipt();

pub async fn assign_and_activate(mut call: Call) -> Answered {
    let (key, identifier, post_url) = (call.license_key()?, call.identifier()?, call.post_url()?);
    let owner = OwnerInput { email: call.email("owner_email")?, name: call.short_text("owner_name")? };
    execute(call, Op::AssignAndActivate, key.map(|key| Command::AssignAndActivate { key, owner, identifier, post_url })).await
}

pub const DEACTIVATE: Doc = Doc::new("End the activation of an identifier")
    .details("Blocked and expired licenses can be deactivated too.")
    .parameters(&[LICENSE_KEY, IDENTIFIER])
    .codes(use_codes![Code::LicenseDeactivated, Code::LicenseAlreadyInactive])
    .receipt();

pub async fn deactivate(mut call: Call) -> Answered {
    let (key, identifier) = (call.license_key()?, call.identifier()?);
    execute(call, Op::Deactivate, key.map(|key| Command::Deactivate { key, identifier })).await
}

pub const DETAILS: Doc = Doc::new("What there is to know of a license that is active for an identifier")
    .parameters(&[LICENSE_KEY, IDENTIFIER])
    .codes(use_codes![Code::NoActivationFound, Code::ActiveLicenseFound, Code::LicenseKeyNotFoundDetails])
    .fields(&[Field::new("licenseKey", LICENSE_SHAPE, "The license."), Field::new("product", PRODUCT_SHAPE, "Its product.")]);

const LICENSE_SHAPE: Shape = Shape::Object(&[
    Field::always("id", Shape::Integer, "Its number."),
    Field::always("license_key", Shape::Text, ""),
    Field::always("owner_name", Shape::Nullable(&Shape::Text), ""),
    Field::always("owner_email", Shape::Nullable(&Shape::Text), ""),
    Field::always("activation_limit", Shape::Integer, "0 is no limit."),
    Field::always("validity", Shape::Integer, "Days from the assignment; 0 is for ever."),
    Field::always("assigned_at", Shape::Nullable(&Shape::Time), "YYYY-MM-DD HH:MM:SS, UTC."),
    Field::always("meta_data", META, ""),
    Field::always("expires_at", Shape::Either(&[Shape::Time, Shape::Boolean]), "As assigned_at; `false` where it never expires."),
]);

const PRODUCT_SHAPE: Shape = Shape::Object(&[
    Field::always("id", Shape::Integer, "Its number."),
    Field::always("external_reference", Shape::Text, ""),
    Field::always("source", Shape::Text, ""),
    Field::always("name", Shape::Text, ""),
    Field::always("post_url", Shape::Text, ""),
    Field::always("description", Shape::Text, ""),
    Field::always("meta_data", META, ""),
]);

pub async fn details(mut call: Call) -> Answered {
    let (key, identifier, _) = valid_license(&mut call, Op::Details).await?;
    // Deleted since the check.
    let Some(view) = call.app.ledger.find_license(&key, identifier.as_ref()).await? else {
        return Ok(refused(Op::Details, LicenseError::Unknown, None));
    };
    // An inactive product was refused, and so was none.
    let Some(product) = &view.product else { return Err(internal(&"a valid license without a product")) };
    let license_meta = call.app.ledger.license_meta(view.license.license.number).await?;
    let product_meta = call.app.ledger.product_meta(product.product.number).await?;
    Answer::new(Code::ActiveLicenseFound)
        .signed_by(key_pair(&view))
        .field("licenseKey", &LicenseDetails::new(&view.license, &license_meta))?
        .field("product", &ProductDetails::new(product, &product_meta))
}

/// The checks that every use passes; where one fails, its answer.
fn check_use(app: &App, origin: &Origin, operation: Op, key: &LicenseKey, identifier: Option<&Identifier>, found: &LicenseUse) -> Answered<()> {
    let checked = license::verify(&found.license, found.product_active, identifier.is_some(), found.activation.as_ref(), app.clock.now());
    checked.map_err(|error| {
        if let Some(reason) = error.recorded_reason() {
            app.ledger.record_refusal(key, identifier, reason, None, origin.clone());
        }
        refused(operation, error, found.key_pair)
    })
}

/// The license that a query is about, after the checks that every use passes; where one fails, its answer.
async fn valid_license(call: &mut Call, operation: Op) -> Answered<(LicenseKey, Option<Identifier>, LicenseUse)> {
    let (key, identifier) = (call.license_key()?, call.identifier()?);
    let Some(key) = key else { return Err(refused(operation, LicenseError::Unknown, None)) };
    let Some(found) = call.app.ledger.find_use(&key, identifier.as_ref()).await? else {
        return Err(refused(operation, LicenseError::Unknown, None));
    };
    check_use(&call.app, &call.origin, operation, &key, identifier.as_ref(), &found)?;
    Ok((key, identifier, found))
}

/// The key pair that signs what is about a license: its product's, if that still exists.
pub(super) fn key_pair(view: &LicenseView) -> Option<i64> {
    view.product.as_ref().and_then(|row| row.product.signing_key_pair())
}

/// Executes a command on a license. There is none where the request names no license: that is one nobody knows.
pub(super) async fn execute(call: Call, operation: Op, command: Option<Command>) -> Answered {
    match command {
        Some(command) => {
            let gives_receipt = match operation {
                Op::Activate | Op::Deactivate | Op::Assign | Op::AssignAndActivate => receipt::is_asked_for(call.headers()),
                Op::Verify | Op::Details | Op::Update | Op::Delete | Op::CreateMeta | Op::UpdateMeta | Op::DeleteMeta | Op::Download => false,
            };
            let outcome = call.execute(command).await?;
            let receipt = outcome.receipt.filter(|_| gives_receipt);
            Ok(answer(operation, outcome)?.with_receipt(receipt))
        }
        None => call.refuse(refused(operation, LicenseError::Unknown, None)).await,
    }
}

/// The answer to what a command on a license came to.
fn answer(operation: Op, outcome: Outcome) -> Answered {
    let code = match (outcome.result, operation) {
        (CommandResult::Assigned, _) => Code::LicenseKeyAssigned,
        (CommandResult::Activated, _) => Code::LicenseActivated,
        (CommandResult::AlreadyActive, _) => Code::LicenseAlreadyActive,
        // Observed: the global key signs this one.
        (CommandResult::Deactivated, _) => return Ok(Answer::new(Code::LicenseDeactivated)),
        (CommandResult::AlreadyInactive, _) => Code::LicenseAlreadyInactive,
        (CommandResult::LicenseUpdated, _) => Code::LicenseKeyUpdated,
        (CommandResult::LicenseDeleted, _) => Code::LicenseKeyDeleted,
        (CommandResult::LicenseMetaSet { meta }, Op::CreateMeta) => {
            return Answer::new(Code::MetadataCreated).signed_by(outcome.key_pair).field("meta_id", &meta);
        }
        (CommandResult::LicenseMetaSet { meta }, _) => {
            return Answer::new(Code::MetadataUpdated).signed_by(outcome.key_pair).field("meta_id", &meta);
        }
        (CommandResult::LicenseMetaDeleted, _) => Code::MetadataDeleted,
        (CommandResult::LicenseRefused(error), _) => return Ok(refused(operation, error, outcome.key_pair)),
        (other, _) => return Err(internal(&format_args!("{operation:?} came to {other:?}"))),
    };
    // The global key signs every assignment.
    Ok(Answer::new(code).signed_by(outcome.key_pair.filter(|_| operation != Op::Assign)))
}

pub(super) fn refused(operation: Op, error: LicenseError, key_pair: Option<i64>) -> Answer {
    match license_refusal(operation, error) {
        Some(code) => Answer::new(code).signed_by(key_pair.filter(|_| operation != Op::Assign)),
        None => internal(&format_args!("{operation:?} was refused: {error}")),
    }
}

/// A meta entry as answers show it. A forgotten value is shown as `null`.
#[derive(Serialize)]
pub(super) struct Meta<'a> {
    pub(super) key: &'a str,
    pub(super) value: Option<&'a str>,
}

pub(super) fn license_meta_data(rows: &[LicenseMetaRow]) -> Vec<Meta<'_>> {
    rows.iter().map(|row| Meta { key: &row.meta.key, value: row.meta.value.as_deref() }).collect()
}

pub(super) fn product_meta_data(rows: &[ProductMetaRow]) -> Vec<Meta<'_>> {
    rows.iter().map(|row| Meta { key: &row.meta.key, value: Some(&row.meta.value) }).collect()
}

/// `false` where a license never expires.
#[derive(Serialize)]
#[serde(untagged)]
enum ExpiresAt {
    Never(bool),
    At(String),
}

#[derive(Serialize)]
struct LicenseDetails<'a> {
    id: i64,
    license_key: &'a str,
    owner_name: Option<&'a str>,
    owner_email: Option<&'a str>,
    activation_limit: i64,
    validity: i64,
    assigned_at: Option<String>,
    meta_data: Vec<Meta<'a>>,
    expires_at: ExpiresAt,
}

impl<'a> LicenseDetails<'a> {
    fn new(row: &'a LicenseRow, meta: &'a [LicenseMetaRow]) -> Self {
        let license = &row.license;
        Self {
            id: license.number,
            license_key: &license.key,
            owner_name: license.owner_name.as_deref(),
            owner_email: license.owner_email.as_deref(),
            activation_limit: license.activation_limit,
            validity: license.validity_days,
            assigned_at: license.assigned_at.map(|at| at.date_time()),
            meta_data: license_meta_data(meta),
            expires_at: license.expires_at().map_or(ExpiresAt::Never(false), |at| ExpiresAt::At(at.date_time())),
        }
    }
}

#[derive(Serialize)]
struct ProductDetails<'a> {
    id: i64,
    external_reference: &'a str,
    source: &'a str,
    name: &'a str,
    post_url: &'a str,
    description: &'a str,
    meta_data: Vec<Meta<'a>>,
}

impl<'a> ProductDetails<'a> {
    fn new(row: &'a ProductRow, meta: &'a [ProductMetaRow]) -> Self {
        let product = &row.product;
        Self {
            id: product.number,
            external_reference: &product.external_reference,
            source: product.source.as_str(),
            name: &product.name,
            post_url: &product.post_url,
            description: &product.description,
            meta_data: product_meta_data(meta),
        }
    }
}
