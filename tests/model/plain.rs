//! The rules once more, the plain way: vectors and maps, no events. It shares no code with what it checks.

use std::collections::{BTreeMap, BTreeSet};

use keyledger::ledger::{Command, CommandResult, LicenseChanges, OwnerInput};
use keyledger_events::{block::BlockError, license::LicenseError, product::ProductError, values::Identifier};

const DAY: i64 = 86_400_000_000;

#[derive(Clone, Debug, Default)]
pub struct License {
    pub number: i64,
    pub key: String,
    pub product: i64,
    pub status: String,
    pub limit: i64,
    pub validity_days: i64,
    pub assigned_at: Option<i64>,
    pub owner_name: Option<String>,
    pub owner_email: Option<String>,
    pub active: BTreeSet<String>,
    pub meta: BTreeMap<String, String>,
    meta_numbers: BTreeMap<String, i64>,
    pub deleted: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Product {
    pub name: String,
    pub active: bool,
    pub deleted: bool,
    meta: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub licenses: Vec<License>,
    pub products: BTreeMap<i64, Product>,
    /// Identifiers on the block list.
    pub blocks: BTreeSet<String>,
    metas: i64,
}

impl Model {
    /// What verify answers; `None` where the block list holds the identifier.
    pub fn verdict(&self, key: &str, identifier: Option<&Identifier>, now: i64) -> Option<Result<(), LicenseError>> {
        if identifier.is_some_and(|identifier| self.blocks.contains(identifier.as_str())) {
            return None;
        }
        let Some(license) = self.find(key).map(|at| &self.licenses[at]) else { return Some(Err(LicenseError::Unknown)) };
        let is_active = |identifier: &Identifier| license.active.contains(identifier.as_str());
        let checked = self.may_use(license, now, identifier);
        Some(checked.and_then(|()| if identifier.is_some_and(is_active) { Ok(()) } else { Err(LicenseError::NoActivation) }))
    }

    /// The license that has a key, and those that were deleted with it.
    pub fn with_key(&self, key: &str) -> (Option<&License>, Vec<&License>) {
        let deleted = self.licenses.iter().filter(|license| license.deleted && license.key == key).collect();
        (self.find(key).map(|at| &self.licenses[at]), deleted)
    }

    pub fn count(&self, product: i64, status: &str) -> i64 {
        self.licenses.iter().filter(|license| !license.deleted && license.product == product && license.status == status).count() as i64
    }

    fn find(&self, key: &str) -> Option<usize> {
        self.licenses.iter().position(|license| !license.deleted && license.key == key)
    }

    fn product(&mut self, number: i64) -> Option<&mut Product> {
        self.products.get_mut(&number).filter(|product| !product.deleted)
    }

    /// Product, blocked, assigned, expired, identifier: in this order.
    fn may_use(&self, license: &License, now: i64, identifier: Option<&Identifier>) -> Result<(), LicenseError> {
        if !self.products.get(&license.product).is_some_and(|product| product.active && !product.deleted) {
            return Err(LicenseError::ProductInactive);
        }
        if license.status == "blocked" {
            return Err(LicenseError::Blocked);
        }
        if license.status != "assigned" {
            return Err(LicenseError::NotAssigned);
        }
        if license.validity_days > 0 && license.assigned_at.is_some_and(|at| now >= at + license.validity_days * DAY) {
            return Err(LicenseError::Expired);
        }
        if identifier.is_none() { Err(LicenseError::IdentifierRequired) } else { Ok(()) }
    }

    pub fn execute(&mut self, command: &Command, now: i64) -> CommandResult {
        self.license_command(command, now)
            .or_else(|error| error.map_or_else(|| self.product_command(command), |error| Ok(CommandResult::LicenseRefused(error))))
            .unwrap_or_else(CommandResult::ProductRefused)
    }

    /// `Err(None)`: not a command on a license.
    fn license_command(&mut self, command: &Command, now: i64) -> Result<CommandResult, Option<LicenseError>> {
        let key = match command {
            Command::CreateLicenses { keys, product, owner, activation_limit, validity_days, status, .. } => {
                let texts: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
                return Ok(self.create(&texts, *product, owner, *activation_limit, *validity_days, status.as_str(), now));
            }
            Command::Assign { key, .. }
            | Command::AssignAndActivate { key, .. }
            | Command::Activate { key, .. }
            | Command::Deactivate { key, .. }
            | Command::UpdateLicense { key, .. }
            | Command::DeleteLicense { key }
            | Command::ReplaceKey { key, .. }
            | Command::CreateLicenseMeta { key, .. }
            | Command::UpdateLicenseMeta { key, .. }
            | Command::DeleteLicenseMeta { key, .. } => key.as_str(),
            _ => return Err(None),
        };
        let at = self.find(key).ok_or(LicenseError::Unknown)?;
        let mut license = self.licenses[at].clone();
        let result = match command {
            Command::Assign { owner, .. } => assign(&mut license, owner, now)?,
            Command::AssignAndActivate { owner, identifier, .. } => {
                assign(&mut license, owner, now)?;
                self.activate(&mut license, identifier.as_ref(), now)?
            }
            Command::Activate { identifier, .. } => self.activate(&mut license, identifier.as_ref(), now)?,
            Command::Deactivate { identifier, .. } => {
                match self.may_use(&license, now, identifier.as_ref()) {
                    Ok(()) | Err(LicenseError::Blocked | LicenseError::Expired) => {}
                    Err(error) => return Err(Some(error)),
                }
                let identifier = identifier.as_ref().ok_or(LicenseError::IdentifierRequired)?;
                if license.active.remove(identifier.as_str()) { CommandResult::Deactivated } else { CommandResult::AlreadyInactive }
            }
            Command::UpdateLicense { changes, .. } => {
                if changes.product.is_some_and(|product| self.product(product).is_none()) {
                    return Ok(CommandResult::NoSuchProduct);
                }
                update(&mut license, changes, now);
                CommandResult::LicenseUpdated
            }
            Command::ReplaceKey { new_key, .. } => {
                if self.find(new_key.as_str()).is_some_and(|other| other != at) {
                    return Err(Some(LicenseError::KeyTaken));
                }
                license.key = new_key.as_str().to_owned();
                CommandResult::KeyReplaced
            }
            Command::DeleteLicense { .. } => {
                license.deleted = true;
                CommandResult::LicenseDeleted
            }
            Command::CreateLicenseMeta { identifier, meta_key, value, .. } => {
                self.may_use(&license, now, identifier.as_ref())?;
                let key = meta_key.as_ref().ok_or(LicenseError::MetaKeyRequired)?.as_str().to_owned();
                let value = value.clone().ok_or(LicenseError::MetaValueRequired)?;
                if license.meta.contains_key(&key) {
                    return Err(Some(LicenseError::MetaExists));
                }
                self.metas += 1;
                license.meta_numbers.insert(key.clone(), self.metas);
                license.meta.insert(key, value);
                CommandResult::LicenseMetaSet { meta: self.metas }
            }
            Command::UpdateLicenseMeta { identifier, meta_key, value, .. } => {
                self.may_use(&license, now, identifier.as_ref())?;
                let key = meta_key.as_ref().ok_or(LicenseError::MetaKeyRequired)?.as_str().to_owned();
                let value = value.clone().ok_or(LicenseError::MetaValueRequired)?;
                *license.meta.get_mut(&key).ok_or(LicenseError::MetaUnknown)? = value;
                CommandResult::LicenseMetaSet { meta: license.meta_numbers[&key] }
            }
            Command::DeleteLicenseMeta { identifier, meta_key, .. } => {
                self.may_use(&license, now, identifier.as_ref())?;
                let key = meta_key.as_ref().ok_or(LicenseError::MetaKeyRequired)?.as_str();
                license.meta.remove(key).ok_or(LicenseError::MetaUnknown)?;
                CommandResult::LicenseMetaDeleted
            }
            _ => return Err(None),
        };
        self.licenses[at] = license;
        Ok(result)
    }

    #[expect(clippy::too_many_arguments, reason = "the parameters of one call")]
    fn create(&mut self, keys: &[&str], product: i64, owner: &OwnerInput, limit: i64, validity_days: i64, status: &str, now: i64) -> CommandResult {
        if self.product(product).is_none() {
            return CommandResult::NoSuchProduct;
        }
        let (mut created, mut duplicate) = (0, 0);
        for key in keys {
            if self.find(key).is_some() {
                duplicate += 1;
                continue;
            }
            created += 1;
            self.licenses.push(License {
                number: self.licenses.len() as i64 + 1,
                key: (*key).to_owned(),
                product,
                status: status.to_owned(),
                limit,
                validity_days,
                assigned_at: (status == "assigned").then_some(now),
                owner_name: owner.name.clone(),
                owner_email: owner.email.clone(),
                ..License::default()
            });
        }
        CommandResult::LicensesCreated { created, duplicate }
    }

    fn activate(&self, license: &mut License, identifier: Option<&Identifier>, now: i64) -> Result<CommandResult, LicenseError> {
        self.may_use(license, now, identifier)?;
        let identifier = identifier.ok_or(LicenseError::IdentifierRequired)?.as_str();
        if license.active.contains(identifier) {
            return Ok(CommandResult::AlreadyActive);
        }
        if license.limit > 0 && license.active.len() as i64 >= license.limit {
            return Err(LicenseError::LimitReached);
        }
        license.active.insert(identifier.to_owned());
        Ok(CommandResult::Activated)
    }

    fn product_command(&mut self, command: &Command) -> Result<CommandResult, ProductError> {
        Ok(match command {
            Command::AddBlock { value, .. } if self.blocks.insert(value.clone()) => CommandResult::BlockAdded,
            Command::AddBlock { .. } => CommandResult::BlockRefused(BlockError::Exists),
            Command::RemoveBlock { value, .. } if self.blocks.remove(value) => CommandResult::BlockRemoved,
            Command::RemoveBlock { .. } => CommandResult::BlockRefused(BlockError::Unknown),
            Command::CreateProduct { fields, .. } => {
                let product = self.products.len() as i64 + 1;
                self.products.insert(product, Product { name: fields.name.clone(), active: true, ..Product::default() });
                CommandResult::ProductCreated { product }
            }
            Command::UpdateProduct { product, update } => {
                let product = self.product(*product).ok_or(ProductError::Unknown)?;
                if let Some(name) = &update.name {
                    product.name.clone_from(name);
                }
                if let Some(status) = update.status {
                    product.active = status.as_str() == "active";
                }
                CommandResult::ProductUpdated
            }
            Command::DeleteProduct { product } => {
                let licenses: i64 = ["available", "assigned", "reserved", "blocked"].iter().map(|status| self.count(*product, status)).sum();
                let product = self.product(*product).ok_or(ProductError::Unknown)?;
                if licenses > 0 {
                    return Err(ProductError::HasLicenses);
                }
                product.deleted = true;
                CommandResult::ProductDeleted
            }
            Command::CreateProductMeta { product, meta_key, value } => {
                let product = self.product(*product).ok_or(ProductError::Unknown)?;
                let key = meta_key.as_ref().ok_or(ProductError::MetaKeyRequired)?.as_str();
                value.as_ref().ok_or(ProductError::MetaValueRequired)?;
                if !product.meta.insert(key.to_owned()) {
                    return Err(ProductError::MetaExists);
                }
                CommandResult::ProductMetaSet
            }
            Command::UpdateProductMeta { product, meta_key, value } => {
                let product = self.product(*product).ok_or(ProductError::Unknown)?;
                let key = meta_key.as_ref().ok_or(ProductError::MetaKeyRequired)?.as_str();
                value.as_ref().ok_or(ProductError::MetaValueRequired)?;
                if !product.meta.contains(key) {
                    return Err(ProductError::MetaUnknown);
                }
                CommandResult::ProductMetaSet
            }
            Command::DeleteProductMeta { product, meta_key } => {
                let product = self.product(*product).ok_or(ProductError::Unknown)?;
                let key = meta_key.as_ref().ok_or(ProductError::MetaKeyRequired)?.as_str();
                if !product.meta.remove(key) {
                    return Err(ProductError::MetaUnknown);
                }
                CommandResult::ProductMetaDeleted
            }
            other => panic!("the model knows no {other:?}"),
        })
    }
}

fn assign(license: &mut License, owner: &OwnerInput, now: i64) -> Result<CommandResult, LicenseError> {
    if license.status != "available" {
        return Err(LicenseError::NotAvailable);
    }
    license.status = "assigned".to_owned();
    license.assigned_at = Some(now);
    if owner.name.is_some() || owner.email.is_some() {
        license.owner_name.clone_from(&owner.name);
        license.owner_email.clone_from(&owner.email);
    }
    Ok(CommandResult::Assigned)
}

fn update(license: &mut License, changes: &LicenseChanges, now: i64) {
    let new_status = changes.status.map(|status| status.as_str()).filter(|status| *status != license.status);
    if let Some(product) = changes.product {
        license.product = product;
    }
    if let Some(limit) = changes.activation_limit {
        license.limit = limit;
    }
    if let Some(days) = changes.validity_days {
        license.validity_days = days;
    }
    if new_status == Some("available") {
        license.status = "available".to_owned();
        license.assigned_at = None;
        license.owner_name = None;
        license.owner_email = None;
        license.active.clear();
        return;
    }
    if let Some(name) = &changes.owner_name {
        license.owner_name.clone_from(name);
    }
    if let Some(email) = &changes.owner_email {
        license.owner_email.clone_from(email);
    }
    if let Some(status) = new_status {
        license.status = status.to_owned();
        if status == "assigned" {
            license.assigned_at = license.assigned_at.or(Some(now));
        }
    }
}
