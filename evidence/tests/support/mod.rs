//! A ledger made up for the tests: events, tree, stream map, keys and all. It has what a forger without the keys lacks.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod definition;

use std::collections::BTreeMap;

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signer, SigningKey};
use hkdf::Hkdf;
use keyledger_evidence::{
    CaseInput, Earlier, ProvenEvent, map_entry,
    note::{Checkpoint, VerifierKey},
    rsa_check::checkpoint_message,
    time,
    tree::{Hash, leaf_hash},
};
use rsa::{
    RsaPrivateKey,
    pkcs1v15::SigningKey as RsaSigningKey,
    pkcs8::{EncodePublicKey, LineEnding},
    signature::SignatureEncoding,
};
use serde_json::{Value, json};
use sha2::Sha256;

pub const ORIGIN: &str = "keyledger.example/test";
/// 3 May 2026, 10:00:00 UTC.
pub const BEGIN: i64 = 1_777_802_400_000_000;
pub const MINUTE: i64 = 60_000_000;
pub const LICENSE_KEY: &str = "ABCD-EFGH-1234";

pub struct Log {
    pub ledger: [u8; 16],
    leaves: Vec<String>,
    hashes: Vec<Hash>,
    /// Last sequence and position by stream.
    streams: BTreeMap<(String, [u8; 16]), (u64, u64)>,
    pub secrets: BTreeMap<u64, [u8; 32]>,
    checkpoint_key: SigningKey,
    pub global: RsaPrivateKey,
    pub product: RsaPrivateKey,
    map: Vec<Hash>,
    /// Stream maps before this position are left out of the file.
    pub maps_before: u64,
}

pub fn pem(key: &RsaPrivateKey) -> String {
    key.to_public_key().to_public_key_pem(LineEnding::LF).unwrap()
}

pub fn rsa_sign(key: &RsaPrivateKey, message: &[u8]) -> Vec<u8> {
    RsaSigningKey::<Sha256>::new(key.clone()).sign(message).to_vec()
}

fn uuid(bytes: &[u8; 16]) -> String {
    let text = hex::encode(bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

pub fn stream(kind: u8, number: u8) -> [u8; 16] {
    let mut id = [kind; 16];
    id[15] = number;
    id
}

fn derive(secret: &[u8; 32], purpose: &str) -> [u8; 32] {
    let mut out = [0; 32];
    Hkdf::<Sha256>::from_prk(secret).unwrap().expand(purpose.as_bytes(), &mut out).unwrap();
    out
}

impl Log {
    pub fn new(seed: u8) -> Self {
        let rsa = || RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 1024).unwrap();
        Self {
            ledger: stream(9, seed),
            leaves: Vec::new(),
            hashes: Vec::new(),
            streams: BTreeMap::new(),
            secrets: BTreeMap::new(),
            checkpoint_key: SigningKey::from_bytes(&[seed; 32]),
            global: rsa(),
            product: rsa(),
            map: Vec::new(),
            maps_before: 0,
        }
    }

    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    pub fn vkey(&self) -> VerifierKey {
        VerifierKey::new(ORIGIN, self.checkpoint_key.verifying_key().as_bytes()).unwrap()
    }

    pub fn push_as(&mut self, actor: &str, reason: Option<&str>, stream: (&str, [u8; 16]), event_type: &str, version: &str, payload: Value) -> u64 {
        let position = self.size();
        let last = self.streams.entry((stream.0.to_owned(), stream.1)).or_default();
        *last = (last.0 + 1, position);
        let sequence = last.0;
        let mut metadata = json!({ "actor": actor, "request_id": uuid(&[7; 16]), "source": "api" });
        if let Some(reason) = reason {
            metadata["reason"] = reason.into();
        }
        let leaf = json!({
            "aggregate_id": uuid(&stream.1), "aggregate_type": stream.0, "event_id": self.event_id(position), "event_type": event_type, "event_version": version,
            "format": "keyledger/1", "ledger_id": uuid(&self.ledger), "metadata": metadata, "payload": { event_type: payload },
            "position": position, "recorded_at": time::write(BEGIN + position as i64 * MINUTE), "sequence": sequence,
        });
        self.push_leaf(serde_json_canonicalizer::to_string(&leaf).unwrap());
        position
    }

    pub fn push_leaf(&mut self, leaf: String) {
        self.hashes.push(leaf_hash(leaf.as_bytes()));
        self.leaves.push(leaf);
    }

    fn event_id(&self, position: u64) -> String {
        let mut id = [1; 16];
        id[8..].copy_from_slice(&position.to_be_bytes());
        uuid(&id)
    }

    pub fn push(&mut self, stream: (&str, [u8; 16]), event_type: &str, payload: Value) -> u64 {
        self.push_as("api_key:1", None, stream, event_type, "1.0", payload)
    }

    /// A sealed object for the next event; the secret is kept.
    pub fn seal(&mut self, data: &Value) -> Value {
        let position = self.size();
        let mut secret = [0x5a; 32];
        secret[24..].copy_from_slice(&position.to_be_bytes());
        let id: [u8; 16] = hex::decode(self.event_id(position).replace('-', "")).unwrap().try_into().unwrap();
        let label = [b"keyledger/1".as_slice(), &self.ledger, &id].concat();
        let mut text = data.to_string().into_bytes();
        text.resize(text.len().next_multiple_of(64), b' ');
        let sealed = Aes256Gcm::new(&derive(&secret, "seal").into()).encrypt(&[0; 12].into(), Payload { msg: &text, aad: &label }).unwrap();
        self.secrets.insert(position, secret);
        json!({ "ciphertext": BASE64.encode(sealed), "commitment": BASE64.encode(derive(&secret, "commitment")), "of": "owner", "subject": uuid(&[3; 16]) })
    }

    /// Records the stream map over all events so far.
    pub fn record_map(&mut self) -> u64 {
        let entries = (1..=2).map(|number| {
            let id = stream(b'L', number);
            let (sequence, position) = self.streams[&("license".to_owned(), id)];
            leaf_hash(&map_entry(&id, sequence, position))
        });
        self.map = entries.collect();
        let payload = json!({ "licenses": self.map.len(), "root": hex::encode(definition::root(&self.map)), "size": self.size() });
        let id = stream(b'M', self.size() as u8);
        self.push_as("system", None, ("stream_map", id), "StreamMapRecorded", "1.0", payload)
    }

    pub fn note(&self, size: u64) -> String {
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root: definition::root(&self.hashes[..size as usize]) };
        checkpoint.note(&self.vkey(), &self.checkpoint_key.sign(checkpoint.text().as_bytes()).to_bytes())
    }

    pub fn earlier(&self, size: u64) -> Earlier {
        Earlier { note: self.note(size), hashes: definition::consistency(&self.hashes, size as usize) }
    }

    /// Everything about license 1.
    pub fn input(&self) -> CaseInput {
        let belongs = |leaf: &Value| match leaf["aggregate_type"].as_str().unwrap() {
            "license" => leaf["aggregate_id"] == uuid(&stream(b'L', 1)),
            "ledger" => true,
            "stream_map" => leaf["position"].as_u64().unwrap() >= self.maps_before,
            "key_pair" | "product" => true,
            "api_key" => leaf["aggregate_id"] == uuid(&stream(b'A', 1)),
            _ => false,
        };
        let chosen = self.leaves.iter().enumerate().filter(|(_, leaf)| belongs(&serde_json::from_str(leaf).unwrap()));
        let events = chosen.map(|(index, leaf)| ProvenEvent { leaf: leaf.clone(), hashes: definition::inclusion(&self.hashes, index) }).collect();
        let checkpoint = self.note(self.size());
        CaseInput {
            license: 1,
            from: None,
            to: None,
            events,
            checkpoint_signature: rsa_sign(&self.global, &checkpoint_message(&checkpoint)),
            checkpoint,
            vkey: self.vkey().to_string(),
            map_hashes: definition::inclusion(&self.map, 0),
            earlier: Vec::new(),
            secrets: None,
        }
    }
}

pub const LICENSE: (&str, [u8; 16]) = ("license", [b'L', b'L', b'L', b'L', b'L', b'L', b'L', b'L', b'L', b'L', b'L', b'L', b'L', b'L', b'L', 1]);

/// A ledger in which license 1 was sold, used, refused and blocked.
pub fn story(seed: u8) -> Log {
    let mut log = Log::new(seed);
    let (ledger, global, product) = (log.ledger, pem(&log.global), pem(&log.product));
    log.push_as("system", None, ("ledger", ledger), "LedgerCreated", "1.0", json!({ "format": "keyledger/1", "ledger_id": uuid(&ledger) }));
    let pair =
        |number: i64, product: Option<i64>, pem: &str| json!({ "algorithm": "RSA-1024", "key_pair": number, "product": product, "public_key": pem });
    log.push(("key_pair", stream(b'K', 1)), "KeyPairCreated", pair(1, None, &global));
    let api_key = |number: i64, name: &str| json!({ "allow_ips": [], "api_key": number, "bootstrap": false, "capabilities": ["verify"], "expires_at": null, "name": name });
    log.push(("api_key", stream(b'A', 1)), "ApiKeyCreated", api_key(1, "support"));
    log.push(("api_key", stream(b'A', 2)), "ApiKeyCreated", api_key(2, "shop"));
    log.push(("key_pair", stream(b'K', 2)), "KeyPairCreated", pair(2, Some(1), &product));
    log.push(("product", stream(b'P', 1)), "ProductCreated", json!({ "description": "", "external_reference": "", "key_pair": 2, "name": "Doors <98>", "post_url": "", "product": 1, "require_non_expired": false, "source": "internal", "status": "active" }));
    let created = |license: i64, key: &str| json!({ "activation_limit": 1, "assigned_at": null, "contract": null, "job": null, "key": key, "license": license, "owner": null, "product": 1, "status": "available", "validity_days": 365 });
    log.push_as("api_key:1", None, LICENSE, "LicenseCreated", "2.0", created(1, LICENSE_KEY));
    log.push_as("api_key:1", None, ("license", stream(b'L', 2)), "LicenseCreated", "2.0", created(2, "OTHER"));
    let personal = log.seal(&json!({ "owner_email": "jane@shop.example", "owner_name": "Jane" }));
    let at = time::write(BEGIN + log.size() as i64 * MINUTE);
    log.push_as("api_key:1", None, LICENSE, "LicenseAssigned", "2.0", json!({ "assigned_at": at, "from": "available", "job": null, "license": 1, "owner": 4, "personal": personal, "product": 1, "with_owner": true }));
    let personal = log.seal(&json!({ "client_ip": "192.0.2.1", "identifier": "shop.example" }));
    log.push(LICENSE, "LicenseActivated", json!({ "activation": 1, "active": 1, "epoch": 0, "license": 1, "personal": personal, "product": 1 }));
    log.push(("license", stream(b'L', 2)), "LicenseBlocked", json!({ "from": "available", "license": 2, "product": 1 }));
    log.push(LICENSE, "ActivationRefused", json!({ "active": 1, "license": 1, "limit": 1, "product": 1 }));
    log.push_as("operator", Some("charge <back>"), LICENSE, "LicenseBlocked", "1.0", json!({ "from": "assigned", "license": 1, "product": 1 }));
    log.push(LICENSE, "AccessRefused", json!({ "block": null, "license": 1, "product": 1, "reason": "license_blocked" }));
    log.record_map();
    log.push(("license", stream(b'L', 2)), "LicenseDeleted", json!({ "contract": null, "from": "blocked", "license": 2, "product": 1 }));
    log
}

/// As [`story`], and then everything else that can happen to a license, older versions of events included.
pub fn everything(seed: u8) -> Log {
    let mut log = story(seed);
    log.push(("product", stream(b'P', 2)), "ProductCreated", json!({ "description": "", "external_reference": "", "key_pair": null, "name": "Windows", "post_url": "", "product": 2, "require_non_expired": true, "source": "internal", "status": "active" }));
    let shop = "api_key:1";
    let at = || time::write(BEGIN + 30 * MINUTE);
    let personal = log.seal(&json!({ "value": "red" }));
    let events = [
        (
            shop,
            "1.0",
            "LicenseAssigned",
            json!({ "assigned_at": at(), "from": "blocked", "license": 1, "owner": 4, "product": 1, "with_owner": false }),
        ),
        (shop, "1.0", "LicenseMetaCreated", json!({ "key": "colour", "license": 1, "meta": 3, "product": 1 })),
        (shop, "1.0", "LicenseMetaUpdated", json!({ "key": "colour", "license": 1, "meta": 3, "product": 1 })),
        (shop, "1.0", "LicenseMetaDeleted", json!({ "key": "colour", "license": 1, "meta": 3, "product": 1 })),
        ("operator", "1.0", "ActivationLimitChanged", json!({ "from": 1, "license": 1, "product": 1, "to": 0 })),
        ("operator", "1.0", "ValidityChanged", json!({ "from": 365, "license": 1, "product": 1, "to": 1 })),
        ("operator", "1.0", "AssignedAtChanged", json!({ "from": at(), "license": 1, "product": 1, "to": "2026-05-01T00:00:00.000000Z" })),
        ("license:1", "1.0", "AccessRefused", json!({ "block": null, "license": 1, "product": 1, "reason": "license_expired" })),
        ("contract:7", "1.0", "AccessRefused", json!({ "block": 8, "license": 1, "product": 1, "reason": "block_listed" })),
        (shop, "1.0", "LicenseActivated", json!({ "activation": 2, "active": 2, "epoch": 0, "license": 1, "product": 1 })),
        (shop, "1.0", "LicenseDeactivated", json!({ "activation": 1, "active": 1, "license": 1, "product": 1 })),
        ("license:1", "1.0", "ReleaseDownloaded", json!({ "license": 1, "product": 1, "release": 5 })),
        (shop, "1.0", "LicenseProductChanged", json!({ "from": 1, "license": 1, "status": "assigned", "to": 2 })),
        (shop, "1.0", "LicenseKeyReplaced", json!({ "from": LICENSE_KEY, "key": "NEW-KEY", "license": 1, "product": 2, "replaced_at": at() })),
        (shop, "1.0", "OwnerChanged", json!({ "license": 1, "owner": 9, "product": 2 })),
        (shop, "1.0", "LicenseReserved", json!({ "from": "assigned", "license": 1, "product": 2 })),
        ("system", "1.0", "LicenseMadeAvailable", json!({ "from": "reserved", "license": 1, "product": 2 })),
        ("system", "1.0", "ActivationsEnded", json!({ "ended": 1, "epoch": 1, "license": 1, "product": 2 })),
        ("system", "1.0", "OwnerCleared", json!({ "license": 1, "product": 2 })),
        (shop, "1.0", "LicenseDeleted", json!({ "from": "available", "license": 1, "product": 2 })),
    ];
    for (index, (actor, version, name, mut payload)) in events.into_iter().enumerate() {
        if index == 0 {
            payload["personal"] = personal.clone();
        }
        log.push_as(actor, (name == "ValidityChanged").then_some("bought a day"), LICENSE, name, version, payload);
    }
    let (pem, id) = (pem(&log.global), stream(b'K', 3));
    log.push(("key_pair", id), "KeyPairCreated", json!({ "algorithm": "RSA-1024", "key_pair": 3, "product": 1, "public_key": pem }));
    log.push(("product", stream(b'P', 1)), "ProductKeyPairChanged", json!({ "from": 2, "product": 1, "to": 3 }));
    log.push(("key_pair", stream(b'K', 2)), "KeyPairRetired", json!({ "key_pair": 2, "product": 1 }));
    // The map that counts is the last one.
    log.maps_before = log.size();
    log.record_map();
    log
}
