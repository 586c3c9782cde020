//! RSA signatures, RSASSA-PKCS1-v1_5 with SHA-256, checked by another implementation than the one that makes them.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rsa::{
    RsaPublicKey,
    pkcs1v15::{Signature, VerifyingKey},
    pkcs8::DecodePublicKey,
    sha2::Sha256,
    signature::Verifier,
};

use crate::Wrong;

/// Comes before a checkpoint where it is signed with RSA: so it is nothing that could be taken for a signed answer.
const CHECKPOINT_PREFIX: &str = "keyledger checkpoint\n";

/// What the global key pair signs for a checkpoint: a line of its own, then the whole note.
#[must_use]
pub fn checkpoint_message(note: &str) -> Vec<u8> {
    [CHECKPOINT_PREFIX, note].concat().into_bytes()
}

/// Reads a public key (SPKI, PEM).
///
/// # Errors
/// When it is none.
pub fn public_key(pem: &str) -> Result<RsaPublicKey, Wrong> {
    RsaPublicKey::from_public_key_pem(pem.trim()).map_err(|_| Wrong("it is no RSA public key in PEM (BEGIN PUBLIC KEY)".to_owned()))
}

/// Whether the signature is the key's, of this message.
#[must_use]
pub fn is_signed(key: &RsaPublicKey, message: &[u8], signature: &[u8]) -> bool {
    let Ok(signature) = Signature::try_from(signature) else { return false };
    VerifyingKey::<Sha256>::new(key.clone()).verify(message, &signature).is_ok()
}

/// Reads Base64 of which there is one way to write it.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

pub(crate) fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}
