//! The tree and its proofs, word for word as RFC 6962 defines them; what the crate computes is compared with it.

use sha2::{Digest, Sha256};

type Hash = [u8; 32];

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::digest([&[1], left.as_slice(), right.as_slice()].concat()).into()
}

/// The largest power of two smaller than the number of leaves.
fn split(leaves: &[Hash]) -> usize {
    leaves.len().next_power_of_two() / 2
}

pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves));
            node(&root(left), &root(right))
        }
    }
}

pub fn inclusion(leaves: &[Hash], index: usize) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let at = split(leaves);
    let (left, right) = leaves.split_at(at);
    let (mut path, other) = if index < at { (inclusion(left, index), root(right)) } else { (inclusion(right, index - at), root(left)) };
    path.push(other);
    path
}

pub fn consistency(leaves: &[Hash], first: usize) -> Vec<Hash> {
    if first == 0 { Vec::new() } else { subproof(leaves, first, true) }
}

fn subproof(leaves: &[Hash], first: usize, whole: bool) -> Vec<Hash> {
    if first == leaves.len() {
        return if whole { Vec::new() } else { vec![root(leaves)] };
    }
    let at = split(leaves);
    let (left, right) = leaves.split_at(at);
    let (mut proof, other) = if first <= at { (subproof(left, first, whole), root(right)) } else { (subproof(right, first - at, false), root(left)) };
    proof.push(other);
    proof
}
