//! The meta entries of a license. None of this needs an active activation.

use super::{codes::LicenseOperation as Op, envelope::Answered, extract::Call, license::execute};
use crate::ledger::Command;

pub async fn create(mut call: Call) -> Answered {
    let (key, identifier) = (call.license_key()?, call.identifier()?);
    let (meta_key, value) = (call.meta_key()?, call.meta_value()?);
    execute(call, Op::CreateMeta, key.map(|key| Command::CreateLicenseMeta { key, identifier, meta_key, value })).await
}

pub async fn update(mut call: Call) -> Answered {
    let (key, identifier) = (call.license_key()?, call.identifier()?);
    let (meta_key, value) = (call.meta_key()?, call.meta_value()?);
    execute(call, Op::UpdateMeta, key.map(|key| Command::UpdateLicenseMeta { key, identifier, meta_key, value })).await
}

pub async fn delete(mut call: Call) -> Answered {
    let (key, identifier, meta_key) = (call.license_key()?, call.identifier()?, call.meta_key()?);
    execute(call, Op::DeleteMeta, key.map(|key| Command::DeleteLicenseMeta { key, identifier, meta_key })).await
}
