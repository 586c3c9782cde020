//! What verify would have answered.

use std::net::IpAddr;

use keyledger_events::{
    Timestamp,
    license::LicenseError,
    values::{Identifier, TextError},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{LICENSE, LedgerPoint, as_of};
use crate::{
    http::{
        admin::{AdminCall, Problem, Query, Replied, Shown},
        codes::{Code, LicenseOperation, license_refusal},
        doc::Doc,
    },
    ledger::history::{AsOf, Decided, Question, Verdict, VerdictAt},
};

/// What is asked, and as of when.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VerdictQuery {
    /// What the license is used for, compared exactly.
    pub identifier: Option<String>,
    /// The address that the client asked from, for the block list.
    pub ip: Option<String>,
    /// A position (after that event) or a time (RFC 3339; after all events recorded by then); the end of the log unless given.
    pub as_of: Option<String>,
    /// With a position: what time it is taken to be, that of the event unless given.
    #[schema(format = DateTime)]
    pub at: Option<String>,
}

/// The event that decided.
#[derive(Serialize, ToSchema)]
pub struct DecidingEvent {
    pub position: i64,
    pub r#type: &'static str,
    /// Whose event it is: `license`, `product` or `block`.
    pub aggregate_type: &'static str,
    pub sequence: i64,
    #[schema(value_type = String, format = DateTime)]
    pub recorded_at: Timestamp,
}

/// What verify would have answered.
#[derive(Serialize, ToSchema)]
pub struct VerdictThen {
    pub as_of: LedgerPoint,
    /// As verify gives it.
    #[schema(value_type = i64)]
    pub code: Code,
    /// As verify gives it.
    pub message: &'static str,
    /// The number of the license that was meant, where there was one.
    pub license: Option<i64>,
    /// The last event after which the answer was another one; `null` where none was.
    pub decided_by: Option<DecidingEvent>,
    /// When the license expires or expired; `null` where it never does.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// All of it in a sentence.
    pub explanation: String,
    /// Whether an activation or an entry of the block list that can't be recognized any more could have made a difference: its
    /// personal data is erased.
    pub uncertain: bool,
}

pub const OF_LICENSE: Doc = Doc::new("What verify would have answered at a point in time, and the event that decided it")
    .details(
        "Computed from the log alone: the license, its product and the block list as they were then, with the rules of today. A key means the \
         license that had it at each moment, so it can be nobody's. An expiry is decided by the event that set the validity or the assignment. \
         Whether the API key that asked was allowed to is not looked at.",
    )
    .parameters(&[LICENSE])
    .refusals(&[409]);

pub async fn of_license(call: AdminCall, Query(query): Query<VerdictQuery>) -> Replied<Shown<VerdictThen>> {
    let as_of = as_of(query.as_of.as_deref())?;
    let question = Question { identifier: identifier(query.identifier.as_deref())?, ip: ip(query.ip.as_deref())? };
    let ledger = &call.app.ledger;
    let mut point = ledger.point(as_of).await?;
    if let Some(text) = query.at.as_deref() {
        let at = Timestamp::parse(text).ok_or_else(|| Problem::invalid_field("at", "must be a time as RFC 3339 has it."))?;
        if !matches!(as_of, AsOf::Position(_)) {
            return Err(Problem::invalid_field("at", "goes with a position as as_of."));
        }
        if at < point.time || at > call.app.clock.now() {
            return Err(Problem::invalid_field("at", "must not be before the event of as_of, nor in the future."));
        }
        point.time = at;
    }
    let streams = ledger.license_streams(call.text("license")).await?;
    let found = ledger.verdict(&streams, point, &question).await?;
    let code = code(found.verdict).ok_or_else(|| Problem::unexpected(&found.verdict))?;
    Ok(Shown(VerdictThen {
        as_of: point.into(),
        code,
        message: code.message(),
        license: found.license,
        explanation: explanation(code, &found),
        decided_by: found.decided.map(DecidingEvent::from),
        expires_at: found.expires_at,
        uncertain: found.is_uncertain,
    }))
}

fn identifier(text: Option<&str>) -> Replied<Option<Identifier>> {
    match text.map(Identifier::parse) {
        None | Some(Err(TextError::Blank)) => Ok(None),
        Some(Ok(identifier)) => Ok(Some(identifier)),
        Some(Err(error)) => Err(Problem::invalid_field("identifier", format!("{error}."))),
    }
}

fn ip(text: Option<&str>) -> Replied<Option<IpAddr>> {
    let parse = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| Problem::invalid_field("ip", "must be an address."));
    Ok(text.map(parse).transpose()?.map(|ip| ip.to_canonical()))
}

impl From<Decided> for DecidingEvent {
    fn from(decided: Decided) -> Self {
        let Decided { position, aggregate_type, sequence, event_type, recorded_at } = decided;
        Self { position, r#type: event_type, aggregate_type, sequence, recorded_at }
    }
}

fn code(verdict: Verdict) -> Option<Code> {
    match verdict {
        Verdict::BlockListed => Some(Code::AccessDenied),
        Verdict::Valid => Some(Code::ValidLicenseKey),
        Verdict::Refused(error) => license_refusal(LicenseOperation::Verify, error),
    }
}

fn explanation(code: Code, found: &VerdictAt) -> String {
    let what = match found.verdict {
        Verdict::BlockListed => "on the block list".to_owned(),
        Verdict::Valid => "valid".to_owned(),
        Verdict::Refused(LicenseError::Blocked) => "blocked".to_owned(),
        Verdict::Refused(LicenseError::Unknown) => "no license has this key".to_owned(),
        Verdict::Refused(LicenseError::ProductInactive) => "its product is not active".to_owned(),
        Verdict::Refused(LicenseError::NotAssigned) => "not assigned".to_owned(),
        Verdict::Refused(LicenseError::NoActivation) => "no activation of this identifier is in force".to_owned(),
        Verdict::Refused(LicenseError::IdentifierRequired) => "no identifier was given".to_owned(),
        Verdict::Refused(LicenseError::Expired) => {
            found.expires_at.map_or_else(|| "expired".to_owned(), |at| format!("expired at {at}, a time that was set"))
        }
        Verdict::Refused(error) => error.to_string(),
    };
    let by = match &found.decided {
        Some(decided) => format!(" by event {} ({}) on {}", decided.position, decided.event_type, decided.recorded_at),
        None => "; no event says otherwise".to_owned(),
    };
    format!("{}: {what}{by}", code.number())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_explained_in_a_sentence() {
        let decided = Decided { position: 8_112, aggregate_type: "license", sequence: 4, event_type: "LicenseBlocked", recorded_at: Timestamp(0) };
        let found = |verdict, decided| VerdictAt { verdict, decided, license: Some(1), expires_at: Some(Timestamp(1)), is_uncertain: false };
        let explained = |found: &VerdictAt| explanation(code(found.verdict).unwrap(), found);
        let blocked = found(Verdict::Refused(LicenseError::Blocked), Some(decided));
        assert_eq!(explained(&blocked), "204: blocked by event 8112 (LicenseBlocked) on 1970-01-01T00:00:00.000000Z");
        let expired = found(Verdict::Refused(LicenseError::Expired), Some(decided));
        assert!(explained(&expired).starts_with("205: expired at 1970-01-01T00:00:00.000001Z, a time that was set by event 8112 "));
        let unknown = found(Verdict::Refused(LicenseError::Unknown), None);
        assert_eq!(explained(&unknown), "210: no license has this key; no event says otherwise");
        assert_eq!(code(Verdict::BlockListed), Some(Code::AccessDenied));
        assert_eq!(code(Verdict::Refused(LicenseError::KeyTaken)), None);
    }
}
