//! The history of a license, a product, a contract, an API key: every event in order, who did it, and what it changed.

use keyledger_events::{Timestamp, api_key::ApiKeyEvent, contract::ContractEvent, license::LicenseEvent, product::ProductEvent};
use keyledger_projections::Value as RowValue;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{ENTRIES, LICENSE, PERSONAL_DATA, PersonalDataState, input::Repeatable};
use crate::{
    feed::masked,
    http::{
        admin::{AdminCall, Check, Paged, Replied, Wanted},
        doc::Doc,
    },
    ledger::history::{Change, HistoryEntry, HistoryFilter, Stream},
};

/// Which events are wanted; what is absent doesn't matter.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryQuery {
    /// Only events of these types, separated by commas; may come several times.
    pub r#type: Option<String>,
    /// Recorded then or later.
    #[schema(format = DateTime)]
    pub from: Option<String>,
    /// Recorded then or earlier.
    #[schema(format = DateTime)]
    pub to: Option<String>,
    /// How many items, 50 unless given.
    #[schema(minimum = 1, maximum = 500)]
    pub limit: Option<i64>,
    /// The `next` of the page before.
    pub after: Option<String>,
}

impl HistoryQuery {
    fn filter(&self, known: &[&str]) -> Replied<HistoryFilter> {
        let mut check = Check::default();
        let types = self.r#type.iter().flat_map(|types| types.split(',')).map(str::trim);
        let types: Vec<String> = types.map(str::to_owned).collect();
        for unknown in types.iter().filter(|wanted| !known.contains(&wanted.as_str())) {
            check.wrong("type", format!("{unknown:?} is no type of these events; there are: {}.", known.join(", ")));
        }
        let mut time = |name: &str, text: &Option<String>| text.as_deref().and_then(|text| check.time(name, text));
        let (from, to) = (time("from", &self.from), time("to", &self.to));
        check.end()?;
        Ok(HistoryFilter { types, from, to })
    }
}

/// Who did something.
#[derive(Serialize, ToSchema)]
pub struct HistoryActor {
    /// `api_key`, `contract`, `license` (the license itself, by its key), `operator` (on the command line) or `system`.
    pub kind: String,
    pub number: Option<i64>,
    /// An API key's name, or an operator's.
    pub name: Option<String>,
}

/// A value that an event changed.
#[derive(Serialize, ToSchema)]
pub struct HistoryChange {
    /// As `status`; what is one of several has its place before it, as `activations/17/active` and `meta/COLOR/value`.
    pub field: String,
    /// `null` where there was none.
    pub before: Value,
    /// `null` where there is none.
    pub after: Value,
}

/// An event.
#[derive(Serialize, ToSchema)]
pub struct HistoryEvent {
    /// Its place in the whole log.
    pub position: i64,
    /// Its place in this history.
    pub sequence: i64,
    pub event_id: uuid::Uuid,
    pub r#type: &'static str,
    #[schema(value_type = String, format = DateTime)]
    pub recorded_at: Timestamp,
    pub actor: HistoryActor,
    /// By which way it came, as `api`.
    pub source: Option<String>,
    pub request_id: Option<String>,
    /// The same for all events of one command.
    pub correlation_id: Option<String>,
    /// What was called, by the capability that it needs.
    pub operation: Option<String>,
    /// What the operator gave as the reason.
    pub reason: Option<String>,
    /// What became of its personal data; `null` where it has none.
    pub personal_data: Option<PersonalDataState>,
    /// Where the request came from. Personal.
    pub client_ip: Option<String>,
    /// What else is personal.
    #[schema(value_type = Option<Object>)]
    pub personal: Option<Map<String, Value>>,
    /// What its payload says, apart from what is personal. Keys are masked for who may not see them.
    #[schema(value_type = Object)]
    pub facts: Map<String, Value>,
    /// What it changed. A refusal changes nothing.
    pub changes: Vec<HistoryChange>,
}

impl HistoryEvent {
    fn new(mut entry: HistoryEntry, shows_keys: bool) -> Self {
        let mut facts = entry.told.facts();
        if !shows_keys {
            for fact in entry.key_facts {
                if let Some(Value::String(key)) = facts.get_mut(*fact) {
                    *key = masked(key);
                }
            }
        }
        let recorded = entry.told.recorded;
        let mut personal = recorded.event.personal().and_then(|personal| personal.open()).and_then(|data| match serde_json::to_value(data) {
            Ok(Value::Object(members)) => Some(members),
            _ => None,
        });
        let client_ip = personal.as_mut().and_then(|members| members.remove("client_ip")).and_then(|ip| ip.as_str().map(str::to_owned));
        let metadata = &mut entry.told.metadata;
        let actor = metadata.remove("actor").unwrap_or_default();
        let (kind, number) = actor.split_once(':').map_or((actor.as_str(), None), |(kind, number)| (kind, number.parse().ok()));
        let name = entry.api_key_name.or_else(|| metadata.remove("operator"));
        Self {
            position: recorded.position,
            sequence: recorded.sequence,
            event_id: recorded.event_id,
            r#type: recorded.event.event_type(),
            recorded_at: recorded.recorded_at,
            actor: HistoryActor { kind: kind.to_owned(), number, name },
            source: metadata.remove("source"),
            request_id: metadata.remove("request_id"),
            correlation_id: metadata.remove("correlation_id"),
            operation: metadata.remove("operation"),
            reason: metadata.remove("reason"),
            personal_data: PersonalDataState::new(entry.told.secrecy),
            client_ip,
            personal: personal.filter(|members| !members.is_empty()),
            facts,
            changes: entry.changes.into_iter().map(|change| HistoryChange::new(change, shows_keys)).collect(),
        }
    }
}

impl HistoryChange {
    fn new(change: Change, shows_keys: bool) -> Self {
        let is_hidden = change.is_key && !shows_keys;
        let value = |value: RowValue| match value {
            RowValue::Null => Value::Null,
            RowValue::Int(value) => value.into(),
            RowValue::Bool(value) => value.into(),
            RowValue::Text(key) if is_hidden => masked(&key).into(),
            RowValue::Text(value) => value.into(),
            RowValue::Bytes(value) => hex::encode(value).into(),
            RowValue::Time(value) => value.to_string().into(),
            RowValue::Uuid(value) => value.to_string().into(),
        };
        Self { field: change.field, before: value(change.before), after: value(change.after) }
    }
}

async fn page(call: &AdminCall, stream: Stream, known: &[&str], query: &HistoryQuery) -> Replied<Paged<HistoryEvent>> {
    let wanted = Wanted::new(query.limit, query.after.as_deref())?;
    let filter = query.filter(known)?;
    let (shows_keys, personal) = (call.may(ENTRIES).await?, call.may(PERSONAL_DATA).await?);
    let entries = call.app.ledger.history(stream, &filter, wanted.after, wanted.rows(), personal).await?;
    Ok(Paged(wanted.page(entries, |entry| entry.told.recorded.sequence, |entry| HistoryEvent::new(entry, shows_keys))))
}

const DETAILS: &str = "In the order in which it happened, refusals included, each event checked against the hash it was recorded with.";

pub const OF_LICENSE: Doc = Doc::new("Everything that happened to a license")
    .details(
        "In the order in which it happened, refusals included, each event checked against the hash it was recorded with. A key that several \
         licenses had, one after the other, means the one that has it now; where none has, it is ambiguous.",
    )
    .parameters(&[LICENSE])
    .refusals(&[409]);

pub async fn of_license(call: AdminCall, Repeatable(query): Repeatable<HistoryQuery>) -> Replied<Paged<HistoryEvent>> {
    let stream = call.app.ledger.license_stream(call.text("license")).await?;
    page(&call, stream, LicenseEvent::NAMES, &query).await
}

pub const OF_PRODUCT: Doc = Doc::new("Everything that happened to a product").details(DETAILS);

pub async fn of_product(call: AdminCall, Repeatable(query): Repeatable<HistoryQuery>) -> Replied<Paged<HistoryEvent>> {
    let stream = call.app.ledger.product_stream(call.number("product")?).await?;
    page(&call, stream, ProductEvent::NAMES, &query).await
}

pub const OF_CONTRACT: Doc = Doc::new("Everything that happened to a contract").details(DETAILS);

pub async fn of_contract(call: AdminCall, Repeatable(query): Repeatable<HistoryQuery>) -> Replied<Paged<HistoryEvent>> {
    let stream = call.app.ledger.contract_stream(call.number("contract")?).await?;
    page(&call, stream, ContractEvent::NAMES, &query).await
}

pub const OF_API_KEY: Doc = Doc::new("Everything that happened to an API key").details(DETAILS);

pub async fn of_api_key(call: AdminCall, Repeatable(query): Repeatable<HistoryQuery>) -> Replied<Paged<HistoryEvent>> {
    let stream = call.app.ledger.api_key_stream(call.number("api_key")?).await?;
    page(&call, stream, ApiKeyEvent::NAMES, &query).await
}
