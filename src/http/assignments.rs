//! Assigning available license keys, several at a time: at once, or queued. The global key signs all of it.

use std::sync::Arc;

use keyledger_events::Timestamp;
use keyledger_projections::{LicenseMetaRow, LicenseRow};
use serde::Serialize;

use super::{
    codes::Code,
    doc::{
        Doc, Field, Parameter, Shape,
        common::{META, PRODUCT_ID},
    },
    envelope::{Answer, Answered, internal},
    extract::{Call, NO_PRODUCT},
    license::{Meta, license_meta_data},
    validate::{URL_BYTES_MAX, is_url},
};
use crate::{
    app::App,
    ledger::{AssignedLicense, Assignment, Command, CommandResult, Ledger, OwnerInput},
    store::StoreError,
};

const QUANTITY: Parameter = Parameter::required("quantity", Shape::Integer, "How many, 1 to 10,000.");
const GENERATE: Parameter = Parameter::optional("generate", Shape::Flag, "Whether the product's first active generator makes what is missing.");
const OWNER_NAME: Parameter = Parameter::optional("owner_name", Shape::Text, "The owner's name.");
const OWNER_EMAIL: Parameter = Parameter::optional("owner_email", Shape::Email, "The owner's address.");

pub const ASSIGN: Doc = Doc::new("Assign available licenses of a product")
    .details("Those with the lowest numbers; all that are asked for, or none.")
    .parameters(&[PRODUCT_ID, QUANTITY, GENERATE, OWNER_NAME, OWNER_EMAIL])
    .codes(&[Code::LicenseKeysAssigned, Code::InsufficientLicenseKeys, Code::ProductNotFoundAssign, Code::GeneratorNotFoundAssign])
    .fields(&[
        Field::new(
            "license_keys",
            Shape::List(&Shape::Object(&[
                Field::always("product_id", Shape::Integer, ""),
                Field::always("license_key", Shape::Text, ""),
                Field::always("activation_limit", Shape::Integer, ""),
                Field::always("validity", Shape::Integer, ""),
                Field::always("status", Shape::Text, ""),
                Field::always("owner_name", Shape::Nullable(&Shape::Text), ""),
                Field::always("owner_email", Shape::Nullable(&Shape::Text), ""),
                Field::always("assigned_at", Shape::Nullable(&Shape::Time), ""),
                Field::always("contract_id", Shape::Nullable(&Shape::Integer), "The contract that the key was generated under."),
                Field::always("updated_at", Shape::Time, ""),
                Field::always("created_at", Shape::Time, ""),
                Field::always("id", Shape::Integer, "Its number."),
                Field::always("meta_data", META, ""),
            ])),
            "The licenses.",
        ),
        Field::new("available_quantity", Shape::Integer, "How many there are, where they are too few."),
    ]);

pub const QUEUE: Doc = Doc::new("Assign available licenses of a product later")
    .details(
        "The request is answered at once and done when it is its turn. Then its web hook is called with a POST of a JSON object whose member \
         `original` is the answer that random-assign-license-keys would have given, with the `identifier`. It is signed with the headers \
         webhook-id, webhook-timestamp and webhook-signature, and repeated for about a day until it is answered with 2xx.",
    )
    .parameters(&[
        PRODUCT_ID,
        QUANTITY,
        GENERATE,
        OWNER_NAME,
        OWNER_EMAIL,
        Parameter::optional("webhook_url", Shape::Url, "What is called when it is done."),
        Parameter::optional("identifier", Shape::Text, "What the web hook is told of the request, such as the number of an order."),
    ])
    .codes(&[Code::RequestQueued]);

fn assignment(call: &mut Call) -> Answered<Assignment> {
    Ok(Assignment {
        product: call.product_number()?.unwrap_or(NO_PRODUCT),
        // What is no number, or too large a one, is as little a quantity that can be assigned as 0.
        quantity: call.number("quantity")?.unwrap_or_default(),
        generate: generate(call)?,
        owner: OwnerInput { name: call.short_text("owner_name")?, email: call.email("owner_email")? },
    })
}

fn generate(call: &mut Call) -> Answered<bool> {
    match call.short_text("generate")?.as_deref() {
        None | Some("0" | "false") => Ok(false),
        Some("1" | "true") => Ok(true),
        Some(_) => Err(Answer::bad_request("generate must be 0 or 1.")),
    }
}

pub async fn assign(mut call: Call) -> Answered {
    let assignment = assignment(&mut call)?;
    let (app, owner) = (Arc::clone(&call.app), assignment.owner.clone());
    let outcome = call.execute_supplied(Command::AssignAvailable { assignment: assignment.clone(), supply: None }, None).await?;
    match outcome.result {
        CommandResult::AvailableAssigned { assigned_at, licenses } => {
            let listed = listed(&app.ledger, assignment.product, &owner, assigned_at, &licenses).await?;
            assigned(&listed)
        }
        CommandResult::TooFewAvailable { available } => too_few(available),
        CommandResult::NoSuchProduct => Ok(Answer::new(Code::ProductNotFoundAssign)),
        CommandResult::NoGenerator => Ok(Answer::new(Code::GeneratorNotFoundAssign)),
        other => Err(internal(&format_args!("an assignment came to {other:?}"))),
    }
}

pub async fn queue(mut call: Call) -> Answered {
    let assignment = assignment(&mut call)?;
    let webhook_url = webhook_url(&mut call)?;
    let identifier = call.short_text("identifier")?;
    let app = Arc::clone(&call.app);
    let outcome = call.execute(Command::QueueAssignment { assignment, identifier, webhook_url }).await?;
    match outcome.result {
        CommandResult::AssignmentQueued { .. } => {
            app.wake.notify_one();
            Ok(Answer::new(Code::RequestQueued))
        }
        other => Err(internal(&format_args!("queueing an assignment came to {other:?}"))),
    }
}

/// Nobody is there to be told later that it is no URL.
fn webhook_url(call: &mut Call) -> Answered<Option<String>> {
    let url = call.text("webhook_url")?.map(|url| url.trim().to_owned()).filter(|url| !url.is_empty());
    match url {
        Some(url) if !is_url(&url) => Err(Answer::bad_request(format!("webhook_url must be an http or https URL of at most {URL_BYTES_MAX} bytes."))),
        url => Ok(url),
    }
}

pub(super) fn assigned(licenses: &[Assigned]) -> Answered {
    Answer::new(Code::LicenseKeysAssigned).field("license_keys", licenses)
}

pub(super) fn too_few(available: i64) -> Answered {
    Answer::new(Code::InsufficientLicenseKeys).field("available_quantity", &available)
}

/// An assigned license as answers and web hooks show it.
#[derive(Debug, Serialize)]
pub(super) struct Assigned {
    product_id: i64,
    license_key: String,
    activation_limit: i64,
    validity: i64,
    status: &'static str,
    owner_name: Option<String>,
    owner_email: Option<String>,
    assigned_at: Option<Timestamp>,
    contract_id: Option<i64>,
    updated_at: Timestamp,
    created_at: Timestamp,
    id: i64,
    meta_data: Vec<OwnedMeta>,
}

#[derive(Debug, Serialize)]
struct OwnedMeta {
    key: String,
    value: Option<String>,
}

fn owned(meta: &[LicenseMetaRow]) -> Vec<OwnedMeta> {
    license_meta_data(meta).into_iter().map(|Meta { key, value }| OwnedMeta { key: key.to_owned(), value: value.map(str::to_owned) }).collect()
}

/// What the outcome doesn't hold: only licenses that were there before have it.
async fn listed(ledger: &Ledger, product: i64, owner: &OwnerInput, at: Timestamp, licenses: &[AssignedLicense]) -> Result<Vec<Assigned>, StoreError> {
    let mut listed = Vec::with_capacity(licenses.len());
    for license in licenses {
        let past = if license.has_past { ledger.license(license.number).await? } else { None };
        let meta_data = if license.has_past { owned(&ledger.license_meta(license.number).await?) } else { Vec::new() };
        let (owner_name, owner_email, contract) = match &past {
            Some(row) if owner.name.is_none() && owner.email.is_none() => {
                (row.license.owner_name.clone(), row.license.owner_email.clone(), row.license.contract)
            }
            past => (owner.name.clone(), owner.email.clone(), past.as_ref().and_then(|row| row.license.contract)),
        };
        listed.push(Assigned {
            product_id: product,
            license_key: license.key.clone(),
            activation_limit: license.activation_limit,
            validity: license.validity_days,
            status: "assigned",
            owner_name,
            owner_email,
            assigned_at: Some(at),
            contract_id: contract,
            updated_at: at,
            created_at: license.created_at,
            id: license.number,
            meta_data,
        });
    }
    Ok(listed)
}

/// Licenses as they are now. One that has more than two events behind it may have meta entries.
pub(super) async fn from_rows(app: &App, rows: Vec<LicenseRow>) -> Result<Vec<Assigned>, StoreError> {
    let mut listed = Vec::with_capacity(rows.len());
    for row in rows {
        let license = row.license;
        let meta_data = if row.sequence > 2 { owned(&app.ledger.license_meta(license.number).await?) } else { Vec::new() };
        listed.push(Assigned {
            product_id: license.product,
            license_key: license.key,
            activation_limit: license.activation_limit,
            validity: license.validity_days,
            status: license.status.as_str(),
            owner_name: license.owner_name,
            owner_email: license.owner_email,
            assigned_at: license.assigned_at,
            contract_id: license.contract,
            updated_at: row.updated_at,
            created_at: row.created_at,
            id: license.number,
            meta_data,
        });
    }
    Ok(listed)
}
