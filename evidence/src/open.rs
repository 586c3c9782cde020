//! Personal data. In the log each event's is one sealed object; with the secret of that event, which opens no other, it is opened
//! and shown to be what was sealed. Without the secret it stays as it is, and everything else can be checked all the same.

use std::collections::BTreeMap;

use aes_gcm::{
    Aes256Gcm, Key, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use serde::Deserialize;
use sha2::Sha256;

use crate::{LEAF_FORMAT, Wrong, canonical, ensure, event::Event, rsa_check::base64};

pub type Secret = [u8; 32];
/// What an object holds: `client_ip`, `identifier`, `owner_email`, `owner_name`, `post_url`, `value` …
pub type PersonalData = BTreeMap<String, String>;
/// By position.
pub type Opened = BTreeMap<u64, PersonalData>;

#[derive(Deserialize)]
struct Sealed {
    ciphertext: String,
    commitment: String,
}

/// HKDF-Expand (RFC 5869): the secret is uniformly random, so it needs no extraction.
fn derive(secret: &Secret, purpose: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    Hkdf::<Sha256>::from_prk(secret).ok()?.expand(purpose.as_bytes(), &mut out).ok()?;
    Some(out)
}

/// Opens an event's sealed object. The key seals once, so the nonce is zero; format, ledger and event are bound to the object.
fn open(event: &Event, secret: &Secret) -> Option<PersonalData> {
    let sealed = Sealed::deserialize(event.payload.get("personal")?).ok()?;
    if base64(&sealed.commitment)? != derive(secret, "commitment")? {
        return None;
    }
    let key = derive(secret, "seal")?;
    let label = [LEAF_FORMAT.as_bytes(), &event.ledger_id, &event.event_id].concat();
    let payload = Payload { msg: &base64(&sealed.ciphertext)?, aad: &label };
    let text = Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(&key)).decrypt(Nonce::from_slice(&[0; 12]), payload).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Reads `opened.json`.
pub fn read(text: &str) -> Result<BTreeMap<u64, Secret>, Wrong> {
    let no_secrets = || Wrong("opened.json does not hold one secret for each position".to_owned());
    let entries: BTreeMap<String, String> = serde_json::from_str(text).map_err(|_| no_secrets())?;
    let mut secrets = BTreeMap::new();
    for (position, secret) in entries {
        let secret = base64(&secret).and_then(|secret| secret.try_into().ok()).ok_or_else(no_secrets)?;
        secrets.insert(position.parse().map_err(|_| no_secrets())?, secret);
    }
    ensure(write(&secrets)? == text, || "opened.json is not canonical JSON (RFC 8785)".to_owned())?;
    Ok(secrets)
}

pub fn write(secrets: &BTreeMap<u64, Secret>) -> Result<String, Wrong> {
    let entries: BTreeMap<String, String> =
        secrets.iter().map(|(position, secret)| (position.to_string(), crate::rsa_check::to_base64(secret))).collect();
    canonical(&entries)
}

/// Opens what the secrets open; each must open the personal data of one of the license's events.
pub fn open_all<'a>(events: impl Iterator<Item = &'a Event>, secrets: &BTreeMap<u64, Secret>) -> Result<Opened, Wrong> {
    let mut opened = Opened::new();
    for event in events {
        let Some(secret) = secrets.get(&event.position) else { continue };
        let sentence = || Wrong(format!("the secret in opened.json for position {} does not open that event's personal data", event.position));
        opened.insert(event.position, open(event, secret).ok_or_else(sentence)?);
    }
    match secrets.keys().find(|position| !opened.contains_key(position)) {
        Some(position) => Err(Wrong(format!("opened.json has a secret for position {position}, which is no event of this license in the file"))),
        None => Ok(opened),
    }
}
