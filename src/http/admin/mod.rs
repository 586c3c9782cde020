//! The administration under `/admin/v1`: JSON in and out, problem details where it refuses, pages with cursors. One file per
//! resource; a handler takes an [`AdminCall`] and what it asked for ([`Input`]), and gives a [`Reply`].

pub mod api_keys;
pub mod block_list;
mod check;
pub mod contracts;
mod cursor;
pub mod deliveries;
pub mod generators;
mod input;
pub mod key_pairs;
pub mod licenses;
mod problem;
pub mod products;
pub mod releases;
pub mod settings;
pub mod subjects;
pub mod webhook_endpoints;

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use keyledger_events::values::short_text;

use super::{
    body,
    codes::Code,
    endpoint::Arrived,
    envelope::Answer,
    extract::{bearer, idempotency_key},
    operation::Operation,
};
use crate::{
    access::AccessError,
    app::App,
    ledger::{Actor, Command, Forget, Idempotency, Origin, Outcome, Request as LedgerRequest, SubjectName},
};

pub use check::Check;
pub use cursor::{Listing, Wanted};
pub use input::{Created, Described, Done, Input, InputPlace, Json, Page, Paged, Query, Raw, Reply, Shown};
pub use licenses::LicenseStatus;
pub use problem::{FieldError, Kind, Problem, ProblemBody};

/// What a handler of the administration ends with.
pub type Replied<T> = Result<T, Problem>;

/// Header in which an operator says why, for the history.
pub const REASON: &str = "x-reason";

/// Where a call needs no API key, it has none: no key has this number.
const NOBODY: i64 = 0;

/// The capability that reads alone.
#[must_use]
pub fn to_read(capability: &str) -> String {
    format!("{capability}:read")
}

/// One permitted call of the administration.
pub struct AdminCall {
    pub app: Arc<App>,
    pub api_key: i64,
    origin: Origin,
    path: Vec<(String, String)>,
    idempotency: Option<Idempotency>,
}

impl AdminCall {
    /// Checks who asks, then reads what is asked.
    ///
    /// # Errors
    /// The problem with a request that isn't permitted or can't be read.
    pub async fn receive<I: Input>(arrived: Arrived, operation: &Operation) -> Replied<(Self, I)> {
        let Arrived { app, request, request_id, client_ip, path } = arrived;
        let (head, body) = request.into_parts();
        let is_open_to_all = operation.may_be_public() && app.evidence.is_public() && !head.headers.contains_key(header::AUTHORIZATION);
        let permitted = async {
            if is_open_to_all {
                if app.access.blocked_by(client_ip, None).await?.is_some() {
                    return Err(Problem::from(Answer::new(Code::AccessDenied)));
                }
                return Ok(NOBODY);
            }
            let presented = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
            let capability = operation.capability();
            let reading = to_read(capability);
            let capabilities = if operation.has_reading_capability() { vec![capability, reading.as_str()] } else { vec![capability] };
            let api_key = match app.access.check_key_for(presented, &capabilities, client_ip, app.clock.now()).await {
                Err(AccessError::NotPermitted) => return Err(Problem::lacks(capability)),
                checked => checked?,
            };
            if let Some(wait_s) = app.limits.key_over(api_key) {
                return Err(Problem::from(Answer::too_many_requests(wait_s)));
            }
            if app.access.blocked_by(client_ip, None).await?.is_some() {
                return Err(Problem::from(Answer::new(Code::AccessDenied)));
            }
            Ok(api_key)
        };
        let api_key = match permitted.await {
            Ok(api_key) => api_key,
            Err(problem) => {
                body::discard(body, &head.headers).await;
                return Err(problem);
            }
        };
        let reason = reason(&head.headers)?;
        let key = if operation.is_get() { None } else { idempotency_key(&head.headers)?.map(<[u8]>::to_vec) };
        let (input, compared) = I::read(&head, body, operation.body_max).await?;
        let idempotency = key.map(|key| {
            let (method, path) = (operation.verb.as_str().as_bytes(), head.uri.path().as_bytes());
            Idempotency {
                id: app.ledger.vault().request_hash(&[&api_key.to_be_bytes(), method, path, &key]),
                parameters: app.ledger.vault().request_hash(&[&compared]),
            }
        });
        let origin = Origin {
            actor: Actor::ApiKey(api_key),
            request_id,
            client_ip: Some(client_ip),
            operation: Some(operation.capability()),
            operator: None,
            reason,
        };
        Ok((Self { app, api_key, origin, path, idempotency }, input))
    }

    /// Whether it came without an API key, to what the configuration opens to everybody.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.api_key == NOBODY
    }

    /// A number that the path names; what is no number names nothing.
    ///
    /// # Errors
    /// When it is none.
    pub fn number(&self, name: &'static str) -> Replied<i64> {
        let text = self.text(name);
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits).ok_or_else(|| Problem::not_found(name))
    }

    /// A text that the path names, decoded.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.path.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
    }

    /// Whether the API key has another capability too: one that shows more.
    ///
    /// # Errors
    /// When the keys can't be read.
    pub async fn may(&self, capability: &str) -> Replied<bool> {
        Ok(self.app.access.allows(self.api_key, capability).await?)
    }

    /// Whether the call would be permitted now: for those that go on for long.
    ///
    /// # Errors
    /// When the keys can't be read.
    pub async fn is_still_permitted(&self, capability: &str) -> Replied<bool> {
        let now = self.app.clock.now();
        Ok(self.app.access.is_permitted(self.api_key, capability, self.origin.client_ip, now).await?)
    }

    /// Who asks, and under which idempotency key, for what executes commands itself. `compared` is what the key compares.
    #[must_use]
    pub fn request_parts(&self, compared: &[u8]) -> (Origin, Option<Idempotency>) {
        let parameters = self.app.ledger.vault().request_hash(&[compared]);
        let idempotency = self.idempotency.as_ref().map(|idempotency| Idempotency { parameters, id: idempotency.id.clone() });
        (self.origin.clone(), idempotency)
    }

    /// Executes the call's command durably.
    ///
    /// # Errors
    /// Why there is no outcome.
    pub async fn execute(&self, command: Command) -> Replied<Outcome> {
        let request = LedgerRequest { command, origin: self.origin.clone(), idempotency: self.idempotency.clone() };
        Ok(self.app.ledger.execute(request).await?)
    }

    /// Has a data subject forgotten.
    ///
    /// # Errors
    /// Why there is no outcome.
    pub async fn forget(&self, subject: SubjectName) -> Replied<Outcome> {
        let forget = Forget { subject, origin: self.origin.clone(), idempotency: self.idempotency.clone() };
        Ok(self.app.ledger.forget(forget).await?)
    }
}

fn reason(headers: &HeaderMap) -> Replied<Option<String>> {
    let Some(value) = headers.get(REASON) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| Problem::new(Kind::BadRequest, "X-Reason must be UTF-8."))?;
    short_text(text).map(|text| Some(text.to_owned())).map_err(|error| Problem::new(Kind::BadRequest, format!("X-Reason {error}.")))
}
