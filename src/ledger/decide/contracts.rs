//! Contracts, and the licenses under them.

use keyledger_events::{
    Event,
    contract::{self, ContractCommand, ContractError, ContractFields, Permission},
    license::{self, AtHand, LicenseCommand, LicenseError},
    values::LicenseKey,
};
use keyledger_projections::{ContractCountRow, ContractRow, LicenseRow, Table};

use super::{Executed, generators, is_live_product, outcome};
use crate::ledger::{
    command::{CommandResult, ExecuteError, LICENSES_MAX, Supply},
    workspace::Staged,
};

/// One command on one contract, which was looked up with the product and the key that the command names.
pub(super) fn on_contract(staged: &mut Staged<'_, '_>, number: i64, command: &ContractCommand) -> Executed {
    let row = staged.row::<ContractRow>(Table::Contract, number);
    let created_at = row.map(|row| row.created_at);
    let is_known = row.is_some_and(|row| !row.contract.deleted) || matches!(command, ContractCommand::Create(_));
    let (product, key_holder) = match command {
        ContractCommand::Create(fields) | ContractCommand::Update(fields) => {
            (Some(fields.product), staged.workspace.contract_by_key(&fields.key).map(|row| row.contract.number))
        }
        ContractCommand::Delete => (None, None),
    };
    if is_known && product.is_some_and(|product| !is_live_product(staged, product)) {
        return outcome(staged, CommandResult::NoSuchProduct, None);
    }
    let context = staged.context();
    let result = match contract::decide(row.map(|row| &row.contract), key_holder, command, &context) {
        Ok(event) => {
            let updated_at = match &event {
                Some(_) => context.now,
                None => row.map_or(context.now, |row| row.updated_at),
            };
            if let Some(event) = event {
                staged.append(Event::Contract(event))?;
            }
            match command {
                ContractCommand::Create(_) | ContractCommand::Update(_) => CommandResult::ContractSet {
                    contract: number,
                    created_at: created_at.unwrap_or(context.now),
                    updated_at,
                    license_keys: license_keys(staged, number),
                },
                ContractCommand::Delete => CommandResult::ContractDeleted,
            }
        }
        Err(error) => CommandResult::ContractRefused(error),
    };
    outcome(staged, result, None)
}

pub(super) fn create(staged: &mut Staged<'_, '_>, fields: &ContractFields) -> Executed {
    let number = staged.context().next.contract;
    on_contract(staged, number, &ContractCommand::Create(fields.clone()))
}

fn license_keys(staged: &Staged<'_, '_>, contract: i64) -> i64 {
    staged.row::<ContractCountRow>(Table::ContractCount, contract).map_or(0, |row| row.license_keys)
}

/// The contract, where it permits this.
fn permitted<'a>(staged: &'a Staged<'_, '_>, number: i64, permission: Permission) -> Result<&'a ContractRow, ContractError> {
    let row = staged.row::<ContractRow>(Table::Contract, number).ok_or(ContractError::Unknown)?;
    row.contract.permit(permission).map(|()| row)
}

fn refused(staged: &Staged<'_, '_>, error: ContractError) -> Executed {
    outcome(staged, CommandResult::ContractRefused(error), None)
}

/// Available licenses under a contract. The quota holds whoever else asks: it is decided on the count under the lock.
pub(super) fn generate(staged: &mut Staged<'_, '_>, number: i64, quantity: i64, supply: Option<&Supply>) -> Executed {
    let contract = match permitted(staged, number, Permission::Generate) {
        Ok(row) => row.contract.clone(),
        Err(error) => return refused(staged, error),
    };
    let product = contract.fields.product;
    if !is_live_product(staged, product) {
        return outcome(staged, CommandResult::NoSuchProduct, None);
    }
    let Some(row) = staged.workspace.generator_of(product).cloned() else {
        return outcome(staged, CommandResult::NoGenerator, None);
    };
    if let Err(error) = contract.make_room(license_keys(staged, number), quantity) {
        return refused(staged, error);
    }
    let result = match generators::pick(staged, Some(&row), quantity, supply)? {
        Ok(keys) => generators::make_available(staged, &row.generator, keys, Some(number))?,
        Err(shortage) => shortage.into(),
    };
    outcome(staged, result, None)
}

/// Deletes one license of a contract, found by its key.
pub(super) fn destroy(staged: &mut Staged<'_, '_>, contract: Option<i64>, key: &LicenseKey) -> Executed {
    let license = staged.workspace.license(key.as_str()).map(|row| (row.license.number, row.license.contract));
    let Some(number) = contract.or_else(|| license.and_then(|(_, of)| of)) else {
        return outcome(staged, CommandResult::LicenseRefused(LicenseError::Unknown), None);
    };
    if let Err(error) = permitted(staged, number, Permission::Destroy) {
        return refused(staged, error);
    }
    let result = match license.filter(|(_, of)| *of == Some(number)) {
        Some((license, _)) => {
            delete(staged, license)?;
            CommandResult::LicenseDeleted
        }
        None => CommandResult::LicenseRefused(LicenseError::Unknown),
    };
    outcome(staged, result, None)
}

/// Deletes licenses of a contract, as many as one command may.
pub(super) fn destroy_all(staged: &mut Staged<'_, '_>, number: i64, up_to: i64) -> Executed {
    if let Err(error) = permitted(staged, number, Permission::DestroyAll) {
        return refused(staged, error);
    }
    let known = staged.workspace.contract_licenses(number).map(|row| row.license.number).filter(|license| *license <= up_to);
    let licenses: Vec<i64> = known.take(LICENSES_MAX).collect();
    for license in &licenses {
        delete(staged, *license)?;
    }
    // What the batch doesn't know of may belong to it too.
    let has_more = !licenses.is_empty() && license_keys(staged, number) > 0;
    outcome(staged, CommandResult::ContractLicensesDestroyed { destroyed: licenses.len() as i64, up_to, has_more }, None)
}

fn delete(staged: &mut Staged<'_, '_>, license: i64) -> Result<(), ExecuteError> {
    let row = staged.row::<LicenseRow>(Table::License, license);
    let at_hand = AtHand { license: row.map(|row| &row.license), ..AtHand::default() };
    for event in license::decide(at_hand, &LicenseCommand::Delete, &staged.context()).events {
        staged.append(Event::License(event))?;
    }
    Ok(())
}
