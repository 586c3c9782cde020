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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Answers of a live server, recorded; one of them was altered after it was signed.
    #[test]
    fn recorded_signatures_verify_and_the_altered_one_does_not() {
        let vectors: Value = serde_json::from_str(include_str!("../../tests/fixtures/signature-vectors.json")).unwrap();
        let key = public_key(vectors["public_key_pem"].as_str().unwrap()).unwrap();
        let vectors = vectors["vectors"].as_array().unwrap();
        assert!(vectors.len() > 40);
        for vector in vectors {
            let signature = base64(vector["signature"].as_str().unwrap()).unwrap();
            assert_eq!(
                is_signed(&key, vector["response_base64"].as_str().unwrap().as_bytes(), &signature),
                vector["valid"].as_bool().unwrap(),
                "{vector}"
            );
        }
    }

    #[test]
    fn what_is_no_key_or_signature_is_none() {
        assert!(public_key("no key").is_err());
        assert_eq!((base64("AAA"), base64("AAB="), base64("AAA=\n")), (None, None, None));
        assert_eq!(checkpoint_message("note\n"), b"keyledger checkpoint\nnote\n");
    }
}
