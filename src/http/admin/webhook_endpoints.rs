//! Web hook endpoints: made, changed, paused, begun anew; where each has come to, and what came of its calls.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use keyledger_events::{
    Timestamp,
    webhook_endpoint::{EndpointFields, MaySend, PauseReason, WantedEvents, WebhookEndpointCommand, WebhookEndpointError},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AdminCall, Check, Created, Done, Json, Listing, Paged, Problem, Query, Replied, Shown, Wanted};
use crate::{
    feed::Filter,
    http::{doc::Doc, feed},
    ledger::{Command, CommandResult, WebhookAttempt, WebhookEndpointView},
    vault::random,
    webhooks::endpoint_url,
};

/// What administers them, the secrets included.
pub const CAPABILITY: &str = "admin:webhooks";

/// Whether an endpoint is told of events.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    Active,
    /// An operator wants it so.
    Paused,
    /// Paused because one event could not be delivered for three days.
    Failing,
    /// Paused because the endpoint answered 410.
    Gone,
}

/// A web hook endpoint.
#[derive(Serialize, ToSchema)]
pub struct WebhookEndpoint {
    pub number: i64,
    pub id: uuid::Uuid,
    pub url: String,
    /// The types of events that it is told of; none is all.
    pub types: Vec<String>,
    /// Told of events about this product alone.
    pub product: Option<i64>,
    /// Told of events about this license alone.
    pub license: Option<i64>,
    /// Whether license and contract keys are sent whole.
    pub license_keys: bool,
    /// Whether personal data is sent open.
    pub personal_data: bool,
    pub state: EndpointState,
    /// The last event up to which it was told of all.
    pub position: i64,
    /// How many events are behind that one, wanted or not.
    pub lag: i64,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl WebhookEndpoint {
    fn new(view: WebhookEndpointView) -> Self {
        let (row, endpoint) = (view.row.clone(), view.row.endpoint);
        let EndpointFields { filter, license_keys, personal_data, url } = endpoint.fields;
        Self {
            number: endpoint.number,
            id: row.id,
            url,
            types: filter.types,
            product: filter.product,
            license: filter.license,
            license_keys,
            personal_data,
            state: match endpoint.paused {
                None => EndpointState::Active,
                Some(PauseReason::Operator) => EndpointState::Paused,
                Some(PauseReason::Failing) => EndpointState::Failing,
                Some(PauseReason::Gone) => EndpointState::Gone,
            },
            position: view.position,
            lag: view.lag,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// One call of an endpoint.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookAttempt)]
pub struct Attempt {
    pub number: i64,
    /// The event.
    pub position: i64,
    /// Which attempt to deliver it.
    pub attempt: i64,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub took_ms: i64,
    /// The HTTP status, where there was an answer.
    pub status: Option<i64>,
    /// Which kind of error it met; `null` where the event was taken.
    pub error: Option<String>,
}

impl From<WebhookAttempt> for Attempt {
    fn from(attempt: WebhookAttempt) -> Self {
        let WebhookAttempt { number, position, attempt, at, took_ms, status, error, failing_since: _ } = attempt;
        Self { number, position, attempt, at, took_ms, status, error }
    }
}

/// A web hook endpoint, with what went wrong last.
#[derive(Serialize, ToSchema)]
pub struct WebhookEndpointDetails {
    #[serde(flatten)]
    pub endpoint: WebhookEndpoint,
    /// The last call that failed, whether it was made up for or not.
    pub last_failure: Option<Attempt>,
}

/// A new web hook endpoint with its secret.
#[derive(Serialize, ToSchema)]
pub struct IssuedWebhookEndpoint {
    #[serde(flatten)]
    pub endpoint: WebhookEndpoint,
    /// With which the receiver checks signatures.
    pub secret: String,
}

/// What signs the messages to an endpoint.
#[derive(Serialize, ToSchema)]
pub struct WebhookSecrets {
    pub secret: String,
    /// The secret before, while messages are signed with it, too.
    pub old_secret: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub old_until: Option<Timestamp>,
}

/// What is said of an endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookEndpointGiven)]
pub struct Given {
    /// Of http or https. It is recorded for ever: it must not hold a password.
    #[schema(min_length = 1, max_length = 2048)]
    pub url: String,
    /// The types of events wanted, such as license.activated or license.*; all where none is named.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub types: Vec<String>,
    /// Only events about this product.
    #[serde(default)]
    pub product: Option<i64>,
    /// Only events about this license.
    #[serde(default)]
    pub license: Option<i64>,
    /// Send license and contract keys whole: takes feed:license-keys.
    #[serde(default)]
    pub license_keys: bool,
    /// Send personal data open: takes feed:personal-data.
    #[serde(default)]
    pub personal_data: bool,
    /// Of a new one: it begins behind this position, -1 being the beginning of the log; with what comes, where it is not said.
    #[serde(default)]
    #[schema(minimum = -1)]
    pub after: Option<i64>,
}

/// From where on an endpoint is told again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookReplay)]
pub struct Replay {
    /// The events behind this position, -1 being the beginning of the log.
    #[schema(minimum = -1)]
    pub after: i64,
}

impl Given {
    fn check(self, is_new: bool) -> Replied<EndpointFields> {
        let mut check = Check::default();
        match self.after {
            Some(_) if !is_new => check.wrong("/after", "is said of a new one alone; another one is replayed."),
            Some(after) => check_after(&mut check, after),
            None => {}
        }
        let url = check.parsed("/url", endpoint_url(&self.url)).unwrap_or_default();
        check.parsed("/types", Filter::new(self.types.clone(), self.product, self.license, None, None));
        check.end()?;
        let filter = WantedEvents { license: self.license, product: self.product, types: self.types };
        Ok(EndpointFields { filter, license_keys: self.license_keys, personal_data: self.personal_data, url })
    }
}

fn check_after(check: &mut Check, after: i64) {
    if after < -1 {
        check.wrong("/after", "must be the position of an event, or -1.");
    }
}

/// What the caller may have sent.
async fn may_send(call: &AdminCall) -> Replied<MaySend> {
    Ok(MaySend { license_keys: call.may(feed::LICENSE_KEYS).await?, personal_data: call.may(feed::PERSONAL_DATA).await? })
}

/// 256 random bits: no two endpoints have one secret.
fn new_salt() -> Replied<String> {
    random::<32>().map(|salt| URL_SAFE_NO_PAD.encode(salt)).map_err(|error| Problem::unexpected(&error))
}

async fn view(call: &AdminCall, number: i64) -> Replied<WebhookEndpointView> {
    call.app.ledger.webhook_endpoint(number).await?.ok_or_else(|| Problem::not_found("web hook endpoint"))
}

async fn change(call: &AdminCall, command: WebhookEndpointCommand) -> Replied<i64> {
    let endpoint = call.number("endpoint")?;
    match call.execute(Command::ChangeWebhookEndpoint { endpoint, sequence: None, command }).await?.result {
        CommandResult::WebhookEndpointSet { endpoint } => Ok(endpoint),
        other => Err(refused(other)),
    }
}

async fn changed(call: &AdminCall, command: WebhookEndpointCommand) -> Replied<Shown<WebhookEndpoint>> {
    let number = change(call, command).await?;
    Ok(Shown(WebhookEndpoint::new(view(call, number).await?)))
}

fn refused(result: CommandResult) -> Problem {
    match result {
        CommandResult::WebhookEndpointRefused(error) => match error {
            WebhookEndpointError::Unknown => Problem::not_found("web hook endpoint"),
            WebhookEndpointError::MayNotSendKeys => Problem::lacks(feed::LICENSE_KEYS),
            WebhookEndpointError::MayNotSendPersonalData => Problem::lacks(feed::PERSONAL_DATA),
            WebhookEndpointError::NotYet => Problem::invalid_field("/after", "is behind the end of the log."),
            WebhookEndpointError::TooMany | WebhookEndpointError::Exists | WebhookEndpointError::Changed => {
                Problem::conflict(format!("Refused: {error}."))
            }
        },
        other => Problem::unexpected(&other),
    }
}

pub const LIST: Doc = Doc::new("Web hook endpoints").details("In ascending number.");

pub async fn list(call: AdminCall, Query(query): Query<Listing>) -> Replied<Paged<WebhookEndpoint>> {
    let wanted = query.wanted()?;
    let views = call.app.ledger.webhook_endpoints(wanted.after, wanted.rows()).await?;
    Ok(Paged(wanted.page(views, |view| view.row.number(), WebhookEndpoint::new)))
}

pub const SHOW: Doc = Doc::new("A web hook endpoint");

pub async fn show(call: AdminCall, (): ()) -> Replied<Shown<WebhookEndpointDetails>> {
    let number = call.number("endpoint")?;
    let endpoint = WebhookEndpoint::new(view(&call, number).await?);
    let last_failure = call.app.ledger.webhook_attempts(number, true, i64::MAX, 1).await?.pop().map(Attempt::from);
    Ok(Shown(WebhookEndpointDetails { endpoint, last_failure }))
}

pub const CREATE: Doc = Doc::new("Make a web hook endpoint")
    .details("It is told of events from now on, or from those behind a position on: one POST each, signed the Standard Webhooks way.");

pub async fn create(call: AdminCall, Json(given): Json<Given>) -> Replied<Created<IssuedWebhookEndpoint>> {
    let after = given.after;
    let fields = given.check(true)?;
    let command = Command::CreateWebhookEndpoint { fields, may: may_send(&call).await?, salt: new_salt()?, after };
    let number = match call.execute(command).await?.result {
        CommandResult::WebhookEndpointSet { endpoint } => endpoint,
        other => return Err(refused(other)),
    };
    let view = view(&call, number).await?;
    let secret = reveal(&call, &view.row.endpoint.salt)?;
    let body = IssuedWebhookEndpoint { endpoint: WebhookEndpoint::new(view), secret };
    Ok(Created { location: format!("/admin/v1/webhook-endpoints/{number}"), body })
}

fn reveal(call: &AdminCall, salt: &str) -> Replied<String> {
    call.app.ledger.vault().endpoint_secret(salt).map(|secret| secret.reveal()).map_err(|error| Problem::unexpected(&error))
}

pub const REPLACE: Doc =
    Doc::new("Change what is said of a web hook endpoint").details("All of it. What is waiting for it goes where it says now, and is tried at once.");

pub async fn replace(call: AdminCall, Json(given): Json<Given>) -> Replied<Shown<WebhookEndpoint>> {
    let fields = given.check(false)?;
    let may = may_send(&call).await?;
    changed(&call, WebhookEndpointCommand::Update { fields, may }).await
}

pub const DELETE: Doc = Doc::new("Delete a web hook endpoint");

pub async fn delete(call: AdminCall, (): ()) -> Replied<Done> {
    change(&call, WebhookEndpointCommand::Delete).await.map(|_| Done)
}

pub const PAUSE: Doc = Doc::new("Pause a web hook endpoint").details("What happens meanwhile it is told of when it is resumed.");

pub async fn pause(call: AdminCall, (): ()) -> Replied<Shown<WebhookEndpoint>> {
    changed(&call, WebhookEndpointCommand::Pause { reason: PauseReason::Operator, position: None }).await
}

pub const RESUME: Doc =
    Doc::new("Resume a web hook endpoint").details("It goes on where it was paused; paused or not, what waits for another try is tried at once.");

pub async fn resume(call: AdminCall, (): ()) -> Replied<Shown<WebhookEndpoint>> {
    changed(&call, WebhookEndpointCommand::Resume).await
}

pub const REPLAY: Doc = Doc::new("Tell a web hook endpoint again of the events behind a position")
    .details("Each with the webhook-id that it had. A position further on leaves out what is before it.");

pub async fn replay(call: AdminCall, Json(replay): Json<Replay>) -> Replied<Shown<WebhookEndpoint>> {
    let mut check = Check::default();
    check_after(&mut check, replay.after);
    check.end()?;
    changed(&call, WebhookEndpointCommand::Replay { after: replay.after }).await
}

pub const ROTATE_SECRET: Doc =
    Doc::new("Give a web hook endpoint another secret").details("For 24 hours messages are signed with the one before, too.");

pub async fn rotate_secret(call: AdminCall, (): ()) -> Replied<Shown<WebhookSecrets>> {
    let number = change(&call, WebhookEndpointCommand::RotateSecret { salt: new_salt()? }).await?;
    Ok(Shown(secrets(&call, number).await?))
}

pub const SECRET: Doc = Doc::new("The secret of a web hook endpoint").details("Reading alone is not enough: whoever has it can sign.");

pub async fn secret(call: AdminCall, (): ()) -> Replied<Shown<WebhookSecrets>> {
    if !call.may(CAPABILITY).await? {
        return Err(Problem::lacks(CAPABILITY));
    }
    let number = call.number("endpoint")?;
    Ok(Shown(secrets(&call, number).await?))
}

async fn secrets(call: &AdminCall, number: i64) -> Replied<WebhookSecrets> {
    let endpoint = view(call, number).await?.row.endpoint;
    let now = call.app.clock.now();
    let old = endpoint.old_salt.filter(|(_, until)| now < *until);
    Ok(WebhookSecrets {
        secret: reveal(call, &endpoint.salt)?,
        old_until: old.as_ref().map(|(_, until)| *until),
        old_secret: old.map(|(salt, _)| reveal(call, &salt)).transpose()?,
    })
}

/// Which calls are wanted.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AttemptQuery {
    /// Only those that failed.
    pub failed: Option<bool>,
    /// How many items, 50 unless given.
    #[schema(minimum = 1, maximum = 500)]
    pub limit: Option<i64>,
    /// The `next` of the page before.
    pub after: Option<String>,
}

pub const ATTEMPTS: Doc = Doc::new("The calls of a web hook endpoint").details(
    "Newest first: the newest thousand, the newest thousand that failed, and the last one of each event that is not done with. A second late.",
);

pub async fn attempts(call: AdminCall, Query(query): Query<AttemptQuery>) -> Replied<Paged<Attempt>> {
    let number = call.number("endpoint")?;
    view(&call, number).await?;
    let wanted = Wanted::new(query.limit, query.after.as_deref())?;
    let below = wanted.after.unwrap_or(i64::MAX);
    let rows = call.app.ledger.webhook_attempts(number, query.failed.unwrap_or(false), below, wanted.rows()).await?;
    Ok(Paged(wanted.page(rows, |attempt| attempt.number, Attempt::from)))
}
