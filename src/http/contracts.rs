//! Contracts: made, changed, deleted, listed. The global key signs all of it.

use keyledger_events::{
    Timestamp,
    contract::{ContractError, ContractFields},
    values::{COUNT_MAX, TextError, long_text, short_text},
};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{
    codes::Code,
    doc::{Doc, Field, Parameter, Shape, common::PRODUCT_ID},
    envelope::{Answer, Answered, internal},
    extract::{Call, NO_PRODUCT},
};
use crate::ledger::{Command, CommandResult, ContractView};

const KEY: &str = "Contract key is required and must be unique.";
const PRODUCT: &str = "Product Id must be a valid product Id.";

const CONTRACT_ID: Parameter = Parameter::required("contract_id", Shape::Integer, "The contract's number.");
const CONTRACT_KEY: Parameter =
    Parameter::required("contract_key", Shape::Text, "Under which the contract is found, and with which its holder shows who it is; unique.");
const NAME: Parameter = Parameter::required("contract_name", Shape::Text, "");
const INFORMATION: Parameter = Parameter::required("contract_information", Shape::Text, "");
const QUANTITY: Parameter = Parameter::required("license_keys_quantity", Shape::Integer, "How many license keys it may have at a time, 1 or more.");
const STATUS: Parameter = Parameter::required("status", Shape::Choice(&["active", "inactive"]), "Whether it may be used.");
const CAN_GET_INFO: Parameter = Parameter::required("can_get_info", Shape::Flag, "Whether its holder may look at it.");
const CAN_GENERATE: Parameter = Parameter::required("can_generate", Shape::Flag, "Whether its holder may make license keys.");
const CAN_DESTROY: Parameter = Parameter::required("can_destroy", Shape::Flag, "Whether its holder may delete one of them.");
const CAN_DESTROY_ALL: Parameter = Parameter::required("can_destroy_all", Shape::Flag, "Whether its holder may delete all of them.");
const ERRORS: Field = Field::new("errors", Shape::Map(&Shape::Text), "What is wrong with which parameter.");
const ECHO: Field = Field::new(
    "contract",
    Shape::Object(&[
        Field::always("contract_key", Shape::Text, ""),
        Field::always("name", Shape::Text, ""),
        Field::always("information", Shape::Text, ""),
        Field::always("product_id", Shape::Text, "As it was sent."),
        Field::always("license_keys_quantity", Shape::Text, "As it was sent."),
        Field::always("status", Shape::Text, ""),
        Field::always("can_get_info", Shape::Text, "As it was sent."),
        Field::always("can_generate", Shape::Text, "As it was sent."),
        Field::always("can_destroy", Shape::Text, "As it was sent."),
        Field::always("can_destroy_all", Shape::Text, "As it was sent."),
        Field::always("updated_at", Shape::Time, ""),
        Field::always("created_at", Shape::Time, ""),
        Field::always("id", Shape::Integer, "Its number."),
        Field::always("license_keys_count", Shape::Integer, "How many license keys it has."),
    ]),
    "The contract as it is now.",
);
/// A contract as lists show it.
pub(super) const LISTED: Shape = Shape::Object(&[
    Field::always("id", Shape::Integer, "Its number."),
    Field::always("name", Shape::Text, ""),
    Field::always("information", Shape::Text, ""),
    Field::always("contract_key", Shape::Text, ""),
    Field::always("license_keys_quantity", Shape::Integer, "How many license keys it may have."),
    Field::always("product_id", Shape::Integer, ""),
    Field::always("can_get_info", Shape::Flag, ""),
    Field::always("can_generate", Shape::Flag, ""),
    Field::always("can_destroy", Shape::Flag, ""),
    Field::always("can_destroy_all", Shape::Flag, ""),
    Field::always("status", Shape::Text, ""),
    Field::always("created_at", Shape::Time, ""),
    Field::always("updated_at", Shape::Time, ""),
    Field::always("license_keys_count", Shape::Integer, "How many it has."),
]);

/// What is wrong with which field, one text each, in the order in which the contract lists the fields.
#[derive(Default)]
struct Errors(Vec<(&'static str, &'static str)>);

impl Serialize for Errors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// A contract's parameters, each as far as it is right.
struct Given {
    key: Option<String>,
    name: Option<String>,
    information: Option<String>,
    product: i64,
    license_keys_quantity: Option<i64>,
    active: Option<bool>,
    can_get_info: Option<bool>,
    can_generate: Option<bool>,
    can_destroy: Option<bool>,
    can_destroy_all: Option<bool>,
}

impl Given {
    fn take(call: &mut Call) -> Answered<Self> {
        let quantity = call.number("license_keys_quantity")?;
        Ok(Self {
            key: text(call, "contract_key", |text| short_text(text).map(str::to_owned))?,
            name: text(call, "contract_name", |text| short_text(text).map(|_| text.to_owned()))?,
            information: text(call, "contract_information", |text| {
                if text.trim().is_empty() { Err(TextError::Blank) } else { long_text(text).map(str::to_owned) }
            })?,
            product: call.product_number()?.unwrap_or(NO_PRODUCT),
            license_keys_quantity: quantity.filter(|quantity| (1..=COUNT_MAX).contains(quantity)),
            active: choice(call, "status", "inactive", "active")?,
            can_get_info: choice(call, "can_get_info", "0", "1")?,
            can_generate: choice(call, "can_generate", "0", "1")?,
            can_destroy: choice(call, "can_destroy", "0", "1")?,
            can_destroy_all: choice(call, "can_destroy_all", "0", "1")?,
        })
    }

    /// The fields, where all are right.
    fn fields(&self) -> Option<ContractFields> {
        Some(ContractFields {
            key: self.key.clone()?,
            name: self.name.clone()?,
            information: self.information.clone()?,
            product: self.product,
            license_keys_quantity: self.license_keys_quantity?,
            active: self.active?,
            can_get_info: self.can_get_info?,
            can_generate: self.can_generate?,
            can_destroy: self.can_destroy?,
            can_destroy_all: self.can_destroy_all?,
        })
    }

    fn errors(&self, key_is_free: bool, product_exists: bool) -> Errors {
        let checks = [
            ("contract_key", self.key.is_some() && key_is_free, KEY),
            ("contract_name", self.name.is_some(), "Contract name is required."),
            ("contract_information", self.information.is_some(), "Contract information is required."),
            ("product_id", product_exists, PRODUCT),
            ("license_keys_quantity", self.license_keys_quantity.is_some(), "License keys quantity must be 1 or more."),
            ("status", self.active.is_some(), "Status must be active or inactive"),
            ("can_get_info", self.can_get_info.is_some(), "Can get info must be 1 for true or 0 for false"),
            ("can_generate", self.can_generate.is_some(), "Can generate must be 1 for true or 0 for false"),
            ("can_destroy", self.can_destroy.is_some(), "Can destroy must be 1 for true or 0 for false"),
            ("can_destroy_all", self.can_destroy_all.is_some(), "Can destroy all must be 1 for true or 0 for false"),
        ];
        Errors(checks.into_iter().filter(|(_, is_right, _)| !is_right).map(|(field, _, text)| (field, text)).collect())
    }
}

/// A text that is right; what is blank or too long is as good as missing, since each field has one text for all that can be wrong.
fn text(call: &mut Call, name: &'static str, check: impl FnOnce(&str) -> Result<String, TextError>) -> Answered<Option<String>> {
    match call.text(name)?.map(|text| check(&text)) {
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(TextError::ControlCharacter)) => Err(Answer::bad_request(format!("{name} {}.", TextError::ControlCharacter))),
        None | Some(Err(_)) => Ok(None),
    }
}

fn choice(call: &mut Call, name: &'static str, no: &str, yes: &str) -> Answered<Option<bool>> {
    let text = call.text(name)?;
    Ok(match text.as_deref().map(str::trim) {
        Some(text) if text == no => Some(false),
        Some(text) if text == yes => Some(true),
        _ => None,
    })
}

pub const LIST: Doc = Doc::new("All contracts")
    .parameters(&[Parameter::optional("product_id", Shape::Integer, "Only this product's.")])
    .codes(&[Code::AllContracts, Code::ProductNotExistsCount])
    .fields(&[Field::new("contracts", Shape::List(&LISTED), "In ascending number.")]);

pub async fn list(mut call: Call) -> Answered {
    let product = call.product_number()?;
    if let Some(product) = product
        && call.app.ledger.product(product).await?.is_none()
    {
        return Ok(Answer::new(Code::ProductNotExistsCount));
    }
    let contracts = call.app.ledger.contracts(product).await?;
    let rows: Vec<Listed<'_>> = contracts.iter().map(Listed).collect();
    Answer::new(Code::AllContracts).field("contracts", &rows)
}

pub const CREATE: Doc = Doc::new("Make a contract")
    .parameters(&[CONTRACT_KEY, NAME, INFORMATION, PRODUCT_ID, QUANTITY, STATUS, CAN_GET_INFO, CAN_GENERATE, CAN_DESTROY, CAN_DESTROY_ALL])
    .codes(&[Code::ContractCreated, Code::IncorrectDataContract])
    .fields(&[ECHO, ERRORS]);

pub async fn create(mut call: Call) -> Answered {
    let given = Given::take(&mut call)?;
    let Some(fields) = given.fields() else { return refuse(call, &given, None).await };
    let outcome = call.execute(Command::CreateContract { fields: fields.clone() }).await?;
    answer(Code::ContractCreated, outcome.result, &given, &fields)
}

pub const UPDATE: Doc = Doc::new("Change a contract")
    .details("All of it is given anew.")
    .parameters(&[
        CONTRACT_ID,
        CONTRACT_KEY,
        NAME,
        INFORMATION,
        PRODUCT_ID,
        QUANTITY,
        STATUS,
        CAN_GET_INFO,
        CAN_GENERATE,
        CAN_DESTROY,
        CAN_DESTROY_ALL,
    ])
    .codes(&[Code::ContractUpdated, Code::IncorrectDataContract, Code::ContractNotFound])
    .fields(&[ECHO, ERRORS]);

pub async fn update(mut call: Call) -> Answered {
    let contract = call.number("contract_id")?.unwrap_or_default();
    let given = Given::take(&mut call)?;
    let Some(fields) = given.fields() else { return refuse(call, &given, Some(contract)).await };
    let outcome = call.execute(Command::UpdateContract { contract, fields: fields.clone() }).await?;
    answer(Code::ContractUpdated, outcome.result, &given, &fields)
}

pub const DELETE: Doc = Doc::new("Delete a contract")
    .details("Its license keys stay the product's.")
    .parameters(&[CONTRACT_ID])
    .codes(&[Code::ContractDeleted, Code::ContractNotFound]);

pub async fn delete(mut call: Call) -> Answered {
    let contract = call.number("contract_id")?.unwrap_or_default();
    let outcome = call.execute(Command::DeleteContract { contract }).await?;
    match outcome.result {
        CommandResult::ContractDeleted => Ok(Answer::new(Code::ContractDeleted)),
        CommandResult::ContractRefused(ContractError::Unknown) => Ok(Answer::new(Code::ContractNotFound)),
        other => Err(internal(&format_args!("the deletion of a contract came to {other:?}"))),
    }
}

fn answer(code: Code, result: CommandResult, given: &Given, fields: &ContractFields) -> Answered {
    match result {
        CommandResult::ContractSet { contract, created_at, updated_at, license_keys } => {
            let echo = Echo { is_new: code == Code::ContractCreated, contract, fields, created_at, updated_at, license_keys };
            Answer::new(code).field("contract", &echo)
        }
        CommandResult::NoSuchProduct => incorrect(&given.errors(true, false)),
        CommandResult::ContractRefused(ContractError::KeyTaken) => incorrect(&given.errors(false, true)),
        CommandResult::ContractRefused(ContractError::Unknown) => Ok(Answer::new(Code::ContractNotFound)),
        other => Err(internal(&format_args!("{code:?} came to {other:?}"))),
    }
}

fn incorrect(errors: &Errors) -> Answered {
    Answer::new(Code::IncorrectDataContract).field("errors", errors)
}

/// All that is wrong at once: what the ledger knows is looked up too.
async fn refuse(call: Call, given: &Given, contract: Option<i64>) -> Answered {
    let ledger = &call.app.ledger;
    let holder = match &given.key {
        Some(key) => ledger.contract_by_key(key).await?.map(|view| view.contract.contract.number),
        None => None,
    };
    let product_exists = ledger.product(given.product).await?.is_some();
    let errors = given.errors(holder.is_none() || holder == contract, product_exists);
    let answer = incorrect(&errors)?;
    call.refuse(answer).await
}

/// A contract as creating and changing it answer. Observed: numbers are the texts that were sent, and the order is another one.
struct Echo<'a> {
    is_new: bool,
    contract: i64,
    fields: &'a ContractFields,
    created_at: Timestamp,
    updated_at: Timestamp,
    license_keys: i64,
}

impl Serialize for Echo<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.fields;
        let mut map = serializer.serialize_map(None)?;
        let (product, quantity) = (fields.product.to_string(), fields.license_keys_quantity.to_string());
        if self.is_new {
            map.serialize_entry("contract_key", &fields.key)?;
        } else {
            map.serialize_entry("id", &self.contract)?;
        }
        map.serialize_entry("name", &fields.name)?;
        map.serialize_entry("information", &fields.information)?;
        if self.is_new {
            map.serialize_entry("product_id", &product)?;
            map.serialize_entry("license_keys_quantity", &quantity)?;
            map.serialize_entry("status", status(fields))?;
        } else {
            map.serialize_entry("contract_key", &fields.key)?;
            map.serialize_entry("license_keys_quantity", &quantity)?;
            map.serialize_entry("product_id", &product)?;
        }
        for (name, flag) in flags(fields) {
            map.serialize_entry(name, if flag { "1" } else { "0" })?;
        }
        if self.is_new {
            map.serialize_entry("updated_at", &self.updated_at)?;
            map.serialize_entry("created_at", &self.created_at)?;
            map.serialize_entry("id", &self.contract)?;
        } else {
            map.serialize_entry("status", status(fields))?;
            map.serialize_entry("created_at", &self.created_at)?;
            map.serialize_entry("updated_at", &self.updated_at)?;
        }
        map.serialize_entry("license_keys_count", &self.license_keys)?;
        map.end()
    }
}

fn status(fields: &ContractFields) -> &'static str {
    if fields.active { "active" } else { "inactive" }
}

fn flags(fields: &ContractFields) -> [(&'static str, bool); 4] {
    [
        ("can_get_info", fields.can_get_info),
        ("can_generate", fields.can_generate),
        ("can_destroy", fields.can_destroy),
        ("can_destroy_all", fields.can_destroy_all),
    ]
}

/// A contract as lists show it.
pub(super) struct Listed<'a>(pub(super) &'a ContractView);

impl Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = &self.0.contract;
        let fields = &row.contract.fields;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &row.contract.number)?;
        map.serialize_entry("name", &fields.name)?;
        map.serialize_entry("information", &fields.information)?;
        map.serialize_entry("contract_key", &fields.key)?;
        map.serialize_entry("license_keys_quantity", &fields.license_keys_quantity)?;
        map.serialize_entry("product_id", &fields.product)?;
        for (name, flag) in flags(fields) {
            map.serialize_entry(name, &u8::from(flag))?;
        }
        map.serialize_entry("status", status(fields))?;
        map.serialize_entry("created_at", &row.created_at)?;
        map.serialize_entry("updated_at", &row.updated_at)?;
        map.serialize_entry("license_keys_count", &self.0.license_keys)?;
        map.end()
    }
}
