//! What a contract's holder can do with it. The contract is named by a parameter, or it is the one whose key the caller shows
//! instead of an API key. The global key signs all of it.

use keyledger_events::contract::{ContractError, Permission};

use super::{
    codes::Code,
    contracts::{LISTED, Listed},
    doc::{Doc, Field, Parameter, Shape},
    envelope::{Answer, Answered, internal},
    extract::Call,
};
use crate::ledger::{Actor, Command, CommandResult, ContractView, LICENSES_MAX, Request};

const CONTRACT_KEY: Parameter =
    Parameter::optional("contract_key", Shape::Text, "Which contract; not needed by whoever shows the contract's key instead of an API key.");
const CONTRACT_UUID: Parameter = Parameter::optional("contract_uuid", Shape::Text, "The same as contract_key.");

/// The contract that a call is about.
enum Named {
    Found(Box<ContractView>),
    /// What was given is no contract's key, or not that of the caller's.
    Unknown,
    /// Nothing was given.
    Not,
}

/// # Errors
/// When the parameters are malformed or the store fails.
async fn named(call: &mut Call) -> Answered<Named> {
    let key = match call.short_text("contract_key")? {
        Some(key) => Some(key),
        None => call.short_text("contract_uuid")?,
    };
    let ledger = &call.app.ledger;
    let view = match (call.origin.actor, &key) {
        (Actor::Contract(number), _) => {
            ledger.contract(number).await?.filter(|view| key.is_none() || key.as_ref() == Some(&view.contract.contract.fields.key))
        }
        (_, Some(key)) => ledger.contract_by_key(key).await?,
        (_, None) => return Ok(Named::Not),
    };
    Ok(view.map_or(Named::Unknown, |view| Named::Found(Box::new(view))))
}

fn refused(error: ContractError) -> Answered {
    Ok(Answer::new(match error {
        ContractError::Unknown => Code::ContractNotFoundInfo,
        ContractError::NotPermitted => Code::InsufficientPermissions,
        ContractError::LimitReached => Code::LicenseKeysLimitReached,
        ContractError::Exists | ContractError::KeyTaken => return Err(internal(&format_args!("the use of a contract was refused: {error}"))),
    }))
}

pub const INFO: Doc = Doc::new("Look at a contract")
    .parameters(&[CONTRACT_KEY, CONTRACT_UUID])
    .codes(&[Code::ContractFound, Code::ContractNotFoundInfo])
    .fields(&[Field::new("contract", LISTED, "")]);

pub async fn info(mut call: Call) -> Answered {
    let Named::Found(view) = named(&mut call).await? else { return refused(ContractError::Unknown) };
    match view.contract.contract.permit(Permission::GetInfo) {
        Ok(()) => Answer::new(Code::ContractFound).field("contract", &Listed(&view)),
        Err(error) => refused(error),
    }
}

pub const GENERATE: Doc = Doc::new("Make license keys under a contract")
    .parameters(&[CONTRACT_KEY, CONTRACT_UUID, Parameter::required("quantity", Shape::Integer, "1 to 10,000.")])
    .codes(&[
        Code::ContractLicenseKeysGenerated,
        Code::ContractNotFoundInfo,
        Code::ContractProductNotFound,
        Code::ContractGeneratorNotFound,
        Code::LicenseKeysLimitReached,
        Code::CannotGenerateQuantity,
    ])
    .fields(&[Field::new("license_keys", Shape::List(&Shape::Text), "The keys.")]);

pub async fn generate(mut call: Call) -> Answered {
    let quantity = call.number("quantity")?.unwrap_or_default();
    let Named::Found(view) = named(&mut call).await? else { return call.refuse(refused(ContractError::Unknown)?).await };
    let contract = &view.contract.contract;
    if let Err(error) = contract.permit(Permission::Generate) {
        return call.refuse(refused(error)?).await;
    }
    if !(1..=LICENSES_MAX as i64).contains(&quantity) {
        return call.refuse(Answer::new(Code::CannotGenerateQuantity)).await;
    }
    let generator = call.app.ledger.generator_of(contract.fields.product).await?;
    let command = Command::GenerateForContract { contract: contract.number, quantity, supply: None };
    // A contract that is full needs no keys made.
    let has_room = contract.make_room(view.license_keys, quantity).is_ok();
    let outcome = call.execute_supplied(command, generator.filter(|_| has_room).map(|row| (row.generator.number, quantity))).await?;
    match outcome.result {
        CommandResult::LicensesGenerated { keys } => Answer::new(Code::ContractLicenseKeysGenerated).field("license_keys", &keys),
        CommandResult::NoSuchProduct => Ok(Answer::new(Code::ContractProductNotFound)),
        CommandResult::NoGenerator => Ok(Answer::new(Code::ContractGeneratorNotFound)),
        CommandResult::KeysUsedUp => Ok(Answer::new(Code::CannotGenerateQuantity)),
        CommandResult::ContractRefused(error) => refused(error),
        other => Err(internal(&format_args!("generating under a contract came to {other:?}"))),
    }
}

pub const DESTROY: Doc = Doc::new("Delete a license key of a contract")
    .parameters(&[CONTRACT_KEY, CONTRACT_UUID, Parameter::required("license_key", Shape::Text, "The license key.")])
    .codes(&[Code::ContractLicenseKeyDeleted, Code::ContractLicenseKeyNotFound, Code::ContractNotFoundInfo]);

pub async fn destroy(mut call: Call) -> Answered {
    let key = call.license_key()?;
    let contract = match named(&mut call).await? {
        Named::Found(view) => Some(view.contract.contract.number),
        // The license itself says whose it is.
        Named::Not => None,
        Named::Unknown => return call.refuse(refused(ContractError::Unknown)?).await,
    };
    let Some(key) = key else { return call.refuse(Answer::new(Code::ContractLicenseKeyNotFound)).await };
    let outcome = call.execute(Command::DestroyContractLicense { contract, key }).await?;
    match outcome.result {
        CommandResult::LicenseDeleted => Ok(Answer::new(Code::ContractLicenseKeyDeleted)),
        CommandResult::LicenseRefused(_) => Ok(Answer::new(Code::ContractLicenseKeyNotFound)),
        CommandResult::ContractRefused(error) => refused(error),
        other => Err(internal(&format_args!("destroying a license came to {other:?}"))),
    }
}

pub const DESTROY_ALL: Doc = Doc::new("Delete all license keys of a contract").parameters(&[CONTRACT_KEY, CONTRACT_UUID]).codes(&[
    Code::ContractLicenseKeysDeleted,
    Code::ContractNoLicenseKeysFound,
    Code::ContractNotFoundInfo,
]);

pub async fn destroy_all(mut call: Call) -> Answered {
    let Named::Found(view) = named(&mut call).await? else { return call.refuse(refused(ContractError::Unknown)?).await };
    let contract = view.contract.contract.number;
    let (app, origin) = (std::sync::Arc::clone(&call.app), call.origin.clone());
    // What is made from now on stays, however long this takes, and however often it is repeated.
    let up_to = app.ledger.last_license_of_contract(contract).await?.unwrap_or_default();
    let mut outcome = call.execute(Command::DestroyContractLicenses { contract, up_to }).await?;
    let mut is_first = true;
    loop {
        match outcome.result {
            CommandResult::ContractLicensesDestroyed { destroyed: 0, .. } if is_first => return Ok(Answer::new(Code::ContractNoLicenseKeysFound)),
            CommandResult::ContractLicensesDestroyed { has_more: false, .. } => return Ok(Answer::new(Code::ContractLicenseKeysDeleted)),
            CommandResult::ContractLicensesDestroyed { up_to, .. } => {
                let command = Command::DestroyContractLicenses { contract, up_to };
                outcome = app.ledger.execute(Request { command, origin: origin.clone(), idempotency: None }).await?;
                is_first = false;
            }
            CommandResult::ContractRefused(error) => return refused(error),
            other => return Err(internal(&format_args!("destroying all licenses came to {other:?}"))),
        }
    }
}
