//! The block list as it is now; a removed entry has no row.

use keyledger_events::{
    Event, Recorded, Timestamp,
    block::{Block, BlockKind},
};
use uuid::Uuid;

use crate::{Column, ColumnType as Type, FoldError, ReadError, Value, Values, registry::check_sequence};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRow {
    pub block: Block,
    pub id: Uuid,
    pub sequence: i64,
    pub created_at: Timestamp,
}

impl BlockRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "number", ty: Type::Int },
        Column { name: "id", ty: Type::Uuid },
        Column { name: "sequence", ty: Type::Int },
        Column { name: "kind", ty: Type::Text },
        Column { name: "value", ty: Type::Text },
        Column { name: "created_at", ty: Type::Time },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        self.block.number
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        let block = &self.block;
        vec![
            block.number.into(),
            self.id.into(),
            self.sequence.into(),
            block.kind.as_str().into(),
            block.value.as_deref().into(),
            self.created_at.into(),
        ]
    }

    /// # Errors
    /// When a column holds what it can't.
    pub fn read(values: &mut Values) -> Result<Self, ReadError> {
        let number = values.int()?;
        let id = values.uuid()?;
        let sequence = values.int()?;
        let block = Block { number, kind: values.named("a kind", BlockKind::parse)?, value: values.maybe_text()? };
        Ok(Self { block, id, sequence, created_at: values.time()? })
    }

    /// # Errors
    /// When the event doesn't fit the row.
    pub fn fold(_: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let Event::Block(event) = &recorded.event else { return Ok(row) };
        check_sequence(row.as_ref().map(|row| row.sequence), recorded)?;
        let (state, created_at) = row.map_or((None, recorded.recorded_at), |row| (Some(row.block), row.created_at));
        Ok(Block::fold(state, event).map(|block| Self { block, id: recorded.aggregate_id, sequence: recorded.sequence, created_at }))
    }
}
