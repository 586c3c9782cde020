//! The Merkle tree of RFC 6962, as far as checking needs it: the two hashes and the two proofs, as RFC 9162 spells out their
//! checks (sections 2.1.3.2 and 2.1.4.2).

use sha2::{Digest, Sha256};

pub type Hash = [u8; 32];

/// More hashes than this no proof has: a tree has less than 2^64 leaves.
pub const PROOF_HASHES_MAX: usize = 64;

/// The hash of a leaf: SHA-256 of a zero byte and the leaf.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()
}

/// The hash of an inner node: SHA-256 of a one byte and both children.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root of the tree without leaves: the hash of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

fn is_odd(number: u64) -> bool {
    number & 1 == 1
}

/// The root that an inclusion proof leads to from the hash of the leaf with this index, in a tree of `size` leaves. `None` where
/// the proof has not the length that such a proof has.
#[must_use]
pub fn root_from_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut root = *leaf;
    for hash in proof {
        if last == 0 {
            return None;
        }
        if is_odd(node) || node == last {
            root = node_hash(hash, &root);
            while !is_odd(node) && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            root = node_hash(&root, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(root)
}

/// Whether the tree with `first` leaves and root `first_root` is the beginning of the one with `second` leaves and `second_root`.
#[must_use]
pub fn is_consistent(first: u64, first_root: &Hash, second: u64, second_root: &Hash, proof: &[Hash]) -> bool {
    if first == 0 {
        return proof.is_empty() && *first_root == empty_root();
    }
    if first == second {
        return proof.is_empty() && first_root == second_root;
    }
    if first > second {
        return false;
    }
    let (mut node, mut last) = (first - 1, second - 1);
    while is_odd(node) {
        node >>= 1;
        last >>= 1;
    }
    // Where the first tree is a perfect one, the proof leaves its root out.
    let (seed, rest) = match proof.split_first() {
        Some(_) if first.is_power_of_two() => (*first_root, proof),
        Some((seed, rest)) => (*seed, rest),
        None => return false,
    };
    let (mut old, mut new) = (seed, seed);
    for hash in rest {
        if last == 0 {
            return false;
        }
        if is_odd(node) || node == last {
            old = node_hash(hash, &old);
            new = node_hash(hash, &new);
            while !is_odd(node) && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old == *first_root && new == *second_root
}

#[cfg(test)]
#[path = "../tests/support/definition.rs"]
mod definition;

#[cfg(test)]
mod tests {
    use super::{definition::*, *};

    fn leaves() -> Vec<Hash> {
        let leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        leaves.iter().map(|leaf| leaf_hash(&hex::decode(leaf).unwrap())).collect()
    }

    fn hashes(list: &[&str]) -> Vec<Hash> {
        list.iter().map(|text| hex::decode(text).unwrap().try_into().unwrap()).collect()
    }

    /// The roots, paths and consistency proofs that the certificate-transparency implementations test with.
    #[test]
    fn agrees_with_the_published_vectors() {
        let roots = hashes(&[
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ]);
        let leaves = leaves();
        // Leaf and size count from 1 here, as in the published list.
        let paths: [(u64, u64, &[&str]); 5] = [
            (1, 1, &[]),
            (
                1,
                8,
                &[
                    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
                ],
            ),
            (
                6,
                8,
                &[
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                ],
            ),
            (3, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
            (
                2,
                5,
                &[
                    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                ],
            ),
        ];
        for (leaf, size, path) in paths {
            let root = root_from_inclusion(&leaves[leaf as usize - 1], leaf - 1, size, &hashes(path)).unwrap();
            assert_eq!(root, roots[size as usize - 1], "{leaf} of {size}");
        }
        let proofs: [(u64, u64, &[&str]); 4] = [
            (1, 1, &[]),
            (
                1,
                8,
                &[
                    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
                ],
            ),
            (
                6,
                8,
                &[
                    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                ],
            ),
            (
                2,
                5,
                &[
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                ],
            ),
        ];
        for (first, second, proof) in proofs {
            assert!(is_consistent(first, &roots[first as usize - 1], second, &roots[second as usize - 1], &hashes(proof)), "{first} in {second}");
        }
    }

    const SIZES: u64 = 70;

    #[test]
    fn inclusion_agrees_with_the_definition_at_every_size() {
        let leaves: Vec<Hash> = (0..SIZES).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        for size in 1..SIZES {
            let leaves = &leaves[..size as usize];
            let root = root(leaves);
            for index in 0..size {
                let leaf = &leaves[index as usize];
                let proof = inclusion(leaves, index as usize);
                assert_eq!(root_from_inclusion(leaf, index, size, &proof), Some(root));
                assert_ne!(root_from_inclusion(&[7; 32], index, size, &proof), Some(root));
                assert_eq!(root_from_inclusion(leaf, index, size, &[proof.clone(), vec![[0; 32]]].concat()), None);
                if let Some((_, shorter)) = proof.split_last() {
                    assert_eq!(root_from_inclusion(leaf, index, size, shorter), None);
                }
                assert_ne!(root_from_inclusion(leaf, (index + 1) % size, size, &proof), Some(root).filter(|_| size > 1));
            }
            assert_eq!(root_from_inclusion(&leaves[0], size, size, &[]), None);
        }
    }

    #[test]
    fn consistency_agrees_with_the_definition_at_every_two_sizes() {
        let leaves: Vec<Hash> = (0..SIZES).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        for second in 1..SIZES {
            let new = root(&leaves[..second as usize]);
            for first in 1..=second {
                let old = root(&leaves[..first as usize]);
                let proof = consistency(&leaves[..second as usize], first as usize);
                assert!(is_consistent(first, &old, second, &new, &proof), "{first} in {second}");
                assert!(!is_consistent(first, &[7; 32], second, &new, &proof));
                assert!(!is_consistent(first, &old, second, &[7; 32], &proof));
                assert!(!is_consistent(first, &old, second, &new, &[proof.clone(), vec![[0; 32]]].concat()));
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(!is_consistent(first, &old, second, &new, shorter));
                }
                assert_eq!(is_consistent(second, &new, first, &old, &proof), first == second);
            }
        }
        assert!(is_consistent(0, &empty_root(), 5, &root(&leaves[..5]), &[]));
        assert!(!is_consistent(0, &[7; 32], 5, &root(&leaves[..5]), &[]));
    }
}
