//! What signed notes and checkpoints have in common for those who make, read and cosign them. Formats: C2SP signed-note, tlog-checkpoint.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

/// What a signature line begins with.
pub const DASH: &str = "\u{2014} ";
/// Bytes by which a signature names its key.
pub const KEY_ID_BYTES: usize = 4;

/// The text that is signed: with its last line's end, without the signatures.
#[must_use]
pub fn text(note: &str) -> Option<&str> {
    note.rfind("\n\n").map(|at| &note[..=at])
}

/// What the first three lines of a checkpoint say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree<'a> {
    pub origin: &'a str,
    pub size: u64,
    pub root: &'a str,
}

impl<'a> Tree<'a> {
    /// Reads a checkpoint; `None` where it is none.
    #[must_use]
    pub fn read(note: &'a str) -> Option<Self> {
        let mut lines = text(note)?.lines();
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let is_root = BASE64.decode(root).is_ok_and(|hash| hash.len() == 32);
        (!origin.is_empty() && is_root).then_some(Self { origin, size: decimal(size)?, root })
    }
}

/// A decimal number as it is written in these formats: without a sign and without leading zeros.
#[must_use]
pub fn decimal(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

/// What signatures name a key by: its name, and the byte that says of which kind it is.
#[must_use]
pub fn key_id(name: &str, kind: u8, key: &[u8]) -> [u8; KEY_ID_BYTES] {
    let hash = digest(&SHA256, &[name.as_bytes(), b"\n", &[kind], key].concat());
    let mut id = [0; KEY_ID_BYTES];
    id.copy_from_slice(&hash.as_ref()[..KEY_ID_BYTES]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKPOINT: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

    /// The example of the specification.
    #[test]
    fn a_checkpoint_is_read() {
        let tree = Tree { origin: "example.com/behind-the-sofa", size: 20_852_163, root: "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=" };
        assert_eq!(Tree::read(CHECKPOINT), Some(tree));
        for bad in
            ["", "a\n1\n\n", "a\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n", "a\n+1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"]
        {
            assert_eq!(Tree::read(bad), None, "{bad:?}");
        }
        assert_eq!((decimal("0"), decimal("10"), decimal(""), decimal("00")), (Some(0), Some(10), None, None));
    }
}
