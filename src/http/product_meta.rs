//! The meta entries of a product. The product's key signs once the product is found.

use super::{
    codes::{Code, ProductOperation as Op},
    doc::{
        Doc,
        common::{META_KEY, META_VALUE, PRODUCT_ID},
    },
    envelope::{Answer, Answered, internal},
    extract::{Call, NO_PRODUCT},
    product::refused,
};
use crate::ledger::{Command, CommandResult};

pub const CREATE: Doc = Doc::new("Add a meta entry to a product").parameters(&[PRODUCT_ID, META_KEY, META_VALUE]).codes(&[
    Code::ProductNotFoundMetaCreate,
    Code::ProductMetaKeyRequiredCreate,
    Code::ProductMetaValueRequiredCreate,
    Code::ProductMetaKeyAlreadyExists,
    Code::ProductMetaCreated,
]);

pub async fn create(mut call: Call) -> Answered {
    let product = call.product_number()?.unwrap_or(NO_PRODUCT);
    let (meta_key, value) = (call.meta_key()?, call.meta_value()?);
    execute(call, Op::CreateMeta, Code::ProductMetaCreated, Command::CreateProductMeta { product, meta_key, value }).await
}

pub const UPDATE: Doc = Doc::new("Change a meta entry of a product").parameters(&[PRODUCT_ID, META_KEY, META_VALUE]).codes(&[
    Code::ProductNotFoundMetaUpdate,
    Code::ProductMetaKeyRequiredUpdate,
    Code::ProductMetaValueRequiredUpdate,
    Code::ProductMetaKeyNotExistsUpdate,
    Code::ProductMetaUpdated,
]);

pub async fn update(mut call: Call) -> Answered {
    let product = call.product_number()?.unwrap_or(NO_PRODUCT);
    let (meta_key, value) = (call.meta_key()?, call.meta_value()?);
    execute(call, Op::UpdateMeta, Code::ProductMetaUpdated, Command::UpdateProductMeta { product, meta_key, value }).await
}

pub const DELETE: Doc = Doc::new("Remove a meta entry of a product").parameters(&[PRODUCT_ID, META_KEY]).codes(&[
    Code::ProductNotFoundMetaDelete,
    Code::ProductMetaKeyRequiredDelete,
    Code::ProductMetaKeyNotExistsDelete,
    Code::ProductMetaDeleted,
]);

pub async fn delete(mut call: Call) -> Answered {
    let product = call.product_number()?.unwrap_or(NO_PRODUCT);
    let meta_key = call.meta_key()?;
    execute(call, Op::DeleteMeta, Code::ProductMetaDeleted, Command::DeleteProductMeta { product, meta_key }).await
}

async fn execute(call: Call, operation: Op, done: Code, command: Command) -> Answered {
    let outcome = call.execute(command).await?;
    let answer = match outcome.result {
        CommandResult::ProductMetaSet | CommandResult::ProductMetaDeleted => Answer::new(done),
        CommandResult::ProductRefused(error) => refused(operation, error)?,
        other => return Err(internal(&format_args!("{operation:?} came to {other:?}"))),
    };
    Ok(answer.signed_by(outcome.key_pair))
}
