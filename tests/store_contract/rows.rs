//! What a row keeps of its columns: what it left out, no one who compares rows would see.

use keyledger_events::Timestamp;
use keyledger_projections::{ColumnType, Row, Table, Value};
use uuid::Uuid;

use crate::samples::{row, sparse_row};

/// Values that a column could hold in place of this one.
fn others(value: &Value, ty: ColumnType) -> Vec<Value> {
    let others = match value {
        Value::Null => match ty {
            ColumnType::Int => vec![0.into(), 1.into()],
            ColumnType::Bool => vec![false.into(), true.into()],
            ColumnType::Text => vec!["".into(), "1".into()],
            ColumnType::Bytes => vec![Vec::<u8>::new().into(), vec![1].into()],
            ColumnType::Time => vec![Timestamp(0).into(), Timestamp(1).into()],
            ColumnType::Uuid => vec![Uuid::nil().into()],
        },
        Value::Int(number) => [0, 8, 31, 62, 63].map(|bit| Value::Int(number ^ (1 << bit))).into(),
        Value::Bool(is) => vec![Value::Bool(!is)],
        Value::Text(text) => {
            vec![format!("{text} ").into(), format!("\n{text}").into(), text.replace(' ', "  ").into(), text.to_uppercase().into(), "".into()]
        }
        Value::Bytes(bytes) => vec![[bytes.as_slice(), &[0]].concat().into(), Vec::<u8>::new().into()],
        Value::Time(at) => vec![Timestamp(at.0 + 1).into(), Timestamp(-at.0).into()],
        Value::Uuid(id) => vec![Uuid::from_u128(id.as_u128() ^ 1).into(), Uuid::nil().into()],
    };
    others.into_iter().chain([Value::Null]).filter(|other| other != value).collect()
}

#[test]
fn another_value_in_any_column_is_another_row_or_none() {
    for (table, original) in Table::ALL.iter().flat_map(|table| [(table, row(*table, 7)), (table, sparse_row(*table, 7))]) {
        let values = original.values();
        assert_eq!(Row::read(*table, values.clone()), Ok(original.clone()));
        for (at, column) in table.columns().iter().enumerate() {
            for other in others(&values[at], column.ty) {
                let mut changed = values.clone();
                changed[at] = other.clone();
                // What is no such row at all is found too.
                let Ok(read) = Row::read(*table, changed.clone()) else { continue };
                let what = format!("{}.{} as {other:?}", table.name(), column.name);
                assert_eq!(read.values(), changed, "{what} is read as something else");
                assert_ne!(read, original, "{what} is the same row");
            }
        }
    }
}
