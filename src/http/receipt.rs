//! Receipts: headers that tell a caller where its event stands in the log, so that it can have its inclusion proved later. The
//! body and its signature are the same with and without.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::doc::{Parameter, Place, Shape};
use crate::ledger::Receipt;

const ASKED: HeaderName = HeaderName::from_static("x-ledger-receipt");
const POSITION: HeaderName = HeaderName::from_static("x-ledger-position");
const LEAF_HASH: HeaderName = HeaderName::from_static("x-ledger-leaf-hash");
const CHECKPOINT: HeaderName = HeaderName::from_static("x-ledger-checkpoint");
/// Longest checkpoint, with all its signatures, that is sent as a header: what common clients and proxies take is 8 KiB for all of
/// them together, and Base64 makes a third more of it.
const CHECKPOINT_BYTES_MAX: usize = 3_000;

/// How a request asks for one.
pub const PARAMETER: Parameter =
    Parameter::optional("X-Ledger-Receipt", Shape::Is("1"), "Has the answer name its event in its headers.").at(Place::Header);

/// The headers that answer it, with what they mean.
pub const HEADERS: [(&str, &str, Shape); 3] = [
    ("X-Ledger-Position", "The position of the request's event in the log, where a receipt is asked for and there is an event.", Shape::Integer),
    ("X-Ledger-Leaf-Hash", "The RFC 6962 hash of that event's leaf, in hexadecimal.", Shape::Text),
    ("X-Ledger-Checkpoint", "The newest signed checkpoint, in Base64; one that covers the event may come after it.", Shape::Text),
];

/// Whether a request asks for a receipt.
#[must_use]
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    headers.get(ASKED).is_some_and(|value| value.as_bytes().trim_ascii() == b"1")
}

/// Adds a receipt to an answer's headers. `checkpoint` is the newest signed note, where there is one yet.
pub fn stamp(headers: &mut HeaderMap, receipt: Receipt, checkpoint: Option<&str>) {
    headers.insert(POSITION, receipt.position.into());
    let texts = [
        (LEAF_HASH, Some(receipt.leaf_hash.to_string())),
        (CHECKPOINT, checkpoint.filter(|note| note.len() <= CHECKPOINT_BYTES_MAX).map(|note| BASE64.encode(note))),
    ];
    for (name, text) in texts {
        if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::LeafHash;

    fn stamped(checkpoint: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        stamp(&mut headers, Receipt { position: 4711, leaf_hash: LeafHash([0x0f; 32]) }, checkpoint);
        headers
    }

    #[test]
    fn a_receipt_names_event_and_checkpoint() {
        let headers = stamped(Some("ledger.example\n4712\n\n\u{2014} x\n"));
        assert_eq!(headers[POSITION], "4711");
        assert_eq!(headers[LEAF_HASH], "0f".repeat(32));
        assert_eq!(BASE64.decode(&headers[CHECKPOINT]).unwrap(), "ledger.example\n4712\n\n\u{2014} x\n".as_bytes());
    }

    #[test]
    fn without_a_checkpoint_that_fits_it_names_none() {
        for checkpoint in [None, Some("n".repeat(CHECKPOINT_BYTES_MAX + 1))] {
            let headers = stamped(checkpoint.as_deref());
            assert!(headers.contains_key(POSITION) && !headers.contains_key(CHECKPOINT));
        }
    }

    #[test]
    fn only_1_asks_for_one() {
        for (value, asked) in [("1", true), (" 1 ", true), ("0", false), ("true", false), ("", false)] {
            let headers = HeaderMap::from_iter([(ASKED, HeaderValue::from_static(value))]);
            assert_eq!(is_asked_for(&headers), asked, "{value:?}");
        }
        assert!(!is_asked_for(&HeaderMap::new()));
    }
}
