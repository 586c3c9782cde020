//! Checkpoints: signed notes of the C2SP specifications `signed-note` and `tlog-checkpoint`. A note is a text, a blank line, and
//! lines of the form `— <name> <base64 of key hash and signature>`; a checkpoint's text names the log, its size and its root.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::{Wrong, ensure, tree::Hash};

/// The type byte of Ed25519 keys in notes.
const ED25519: u8 = 1;
/// A log's line and a good number of witnesses' lines.
const SIGNATURES_MAX: usize = 64;
/// A checkpoint is a few hundred bytes, a witness's line at most some thousand.
const NOTE_BYTES_MAX: usize = 512 * 1024;

/// The public key that checks a log's checkpoints, with its name; as text `<name>+<key hash>+<base64>`, the "vkey".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// The first four bytes of SHA-256(name, line end, type byte, public key).
fn key_hash(name: &str, public_key: &[u8; 32]) -> [u8; 4] {
    let digest = Sha256::new().chain_update(name).chain_update([b'\n', ED25519]).chain_update(public_key).finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

impl VerifierKey {
    /// # Errors
    /// When the name can't be a key's name, or the bytes are no public key.
    pub fn new(name: &str, public_key: &[u8; 32]) -> Result<Self, Wrong> {
        ensure(is_key_name(name), || format!("“{name}” can't be the name of a checkpoint key: it must have no blanks and no plus sign"))?;
        let key = VerifyingKey::from_bytes(public_key).map_err(|_| Wrong("the checkpoint key is no Ed25519 public key".to_owned()))?;
        Ok(Self { name: name.to_owned(), key })
    }

    /// Reads a vkey. Names and hashes have no plus sign, Base64 may have.
    ///
    /// # Errors
    /// When it is none, or its hash is not that of its name and key.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let no_vkey = || Wrong("the checkpoint key is not of the form <name>+<key hash>+<base64>".to_owned());
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else { return Err(no_vkey()) };
        let bytes = BASE64.decode(encoded).map_err(|_| no_vkey())?;
        let [ED25519, public_key @ ..] = bytes.as_slice() else { return Err(no_vkey()) };
        let key = Self::new(name, public_key.try_into().map_err(|_| no_vkey())?)?;
        ensure(key.to_string() == text, || "the checkpoint key's hash is not that of its name and key".to_owned())?;
        Ok(key)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn hash(&self) -> [u8; 4] {
        key_hash(&self.name, self.key.as_bytes())
    }

    /// The line that signs a note's text, where this is the key's signature of that text.
    #[must_use]
    pub fn signature_line(&self, signature: &[u8; 64]) -> String {
        format!("— {} {}\n", self.name, BASE64.encode([self.hash().as_slice(), signature].concat()))
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = BASE64.encode([&[ED25519], self.key.as_bytes().as_slice()].concat());
        write!(f, "{}+{}+{encoded}", self.name, hex::encode(self.hash()))
    }
}

/// What a log says of itself: so many events, and this root over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root))
    }

    /// The signed note, made of the key's signature of [`Self::text`].
    #[must_use]
    pub fn note(&self, key: &VerifierKey, signature: &[u8; 64]) -> String {
        format!("{}\n{}", self.text(), key.signature_line(signature))
    }

    /// Reads a text of exactly three lines. Lines that extend it are not ours.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?.parse().ok()?, BASE64.decode(lines.next()?).ok()?);
        let checkpoint = Self { origin: origin.to_owned(), size, root: root.try_into().ok()? };
        (!origin.is_empty() && checkpoint.text() == text).then_some(checkpoint)
    }
}

/// Which signature lines a note may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// The log's own line, and nothing else.
    One,
    /// Others too, as of witnesses; they are not looked at.
    Any,
}

/// The text of a note, once it is known to be signed by the key.
///
/// # Errors
/// When it is no note, or not signed by the key.
pub fn open<'a>(note: &'a str, key: &VerifierKey, lines: Lines) -> Result<&'a str, Wrong> {
    let no_note = || Wrong("it is no signed note: a text, a blank line and signature lines".to_owned());
    ensure(note.len() <= NOTE_BYTES_MAX, || "the note is too long to be one".to_owned())?;
    ensure(!note.contains(|c: char| c < ' ' && c != '\n'), || "a note has no control characters".to_owned())?;
    // The blank line that separates is the last one.
    let end = note.rfind("\n\n").ok_or_else(no_note)? + 1;
    let (text, signatures) = (&note[..end], &note[end + 1..]);
    let signatures: Vec<&str> = signatures.strip_suffix('\n').ok_or_else(no_note)?.split('\n').collect();
    ensure(signatures.len() <= SIGNATURES_MAX, || format!("the note has more than {SIGNATURES_MAX} signature lines"))?;
    ensure(lines == Lines::Any || signatures.len() == 1, || "the note has other signature lines than the log's own".to_owned())?;
    let mut signed = false;
    for line in signatures {
        let (name, encoded) = line.strip_prefix("— ").and_then(|line| line.split_once(' ')).ok_or_else(no_note)?;
        let bytes = BASE64.decode(encoded).map_err(|_| no_note())?;
        let (hash, signature) = bytes.split_first_chunk::<4>().filter(|(_, signature)| !signature.is_empty()).ok_or_else(no_note)?;
        ensure(is_key_name(name), || format!("“{name}” can't be the name of a key"))?;
        if name != key.name || *hash != key.hash() {
            continue;
        }
        let is_valid = Signature::from_slice(signature).is_ok_and(|signature| key.key.verify_strict(text.as_bytes(), &signature).is_ok());
        ensure(is_valid, || format!("its signature is not one of the key {key}"))?;
        signed = true;
    }
    ensure(signed, || format!("it is not signed by the key {key}"))?;
    Ok(text)
}

/// Reads a checkpoint that the key signed, of the log that the key is named after.
///
/// # Errors
/// When it is none.
pub fn open_checkpoint(note: &str, key: &VerifierKey, lines: Lines) -> Result<Checkpoint, Wrong> {
    let text = open(note, key, lines)?;
    let checkpoint = Checkpoint::parse(text).ok_or_else(|| Wrong("its text is not a log's name, size and root hash".to_owned()))?;
    ensure(checkpoint.origin == key.name, || format!("it is of the log “{}”, the key is of “{}”", checkpoint.origin, key.name))?;
    Ok(checkpoint)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    /// The example of the specification's reference implementation.
    const NEUMANN: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
                        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    const NEUMANN_SEED: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";

    #[test]
    fn agrees_with_the_published_vectors() {
        let key = VerifierKey::parse(NEUMANN).unwrap();
        assert_eq!(key.to_string(), NEUMANN);
        let text = open(NOTE, &key, Lines::One).unwrap();
        assert!(NOTE.starts_with(text) && text.ends_with("what your problem is.\n"));
        let seed: [u8; 32] = BASE64.decode(NEUMANN_SEED).unwrap()[1..].try_into().unwrap();
        let signature = SigningKey::from_bytes(&seed).sign(text.as_bytes()).to_bytes();
        assert_eq!(format!("{text}\n{}", key.signature_line(&signature)), NOTE);
        let others =
            ["example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "TEST+7997405c+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6"];
        for vkey in others.into_iter().chain(["EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"]) {
            assert_eq!(VerifierKey::parse(vkey).unwrap().to_string(), vkey);
        }
    }

    /// The text of the specification's example of a checkpoint.
    #[test]
    fn reads_the_specifications_checkpoint() {
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let checkpoint = Checkpoint::parse(text).unwrap();
        assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("example.com/behind-the-sofa", 20_852_163));
        for bad in [
            "a\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "a\n+1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=\n",
            "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I\n",
            "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
            "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nmore\n",
            "\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "a\n1\n",
        ] {
            assert_eq!(Checkpoint::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let key = VerifierKey::parse(NEUMANN).unwrap();
        for (bytes, what) in [(NOTE.as_bytes(), "note"), (NEUMANN.as_bytes(), "key")] {
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut altered = bytes.to_vec();
                    altered[at] ^= 1 << bit;
                    let Ok(altered) = String::from_utf8(altered) else { continue };
                    let passes = if what == "note" { open(&altered, &key, Lines::One).is_ok() } else { VerifierKey::parse(&altered).is_ok() };
                    assert!(!passes, "{what}: byte {at}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn other_lines_are_allowed_where_said_but_never_needed() {
        let key = VerifierKey::parse(NEUMANN).unwrap();
        let cosigned = format!("{NOTE}— witness.example AAAAAQID\n");
        assert!(open(&cosigned, &key, Lines::Any).is_ok());
        assert!(open(&cosigned, &key, Lines::One).is_err());
        let foreign = VerifierKey::parse("EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop").unwrap();
        assert!(open(NOTE, &foreign, Lines::Any).is_err());
        for bad in ["", "text\n", "text\n\n", "text\n\n— \n", "text\n\n— PeterNeumann AAAAAA\n", "text\n\n- PeterNeumann AAAAAQID\n"] {
            assert!(open(bad, &key, Lines::Any).is_err(), "{bad}");
        }
    }
}
