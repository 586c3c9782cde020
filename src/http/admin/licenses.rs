//! Licenses: searched, shown with their activations, blocked and unblocked.

use keyledger_events::{
    Timestamp,
    license::{LicenseError, Status},
    values::LicenseKey,
};
use keyledger_projections::{ActivationRow, LicenseRow};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AdminCall, Check, Json, Listing, Page, Paged, Problem, Query, Replied, Shown, Wanted, products::MetaEntry};
use crate::{
    http::doc::Doc,
    ledger::{Command, CommandResult, LicenseFilter},
};

/// What a license's status is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LicenseStatus {
    Available,
    Assigned,
    Reserved,
    Blocked,
}

impl From<LicenseStatus> for Status {
    fn from(status: LicenseStatus) -> Self {
        match status {
            LicenseStatus::Available => Self::Available,
            LicenseStatus::Assigned => Self::Assigned,
            LicenseStatus::Reserved => Self::Reserved,
            LicenseStatus::Blocked => Self::Blocked,
        }
    }
}

impl From<Status> for LicenseStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Available => Self::Available,
            Status::Assigned => Self::Assigned,
            Status::Reserved => Self::Reserved,
            Status::Blocked => Self::Blocked,
        }
    }
}

/// A license.
#[derive(Serialize, ToSchema)]
pub struct License {
    pub number: i64,
    pub id: uuid::Uuid,
    pub license_key: String,
    pub product: i64,
    pub status: LicenseStatus,
    pub owner_name: Option<String>,
    pub owner_email: Option<String>,
    /// 0 is no limit.
    pub activation_limit: i64,
    /// How many activations are in force.
    pub active_count: i64,
    /// Days from the assignment; 0 is for ever.
    pub validity_days: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub assigned_at: Option<Timestamp>,
    /// `null` where it never expires.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When its key string was last replaced.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub key_replaced_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl License {
    pub(super) fn new(row: LicenseRow) -> Self {
        let expires_at = row.license.expires_at();
        let license = row.license;
        Self {
            number: license.number,
            id: row.id,
            license_key: license.key,
            product: license.product,
            status: license.status.into(),
            owner_name: license.owner_name,
            owner_email: license.owner_email,
            activation_limit: license.activation_limit,
            active_count: license.active_count,
            validity_days: license.validity_days,
            assigned_at: license.assigned_at,
            key_replaced_at: license.key_replaced_at,
            expires_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// An activation of a license.
#[derive(Serialize, ToSchema)]
pub struct Activation {
    pub number: i64,
    /// `null` once it is forgotten.
    pub identifier: Option<String>,
    /// Where the client wants to be told when it is deactivated remotely.
    pub post_url: Option<String>,
    /// Whether it is in force.
    pub active: bool,
    #[schema(value_type = String, format = DateTime)]
    pub activated_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deactivated_at: Option<Timestamp>,
}

impl Activation {
    fn new(row: ActivationRow, license: &keyledger_events::license::License) -> Self {
        Self {
            active: license.is_active(&row.activation),
            number: row.activation.number,
            identifier: row.activation.identifier,
            post_url: row.activation.post_url,
            activated_at: row.activated_at,
            deactivated_at: row.deactivated_at,
        }
    }
}

/// A license with what belongs to it.
#[derive(Serialize, ToSchema)]
pub struct LicenseDetail {
    #[serde(flatten)]
    pub license: License,
    pub meta: Vec<MetaEntry>,
    /// The first page of its activations, those that have ended too.
    #[schema(inline)]
    pub activations: Page<Activation>,
}

/// Which licenses are wanted; what is absent doesn't matter.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LicenseQuery {
    /// Exactly this key.
    pub license_key: Option<String>,
    /// Only this product's.
    pub product: Option<i64>,
    pub status: Option<LicenseStatus>,
    /// Exactly this address.
    pub owner_email: Option<String>,
    /// Exactly this name.
    pub owner_name: Option<String>,
    /// How many items, 50 unless given.
    #[schema(minimum = 1, maximum = 500)]
    pub limit: Option<i64>,
    /// The `next` of the page before.
    pub after: Option<String>,
}

pub const LIST: Doc = Doc::new("Licenses").details("In ascending number. Every filter that is given must hold.");

pub async fn list(call: AdminCall, Query(query): Query<LicenseQuery>) -> Replied<Paged<License>> {
    let wanted = Wanted::new(query.limit, query.after.as_deref())?;
    let mut check = Check::default();
    let mut text = |name: &str, text: Option<String>| text.map(|text| check.short(name, &text));
    let license_key = text("license_key", query.license_key);
    let (owner_email, owner_name) = (text("owner_email", query.owner_email), text("owner_name", query.owner_name));
    check.end()?;
    let filter = LicenseFilter { product: query.product, status: query.status.map(Status::from), owner_email, owner_name };
    let rows = call.app.ledger.list_licenses(&filter, license_key.as_deref(), wanted.after, wanted.rows()).await?;
    Ok(Paged(wanted.page(rows, |row| row.license.number, License::new)))
}

pub(super) async fn found(call: &AdminCall) -> Replied<LicenseRow> {
    call.app.ledger.license(call.number("license")?).await?.ok_or_else(|| Problem::not_found("license"))
}

async fn activation_page(call: &AdminCall, row: &LicenseRow, wanted: Wanted) -> Replied<Page<Activation>> {
    let rows = call.app.ledger.list_activations(row.license.number, wanted.after, wanted.rows()).await?;
    Ok(wanted.page(rows, |row| row.activation.number, |activation| Activation::new(activation, &row.license)))
}

pub const SHOW: Doc = Doc::new("A license, with its meta entries and activations");

pub async fn show(call: AdminCall, (): ()) -> Replied<Shown<LicenseDetail>> {
    let row = found(&call).await?;
    let activations = activation_page(&call, &row, Listing::default().wanted()?).await?;
    let meta = call.app.ledger.license_meta(row.license.number).await?.into_iter();
    let meta = meta.map(|row| MetaEntry { key: row.meta.key, value: row.meta.value }).collect();
    Ok(Shown(LicenseDetail { license: License::new(row), meta, activations }))
}

pub const ACTIVATIONS: Doc = Doc::new("The activations of a license").details("In ascending number, those that have ended too.");

pub async fn activations(call: AdminCall, Query(query): Query<Listing>) -> Replied<Paged<Activation>> {
    let wanted = query.wanted()?;
    let row = found(&call).await?;
    Ok(Paged(activation_page(&call, &row, wanted).await?))
}

pub const BLOCK: Doc = Doc::new("Block a license").details("From here on it is refused. Its owner and its activations stay.");

pub async fn block(call: AdminCall, (): ()) -> Replied<Shown<License>> {
    let key = key(&found(&call).await?)?;
    execute(call, Command::BlockLicense { key }).await
}

/// What the license shall be.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Unblocking {
    /// `assigned` where it ever was, else `available`, unless given. Making it available ends its activations and clears its owner.
    pub status: Option<UnblockedStatus>,
}

/// What an unblocked license can be.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnblockedStatus {
    Available,
    Assigned,
    Reserved,
}

impl From<UnblockedStatus> for Status {
    fn from(status: UnblockedStatus) -> Self {
        match status {
            UnblockedStatus::Available => Self::Available,
            UnblockedStatus::Assigned => Self::Assigned,
            UnblockedStatus::Reserved => Self::Reserved,
        }
    }
}

pub const UNBLOCK: Doc = Doc::new("Unblock a license").details("The time of its assignment stays.");

pub async fn unblock(call: AdminCall, Json(unblocking): Json<Unblocking>) -> Replied<Shown<License>> {
    let key = key(&found(&call).await?)?;
    execute(call, Command::UnblockLicense { key, status: unblocking.status.map(Status::from) }).await
}

/// Another key string for a license.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    #[schema(min_length = 1, max_length = 255)]
    pub license_key: String,
}

pub const REPLACE_KEY: Doc =
    Doc::new("Give a license another key").details("The old one is refused from here on, and can be given to another license.");

pub async fn replace_key(call: AdminCall, Json(new): Json<NewKey>) -> Replied<Shown<License>> {
    let mut check = Check::default();
    let new_key = check.parsed("/license_key", LicenseKey::parse(&new.license_key));
    check.end()?;
    let key = key(&found(&call).await?)?;
    let new_key = new_key.ok_or_else(Problem::internal)?;
    execute(call, Command::ReplaceKey { key, new_key }).await
}

fn key(row: &LicenseRow) -> Replied<LicenseKey> {
    LicenseKey::parse(&row.license.key).map_err(|error| Problem::unexpected(&error))
}

/// Executes a command on the license of the path, which was found under the key that the command names.
async fn execute(call: AdminCall, command: Command) -> Replied<Shown<License>> {
    let outcome = call.execute(command).await?;
    match outcome.result {
        CommandResult::LicenseUpdated | CommandResult::KeyReplaced => Ok(Shown(License::new(found(&call).await?))),
        CommandResult::LicenseRefused(LicenseError::Unknown) => Err(Problem::conflict("The license was changed at the same time; please try again.")),
        CommandResult::LicenseRefused(error) => Err(Problem::conflict(format!("Refused: {error}."))),
        other => Err(Problem::unexpected(&other)),
    }
}

pub const DEACTIVATE: Doc = Doc::new("End an activation of a license")
    .details("Who gave a URL to be told at is told: the client with its activation, the vendor with the product.");

pub async fn deactivate(call: AdminCall, (): ()) -> Replied<Shown<Activation>> {
    let unknown = || Problem::not_found("activation");
    let row = found(&call).await?;
    let activation = call.number("activation")?;
    let outcome = call.execute(Command::EndActivation { license: row.license.number, activation }).await?;
    match outcome.result {
        CommandResult::Deactivated => {
            let license = found(&call).await?.license;
            let activation = call.app.ledger.activation(activation).await?.ok_or_else(unknown)?;
            Ok(Shown(Activation::new(activation, &license)))
        }
        CommandResult::AlreadyInactive => Err(Problem::conflict("The activation has ended already.")),
        CommandResult::LicenseRefused(LicenseError::NoActivation | LicenseError::Unknown) => Err(unknown()),
        other => Err(Problem::unexpected(&other)),
    }
}
