//! Which subtrees a proof consists of, by their leaves (RFC 6962, section 2.1), and in which tile a subtree's hash is found.

use std::ops::Range;

/// Binary levels that a tile spans.
pub const TILE_HEIGHT: u32 = 8;
/// Entries of a full tile.
pub const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;

/// A perfect subtree: of the leaves from `number << height` on, `1 << height` many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub height: u32,
    pub number: u64,
}

impl Node {
    /// The level and number of the tile it is in, and its entries there.
    pub fn in_tile(self) -> (u32, u64, Range<usize>) {
        let (level, height) = (self.height / TILE_HEIGHT, self.height % TILE_HEIGHT);
        let first = self.number << height;
        let start = usize::try_from(first % TILE_WIDTH).unwrap_or_default();
        (level, first / TILE_WIDTH, start..start + (1 << height))
    }
}

/// The perfect subtrees that these leaves make up, from left to right. The range begins where a subtree at least as large may.
pub fn nodes(leaves: Range<u64>) -> Vec<Node> {
    let (mut start, mut nodes) = (leaves.start, Vec::new());
    while start < leaves.end {
        let height = (leaves.end - start).ilog2().min(start.trailing_zeros());
        nodes.push(Node { height, number: start >> height });
        start += 1 << height;
    }
    nodes
}

/// The largest power of two that is smaller than `count`, which is two or more.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The audit path of a leaf in a tree of that size, from the leaf upwards; `None` where there is no such leaf.
pub fn inclusion(leaf: i64, size: i64) -> Option<Vec<Range<u64>>> {
    fn path(leaf: u64, tree: Range<u64>, into: &mut Vec<Range<u64>>) {
        if tree.end - tree.start < 2 {
            return;
        }
        let middle = tree.start + split(tree.end - tree.start);
        let (with, without) = if leaf < middle { (tree.start..middle, middle..tree.end) } else { (middle..tree.end, tree.start..middle) };
        path(leaf, with, into);
        into.push(without);
    }
    let (leaf, size) = (u64::try_from(leaf).ok()?, u64::try_from(size).ok()?);
    let mut ranges = Vec::new();
    (leaf < size).then(|| path(leaf, 0..size, &mut ranges))?;
    Some(ranges)
}

/// The proof that a tree of `first` leaves is the beginning of one of `second`; `None` where it has more.
pub fn consistency(first: i64, second: i64) -> Option<Vec<Range<u64>>> {
    fn proof(first: u64, tree: Range<u64>, is_whole: bool, into: &mut Vec<Range<u64>>) {
        if first == tree.end {
            if !is_whole {
                into.push(tree);
            }
            return;
        }
        let middle = tree.start + split(tree.end - tree.start);
        if first <= middle {
            proof(first, tree.start..middle, is_whole, into);
            into.push(middle..tree.end);
        } else {
            proof(first, middle..tree.end, false, into);
            into.push(tree.start..middle);
        }
    }
    let (first, second) = (u64::try_from(first).ok()?, u64::try_from(second).ok()?);
    let mut ranges = Vec::new();
    if first > second {
        return None;
    }
    if first > 0 {
        proof(first, 0..second, true, &mut ranges);
    }
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_made_of_the_largest_subtrees_first() {
        let node = |height, number| Node { height, number };
        assert_eq!(nodes(0..7), [node(2, 0), node(1, 2), node(0, 6)]);
        assert_eq!(nodes(8..11), [node(1, 4), node(0, 10)]);
        assert!(nodes(5..5).is_empty());
    }

    #[test]
    fn a_subtree_is_in_the_tile_of_its_level() {
        assert_eq!(Node { height: 0, number: 300 }.in_tile(), (0, 1, 44..45));
        assert_eq!(Node { height: 3, number: 33 }.in_tile(), (0, 1, 8..16));
        assert_eq!(Node { height: 8, number: 300 }.in_tile(), (1, 1, 44..45));
        assert_eq!(Node { height: 15, number: 1 }.in_tile(), (1, 0, 128..256));
    }

    /// The paths that RFC 6962 gives for its tree of seven leaves.
    #[test]
    fn agrees_with_the_examples_of_the_rfc() {
        assert_eq!(inclusion(0, 7).unwrap(), [1..2, 2..4, 4..7]);
        assert_eq!(inclusion(3, 7).unwrap(), [2..3, 0..2, 4..7]);
        assert_eq!(inclusion(4, 7).unwrap(), [5..6, 6..7, 0..4]);
        assert_eq!(inclusion(6, 7).unwrap(), [4..6, 0..4]);
        assert_eq!(inclusion(7, 7), None);
        assert_eq!(consistency(3, 7).unwrap(), [2..3, 3..4, 0..2, 4..7]);
        assert_eq!(consistency(4, 7).unwrap(), vec![Range { start: 4, end: 7 }]);
        assert_eq!(consistency(6, 7).unwrap(), [4..6, 6..7, 0..4]);
        assert!(consistency(7, 7).unwrap().is_empty() && consistency(0, 7).unwrap().is_empty());
        assert_eq!(consistency(8, 7), None);
    }
}
