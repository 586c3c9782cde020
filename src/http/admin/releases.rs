//! Releases: uploaded in a stream, changed, published, unpublished, withdrawn.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use keyledger_events::{Timestamp, release::ReleaseError, values::LONG_TEXT_BYTES_MAX};
use keyledger_projections::ReleaseRow;
use multer::{Constraints, Field, Multipart, SizeLimit};
use serde::{Deserialize, Serialize};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{AdminCall, Check, Created, FieldError, Input, InputPlace, Json, Kind, Paged, Problem, Query, Replied, Shown, Wanted};
use crate::{
    files::FilesError,
    http::{body::Lent, doc::Doc},
    ledger::{Command, CommandResult, DistributionCommand},
    releases::{self, ReleaseDetails, UploadError},
};

const MULTIPART: &str = "multipart/form-data";
/// The field with the file's content.
const FILE: &str = "file";

/// A release of a product: one file under one version.
#[derive(Serialize, ToSchema)]
pub struct Release {
    pub number: i64,
    pub id: uuid::Uuid,
    pub product: i64,
    pub version: String,
    pub numeric_version: i64,
    pub update_summary: String,
    pub changelog: String,
    pub file_name: String,
    pub content_type: String,
    /// Of the file, in bytes.
    pub size: i64,
    /// Of the file, in hexadecimal.
    pub sha256: String,
    pub published: bool,
    /// When it was published last.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub release_date: Option<Timestamp>,
    /// Whether it was taken back for good.
    pub withdrawn: bool,
    pub downloads: i64,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl Release {
    fn new(row: ReleaseRow) -> Self {
        let release = row.release;
        Self {
            number: release.number,
            id: row.id,
            product: release.product,
            version: release.version,
            numeric_version: release.numeric_version,
            update_summary: release.update_summary,
            changelog: release.changelog,
            file_name: release.file_name,
            content_type: release.content_type,
            size: release.size,
            sha256: release.sha256,
            published: release.published,
            release_date: release.release_date,
            withdrawn: release.withdrawn,
            downloads: row.downloads,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A release to be uploaded. The file comes last.
#[derive(ToSchema)]
#[schema(as = NewRelease)]
#[allow(dead_code, reason = "it describes the form, which is read field by field")]
struct UploadForm {
    #[schema(minimum = 1)]
    product: i64,
    #[schema(min_length = 1, max_length = 255)]
    version: String,
    /// The digits of the version, unless given.
    #[schema(required = false)]
    numeric_version: Option<i64>,
    #[schema(required = false, max_length = 16384)]
    update_summary: Option<String>,
    #[schema(required = false, max_length = 16384)]
    changelog: Option<String>,
    /// The name of the uploaded file, unless given.
    #[schema(required = false, max_length = 255)]
    file_name: Option<String>,
    /// Made out from the file's name, unless given.
    #[schema(required = false, max_length = 255)]
    content_type: Option<String>,
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// A form that is read while it arrives.
pub struct Upload {
    headers: HeaderMap,
    body: Body,
}

impl Input for Upload {
    const PLACE: InputPlace = InputPlace::Upload(MULTIPART);

    fn schema(components: &mut Vec<(String, RefOr<Schema>)>) -> Option<RefOr<Schema>> {
        UploadForm::schemas(components);
        Some(UploadForm::schema())
    }

    async fn read(head: &Parts, body: Body, _: usize) -> Replied<(Self, Vec<u8>)> {
        Ok((Self { headers: head.headers.clone(), body }, Vec::new()))
    }
}

fn broken(error: multer::Error) -> Problem {
    match error {
        multer::Error::FieldSizeExceeded { field_name, .. } => {
            Problem::invalid_field(field_name.unwrap_or_default(), format!("must be at most {LONG_TEXT_BYTES_MAX} bytes."))
        }
        _ => Problem::new(Kind::BadRequest, "The body ended early or is no well-formed multipart form."),
    }
}

/// Reads the fields before the file into `details`; gives the file, and what an idempotency key compares.
async fn read_fields(form: &mut Multipart<'static>, details: &mut ReleaseDetails) -> Replied<(Field<'static>, Vec<u8>)> {
    let mut compared = Vec::new();
    let mut check = Check::default();
    while let Some(field) = form.next_field().await.map_err(broken)? {
        let name = field.name().unwrap_or_default().to_owned();
        if name == FILE {
            check.end()?;
            if details.file_name.is_empty() {
                details.file_name = field.file_name().unwrap_or_default().to_owned();
            }
            return Ok((field, compared));
        }
        let text = field.text().await.map_err(broken)?;
        compared.extend_from_slice(&(name.len() as u64).to_be_bytes());
        compared.extend_from_slice(name.as_bytes());
        compared.extend_from_slice(&(text.len() as u64).to_be_bytes());
        compared.extend_from_slice(text.as_bytes());
        match name.as_str() {
            "product" => details.product = check.parsed("product", text.trim().parse::<i64>()).unwrap_or_default(),
            "version" => details.version = text,
            "numeric_version" => details.numeric_version = check.parsed("numeric_version", text.trim().parse::<i64>()),
            "update_summary" => details.update_summary = text,
            "changelog" => details.changelog = text,
            "file_name" => details.file_name = text,
            "content_type" => details.content_type = Some(text),
            _ => check.wrong(name, "is no field of this form."),
        }
    }
    check.wrong(FILE, "must be given, as the last field.");
    check.end()?;
    Err(Problem::internal())
}

pub const UPLOAD: Doc = Doc::new("Upload a release")
    .details(
        "A multipart form whose last field is the file. It is stored as it arrives and is a draft until it is published. Under an \
         Idempotency-Key the fields are compared, not the file.",
    )
    .refusals(&[413, 415]);

pub async fn upload(call: AdminCall, upload: Upload) -> Replied<Created<Release>> {
    let Upload { headers, body } = upload;
    let body = Lent::new(body);
    let uploaded = take_in(&call, &headers, &body).await;
    if uploaded.is_err() {
        body.discard(&headers).await;
    }
    uploaded
}

async fn take_in(call: &AdminCall, headers: &HeaderMap, body: &Lent) -> Replied<Created<Release>> {
    let boundary = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|value| multer::parse_boundary(value).ok());
    let Some(boundary) = boundary else {
        return Err(Problem::new(Kind::UnsupportedMediaType, "The body must be a multipart form (multipart/form-data)."));
    };
    let limit = SizeLimit::new().per_field(LONG_TEXT_BYTES_MAX as u64).for_field(FILE, u64::MAX);
    let mut form = Multipart::with_constraints(body.stream(), boundary, Constraints::new().size_limit(limit));
    let mut details = ReleaseDetails::default();
    let (file, compared) = read_fields(&mut form, &mut details).await?;
    let (origin, idempotency) = call.request_parts(&compared);
    let app = call.app.clone();
    let outcome = releases::upload::<multer::Error>(&app.ledger, &app.files, &details, origin, idempotency, file).await.map_err(upload_refused)?;
    match outcome.result {
        CommandResult::ReleaseUploaded { release } => {
            Ok(Created { location: format!("/admin/v1/releases/{release}"), body: shown(call, release).await? })
        }
        other => Err(Problem::unexpected(&other)),
    }
}

fn upload_refused(error: UploadError) -> Problem {
    match error {
        UploadError::Detail(error) => {
            let text = error.to_string();
            let (pointer, detail) = text.split_once(' ').unwrap_or(("", &text));
            Problem::invalid(vec![FieldError { pointer: pointer.to_owned(), detail: format!("{detail}.") }])
        }
        UploadError::Refused(ReleaseError::ProductUnknown) => Problem::invalid_field("product", "is no product."),
        UploadError::Refused(error) => refused(error),
        UploadError::Files(error) => files_refused(&error),
        UploadError::Store(error) => error.into(),
        UploadError::Execute(error) => error.into(),
    }
}

fn files_refused(error: &FilesError) -> Problem {
    match error {
        FilesError::TooLarge(_) => Problem::new(Kind::PayloadTooLarge, format!("{error}.")),
        FilesError::Broken => Problem::new(Kind::BadRequest, format!("{error}.")),
        FilesError::Busy => Problem::new(Kind::Unavailable, "Too many uploads are in progress; nothing was done."),
        FilesError::Url(_) | FilesError::Missing | FilesError::Unavailable(_) => {
            tracing::warn!(%error, "an upload failed");
            Problem::new(Kind::Unavailable, "The store of files is not available at the moment; nothing was done.")
        }
    }
}

fn refused(error: ReleaseError) -> Problem {
    match error {
        ReleaseError::Unknown => Problem::not_found("release"),
        error => Problem::conflict(format!("Refused: {error}.")),
    }
}

/// Which releases are wanted.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReleaseQuery {
    /// Only this product's.
    pub product: Option<i64>,
    /// How many items, 50 unless given.
    #[schema(minimum = 1, maximum = 500)]
    pub limit: Option<i64>,
    /// The `next` of the page before.
    pub after: Option<String>,
}

pub const LIST: Doc = Doc::new("Releases").details("In ascending number, withdrawn ones too.");

pub async fn list(call: AdminCall, Query(query): Query<ReleaseQuery>) -> Replied<Paged<Release>> {
    let wanted = Wanted::new(query.limit, query.after.as_deref())?;
    let rows = call.app.ledger.release_page(query.product, wanted.after.unwrap_or_default(), wanted.rows()).await?;
    Ok(Paged(wanted.page(rows, |row| row.release.number, Release::new)))
}

pub const SHOW: Doc = Doc::new("A release");

pub async fn show(call: AdminCall, (): ()) -> Replied<Shown<Release>> {
    Ok(Shown(shown(&call, call.number("release")?).await?))
}

async fn shown(call: &AdminCall, number: i64) -> Replied<Release> {
    call.app.ledger.release(number).await?.map(Release::new).ok_or_else(|| Problem::not_found("release"))
}

/// What changes of a release; what is absent stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReleaseChanges {
    #[schema(max_length = 16384)]
    pub update_summary: Option<String>,
    #[schema(max_length = 16384)]
    pub changelog: Option<String>,
}

pub const UPDATE: Doc = Doc::new("Change the texts of a release").details("What is absent stays as it is.");

pub async fn update(call: AdminCall, Json(changes): Json<ReleaseChanges>) -> Replied<Shown<Release>> {
    let release = call.number("release")?;
    let mut check = Check::default();
    let mut text = |pointer: &str, text: Option<String>| {
        if let Some(text) = text.as_deref() {
            check.parsed(pointer, keyledger_events::values::long_text(text));
        }
        text
    };
    let (update_summary, changelog) = (text("/update_summary", changes.update_summary), text("/changelog", changes.changelog));
    check.end()?;
    execute(call, release, DistributionCommand::UpdateRelease { release, update_summary, changelog }).await
}

/// When a release shall be said to be of.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Publication {
    /// RFC 3339, or YYYY-MM-DD (UTC); now unless given.
    pub release_date: Option<String>,
}

pub const PUBLISH: Doc = Doc::new("Publish a release").details("From here on it can be downloaded.");

pub async fn publish(call: AdminCall, Json(publication): Json<Publication>) -> Replied<Shown<Release>> {
    let release = call.number("release")?;
    let mut check = Check::default();
    let release_date = publication.release_date.and_then(|text| check.time("/release_date", &text));
    check.end()?;
    execute(call, release, DistributionCommand::PublishRelease { release, release_date }).await
}

pub const UNPUBLISH: Doc = Doc::new("Make a published release a draft again").details("It can be published again later.");

pub async fn unpublish(call: AdminCall, (): ()) -> Replied<Shown<Release>> {
    let release = call.number("release")?;
    execute(call, release, DistributionCommand::UnpublishRelease { release }).await
}

async fn execute(call: AdminCall, release: i64, command: DistributionCommand) -> Replied<Shown<Release>> {
    let outcome = call.execute(Command::Distribution(command)).await?;
    shown_after(&call, release, outcome.result).await
}

async fn shown_after(call: &AdminCall, release: i64, result: CommandResult) -> Replied<Shown<Release>> {
    match result {
        CommandResult::ReleaseUpdated | CommandResult::ReleasePublished | CommandResult::ReleaseUnpublished | CommandResult::ReleaseWithdrawn => {
            Ok(Shown(shown(call, release).await?))
        }
        CommandResult::ReleaseRefused(error) => Err(refused(error)),
        other => Err(Problem::unexpected(&other)),
    }
}

pub const WITHDRAW: Doc = Doc::new("Take back a release for good").details("Its file is deleted, and its version can be used again.");

pub async fn withdraw(call: AdminCall, (): ()) -> Replied<Shown<Release>> {
    let release = call.number("release")?;
    let (origin, idempotency) = call.request_parts(&[]);
    let outcome = releases::withdraw(&call.app.ledger, &call.app.files, release, origin, idempotency).await?;
    shown_after(&call, release, outcome.result).await
}
