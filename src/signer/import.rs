//! Taking over a key pair that was made elsewhere: a private key in PEM, PKCS#8 or PKCS#1.

use aws_lc_rs::{rand::SystemRandom, rsa::KeyPair, signature::RSA_PKCS1_SHA256};
use rsa::{
    RsaPrivateKey, RsaPublicKey,
    pkcs1::DecodeRsaPrivateKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding},
    traits::PublicKeyParts,
};

use super::{SignerError, algorithm, verify::verify_bytes};
use crate::{ledger::NewKeyPair, vault::Vault};

/// Longest PEM that is looked at: an RSA-4096 key with some lines of text around it.
pub const PEM_BYTES_MAX: usize = 16 * 1024;
const BITS_MIN: usize = 2048;
const BITS_MAX: usize = 4096;

/// Why a PEM is no key pair that can be taken over. Says nothing of what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    #[error("the PEM is longer than {PEM_BYTES_MAX} bytes")]
    TooLong,
    #[error("the private key is encrypted; give it without a password")]
    Encrypted,
    #[error("not an RSA private key in PEM (PKCS#8 or PKCS#1)")]
    NotAPrivateKey,
    #[error("the key must have {BITS_MIN} to {BITS_MAX} bits")]
    Size,
    #[error("the parts of the key do not fit each other, or are too weak to sign with")]
    Inconsistent,
}

/// Reads, checks and seals a private key: its parts fit each other, and what it signs its public half verifies.
///
/// # Errors
/// When it is no key that can be taken over, or it can't be sealed.
pub fn import(vault: &Vault, pem: &str) -> Result<NewKeyPair, SignerError> {
    let private = read(pem)?;
    let bits = private.n().bits();
    let refused = |_| SignerError::Import(ImportError::Inconsistent);
    private.validate().map_err(|_| SignerError::Import(ImportError::Inconsistent))?;
    let pkcs8 = private.to_pkcs8_der().map_err(|_| SignerError::Import(ImportError::Inconsistent))?;
    let key = KeyPair::from_pkcs8(pkcs8.as_bytes()).map_err(refused)?;
    let public = RsaPublicKey::from(&private);
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), b"keyledger", &mut signature).map_err(|_| SignerError::Import(ImportError::Inconsistent))?;
    if !verify_bytes(&public, b"keyledger", &signature) {
        return Err(SignerError::Import(ImportError::Inconsistent));
    }
    let public_key = public.to_public_key_pem(LineEnding::LF).map_err(|_| SignerError::Import(ImportError::Inconsistent))?;
    let sealed_private_key = vault.seal_private_key(&public_key, pkcs8.as_bytes())?;
    Ok(NewKeyPair { algorithm: algorithm(bits), public_key, sealed_private_key })
}

fn read(pem: &str) -> Result<RsaPrivateKey, ImportError> {
    if pem.len() > PEM_BYTES_MAX {
        return Err(ImportError::TooLong);
    }
    // A key file may have text before its key, and ends of lines of any system.
    let pem = pem.replace("\r\n", "\n");
    let pem = pem.find("-----BEGIN ").and_then(|at| pem.get(at..)).ok_or(ImportError::NotAPrivateKey)?.trim();
    if pem.starts_with("-----BEGIN ENCRYPTED ") || pem.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(ImportError::Encrypted);
    }
    let private = RsaPrivateKey::from_pkcs8_pem(pem).or_else(|_| RsaPrivateKey::from_pkcs1_pem(pem)).map_err(|_| ImportError::NotAPrivateKey)?;
    if !(BITS_MIN..=BITS_MAX).contains(&private.n().bits()) {
        return Err(ImportError::Size);
    }
    Ok(private)
}

#[cfg(test)]
mod tests {
    use rsa::pkcs1::EncodeRsaPrivateKey;
    use uuid::Uuid;

    use super::*;
    use crate::{signer::generate, vault::MasterKey};

    fn vault() -> Vault {
        let (master, id) = (MasterKey::random().unwrap(), Uuid::from_u128(1));
        Vault::open(&master, id, &master.new_ledger_secret(id).unwrap()).unwrap()
    }

    /// A private key as another system would hand it out.
    fn private(vault: &Vault) -> (RsaPrivateKey, String) {
        let pair = generate(vault, super::super::Bits::B2048).unwrap();
        let pkcs8 = vault.open_private_key(&pair.public_key, &pair.sealed_private_key).unwrap();
        (RsaPrivateKey::from_pkcs8_der(&pkcs8).unwrap(), pair.public_key)
    }

    #[test]
    fn both_forms_of_a_key_are_taken_over_with_their_public_half() {
        let vault = vault();
        let (key, public_key) = private(&vault);
        let pkcs8 = key.to_pkcs8_pem(LineEnding::LF).unwrap();
        let pkcs1 = key.to_pkcs1_pem(LineEnding::CRLF).unwrap();
        for pem in [pkcs8.as_str(), pkcs1.as_str(), &format!("Bag Attributes\n    name: x\n{}\n\n", pkcs8.as_str())] {
            let pair = import(&vault, pem).unwrap();
            assert_eq!((pair.algorithm.as_str(), &pair.public_key), ("RSA-2048", &public_key));
            assert!(vault.open_private_key(&public_key, &pair.sealed_private_key).is_ok());
        }
    }

    #[test]
    fn what_is_no_usable_private_key_is_refused() {
        let vault = vault();
        let (key, public_key) = private(&vault);
        let refusal = |pem: &str| match import(&vault, pem) {
            Err(SignerError::Import(error)) => Some(error),
            _ => None,
        };
        let pem = key.to_pkcs8_pem(LineEnding::LF).unwrap();
        assert_eq!(refusal(&public_key), Some(ImportError::NotAPrivateKey));
        for text in ["", "no PEM", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", &pem[..pem.len() / 2]] {
            assert_eq!(refusal(text), Some(ImportError::NotAPrivateKey), "{text:.20}");
        }
        assert_eq!(refusal("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n"), Some(ImportError::Encrypted));
        assert_eq!(refusal(&"x".repeat(PEM_BYTES_MAX + 1)), Some(ImportError::TooLong));
        let small = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 1024).unwrap();
        assert_eq!(refusal(&small.to_pkcs8_pem(LineEnding::LF).unwrap()), Some(ImportError::Size));
        // A private exponent that is another key's.
        let (other, _) = private(&vault);
        use rsa::traits::PrivateKeyParts;
        let mixed = RsaPrivateKey::from_components(key.n().clone(), key.e().clone(), other.d().clone(), key.primes().to_vec());
        if let Ok(mixed) = mixed.as_ref().map(|mixed| mixed.to_pkcs8_pem(LineEnding::LF).unwrap()) {
            assert!(matches!(refusal(&mixed), Some(ImportError::Inconsistent | ImportError::NotAPrivateKey)));
        }
    }
}
