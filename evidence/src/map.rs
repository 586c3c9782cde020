//! The stream map: a second tree with one entry for each license number, of which each recorded root says what every license's
//! last event was. It is what shows that no event of a license is missing.

use crate::tree::Hash;

/// What the map says of a license: its stream's id, the last sequence in it, and the last event's position in the log.
pub const ENTRY_LEN: usize = 32;

/// An entry of the map.
#[must_use]
pub fn entry(aggregate_id: &[u8; 16], last_sequence: u64, last_position: u64) -> [u8; ENTRY_LEN] {
    let mut entry = [0; ENTRY_LEN];
    entry[..16].copy_from_slice(aggregate_id);
    entry[16..24].copy_from_slice(&last_sequence.to_be_bytes());
    entry[24..].copy_from_slice(&last_position.to_be_bytes());
    entry
}

/// Reads an entry: id, last sequence, last position.
#[must_use]
pub(crate) fn read_entry(entry: &Hash) -> ([u8; 16], u64, u64) {
    let (mut id, mut sequence, mut position) = ([0; 16], [0; 8], [0; 8]);
    id.copy_from_slice(&entry[..16]);
    sequence.copy_from_slice(&entry[16..24]);
    position.copy_from_slice(&entry[24..]);
    (id, u64::from_be_bytes(sequence), u64::from_be_bytes(position))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_id_sequence_and_position_big_endian() {
        let written = entry(&[7; 16], 3, 0x0102);
        assert_eq!(hex::encode(written), "0707070707070707070707070707070700000000000000030000000000000102");
        assert_eq!(read_entry(&written), ([7; 16], 3, 0x0102));
    }
}
