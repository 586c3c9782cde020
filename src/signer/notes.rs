//! Checkpoints as signed notes: C2SP's signed-note and tlog-checkpoint, with Ed25519.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::SignerError;
use crate::{
    ledger::tree::Hash,
    notes::{DASH, KEY_ID_BYTES, Tree, key_id, text},
    vault::Vault,
};

/// What the format calls Ed25519.
const ED25519_TYPE: u8 = 1;
/// Longest name of a log: it stands in every note and in front of every signature.
pub const ORIGIN_CHARS_MAX: usize = 200;

/// A checkpoint as its note says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotedCheckpoint {
    pub size: i64,
    pub root: Hash,
}

/// Whether a log may be called so: no blanks, no `+`, neither empty nor long.
#[must_use]
pub fn is_origin(name: &str) -> bool {
    !name.is_empty() && name.chars().count() <= ORIGIN_CHARS_MAX && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// Signs the notes of one log.
pub struct NoteSigner {
    origin: String,
    key: Ed25519KeyPair,
    key_id: [u8; KEY_ID_BYTES],
}

impl NoteSigner {
    /// The key is the ledger's: every node signs with the same, and nothing has to be kept.
    ///
    /// # Errors
    /// When the ledger's secret gives no key.
    pub fn new(vault: &Vault, origin: &str) -> Result<Self, SignerError> {
        let key = Ed25519KeyPair::from_seed_unchecked(vault.checkpoint_seed()).map_err(|_| SignerError::Generation)?;
        let key_id = key_id(origin, ED25519_TYPE, key.public_key().as_ref());
        Ok(Self { origin: origin.to_owned(), key, key_id })
    }

    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The public key as verifiers of signed notes take it.
    #[must_use]
    pub fn verifier_key(&self) -> String {
        let key = [&[ED25519_TYPE], self.key.public_key().as_ref()].concat();
        format!("{}+{}+{}", self.origin, hex::encode(self.key_id), BASE64.encode(key))
    }

    /// The note of a checkpoint.
    #[must_use]
    pub fn note(&self, checkpoint: &NotedCheckpoint) -> String {
        self.note_as(&self.origin, &self.key_id, checkpoint)
    }

    fn note_as(&self, origin: &str, key_id: &[u8; KEY_ID_BYTES], checkpoint: &NotedCheckpoint) -> String {
        let text = format!("{origin}\n{}\n{}\n", checkpoint.size, BASE64.encode(checkpoint.root));
        let signature = self.key.sign(text.as_bytes());
        let signature = BASE64.encode([key_id, signature.as_ref()].concat());
        format!("{text}\n{DASH}{origin} {signature}\n")
    }

    /// Whether a note is the one that this ledger makes of a checkpoint, to the byte and with nothing added, whatever its origin was
    /// at that time. Ed25519 signs the same text in one way alone.
    #[must_use]
    pub fn is_own_note(&self, note: &str, checkpoint: &NotedCheckpoint) -> bool {
        let origin = note.lines().next().unwrap_or_default();
        note == self.note_as(origin, &key_id(origin, ED25519_TYPE, self.key.public_key().as_ref()), checkpoint)
    }

    /// Reads a note that this ledger signed; `None` where it did not, whatever the note's origin was at that time.
    #[must_use]
    pub fn read(&self, note: &str) -> Option<NotedCheckpoint> {
        let tree = Tree::read(note)?;
        let text = text(note)?;
        let public_key = self.key.public_key().as_ref();
        let id = key_id(tree.origin, ED25519_TYPE, public_key);
        let prefix = format!("{DASH}{} ", tree.origin);
        let signatures = note[text.len()..].lines().filter_map(|line| BASE64.decode(line.strip_prefix(&prefix)?).ok());
        let is_signed = signatures
            .filter_map(|signature| signature.strip_prefix(&id).map(<[u8]>::to_vec))
            .any(|signature| UnparsedPublicKey::new(&ED25519, public_key).verify(text.as_bytes(), &signature).is_ok());
        let root = BASE64.decode(tree.root).ok()?.try_into().ok()?;
        is_signed.then_some(NotedCheckpoint { size: i64::try_from(tree.size).ok()?, root })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::vault::MasterKey;

    fn signer(origin: &str) -> NoteSigner {
        let master = MasterKey::random().unwrap();
        let secret = master.new_ledger_secret(Uuid::from_u128(1)).unwrap();
        NoteSigner::new(&Vault::open(&master, Uuid::from_u128(1), &secret).unwrap(), origin).unwrap()
    }

    #[test]
    fn a_note_is_read_by_who_signed_it_alone() {
        let (signer, other) = (signer("vendor.example/ledger"), signer("vendor.example/ledger"));
        let checkpoint = NotedCheckpoint { size: 12, root: [7; 32] };
        let note = signer.note(&checkpoint);
        assert!(note.starts_with("vendor.example/ledger\n12\nBwcH"), "{note}");
        assert_eq!(signer.read(&note), Some(checkpoint));
        assert_eq!(other.read(&note), None);
        assert_eq!(signer.read(&note.replace("\n12\n", "\n13\n")), None);
        let checkpoint = NotedCheckpoint { size: 12, root: [7; 32] };
        assert!(signer.is_own_note(&note, &checkpoint) && !other.is_own_note(&note, &checkpoint));
        assert!(!signer.is_own_note(&note.replace("=\n", "=\n\n"), &checkpoint));
        assert_eq!(signer.read("anything\n\nelse"), None);
    }

    /// The example of the format's description.
    #[test]
    fn a_key_has_the_hash_that_the_format_says() {
        let key = BASE64.decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        assert_eq!(hex::encode(key_id("PeterNeumann", ED25519_TYPE, &key[1..])), "c74f20a3");
    }

    #[test]
    fn names_that_the_format_cannot_hold_are_refused() {
        for bad in ["", "a b", "a+b", "a\n", &"x".repeat(ORIGIN_CHARS_MAX + 1)] {
            assert!(!is_origin(bad), "{bad:?}");
        }
        assert!(is_origin("licenses.vendor.example/ledger"));
    }
}
