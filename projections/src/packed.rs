//! Rows in few bytes, for those kept in memory by the hundred thousand: a fraction of what they take as structures with texts
//! of their own.

use keyledger_events::Timestamp;
use uuid::Uuid;

use crate::{ReadError, Row, Table, Value};

/// A row's values one after another, each after a byte that says what it is.
#[derive(Clone, Debug)]
pub struct PackedRow(Box<[u8]>);

const NULL: u8 = 0;
const INT: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
const TEXT: u8 = 4;
const BYTES: u8 = 5;
const TIME: u8 = 6;
const UUID: u8 = 7;

impl PackedRow {
    #[must_use]
    pub fn new(row: &Row) -> Self {
        let mut bytes = Vec::with_capacity(256);
        for value in row.values() {
            put(&value, &mut bytes);
        }
        Self(bytes.into())
    }

    /// In bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// The row, which is one of `table`.
    ///
    /// # Errors
    /// When it is another table's.
    pub fn unpack(&self, table: Table) -> Result<Row, ReadError> {
        let mut rest = &*self.0;
        Row::read(table, std::iter::from_fn(|| take(&mut rest)).collect())
    }
}

fn put(value: &Value, into: &mut Vec<u8>) {
    match value {
        Value::Null => into.push(NULL),
        Value::Int(value) => put_int(INT, *value, into),
        Value::Bool(false) => into.push(FALSE),
        Value::Bool(true) => into.push(TRUE),
        Value::Text(text) => put_bytes(TEXT, text.as_bytes(), into),
        Value::Bytes(bytes) => put_bytes(BYTES, bytes, into),
        Value::Time(at) => put_int(TIME, at.0, into),
        Value::Uuid(id) => {
            into.push(UUID);
            into.extend_from_slice(id.as_bytes());
        }
    }
}

/// Seven bits a byte, lowest first, the sign in the lowest of all: small numbers take one byte.
fn put_int(kind: u8, value: i64, into: &mut Vec<u8>) {
    into.push(kind);
    let mut bits = (value << 1 ^ value >> 63).cast_unsigned();
    while bits >= 0x80 {
        into.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    into.push(bits as u8);
}

fn put_bytes(kind: u8, bytes: &[u8], into: &mut Vec<u8>) {
    put_int(kind, bytes.len() as i64, into);
    into.extend_from_slice(bytes);
}

fn take(rest: &mut &[u8]) -> Option<Value> {
    let (kind, tail) = rest.split_first()?;
    *rest = tail;
    Some(match *kind {
        NULL => Value::Null,
        INT => Value::Int(take_int(rest)?),
        FALSE => Value::Bool(false),
        TRUE => Value::Bool(true),
        TEXT => Value::Text(str::from_utf8(take_bytes(rest)?).ok()?.to_owned()),
        BYTES => Value::Bytes(take_bytes(rest)?.to_vec()),
        TIME => Value::Time(Timestamp(take_int(rest)?)),
        UUID => {
            let (id, tail) = rest.split_first_chunk()?;
            *rest = tail;
            Value::Uuid(Uuid::from_bytes(*id))
        }
        _ => return None,
    })
}

fn take_int(rest: &mut &[u8]) -> Option<i64> {
    let mut bits = 0;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        bits |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed())
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_int(rest)?).ok()?;
    let (bytes, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back() {
        let ints = [0, 1, -1, 63, 64, -64, -65, i64::MAX, i64::MIN, 1_732_388_528_829_115];
        let mut values: Vec<Value> = ints.iter().flat_map(|int| [Value::Int(*int), Value::Time(Timestamp(*int))]).collect();
        values.extend([Value::Null, Value::Bool(true), Value::Bool(false), Value::Uuid(Uuid::from_u128(7))]);
        values.extend(["", "é", &"x".repeat(1_000)].map(Value::from));
        values.extend([vec![], vec![0, 255]].map(Value::from));
        let mut bytes = Vec::new();
        values.iter().for_each(|value| put(value, &mut bytes));
        let mut rest = &*bytes;
        assert_eq!(std::iter::from_fn(|| take(&mut rest)).collect::<Vec<_>>(), values);
    }
}
