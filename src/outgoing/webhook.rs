//! The Standard Webhooks scheme: the headers that let a receiver check who sent what, and when.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use keyledger_events::Timestamp;

use super::Outgoing;

/// What the secret's text starts with.
const PREFIX: &str = "whsec_";

/// The secret that receivers check signatures with.
pub struct WebhookSecret([u8; 32]);

impl WebhookSecret {
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// As it is handed to a receiver.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", BASE64.encode(self.0))
    }

    /// The headers of one message. `id` stays the same when it is sent again, so that a receiver can tell.
    #[must_use]
    pub fn headers(&self, id: &str, at: Timestamp, body: &[u8]) -> [(&'static str, String); 3] {
        headers(std::slice::from_ref(self), id, at, body)
    }

    fn sign(&self, parts: &[&[u8]]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut signed = hmac::Context::with_key(&key);
        parts.iter().for_each(|part| signed.update(part));
        format!("v1,{}", BASE64.encode(signed.sign()))
    }
}

/// Why a receiver did not take a message: a class of errors, and the status where there was an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTaken {
    pub error: &'static str,
    pub status: Option<u16>,
}

/// Posts a message; the status with which it was taken.
///
/// # Errors
/// When it was not.
pub async fn post(outgoing: &Outgoing, url: &str, headers: &[(&'static str, String)], body: Vec<u8>) -> Result<u16, NotTaken> {
    match outgoing.post(url, headers, body).await {
        Ok(status @ 200..=299) => Ok(status),
        Ok(status @ 300..=399) => Err(NotTaken { error: "redirected", status: Some(status) }),
        Ok(status) => Err(NotTaken { error: "status", status: Some(status) }),
        Err(error) => Err(NotTaken { error: error.class(), status: None }),
    }
}

/// The headers of one message that several secrets sign: while a new one takes the place of an old one, either will do.
#[must_use]
pub fn headers(secrets: &[WebhookSecret], id: &str, at: Timestamp, body: &[u8]) -> [(&'static str, String); 3] {
    let timestamp = at.seconds().to_string();
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let signatures: Vec<String> = secrets.iter().map(|secret| secret.sign(&parts)).collect();
    [("webhook-id", id.to_owned()), ("webhook-timestamp", timestamp), ("webhook-signature", signatures.join(" "))]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn the_signature_is_the_specifications() {
        let secret: [u8; 24] = BASE64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap().try_into().unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let body = br#"{"test": 2432232314}"#;
        let signed = [b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.".as_slice(), body].concat();
        assert_eq!(BASE64.encode(hmac::sign(&key, &signed)), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        // The same by our own hand, with a secret of our length.
        let ours = WebhookSecret::new([7; 32]);
        let signed = [b"msg_1.1614265330.".as_slice(), body].concat();
        let expected = BASE64.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), &signed));
        let headers = ours.headers("msg_1", Timestamp(1_614_265_330_999_999), body);
        assert_eq!(headers[0], ("webhook-id", "msg_1".to_owned()));
        assert_eq!(headers[1], ("webhook-timestamp", "1614265330".to_owned()));
        assert_eq!(headers[2], ("webhook-signature", format!("v1,{expected}")));
        assert!(ours.reveal().starts_with("whsec_") && ours.reveal().len() == 6 + 44);
    }
}
