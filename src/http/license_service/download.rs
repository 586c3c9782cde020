//! Downloading the newest release: a token first, then the file for it, once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use keyledger_events::{Timestamp, download_token::CLAIM_MICROS, release::ReleaseError};
use serde::{Serialize, Serializer};

use super::{
    no_cache,
    refusal::{Refusal, Served},
    request::{Purpose, Valid, limited},
    succeeded,
    verify::{FAILURE, PARAMETERS},
};
use crate::{
    app::App,
    files::FilesError,
    http::{
        codes::Code,
        doc::{Doc, Field, Given, Guard, Parameter, Place, Shape},
        download::base_url,
        endpoint::Arrived,
        envelope::internal,
        transfer::{self, Broken, Part},
    },
    ledger::{Actor, Command, CommandResult, DistributionCommand, ExecuteError, Ledger, Origin, Request},
    vault::random,
};

const CLAIM: Duration = Duration::from_micros(CLAIM_MICROS.unsigned_abs());
/// How often a transfer renews its claim: twice it may fail.
const RENEW_EVERY: Duration = Duration::from_micros(CLAIM_MICROS.unsigned_abs() / 3);
/// How long before a claim ends its transfer is broken off, so that clocks may differ by as much between two servers.
const CLAIM_MARGIN: Duration = Duration::from_secs(15);
/// How long the end of a transfer is tried to be recorded, and how often.
const END_RECORDED_WITHIN: Duration = Duration::from_secs(30);
const END_RECORDED_EVERY: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Issued<'a> {
    download_url: String,
    #[serde(serialize_with = "with_milliseconds")]
    expires_at: Timestamp,
    product_name: &'a str,
    file_size: i64,
}

/// `2024-01-16T10:30:00.000Z`
fn with_milliseconds<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let text = at.to_string();
    let milliseconds = text.strip_suffix("Z").and_then(|text| text.get(..text.len().saturating_sub(3))).unwrap_or_default();
    serializer.collect_str(&format_args!("{milliseconds}Z"))
}

pub const DOWNLOAD: Doc = Doc::new("Ask for a token to download the newest release, once")
    .details("The checks and the limit of requests are those of /verify. The link is good for 24 hours.")
    .guard(Guard::LicenseKey)
    .parameters(PARAMETERS)
    .given(&[
        Given::json(
            200,
            "Here it is.",
            Shape::Object(&[
                Field::always("success", Shape::Boolean, "true"),
                Field::always("message", Shape::Text, ""),
                Field::always(
                    "data",
                    Shape::Object(&[
                        Field::always("download_url", Shape::Url, ""),
                        Field::always("expires_at", Shape::Time, ""),
                        Field::always("product_name", Shape::Text, ""),
                        Field::always("file_size", Shape::Integer, "In bytes."),
                    ]),
                    "",
                ),
            ]),
        ),
        Given::json(400, "MISSING_DOMAIN, MISSING_PRODUCT_ID, or the request can't be read.", FAILURE),
        Given::json(401, "MISSING_AUTHORIZATION, MISSING_LICENSE_KEY, INVALID_LICENSE.", FAILURE),
        Given::json(403, "INACTIVE_LICENSE, NO_DOMAIN_CONFIGURED, DOMAIN_MISMATCH, PRODUCT_ID_MISMATCH, or no download.", FAILURE),
        Given::json(404, "There is no file.", FAILURE),
        Given::json(413, "The body is too large.", FAILURE),
        Given::json(415, "The body is of an unknown type.", FAILURE),
        Given::json(429, "RATE_LIMIT_EXCEEDED.", FAILURE),
        Given::json(500, "Internal error.", FAILURE),
        Given::json(503, "The ledger or the store of files is not available.", FAILURE),
    ]);

pub async fn download(arrived: Arrived) -> Served<Response> {
    limited(arrived, Purpose::Download, async |Valid { app, headers, license, product, origin, .. }| {
        if !product.product.api_download {
            return Err(Refusal::DownloadDisabled);
        }
        let row = app.ledger.newest_release(product.product.number).await?.ok_or(Refusal::NoFile)?;
        let release = &row.release;
        if !app.files.has(release.object, release.size).await.map_err(files_failed)? {
            tracing::error!(release = release.number, "the file of a release is not in the store");
            return Err(Refusal::FileNotFound);
        }
        // 256 random bits: nothing to guess.
        let value = URL_SAFE_NO_PAD.encode(random::<32>().map_err(|error| internal(&error))?);
        let hash = app.ledger.vault().download_token_hash(&value);
        let command = DistributionCommand::IssueDownloadToken { license: license.license.number, release: release.number, hash };
        let outcome = app.ledger.execute(Request { command: Command::Distribution(command), origin, idempotency: None }).await?;
        let expires_at = match outcome.result {
            CommandResult::DownloadTokenIssued { expires_at, .. } => expires_at,
            // Changed since the checks above.
            CommandResult::LicenseRefused(_) => return Err(Refusal::InactiveLicense),
            CommandResult::ReleaseRefused(ReleaseError::NotPublished) => return Err(Refusal::NoFile),
            other => return Err(internal(&format_args!("the issue of a token came to {other:?}")).into()),
        };
        let download_url = format!("{}/api/license/download-file/{value}", base_url(&app, &headers));
        let issued = Issued { download_url, expires_at, product_name: &product.product.name, file_size: release.size };
        succeeded("Download token generated successfully", &issued)
    })
    .await
}

fn files_failed(error: FilesError) -> Refusal {
    match error {
        FilesError::Missing => Refusal::FileNotFound,
        error => {
            tracing::warn!(%error, "the store of files failed");
            Refusal::Other(Code::ServiceUnavailable)
        }
    }
}

/// What a request's token was found to be.
struct Transfer {
    ledger: Ledger,
    token: i64,
    license: i64,
    release: i64,
    claim: i64,
    origin: Origin,
}

pub const DOWNLOAD_FILE: Doc = Doc::new("Download the file of a token, once")
    .details("Simultaneous requests get one file between them; a transfer that fails can be begun again.")
    .guard(Guard::Nobody)
    .parameters(&[Parameter::required("token", Shape::Text, "The token, as in the link.").at(Place::Path)])
    .given(&[
        Given::new(200, "The file.", "*/*", Shape::Binary),
        Given::json(404, "The token is not good, or its file is gone.", FAILURE),
        Given::json(500, "Internal error.", FAILURE),
        Given::json(503, "The ledger or the store of files is not available.", FAILURE),
    ]);

pub async fn download_file(arrived: Arrived) -> Served<Response> {
    let value = arrived.path_parameter("token").to_owned();
    let Arrived { app, request, request_id, client_ip, .. } = arrived;
    let (head, _) = request.into_parts();
    let row = app.ledger.download_token(&app.ledger.vault().download_token_hash(&value)).await?;
    let token = row.map(|row| row.token).filter(|token| token.is_free(app.clock.now())).ok_or(Refusal::InvalidToken)?;
    let row = app.ledger.release(token.release).await?.ok_or(Refusal::FileNotFound)?;
    let release = row.release;
    if !app.files.has(release.object, release.size).await.map_err(files_failed)? {
        return Err(Refusal::FileNotFound);
    }
    if head.method == Method::HEAD {
        // A GET is told so by its claim.
        if !release.published {
            return Err(Refusal::FileNotFound);
        }
        return Ok(uncached(transfer::response(&release, &Part::Whole, Body::empty())));
    }
    // Opened before it is claimed: what can't be sent leaves the token as it is.
    let length = u64::try_from(release.size).unwrap_or_default();
    let content = match length {
        0 => futures::StreamExt::boxed(futures::stream::empty()),
        length => app.files.read(release.object, 0..length).await.map_err(files_failed)?,
    };
    let origin = Origin {
        actor: Actor::License(token.license),
        request_id,
        client_ip: Some(client_ip),
        operation: Some("license-service"),
        operator: None,
        reason: None,
    };
    let transfer = claim(&app, token.number, token.license, token.release, origin).await?;
    let (body, work) = transfer::body(content, length);
    tokio::spawn(transfer.run(work));
    Ok(uncached(transfer::response(&release, &Part::Whole, body)))
}

fn uncached(mut response: Response) -> Response {
    let headers: &mut HeaderMap = response.headers_mut();
    // A token is good for the whole file, once: there is nothing to come back for.
    headers.remove(header::ETAG);
    no_cache(headers);
    response
}

async fn claim(app: &Arc<App>, token: i64, license: i64, release: i64, origin: Origin) -> Served<Transfer> {
    let command = DistributionCommand::ClaimDownloadToken { token, license, release };
    let outcome = app.ledger.execute(Request { command: Command::Distribution(command), origin: origin.clone(), idempotency: None }).await?;
    match outcome.result {
        CommandResult::DownloadTokenClaimed { claim, .. } => Ok(Transfer { ledger: app.ledger.clone(), token, license, release, claim, origin }),
        CommandResult::DownloadTokenRefused(_) | CommandResult::LicenseRefused(_) => Err(Refusal::InvalidToken),
        CommandResult::ReleaseRefused(_) => Err(Refusal::FileNotFound),
        other => Err(internal(&format_args!("the claim of a token came to {other:?}")).into()),
    }
}

impl Transfer {
    /// Lets the file go, holding the claim meanwhile, and records how that ended.
    async fn run(self, work: impl Future<Output = Result<(), Broken>>) {
        let ended = {
            let mut work = std::pin::pin!(work);
            tokio::select! {
                ended = &mut work => ended.map_err(|error| error.to_string()),
                () = self.hold() => Err("the claim to its token ended".to_owned()),
            }
        };
        let (Self { token, license, release, claim, .. }, is_whole) = (&self, ended.is_ok());
        if let Err(error) = ended {
            tracing::debug!(error, "a download by token broke off");
        }
        let (token, license, release, claim) = (*token, *license, *release, *claim);
        let command = if is_whole {
            DistributionCommand::UseDownloadToken { token, license, release, claim }
        } else {
            DistributionCommand::GiveBackDownloadToken { token, license, claim }
        };
        let started = Instant::now();
        loop {
            match self.execute(command.clone()).await {
                Ok(_) => return,
                // Nobody else gets the file while the claim lasts; after that a token that can't be recorded as used is good again.
                Err(error) if started.elapsed() >= END_RECORDED_WITHIN => {
                    tracing::error!(%error, token, is_whole, "the end of a download by token could not be recorded");
                    return;
                }
                Err(_) => tokio::time::sleep(END_RECORDED_EVERY).await,
            }
        }
    }

    async fn execute(&self, command: DistributionCommand) -> Result<CommandResult, ExecuteError> {
        let request = Request { command: Command::Distribution(command), origin: self.origin.clone(), idempotency: None };
        self.ledger.execute(request).await.map(|outcome| outcome.result)
    }

    /// Renews the claim; resolves when that can't be done any more.
    async fn hold(&self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            let left = (CLAIM - CLAIM_MARGIN).saturating_sub(renewed.elapsed());
            let asked = Instant::now();
            let renewing = async {
                loop {
                    match self.execute(DistributionCommand::RenewDownloadToken { token: self.token, license: self.license, claim: self.claim }).await
                    {
                        Ok(CommandResult::DownloadTokenClaimed { .. }) => return true,
                        Ok(_) => return false,
                        Err(_) => tokio::time::sleep(END_RECORDED_EVERY).await,
                    }
                }
            };
            match tokio::time::timeout(left, renewing).await {
                Ok(true) => renewed = asked,
                Ok(false) | Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds() {
        #[derive(Serialize)]
        struct At(#[serde(serialize_with = "with_milliseconds")] Timestamp);
        assert_eq!(serde_json::to_string(&At(Timestamp(1_732_388_528_829_115))).unwrap(), "\"2024-11-23T19:02:08.829Z\"");
    }
}
