//! A signed answer of the server that a customer kept, as `--answer` gives it: the body of the HTTP response.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    Wrong, ensure,
    facts::Facts,
    keys::Key,
    rsa_check::{self, base64},
    state, time,
};

/// So much a server's clock may be off that of another one, in seconds.
const CLOCKS_DIFFER_MAX: i64 = 60;
const MICROS_PER_SECOND: i64 = 1_000_000;

#[derive(Deserialize)]
struct Answer {
    response: Value,
    response_base64: String,
    private_key_used: String,
    signature: String,
}

/// Whether any text in the value is the wanted one.
fn names(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text == wanted,
        Value::Array(items) => items.iter().any(|item| names(item, wanted)),
        Value::Object(members) => members.values().any(|member| names(member, wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Checks an answer with the keys of the file, and says what it tells. What is signed are the characters of `response_base64`.
pub fn check(body: &[u8], facts: &Facts<'_>) -> Result<Vec<String>, Wrong> {
    let no_answer =
        || Wrong("the given answer is no signed answer: a JSON object with response, response_base64, private_key_used and signature".to_owned());
    let answer: Answer = serde_json::from_slice(body).map_err(|_| no_answer())?;
    let signature = base64(&answer.signature).ok_or_else(no_answer)?;
    let signed_by = |key: &&Key| {
        rsa_check::public_key(&key.public_key).is_ok_and(|key| rsa_check::is_signed(&key, answer.response_base64.as_bytes(), &signature))
    };
    let signers: Vec<&Key> = facts.keys.iter().filter(signed_by).collect();
    ensure(!signers.is_empty(), || "the given answer is not signed by any key of this ledger".to_owned())?;
    // One key may have been taken over for several products; which of them signed then makes no difference.
    let fits = |key: &&Key| if key.product.is_some() { "product" } else { "global" } == answer.private_key_used;
    let signers: Vec<&Key> = signers.into_iter().filter(fits).collect();
    let key = signers
        .first()
        .ok_or_else(|| Wrong(format!("the given answer says that the “{}” key signed it, which is not so", answer.private_key_used)))?;

    let text = base64(&answer.response_base64).ok_or_else(no_answer)?;
    let response: Value = serde_json::from_slice(&text).map_err(|_| no_answer())?;
    ensure(response == answer.response, || "the given answer's readable part (response) is not what was signed (response_base64)".to_owned())?;
    let seconds = response.get("timestamp").and_then(Value::as_i64).ok_or_else(no_answer)?;
    let at = seconds.checked_mul(MICROS_PER_SECOND).ok_or_else(no_answer)?;
    let (code, message) = (response.get("code").ok_or_else(no_answer)?, response.get("message").and_then(Value::as_str).unwrap_or_default());
    let code = code.as_str().map_or_else(|| code.to_string(), str::to_owned);
    let mut said =
        vec![format!("The given answer, code {code} (“{message}”), made on {}, is signed by key pair {}.", time::in_words(at), key.key_pair)];

    if at < time::parse(&key.recorded_at).unwrap_or_default() - CLOCKS_DIFFER_MAX * MICROS_PER_SECOND {
        said.push(format!(
            "It is older than that key in this ledger ({}): the key was taken over from elsewhere, with what it had signed.",
            key.recorded_at
        ));
    }
    let periods = || signers.iter().flat_map(|key| &key.signs);
    let ended = periods().filter_map(|period| period.to.as_deref()).filter_map(time::parse).max();
    if let Some(ended) = ended.filter(|_| periods().all(|period| period.to.is_some())) {
        ensure(at <= ended + CLOCKS_DIFFER_MAX * MICROS_PER_SECOND, || {
            format!("the given answer is signed by key pair {}, which had signed no more since {}", key.key_pair, time::in_words(ended))
        })?;
    }
    let known = facts.steps.iter().any(|step| names(&response, &step.state.key));
    said.push(match known {
        true => "It names this license's key.".to_owned(),
        false => "It does not name a license: what it was asked about has to be shown by other means.".to_owned(),
    });
    // An answer's time is a whole second; what was recorded within that second may be before it.
    if let Some(step) = state::at(&facts.steps, at + MICROS_PER_SECOND - 1) {
        let until = if at > facts.map.event.recorded_at { " as far as this file reaches" } else { "" };
        said.push(format!("At that time{until}, the license was {}, as of position {}.", step.state.status, step.position));
    }
    Ok(said)
}
