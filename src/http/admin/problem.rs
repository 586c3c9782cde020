//! Refusals of the administration as problem details (RFC 9457).

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::{
    codes::Code,
    envelope::{self, Answer},
};
use crate::{access::AccessError, ledger::ExecuteError, signer::SignerError, store::StoreError};

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// How a client shows who it is.
const BEARER: HeaderValue = HeaderValue::from_static("Bearer");

macro_rules! kinds {
    ($($name:ident = $status:literal $slug:literal $title:literal),+ $(,)?) => {
        /// The kinds of problems: each has a type, a title and a status of its own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $($name),+ }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            fn status(self) -> u16 {
                match self { $(Self::$name => $status),+ }
            }

            /// The type's URI, relative to the server: it leads to the page that explains the problems.
            #[must_use]
            pub fn uri(self) -> &'static str {
                match self { $(Self::$name => concat!("/docs#problem-", $slug)),+ }
            }

            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title),+ }
            }
        }
    };
}

kinds! {
    BadRequest = 400 "bad-request" "The request can't be read",
    InvalidApiKey = 401 "invalid-api-key" "The API key is missing or unknown",
    InactiveApiKey = 401 "inactive-api-key" "The API key is disabled or expired",
    NotPermitted = 403 "not-permitted" "The API key lacks the capability",
    AddressNotAllowed = 403 "address-not-allowed" "The API key can't be used from this address",
    AccessDenied = 403 "access-denied" "The address is on the block list",
    NotFound = 404 "not-found" "There is nothing here",
    MethodNotAllowed = 405 "method-not-allowed" "The method is not allowed here",
    NotAcceptable = 406 "not-acceptable" "The answer can't be had in that form",
    Conflict = 409 "conflict" "The present state doesn't allow it",
    IdempotencyConflict = 409 "idempotency-conflict" "The Idempotency-Key came with another request before",
    PayloadTooLarge = 413 "payload-too-large" "The body is too large",
    UnsupportedMediaType = 415 "unsupported-media-type" "The body's type is not supported",
    InvalidParameters = 422 "invalid-parameters" "Some parameters are not valid",
    TooManyRequests = 429 "too-many-requests" "Too many requests",
    InternalError = 500 "internal-error" "Something went wrong in the server",
    Unavailable = 503 "unavailable" "The service is not available at the moment",
}

/// What is wrong with one parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where it stands: a JSON Pointer into the body, or the name of a query parameter.
    pub pointer: String,
    pub detail: String,
}

/// A refusal before it is written.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after_s: Option<u64>,
}

/// A refusal, as RFC 9457 has it.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// Which kind of problem it is; relative to this server.
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    /// The request's id, as in the header X-Request-Id and in the log.
    instance: String,
    /// What is wrong with which parameter.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [FieldError],
}

impl Problem {
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), retry_after_s: None }
    }

    /// The thing that the path names is not there.
    #[must_use]
    pub fn not_found(what: &'static str) -> Self {
        Self::new(Kind::NotFound, format!("There is no such {what}."))
    }

    #[must_use]
    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Conflict, detail)
    }

    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new(Kind::InvalidParameters, "See errors for what is wrong with which parameter.") }
    }

    /// One parameter is wrong.
    #[must_use]
    pub fn invalid_field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { pointer: pointer.into(), detail: detail.into() }])
    }

    /// Says nothing: what went wrong is in the log already.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(Kind::InternalError, "The server's log says what.")
    }

    /// It may work later.
    #[must_use]
    pub fn lacks(capability: &str) -> Self {
        Self::new(Kind::NotPermitted, format!("The API key lacks the capability {capability}."))
    }

    #[must_use]
    pub fn unavailable(detail: &'static str) -> Self {
        Self::new(Kind::Unavailable, detail)
    }

    /// An outcome that the command can't have.
    #[must_use]
    pub fn unexpected(result: &dyn std::fmt::Debug) -> Self {
        tracing::error!(?result, "a command of the administration came to something else");
        Self::internal()
    }

    #[must_use]
    pub fn into_response(self, request_id: Uuid) -> Response {
        let status = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = ProblemBody {
            r#type: self.kind.uri(),
            title: self.kind.title(),
            status: status.as_u16(),
            detail: &self.detail,
            instance: format!("urn:uuid:{request_id}"),
            errors: &self.errors,
        };
        // Texts and numbers alone: this can't fail.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = envelope::plain(status, PROBLEM_JSON, body, request_id);
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, BEARER);
        }
        response
    }
}

impl From<Answer> for Problem {
    /// What the parts that all interfaces share came to.
    fn from(answer: Answer) -> Self {
        let kind = match answer.code {
            Code::InvalidApiKey => Kind::InvalidApiKey,
            Code::InactiveApiKey => Kind::InactiveApiKey,
            Code::InsufficientPermissions => Kind::NotPermitted,
            Code::IpNotAllowed => Kind::AddressNotAllowed,
            Code::AccessDenied => Kind::AccessDenied,
            Code::BadRequest => Kind::BadRequest,
            Code::NotFound => Kind::NotFound,
            Code::MethodNotAllowed => Kind::MethodNotAllowed,
            Code::IdempotencyConflict => Kind::IdempotencyConflict,
            Code::PayloadTooLarge => Kind::PayloadTooLarge,
            Code::UnsupportedMediaType => Kind::UnsupportedMediaType,
            Code::TooManyRequests => Kind::TooManyRequests,
            Code::ServiceUnavailable => Kind::Unavailable,
            _ => Kind::InternalError,
        };
        let detail = answer.reason().map_or_else(|| Cow::Borrowed(answer.code.message()), Cow::Owned);
        Self { retry_after_s: answer.retry_after_s, ..Self::new(kind, detail) }
    }
}

macro_rules! through_answer {
    ($($error:ty),+) => {
        $(impl From<$error> for Problem {
            fn from(error: $error) -> Self {
                Answer::from(error).into()
            }
        })+
    };
}

through_answer!(StoreError, ExecuteError, SignerError, AccessError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answers_reason_becomes_the_detail() {
        let problem = Problem::from(Answer::bad_request("a/b is \"wrong\""));
        assert_eq!((problem.kind, &*problem.detail), (Kind::BadRequest, "a/b is \"wrong\""));
        let problem = Problem::from(Answer::new(Code::InvalidApiKey));
        assert_eq!((problem.kind, &*problem.detail), (Kind::InvalidApiKey, "Invalid API Key"));
        assert_eq!(Problem::from(Answer::too_many_requests(7)).retry_after_s, Some(7));
    }

    #[test]
    fn every_kind_has_its_own_type() {
        for (at, kind) in Kind::ALL.iter().enumerate() {
            assert!(Kind::ALL[..at].iter().all(|other| other.uri() != kind.uri()), "{}", kind.uri());
            assert!((400..600).contains(&kind.status()));
        }
    }
}
