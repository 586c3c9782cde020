//! One signed answer, checked as far as every answer must hold: the envelope's shape, its text form and its signature.

use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderMap;

use super::codes;
use super::json::Json;
use super::keyring::KeyRing;

/// `private_key_used` of an answer that the service's own key signed.
pub const GLOBAL: &str = "global";
/// `private_key_used` of an answer that a product's key signed.
pub const PRODUCT: &str = "product";

/// How far the server's clock and the test's may lie apart: they are on one machine.
const CLOCK_TOLERANCE_S: i64 = 120;

/// Whose public key verified an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedBy {
    Global,
    Product(i64),
}

/// An answer whose envelope and signature have been checked.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub response: Json,
    pub response_base64: String,
    pub private_key_used: String,
    pub signature: String,
    pub signed_by: SignedBy,
}

impl Answer {
    /// Reads an envelope and checks everything that holds for each of them:
    /// its members and their order; `response` is what `response_base64` decodes to, in PHP's text form; it starts with `code`
    /// and `message` and ends with the present time; the key that it names has signed it.
    pub async fn read(status: u16, headers: HeaderMap, body: &str, ring: &KeyRing) -> Answer {
        let envelope: Json = serde_json::from_str(body).unwrap_or_else(|error| panic!("HTTP {status} without an envelope ({error}): {body}"));
        assert_eq!(envelope.names(), ["response", "response_base64", "private_key_used", "signature"], "the envelope of HTTP {status}: {body}");
        let content_type = headers.get("content-type").map(|value| value.to_str().unwrap_or_default().to_string());
        assert!(
            content_type.as_deref().is_some_and(|value| value.starts_with("application/json")),
            "an envelope with the content type {content_type:?}"
        );
        let mut answer = Answer {
            status,
            headers,
            response: envelope.at("response").clone(),
            response_base64: envelope.at("response_base64").text().to_string(),
            private_key_used: envelope.at("private_key_used").text().to_string(),
            signature: envelope.at("signature").text().to_string(),
            signed_by: SignedBy::Global,
        };
        answer.check_text_form();
        answer.check_frame();
        codes::note_seen(answer.code());
        answer.signed_by = ring.who_signed(&answer).await;
        answer
    }

    fn check_text_form(&self) {
        let decoded = STANDARD.decode(&self.response_base64).expect("response_base64 is standard padded Base64");
        let decoded = String::from_utf8(decoded).expect("the signed JSON is text");
        assert_eq!(decoded, self.response.to_php(), "response_base64 must be the compact JSON of response as PHP writes it");
        assert_eq!(Json::parse(&decoded), self.response, "response and response_base64 say different things");
    }

    fn check_frame(&self) {
        let names = self.response.names();
        assert_eq!(names.get(..2), Some(&["code", "message"][..]), "the first members of {}", self.response);
        assert_eq!(names.last(), Some(&"timestamp"), "the last member of {}", self.response);
        let now = UNIX_EPOCH.elapsed().expect("the clock stands after 1970").as_secs() as i64;
        let timestamp = self.response.at("timestamp").integer();
        assert!((timestamp - now).abs() < CLOCK_TOLERANCE_S, "the answer's time is {timestamp}, the clock says {now}");
    }

    /// The code as a number, whichever JSON type it has.
    pub fn code(&self) -> i64 {
        match self.response.at("code") {
            Json::Text(text) => text.parse().expect("a code in a string is a number"),
            other => other.integer(),
        }
    }

    /// Promises the code with its JSON type, the HTTP status and the message that belong to it, and which kind of key signed.
    #[track_caller]
    pub fn expect(&self, code: impl Into<Json>, key: &str) -> &Answer {
        let code = code.into();
        assert_eq!(self.response.at("code"), &code, "the code of HTTP {}: {}", self.status, self.response);
        assert_eq!(self.status, codes::status_of(self.code()), "the HTTP status of {}", self.response);
        assert_eq!(self.response.at("message").text(), codes::message_of(self.code()), "the message of {code}");
        assert_eq!(self.private_key_used, key, "which key signs {}", self.response);
        self
    }

    /// Promises an answer that is no business outcome: the envelope for `status`, saying for a person what is wrong.
    #[track_caller]
    pub fn expect_error(&self, status: u16) -> &Answer {
        self.expect(9000 + i64::from(status), GLOBAL);
        assert_eq!(self.response.names(), ["code", "message", "error", "timestamp"], "the members of {}", self.response);
        assert!(!self.response.at("error").text().trim().is_empty(), "an error that says nothing: {}", self.response);
        self
    }

    /// Promises the member `errors`, exactly, as JSON text.
    #[track_caller]
    pub fn expect_errors(&self, errors: &str) -> &Answer {
        assert_eq!(self.response.at("errors"), &Json::parse(errors), "the errors of {}", self.response);
        self
    }

    /// Promises the names of the members between `message` and `timestamp`.
    #[track_caller]
    pub fn expect_members(&self, between: &[&str]) -> &Answer {
        let names = self.response.names();
        assert_eq!(&names[2..names.len() - 1], between, "the members of {}", self.response);
        self
    }

    /// Promises that the key pair of this very product signed.
    #[track_caller]
    pub fn expect_signed_by(&self, product: i64) -> &Answer {
        assert_eq!(self.signed_by, SignedBy::Product(product), "whose key verifies {}", self.response);
        self
    }
}
