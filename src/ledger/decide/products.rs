//! Decisions on products, their key pairs, the settings, and what comes from outside: purchases and telemetry.

use keyledger_events::{
    Event,
    key_pair::{self, KeyPairCommand},
    license::{self, AtHand, CreateLicense, LicenseCommand, LicenseError, Status},
    product::{self, ProductAtHand, ProductCommand, ProductDone, ProductError, ProductFields, Source},
    settings, telemetry,
    values::{LicenseKey, MetaKey},
};
use keyledger_projections::{KeyPairRow, LicenseCountRow, ProductRow, SettingsRow, Table, registry::SETTINGS};

use super::{Executed, create_key_pair, is_live_product, key_pair_of, outcome, resolve_owner};
use crate::ledger::{
    command::{CommandResult, NewKeyPair, OwnerInput},
    workspace::{Staged, internal},
};

/// How many activations a license from a purchase gets: such a purchase is for one place of use.
const PURCHASED_ACTIVATION_LIMIT: i64 = 1;

/// A purchase that several requests ask after at once is added once: the others find the license.
pub(super) fn add_purchased(staged: &mut Staged<'_, '_>, key: &LicenseKey, product: i64, reference: &str, owner: &OwnerInput) -> Executed {
    let is_sold = staged
        .row::<ProductRow>(Table::Product, product)
        .is_some_and(|row| row.product.is_active() && row.product.source == Source::Envato && row.product.external_reference == reference);
    if !is_sold {
        return outcome(staged, CommandResult::NoSuchProduct, None);
    }
    let key_pair = key_pair_of(staged, product);
    if staged.workspace.license(key.as_str()).is_some() {
        return outcome(staged, CommandResult::LicenseRefused(LicenseError::Exists), key_pair);
    }
    let owner = resolve_owner(staged, owner);
    let create = CreateLicense {
        key: key.clone(),
        product,
        activation_limit: PURCHASED_ACTIVATION_LIMIT,
        validity_days: 0,
        status: Status::Assigned,
        assigned_at: None,
        owner,
        contract: None,
        job: None,
    };
    for event in license::decide(AtHand::default(), &LicenseCommand::Create(create), &staged.context()).events {
        staged.append(Event::License(event))?;
    }
    outcome(staged, CommandResult::PurchaseAdded, key_pair)
}

pub(super) fn on_product(staged: &mut Staged<'_, '_>, number: i64, meta_key: Option<&MetaKey>, command: &ProductCommand) -> Executed {
    let product = staged.row::<ProductRow>(Table::Product, number);
    let at_hand = ProductAtHand {
        product: product.map(|row| &row.product),
        meta: meta_key.and_then(|key| staged.product_meta(number, key.as_str())).map(|row| &row.meta),
        licenses: staged.row::<LicenseCountRow>(Table::LicenseCount, number).map_or(0, LicenseCountRow::total),
        slug_holder: match command {
            ProductCommand::Create { slug, .. } | ProductCommand::SetSlug { slug } => staged.workspace.slug_holder(slug.as_str()),
            _ => None,
        },
        key_pair: match command {
            ProductCommand::UseKeyPair { key_pair } => staged.row::<KeyPairRow>(Table::KeyPair, *key_pair).map(|row| &row.key_pair),
            _ => None,
        },
    };
    let key_pair = product.and_then(|row| row.product.signing_key_pair());
    let result = match product::decide(at_hand, command, &staged.context()) {
        Ok((done, events)) => {
            for event in events {
                staged.append(Event::Product(event))?;
            }
            match done {
                ProductDone::Created => CommandResult::ProductCreated { product: number },
                ProductDone::Updated => CommandResult::ProductUpdated,
                ProductDone::MetaCreated | ProductDone::MetaUpdated => CommandResult::ProductMetaSet,
                ProductDone::MetaDeleted => CommandResult::ProductMetaDeleted,
                ProductDone::SlugSet => CommandResult::ProductSlugSet,
                ProductDone::SwitchesSet => CommandResult::ProductSwitchesSet,
                ProductDone::KeyPairUsed => CommandResult::KeyPairUsed,
                ProductDone::Deleted => CommandResult::ProductDeleted,
            }
        }
        Err(error) => CommandResult::ProductRefused(error),
    };
    outcome(staged, result, key_pair)
}

/// Several changes of one product: all or none.
pub(super) fn change_product(staged: &mut Staged<'_, '_>, number: i64, commands: &[ProductCommand]) -> Executed {
    for command in commands {
        let changed = on_product(staged, number, None, command)?;
        if let CommandResult::ProductRefused(_) = changed.result {
            staged.discard();
            return outcome(staged, changed.result, changed.key_pair);
        }
    }
    outcome(staged, CommandResult::ProductUpdated, key_pair_of(staged, number))
}

pub(super) fn create_product(staged: &mut Staged<'_, '_>, fields: &ProductFields, key_pair: Option<&NewKeyPair>) -> Executed {
    let number = staged.context().next.product;
    let key_pair = key_pair.map(|pair| create_key_pair(staged, Some(number), pair)).transpose()?;
    let slug = product::free_slug(&fields.name, number, |slug| staged.workspace.slug_holder(slug).is_some());
    on_product(staged, number, None, &ProductCommand::Create { fields: fields.clone(), key_pair, slug })
}

pub(super) fn add_key_pair(staged: &mut Staged<'_, '_>, product: i64, pair: &NewKeyPair, make_current: bool) -> Executed {
    if !is_live_product(staged, product) {
        return outcome(staged, CommandResult::ProductRefused(ProductError::Unknown), None);
    }
    let number = create_key_pair(staged, Some(product), pair)?;
    if make_current {
        let used = on_product(staged, product, None, &ProductCommand::UseKeyPair { key_pair: number })?;
        if used.result != CommandResult::KeyPairUsed {
            return Err(internal(format_args!("a new key pair can't be used: {:?}", used.result)));
        }
    }
    outcome(staged, CommandResult::KeyPairAdded { number }, None)
}

pub(super) fn retire_key_pair(staged: &mut Staged<'_, '_>, number: i64) -> Executed {
    let pair = staged.row::<KeyPairRow>(Table::KeyPair, number).map(|row| &row.key_pair);
    // The global one always signs something. A deleted product's never signs again.
    let is_current = pair.is_some_and(|pair| pair.product.is_none_or(|product| key_pair_of(staged, product) == Some(number)));
    let result = match key_pair::decide(pair, is_current, &KeyPairCommand::Retire, &staged.context()) {
        Ok(event) => {
            staged.append(Event::KeyPair(event))?;
            CommandResult::KeyPairRetired
        }
        Err(error) => CommandResult::KeyPairRefused(error),
    };
    outcome(staged, result, None)
}

pub(super) fn change_settings(staged: &mut Staged<'_, '_>, change: &settings::ChangeSettings) -> Executed {
    let settings = staged.row::<SettingsRow>(SETTINGS.0, SETTINGS.1).map(|row| row.settings.clone()).unwrap_or_default();
    if let Some(event) = settings::decide(&settings, change) {
        staged.append(Event::Settings(event))?;
    }
    outcome(staged, CommandResult::SettingsChanged, None)
}

pub(super) fn record_telemetry(staged: &mut Staged<'_, '_>, report: &telemetry::Report) -> Executed {
    let known = telemetry::Known {
        license: report.license_key.as_deref().and_then(|key| staged.workspace.license(key)).map(|row| row.license.number),
        product_exists: report.product.is_some_and(|product| is_live_product(staged, product)),
        product_version_exists: report
            .product
            .zip(report.product_version.as_deref())
            .is_some_and(|(product, version)| is_live_product(staged, product) && staged.workspace.is_published(product, version)),
    };
    let telemetry = staged.context().next.telemetry;
    staged.append(Event::Telemetry(telemetry::decide(report, known, &staged.context())))?;
    outcome(staged, CommandResult::TelemetryRecorded { telemetry, product_exists: known.product_exists }, None)
}
