//! What a witness needs to know of trees and signatures, by the letter of RFC 9162 and C2SP signed-note.

use aws_lc_rs::signature::Ed25519KeyPair;
use sha2::{Digest as _, Sha256};

pub type Hash = [u8; 32];

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
