//! Putting out releases: the file first, then the command, and no file without a release. The command line and the
//! administration share it.

use bytes::Bytes;
use futures::Stream;
use keyledger_events::{
    release::{NUMERIC_VERSION_MAX, NewRelease, ReleaseError, numeric_version},
    values::{SHORT_TEXT_CHARS_MAX, TextError, long_text, short_text},
};
use uuid::Uuid;

use crate::{
    files::{Files, FilesError},
    ledger::{Command, CommandResult, DistributionCommand, ExecuteError, Idempotency, Ledger, Origin, Outcome, Request},
    store::StoreError,
};

/// Everything about a release but its file, as it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseDetails {
    pub product: i64,
    pub version: String,
    /// The version's digits, unless given.
    pub numeric_version: Option<i64>,
    pub update_summary: String,
    pub changelog: String,
    pub file_name: String,
    /// Made out from the file's name, unless given.
    pub content_type: Option<String>,
}

/// What is wrong with a detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetailError {
    #[error("version {0}")]
    Version(#[source] TextError),
    #[error("numeric_version must be given where the version has no digits or too many, as an integer of 0 to {NUMERIC_VERSION_MAX}")]
    NumericVersion,
    #[error("update_summary {0}")]
    UpdateSummary(#[source] TextError),
    #[error("changelog {0}")]
    Changelog(#[source] TextError),
    #[error("file_name {0}")]
    FileName(#[source] TextError),
    #[error("file_name must be the name alone, without a folder")]
    Folder,
    #[error("content_type must be a media type such as application/zip")]
    ContentType,
}

#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error(transparent)]
    Detail(#[from] DetailError),
    #[error("{0}")]
    Refused(ReleaseError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Execute(#[from] ExecuteError),
}

/// Details that are right.
struct Checked {
    product: i64,
    version: String,
    numeric_version: i64,
    update_summary: String,
    changelog: String,
    file_name: String,
    content_type: String,
}

impl ReleaseDetails {
    fn checked(&self) -> Result<Checked, DetailError> {
        let version = short_text(&self.version).map_err(DetailError::Version)?;
        let numeric = self.numeric_version.or_else(|| numeric_version(version)).filter(|number| (0..=NUMERIC_VERSION_MAX).contains(number));
        let file_name = short_text(&self.file_name).map_err(DetailError::FileName)?;
        if file_name.contains(['/', '\\']) || file_name == "." || file_name == ".." {
            return Err(DetailError::Folder);
        }
        let content_type = match &self.content_type {
            Some(given) => Some(given.trim()).filter(|given| is_media_type(given)).ok_or(DetailError::ContentType)?,
            None => media_type_of(file_name),
        };
        Ok(Checked {
            product: self.product,
            version: version.to_owned(),
            numeric_version: numeric.ok_or(DetailError::NumericVersion)?,
            update_summary: long_text(&self.update_summary).map_err(DetailError::UpdateSummary)?.to_owned(),
            changelog: long_text(&self.changelog).map_err(DetailError::Changelog)?.to_owned(),
            file_name: file_name.to_owned(),
            content_type: content_type.to_owned(),
        })
    }
}

/// `type/subtype`, with or without parameters, fit for a header.
fn is_media_type(text: &str) -> bool {
    let is_token = |token: &str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte));
    let essence = text.split(';').next().unwrap_or_default().trim();
    text.len() <= SHORT_TEXT_CHARS_MAX
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

/// What programs are commonly packed in; the rest is bytes.
fn media_type_of(file_name: &str) -> &'static str {
    match file_name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).as_deref() {
        Some("zip") => "application/zip",
        Some("gz" | "tgz") => "application/gzip",
        Some("jar") => "application/java-archive",
        Some("pdf") => "application/pdf",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Takes in a release: the file, then the command. The file is deleted again where the command comes to nothing.
///
/// # Errors
/// When there is no release of it; unless the fate of the command is unknown, nothing is left behind then.
pub async fn upload<E>(
    ledger: &Ledger,
    files: &Files,
    details: &ReleaseDetails,
    origin: Origin,
    idempotency: Option<Idempotency>,
    content: impl Stream<Item = Result<Bytes, E>>,
) -> Result<Outcome, UploadError> {
    let details = details.checked()?;
    // What would be refused anyway need not be stored first.
    if ledger.product(details.product).await?.is_none() {
        return Err(UploadError::Refused(ReleaseError::ProductUnknown));
    }
    if idempotency.is_none() && ledger.release_by_version(details.product, details.numeric_version).await?.is_some() {
        return Err(UploadError::Refused(ReleaseError::VersionTaken));
    }
    let file = files.put(content).await?;
    let object = file.object;
    let command = Command::Distribution(DistributionCommand::UploadRelease(NewRelease {
        product: details.product,
        version: details.version,
        numeric_version: details.numeric_version,
        update_summary: details.update_summary,
        changelog: details.changelog,
        file_name: details.file_name,
        content_type: details.content_type,
        size: file.size,
        sha256: file.sha256,
        object,
    }));
    let executed = ledger.execute(Request { command, origin, idempotency }).await;
    let is_kept = match &executed {
        // Under an idempotency key the outcome may be an earlier one's, with a file of its own.
        Ok(Outcome { result: CommandResult::ReleaseUploaded { release }, .. }) => match ledger.release(*release).await {
            Ok(row) => row.is_some_and(|row| row.release.object == object),
            Err(_) => true,
        },
        Ok(_) => false,
        Err(ExecuteError::Unknown(_)) => true,
        Err(_) => false,
    };
    if !is_kept {
        delete(files, object).await;
    }
    let outcome = executed?;
    match outcome.result {
        CommandResult::ReleaseRefused(error) => Err(UploadError::Refused(error)),
        _ => Ok(outcome),
    }
}

/// Withdraws a release, and deletes its file.
///
/// # Errors
/// When there is no outcome.
pub async fn withdraw(
    ledger: &Ledger,
    files: &Files,
    release: i64,
    origin: Origin,
    idempotency: Option<Idempotency>,
) -> Result<Outcome, ExecuteError> {
    let command = Command::Distribution(DistributionCommand::WithdrawRelease { release });
    let outcome = ledger.execute(Request { command, origin, idempotency }).await?;
    if outcome.result == CommandResult::ReleaseWithdrawn
        && let Ok(Some(row)) = ledger.release(release).await
    {
        delete(files, row.release.object).await;
    }
    Ok(outcome)
}

/// A file that stays is no harm but its size: nothing names it any more.
async fn delete(files: &Files, object: Uuid) {
    if let Err(error) = files.delete(object).await {
        tracing::warn!(%error, %object, "a file that no release needs could not be deleted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details() -> ReleaseDetails {
        ReleaseDetails { product: 1, version: " 1.0.2 ".into(), file_name: "doors.ZIP".into(), ..ReleaseDetails::default() }
    }

    #[test]
    fn what_is_not_given_is_made_out() {
        let checked = details().checked().unwrap();
        assert_eq!((checked.version.as_str(), checked.numeric_version, checked.content_type.as_str()), ("1.0.2", 102, "application/zip"));
        let checked =
            ReleaseDetails { numeric_version: Some(7), content_type: Some("text/plain; charset=utf-8".into()), ..details() }.checked().unwrap();
        assert_eq!((checked.numeric_version, checked.content_type.as_str()), (7, "text/plain; charset=utf-8"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |details: ReleaseDetails| details.checked().err().unwrap();
        assert_eq!(error(ReleaseDetails { version: "next".into(), ..details() }), DetailError::NumericVersion);
        assert_eq!(error(ReleaseDetails { numeric_version: Some(-1), ..details() }), DetailError::NumericVersion);
        assert_eq!(error(ReleaseDetails { version: " ".into(), ..details() }), DetailError::Version(TextError::Blank));
        for name in ["a/b.zip", "..", "C:\\b.zip"] {
            assert_eq!(error(ReleaseDetails { file_name: name.into(), ..details() }), DetailError::Folder, "{name}");
        }
        for kind in ["zip", "a/b\r\nx: y", "/", "", "text/pläin"] {
            assert_eq!(error(ReleaseDetails { content_type: Some(kind.into()), ..details() }), DetailError::ContentType, "{kind}");
        }
    }
}
