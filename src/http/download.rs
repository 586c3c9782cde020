//! What a license may download: the list with its links, and the files behind them.

use std::net::IpAddr;

use axum::body::Body;
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use base64::{
    Engine,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, URL_SAFE_NO_PAD},
    },
};
use keyledger_events::{
    Timestamp,
    license::{self, AccessRefusal, LicenseError},
    release::Release,
    values::{Identifier, LicenseKey},
};
use keyledger_projections::{ProductRow, ReleaseRow};
use serde::Serialize;
use uuid::Uuid;

use super::{
    codes::{Code, LicenseOperation as Op, license_refusal},
    doc::{
        Doc, Field, Given, Guard, Parameter, Place, Shape,
        common::{IDENTIFIER, LICENSE_KEY},
    },
    endpoint::Arrived,
    envelope::{Answer, Answered, internal},
    extract::Call,
    license::{key_pair, use_codes},
    transfer::{self, Part},
};
use crate::{
    app::App,
    files::FilesError,
    ledger::{Actor, Command, CommandResult, LicenseView, Origin, Request},
};

/// What an API key must be allowed to download with it as the credential.
pub const CAPABILITY: &str = "download";
/// How long a link is good for, in seconds: a day.
const LINK_LIFETIME_S: i64 = 24 * 60 * 60;
/// What a link's credential begins with, so that it is not taken for an API key.
const LINK_PREFIX: &str = "dl1.";

/// Clients write the identifier's Base64 with and without its padding.
const IDENTIFIER_BASE64: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD_BASE64: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, IDENTIFIER_BASE64);
const URL_SAFE_BASE64: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, IDENTIFIER_BASE64);

pub const ACCESS: Doc = Doc::new("List what a license may download")
    .details(
        "The published releases, newest first. A link is good for a day, for this license and version. An expired license still gets its \
         downloads unless its product requires one that is not.",
    )
    .parameters(&[LICENSE_KEY, IDENTIFIER])
    .codes(use_codes![Code::NoActivationFound, Code::Downloads])
    .fields(&[Field::new("downloadables", Shape::List(&DOWNLOADABLE), "")]);

const DOWNLOADABLE: Shape = Shape::Object(&[
    Field::always("id", Shape::Integer, ""),
    Field::always("product_id", Shape::Integer, ""),
    Field::always("numeric_version", Shape::Integer, ""),
    Field::always("version", Shape::Text, ""),
    Field::always("update_summary", Shape::Text, ""),
    Field::always("changelog", Shape::Text, ""),
    Field::always("published", Shape::Flag, ""),
    Field::always("release_date", Shape::Nullable(&Shape::Time), "YYYY-MM-DD HH:MM:SS, UTC."),
    Field::always("download_counter", Shape::Integer, ""),
    Field::always("url", Shape::Url, "Where the file is."),
]);

pub async fn access(mut call: Call) -> Answered {
    let (key, identifier) = (call.license_key()?, call.identifier()?);
    let Some(key) = key else { return refused(LicenseError::Unknown, None) };
    let (view, product) = permitted(&call.app, &key, identifier.as_ref(), &call.origin).await?;
    let releases = call.app.ledger.published_releases(product.product.number).await?;
    let identifier = identifier.as_ref().map(Identifier::as_str).unwrap_or_default();
    let base = base_url(&call.app, call.headers());
    let expires_at = call.app.clock.now().seconds() + LINK_LIFETIME_S;
    let license = &view.license.license;
    let rows: Vec<Downloadable<'_>> = releases
        .iter()
        .map(|row| {
            let version = row.release.numeric_version;
            let credential = link(&call.app, license.number, version, expires_at);
            let url = format!(
                "{base}/api/v1/download/{credential}/{}/{}/{version}",
                percent_encoded(&license.key),
                percent_encoded(&STANDARD.encode(identifier))
            );
            Downloadable::new(row, url)
        })
        .collect();
    Answer::new(Code::Downloads).signed_by(key_pair(&view)).field("downloadables", &rows)
}

#[derive(Serialize)]
struct Downloadable<'a> {
    id: i64,
    product_id: i64,
    numeric_version: i64,
    version: &'a str,
    update_summary: &'a str,
    changelog: &'a str,
    published: u8,
    release_date: Option<String>,
    download_counter: i64,
    url: String,
}

impl<'a> Downloadable<'a> {
    fn new(row: &'a ReleaseRow, url: String) -> Self {
        let release = &row.release;
        Self {
            id: release.number,
            product_id: release.product,
            numeric_version: release.numeric_version,
            version: &release.version,
            update_summary: &release.update_summary,
            changelog: &release.changelog,
            published: release.published.into(),
            release_date: release.release_date.map(Timestamp::date_time),
            download_counter: row.downloads,
            url,
        }
    }
}

fn link(app: &App, license: i64, numeric_version: i64, expires_at: i64) -> String {
    let mac = app.ledger.vault().download_link(license, numeric_version, expires_at);
    format!("{LINK_PREFIX}{expires_at}.{}", URL_SAFE_NO_PAD.encode(mac))
}

/// The license and product of a download that is permitted; where it isn't, the answer.
async fn permitted(app: &App, key: &LicenseKey, identifier: Option<&Identifier>, origin: &Origin) -> Answered<(LicenseView, ProductRow)> {
    let Some(view) = app.ledger.find_license(key, identifier).await? else { return Err(refused(LicenseError::Unknown, None)?) };
    let pair = key_pair(&view);
    let product = view.product.as_ref();
    let (is_active, require_non_expired) = product.map_or((false, false), |row| (row.product.is_active(), row.product.require_non_expired));
    let license = &view.license.license;
    let activation = view.activation.as_ref().map(|row| &row.activation);
    let checked = license::check_download(license, is_active, require_non_expired, app.clock.now())
        .and_then(|()| license::check_activation(license, identifier.is_some(), activation));
    match (checked, view.product.clone()) {
        (Ok(()), Some(product)) => Ok((view, product)),
        (Ok(()), None) => Err(internal(&"a valid license without a product")),
        (Err(error), _) => {
            if let Some(reason) = error.recorded_reason() {
                app.ledger.record_refusal(key, identifier, reason, None, origin.clone());
            }
            Err(refused(error, pair)?)
        }
    }
}

fn refused(error: LicenseError, key_pair: Option<i64>) -> Answered {
    let code = license_refusal(Op::Download, error).ok_or_else(|| internal(&format_args!("a download was refused: {error}")))?;
    Ok(Answer::new(code).signed_by(key_pair))
}

/// Under which URL the client reaches this server: as configured, else as it says itself.
pub(super) fn base_url(app: &App, headers: &HeaderMap) -> String {
    match app.config.public_url.as_deref() {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => {
            let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
            let is_host = |host: &&str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte)) && !host.is_empty();
            format!("http://{}", host.filter(is_host).unwrap_or("localhost"))
        }
    }
}

/// A segment of a path: everything but RFC 3986's unreserved characters encoded.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The segments of a download's path.
#[derive(Default)]
struct Segments {
    credential: String,
    license_key: String,
    identifier: String,
    numeric_version: String,
}

impl Segments {
    fn of(arrived: &Arrived) -> Self {
        let segment = |name| arrived.path_parameter(name).to_owned();
        Self {
            credential: segment("credential"),
            license_key: segment("license_key"),
            identifier: segment("identifier"),
            numeric_version: segment("numeric_version"),
        }
    }

    fn identifier(&self) -> Option<Identifier> {
        let bytes = STANDARD_BASE64.decode(&self.identifier).or_else(|_| URL_SAFE_BASE64.decode(&self.identifier)).ok()?;
        Identifier::parse(std::str::from_utf8(&bytes).ok()?).ok()
    }

    fn numeric_version(&self) -> Option<i64> {
        self.numeric_version.parse().ok().filter(|_| self.numeric_version.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

pub const DOWNLOAD: Doc = Doc::new("Download a release")
    .details(
        "The checks are those of access-downloadables. A transfer that begins with the file's first byte is counted; a HEAD, the \
         continuation of a transfer and a 304 are not. A refusal is a signed answer with HTTP status 200.",
    )
    .guard(Guard::Nobody)
    .parameters(&[
        Parameter::required("credential", Shape::Text, "As in the link; or an API key with the capability `download`.").at(Place::Path),
        Parameter::required("license_key", Shape::Text, "The license key.").at(Place::Path),
        Parameter::required("identifier", Shape::Text, "The identifier in Base64.").at(Place::Path),
        Parameter::required("numeric_version", Shape::Text, "The version as a number.").at(Place::Path),
        Parameter::optional("Range", Shape::Text, "One range of bytes.").at(Place::Header),
    ])
    .codes(use_codes![Code::NoActivationFound, Code::FileNotExists, Code::NoPermissionFile])
    .given(&[
        Given::new(200, "The file.", "*/*", Shape::Binary),
        Given::new(206, "A part of it.", "*/*", Shape::Binary),
        Given::new(304, "The client has it already.", "", Shape::Any),
        Given::new(416, "The file has no such part.", "", Shape::Any),
        Given::json(401, "The API key is not good for it.", Shape::Any),
        Given::json(403, "Access denied.", Shape::Any),
    ]);

pub async fn download(arrived: Arrived) -> Answered<Response> {
    let segments = Segments::of(&arrived);
    let Arrived { app, request, request_id, client_ip: ip, .. } = arrived;
    let (head, _) = request.into_parts();
    let (key, identifier) = (LicenseKey::parse(&segments.license_key).ok(), segments.identifier());
    let origin = authorize(&app, &segments, key.as_ref(), ip, request_id).await?;
    if let Some(block) = app.access.blocked_by(ip, identifier.as_ref().map(Identifier::as_str)).await? {
        if let Some(key) = &key {
            app.ledger.record_refusal(key, identifier.as_ref(), AccessRefusal::BlockListed, Some(block), origin);
        }
        return Err(Answer::new(Code::AccessDenied));
    }
    let Some(key) = key else { return Err(refused(LicenseError::Unknown, None)?) };
    let (view, product) = permitted(&app, &key, identifier.as_ref(), &origin).await?;
    let missing = || Answer::new(Code::FileNotExists).signed_by(key_pair(&view));
    let row = match segments.numeric_version() {
        Some(version) => app.ledger.release_by_version(product.product.number, version).await?,
        None => None,
    };
    let row = row.filter(|row| row.release.published).ok_or_else(missing)?;
    let release = &row.release;
    if !app.files.has(release.object, release.size).await.map_err(files_failed)? {
        tracing::error!(release = release.number, "the file of a release is not in the store");
        return Err(missing());
    }
    let part = Part::asked_for(&head.headers, release);
    if head.method == Method::HEAD {
        return Ok(with_ranges(transfer::response(release, &Part::Whole, Body::empty())));
    }
    if transfer::is_known(&head.headers, release) {
        return Ok(transfer::not_modified(release));
    }
    let bytes = part.bytes(release);
    if bytes.is_empty() && part != Part::Whole {
        return Ok(with_ranges(transfer::response(release, &part, Body::empty())));
    }
    // Opened first: what can't be sent isn't counted.
    let content = if bytes.is_empty() { None } else { Some(open(&app, release, bytes.clone()).await?.ok_or_else(missing)?) };
    if part.is_beginning() {
        let command = Command::RecordDownload { key, identifier, release: release.number };
        let outcome = app.ledger.execute(Request { command, origin, idempotency: None }).await?;
        match outcome.result {
            CommandResult::DownloadCounted => {}
            // Changed since the checks above.
            CommandResult::LicenseRefused(error) => return Err(refused(error, outcome.key_pair)?),
            CommandResult::ReleaseRefused(_) => return Err(missing()),
            other => return Err(internal(&format_args!("a download came to {other:?}"))),
        }
    }
    let Some(content) = content else { return Ok(with_ranges(transfer::response(release, &part, Body::empty()))) };
    let (body, work) = transfer::body(content, bytes.end - bytes.start);
    tokio::spawn(async move {
        if let Err(error) = work.await {
            tracing::debug!(%error, "a download broke off");
        }
    });
    Ok(with_ranges(transfer::response(release, &part, body)))
}

fn with_ranges(mut response: Response) -> Response {
    response.headers_mut().insert(header::ACCEPT_RANGES, header::HeaderValue::from_static("bytes"));
    response
}

type Content = futures::stream::BoxStream<'static, Result<bytes::Bytes, FilesError>>;

async fn open(app: &App, release: &Release, bytes: std::ops::Range<u64>) -> Answered<Option<Content>> {
    match app.files.read(release.object, bytes).await {
        Ok(content) => Ok(Some(content)),
        Err(FilesError::Missing) => Ok(None),
        Err(error) => Err(files_failed(error)),
    }
}

fn files_failed(error: FilesError) -> Answer {
    tracing::warn!(%error, "the store of files failed");
    Answer::unavailable("The store of files is not available at the moment.")
}

/// Who downloads. A link is good for its license and version alone; whoever alters it learns nothing but that.
async fn authorize(app: &App, segments: &Segments, key: Option<&LicenseKey>, ip: IpAddr, request_id: Uuid) -> Answered<Origin> {
    let origin = |actor| Origin { actor, request_id, client_ip: Some(ip), operation: Some(CAPABILITY), operator: None, reason: None };
    let Some(link) = segments.credential.strip_prefix(LINK_PREFIX) else {
        let api_key = app.access.check_key(Some(&segments.credential), CAPABILITY, ip, app.clock.now()).await?;
        return Ok(origin(Actor::ApiKey(api_key)));
    };
    let denied = || Answer::new(Code::NoPermissionFile);
    let (expires_at, mac) = link.split_once('.').ok_or_else(denied)?;
    let expires_at: i64 = expires_at.parse().map_err(|_| denied())?;
    let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| denied())?;
    let version = segments.numeric_version().ok_or_else(denied)?;
    let found = app.ledger.find_use(key.ok_or_else(denied)?, None).await?.ok_or_else(denied)?;
    let license = found.license.number;
    if !app.ledger.vault().is_download_link(license, version, expires_at, &mac) || app.clock.now().seconds() >= expires_at {
        return Err(denied());
    }
    Ok(origin(Actor::License(license)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identifier_is_read_however_its_base64_is_written() {
        let read = |identifier: &str| Segments { identifier: identifier.to_owned(), ..Segments::default() }.identifier();
        for text in ["ZG9tYWluLmx0ZA==", "ZG9tYWluLmx0ZA"] {
            assert_eq!(read(text).unwrap().as_str(), "domain.ltd");
        }
        assert_eq!(read("Pz8/").unwrap().as_str(), "???");
        assert_eq!(read("Pz8_").unwrap().as_str(), "???");
        for bad in ["", "IA==", "gA==", "a", "***"] {
            assert!(read(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_segment_holds_no_slash() {
        assert_eq!(percent_encoded("ZG9t+/=="), "ZG9t%2B%2F%3D%3D");
        assert_eq!(percent_encoded("KEY-1 ü"), "KEY-1%20%C3%BC");
    }
}
