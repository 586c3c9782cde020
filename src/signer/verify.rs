//! Checking a signed response, with another implementation of RSA than the one that signs.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rsa::{
    RsaPublicKey,
    pkcs1v15::{Signature, VerifyingKey},
    pkcs8::DecodePublicKey,
    sha2::Sha256,
    signature::Verifier,
};

/// Whether a response was signed by the holder of this public key (SPKI, PEM). What is signed are the ASCII bytes of
/// `response_base64` itself, not the JSON that it decodes to.
///
/// ```
/// assert!(!keyledger::signer::verify_response("no key", "e30=", "AAAA"));
/// ```
#[must_use]
pub fn verify_response(public_key_pem: &str, response_base64: &str, signature: &str) -> bool {
    let Ok(key) = RsaPublicKey::from_public_key_pem(public_key_pem.trim()) else { return false };
    let Ok(signature) = BASE64.decode(signature) else { return false };
    verify_bytes(&key, response_base64.as_bytes(), &signature)
}

pub(super) fn verify_bytes(key: &RsaPublicKey, message: &[u8], signature: &[u8]) -> bool {
    let Ok(signature) = Signature::try_from(signature) else { return false };
    VerifyingKey::<Sha256>::new(key.clone()).verify(message, &signature).is_ok()
}
