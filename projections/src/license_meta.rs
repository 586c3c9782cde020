//! Meta entries of licenses.

use keyledger_events::{Event, Recorded, Timestamp, license::LicenseMeta};

use crate::{Column, ColumnType as Type, FoldError, ReadError, Value, Values};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicenseMetaRow {
    pub meta: LicenseMeta,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl LicenseMetaRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "number", ty: Type::Int },
        Column { name: "license", ty: Type::Int },
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
            meta.license.into(),
            meta.key.as_str().into(),
            meta.value.as_deref().into(),
            self.created_at.into(),
            self.updated_at.into(),
        ]
    }

    /// # Errors
    /// When a column holds what it can't.
    pub fn read(values: &mut Values) -> Result<Self, ReadError> {
        let meta = LicenseMeta { number: values.int()?, license: values.int()?, key: values.text()?, value: values.maybe_text()? };
        Ok(Self { meta, created_at: values.time()?, updated_at: values.time()? })
    }

    /// # Errors
    /// Never: an entry's own events make and remove it; the signature is every projection's.
    pub fn fold(_: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let Event::License(event) = &recorded.event else { return Ok(row) };
        let at = recorded.recorded_at;
        let (state, created_at) = row.map_or((None, at), |row| (Some(row.meta), row.created_at));
        Ok(LicenseMeta::fold(state, event).map(|meta| Self { meta, created_at, updated_at: at }))
    }
}
