//! Which rows a command needs to see: those that its own words name ([`needs`]), and those that follow from them
//! ([`further_needs`]). Each round is one look at the database for the whole batch.

use keyledger_events::{SubjectKind, product};
use keyledger_projections::{
    ContractRow, GeneratorRow, KeyPairRow, LicenseRow, RowKey, Table,
    registry::{COUNTERS, SETTINGS},
};

use super::{
    command::{Actor, Assignment, Command, LICENSES_MAX, OwnerInput, Request, Supply},
    decide::releases,
    workspace::Workspace,
};
use crate::{store::Lookups, vault::Vault};

/// What a request needs to see that its own words name.
pub(super) fn needs(request: &Request, vault: &Vault, lookups: &mut Lookups) {
    lookups.rows.push(COUNTERS);
    if let Some(idempotency) = &request.idempotency {
        lookups.requests.push(idempotency.id.clone());
    }
    match request.origin.actor {
        Actor::ApiKey(number) => lookups.subjects.push((SubjectKind::Actor, number)),
        Actor::License(number) => push_license_number(lookups, number),
        Actor::Contract(_) | Actor::Operator | Actor::System => {}
    }
    let mut owner = |owner: &OwnerInput| lookups.owners_by_email.extend(owner.email.as_deref().map(|email| vault.email_index(email)));
    match &request.command {
        Command::CreateLicenses { keys, product, owner: given, .. } => {
            owner(given);
            lookups.licenses.extend(keys.iter().map(|key| key.as_str().to_owned()));
            push_product(lookups, *product);
        }
        Command::Assign { key, owner: given } | Command::AssignAndActivate { key, owner: given, .. } => {
            owner(given);
            lookups.licenses.push(key.as_str().to_owned());
        }
        Command::UpdateLicense { key, changes } => {
            if let Some(Some(email)) = &changes.owner_email {
                lookups.owners_by_email.push(vault.email_index(email));
            }
            lookups.licenses.push(key.as_str().to_owned());
            if let Some(product) = changes.product {
                push_product(lookups, product);
            }
        }
        Command::Activate { key, .. }
        | Command::Deactivate { key, .. }
        | Command::DeleteLicense { key }
        | Command::BlockLicense { key }
        | Command::UnblockLicense { key, .. }
        | Command::CreateLicenseMeta { key, .. }
        | Command::UpdateLicenseMeta { key, .. }
        | Command::DeleteLicenseMeta { key, .. }
        | Command::RecordRefusal { key, .. } => lookups.licenses.push(key.as_str().to_owned()),
        Command::ReplaceKey { key, new_key } => lookups.licenses.extend([key.as_str().to_owned(), new_key.as_str().to_owned()]),
        Command::AddPurchased { key, product, owner: given, .. } => {
            owner(given);
            lookups.licenses.push(key.as_str().to_owned());
            push_product(lookups, *product);
        }
        Command::UpdateProduct { product, .. }
        | Command::DeleteProduct { product }
        | Command::SetProductSwitches { product, .. }
        | Command::AddKeyPair { product, .. } => push_product(lookups, *product),
        Command::CreateProduct { fields, .. } => lookups.slugs.extend(product::slugs_for(&fields.name).iter().map(|slug| slug.as_str().to_owned())),
        Command::ChangeProduct { product, slug, .. } => {
            push_product(lookups, *product);
            lookups.slugs.extend(slug.as_ref().map(|slug| slug.as_str().to_owned()));
        }
        Command::SetProductSlug { product, slug } => {
            push_product(lookups, *product);
            lookups.slugs.push(slug.as_str().to_owned());
        }
        Command::UseKeyPair { product, key_pair } => {
            push_product(lookups, *product);
            lookups.rows.push(RowKey(Table::KeyPair, *key_pair));
        }
        Command::RetireKeyPair { key_pair } => lookups.rows.push(RowKey(Table::KeyPair, *key_pair)),
        Command::ChangeSettings(_) => lookups.rows.push(SETTINGS),
        Command::RecordTelemetry(report) => {
            lookups.licenses.extend(report.license_key.clone());
            lookups.rows.extend(report.product.map(|product| RowKey(Table::Product, product)));
            lookups.release_versions.extend(report.product.zip(report.product_version.clone()));
        }
        Command::RecordDownload { key, release, .. } => {
            lookups.licenses.push(key.as_str().to_owned());
            lookups.rows.push(RowKey(Table::Release, *release));
        }
        Command::Distribution(command) => releases::needs(command, lookups),
        Command::CreateProductMeta { product, meta_key, .. }
        | Command::UpdateProductMeta { product, meta_key, .. }
        | Command::DeleteProductMeta { product, meta_key } => {
            push_product(lookups, *product);
            lookups.product_meta.extend(meta_key.as_ref().map(|key| (*product, key.as_str().to_owned())));
        }
        Command::DisableApiKey { number } => lookups.rows.push(RowKey(Table::ApiKey, *number)),
        Command::Bootstrap { holder, earlier, .. } => {
            lookups.rows.extend(holder.iter().chain(earlier).map(|number| RowKey(Table::ApiKey, *number)));
        }
        Command::AddBlock { kind, value } | Command::RemoveBlock { kind, value } => lookups.blocks.push((*kind, value.clone())),
        Command::RemoveBlockEntry { block } => lookups.rows.push(RowKey(Table::Block, *block)),
        Command::CreateGenerator { fields } => push_product(lookups, fields.product),
        Command::UpdateGenerator { generator, update } => {
            lookups.rows.push(RowKey(Table::Generator, *generator));
            if let Some(product) = update.product {
                push_product(lookups, product);
            }
        }
        Command::DeleteGenerator { generator } => lookups.rows.push(RowKey(Table::Generator, *generator)),
        Command::GenerateLicenses { generator, supply, .. } => {
            lookups.rows.push(RowKey(Table::Generator, *generator));
            push_supply(lookups, supply.as_ref());
        }
        Command::CreateContract { fields } => {
            lookups.contracts.push(fields.key.clone());
            push_product(lookups, fields.product);
        }
        Command::UpdateContract { contract, fields } => {
            push_contract(lookups, *contract);
            lookups.contracts.push(fields.key.clone());
            push_product(lookups, fields.product);
            // A command after this one in the batch may generate keys of that product.
            lookups.generators.push(fields.product);
        }
        Command::DeleteContract { contract } => push_contract(lookups, *contract),
        Command::GenerateForContract { contract, supply, .. } => {
            push_contract(lookups, *contract);
            push_supply(lookups, supply.as_ref());
        }
        Command::DestroyContractLicense { contract, key } => {
            lookups.licenses.push(key.as_str().to_owned());
            if let Some(contract) = contract {
                push_contract(lookups, *contract);
            }
        }
        Command::DestroyContractLicenses { contract, .. } => {
            push_contract(lookups, *contract);
            lookups.contract_licenses.push((*contract, LICENSES_MAX as i64));
        }
        Command::AssignAvailable { assignment, supply } => {
            owner(&assignment.owner);
            push_assignment(lookups, assignment, supply.as_ref());
        }
        Command::RunJob { job, assignment, supply } => {
            owner(&assignment.owner);
            lookups.rows.push(RowKey(Table::AssignmentJob, *job));
            push_assignment(lookups, assignment, supply.as_ref());
        }
        Command::QueueAssignment { assignment, .. } => owner(&assignment.owner),
        Command::EndActivation { license, activation } => {
            lookups.rows.extend([RowKey(Table::License, *license), RowKey(Table::Activation, *activation)]);
        }
        Command::Delivery { delivery, .. } => lookups.rows.push(RowKey(Table::Delivery, *delivery)),
        Command::ChangeWebhookEndpoint { endpoint, .. } => lookups.rows.push(RowKey(Table::WebhookEndpoint, *endpoint)),
        Command::Found { .. }
        | Command::CreateApiKey { .. }
        | Command::CreateWebhookEndpoint { .. }
        | Command::RecordStreamMap(_)
        | Command::RecordVerifications(_)
        | Command::Refuse { .. } => {}
    }
}

fn push_contract(lookups: &mut Lookups, contract: i64) {
    lookups.rows.push(RowKey(Table::Contract, contract));
    lookups.rows.push(RowKey(Table::ContractCount, contract));
}

/// Whether a generated key is in use already, only a look at it tells.
fn push_supply(lookups: &mut Lookups, supply: Option<&Supply>) {
    lookups.licenses.extend(supply.into_iter().flat_map(|supply| &supply.keys).map(|key| key.as_str().to_owned()));
}

fn push_assignment(lookups: &mut Lookups, assignment: &Assignment, supply: Option<&Supply>) {
    push_product(lookups, assignment.product);
    lookups.available.push((assignment.product, assignment.quantity.clamp(1, LICENSES_MAX as i64)));
    if assignment.generate {
        lookups.generators.push(assignment.product);
    }
    push_supply(lookups, supply);
}

/// How many available licenses a command may take away from others of its batch, beside those that it asks for.
pub(super) fn disturbs(command: &Command) -> i64 {
    match command {
        Command::Assign { .. }
        | Command::AssignAndActivate { .. }
        | Command::UpdateLicense { .. }
        | Command::DeleteLicense { .. }
        | Command::BlockLicense { .. }
        | Command::UnblockLicense { .. }
        | Command::DestroyContractLicense { .. } => 1,
        Command::DestroyContractLicenses { .. } => LICENSES_MAX as i64,
        _ => 0,
    }
}

pub(super) fn push_product(lookups: &mut Lookups, product: i64) {
    lookups.rows.push(RowKey(Table::Product, product));
    lookups.rows.push(RowKey(Table::LicenseCount, product));
}

pub(super) fn push_license_number(lookups: &mut Lookups, license: i64) {
    lookups.rows.push(RowKey(Table::License, license));
    lookups.subjects.push((SubjectKind::License, license));
}

/// What it needs besides, now that its license is known.
pub(super) fn further_needs(request: &Request, workspace: &Workspace<'_>, lookups: &mut Lookups) {
    if let Actor::License(number) = request.origin.actor {
        let row = workspace.row::<LicenseRow>(Table::License, number);
        lookups.subjects.extend(row.and_then(|row| row.license.owner).map(|owner| (SubjectKind::Owner, owner)));
    }
    let (key, identifier, meta_key) = match &request.command {
        Command::Activate { key, identifier, .. }
        | Command::AssignAndActivate { key, identifier, .. }
        | Command::Deactivate { key, identifier }
        | Command::RecordDownload { key, identifier, .. } => (key, identifier.as_ref(), None),
        Command::CreateLicenseMeta { key, meta_key, .. }
        | Command::UpdateLicenseMeta { key, meta_key, .. }
        | Command::DeleteLicenseMeta { key, meta_key, .. } => (key, None, meta_key.as_ref()),
        Command::Assign { key, .. }
        | Command::UpdateLicense { key, .. }
        | Command::DeleteLicense { key }
        | Command::BlockLicense { key }
        | Command::UnblockLicense { key, .. }
        | Command::ReplaceKey { key, .. }
        | Command::RecordRefusal { key, .. } => (key, None, None),
        Command::RecordTelemetry(report) => {
            let license = report.license_key.as_deref().and_then(|key| workspace.license(key)).map(|row| &row.license);
            lookups.subjects.extend(license.map(|license| (SubjectKind::License, license.number)));
            lookups.subjects.extend(license.and_then(|license| license.owner).map(|owner| (SubjectKind::Owner, owner)));
            return;
        }
        // Whose it is decides whether it is the one that signs.
        Command::RetireKeyPair { key_pair } => {
            let product = workspace.row::<KeyPairRow>(Table::KeyPair, *key_pair).and_then(|row| row.key_pair.product);
            product.into_iter().for_each(|product| push_product(lookups, product));
            return;
        }
        Command::DestroyContractLicense { contract, key } => {
            let of = workspace.license(key.as_str()).and_then(|row| row.license.contract);
            if let Some(contract) = contract.or(of) {
                push_contract(lookups, contract);
            }
            (key, None, None)
        }
        Command::GenerateLicenses { generator, .. } => {
            let row = workspace.row::<GeneratorRow>(Table::Generator, *generator);
            return row.into_iter().for_each(|row| push_product(lookups, row.generator.fields.product));
        }
        Command::GenerateForContract { contract, .. } => {
            if let Some(row) = workspace.row::<ContractRow>(Table::Contract, *contract) {
                push_product(lookups, row.contract.fields.product);
                lookups.generators.push(row.contract.fields.product);
            }
            return;
        }
        Command::DestroyContractLicenses { contract, .. } => {
            return workspace.contract_licenses(*contract).for_each(|row| push_license(lookups, row));
        }
        Command::AssignAvailable { assignment, .. } | Command::RunJob { assignment, .. } => {
            return workspace.available(assignment.product).for_each(|row| push_license(lookups, row));
        }
        Command::EndActivation { license, .. } => {
            let row = workspace.row::<LicenseRow>(Table::License, *license);
            return row.into_iter().for_each(|row| push_license(lookups, row));
        }
        Command::CreateGenerator { .. }
        | Command::UpdateGenerator { .. }
        | Command::DeleteGenerator { .. }
        | Command::CreateContract { .. }
        | Command::UpdateContract { .. }
        | Command::DeleteContract { .. }
        | Command::QueueAssignment { .. }
        | Command::Delivery { .. }
        | Command::CreateWebhookEndpoint { .. }
        | Command::ChangeWebhookEndpoint { .. }
        | Command::CreateLicenses { .. }
        | Command::CreateProduct { .. }
        | Command::UpdateProduct { .. }
        | Command::DeleteProduct { .. }
        | Command::CreateProductMeta { .. }
        | Command::UpdateProductMeta { .. }
        | Command::DeleteProductMeta { .. }
        | Command::ChangeProduct { .. }
        | Command::SetProductSlug { .. }
        | Command::SetProductSwitches { .. }
        | Command::AddKeyPair { .. }
        | Command::UseKeyPair { .. }
        | Command::ChangeSettings(_)
        | Command::RecordStreamMap(_)
        | Command::RecordVerifications(_)
        | Command::AddPurchased { .. }
        | Command::Found { .. }
        | Command::CreateApiKey { .. }
        | Command::DisableApiKey { .. }
        | Command::Bootstrap { .. }
        | Command::AddBlock { .. }
        | Command::RemoveBlock { .. }
        | Command::RemoveBlockEntry { .. }
        | Command::Refuse { .. } => return,
        Command::Distribution(command) => return releases::further_needs(command, workspace, lookups),
    };
    let Some(row) = workspace.license(key.as_str()) else { return };
    let license = &row.license;
    push_license(lookups, row);
    lookups.activations.extend(identifier.map(|text| (license.number, text.as_str().to_owned())));
    lookups.license_meta.extend(meta_key.map(|key| (license.number, key.as_str().to_owned())));
}

/// What belongs to a license that may change.
fn push_license(lookups: &mut Lookups, row: &LicenseRow) {
    let license = &row.license;
    push_product(lookups, license.product);
    lookups.rows.extend(license.contract.map(|contract| RowKey(Table::ContractCount, contract)));
    // Whichever of the two a command before it in the batch leaves the license with.
    lookups.subjects.push((SubjectKind::License, license.number));
    lookups.subjects.extend(license.owner.map(|owner| (SubjectKind::Owner, owner)));
}
