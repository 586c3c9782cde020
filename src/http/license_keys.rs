//! Making, changing and deleting licenses.

use keyledger_events::{
    license::{LicenseError, Status},
    values::LicenseKey,
};

use super::{
    codes::{Code, LicenseOperation as Op},
    doc::{
        Doc, Field, Parameter, Shape,
        common::{ERRORS, LICENSE_KEY, PRODUCT_ID},
    },
    envelope::{Answer, Answered, internal},
    extract::{Call, List, NO_PRODUCT},
    items::{ITEMS_MAX, Item},
    license::{execute, key_pair, refused},
    validate::Errors,
};
use crate::ledger::{Command, CommandResult, LicenseChanges, OwnerInput};

/// Keys in one call: so many are written durably in half a second.
const KEYS_MAX: usize = 10_000;
const _: () = assert!(KEYS_MAX < ITEMS_MAX, "a list that was cut off has too many keys");

const OWNER_NAME: Parameter = Parameter::optional("owner_name", Shape::Text, "The owner's name.");
const OWNER_EMAIL: Parameter = Parameter::optional("owner_email", Shape::Email, "The owner's address.");
const STATUSES: Shape = Shape::Choice(&["available", "assigned", "reserved", "blocked"]);
const ASSIGNED_AT: Parameter = Parameter::optional("assigned_at", Shape::Time, "When the validity starts: RFC 3339, or a date (UTC).");

pub const CREATE: Doc = Doc::new("Create licenses with given keys")
    .parameters(&[
        Parameter::required("license_keys", Shape::List(&Shape::Text), "The keys, 10,000 at most: a JSON array, in a form as text."),
        PRODUCT_ID,
        Parameter::required("activation_limit", Shape::Integer, "0 is no limit."),
        Parameter::required("validity", Shape::Integer, "Days from the assignment; 0 is for ever."),
        Parameter::required("status", STATUSES, ""),
        OWNER_NAME,
        OWNER_EMAIL,
        ASSIGNED_AT,
    ])
    .codes(&[Code::LicenseKeysCreationResult, Code::IncorrectDataLicenseCreate, Code::NoLicenseKeysCreated])
    .fields(&[
        Field::new("created", Shape::Integer, "How many are made."),
        Field::new("duplicate", Shape::Integer, "How many there were already."),
        ERRORS,
    ]);

pub async fn create(mut call: Call) -> Answered {
    let keys = call.list("license_keys")?;
    let product = call.product_number()?.unwrap_or(NO_PRODUCT);
    let (name, email) = (call.text("owner_name")?, call.text("owner_email")?);
    let (limit, validity) = (call.text("activation_limit")?, call.text("validity")?);
    let (status, assigned_at) = (call.text("status")?, call.text("assigned_at")?);

    let mut errors = Errors::default();
    let keys = license_keys(&mut errors, keys);
    let owner = OwnerInput { name: errors.short("owner_name", name.as_deref())?, email: errors.email("owner_email", email.as_deref())? };
    let limit = required(&mut errors, "activation_limit", limit.as_deref(), Errors::count);
    let validity = required(&mut errors, "validity", validity.as_deref(), Errors::count);
    let status = required(&mut errors, "status", status.as_deref(), |errors, field, text| errors.choice(field, text, Status::parse));
    let assigned_at = errors.date("assigned_at", assigned_at.as_deref());

    let (Some(keys), Some(activation_limit), Some(validity_days), Some(status), true) = (keys, limit, validity, status, errors.is_empty()) else {
        let product = call.app.ledger.product(product).await?;
        if product.is_none() {
            errors.invalid_product();
        }
        let key_pair = product.and_then(|row| row.product.key_pair);
        return call.refuse(Answer::new(Code::IncorrectDataLicenseCreate).signed_by(key_pair).field("errors", &errors)?).await;
    };
    let command = Command::CreateLicenses { keys, product, owner, activation_limit, validity_days, status, assigned_at };
    let outcome = call.execute(command).await?;
    match outcome.result {
        CommandResult::LicensesCreated { created: 0, .. } => Ok(Answer::new(Code::NoLicenseKeysCreated).signed_by(outcome.key_pair)),
        CommandResult::LicensesCreated { created, duplicate } => {
            Answer::new(Code::LicenseKeysCreationResult).signed_by(outcome.key_pair).field("created", &created)?.field("duplicate", &duplicate)
        }
        CommandResult::NoSuchProduct => unknown_product(Code::IncorrectDataLicenseCreate, None),
        other => Err(internal(&format_args!("creating licenses came to {other:?}"))),
    }
}

pub const UPDATE: Doc = Doc::new("Change a license")
    .details("What is absent stays as it is. Making it available again ends its activations and clears its owner.")
    .parameters(&[
        LICENSE_KEY,
        Parameter::optional("product_id", Shape::Integer, "The product that it shall belong to."),
        Parameter::optional("activation_limit", Shape::Integer, "0 is no limit."),
        Parameter::optional("validity", Shape::Integer, "Days from the assignment; 0 is for ever."),
        Parameter::optional("status", STATUSES, ""),
        OWNER_NAME,
        OWNER_EMAIL,
        ASSIGNED_AT,
    ])
    .codes(&[Code::LicenseKeyUpdated, Code::IncorrectDataLicenseUpdate, Code::LicenseKeyNotFoundUpdate])
    .fields(&[ERRORS]);

pub async fn update(mut call: Call) -> Answered {
    let (key, product) = (call.license_key()?, call.product_number()?);
    let (name, email) = (call.text("owner_name")?, call.text("owner_email")?);
    let (limit, validity) = (call.text("activation_limit")?, call.text("validity")?);
    let (status, assigned_at) = (call.text("status")?, call.text("assigned_at")?);

    let mut errors = Errors::default();
    // What was given and is blank clears.
    let owner_name = errors.short("owner_name", name.as_deref())?;
    let owner_email = errors.email("owner_email", email.as_deref())?;
    let changes = LicenseChanges {
        product,
        owner_name: name.map(|_| owner_name),
        owner_email: email.map(|_| owner_email),
        activation_limit: errors.count("activation_limit", limit.as_deref()),
        validity_days: errors.count("validity", validity.as_deref()),
        status: errors.choice("status", status.as_deref(), Status::parse),
        assigned_at: errors.date("assigned_at", assigned_at.as_deref()),
    };
    let Some(key) = key else { return execute(call, Op::Update, None).await };
    if !errors.is_empty() {
        return refuse_update(call, &key, product, errors).await;
    }
    let outcome = call.execute(Command::UpdateLicense { key, changes }).await?;
    match outcome.result {
        CommandResult::LicenseUpdated => Ok(Answer::new(Code::LicenseKeyUpdated).signed_by(outcome.key_pair)),
        CommandResult::NoSuchProduct => unknown_product(Code::IncorrectDataLicenseUpdate, outcome.key_pair),
        CommandResult::LicenseRefused(error) => Ok(refused(Op::Update, error, outcome.key_pair)),
        other => Err(internal(&format_args!("an update of a license came to {other:?}"))),
    }
}

/// An unknown license comes before what is wrong with the data.
async fn refuse_update(call: Call, key: &LicenseKey, product: Option<i64>, mut errors: Errors) -> Answered {
    let Some(view) = call.app.ledger.find_license(key, None).await? else {
        return call.refuse(refused(Op::Update, LicenseError::Unknown, None)).await;
    };
    if let Some(product) = product
        && call.app.ledger.product(product).await?.is_none()
    {
        errors.invalid_product();
    }
    let answer = Answer::new(Code::IncorrectDataLicenseUpdate).signed_by(key_pair(&view)).field("errors", &errors)?;
    call.refuse(answer).await
}

pub const DELETE: Doc = Doc::new("Delete a license")
    .details("Its history stays. The same key can be created again later and is then a new license.")
    .parameters(&[LICENSE_KEY])
    .codes(&[Code::LicenseKeyDeleted, Code::LicenseKeyNotFound]);

pub async fn delete(mut call: Call) -> Answered {
    let key = call.license_key()?;
    execute(call, Op::Delete, key.map(|key| Command::DeleteLicense { key })).await
}

fn unknown_product(code: Code, key_pair: Option<i64>) -> Answered {
    let mut errors = Errors::default();
    errors.invalid_product();
    Answer::new(code).signed_by(key_pair).field("errors", &errors)
}

/// Checks a field that must not be blank.
fn required<T>(
    errors: &mut Errors,
    field: &'static str,
    text: Option<&str>,
    check: impl FnOnce(&mut Errors, &'static str, Option<&str>) -> Option<T>,
) -> Option<T> {
    if text.is_none_or(|text| text.trim().is_empty()) {
        errors.required(field);
        return None;
    }
    check(errors, field, text)
}

fn license_keys(errors: &mut Errors, list: Option<List>) -> Option<Vec<LicenseKey>> {
    const FIELD: &str = "license_keys";
    let items = match list {
        Some(List::Items(items)) if !items.is_empty() => items,
        None | Some(List::Items(_)) => {
            errors.required(FIELD);
            return None;
        }
        Some(List::Malformed) => {
            errors.add(FIELD, "The license keys must be a JSON array.");
            return None;
        }
    };
    if items.len() > KEYS_MAX {
        errors.add(FIELD, format!("The license keys must be at most {KEYS_MAX}."));
        return None;
    }
    let keys: Option<Vec<LicenseKey>> = items.iter().map(license_key).collect();
    if keys.is_none() {
        errors.add(FIELD, "Each license key must be text of 1 to 255 characters without control characters.");
    }
    keys
}

fn license_key(item: Item<'_>) -> Option<LicenseKey> {
    match item {
        Item::Text(text) => LicenseKey::parse(text).ok(),
        Item::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn keys(list: Option<List>) -> Result<Vec<String>, String> {
        let mut errors = Errors::default();
        let keys = license_keys(&mut errors, list).map(|keys| keys.into_iter().map(LicenseKey::into_string).collect());
        keys.ok_or_else(|| serde_json::to_string(&errors).unwrap())
    }

    #[test]
    fn a_list_of_keys_is_all_good_or_refused() {
        let items = |value: Value| Some(List::Items(serde_json::from_value(value).unwrap()));
        assert_eq!(keys(items(serde_json::json!([" A ", 7]))), Ok(vec!["A".to_owned(), "7".to_owned()]));
        assert_eq!(keys(None).unwrap_err(), r#"{"license_keys":["The license keys field is required."]}"#);
        assert_eq!(keys(items(serde_json::json!([]))).unwrap_err(), r#"{"license_keys":["The license keys field is required."]}"#);
        assert_eq!(keys(Some(List::Malformed)).unwrap_err(), r#"{"license_keys":["The license keys must be a JSON array."]}"#);
        for bad in [Value::Null, true.into(), "".into(), " ".into(), "a\nb".into(), "k".repeat(256).into(), serde_json::json!(["A"])] {
            assert!(keys(items(Value::from(vec!["good".into(), bad]))).unwrap_err().contains("Each license key"));
        }
        assert!(keys(items(Value::from(vec!["A"; KEYS_MAX]))).is_ok());
        for count in [KEYS_MAX + 1, KEYS_MAX + 2, 5 * KEYS_MAX] {
            assert!(keys(items(Value::from(vec!["A"; count]))).unwrap_err().contains("at most 10000"));
        }
    }
}
