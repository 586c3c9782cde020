//! `/.well-known/jwks.json`: every public key, for everybody.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::{
    doc::{Doc, Field, Given, Guard, Shape},
    envelope::{Answered, internal},
};
use crate::app::App;

const KEY_SET: HeaderValue = HeaderValue::from_static("application/jwk-set+json");
/// Long enough to keep the load away, short enough that a new key is known before many answers are signed with it: a verifier
/// that meets an unknown key asks again anyway.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=300");

pub const DOC: Doc = Doc::new("Every public key that answers were signed with")
    .details("A JSON web key set (RFC 7517), retired keys too; a key's `kid` is its thumbprint (RFC 7638). `If-None-Match` is understood.")
    .guard(Guard::Nobody)
    .given(&[
        Given::new(
            200,
            "The keys.",
            "application/jwk-set+json",
            Shape::Object(&[Field::always(
                "keys",
                Shape::List(&Shape::Object(&[
                    Field::always("kty", Shape::Is("RSA"), ""),
                    Field::always("use", Shape::Is("sig"), ""),
                    Field::always("alg", Shape::Is("RS256"), ""),
                    Field::always("kid", Shape::Text, "The key's thumbprint."),
                    Field::always("n", Shape::Text, "The modulus."),
                    Field::always("e", Shape::Text, "The exponent."),
                ])),
                "In the order of their making.",
            )]),
        ),
        Given::new(304, "The set is still the one that the client names.", "", Shape::Any),
    ]);

pub async fn show(app: Arc<App>, headers: HeaderMap) -> Answered<Response> {
    let set = app.public_keys.key_set(&app.ledger).await?;
    let tag = HeaderValue::from_str(&format!("\"{}\"", set.tag)).map_err(|error| internal(&error))?;
    let is_known = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| names(value, &tag));
    let mut response = Response::new(if is_known { Body::empty() } else { Body::from(set.json.clone()) });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        response.headers_mut().insert(header::CONTENT_TYPE, KEY_SET);
    }
    response.headers_mut().insert(header::ETAG, tag);
    response.headers_mut().insert(header::CACHE_CONTROL, CACHED);
    Ok(response)
}

/// Whether `If-None-Match` names a tag; a weak one is as good here.
fn names(value: &HeaderValue, tag: &HeaderValue) -> bool {
    let mut entries = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    entries.any(|entry| entry == b"*" || entry.strip_prefix(b"W/").unwrap_or(entry) == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_among_those_a_client_names() {
        let tag = HeaderValue::from_static("\"abc\"");
        for value in ["\"abc\"", "W/\"abc\"", "\"x\", \"abc\"", "*"] {
            assert!(names(&HeaderValue::from_static(value), &tag), "{value}");
        }
        for value in ["", "abc", "\"abcd\"", "\"x\""] {
            assert!(!names(&HeaderValue::from_static(value), &tag), "{value}");
        }
    }
}
