//! Secrets: the master key, what it seals, and the keyed hashes. Nothing here is ever logged.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    constant_time::verify_slices_are_equal,
    hkdf, hmac,
    rand::{SecureRandom, SystemRandom},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD},
};
use keyledger_events::{PersonalData, Sealed, SubjectKind, envelope::LEAF_FORMAT};
use uuid::Uuid;

use crate::outgoing::webhook::WebhookSecret;

const KEY_LEN: usize = 32;
/// Sealed texts are as long as a multiple of this: all addresses and most names look alike.
const SEALED_STEP: usize = 64;

/// A key of 256 bits.
pub type Key = [u8; KEY_LEN];

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("cannot read the master key file {path}: {source}")]
    MasterKeyFile {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the master key file {0} must hold 64 hexadecimal digits")]
    MasterKeyFormat(String),
    #[error("wrong master key: it does not open this ledger's secret (is KEYLEDGER_MASTER_KEY_FILE the file this ledger was made with?)")]
    WrongMasterKey,
    #[error("a sealed value does not open: it was altered, or sealed by another key")]
    Sealed,
    #[error("the operating system gives no random numbers")]
    Random,
}

/// The key that seals all others at rest.
pub struct MasterKey(Key);

impl MasterKey {
    /// Reads the key from a file of 64 hexadecimal digits.
    ///
    /// # Errors
    /// When the file can't be read or holds something else.
    pub fn read(path: &Path) -> Result<Self, VaultError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| VaultError::MasterKeyFile { path: shown.clone(), source })?;
        let bytes = hex::decode(text.trim()).map_err(|_| VaultError::MasterKeyFormat(shown.clone()))?;
        let readable_by_others = std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0);
        if readable_by_others {
            tracing::warn!(file = shown, "the master key file is readable by other users; mode 0600 is advised");
        }
        Key::try_from(bytes).map(Self).map_err(|_| VaultError::MasterKeyFormat(shown))
    }

    /// Reads the key, or makes it where there is none: in a new file of mode 0600, synced before it is used.
    ///
    /// # Errors
    /// When the file can't be read or made.
    pub fn read_or_create(path: &Path) -> Result<Self, VaultError> {
        let failed = |source| VaultError::MasterKeyFile { path: path.display().to_string(), source };
        // Written whole beside it and linked into place, so that two processes starting at once use one key.
        if !path.exists() {
            let key = random::<KEY_LEN>()?;
            let beside = path.with_extension(format!("{}.new", std::process::id()));
            let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(failed)?;
            writeln!(file, "{}", hex::encode(key)).and_then(|()| file.sync_all()).map_err(failed)?;
            let linked = std::fs::hard_link(&beside, path);
            std::fs::remove_file(&beside).map_err(failed)?;
            if let Err(error) = linked
                && error.kind() != std::io::ErrorKind::AlreadyExists
            {
                return Err(failed(error));
            }
            if let Some(folder) = path.parent() {
                std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
            }
        }
        Self::read(path)
    }

    /// A random key, for ledgers that are thrown away.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn random() -> Result<Self, VaultError> {
        random().map(Self)
    }

    fn sealing_key(&self) -> Result<LessSafeKey, VaultError> {
        aes_key(&derive::<KEY_LEN>(&self.0, &[b"keyledger seal at rest"])?)
    }

    /// A new ledger secret, sealed.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new_ledger_secret(&self, ledger_id: Uuid) -> Result<Vec<u8>, VaultError> {
        seal_at_rest(&self.sealing_key()?, &ledger_secret_label(ledger_id), &random::<KEY_LEN>()?)
    }
}

fn ledger_secret_label(ledger_id: Uuid) -> Vec<u8> {
    [b"ledger secret ".as_slice(), ledger_id.as_bytes()].concat()
}

/// Random bytes.
///
/// # Errors
/// When the operating system gives none.
pub fn random<const N: usize>() -> Result<[u8; N], VaultError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| VaultError::Random)?;
    Ok(bytes)
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand (RFC 5869) with SHA-256; the keys it is given are uniformly random, so they need no extraction.
fn derive<const N: usize>(key: &Key, info: &[&[u8]]) -> Result<[u8; N], VaultError> {
    let mut out = [0; N];
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, key).expand(info, Length(N)).and_then(|okm| okm.fill(&mut out)).map_err(|_| VaultError::Sealed)?;
    Ok(out)
}

fn aes_key(key: &Key) -> Result<LessSafeKey, VaultError> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_| VaultError::Sealed)
}

/// Random nonce, ciphertext, tag.
fn seal_at_rest(key: &LessSafeKey, label: &[u8], plain: &[u8]) -> Result<Vec<u8>, VaultError> {
    let nonce = random::<NONCE_LEN>()?;
    let mut sealed = plain.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(label), &mut sealed).map_err(|_| VaultError::Sealed)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

fn open_at_rest(key: &LessSafeKey, label: &[u8], sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(VaultError::Sealed)?;
    let mut plain = rest.to_vec();
    let length = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(label), &mut plain).map_err(|_| VaultError::Sealed)?.len();
    plain.truncate(length);
    Ok(plain)
}

/// The key of a data subject, opened.
#[derive(Clone)]
pub struct SubjectKey {
    pub kind: SubjectKind,
    pub id: Uuid,
    key: Key,
}

/// What an opened ledger needs of secrets.
pub struct Vault {
    ledger_id: Uuid,
    at_rest: LessSafeKey,
    api_keys: hmac::Key,
    requests: hmac::Key,
    emails: hmac::Key,
    download_links: hmac::Key,
    download_tokens: hmac::Key,
    webhooks: Key,
    endpoints: hmac::Key,
    checkpoints: Key,
}

impl Vault {
    /// Opens a ledger's secret with the master key.
    ///
    /// # Errors
    /// When the master key is not the one that sealed it.
    pub fn open(master: &MasterKey, ledger_id: Uuid, sealed_secret: &[u8]) -> Result<Self, VaultError> {
        let at_rest = master.sealing_key()?;
        let secret = open_at_rest(&at_rest, &ledger_secret_label(ledger_id), sealed_secret).map_err(|_| VaultError::WrongMasterKey)?;
        let secret = Key::try_from(secret).map_err(|_| VaultError::WrongMasterKey)?;
        let mac = |purpose: &[u8]| derive::<KEY_LEN>(&secret, &[purpose]).map(|key| hmac::Key::new(hmac::HMAC_SHA256, &key));
        Ok(Self {
            ledger_id,
            at_rest,
            api_keys: mac(b"api keys")?,
            requests: mac(b"requests")?,
            emails: mac(b"e-mail addresses")?,
            download_links: mac(b"download links")?,
            download_tokens: mac(b"download tokens")?,
            webhooks: derive(&secret, &[b"web hooks"])?,
            endpoints: mac(b"web hook endpoints")?,
            checkpoints: derive(&secret, &[b"checkpoints"])?,
        })
    }

    #[must_use]
    pub fn ledger_id(&self) -> Uuid {
        self.ledger_id
    }

    /// What signs web hooks.
    #[must_use]
    pub fn webhook_secret(&self) -> WebhookSecret {
        WebhookSecret::new(self.webhooks)
    }

    /// What signs the messages to one web hook endpoint: made of the endpoint's salt, so it is kept nowhere.
    ///
    /// # Errors
    /// When the hash is none of ours.
    pub fn endpoint_secret(&self, salt: &str) -> Result<WebhookSecret, VaultError> {
        let secret = Key::try_from(hmac::sign(&self.endpoints, salt.as_bytes()).as_ref()).map_err(|_| VaultError::Sealed)?;
        Ok(WebhookSecret::new(secret))
    }

    /// What the key that signs checkpoints is made of.
    #[must_use]
    pub(crate) fn checkpoint_seed(&self) -> &Key {
        &self.checkpoints
    }

    /// Under which an API key is found without being kept.
    #[must_use]
    pub fn api_key_hash(&self, value: &str) -> Vec<u8> {
        hmac::sign(&self.api_keys, value.as_bytes()).as_ref().to_vec()
    }

    /// An API key's value, made of a salt of its own: so the first answer to a request can be given again while its idempotency
    /// record, which holds the salt, is kept, and the value is kept nowhere.
    #[must_use]
    pub fn api_key_value(&self, salt: &[u8]) -> String {
        let value = self.request_hash(&[b"api key value", salt]);
        format!("kl_{}", URL_SAFE_NO_PAD.encode(value))
    }

    /// Keyed hash of a request's parts; each part's length is hashed too, so parts can't run into each other.
    #[must_use]
    pub fn request_hash(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.requests);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref().to_vec()
    }

    /// Under which an owner is found by address; letter case doesn't matter.
    #[must_use]
    pub fn email_index(&self, email: &str) -> Vec<u8> {
        hmac::sign(&self.emails, email.trim().to_lowercase().as_bytes()).as_ref().to_vec()
    }

    /// What a link to download a version with a license carries, good until a time (in seconds).
    #[must_use]
    pub fn download_link(&self, license: i64, numeric_version: i64, expires_at: i64) -> Vec<u8> {
        hmac::sign(&self.download_links, &download_link_message(license, numeric_version, expires_at)).as_ref().to_vec()
    }

    /// Whether a link carries what [`Self::download_link`] gave.
    #[must_use]
    pub fn is_download_link(&self, license: i64, numeric_version: i64, expires_at: i64, link: &[u8]) -> bool {
        hmac::verify(&self.download_links, &download_link_message(license, numeric_version, expires_at), link).is_ok()
    }

    /// Under which a token for one download is found without being kept, in hexadecimal.
    #[must_use]
    pub fn download_token_hash(&self, value: &str) -> String {
        hex::encode(hmac::sign(&self.download_tokens, value.as_bytes()).as_ref())
    }

    /// Seals a private key, bound to its public key: it opens as that one's and no other's.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn seal_private_key(&self, public_key: &str, pkcs8: &[u8]) -> Result<Vec<u8>, VaultError> {
        seal_at_rest(&self.at_rest, &private_key_label(public_key), pkcs8)
    }

    /// # Errors
    /// When it was not sealed by this master key, or for another public key.
    pub fn open_private_key(&self, public_key: &str, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        open_at_rest(&self.at_rest, &private_key_label(public_key), sealed)
    }

    /// A new data subject: its opened key, and the sealed one to keep.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new_subject(&self, kind: SubjectKind) -> Result<(SubjectKey, Vec<u8>), VaultError> {
        let id = crate::clock::new_id();
        let key = random::<KEY_LEN>()?;
        let sealed = seal_at_rest(&self.at_rest, &subject_label(id), &key)?;
        Ok((SubjectKey { kind, id, key }, sealed))
    }

    /// # Errors
    /// When the key was not sealed by this master key, or for another subject.
    pub fn open_subject(&self, kind: SubjectKind, id: Uuid, sealed_key: &[u8]) -> Result<SubjectKey, VaultError> {
        let key = open_at_rest(&self.at_rest, &subject_label(id), sealed_key)?;
        Ok(SubjectKey { kind, id, key: Key::try_from(key).map_err(|_| VaultError::Sealed)? })
    }

    /// Seals an event's personal data: AES-256-GCM under a key that HKDF derives from the subject's key and the event's id,
    /// with a commitment to it, so that a ciphertext opens under one key alone. Each key seals once, so the nonce is
    /// constant. The text is filled up with blanks, so that its length tells little.
    ///
    /// # Errors
    /// When the data can't be serialized.
    pub fn seal(&self, subject: &SubjectKey, event_id: Uuid, data: &PersonalData) -> Result<Sealed, VaultError> {
        let (key, commitment) = event_key(subject, event_id)?;
        let mut text = serde_json::to_vec(data).map_err(|_| VaultError::Sealed)?;
        text.resize(text.len().next_multiple_of(SEALED_STEP), b' ');
        aes_key(&key)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key([0; NONCE_LEN]), Aad::from(self.event_label(event_id)), &mut text)
            .map_err(|_| VaultError::Sealed)?;
        Ok(Sealed { ciphertext: BASE64.encode(text), commitment: BASE64.encode(commitment), of: subject.kind, subject: subject.id })
    }

    /// Opens an event's personal data.
    ///
    /// # Errors
    /// When it was altered or belongs to another event, subject or ledger.
    pub fn unseal(&self, subject: &SubjectKey, event_id: Uuid, sealed: &Sealed) -> Result<PersonalData, VaultError> {
        let (key, commitment) = event_key(subject, event_id)?;
        let stored = BASE64.decode(&sealed.commitment).map_err(|_| VaultError::Sealed)?;
        verify_slices_are_equal(&commitment, &stored).map_err(|_| VaultError::Sealed)?;
        let mut text = BASE64.decode(&sealed.ciphertext).map_err(|_| VaultError::Sealed)?;
        let plain = aes_key(&key)?
            .open_in_place(Nonce::assume_unique_for_key([0; NONCE_LEN]), Aad::from(self.event_label(event_id)), &mut text)
            .map_err(|_| VaultError::Sealed)?;
        serde_json::from_slice(plain).map_err(|_| VaultError::Sealed)
    }

    /// What opens one event's personal data, and no other's.
    ///
    /// # Errors
    /// When no key can be derived.
    pub fn event_secret(&self, subject: &SubjectKey, event_id: Uuid) -> Result<Key, VaultError> {
        event_secret(subject, event_id)
    }

    fn event_label(&self, event_id: Uuid) -> Vec<u8> {
        [LEAF_FORMAT.as_bytes(), self.ledger_id.as_bytes(), event_id.as_bytes()].concat()
    }
}

fn download_link_message(license: i64, numeric_version: i64, expires_at: i64) -> Vec<u8> {
    [license, numeric_version, expires_at].iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn private_key_label(public_key: &str) -> Vec<u8> {
    [b"private key of ".as_slice(), public_key.as_bytes()].concat()
}

fn subject_label(id: Uuid) -> [u8; 24] {
    let mut label = *b"subject                 ";
    label[8..].copy_from_slice(id.as_bytes());
    label
}

/// A secret of one event alone: handed out, it opens and checks this one object.
fn event_secret(subject: &SubjectKey, event_id: Uuid) -> Result<Key, VaultError> {
    derive(&subject.key, &[b"keyledger event ", event_id.as_bytes()])
}

/// The sealing key of one event and the commitment to it. Both come from a secret of that event alone, which can be
/// handed out to open and check this one object, without the subject's key, which opens all of the subject's.
fn event_key(subject: &SubjectKey, event_id: Uuid) -> Result<(Key, Key), VaultError> {
    event_secret_keys(&event_secret(subject, event_id)?)
}

fn event_secret_keys(event_secret: &Key) -> Result<(Key, Key), VaultError> {
    Ok((derive(event_secret, &[b"seal"])?, derive(event_secret, &[b"commitment"])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> (MasterKey, Vec<u8>, Vault) {
        let master = MasterKey::random().unwrap();
        let secret = master.new_ledger_secret(Uuid::from_u128(1)).unwrap();
        let vault = Vault::open(&master, Uuid::from_u128(1), &secret).unwrap();
        (master, secret, vault)
    }

    fn data() -> PersonalData {
        PersonalData { owner_email: Some("jane@shop.example".into()), ..PersonalData::default() }
    }

    #[test]
    fn another_master_key_or_ledger_opens_nothing() {
        let (master, secret, _) = vault();
        assert!(matches!(Vault::open(&MasterKey::random().unwrap(), Uuid::from_u128(1), &secret), Err(VaultError::WrongMasterKey)));
        assert!(matches!(Vault::open(&master, Uuid::from_u128(2), &secret), Err(VaultError::WrongMasterKey)));
    }

    #[test]
    fn a_sealed_object_opens_for_its_event_and_subject_alone() {
        let (_, _, vault) = vault();
        let (subject, sealed_key) = vault.new_subject(SubjectKind::Owner).unwrap();
        let (other, _) = vault.new_subject(SubjectKind::Owner).unwrap();
        let event = Uuid::from_u128(7);
        let sealed = vault.seal(&subject, event, &data()).unwrap();
        let subject = vault.open_subject(SubjectKind::Owner, subject.id, &sealed_key).unwrap();
        assert_eq!(vault.unseal(&subject, event, &sealed).unwrap(), data());
        assert!(vault.unseal(&subject, Uuid::from_u128(8), &sealed).is_err());
        assert!(vault.unseal(&other, event, &sealed).is_err());
        let altered = Sealed { commitment: BASE64.encode([0; 32]), ..sealed };
        assert!(vault.unseal(&subject, event, &altered).is_err());
        assert!(!altered.ciphertext.contains("jane@"));
    }

    #[test]
    fn one_event_can_be_opened_and_checked_with_its_own_secret_alone() {
        let (_, _, vault) = vault();
        let (subject, _) = vault.new_subject(SubjectKind::Owner).unwrap();
        let event = Uuid::from_u128(7);
        let sealed = vault.seal(&subject, event, &data()).unwrap();
        let event_secret = derive::<KEY_LEN>(&subject.key, &[b"keyledger event ", event.as_bytes()]).unwrap();
        let (key, commitment) = event_secret_keys(&event_secret).unwrap();
        assert_eq!(BASE64.encode(commitment), sealed.commitment);
        let mut text = BASE64.decode(&sealed.ciphertext).unwrap();
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let plain = aes_key(&key).unwrap().open_in_place(nonce, Aad::from(vault.event_label(event)), &mut text).unwrap();
        assert_eq!(serde_json::from_slice::<PersonalData>(plain).unwrap(), data());
    }

    #[test]
    fn the_length_of_a_sealed_object_tells_little() {
        let (_, _, vault) = vault();
        let (subject, _) = vault.new_subject(SubjectKind::Owner).unwrap();
        let length = |ip: &str| {
            let data = PersonalData { client_ip: Some(ip.into()), ..PersonalData::default() };
            vault.seal(&subject, Uuid::from_u128(7), &data).unwrap().ciphertext.len()
        };
        assert_eq!(length("::1"), length("255.255.255.255"));
    }

    #[test]
    fn a_private_key_opens_for_its_public_key_alone() {
        let (_, _, vault) = vault();
        let sealed = vault.seal_private_key("public", b"private").unwrap();
        assert_eq!(vault.open_private_key("public", &sealed).unwrap(), b"private");
        assert!(vault.open_private_key("another", &sealed).is_err());
    }

    #[test]
    fn a_subject_key_opens_under_its_own_id_alone() {
        let (_, _, vault) = vault();
        let (subject, sealed_key) = vault.new_subject(SubjectKind::License).unwrap();
        assert!(vault.open_subject(SubjectKind::License, subject.id, &sealed_key).is_ok());
        assert!(vault.open_subject(SubjectKind::License, Uuid::from_u128(9), &sealed_key).is_err());
    }

    #[test]
    fn parts_of_a_request_do_not_run_into_each_other() {
        let (_, _, vault) = vault();
        assert_ne!(vault.request_hash(&[b"ab", b"c"]), vault.request_hash(&[b"a", b"bc"]));
        assert_eq!(vault.email_index(" Jane@Shop.example"), vault.email_index("jane@shop.EXAMPLE"));
    }

    #[test]
    fn a_master_key_is_made_once_and_only_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let first = MasterKey::read_or_create(&path).unwrap();
        let second = MasterKey::read_or_create(&path).unwrap();
        assert_eq!(first.0, second.0);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "no key").unwrap();
        assert!(matches!(MasterKey::read(&path), Err(VaultError::MasterKeyFormat(_))));
    }
}
