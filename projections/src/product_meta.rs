//! Meta entries of products.

use keyledger_events::{Event, Recorded, Timestamp, product::ProductMeta};

use crate::{Column, ColumnType as Type, FoldError, ReadError, Value, Values};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductMetaRow {
    pub meta: ProductMeta,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl ProductMetaRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "number", ty: Type::Int },
        Column { name: "product", ty: Type::Int },
        Column { name: "meta_key", ty: Type::Text },
        Column { name: "value", ty: Type::Text },
        Column { name: "created_at", ty: Type::Time },
        Column { name: "updated_at", ty: Type::Time },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        self.meta.number
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        let meta = &self.meta;
        vec![
            meta.number.into(),
            meta.product.into(),
            meta.key.as_str().into(),
            meta.value.as_str().into(),
            self.created_at.into(),
            self.updated_at.into(),
        ]
    }

    /// # Errors
    /// When a column holds what it can't.
    pub fn read(values: &mut Values) -> Result<Self, ReadError> {
        let meta = ProductMeta { number: values.int()?, product: values.int()?, key: values.text()?, value: values.text()? };
        Ok(Self { meta, created_at: values.time()?, updated_at: values.time()? })
    }

    /// # Errors
    /// Never: an entry's own events make and remove it; the signature is every projection's.
    pub fn fold(_: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let Event::Product(event) = &recorded.event else { return Ok(row) };
        let at = recorded.recorded_at;
        let (state, created_at) = row.map_or((None, at), |row| (Some(row.meta), row.created_at));
        Ok(ProductMeta::fold(state, event).map(|meta| Self { meta, created_at, updated_at: at }))
    }
}
