//! From command to outcome, on the batch's rows: here is which decision a command is. The rules themselves are in the events
//! crate; which rows a command needs is in [`super::needs`].

mod assignments;
mod contracts;
mod deliveries;
mod generators;

mod products;

pub(super) mod releases;
mod webhooks;

use std::collections::HashSet;

use keyledger_events::{
    Event,
    api_key::{self, ApiKeyCommand, ApiKeyError},
    block::{self, BlockCommand, BlockKind},
    contract::ContractCommand,
    generator::GeneratorCommand,
    key_pair::{self, KeyPairCommand},
    ledger::{self, LedgerCommand},
    license::{self, AtHand, Change, CreateLicense, Done, LicenseCommand, LicenseError, Owner, UpdateLicense},
    product::ProductCommand,
    stream_map::{self, StreamMapCommand, StreamMapRecorded},
    values::{Identifier, LicenseKey, MetaKey},
    verification_count::{self, VerificationCountCommand, VerificationsCounted},
};
use keyledger_projections::{ApiKeyRow, BlockRow, LicenseRow, ProductRow, Table};

use products::{add_key_pair, add_purchased, change_product, change_settings, create_product, on_product, record_telemetry, retire_key_pair};

use super::{
    command::{Command, CommandResult, ExecuteError, LicenseChanges, NewKeyPair, Outcome, OwnerInput},
    workspace::{Staged, internal},
};
use crate::store::{ApiKeySecret, KeyPairSecret};

type Executed = Result<Outcome, ExecuteError>;

/// Decides a command and stages its effects.
pub(super) fn execute(staged: &mut Staged<'_, '_>, command: &Command) -> Executed {
    match command {
        Command::CreateLicenses { .. } => create_licenses(staged, command),
        Command::Assign { key, owner } => {
            let owner = resolve_owner(staged, owner);
            on_license(staged, key, None, None, &LicenseCommand::Assign { owner, job: None })
        }
        Command::Activate { key, identifier, post_url } => {
            let command = LicenseCommand::Activate { identifier: identifier.clone(), post_url: post_url.clone() };
            on_license(staged, key, identifier.as_ref(), None, &command)
        }
        Command::AssignAndActivate { key, owner, identifier, post_url } => {
            let owner = resolve_owner(staged, owner);
            let assigned = on_license(staged, key, None, None, &LicenseCommand::Assign { owner, job: None })?;
            if assigned.result != CommandResult::Assigned {
                return Ok(assigned);
            }
            let command = LicenseCommand::Activate { identifier: identifier.clone(), post_url: post_url.clone() };
            let activated = on_license(staged, key, identifier.as_ref(), None, &command)?;
            if activated.result == CommandResult::Activated {
                return Ok(activated);
            }
            // Neither: the assignment before it goes too.
            staged.discard();
            outcome(staged, activated.result, activated.key_pair)
        }
        Command::Deactivate { key, identifier } => {
            on_license(staged, key, identifier.as_ref(), None, &LicenseCommand::Deactivate { identifier: identifier.clone() })
        }
        Command::UpdateLicense { key, changes } => update_license(staged, key, changes),
        Command::DeleteLicense { key } => on_license(staged, key, None, None, &LicenseCommand::Delete),
        Command::CreateLicenseMeta { key, identifier, meta_key, value } => {
            let command = LicenseCommand::CreateMeta { identifier: identifier.clone(), key: meta_key.clone(), value: value.clone() };
            on_license(staged, key, None, meta_key.as_ref(), &command)
        }
        Command::UpdateLicenseMeta { key, identifier, meta_key, value } => {
            let command = LicenseCommand::UpdateMeta { identifier: identifier.clone(), key: meta_key.clone(), value: value.clone() };
            on_license(staged, key, None, meta_key.as_ref(), &command)
        }
        Command::DeleteLicenseMeta { key, identifier, meta_key } => {
            let command = LicenseCommand::DeleteMeta { identifier: identifier.clone(), key: meta_key.clone() };
            on_license(staged, key, None, meta_key.as_ref(), &command)
        }
        Command::BlockLicense { key } => on_license(staged, key, None, None, &LicenseCommand::Block),
        Command::UnblockLicense { key, status } => on_license(staged, key, None, None, &LicenseCommand::Unblock { status: *status }),
        Command::ReplaceKey { key, new_key } => on_license(staged, key, None, None, &LicenseCommand::ReplaceKey { key: new_key.clone() }),
        Command::AddPurchased { key, product, external_reference, owner } => add_purchased(staged, key, *product, external_reference, owner),
        Command::RecordRefusal { key, identifier, reason, block } => {
            let command = LicenseCommand::RecordRefusal { reason: *reason, block: *block, identifier: identifier.clone() };
            on_license(staged, key, None, None, &command)
        }
        Command::RecordDownload { key, identifier, release } => releases::record_download(staged, key, identifier.as_ref(), *release),
        Command::Distribution(command) => releases::execute(staged, command),
        Command::CreateProduct { fields, key_pair } => create_product(staged, fields, key_pair.as_ref()),
        Command::UpdateProduct { product, update } => on_product(staged, *product, None, &ProductCommand::Update(update.clone())),
        Command::DeleteProduct { product } => on_product(staged, *product, None, &ProductCommand::Delete),
        Command::CreateProductMeta { product, meta_key, value } => {
            on_product(staged, *product, meta_key.as_ref(), &ProductCommand::CreateMeta { key: meta_key.clone(), value: value.clone() })
        }
        Command::UpdateProductMeta { product, meta_key, value } => {
            on_product(staged, *product, meta_key.as_ref(), &ProductCommand::UpdateMeta { key: meta_key.clone(), value: value.clone() })
        }
        Command::DeleteProductMeta { product, meta_key } => {
            on_product(staged, *product, meta_key.as_ref(), &ProductCommand::DeleteMeta { key: meta_key.clone() })
        }
        Command::ChangeProduct { product, update, slug, changelog, api_download } => {
            let mut commands = vec![ProductCommand::Update(update.clone())];
            commands.extend(slug.clone().map(|slug| ProductCommand::SetSlug { slug }));
            commands.push(ProductCommand::SetSwitches { changelog: *changelog, api_download: *api_download });
            change_product(staged, *product, &commands)
        }
        Command::SetProductSlug { product, slug } => on_product(staged, *product, None, &ProductCommand::SetSlug { slug: slug.clone() }),
        Command::SetProductSwitches { product, changelog, api_download } => {
            let command = ProductCommand::SetSwitches { changelog: *changelog, api_download: *api_download };
            on_product(staged, *product, None, &command)
        }
        Command::AddKeyPair { product, key_pair, make_current } => add_key_pair(staged, *product, key_pair, *make_current),
        Command::UseKeyPair { product, key_pair } => on_product(staged, *product, None, &ProductCommand::UseKeyPair { key_pair: *key_pair }),
        Command::RetireKeyPair { key_pair } => retire_key_pair(staged, *key_pair),
        Command::ChangeSettings(change) => change_settings(staged, change),
        Command::RecordStreamMap(record) => record_stream_map(staged, record),
        Command::RecordVerifications(record) => record_verifications(staged, record),
        Command::RecordTelemetry(report) => record_telemetry(staged, report),
        Command::Found { global_key_pair } => found(staged, global_key_pair),
        Command::CreateApiKey { name, capabilities, allow_ips, expires_at, hmac, salt } => {
            let command = ApiKeyCommand::Create {
                name: name.clone(),
                capabilities: capabilities.clone(),
                allow_ips: allow_ips.clone(),
                expires_at: *expires_at,
                bootstrap: false,
            };
            create_api_key(staged, &command, hmac, salt)
        }
        Command::DisableApiKey { number } => disable_api_key(staged, *number),
        Command::Bootstrap { hmac, holder, earlier } => bootstrap(staged, hmac, *holder, earlier),
        Command::AddBlock { kind, value } => on_block(staged, *kind, value, &BlockCommand::Add { kind: *kind, value: value.clone() }),
        Command::RemoveBlock { kind, value } => on_block(staged, *kind, value, &BlockCommand::Remove),
        Command::RemoveBlockEntry { block } => on_block_entry(staged, Some(*block), &BlockCommand::Remove),
        Command::CreateGenerator { fields } => generators::create(staged, fields),
        Command::UpdateGenerator { generator, update } => generators::on_generator(staged, *generator, &GeneratorCommand::Update(update.clone())),
        Command::DeleteGenerator { generator } => generators::on_generator(staged, *generator, &GeneratorCommand::Delete),
        Command::GenerateLicenses { generator, quantity, supply } => generators::generate(staged, *generator, *quantity, supply.as_ref()),
        Command::CreateContract { fields } => contracts::create(staged, fields),
        Command::UpdateContract { contract, fields } => contracts::on_contract(staged, *contract, &ContractCommand::Update(fields.clone())),
        Command::DeleteContract { contract } => contracts::on_contract(staged, *contract, &ContractCommand::Delete),
        Command::GenerateForContract { contract, quantity, supply } => contracts::generate(staged, *contract, *quantity, supply.as_ref()),
        Command::DestroyContractLicense { contract, key } => contracts::destroy(staged, *contract, key),
        Command::DestroyContractLicenses { contract, up_to } => contracts::destroy_all(staged, *contract, *up_to),
        Command::AssignAvailable { assignment, supply } => assignments::assign_available(staged, assignment, supply.as_ref()),
        Command::QueueAssignment { assignment, identifier, webhook_url } => {
            assignments::queue(staged, assignment, identifier.as_ref(), webhook_url.as_ref())
        }
        Command::RunJob { job, assignment, supply } => assignments::run(staged, *job, assignment, supply.as_ref()),
        Command::EndActivation { license, activation } => deliveries::end_activation(staged, *license, *activation),
        Command::Delivery { delivery, command } => deliveries::on_delivery(staged, *delivery, command),
        Command::CreateWebhookEndpoint { fields, may, salt, after } => webhooks::create(staged, fields, *may, salt, *after),
        Command::ChangeWebhookEndpoint { endpoint, sequence, command } => webhooks::change(staged, *endpoint, *sequence, command),
        Command::Refuse { refusal, key_pair } => outcome(staged, CommandResult::Refused(refusal.clone()), *key_pair),
    }
}

fn outcome(staged: &Staged<'_, '_>, result: CommandResult, key_pair: Option<i64>) -> Executed {
    let (first_position, events) = staged.positions();
    Ok(Outcome { result, key_pair, first_position, events, receipt: staged.receipt })
}

fn key_pair_of(staged: &Staged<'_, '_>, product: i64) -> Option<i64> {
    staged.row::<ProductRow>(Table::Product, product).and_then(|row| row.product.signing_key_pair())
}

fn is_live_product(staged: &Staged<'_, '_>, product: i64) -> bool {
    staged.row::<ProductRow>(Table::Product, product).is_some_and(|row| !row.product.deleted)
}

fn resolve_owner(staged: &mut Staged<'_, '_>, owner: &OwnerInput) -> Owner {
    let number = owner.email.as_deref().map(|email| staged.owner_number(email));
    Owner { number, name: owner.name.clone(), email: owner.email.clone() }
}

/// One command on one license, whose rows were looked up.
fn on_license(
    staged: &mut Staged<'_, '_>,
    key: &LicenseKey,
    identifier: Option<&Identifier>,
    meta_key: Option<&MetaKey>,
    command: &LicenseCommand,
) -> Executed {
    let wanted_key = if let LicenseCommand::ReplaceKey { key } = command { Some(key) } else { None };
    let row = staged.workspace.license(key.as_str()).map(|row| row.license.number);
    let row = row.and_then(|number| staged.row::<LicenseRow>(Table::License, number));
    let license = row.map(|row| &row.license);
    let product = license.and_then(|license| staged.row::<ProductRow>(Table::Product, license.product));
    let activation = license.zip(identifier).and_then(|(license, text)| staged.activation(license.number, text.as_str()));
    let meta = license.zip(meta_key).and_then(|(license, key)| staged.license_meta(license.number, key.as_str()));
    let at_hand = AtHand {
        license,
        activation: activation.map(|row| &row.activation),
        meta: meta.map(|row| &row.meta),
        product_active: product.is_some_and(|row| row.product.is_active()),
        key_taken: wanted_key.is_some_and(|key| staged.workspace.license(key.as_str()).is_some()),
    };
    let decision = license::decide(at_hand, command, &staged.context());
    let key_pair = product.and_then(|row| row.product.signing_key_pair());
    for event in decision.events {
        staged.append(Event::License(event))?;
    }
    let result = match decision.outcome {
        Ok(done) => license_result(done),
        Err(error) => CommandResult::LicenseRefused(error),
    };
    outcome(staged, result, key_pair)
}

fn license_result(done: Done) -> CommandResult {
    match done {
        Done::Created => CommandResult::LicensesCreated { created: 1, duplicate: 0 },
        Done::Assigned => CommandResult::Assigned,
        Done::Activated => CommandResult::Activated,
        Done::AlreadyActive => CommandResult::AlreadyActive,
        Done::Deactivated => CommandResult::Deactivated,
        Done::AlreadyInactive => CommandResult::AlreadyInactive,
        Done::Updated => CommandResult::LicenseUpdated,
        Done::MetaSet { meta } => CommandResult::LicenseMetaSet { meta },
        Done::MetaDeleted => CommandResult::LicenseMetaDeleted,
        Done::Downloaded => CommandResult::DownloadCounted,
        Done::RefusalRecorded => CommandResult::RefusalRecorded,
        Done::KeyReplaced => CommandResult::KeyReplaced,
        Done::Deleted => CommandResult::LicenseDeleted,
    }
}

fn create_licenses(staged: &mut Staged<'_, '_>, command: &Command) -> Executed {
    let Command::CreateLicenses { keys, product, owner, activation_limit, validity_days, status, assigned_at } = command else {
        return Err(internal("not a creation of licenses"));
    };
    if !is_live_product(staged, *product) {
        return outcome(staged, CommandResult::NoSuchProduct, None);
    }
    let key_pair = key_pair_of(staged, *product);
    let owner = resolve_owner(staged, owner);
    let (mut created, mut duplicate) = (0, 0);
    let mut seen = HashSet::with_capacity(keys.len());
    for key in keys {
        if !seen.insert(key.as_str()) || staged.workspace.license(key.as_str()).is_some() {
            duplicate += 1;
            continue;
        }
        let create = CreateLicense {
            key: key.clone(),
            product: *product,
            activation_limit: *activation_limit,
            validity_days: *validity_days,
            status: *status,
            assigned_at: *assigned_at,
            owner: owner.clone(),
            contract: None,
            job: None,
        };
        for event in license::decide(AtHand::default(), &LicenseCommand::Create(create), &staged.context()).events {
            staged.append(Event::License(event))?;
        }
        created += 1;
    }
    outcome(staged, CommandResult::LicensesCreated { created, duplicate }, key_pair)
}

fn update_license(staged: &mut Staged<'_, '_>, key: &LicenseKey, changes: &LicenseChanges) -> Executed {
    let Some(row) = staged.workspace.license(key.as_str()) else {
        return outcome(staged, CommandResult::LicenseRefused(LicenseError::Unknown), None);
    };
    let license = &row.license;
    let (number, product) = (license.owner, license.product);
    let (name, email) = (license.owner_name.clone(), license.owner_email.clone());
    if let Some(product_wanted) = changes.product
        && !is_live_product(staged, product_wanted)
    {
        let key_pair = key_pair_of(staged, product);
        return outcome(staged, CommandResult::NoSuchProduct, key_pair);
    }
    let owner = if changes.owner_name.is_none() && changes.owner_email.is_none() {
        Change::Keep
    } else {
        let email_after = changes.owner_email.clone().unwrap_or_else(|| email.clone());
        let number = match &email_after {
            Some(address) if email_after != email => Some(staged.owner_number(address)),
            Some(_) => number,
            None => None,
        };
        Change::Set(Owner { number, name: changes.owner_name.clone().unwrap_or(name), email: email_after })
    };
    let update = UpdateLicense {
        product: Change::new(changes.product),
        owner,
        activation_limit: Change::new(changes.activation_limit),
        validity_days: Change::new(changes.validity_days),
        status: Change::new(changes.status),
        assigned_at: Change::new(changes.assigned_at),
    };
    on_license(staged, key, None, None, &LicenseCommand::Update(update))
}

fn create_key_pair(staged: &mut Staged<'_, '_>, product: Option<i64>, pair: &NewKeyPair) -> Result<i64, ExecuteError> {
    let context = staged.context();
    let command = KeyPairCommand::Create { product, algorithm: pair.algorithm.clone(), public_key: pair.public_key.clone() };
    let event = key_pair::decide(None, false, &command, &context).map_err(internal)?;
    staged.append(Event::KeyPair(event))?;
    let number = context.next.key_pair;
    staged.add_key_pair_secret(KeyPairSecret { key_pair: number, sealed: pair.sealed_private_key.clone() });
    Ok(number)
}

/// Several nodes may start at once on an empty database: the first one's events are the ledger's.
fn found(staged: &mut Staged<'_, '_>, global_key_pair: &NewKeyPair) -> Executed {
    if !staged.workspace.is_founded() {
        let command = LedgerCommand::Create { ledger_id: staged.workspace.ledger_id() };
        staged.append(Event::Ledger(ledger::decide(None, &command).map_err(internal)?))?;
        create_key_pair(staged, None, global_key_pair)?;
    }
    outcome(staged, CommandResult::Founded, None)
}

fn record_stream_map(staged: &mut Staged<'_, '_>, record: &StreamMapRecorded) -> Executed {
    let (first, count) = staged.positions();
    let event = stream_map::decide(None, &StreamMapCommand::Record(record.clone()), first + count).map_err(internal)?;
    staged.append(Event::StreamMap(event))?;
    outcome(staged, CommandResult::StreamMapRecorded, None)
}

fn record_verifications(staged: &mut Staged<'_, '_>, record: &VerificationsCounted) -> Executed {
    let event = verification_count::decide(None, &VerificationCountCommand::Record(record.clone())).map_err(internal)?;
    staged.append(Event::VerificationCount(event))?;
    outcome(staged, CommandResult::VerificationsRecorded, None)
}

fn create_api_key(staged: &mut Staged<'_, '_>, command: &ApiKeyCommand, hmac: &[u8], salt: &str) -> Executed {
    let context = staged.context();
    let result = match api_key::decide(None, command, &context) {
        Ok(event) => {
            staged.append(Event::ApiKey(event))?;
            staged.add_api_key_secret(ApiKeySecret { hmac: hmac.to_vec(), api_key: context.next.api_key });
            CommandResult::ApiKeyCreated { number: context.next.api_key, salt: salt.to_owned() }
        }
        Err(error) => CommandResult::ApiKeyRefused(error),
    };
    outcome(staged, result, None)
}

fn disable_api_key(staged: &mut Staged<'_, '_>, number: i64) -> Executed {
    let row = staged.row::<ApiKeyRow>(Table::ApiKey, number);
    let result = match api_key::decide(row.map(|row| &row.api_key), &ApiKeyCommand::Disable, &staged.context()) {
        Ok(event) => {
            staged.append(Event::ApiKey(event))?;
            CommandResult::ApiKeyDisabled
        }
        Err(error) => CommandResult::ApiKeyRefused(error),
    };
    outcome(staged, result, None)
}

fn bootstrap(staged: &mut Staged<'_, '_>, hmac: &[u8], holder: Option<i64>, earlier: &[i64]) -> Executed {
    let in_force = |staged: &Staged<'_, '_>, number: i64| {
        staged.row::<ApiKeyRow>(Table::ApiKey, number).is_some_and(|row| row.api_key.bootstrap && !row.api_key.disabled)
    };
    if !holder.is_some_and(|number| in_force(staged, number)) {
        let command = ApiKeyCommand::Create {
            name: "bootstrap".to_owned(),
            capabilities: vec!["*".to_owned()],
            allow_ips: Vec::new(),
            expires_at: None,
            bootstrap: true,
        };
        create_api_key(staged, &command, hmac, "")?;
    }
    for number in earlier {
        if Some(*number) != holder && in_force(staged, *number) {
            let refused = disable_api_key(staged, *number)?.result == CommandResult::ApiKeyRefused(ApiKeyError::Disabled);
            debug_assert!(!refused, "a key in force can be disabled");
        }
    }
    outcome(staged, CommandResult::Bootstrapped, None)
}

fn on_block(staged: &mut Staged<'_, '_>, kind: BlockKind, value: &str, command: &BlockCommand) -> Executed {
    let entry = staged.workspace.block(kind, value);
    on_block_entry(staged, entry, command)
}

fn on_block_entry(staged: &mut Staged<'_, '_>, entry: Option<i64>, command: &BlockCommand) -> Executed {
    let row = entry.and_then(|number| staged.row::<BlockRow>(Table::Block, number));
    let result = match block::decide(row.map(|row| &row.block), command, &staged.context()) {
        Ok(event) => {
            staged.append(Event::Block(event))?;
            match command {
                BlockCommand::Add { .. } => CommandResult::BlockAdded,
                BlockCommand::Remove => CommandResult::BlockRemoved,
            }
        }
        Err(error) => CommandResult::BlockRefused(error),
    };
    outcome(staged, result, None)
}
