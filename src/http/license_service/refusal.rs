//! What a request is refused with: the one table of them, mirroring `license-service.json`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;

use super::no_cache;
use crate::{
    http::{codes::Code, envelope::Answer},
    ledger::ExecuteError,
    rate::Standing,
    store::StoreError,
};

pub type Served<T> = Result<T, Refusal>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    MissingAuthorization,
    MissingLicenseKey,
    InvalidLicense,
    MissingDomain,
    MissingProductId,
    DomainMismatch,
    ProductIdMismatch,
    NoDomainConfigured,
    InactiveLicense,
    RateLimitExceeded(Standing),
    DownloadDisabled,
    NoFile,
    FileNotFound,
    InvalidToken,
    /// No refusal of the contract's: what any HTTP service may say.
    Other(Code),
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::MissingAuthorization | Self::MissingLicenseKey | Self::InvalidLicense => StatusCode::UNAUTHORIZED,
            Self::MissingDomain | Self::MissingProductId => StatusCode::BAD_REQUEST,
            Self::DomainMismatch | Self::ProductIdMismatch | Self::NoDomainConfigured | Self::InactiveLicense | Self::DownloadDisabled => {
                StatusCode::FORBIDDEN
            }
            Self::RateLimitExceeded(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NoFile | Self::FileNotFound | Self::InvalidToken => StatusCode::NOT_FOUND,
            Self::Other(code) => code.status(),
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::MissingAuthorization => "Authorization header missing or invalid format",
            Self::MissingLicenseKey => "License key is required",
            Self::InvalidLicense => "Invalid license key",
            Self::MissingDomain => "Domain is required",
            Self::MissingProductId => "Product ID is required",
            Self::DomainMismatch => "Domain mismatch. License not valid for this domain.",
            Self::ProductIdMismatch => "Product ID mismatch. License not valid for this product.",
            Self::NoDomainConfigured => "No domain configured for this license",
            Self::InactiveLicense => "License is inactive or suspended",
            Self::RateLimitExceeded(_) => "Too many requests. Please try again later.",
            Self::DownloadDisabled => "API download is disabled for this product",
            Self::NoFile => "No downloadable file available for this product",
            Self::FileNotFound => "Product file not found",
            Self::InvalidToken => "Invalid or expired download token",
            Self::Other(code) => code.message(),
        }
    }

    pub fn error_code(self) -> Option<&'static str> {
        match self {
            Self::MissingAuthorization => Some("MISSING_AUTHORIZATION"),
            Self::MissingLicenseKey => Some("MISSING_LICENSE_KEY"),
            Self::InvalidLicense => Some("INVALID_LICENSE"),
            Self::MissingDomain => Some("MISSING_DOMAIN"),
            Self::MissingProductId => Some("MISSING_PRODUCT_ID"),
            Self::DomainMismatch => Some("DOMAIN_MISMATCH"),
            Self::ProductIdMismatch => Some("PRODUCT_ID_MISMATCH"),
            Self::NoDomainConfigured => Some("NO_DOMAIN_CONFIGURED"),
            Self::InactiveLicense => Some("INACTIVE_LICENSE"),
            Self::RateLimitExceeded(_) => Some("RATE_LIMIT_EXCEEDED"),
            Self::DownloadDisabled | Self::NoFile | Self::FileNotFound | Self::InvalidToken | Self::Other(_) => None,
        }
    }

    pub fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Failure {
            success: bool,
            message: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            error_code: Option<&'static str>,
        }
        let failure = Failure { success: false, message: self.message(), error_code: self.error_code() };
        let mut response = json(self.status(), &failure).unwrap_or_default();
        if self == Self::Other(Code::ServiceUnavailable) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A JSON answer that nobody keeps.
pub fn json(status: StatusCode, body: &impl Serialize) -> Served<Response> {
    let body = serde_json::to_vec(body).map_err(|error| Refusal::from(crate::http::envelope::internal(&error)))?;
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    no_cache(response.headers_mut());
    Ok(response)
}

/// What the rest of the layer answers with; here its code alone counts.
impl From<Answer> for Refusal {
    fn from(answer: Answer) -> Self {
        Self::Other(answer.code)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Answer::from(error).into()
    }
}

impl From<ExecuteError> for Refusal {
    fn from(error: ExecuteError) -> Self {
        Answer::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_contracts() {
        let file: serde_json::Value = serde_json::from_str(include_str!("../../../tests/fixtures/license-service.json")).unwrap();
        let standing = Standing { limit: 60, remaining: 0, reset_at: 0, retry_after: 1 };
        let all = [
            Refusal::MissingAuthorization,
            Refusal::MissingLicenseKey,
            Refusal::InvalidLicense,
            Refusal::MissingDomain,
            Refusal::MissingProductId,
            Refusal::DomainMismatch,
            Refusal::ProductIdMismatch,
            Refusal::NoDomainConfigured,
            Refusal::InactiveLicense,
            Refusal::RateLimitExceeded(standing),
            Refusal::DownloadDisabled,
            Refusal::NoFile,
            Refusal::FileNotFound,
            Refusal::InvalidToken,
        ];
        let rows = file["errors"].as_array().unwrap();
        assert_eq!(rows.len(), all.len());
        for (row, refusal) in rows.iter().zip(all) {
            assert_eq!(row["http_status"], refusal.status().as_u16(), "{refusal:?}");
            assert_eq!(row["message"], refusal.message());
            assert_eq!(row["error_code"].as_str(), refusal.error_code());
        }
    }
}
