//! The only place that touches private keys: it makes key pairs, keeps the opened ones for a while, and signs.
//!
//! A signature is a fifth of a millisecond of computing, on the task of the request that needs it, while that task holds
//! one of as many permits as there are cores. The other requests wait for a permit as tasks, not as threads, so a
//! request that needs no signature finds a worker free within one signature's time.

mod import;
mod jwk;
mod notes;
mod verify;

use std::sync::Arc;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use keyledger_projections::Value;
use metrics::Counter;
use rsa::{
    RsaPublicKey,
    pkcs8::{DecodePublicKey, EncodePublicKey, LineEnding},
};
use tokio::sync::Semaphore;

use crate::{
    ledger::NewKeyPair,
    store::{Store, StoreError},
    vault::{Vault, VaultError},
};

pub use import::{ImportError, PEM_BYTES_MAX, import};
pub use jwk::Jwk;
pub use notes::{NoteSigner, NotedCheckpoint, is_origin};
pub use verify::verify_response;

/// Opened private keys kept in memory: some kilobytes each; a vendor has few products.
const OPEN_KEYS_MAX: u64 = 1_000;
/// Key pairs made at the same time: each takes a core for a good part of a second.
const GENERATIONS_MAX: usize = 2;

#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("key pair {0} has no private key")]
    Missing(i64),
    #[error("the private key of key pair {0} can't be used")]
    Rejected(i64),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("making a key pair failed")]
    Generation,
    #[error("signing failed")]
    Signing,
    #[error(transparent)]
    Import(#[from] ImportError),
}

/// How large a key pair is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bits {
    #[default]
    B2048,
    B3072,
    B4096,
}

impl Bits {
    pub const ALL: [Self; 3] = [Self::B2048, Self::B3072, Self::B4096];

    #[must_use]
    pub fn number(self) -> usize {
        match self {
            Self::B2048 => 2048,
            Self::B3072 => 3072,
            Self::B4096 => 4096,
        }
    }

    #[must_use]
    pub fn parse(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|bits| i64::try_from(bits.number()) == Ok(number))
    }

    fn size(self) -> KeySize {
        match self {
            Self::B2048 => KeySize::Rsa2048,
            Self::B3072 => KeySize::Rsa3072,
            Self::B4096 => KeySize::Rsa4096,
        }
    }
}

fn algorithm(bits: usize) -> String {
    format!("RSA-{bits}")
}

pub struct Signer {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    /// The key that signs where no product's does; never given up, so that every refusal can be signed.
    global: Arc<KeyPair>,
    open: moka::sync::Cache<i64, Arc<KeyPair>>,
    permits: Semaphore,
    generations: Semaphore,
    signatures: Counter,
}

impl Signer {
    /// `cores` is how many signatures may be computed at once.
    ///
    /// # Errors
    /// When the global key pair can't be read.
    pub async fn new(store: Arc<dyn Store>, vault: Arc<Vault>, cores: usize) -> Result<Self, SignerError> {
        let rows = store.query("SELECT number FROM key_pair WHERE product IS NULL ORDER BY number DESC LIMIT 1", &[]).await?;
        let global = match rows.first().and_then(|row| row.first()) {
            Some(Value::Int(number)) => *number,
            _ => return Err(SignerError::Missing(0)),
        };
        let global = open_key(store.as_ref(), &vault, global).await?;
        Ok(Self {
            store,
            vault,
            global,
            open: moka::sync::Cache::new(OPEN_KEYS_MAX),
            permits: Semaphore::new(cores.max(1)),
            generations: Semaphore::new(GENERATIONS_MAX),
            signatures: metrics::counter!("keyledger_signatures_total"),
        })
    }

    /// Signs, in standard Base64: RSASSA-PKCS1-v1_5 with SHA-256. Without a key pair the global one signs.
    ///
    /// # Errors
    /// When the key can't be had.
    pub async fn sign(&self, key_pair: Option<i64>, message: &[u8]) -> Result<String, SignerError> {
        let key = self.key(key_pair).await?;
        // Fair: who waits longest is next.
        let _permit = self.permits.acquire().await.map_err(|_| SignerError::Signing)?;
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).map_err(|_| SignerError::Signing)?;
        self.signatures.increment(1);
        Ok(BASE64.encode(signature))
    }

    async fn key(&self, number: Option<i64>) -> Result<Arc<KeyPair>, SignerError> {
        let Some(number) = number else { return Ok(Arc::clone(&self.global)) };
        if let Some(key) = self.open.get(&number) {
            return Ok(key);
        }
        let key = open_key(self.store.as_ref(), &self.vault, number).await?;
        self.open.insert(number, Arc::clone(&key));
        Ok(key)
    }

    /// Makes a key pair on a thread of its own.
    ///
    /// # Errors
    /// When it can't be made.
    pub async fn generate(&self, bits: Bits) -> Result<NewKeyPair, SignerError> {
        self.apart(move |vault| generate(vault, bits)).await
    }

    /// Takes over a private key in PEM, checked on a thread of its own.
    ///
    /// # Errors
    /// When it is no key that can be taken over.
    pub async fn import(&self, pem: String) -> Result<NewKeyPair, SignerError> {
        self.apart(move |vault| import(vault, &pem)).await
    }

    async fn apart(&self, make: impl FnOnce(&Vault) -> Result<NewKeyPair, SignerError> + Send + 'static) -> Result<NewKeyPair, SignerError> {
        let _permit = self.generations.acquire().await.map_err(|_| SignerError::Generation)?;
        let vault = Arc::clone(&self.vault);
        tokio::task::spawn_blocking(move || make(&vault)).await.map_err(|_| SignerError::Generation)?
    }
}

async fn open_key(store: &dyn Store, vault: &Vault, number: i64) -> Result<Arc<KeyPair>, SignerError> {
    let sql = "SELECT s.sealed, k.public_key FROM key_pair_secret s JOIN key_pair k ON k.number = s.key_pair WHERE s.key_pair = $1";
    let rows = store.query(sql, &[number.into()]).await?;
    let Some([Value::Bytes(sealed), Value::Text(public_key)]) = rows.first().map(Vec::as_slice) else {
        return Err(SignerError::Missing(number));
    };
    let pkcs8 = vault.open_private_key(public_key, sealed)?;
    KeyPair::from_pkcs8(&pkcs8).map(Arc::new).map_err(|_| SignerError::Rejected(number))
}

/// Makes an RSA key pair; takes a good part of a second, with more bits several.
///
/// # Errors
/// When it can't be made or sealed.
pub fn generate(vault: &Vault, bits: Bits) -> Result<NewKeyPair, SignerError> {
    let key = KeyPair::generate(bits.size()).map_err(|_| SignerError::Generation)?;
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| SignerError::Generation)?;
    let public_key = RsaPublicKey::from_public_key_der(public.as_ref())
        .and_then(|public| public.to_public_key_pem(LineEnding::LF))
        .map_err(|_| SignerError::Generation)?;
    let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).map_err(|_| SignerError::Generation)?;
    let sealed_private_key = vault.seal_private_key(&public_key, pkcs8.as_ref())?;
    Ok(NewKeyPair { algorithm: algorithm(bits.number()), public_key, sealed_private_key })
}
