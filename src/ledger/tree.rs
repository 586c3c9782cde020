//! The RFC 6962 Merkle tree over all events, of which a writer needs the right edge alone: the roots of the perfect
//! subtrees that the leaves so far make up, largest first, one for each bit that is set in their number.

use aws_lc_rs::digest::{Context, SHA256, digest};

pub type Hash = [u8; 32];

const HASH_LEN: usize = 32;

fn hash(prefix: u8, parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[prefix]);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; HASH_LEN];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// The hash of a leaf: SHA-256 of a zero byte and the leaf.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    hash(0, &[leaf])
}

/// The hash of two subtrees side by side.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    hash(1, &[left, right])
}

/// The right edge of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    roots: Vec<Hash>,
}

impl Edge {
    /// Reads an edge as stored; `None` where its length doesn't fit the number of leaves.
    #[must_use]
    pub fn read(size: u64, bytes: &[u8]) -> Option<Self> {
        let (roots, rest) = bytes.as_chunks::<HASH_LEN>();
        (rest.is_empty() && roots.len() == size.count_ones() as usize).then(|| Self { size, roots: roots.to_vec() })
    }

    /// The stored form.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.roots.concat()
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf: it merges with every perfect subtree of its own size.
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.roots.push(node);
        self.size += 1;
    }

    /// The root hash of the whole tree; of the empty one, the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        let Some(last) = roots.next() else {
            let mut empty = [0; HASH_LEN];
            empty.copy_from_slice(digest(&SHA256, &[]).as_ref());
            return empty;
        };
        roots.fold(*last, |right, left| node_hash(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, word for word: split at the largest power of two smaller than the number of leaves.
    fn root_by_definition(leaves: &[&[u8]]) -> Hash {
        match leaves {
            [] => Edge::default().root(),
            [leaf] => leaf_hash(leaf),
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node_hash(&root_by_definition(&leaves[..split]), &root_by_definition(&leaves[split..]))
            }
        }
    }

    /// The leaves and roots that the certificate-transparency implementations test with.
    #[test]
    fn agrees_with_the_published_vectors() {
        let leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut edge = Edge::default();
        assert_eq!(hex::encode(edge.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for (leaf, root) in leaves.iter().zip(roots) {
            edge.push(leaf_hash(&hex::decode(leaf).unwrap()));
            assert_eq!(hex::encode(edge.root()), root);
        }
    }

    #[test]
    fn agrees_with_the_definition_at_every_size() {
        let leaves: Vec<Vec<u8>> = (0..200u32).map(|i| i.to_be_bytes().to_vec()).collect();
        let mut edge = Edge::default();
        for size in 0..leaves.len() {
            let slices: Vec<&[u8]> = leaves[..size].iter().map(Vec::as_slice).collect();
            assert_eq!(edge.root(), root_by_definition(&slices), "{size}");
            assert_eq!(Edge::read(edge.size(), &edge.bytes()), Some(edge.clone()));
            edge.push(leaf_hash(&leaves[size]));
        }
        assert_eq!(Edge::read(3, &[0; 32]), None);
    }
}
