//! What web hooks are sent: made from the rows when it is sent, and signed like every answer.

use keyledger_events::assignment_job::AssignmentResult;
use keyledger_projections::{ActivationRow, AssignmentJobRow, LicenseRow};

use super::{
    assignments::{assigned, from_rows, too_few},
    codes::Code,
    envelope::{Answer, Answered, envelope_of},
};
use crate::app::App;

/// The body that tells what a queued assignment came to: the answer that it would have had, in the frame that clients expect.
///
/// # Errors
/// When the rows can't be read, or the answer can't be signed.
pub async fn assignment_body(app: &App, row: &AssignmentJobRow) -> Result<Vec<u8>, BodyError> {
    let job = &row.job;
    let answer = match job.result {
        Some(AssignmentResult::Assigned) => {
            assigned(&from_rows(app, app.ledger.licenses_of_job(job.number).await.map_err(no_rows)?).await.map_err(no_rows)?)
        }
        Some(AssignmentResult::TooFew) => too_few(job.available.unwrap_or_default()),
        Some(AssignmentResult::NoProduct) => Ok(Answer::new(Code::ProductNotFoundAssign)),
        Some(AssignmentResult::NoGenerator) => Ok(Answer::new(Code::GeneratorNotFoundAssign)),
        None => return Err(BodyError),
    };
    let answer = with_identifier(answer, job.identifier.as_deref())?;
    let envelope = envelope_of(app, &answer).await.map_err(|_| BodyError)?;
    Ok([b"{\"headers\":{},\"original\":".as_slice(), &envelope, b",\"exception\":null}"].concat())
}

fn with_identifier(answer: Answered, identifier: Option<&str>) -> Result<Answer, BodyError> {
    answer.and_then(|answer| answer.field("identifier", &identifier)).map_err(|_| BodyError)
}

/// The body that tells of an activation that was ended from this side: the answer that deactivating it would have had, with
/// what it is about.
///
/// # Errors
/// When the answer can't be signed.
pub async fn deactivation_body(app: &App, license: &LicenseRow, activation: &ActivationRow) -> Result<Vec<u8>, BodyError> {
    let answer = Answer::new(Code::LicenseDeactivated)
        .field("license_key", &license.license.key)
        .and_then(|answer| answer.field("product_id", &license.license.product))
        .and_then(|answer| answer.field("deactivated_at", &activation.deactivated_at));
    let answer = with_identifier(answer, activation.activation.identifier.as_deref())?;
    envelope_of(app, &answer).await.map_err(|_| BodyError)
}

/// The body can't be made now; the log says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body of a web hook could not be made")]
pub struct BodyError;

fn no_rows(error: crate::store::StoreError) -> BodyError {
    tracing::warn!(%error, "what a web hook says could not be read");
    BodyError
}
