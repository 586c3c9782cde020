//! Generators, and licenses with generated keys.

use std::collections::HashSet;

use keyledger_events::{
    Event,
    generator::{self, Generator, GeneratorCommand, GeneratorError, GeneratorFields},
    license::{self, AtHand, CreateLicense, LicenseCommand, Owner, Status},
    values::LicenseKey,
};
use keyledger_projections::{GeneratorRow, Table};

use super::{Executed, internal, is_live_product, key_pair_of, outcome};
use crate::ledger::{
    command::{CommandResult, ExecuteError, LICENSES_MAX, Supply},
    workspace::Staged,
};

/// Why so many keys can't be had.
pub(super) enum Shortage {
    NoGenerator,
    UsedUp,
}

/// One command on one generator, which was looked up with the product that the command names.
pub(super) fn on_generator(staged: &mut Staged<'_, '_>, number: i64, command: &GeneratorCommand) -> Executed {
    let product = match command {
        GeneratorCommand::Create(fields) => Some(fields.product),
        GeneratorCommand::Update(update) => update.product,
        GeneratorCommand::Delete => None,
    };
    let row = staged.row::<GeneratorRow>(Table::Generator, number);
    let is_known = row.is_some_and(|row| !row.generator.deleted) || matches!(command, GeneratorCommand::Create(_));
    if is_known && product.is_some_and(|product| !is_live_product(staged, product)) {
        return outcome(staged, CommandResult::NoSuchProduct, None);
    }
    let result = match generator::decide(row.map(|row| &row.generator), command, &staged.context()) {
        Ok(event) => {
            if let Some(event) = event {
                staged.append(Event::Generator(event))?;
            }
            match command {
                GeneratorCommand::Create(_) => CommandResult::GeneratorCreated { generator: number },
                GeneratorCommand::Update(_) => CommandResult::GeneratorUpdated,
                GeneratorCommand::Delete => CommandResult::GeneratorDeleted,
            }
        }
        Err(error) => CommandResult::GeneratorRefused(error),
    };
    outcome(staged, result, None)
}

pub(super) fn create(staged: &mut Staged<'_, '_>, fields: &GeneratorFields) -> Executed {
    let number = staged.context().next.generator;
    on_generator(staged, number, &GeneratorCommand::Create(fields.clone()))
}

/// Available licenses with keys of one generator.
pub(super) fn generate(staged: &mut Staged<'_, '_>, number: i64, quantity: i64, supply: Option<&Supply>) -> Executed {
    let Some(row) = staged.row::<GeneratorRow>(Table::Generator, number).filter(|row| row.generator.is_active()).cloned() else {
        return outcome(staged, CommandResult::GeneratorRefused(GeneratorError::Unknown), None);
    };
    let product = row.generator.fields.product;
    if !is_live_product(staged, product) {
        return outcome(staged, CommandResult::NoSuchProduct, None);
    }
    let key_pair = key_pair_of(staged, product);
    let result = match pick(staged, Some(&row), quantity, supply)? {
        Ok(keys) => make_available(staged, &row.generator, keys, None)?,
        Err(shortage) => shortage.into(),
    };
    outcome(staged, result, key_pair)
}

impl From<Shortage> for CommandResult {
    fn from(shortage: Shortage) -> Self {
        match shortage {
            Shortage::NoGenerator => Self::NoGenerator,
            Shortage::UsedUp => Self::KeysUsedUp,
        }
    }
}

/// So many of the supplied keys that are not in use.
///
/// # Errors
/// When they are not this generator's, or too few: then the command is tried again with others.
pub(super) fn pick(
    staged: &Staged<'_, '_>,
    row: Option<&GeneratorRow>,
    wanted: i64,
    supply: Option<&Supply>,
) -> Result<Result<Vec<LicenseKey>, Shortage>, ExecuteError> {
    let Some(row) = row else { return Ok(Err(Shortage::NoGenerator)) };
    let count = usize::try_from(wanted).ok().filter(|count| *count <= LICENSES_MAX).ok_or_else(|| internal("more keys than a command may make"))?;
    let is_its = |supply: &&Supply| supply.generator == row.generator.number && supply.sequence == row.sequence;
    let mut seen = HashSet::new();
    let keys: Vec<LicenseKey> = supply
        .filter(is_its)
        .into_iter()
        .flat_map(|supply| &supply.keys)
        .filter(|key| staged.workspace.license(key.as_str()).is_none() && seen.insert(key.as_str()))
        .take(count)
        .cloned()
        .collect();
    if keys.len() == count {
        Ok(Ok(keys))
    } else if supply.is_some_and(|supply| supply.is_last) {
        Ok(Err(Shortage::UsedUp))
    } else {
        Err(ExecuteError::Again { generator: row.generator.number, wanted })
    }
}

/// Makes available licenses of a generator's kind.
pub(super) fn make_available(
    staged: &mut Staged<'_, '_>,
    generator: &Generator,
    keys: Vec<LicenseKey>,
    contract: Option<i64>,
) -> Result<CommandResult, ExecuteError> {
    let mut made = Vec::with_capacity(keys.len());
    for key in keys {
        made.push(key.as_str().to_owned());
        make(staged, generator, key, |license| CreateLicense { contract, ..license })?;
    }
    Ok(CommandResult::LicensesGenerated { keys: made })
}

/// Makes one license: available, unless the caller wants something else of it. Gives its number.
pub(super) fn make(
    staged: &mut Staged<'_, '_>,
    generator: &Generator,
    key: LicenseKey,
    change: impl FnOnce(CreateLicense) -> CreateLicense,
) -> Result<i64, ExecuteError> {
    let fields = &generator.fields;
    let license = CreateLicense {
        key,
        product: fields.product,
        activation_limit: fields.activation_limit,
        validity_days: fields.validity_days,
        status: Status::Available,
        assigned_at: None,
        owner: Owner::default(),
        contract: None,
        job: None,
    };
    let context = staged.context();
    for event in license::decide(AtHand::default(), &LicenseCommand::Create(change(license)), &context).events {
        staged.append(Event::License(event))?;
    }
    Ok(context.next.license)
}
