//! Events in words: what happened, by whom, and what it changed. All texts are plain; the report escapes them.

use crate::{
    context::Names,
    event::Event,
    open::PersonalData,
    state::{LISTED_MAX, State},
    time,
};

/// A number of which 0 means that there is no limit.
fn limit(number: i64) -> String {
    if number == 0 { "unlimited".to_owned() } else { number.to_string() }
}

fn days(number: i64) -> String {
    match number {
        0 => "unlimited".to_owned(),
        1 => "1 day".to_owned(),
        _ => format!("{number} days"),
    }
}

/// A time as the ledger wrote it, for people.
pub fn at(text: &str) -> String {
    time::parse(text).map_or_else(|| text.to_owned(), time::in_words)
}

fn maybe<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "none".to_owned(), T::to_string)
}

fn number(event: &Event, member: &str) -> i64 {
    event.number(member).unwrap_or_default()
}

fn text<'a>(event: &'a Event, member: &str) -> &'a str {
    event.text(member).unwrap_or_default()
}

/// Whether the event records that something was refused.
pub fn is_refusal(event: &Event) -> bool {
    matches!(event.event_type.as_str(), "ActivationRefused" | "AccessRefused")
}

/// Whether it is one of the many that use makes: these are counted, and stand in the table.
pub fn is_everyday(event: &Event) -> bool {
    matches!(
        event.event_type.as_str(),
        "LicenseActivated" | "LicenseDeactivated" | "ReleaseDownloaded" | "LicenseMetaCreated" | "LicenseMetaUpdated" | "LicenseMetaDeleted"
    )
}

/// What happened, in two parts between which it can be said by whom.
fn parts(event: &Event, names: &Names) -> (String, String) {
    let clause = |clause: &str| (clause.to_owned(), String::new());
    match event.event_type.as_str() {
        "LicenseCreated" => ("the license was created".to_owned(), format!(", for {}", names.product(number(event, "product")))),
        "LicenseAssigned" if text(event, "from") == "blocked" => ("the license was unblocked".to_owned(), ", and is assigned again".to_owned()),
        "LicenseAssigned" => clause("the license was assigned"),
        "LicenseReserved" => clause("the license was reserved"),
        "LicenseBlocked" => clause("the license was blocked"),
        "LicenseMadeAvailable" => clause("the license was made available"),
        "OwnerChanged" => clause("the owner was changed"),
        "OwnerCleared" => clause("the owner was removed"),
        "ActivationLimitChanged" => changed("the activation limit", &limit(number(event, "from")), &limit(number(event, "to"))),
        "ValidityChanged" => changed("the validity", &days(number(event, "from")), &days(number(event, "to"))),
        "AssignedAtChanged" => {
            let from = event.text("from").map_or_else(|_| "none".to_owned(), at);
            changed("the time of assignment", &from, &at(text(event, "to")))
        }
        "LicenseProductChanged" => {
            let (from, to) = (names.product(number(event, "from")), names.product(number(event, "to")));
            ("the license was moved".to_owned(), format!(", from {from} to {to}"))
        }
        "LicenseActivated" => (format!("activation {} was made", number(event, "activation")), String::new()),
        "LicenseDeactivated" => (format!("activation {} was ended", number(event, "activation")), String::new()),
        "ActivationsEnded" => (format!("all activations, {} of them, were ended", number(event, "ended")), String::new()),
        // A refusal is nobody's deed but the server's: whoever is named asked.
        "ActivationRefused" => {
            let why = format!(" and refused, because {} of {} allowed ones were in force", number(event, "active"), number(event, "limit"));
            ("an activation was asked for".to_owned(), why)
        }
        "AccessRefused" => ("use of the license was asked for".to_owned(), format!(" and refused, because {}", refusal_reason(event))),
        "LicenseMetaCreated" => (format!("the meta entry “{}” was made", text(event, "key")), String::new()),
        "LicenseMetaUpdated" => (format!("the meta entry “{}” was changed", text(event, "key")), String::new()),
        "LicenseMetaDeleted" => (format!("the meta entry “{}” was deleted", text(event, "key")), String::new()),
        "LicenseKeyReplaced" => changed("the license key", text(event, "from"), text(event, "key")),
        "ReleaseDownloaded" => (format!("release {} was downloaded", number(event, "release")), String::new()),
        "LicenseDeleted" => clause("the license was deleted"),
        other => (format!("{other} was recorded"), String::new()),
    }
}

fn changed(what: &str, from: &str, to: &str) -> (String, String) {
    (format!("{what} was changed"), format!(", from {from} to {to}"))
}

/// What happened.
pub fn what(event: &Event, names: &Names) -> String {
    let (clause, rest) = parts(event, names);
    clause + &rest
}

fn refusal_reason(event: &Event) -> String {
    match text(event, "reason") {
        "license_blocked" => "the license was blocked".to_owned(),
        "license_expired" => "the license had expired".to_owned(),
        "block_listed" => {
            let entry = event.maybe_number("block").ok().flatten().map(|entry| format!(" (entry {entry})")).unwrap_or_default();
            format!("the address or the identifier is on the block list{entry}")
        }
        other => format!("of “{other}”"),
    }
}

/// By whom, to follow “by”.
pub fn who(event: &Event, names: &Names) -> String {
    let actor = event.metadata.get("actor").map(String::as_str).unwrap_or_default();
    match actor.split_once(':') {
        Some(("api_key", number)) => number.parse().map_or_else(|_| format!("API key “{number}”"), |number| names.api_key(number)),
        Some(("license", number)) => format!("whoever had the key of license {number}"),
        Some(("contract", number)) => format!("whoever had the key of contract {number}"),
        _ => match (actor, event.metadata.get("operator")) {
            ("operator", Some(account)) => format!("the operator “{account}”"),
            ("operator", None) => "the operator".to_owned(),
            ("system", _) => "the server itself".to_owned(),
            _ => format!("“{actor}”"),
        },
    }
}

/// From what kind of place, and from which address where that was opened.
pub fn from_where(event: &Event, opened: Option<&PersonalData>) -> String {
    let source = match event.metadata.get("source").map(String::as_str) {
        Some("api") => "HTTP interface",
        Some("license_service") => "license service",
        Some("command_line") => "command line",
        Some("server") => "server",
        Some(other) => other,
        None => "not recorded",
    };
    match opened.and_then(|data| data.get("client_ip")) {
        Some(ip) => format!("{source}, address {ip}"),
        None => source.to_owned(),
    }
}

pub fn reason(event: &Event) -> Option<&str> {
    event.metadata.get("reason").map(String::as_str)
}

fn listed(list: Option<&Vec<String>>) -> String {
    match list {
        None => format!("more than {LISTED_MAX}"),
        Some(list) if list.is_empty() => "none".to_owned(),
        Some(list) => list.join(", "),
    }
}

/// A state, field by field.
pub fn fields(state: &State, names: &Names) -> Vec<(&'static str, String)> {
    let activations = state.activations.as_ref().map(|list| list.iter().map(ToString::to_string).collect());
    vec![
        ("status", state.status.clone()),
        ("key", state.key.clone()),
        ("product", names.product(state.product)),
        ("owner", maybe(state.owner.as_ref())),
        ("assigned", state.assigned_at.as_deref().map_or_else(|| "never".to_owned(), at)),
        ("validity", days(state.validity_days)),
        ("expires", state.expires_at.as_deref().map_or_else(|| "never".to_owned(), at)),
        ("activation limit", limit(state.activation_limit)),
        ("activations in force", state.active.to_string()),
        ("their numbers", listed(activations.as_ref())),
        ("meta entries", listed(state.meta.as_ref())),
        ("deleted", if state.deleted { "yes" } else { "no" }.to_owned()),
    ]
}

/// What the event's own words say already, one by one.
const TOLD: [&str; 2] = ["their numbers", "meta entries"];

/// What an event changed: name, before, after.
pub fn changes(before: Option<&State>, after: &State, names: &Names) -> Vec<(&'static str, String, String)> {
    let Some(before) = before else { return Vec::new() };
    let pairs = fields(before, names).into_iter().zip(fields(after, names));
    pairs.filter(|((name, old), (_, new))| old != new && !TOLD.contains(name)).map(|((name, old), (_, new))| (name, old, new)).collect()
}

/// The whole sentence.
pub fn sentence(event: &Event, before: Option<&State>, after: &State, names: &Names) -> String {
    let (clause, rest) = parts(event, names);
    let mut sentence = format!("On {}, {clause} by {}{rest}", time::in_words(event.recorded_at), who(event, names));
    if let Some(reason) = reason(event) {
        sentence.push_str(&format!(" (reason: “{reason}”)"));
    }
    sentence.push('.');
    let changes = changes(before, after, names);
    // The name of each is told once.
    let list = |of: fn(&(&'static str, String, String)) -> String| changes.iter().map(of).collect::<Vec<_>>().join(", ");
    if !changes.is_empty() {
        sentence.push_str(&format!(
            " Before: {}; after: {}.",
            list(|(name, old, _)| format!("{name} {old}")),
            list(|(name, _, new)| format!("{name} {new}"))
        ));
    }
    sentence
}
