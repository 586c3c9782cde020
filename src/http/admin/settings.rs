//! What is set for the whole service.

use keyledger_events::settings::ChangeSettings;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AdminCall, Json, Problem, Replied, Shown};
use crate::{
    http::doc::Doc,
    ledger::{Command, CommandResult},
};

/// The settings.
#[derive(Serialize, ToSchema)]
pub struct Settings {
    /// Whether changelogs are public; a product can switch its own off.
    pub changelog: bool,
}

/// What changes of the settings; what is absent stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SettingsChanges {
    pub changelog: Option<bool>,
}

pub const SHOW: Doc = Doc::new("The settings of the whole service");

pub async fn show(call: AdminCall, (): ()) -> Replied<Shown<Settings>> {
    let settings = call.app.ledger.settings().await?;
    Ok(Shown(Settings { changelog: settings.changelog }))
}

pub const UPDATE: Doc = Doc::new("Change the settings of the whole service").details("What is absent stays as it is.");

pub async fn update(call: AdminCall, Json(changes): Json<SettingsChanges>) -> Replied<Shown<Settings>> {
    let outcome = call.execute(Command::ChangeSettings(ChangeSettings { changelog: changes.changelog })).await?;
    match outcome.result {
        CommandResult::SettingsChanged => show(call, ()).await,
        other => Err(Problem::unexpected(&other)),
    }
}
