//! A license as it was.

use keyledger_events::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ENTRIES, LICENSE, LedgerPoint, PERSONAL_DATA, PersonalDataState, as_of};
use crate::{
    feed::masked,
    http::{
        admin::{AdminCall, Kind, LicenseStatus, Page, Problem, Query, Replied, Shown, Wanted},
        doc::Doc,
    },
    ledger::history::{ActivationState, LicenseState, MetaState, Page as ActivationPage, Point},
};

/// As of when, and which page of the activations.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StateQuery {
    /// A position (after that event) or a time (RFC 3339; after all events recorded by then); the end of the log unless given.
    pub as_of: Option<String>,
    /// How many activations, 50 unless given.
    #[schema(minimum = 1, maximum = 500)]
    pub limit: Option<i64>,
    /// The `next` of the activations' page before.
    pub after: Option<String>,
}

/// Whose a license was.
#[derive(Serialize, ToSchema)]
pub struct OwnerThen {
    /// The same for all licenses of one address.
    pub number: Option<i64>,
    /// Personal.
    pub name: Option<String>,
    /// Personal.
    pub email: Option<String>,
    pub personal_data: Option<PersonalDataState>,
}

/// An activation as it was.
#[derive(Serialize, ToSchema)]
pub struct ActivationThen {
    pub number: i64,
    /// Personal.
    pub identifier: Option<String>,
    /// Personal.
    pub post_url: Option<String>,
    pub personal_data: Option<PersonalDataState>,
    /// Whether it was in force.
    pub active: bool,
    /// The event since which it was so.
    pub since: i64,
    /// The last time it became active.
    #[schema(value_type = String, format = DateTime)]
    pub activated_at: Timestamp,
}

impl From<ActivationState> for ActivationThen {
    fn from(state: ActivationState) -> Self {
        let activation = state.row.activation;
        Self {
            number: activation.number,
            identifier: activation.identifier,
            post_url: activation.post_url,
            personal_data: PersonalDataState::new(state.secrecy),
            active: state.active,
            since: state.since,
            activated_at: state.row.activated_at,
        }
    }
}

/// A meta entry as it was.
#[derive(Serialize, ToSchema)]
pub struct MetaThen {
    pub key: String,
    /// Personal.
    pub value: Option<String>,
    pub personal_data: Option<PersonalDataState>,
}

impl From<MetaState> for MetaThen {
    fn from(state: MetaState) -> Self {
        Self { key: state.row.meta.key, value: state.row.meta.value, personal_data: PersonalDataState::new(state.secrecy) }
    }
}

/// A license as it was.
#[derive(Serialize, ToSchema)]
pub struct LicenseThen {
    pub as_of: LedgerPoint,
    pub number: i64,
    pub id: uuid::Uuid,
    /// Masked for who may not see it.
    pub license_key: String,
    pub product: i64,
    pub status: LicenseStatus,
    /// A deleted license stays as it was when it was deleted.
    pub deleted: bool,
    /// 0 is no limit.
    pub activation_limit: i64,
    /// How many activations were in force.
    pub active_count: i64,
    /// Days from the assignment; 0 is for ever.
    pub validity_days: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub assigned_at: Option<Timestamp>,
    /// `null` where it never expires.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// Whether it had expired at the time of `as_of`.
    pub is_expired: bool,
    pub contract: Option<i64>,
    pub owner: OwnerThen,
    pub meta: Vec<MetaThen>,
    /// In ascending number, those that had ended too.
    #[schema(inline)]
    pub activations: Page<ActivationThen>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Its last event up to then.
    pub last_event: LedgerPoint,
}

impl LicenseThen {
    fn new(state: LicenseState, point: Point, wanted: &Wanted, shows_keys: bool) -> Self {
        let (row, license) = (&state.row, &state.row.license);
        Self {
            as_of: point.into(),
            number: license.number,
            id: row.id,
            license_key: if shows_keys { license.key.clone() } else { masked(&license.key) },
            product: license.product,
            status: license.status.into(),
            deleted: license.deleted,
            activation_limit: license.activation_limit,
            active_count: license.active_count,
            validity_days: license.validity_days,
            assigned_at: license.assigned_at,
            expires_at: license.expires_at(),
            is_expired: license.is_expired(point.time),
            contract: license.contract,
            owner: OwnerThen {
                number: license.owner,
                name: license.owner_name.clone(),
                email: license.owner_email.clone(),
                personal_data: PersonalDataState::new(state.owner_secrecy),
            },
            created_at: row.created_at,
            last_event: LedgerPoint { position: state.last_position, time: state.last_recorded_at },
            meta: state.meta.into_iter().map(MetaThen::from).collect(),
            activations: wanted.page(state.activations, |state| state.row.activation.number, ActivationThen::from),
        }
    }
}

pub const OF_LICENSE: Doc = Doc::new("A license as it was at a point in time")
    .details(
        "Computed from the log alone. A key means the license that had it at that point, be it deleted with it; where several were deleted \
         with it, it is ambiguous.",
    )
    .parameters(&[LICENSE])
    .refusals(&[409]);

pub async fn of_license(call: AdminCall, Query(query): Query<StateQuery>) -> Replied<Shown<LicenseThen>> {
    let wanted = Wanted::new(query.limit, query.after.as_deref())?;
    let as_of = as_of(query.as_of.as_deref())?;
    let (shows_keys, personal) = (call.may(ENTRIES).await?, call.may(PERSONAL_DATA).await?);
    let ledger = &call.app.ledger;
    let streams = ledger.license_streams(call.text("license")).await?;
    let point = ledger.point(as_of).await?;
    let page = ActivationPage { after: wanted.after.unwrap_or(0), limit: usize::try_from(wanted.rows()).unwrap_or(usize::MAX) };
    let state = ledger.license_state(&streams, point, page, personal).await?;
    let state = state.ok_or_else(|| Problem::new(Kind::NotFound, "There was no such license at that point."))?;
    Ok(Shown(LicenseThen::new(state, point, &wanted, shows_keys)))
}
