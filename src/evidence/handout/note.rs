//! The keys of those who cosign checkpoints, and their lines. Format: C2SP tlog-cosignature.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use crate::notes::{DASH, KEY_ID_BYTES, key_id, text};

/// The type byte of a key whose Ed25519 signatures are timestamped cosignatures.
const COSIGNATURE_V1: u8 = 4;
const KEY_BYTES: usize = 32;
const TIME_BYTES: usize = 8;
const SIGNATURE_BYTES: usize = 64;

/// One cosignature that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// Unix seconds, as the witness says.
    pub time: u64,
    /// The line as it belongs under the checkpoint's other signatures, with its end.
    pub line: String,
}

/// The name and public key of someone who cosigns checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignerKey {
    name: String,
    id: [u8; KEY_ID_BYTES],
    key: [u8; KEY_BYTES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CosignError {
    #[error("the witness's answer holds no cosignature by its key")]
    None,
    #[error("a cosignature in the witness's name is not valid")]
    Invalid,
}

impl CosignerKey {
    /// Reads a verifier key: `NAME+HASH+KEY`, of a key for Ed25519 cosignatures.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(vkey: &str) -> Result<Self, &'static str> {
        const FORM: &str = "a verifier key has the form NAME+HASH+KEY";
        let (name, rest) = vkey.split_once('+').ok_or(FORM)?;
        let (hash, key) = rest.split_once('+').ok_or(FORM)?;
        if name.is_empty() || name.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err("the name in a verifier key must not be empty or hold spaces");
        }
        let key = BASE64.decode(key).map_err(|_| "the key in a verifier key must be Base64")?;
        let [COSIGNATURE_V1, key @ ..] = key.as_slice() else {
            return Err("a witness's verifier key must be one for Ed25519 cosignatures (type 4)");
        };
        let key: [u8; KEY_BYTES] = key.try_into().map_err(|_| "the key in a verifier key must be one of Ed25519")?;
        let id = key_id(name, COSIGNATURE_V1, &key);
        if hash.len() != 2 * KEY_ID_BYTES || !hash.eq_ignore_ascii_case(&hex::encode(id)) {
            return Err("the hash in a verifier key must be that of its name and key");
        }
        Ok(Self { name: name.to_owned(), id, key })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the signature lines that a witness answered with, and checks those by this key. Lines by other keys are passed over.
    ///
    /// # Errors
    /// When there is none, or one that is not valid.
    pub fn check(&self, checkpoint: &str, lines: &str) -> Result<Vec<Cosignature>, CosignError> {
        let text = text(checkpoint).ok_or(CosignError::Invalid)?;
        let mut valid = Vec::new();
        for line in lines.lines() {
            let Some((name, signature)) = line.strip_prefix(DASH).and_then(|line| line.split_once(' ')) else { continue };
            if name != self.name {
                continue;
            }
            let Ok(signature) = BASE64.decode(signature) else { continue };
            let Some(stamped) = signature.strip_prefix(&self.id) else { continue };
            let time = self.check_one(text, stamped).ok_or(CosignError::Invalid)?;
            valid.push(Cosignature { time, line: format!("{line}\n") });
        }
        if valid.is_empty() { Err(CosignError::None) } else { Ok(valid) }
    }

    fn check_one(&self, text: &str, stamped: &[u8]) -> Option<u64> {
        let (time, signature) = stamped.split_first_chunk::<TIME_BYTES>()?;
        let time = u64::from_be_bytes(*time);
        if signature.len() != SIGNATURE_BYTES || i64::try_from(time).is_err() {
            return None;
        }
        let message = format!("cosignature/v1\ntime {time}\n{text}");
        UnparsedPublicKey::new(&ED25519, &self.key).verify(message.as_bytes(), signature).ok()?;
        Some(time)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    const CHECKPOINT: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

    fn witness(seed: u8) -> (Ed25519KeyPair, CosignerKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let key: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
        (pair, CosignerKey { name: "w.example/1".to_owned(), id: key_id("w.example/1", COSIGNATURE_V1, &key), key })
    }

    fn vkey(key: &CosignerKey) -> String {
        format!("{}+{}+{}", key.name, hex::encode(key.id), BASE64.encode([&[4], key.key.as_slice()].concat()))
    }

    fn line(pair: &Ed25519KeyPair, key: &CosignerKey, time: u64) -> String {
        let message = format!("cosignature/v1\ntime {time}\n{}", text(CHECKPOINT).unwrap());
        let signature = pair.sign(message.as_bytes());
        format!("\u{2014} {} {}\n", key.name, BASE64.encode([&key.id[..], &time.to_be_bytes(), signature.as_ref()].concat()))
    }

    #[test]
    fn a_verifier_key_is_read_or_refused() {
        let (_, key) = witness(1);
        assert_eq!(CosignerKey::parse(&vkey(&key)), Ok(key.clone()));
        let bad = [
            "name".to_owned(),
            "name+00000000".to_owned(),
            vkey(&key).replacen("w.example/1", "w.example/2", 1),
            vkey(&key).replacen("w.example/1", "", 1),
            vkey(&CosignerKey { id: [0; 4], ..key.clone() }),
            format!("{}AAAA", vkey(&key)),
            format!("w+{}+{}", hex::encode(key.id), BASE64.encode([&[1], key.key.as_slice()].concat())),
        ];
        for bad in bad {
            assert!(CosignerKey::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cosignatures_by_the_key_are_taken_and_others_passed_over() {
        let ((pair, key), (other_pair, other)) = (witness(1), witness(2));
        let (ours, theirs) = (line(&pair, &key, 1_679_315_147), line(&other_pair, &other, 1));
        let expected = vec![Cosignature { time: 1_679_315_147, line: ours.clone() }];
        assert_eq!(key.check(CHECKPOINT, &ours), Ok(expected.clone()));
        assert_eq!(key.check(CHECKPOINT, &format!("{theirs}something else\n{ours}")), Ok(expected));
        assert_eq!(key.check(CHECKPOINT, &theirs), Err(CosignError::None));
        assert_eq!(key.check(CHECKPOINT, ""), Err(CosignError::None));
    }

    #[test]
    fn a_cosignature_of_something_else_is_not_valid() {
        let (pair, key) = witness(1);
        let good = line(&pair, &key, 7);
        assert_eq!(key.check(&CHECKPOINT.replacen("20852163", "20852164", 1), &good), Err(CosignError::Invalid));
        let mut bytes = BASE64.decode(good.trim_end().rsplit(' ').next().unwrap()).unwrap();
        // The time is signed too.
        bytes[KEY_ID_BYTES + TIME_BYTES - 1] ^= 1;
        assert_eq!(key.check(CHECKPOINT, &format!("\u{2014} {} {}\n", key.name, BASE64.encode(&bytes))), Err(CosignError::Invalid));
        bytes.truncate(20);
        assert_eq!(key.check(CHECKPOINT, &format!("\u{2014} {} {}\n", key.name, BASE64.encode(&bytes))), Err(CosignError::Invalid));
        // Later than such a time can be written.
        assert_eq!(key.check(CHECKPOINT, &line(&pair, &key, u64::MAX)), Err(CosignError::Invalid));
    }
}
