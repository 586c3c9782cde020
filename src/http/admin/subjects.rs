//! Data subjects: whose personal data the ledger holds, and how it is forgotten.

use keyledger_events::{SubjectKind, subject::SubjectError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AdminCall, Check, Json, Problem, Replied, Shown};
use crate::{
    http::doc::Doc,
    ledger::{CommandResult, SubjectName},
};

/// Who shall be forgotten: exactly one of these.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ForgetSubject {
    /// The owner of licenses with this address.
    #[schema(min_length = 1, max_length = 255)]
    pub email: Option<String>,
    /// An owner by number: for what was recorded after the address was forgotten.
    pub owner: Option<i64>,
    /// A license by number: for what was recorded while it had no owner.
    pub license: Option<i64>,
    /// Whoever asked with this API key, by its number.
    pub api_key: Option<i64>,
    /// What an entry of the block list blocks, by its number; it blocks nothing from then on.
    pub block: Option<i64>,
}

impl ForgetSubject {
    fn name(self) -> Replied<SubjectName> {
        let mut check = Check::default();
        let email = self.email.map(|email| SubjectName::Email(check.short("/email", &email)));
        let numbers = [
            (SubjectKind::Owner, self.owner),
            (SubjectKind::License, self.license),
            (SubjectKind::Actor, self.api_key),
            (SubjectKind::Block, self.block),
        ];
        let numbers = numbers.into_iter().filter_map(|(kind, number)| number.map(|number| SubjectName::Number(kind, number)));
        let mut given = email.into_iter().chain(numbers);
        let (first, second) = (given.next(), given.next());
        drop(given);
        if first.is_none() || second.is_some() {
            check.wrong("", "must have exactly one of email, owner, license, api_key and block.");
        }
        check.end()?;
        first.ok_or_else(Problem::internal)
    }
}

/// What kind of data subject it was.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForgottenKind {
    Owner,
    License,
    ApiKey,
    Block,
}

impl From<SubjectKind> for ForgottenKind {
    fn from(kind: SubjectKind) -> Self {
        match kind {
            SubjectKind::Owner => Self::Owner,
            SubjectKind::License => Self::License,
            SubjectKind::Actor => Self::ApiKey,
            SubjectKind::Block => Self::Block,
        }
    }
}

/// What was forgotten.
#[derive(Serialize, ToSchema)]
pub struct Forgotten {
    pub kind: ForgottenKind,
    pub number: i64,
    /// How many events have a part that can't be opened any more.
    pub events: i64,
    /// How many rows lost something.
    pub rows: i64,
    /// The position of the event that records it.
    pub position: i64,
}

pub const FORGET: Doc = Doc::new("Forget a data subject")
    .details(
        "Destroys the key that opens its personal data, and blanks what the rows hold of it. The events stay as they are, so every proof \
         still verifies. Whoever is forgotten already is as unknown as who never was. Reads the whole log.",
    )
    .refusals(&[404]);

pub async fn forget(call: AdminCall, Json(asked): Json<ForgetSubject>) -> Replied<Shown<Forgotten>> {
    let outcome = call.forget(asked.name()?).await?;
    match outcome.result {
        CommandResult::SubjectForgotten { kind, number, sealed, rows } => {
            Ok(Shown(Forgotten { kind: kind.into(), number, events: sealed, rows, position: outcome.first_position }))
        }
        CommandResult::SubjectRefused(SubjectError::Unknown) => Err(Problem::not_found("data subject")),
        other => Err(Problem::unexpected(&other)),
    }
}
