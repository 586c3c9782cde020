//! Signing key pairs: the public halves, kept for ever.

use keyledger_events::{Event, Recorded, Timestamp, key_pair::KeyPair};
use uuid::Uuid;

use crate::{
    Column, ColumnType as Type, FoldError, ReadError, Table, Value, Values,
    registry::{check_sequence, require},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPairRow {
    pub key_pair: KeyPair,
    pub id: Uuid,
    pub sequence: i64,
    pub created_at: Timestamp,
    pub retired_at: Option<Timestamp>,
}

impl KeyPairRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "number", ty: Type::Int },
        Column { name: "id", ty: Type::Uuid },
        Column { name: "sequence", ty: Type::Int },
        Column { name: "product", ty: Type::Int },
        Column { name: "algorithm", ty: Type::Text },
        Column { name: "public_key", ty: Type::Text },
        Column { name: "created_at", ty: Type::Time },
        Column { name: "retired_at", ty: Type::Time },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        self.key_pair.number
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        let pair = &self.key_pair;
        vec![
            pair.number.into(),
            self.id.into(),
            self.sequence.into(),
            pair.product.into(),
            pair.algorithm.as_str().into(),
            pair.public_key.as_str().into(),
            self.created_at.into(),
            self.retired_at.into(),
        ]
    }

    /// # Errors
    /// When a column holds what it can't.
    pub fn read(values: &mut Values) -> Result<Self, ReadError> {
        let number = values.int()?;
        let id = values.uuid()?;
        let sequence = values.int()?;
        let mut key_pair = KeyPair { number, product: values.maybe_int()?, algorithm: values.text()?, public_key: values.text()?, retired: false };
        let (created_at, retired_at) = (values.time()?, values.maybe_time()?);
        key_pair.retired = retired_at.is_some();
        Ok(Self { key_pair, id, sequence, created_at, retired_at })
    }

    /// # Errors
    /// When the event doesn't fit the row.
    pub fn fold(number: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let Event::KeyPair(event) = &recorded.event else { return Ok(row) };
        check_sequence(row.as_ref().map(|row| row.sequence), recorded)?;
        let at = recorded.recorded_at;
        let (state, created_at, retired_at) = row.map_or((None, at, None), |row| (Some(row.key_pair), row.created_at, row.retired_at));
        let key_pair = require(KeyPair::fold(state, event), Table::KeyPair, number, recorded)?;
        let retired_at = retired_at.or(key_pair.retired.then_some(at));
        Ok(Some(Self { key_pair, id: recorded.aggregate_id, sequence: recorded.sequence, created_at, retired_at }))
    }
}
