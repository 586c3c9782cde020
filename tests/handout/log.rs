//! A small transparency log of its own: leaves, roots, proofs by the letter of RFC 6962, signed checkpoints.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyledger::evidence::handout::Checkpoint;
use sha2::{Digest as _, Sha256};

pub type Hash = [u8; 32];

pub const ORIGIN: &str = "keyledger/test";

pub fn sha256(parts: &[&[u8]]) -> Hash {
    parts.iter().fold(Sha256::new(), Sha256::chain_update).finalize().into()
}

pub fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The first four bytes of a key's hash, as a signed note names it.
pub fn key_id(name: &str, kind: u8, key: &[u8]) -> [u8; 4] {
    let hash = sha256(&[name.as_bytes(), b"\n", &[kind], key]);
    hash[..4].try_into().unwrap()
}

pub fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

#[derive(Clone)]
pub struct Log {
    pub origin: String,
    leaves: Vec<Hash>,
    seed: u8,
}

impl Log {
    pub fn new(size: u64) -> Log {
        Log { origin: ORIGIN.to_string(), leaves: (0..size).map(|leaf| sha256(&[&[0], &leaf.to_be_bytes()])).collect(), seed: 1 }
    }

    /// The same log with one leaf changed.
    pub fn forked_at(&self, leaf: usize) -> Log {
        let mut log = self.clone();
        log.leaves[leaf] = [0xee; 32];
        log
    }

    pub fn of_origin(self, origin: &str) -> Log {
        Log { origin: origin.to_string(), ..self }
    }

    pub fn signed_by(self, seed: u8) -> Log {
        Log { seed, ..self }
    }

    pub fn checkpoint(&self, size: u64) -> Checkpoint {
        let root = STANDARD.encode(root(&self.leaves[..usize::try_from(size).unwrap()]));
        let text = format!("{}\n{size}\n{root}\n", self.origin);
        let pair = pair(self.seed);
        let id = key_id(&self.origin, 1, pair.public_key().as_ref());
        let signature = STANDARD.encode([&id[..], pair.sign(text.as_bytes()).as_ref()].concat());
        Checkpoint { size, note: format!("{text}\n\u{2014} {} {signature}\n", self.origin).into() }
    }

    /// RFC 6962, 2.1.2.
    pub fn consistency(&self, old: u64, new: u64) -> Vec<Hash> {
        subproof(usize::try_from(old).unwrap(), &self.leaves[..usize::try_from(new).unwrap()], true)
    }
}

fn split(size: usize) -> usize {
    size.next_power_of_two() / 2
}

fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(&root(left), &root(right))
        }
    }
}

fn subproof(old: usize, leaves: &[Hash], is_whole: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if is_whole { Vec::new() } else { vec![root(leaves)] };
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut proof, sibling) =
        if old <= left.len() { (subproof(old, left, is_whole), root(right)) } else { (subproof(old - left.len(), right, false), root(left)) };
    proof.push(sibling);
    proof
}

/// Whether a proof shows that one tree continues another: RFC 9162, 2.1.4.2, which is written independently of how proofs are made.
pub fn is_consistent(old: u64, old_root: &Hash, new: u64, new_root: &Hash, proof: &[Hash]) -> bool {
    if old == 0 {
        return proof.is_empty();
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    let mut path = proof.to_vec();
    if old.is_power_of_two() {
        path.insert(0, *old_root);
    }
    let Some((first, rest)) = path.split_first() else { return false };
    let (mut fnode, mut snode) = (old - 1, new - 1);
    while fnode & 1 == 1 {
        (fnode, snode) = (fnode >> 1, snode >> 1);
    }
    let (mut from_old, mut from_new) = (*first, *first);
    for hash in rest {
        if snode == 0 {
            return false;
        }
        if fnode & 1 == 1 || fnode == snode {
            from_old = node(hash, &from_old);
            from_new = node(hash, &from_new);
            while fnode & 1 == 0 && fnode != 0 {
                (fnode, snode) = (fnode >> 1, snode >> 1);
            }
        } else {
            from_new = node(&from_new, hash);
        }
        (fnode, snode) = (fnode >> 1, snode >> 1);
    }
    snode == 0 && &from_old == old_root && &from_new == new_root
}

#[test]
fn proofs_are_checked_as_they_are_made() {
    let log = Log::new(40);
    for new in 1..=40 {
        let root_of = |size: u64| root(&log.leaves[..size as usize]);
        for old in 1..=new {
            let proof = log.consistency(old, new);
            assert!(is_consistent(old, &root_of(old), new, &root_of(new), &proof), "{old} {new}");
            let other = log.forked_at(0);
            assert!(!is_consistent(old, &root(&other.leaves[..old as usize]), new, &root_of(new), &proof), "{old} {new}");
        }
    }
}
