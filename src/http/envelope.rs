//! Answers and the signed envelope around them:
//! `{"response":{…},"response_base64":"…","private_key_used":"product"|"global","signature":"…"}`.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::PoisonError;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use keyledger_events::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{codes::Code, php_json, receipt};
use crate::{
    access::AccessError,
    app::App,
    ledger::{Command, CommandResult, ExecuteError, Outcome, Receipt, Refusal},
    signer::SignerError,
    store::StoreError,
};

/// How long a client should wait before it asks again, in seconds: the database is looked for more often than that.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a request ends with. What ends it early is an answer too, so `?` passes it on.
pub type Answered<T = Answer> = Result<T, Answer>;

/// An answer before it is signed.
#[derive(Debug)]
pub struct Answer {
    pub code: Code,
    /// The members between `message` and `timestamp`, each written as `,"name":value`.
    fields: Vec<u8>,
    /// The product's key pair that signs; `None` is the global one.
    key_pair: Option<i64>,
    /// Seconds after which the client may ask again, where that is known.
    pub retry_after_s: Option<u64>,
    /// The event that this is about, where the caller wants to know.
    receipt: Option<Receipt>,
}

impl Answer {
    /// An answer signed by the global key.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self { code, fields: Vec::new(), key_pair: None, retry_after_s: None, receipt: None }
    }

    /// Has a product's key pair sign, where there is one.
    #[must_use]
    pub fn signed_by(self, key_pair: Option<i64>) -> Self {
        Self { key_pair, ..self }
    }

    /// Names the event that this is about.
    #[must_use]
    pub fn with_receipt(self, receipt: Option<Receipt>) -> Self {
        Self { receipt, ..self }
    }

    /// Adds a member after those there are. The name must need no escaping.
    ///
    /// # Errors
    /// An internal error when the value can't be JSON.
    pub fn field(mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> Answered {
        self.fields.extend_from_slice(b",\"");
        self.fields.extend_from_slice(name.as_bytes());
        self.fields.extend_from_slice(b"\":");
        php_json::write(&mut self.fields, value).map_err(|error| internal(&error))?;
        Ok(self)
    }

    /// An answer that is no business outcome, with what is wrong, for a person.
    #[must_use]
    pub fn error(code: Code, error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code).field("error", &error.into()).unwrap_or_else(|early| early)
    }

    #[must_use]
    pub fn bad_request(error: impl Into<Cow<'static, str>>) -> Self {
        Self::error(Code::BadRequest, error)
    }

    /// More requests than the configuration lets through.
    #[must_use]
    pub fn too_many_requests(retry_after_s: u64) -> Self {
        let answer = Self::error(Code::TooManyRequests, "Too many requests; Retry-After says how many seconds to wait.");
        Self { retry_after_s: Some(retry_after_s), ..answer }
    }

    #[must_use]
    pub fn unavailable(error: impl Into<Cow<'static, str>>) -> Self {
        Self::error(Code::ServiceUnavailable, error)
    }

    /// What is wrong, for a person, where this is no business outcome.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Reason {
            error: String,
        }
        let members = self.fields.strip_prefix(b",")?;
        serde_json::from_slice::<Reason>(&[b"{", members, b"}"].concat()).ok().map(|reason| reason.error)
    }

    /// The command that has the ledger remember this answer under the call's idempotency key.
    ///
    /// # Errors
    /// An internal error when the members are not text, which JSON always is.
    pub fn into_refusal(self) -> Answered<Command> {
        let details = String::from_utf8(self.fields).map_err(|error| internal(&error))?;
        Ok(Command::Refuse { refusal: Refusal { code: self.code.number(), details }, key_pair: self.key_pair })
    }

    /// The answer that was remembered.
    ///
    /// # Errors
    /// An internal error when it is no refusal.
    pub fn from_refusal(outcome: Outcome) -> Answered {
        let CommandResult::Refused(refusal) = outcome.result else {
            return Err(internal(&"a refusal came to something else"));
        };
        let code = Code::ALL.iter().copied().find(|code| code.number() == refusal.code);
        let code = code.ok_or_else(|| internal(&format_args!("code {} is none of ours", refusal.code)))?;
        Ok(Self { fields: refusal.details.into_bytes(), key_pair: outcome.key_pair, ..Self::new(code) })
    }

    /// The compact JSON of `response`, as it is signed.
    fn response(&self, timestamp: i64) -> io::Result<Vec<u8>> {
        let mut json = Vec::with_capacity(self.fields.len() + 160);
        json.extend_from_slice(b"{\"code\":");
        php_json::write(&mut json, &self.code)?;
        json.extend_from_slice(b",\"message\":");
        php_json::write(&mut json, self.code.message())?;
        json.extend_from_slice(&self.fields);
        write!(json, ",\"timestamp\":{timestamp}}}")?;
        Ok(json)
    }
}

/// What went wrong inside goes to the log, never to the client.
pub fn internal(error: &dyn std::fmt::Display) -> Answer {
    tracing::error!(%error, "a request failed");
    Answer::error(Code::InternalError, "Something went wrong in the server; its log says what.")
}

impl From<StoreError> for Answer {
    fn from(error: StoreError) -> Self {
        match error {
            // What is unsuitable was suitable when the server started, and is when somebody has set it right.
            StoreError::Unavailable(reason) | StoreError::Unsuitable(reason) => {
                tracing::warn!(reason, "the database is not available");
                Self::unavailable("The database is not available at the moment.")
            }
            error => internal(&error),
        }
    }
}

impl From<ExecuteError> for Answer {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Overloaded => Self::unavailable("Too many requests wait already; nothing was done."),
            ExecuteError::IdempotencyMismatch => Self::error(Code::IdempotencyConflict, "This Idempotency-Key came with other parameters before."),
            ExecuteError::Unavailable(reason) => {
                tracing::warn!(reason, "the ledger is not available");
                Self::unavailable("The ledger is not available at the moment; nothing was done.")
            }
            ExecuteError::Unknown(reason) => {
                tracing::error!(reason, "the fate of a command is not known");
                Self::unavailable("Whether this was done is not known; a repetition with the same Idempotency-Key is safe.")
            }
            ExecuteError::Again { .. } => Self::unavailable("The generator changes too fast; nothing was done."),
            ExecuteError::TooLarge => Self::bad_request("The parameters together are larger than an entry of the ledger may be."),
            ExecuteError::Internal(error) => internal(&error),
        }
    }
}

impl From<SignerError> for Answer {
    fn from(error: SignerError) -> Self {
        match error {
            SignerError::Store(error) => error.into(),
            SignerError::Import(error) => Self::bad_request(format!("The key pair can't be taken over: {error}.")),
            error => internal(&error),
        }
    }
}

impl From<AccessError> for Answer {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Invalid => Self::new(Code::InvalidApiKey),
            AccessError::Inactive => Self::new(Code::InactiveApiKey),
            AccessError::IpNotAllowed => Self::new(Code::IpNotAllowed),
            AccessError::NotPermitted => Self::new(Code::InsufficientPermissions),
            AccessError::Unavailable(error) => error.into(),
        }
    }
}

/// Signs an answer and writes it down. Gives the code too: a signature that fails makes another answer of it.
pub async fn respond(app: &App, answer: Answer, request_id: Uuid) -> (Response, Code) {
    let (retry_after_s, receipt) = (answer.retry_after_s, answer.receipt);
    let (code, body) =
        if answer.code == Code::TooManyRequests { (answer.code, sealed_refusal(app, &answer).await) } else { sealed(app, answer).await };
    let mut response = plain(code.status(), JSON, body, request_id);
    if let Some(seconds) = retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    if let Some(receipt) = receipt {
        let newest = app.evidence.latest();
        receipt::stamp(response.headers_mut(), receipt, newest.as_ref().map(|newest| newest.note.as_str()));
    }
    (response, code)
}

async fn sealed(app: &App, answer: Answer) -> (Code, Bytes) {
    let (code, body) = match seal(app, &answer).await {
        Ok(body) => (answer.code, body),
        Err(instead) => {
            let body = match seal(app, &instead).await {
                Ok(body) => body,
                // Not even the global key signs: better an answer without a signature than none.
                Err(_) => {
                    instead.response(timestamp(app.clock.now())).map(|json| envelope(&json, &BASE64.encode(&json), None, "")).unwrap_or_default()
                }
            };
            (instead.code, body)
        }
    };
    (code, body.into())
}

/// The answer to one request too many is the same for all within a second: a flood of them costs one signature a second.
async fn sealed_refusal(app: &App, answer: &Answer) -> Bytes {
    let now = timestamp(app.clock.now());
    let known = || app.limits_answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let (at, body) = known()
        && at == now
        && !body.is_empty()
    {
        return body;
    }
    match seal(app, answer).await {
        Ok(body) => {
            let body = Bytes::from(body);
            *app.limits_answer.lock().unwrap_or_else(PoisonError::into_inner) = (now, body.clone());
            body
        }
        Err(_) => Bytes::new(),
    }
}

/// A response without a signature.
pub fn plain(status: StatusCode, content_type: HeaderValue, body: impl Into<Body>, request_id: Uuid) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER_S);
    }
    stamp(headers, request_id);
    response
}

/// Names the request in its answer.
pub fn stamp(headers: &mut HeaderMap, request_id: Uuid) {
    let mut hyphenated = [0; uuid::fmt::Hyphenated::LENGTH];
    if let Ok(value) = HeaderValue::from_str(request_id.hyphenated().encode_lower(&mut hyphenated)) {
        headers.insert(X_REQUEST_ID, value);
    }
}

/// The time is the one at which the answer is given: a repeated answer is stamped afresh.
fn timestamp(now: Timestamp) -> i64 {
    now.seconds()
}

/// The signed envelope of an answer that is sent elsewhere than to a caller.
///
/// # Errors
/// When it can't be signed.
pub async fn envelope_of(app: &App, answer: &Answer) -> Answered<Vec<u8>> {
    seal(app, answer).await
}

async fn seal(app: &App, answer: &Answer) -> Answered<Vec<u8>> {
    let json = answer.response(timestamp(app.clock.now())).map_err(|error| internal(&error))?;
    let base64 = BASE64.encode(&json);
    let signature = app.signer.sign(answer.key_pair, base64.as_bytes()).await?;
    Ok(envelope(&json, &base64, answer.key_pair, &signature))
}

fn envelope(json: &[u8], base64: &str, key_pair: Option<i64>, signature: &str) -> Vec<u8> {
    let used = if key_pair.is_some() { "product" } else { "global" };
    let parts: [&[u8]; 9] = [
        b"{\"response\":",
        json,
        b",\"response_base64\":\"",
        base64.as_bytes(),
        b"\",\"private_key_used\":\"",
        used.as_bytes(),
        b"\",\"signature\":\"",
        signature.as_bytes(),
        b"\"}",
    ];
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(answer: &Answer) -> String {
        String::from_utf8(answer.response(1_709_000_040).unwrap()).unwrap()
    }

    #[test]
    fn code_and_message_come_first_and_the_time_last() {
        let answer = Answer::new(Code::LicenseKeysCreationResult).field("created", &3).unwrap().field("duplicate", &1).unwrap();
        let expected = r#"{"code":900,"message":"License keys creation result","created":3,"duplicate":1,"timestamp":1709000040}"#;
        assert_eq!(response(&answer), expected);
        let deactivated = response(&Answer::new(Code::LicenseDeactivated));
        assert_eq!(deactivated, r#"{"code":"400","message":"License key deactivated","timestamp":1709000040}"#);
        let error = response(&Answer::bad_request("a/b is wrong"));
        assert_eq!(error, r#"{"code":9400,"message":"Bad request","error":"a\/b is wrong","timestamp":1709000040}"#);
    }

    #[test]
    fn the_envelope_names_the_kind_of_key() {
        let written = |key_pair| String::from_utf8(envelope(b"{}", "e30=", key_pair, "c2ln")).unwrap();
        assert_eq!(written(Some(7)), r#"{"response":{},"response_base64":"e30=","private_key_used":"product","signature":"c2ln"}"#);
        assert!(written(None).contains(r#""private_key_used":"global""#));
    }
}
