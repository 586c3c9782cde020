//! API keys: listed without their values, made, disabled.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use keyledger_events::{Timestamp, api_key::ApiKeyError};
use keyledger_projections::ApiKeyRow;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AdminCall, Check, Created, Json, Kind, Listing, Paged, Problem, Query, Replied, Shown};
use crate::{
    http::{capabilities, doc::Doc},
    ledger::{Command, CommandResult},
    vault::random,
};

/// Networks that one key may be bound to; the whole key must fit an entry of the ledger.
const ALLOW_IPS_MAX: usize = 100;

/// Whether a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApiKeyState {
    Active,
    Expired,
    Disabled,
}

/// An API key, without its value.
#[derive(Serialize, ToSchema)]
pub struct ApiKey {
    pub number: i64,
    pub id: uuid::Uuid,
    pub name: String,
    pub state: ApiKeyState,
    /// What it may do; `*` is everything.
    pub capabilities: Vec<String>,
    /// Networks it may be used from; none is anywhere.
    pub allow_ips: Vec<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// Whether it is the one of the server's configuration.
    pub bootstrap: bool,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl ApiKey {
    fn new(row: ApiKeyRow, now: Timestamp) -> Self {
        let key = row.api_key;
        let state = match (key.disabled, key.is_active(now)) {
            (true, _) => ApiKeyState::Disabled,
            (false, true) => ApiKeyState::Active,
            (false, false) => ApiKeyState::Expired,
        };
        Self {
            number: key.number,
            id: row.id,
            state,
            name: key.name,
            capabilities: key.capabilities,
            allow_ips: key.allow_ips,
            expires_at: key.expires_at,
            bootstrap: key.bootstrap,
            created_at: row.created_at,
        }
    }
}

/// An API key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// What it is for.
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    /// What it may do: the last part of an operation's path, `admin:…`, or `*` for everything. Never more than the caller's key.
    #[schema(min_items = 1)]
    pub capabilities: Vec<String>,
    /// Networks it may be used from; without any, from anywhere.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub allow_ips: Vec<String>,
    /// When it stops working: RFC 3339, or YYYY-MM-DD (UTC).
    #[serde(default)]
    pub expires_at: Option<String>,
}

/// A new API key, with its value this once.
#[derive(Serialize, ToSchema)]
pub struct IssuedApiKey {
    #[serde(flatten)]
    pub api_key: ApiKey,
    /// Keep it now: it is not stored and can't be shown again.
    pub value: String,
}

pub const LIST: Doc = Doc::new("API keys").details("In ascending number, disabled ones too.");

pub async fn list(call: AdminCall, Query(query): Query<Listing>) -> Replied<Paged<ApiKey>> {
    let wanted = query.wanted()?;
    let rows = call.app.ledger.list_api_keys(wanted.after, wanted.rows()).await?;
    let now = call.app.clock.now();
    Ok(Paged(wanted.page(rows, |row| row.api_key.number, |row| ApiKey::new(row, now))))
}

pub const SHOW: Doc = Doc::new("An API key");

pub async fn show(call: AdminCall, (): ()) -> Replied<Shown<ApiKey>> {
    let number = call.number("api_key")?;
    Ok(Shown(shown(&call, number).await?))
}

async fn shown(call: &AdminCall, number: i64) -> Replied<ApiKey> {
    let row = call.app.ledger.api_key(number).await?.ok_or_else(|| Problem::not_found("API key"))?;
    Ok(ApiKey::new(row, call.app.clock.now()))
}

pub const CREATE: Doc = Doc::new("Make an API key").details("Its value is in the answer and nowhere else.");

pub async fn create(call: AdminCall, Json(new): Json<NewApiKey>) -> Replied<Created<IssuedApiKey>> {
    let mut check = Check::default();
    let name = check.short("/name", &new.name);
    if new.capabilities.is_empty() {
        check.wrong("/capabilities", "must not be empty.");
    }
    let mut wanted: Vec<String> = Vec::new();
    for (at, capability) in new.capabilities.into_iter().enumerate() {
        if capability != "*" && !capabilities().contains(&capability) {
            check.wrong(format!("/capabilities/{at}"), "is no capability.");
        } else if !wanted.contains(&capability) {
            wanted.push(capability);
        }
    }
    if new.allow_ips.len() > ALLOW_IPS_MAX {
        check.wrong("/allow_ips", format!("must be at most {ALLOW_IPS_MAX}."));
    }
    let networks = new.allow_ips.iter().take(ALLOW_IPS_MAX).enumerate();
    let allow_ips: Vec<String> =
        networks.filter_map(|(at, text)| check.network(format!("/allow_ips/{at}"), text)).map(|network| network.to_string()).collect();
    let expires_at = new.expires_at.and_then(|text| check.time("/expires_at", &text));
    check.end()?;
    let own = call.app.ledger.api_key(call.api_key).await?.ok_or_else(|| Problem::not_found("API key"))?.api_key;
    if let Some(more) = wanted.iter().find(|capability| !may_give(&own, capability)) {
        return Err(Problem::new(Kind::NotPermitted, format!("The caller's key may not give what it lacks itself: {more}.")));
    }

    // 256 random bits: nothing to guess.
    let salt = random::<32>().map_err(|error| Problem::unexpected(&error))?;
    let hmac = call.app.ledger.vault().api_key_hash(&call.app.ledger.vault().api_key_value(&salt));
    let command = Command::CreateApiKey { name, capabilities: wanted, allow_ips, expires_at, hmac, salt: URL_SAFE_NO_PAD.encode(salt) };
    let outcome = call.execute(command).await?;
    match outcome.result {
        CommandResult::ApiKeyCreated { number, salt } => {
            // Under an idempotency key it is the salt of the first call.
            let salt = URL_SAFE_NO_PAD.decode(salt).map_err(|error| Problem::unexpected(&error))?;
            let value = call.app.ledger.vault().api_key_value(&salt);
            let body = IssuedApiKey { api_key: shown(&call, number).await?, value };
            Ok(Created { location: format!("/admin/v1/api-keys/{number}"), body })
        }
        other => Err(Problem::unexpected(&other)),
    }
}

/// What may write may read.
fn may_give(own: &keyledger_events::api_key::ApiKey, capability: &str) -> bool {
    own.allows(capability) || capability.strip_suffix(":read").is_some_and(|writing| own.allows(writing))
}

pub const DISABLE: Doc = Doc::new("Disable an API key for good").details("It stays in the list. Servers notice within a second.");

pub async fn disable(call: AdminCall, (): ()) -> Replied<Shown<ApiKey>> {
    let number = call.number("api_key")?;
    let outcome = call.execute(Command::DisableApiKey { number }).await?;
    match outcome.result {
        CommandResult::ApiKeyDisabled => Ok(Shown(shown(&call, number).await?)),
        CommandResult::ApiKeyRefused(ApiKeyError::Unknown) => Err(Problem::not_found("API key")),
        CommandResult::ApiKeyRefused(ApiKeyError::Disabled) => Err(Problem::conflict("The API key is disabled already.")),
        other => Err(Problem::unexpected(&other)),
    }
}
