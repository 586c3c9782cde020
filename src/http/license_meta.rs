//! The meta entries of a license. None of this needs an active activation.

use super::{
    codes::{Code, LicenseOperation as Op},
    doc::{
        Doc, Field, Shape,
        common::{IDENTIFIER, LICENSE_KEY, META_KEY, META_VALUE},
    },
    envelope::Answered,
    extract::Call,
    license::{execute, use_codes},
};
use crate::ledger::Command;

pub const CREATE: Doc = Doc::new("Add a meta entry to a license")
    .details("Needs no active activation.")
    .parameters(&[LICENSE_KEY, IDENTIFIER, META_KEY, META_VALUE])
    .codes(use_codes![Code::MetaKeyRequiredCreate, Code::MetaValueRequiredCreate, Code::MetaKeyAlreadyExistsCreate, Code::MetadataCreated])
    .fields(&[Field::new("meta_id", Shape::Integer, "The entry's number.")]);

pub async fn create(mut call: Call) -> Answered {
    let (key, identifier) = (call.license_key()?, call.identifier()?);
    let (meta_key, value) = (call.meta_key()?, call.meta_value()?);
    execute(call, Op::CreateMeta, key.map(|key| Command::CreateLicenseMeta { key, identifier, meta_key, value })).await
}

pub const UPDATE: Doc = Doc::new("Change a meta entry of a license")
    .details("Needs no active activation.")
    .parameters(&[LICENSE_KEY, IDENTIFIER, META_KEY, META_VALUE])
    .codes(use_codes![Code::MetaKeyRequiredUpdate, Code::MetaValueRequiredUpdate, Code::MetaKeyNotExistsUpdate, Code::MetadataUpdated])
    .fields(&[Field::new("meta_id", Shape::Integer, "The entry's number.")]);

pub async fn update(mut call: Call) -> Answered {
    let (key, identifier) = (call.license_key()?, call.identifier()?);
    let (meta_key, value) = (call.meta_key()?, call.meta_value()?);
    execute(call, Op::UpdateMeta, key.map(|key| Command::UpdateLicenseMeta { key, identifier, meta_key, value })).await
}

pub const DELETE: Doc = Doc::new("Remove a meta entry of a license")
    .details("Needs no active activation.")
    .parameters(&[LICENSE_KEY, IDENTIFIER, META_KEY])
    .codes(use_codes![Code::MetaKeyRequiredDelete, Code::MetaKeyNotExistsDelete, Code::MetadataDeleted]);

pub async fn delete(mut call: Call) -> Answered {
    let (key, identifier, meta_key) = (call.license_key()?, call.identifier()?, call.meta_key()?);
    execute(call, Op::DeleteMeta, key.map(|key| Command::DeleteLicenseMeta { key, identifier, meta_key })).await
}
