//! The table of response codes: which message belongs to a code, and which HTTP status.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;

const TABLE: &str = include_str!("../fixtures/response-codes.json");

/// The messages of the answers that are not business outcomes; their code is 9000 + the HTTP status.
const ERRORS: [(i64, &str); 9] = [
    (9400, "Bad request"),
    (9404, "Not found"),
    (9405, "Method not allowed"),
    (9409, "Idempotency key conflict"),
    (9413, "Payload too large"),
    (9415, "Unsupported media type"),
    (9429, "Too many requests"),
    (9500, "Internal error"),
    (9503, "Service unavailable"),
];

/// The message that an answer with this code must carry.
#[track_caller]
pub fn message_of(code: i64) -> &'static str {
    static MESSAGES: OnceLock<HashMap<i64, String>> = OnceLock::new();
    let messages = MESSAGES.get_or_init(|| {
        let table: serde_json::Value = serde_json::from_str(TABLE).expect("response-codes.json is JSON");
        let rows = table.as_array().expect("response-codes.json is a list");
        let observed = rows.iter().map(|row| {
            let code = row["code"].as_i64().expect("a code is a number");
            (code, row["message"].as_str().expect("a message is text").to_string())
        });
        observed.chain(ERRORS.map(|(code, message)| (code, message.to_string()))).collect()
    });
    messages.get(&code).unwrap_or_else(|| panic!("{code} is no response code"))
}

/// Where the codes that tests were answered are noted, a file for each; `tests/response_codes.rs` looks there at the end.
pub fn seen_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("codes-seen")
}

/// Notes that a test was answered this code, in a right envelope.
pub fn note_seen(code: i64) {
    let folder = seen_folder();
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    std::fs::write(folder.join(code.to_string()), "").expect("a file can be written");
}

/// All codes of the contract with their names.
pub fn all() -> Vec<(i64, String)> {
    let table: serde_json::Value = serde_json::from_str(TABLE).expect("response-codes.json is JSON");
    let rows = table.as_array().expect("response-codes.json is a list");
    rows.iter().map(|row| (row["code"].as_i64().expect("a number"), row["name"].as_str().expect("a name").to_string())).collect()
}

/// The HTTP status that an answer with this code must have.
pub fn status_of(code: i64) -> u16 {
    match code {
        100..=103 => 401,
        150 => 403,
        9400..=9599 => (code - 9000) as u16,
        _ => 200,
    }
}
