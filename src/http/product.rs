//! Products: made, changed, deleted. The global key signs all of it.

use keyledger_events::product::{ProductError, ProductFields, ProductStatus, Source, UpdateProduct};

use super::{
    codes::{Code, ProductOperation as Op, product_refusal},
    doc::{
        Doc, Field, Parameter, Shape,
        common::{ERRORS, PRODUCT_ID},
    },
    envelope::{Answer, Answered, internal},
    extract::{Call, NO_PRODUCT},
    validate::{Errors, URL_BYTES_MAX, is_url},
};
use crate::{
    ledger::{Command, CommandResult},
    signer::Bits,
};

/// A product's parameters as they were given.
struct Given {
    source: Option<String>,
    name: Option<String>,
    description: Option<String>,
    require_non_expired: Option<String>,
    external_reference: Option<String>,
    status: Option<String>,
    post_url: Option<String>,
}

impl Given {
    fn take(call: &mut Call) -> Answered<Self> {
        Ok(Self {
            source: call.text("source")?,
            name: call.text("name")?,
            description: call.text("description")?,
            require_non_expired: call.text("require_non_expired")?,
            external_reference: call.text("external_reference")?,
            status: call.text("status")?,
            post_url: call.text("post_url")?,
        })
    }

    /// What of it is good, field by field. Name and description must not be blank where they are given; a blank reference
    /// or URL is an empty one, and a blank choice is none.
    fn check(self, errors: &mut Errors) -> Answered<UpdateProduct> {
        let source = errors.choice("source", self.source.as_deref(), Source::parse);
        let name = required(errors, "name", self.name, Errors::name)?;
        let description = required(errors, "description", self.description, Errors::long)?;
        let require_non_expired = errors.flag("require_non_expired", self.require_non_expired.as_deref());
        let reference = errors.short("external_reference", self.external_reference.as_deref())?;
        let external_reference = self.external_reference.map(|_| reference.unwrap_or_default());
        let status = errors.choice("status", self.status.as_deref(), ProductStatus::parse);
        let post_url = self.post_url.map(|url| url.trim().to_owned());
        if post_url.as_deref().is_some_and(|url| !url.is_empty() && !is_url(url)) {
            errors.add("post_url", format!("The post url must be an http or https URL of at most {URL_BYTES_MAX} bytes."));
        }
        Ok(UpdateProduct { source, name, description, external_reference, post_url, require_non_expired, status })
    }
}

fn required(
    errors: &mut Errors,
    field: &'static str,
    text: Option<String>,
    check: impl FnOnce(&mut Errors, &'static str, Option<String>) -> Answered<Option<String>>,
) -> Answered<Option<String>> {
    if text.as_deref().is_some_and(|text| text.trim().is_empty()) {
        errors.required(field);
        return Ok(None);
    }
    check(errors, field, text)
}

const SOURCE: Shape = Shape::Choice(&["internal", "envato"]);
const STATUS: Shape = Shape::Choice(&["active", "inactive"]);
const REFERENCE: Parameter = Parameter::optional("external_reference", Shape::Text, "The product's name elsewhere, as an item's number.");
const POST_URL: Parameter = Parameter::optional("post_url", Shape::Url, "Where remote deactivations are told.");

pub const CREATE: Doc = Doc::new("Create a product")
    .parameters(&[
        Parameter::required("name", Shape::Text, ""),
        Parameter::required("description", Shape::Text, ""),
        Parameter::optional("source", SOURCE, "`internal` unless given."),
        Parameter::optional("status", STATUS, "`active` unless given."),
        Parameter::optional("require_non_expired", Shape::Flag, "Whether an expired license gets no downloads; 0 unless given."),
        REFERENCE,
        POST_URL,
        Parameter::optional("own_key_pair", Shape::Flag, "Whether it gets a key pair of its own to sign with; 1 unless given."),
    ])
    .codes(&[Code::ProductCreated, Code::IncorrectDataProductCreate])
    .fields(&[Field::new("product_id", Shape::Integer, "The new product's number."), ERRORS]);

pub async fn create(mut call: Call) -> Answered {
    let mut given = Given::take(&mut call)?;
    let own_key_pair = call.text("own_key_pair")?;
    // Absent is as wrong as blank here.
    given.name.get_or_insert_default();
    given.description.get_or_insert_default();
    let mut errors = Errors::default();
    let checked = given.check(&mut errors)?;
    let own_key_pair = errors.flag("own_key_pair", own_key_pair.as_deref()).unwrap_or(true);
    if !errors.is_empty() {
        return call.refuse(Answer::new(Code::IncorrectDataProductCreate).field("errors", &errors)?).await;
    }
    let fields = ProductFields {
        source: checked.source.unwrap_or_default(),
        name: checked.name.unwrap_or_default(),
        description: checked.description.unwrap_or_default(),
        external_reference: checked.external_reference.unwrap_or_default(),
        post_url: checked.post_url.unwrap_or_default(),
        require_non_expired: checked.require_non_expired.unwrap_or_default(),
        status: checked.status.unwrap_or_default(),
    };
    // Slow, so it is made before the command queues.
    let key_pair = if own_key_pair { Some(call.app.signer.generate(Bits::default()).await?) } else { None };
    let outcome = call.execute(Command::CreateProduct { fields, key_pair }).await?;
    match outcome.result {
        CommandResult::ProductCreated { product } => Answer::new(Code::ProductCreated).field("product_id", &product),
        other => Err(internal(&format_args!("creating a product came to {other:?}"))),
    }
}

pub const UPDATE: Doc = Doc::new("Change a product")
    .details("What is absent stays as it is.")
    .parameters(&[
        PRODUCT_ID,
        Parameter::optional("name", Shape::Text, ""),
        Parameter::optional("description", Shape::Text, ""),
        Parameter::optional("source", SOURCE, ""),
        Parameter::optional("status", STATUS, ""),
        Parameter::optional("require_non_expired", Shape::Flag, "Whether an expired license gets no downloads."),
        REFERENCE,
        POST_URL,
    ])
    .codes(&[Code::ProductUpdated, Code::IncorrectDataProductUpdate])
    .fields(&[ERRORS]);

pub async fn update(mut call: Call) -> Answered {
    let product = call.product_number()?.unwrap_or(NO_PRODUCT);
    let given = Given::take(&mut call)?;
    let mut errors = Errors::default();
    let update = given.check(&mut errors)?;
    if !errors.is_empty() {
        if call.app.ledger.product(product).await?.is_none() {
            errors.invalid_product();
        }
        return call.refuse(Answer::new(Code::IncorrectDataProductUpdate).field("errors", &errors)?).await;
    }
    let outcome = call.execute(Command::UpdateProduct { product, update }).await?;
    match outcome.result {
        CommandResult::ProductUpdated => Ok(Answer::new(Code::ProductUpdated)),
        CommandResult::ProductRefused(error) => {
            errors.invalid_product();
            refused(Op::Update, error)?.field("errors", &errors)
        }
        other => Err(internal(&format_args!("an update of a product came to {other:?}"))),
    }
}

pub const DELETE: Doc = Doc::new("Delete a product that has no license keys")
    .parameters(&[PRODUCT_ID])
    .codes(&[Code::ProductDeleted, Code::ProductNotFound])
    .fields(&[ERRORS]);

pub async fn delete(mut call: Call) -> Answered {
    let product = call.product_number()?.unwrap_or(NO_PRODUCT);
    let outcome = call.execute(Command::DeleteProduct { product }).await?;
    match outcome.result {
        CommandResult::ProductDeleted => Ok(Answer::new(Code::ProductDeleted)),
        CommandResult::ProductRefused(ProductError::HasLicenses) => {
            let mut errors = Errors::default();
            errors.add("product_id", "The product still has license keys.");
            refused(Op::Delete, ProductError::HasLicenses)?.field("errors", &errors)
        }
        CommandResult::ProductRefused(error) => refused(Op::Delete, error),
        other => Err(internal(&format_args!("the deletion of a product came to {other:?}"))),
    }
}

/// The answer to a refusal, before fields and key pair.
pub(super) fn refused(operation: Op, error: ProductError) -> Answered {
    product_refusal(operation, error).map(Answer::new).ok_or_else(|| internal(&format_args!("{operation:?} was refused: {error}")))
}
