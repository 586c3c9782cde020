//! A small transparency log of its own: leaves, roots, proofs by the letter of RFC 6962, signed checkpoints.

use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyledger::evidence::handout::Checkpoint;

pub use super::outside::tree::{Hash, is_consistent, key_id, node, pair, sha256};

pub const ORIGIN: &str = "keyledger/test";

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
        let root = STANDARD.encode(self.root(size));
        let text = format!("{}\n{size}\n{root}\n", self.origin);
        let pair = pair(self.seed);
        let id = key_id(&self.origin, 1, pair.public_key().as_ref());
        let signature = STANDARD.encode([&id[..], pair.sign(text.as_bytes()).as_ref()].concat());
        Checkpoint { size, note: format!("{text}\n\u{2014} {} {signature}\n", self.origin).into() }
    }

    /// The root over the first so many leaves.
    pub fn root(&self, size: u64) -> Hash {
        root(&self.leaves[..usize::try_from(size).unwrap()])
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
