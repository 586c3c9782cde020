//! Generators, one row each; a deleted one stays, marked.

use keyledger_events::{
    Event, Recorded, Timestamp,
    generator::{Generator, GeneratorFields, KeyRule, Method},
};
use uuid::Uuid;

use crate::{
    Column, ColumnType as Type, FoldError, ReadError, Table, Value, Values,
    registry::{check_sequence, require},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratorRow {
    pub generator: Generator,
    pub id: Uuid,
    /// The last event's sequence: as long as it stays, so does the generator.
    pub sequence: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl GeneratorRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "number", ty: Type::Int },
        Column { name: "id", ty: Type::Uuid },
        Column { name: "sequence", ty: Type::Int },
        Column { name: "product", ty: Type::Int },
        Column { name: "method", ty: Type::Text },
        Column { name: "prefix", ty: Type::Text },
        Column { name: "suffix", ty: Type::Text },
        Column { name: "number_of_chunks", ty: Type::Int },
        Column { name: "chunk_length", ty: Type::Int },
        Column { name: "charset", ty: Type::Text },
        Column { name: "function_name", ty: Type::Text },
        Column { name: "pattern", ty: Type::Text },
        Column { name: "activation_limit", ty: Type::Int },
        Column { name: "validity_days", ty: Type::Int },
        Column { name: "active", ty: Type::Bool },
        Column { name: "deleted", ty: Type::Bool },
        Column { name: "created_at", ty: Type::Time },
        Column { name: "updated_at", ty: Type::Time },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        self.generator.number
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        let fields = &self.generator.fields;
        let rule = &fields.rule;
        vec![
            self.generator.number.into(),
            self.id.into(),
            self.sequence.into(),
            fields.product.into(),
            rule.method.as_str().into(),
            rule.prefix.as_str().into(),
            rule.suffix.as_str().into(),
            rule.number_of_chunks.into(),
            rule.chunk_length.into(),
            rule.charset.as_str().into(),
            rule.function_name.as_str().into(),
            rule.pattern.as_str().into(),
            fields.activation_limit.into(),
            fields.validity_days.into(),
            fields.active.into(),
            self.generator.deleted.into(),
            self.created_at.into(),
            self.updated_at.into(),
        ]
    }

    /// # Errors
    /// When a column holds what it can't.
    pub fn read(values: &mut Values) -> Result<Self, ReadError> {
        let number = values.int()?;
        let id = values.uuid()?;
        let sequence = values.int()?;
        let product = values.int()?;
        let method = values.named("a method", Method::parse)?;
        let (prefix, suffix) = (values.text()?, values.text()?);
        let (number_of_chunks, chunk_length) = (values.int()?, values.int()?);
        let (charset, function_name, pattern) = (values.text()?, values.text()?, values.text()?);
        let rule = KeyRule { charset, chunk_length, function_name, method, number_of_chunks, pattern, prefix, suffix };
        let fields = GeneratorFields { product, rule, activation_limit: values.int()?, validity_days: values.int()?, active: values.bool()? };
        let generator = Generator { number, fields, deleted: values.bool()? };
        Ok(Self { generator, id, sequence, created_at: values.time()?, updated_at: values.time()? })
    }

    /// # Errors
    /// When the event doesn't fit the row.
    pub fn fold(number: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let Event::Generator(event) = &recorded.event else { return Ok(row) };
        check_sequence(row.as_ref().map(|row| row.sequence), recorded)?;
        let at = recorded.recorded_at;
        let (state, created_at) = row.map_or((None, at), |row| (Some(row.generator), row.created_at));
        let generator = require(Generator::fold(state, event), Table::Generator, number, recorded)?;
        Ok(Some(Self { generator, id: recorded.aggregate_id, sequence: recorded.sequence, created_at, updated_at: at }))
    }
}
