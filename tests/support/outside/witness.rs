//! A witness that keeps what it cosigned and checks every proof against it, as C2SP tlog-witness wants it.

use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{ED25519, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::server::{Asked, Told};
use super::tree::{Hash, is_consistent, key_id, pair};

pub const NAME: &str = "witness.example/w1";
pub const WITNESS_SEED: u8 = 77;
pub const TIME: u64 = 1_709_208_000;

pub fn plain(status: u16, text: &str) -> Told {
    (status, "text/plain", text.as_bytes().to_vec())
}

/// The verifier key of the test's witness.
pub fn vkey(seed: u8) -> String {
    let key = pair(seed).public_key().as_ref().to_vec();
    format!("{NAME}+{}+{}", hex::encode(key_id(NAME, 4, &key)), STANDARD.encode([&[4], key.as_slice()].concat()))
}

pub fn cosign(text: &str, seed: u8) -> String {
    let pair = pair(seed);
    let signature = pair.sign(format!("cosignature/v1\ntime {TIME}\n{text}").as_bytes());
    let id = key_id(NAME, 4, pair.public_key().as_ref());
    format!("\u{2014} {NAME} {}\n", STANDARD.encode([&id[..], &TIME.to_be_bytes(), signature.as_ref()].concat()))
}

/// The latest checkpoint that it cosigned.
pub type Seen = Arc<Mutex<Option<(u64, Hash)>>>;

/// The log whose checkpoints a witness cosigns.
pub struct Known {
    pub origin: String,
    pub key: Vec<u8>,
}

impl Known {
    /// Of a verifier key, `ORIGIN+HASH+KEY`.
    pub fn of(vkey: &str) -> Known {
        let (origin, rest) = vkey.trim().split_once('+').unwrap();
        let key = STANDARD.decode(rest.split_once('+').unwrap().1).unwrap();
        Known { origin: origin.to_owned(), key: key[1..].to_vec() }
    }
}

/// One request, answered by the letter of the specification.
pub fn answer(known: &Known, seen: &Seen, asked: &Asked) -> Told {
    if asked.line != "POST /w/add-checkpoint" {
        return plain(404, "no such page");
    }
    let Ok(body) = std::str::from_utf8(&asked.body) else { return plain(400, "not UTF-8") };
    let Some((head, note)) = body.split_once("\n\n") else { return plain(400, "no checkpoint") };
    let mut lines = head.lines();
    let Some(old) = lines.next().and_then(|line| line.strip_prefix("old ")) else { return plain(400, "no old size") };
    let old: u64 = old.parse().unwrap();
    let proof: Vec<Hash> = lines.map(|line| STANDARD.decode(line).unwrap().try_into().unwrap()).collect();
    let (text, signatures) = note.split_at(note.find("\n\n").unwrap() + 1);
    let mut lines = text.lines();
    let (origin, size, root) = (lines.next().unwrap(), lines.next().unwrap(), lines.next().unwrap());
    if origin != known.origin {
        return plain(404, "this log is not known");
    }
    let signature = signatures.trim().rsplit(' ').next().map(|text| STANDARD.decode(text).unwrap()).unwrap();
    if UnparsedPublicKey::new(&ED25519, &known.key).verify(text.as_bytes(), &signature[4..]).is_err() {
        return plain(403, "not the log's key");
    }
    let (size, root): (u64, Hash) = (size.parse().unwrap(), STANDARD.decode(root).unwrap().try_into().unwrap());
    if old > size {
        return plain(400, "the old size is larger");
    }
    let mut seen = seen.lock().unwrap();
    let (known_size, known_root) = seen.unwrap_or_default();
    if old != known_size {
        return (409, "text/x.tlog.size", format!("{known_size}\n").into_bytes());
    }
    if old == size && known_root != root {
        return plain(409, "another root");
    }
    if !is_consistent(old, &known_root, size, &root, &proof) {
        return plain(422, "the proof does not fit");
    }
    *seen = Some((size, root));
    (200, "text/plain", format!("\u{2014} someone.else/x AAAAAA==\n{}", cosign(text, WITNESS_SEED)).into_bytes())
}
