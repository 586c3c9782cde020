//! Web hook endpoints, one row each; a deleted one stays, marked.

use keyledger_events::{
    Event, Recorded, Timestamp,
    webhook_endpoint::{EndpointFields, PauseReason, WantedEvents, WebhookEndpoint},
};
use uuid::Uuid;

use crate::{
    Column, ColumnType as Type, FoldError, ReadError, Table, Value, Values,
    registry::{check_sequence, require},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookEndpointRow {
    pub endpoint: WebhookEndpoint,
    pub id: Uuid,
    /// The last event's sequence: as long as it stays, so does the endpoint.
    pub sequence: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl WebhookEndpointRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "number", ty: Type::Int },
        Column { name: "id", ty: Type::Uuid },
        Column { name: "sequence", ty: Type::Int },
        Column { name: "url", ty: Type::Text },
        Column { name: "types", ty: Type::Text },
        Column { name: "product", ty: Type::Int },
        Column { name: "license", ty: Type::Int },
        Column { name: "license_keys", ty: Type::Bool },
        Column { name: "personal_data", ty: Type::Bool },
        Column { name: "salt", ty: Type::Text },
        Column { name: "old_salt", ty: Type::Text },
        Column { name: "old_salt_until", ty: Type::Time },
        Column { name: "paused", ty: Type::Text },
        Column { name: "begun_after", ty: Type::Int },
        Column { name: "replays", ty: Type::Int },
        Column { name: "deleted", ty: Type::Bool },
        Column { name: "created_at", ty: Type::Time },
        Column { name: "updated_at", ty: Type::Time },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        self.endpoint.number
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        let endpoint = &self.endpoint;
        let fields = &endpoint.fields;
        vec![
            endpoint.number.into(),
            self.id.into(),
            self.sequence.into(),
            fields.url.as_str().into(),
            // No name of a type holds a blank.
            fields.filter.types.join(" ").into(),
            fields.filter.product.into(),
            fields.filter.license.into(),
            fields.license_keys.into(),
            fields.personal_data.into(),
            endpoint.salt.as_str().into(),
            endpoint.old_salt.as_ref().map(|(salt, _)| salt.as_str()).into(),
            endpoint.old_salt.as_ref().map(|(_, until)| *until).into(),
            endpoint.paused.map(PauseReason::as_str).into(),
            endpoint.after.into(),
            endpoint.replays.into(),
            endpoint.deleted.into(),
            self.created_at.into(),
            self.updated_at.into(),
        ]
    }

    /// # Errors
    /// When a column holds what it can't.
    pub fn read(values: &mut Values) -> Result<Self, ReadError> {
        let number = values.int()?;
        let id = values.uuid()?;
        let sequence = values.int()?;
        let url = values.text()?;
        let types = values.words()?;
        let filter = WantedEvents { types, product: values.maybe_int()?, license: values.maybe_int()? };
        let fields = EndpointFields { filter, license_keys: values.bool()?, personal_data: values.bool()?, url };
        let endpoint = WebhookEndpoint {
            number,
            fields,
            salt: values.text()?,
            old_salt: values.both(Values::maybe_text, Values::maybe_time)?,
            paused: values.maybe_named("a reason", PauseReason::parse)?,
            after: values.int()?,
            replays: values.int()?,
            deleted: values.bool()?,
        };
        Ok(Self { endpoint, id, sequence, created_at: values.time()?, updated_at: values.time()? })
    }

    /// # Errors
    /// When the event doesn't fit the row.
    pub fn fold(number: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let Event::WebhookEndpoint(event) = &recorded.event else { return Ok(row) };
        check_sequence(row.as_ref().map(|row| row.sequence), recorded)?;
        let at = recorded.recorded_at;
        let (state, created_at) = row.map_or((None, at), |row| (Some(row.endpoint), row.created_at));
        let endpoint = require(WebhookEndpoint::fold(state, event), Table::WebhookEndpoint, number, recorded)?;
        Ok(Some(Self { endpoint, id: recorded.aggregate_id, sequence: recorded.sequence, created_at, updated_at: at }))
    }
}
