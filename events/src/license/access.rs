//! The order of checks that every use of a license passes; queries and commands share it.

use super::{Activation, License, LicenseError, Status};
use crate::Timestamp;

/// May this license be used now? In the contract's order: product, blocked, assigned, expired.
///
/// # Errors
/// The first check that fails.
pub fn check_access(license: &License, product_active: bool, now: Timestamp) -> Result<(), LicenseError> {
    if !product_active {
        return Err(LicenseError::ProductInactive);
    }
    match license.status {
        Status::Blocked => return Err(LicenseError::Blocked),
        Status::Available | Status::Reserved => return Err(LicenseError::NotAssigned),
        Status::Assigned => {}
    }
    if license.is_expired(now) {
        return Err(LicenseError::Expired);
    }
    Ok(())
}

/// May this license's product be downloaded now? As [`check_access`], but an expired license does unless its product says
/// otherwise.
///
/// # Errors
/// The first check that fails.
pub fn check_download(license: &License, product_active: bool, require_non_expired: bool, now: Timestamp) -> Result<(), LicenseError> {
    match check_access(license, product_active, now) {
        Err(LicenseError::Expired) if !require_non_expired => Ok(()),
        checked => checked,
    }
}

/// Is this license valid for an identifier? `activation` is the one of that identifier, if there is any.
///
/// # Errors
/// The first check that fails.
pub fn verify(
    license: &License,
    product_active: bool,
    has_identifier: bool,
    activation: Option<&Activation>,
    now: Timestamp,
) -> Result<(), LicenseError> {
    check_access(license, product_active, now)?;
    check_activation(license, has_identifier, activation)
}

/// Is this license active for an identifier? `activation` is the one of that identifier, if there is any.
///
/// # Errors
/// When there is no identifier, or no activation of it in force.
pub fn check_activation(license: &License, has_identifier: bool, activation: Option<&Activation>) -> Result<(), LicenseError> {
    if !has_identifier {
        return Err(LicenseError::IdentifierRequired);
    }
    if activation.is_some_and(|activation| license.is_active(activation)) { Ok(()) } else { Err(LicenseError::NoActivation) }
}
