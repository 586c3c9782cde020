//! Products, one row each; a deleted one stays, marked.

use keyledger_events::{
    Event, Recorded, Timestamp,
    product::{Product, ProductEvent, ProductStatus, Source},
};
use uuid::Uuid;

use crate::{
    Column, ColumnType as Type, FoldError, ReadError, Table, Value, Values,
    registry::{check_sequence, require},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductRow {
    pub product: Product,
    pub id: Uuid,
    pub sequence: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl ProductRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "number", ty: Type::Int },
        Column { name: "id", ty: Type::Uuid },
        Column { name: "sequence", ty: Type::Int },
        Column { name: "source", ty: Type::Text },
        Column { name: "name", ty: Type::Text },
        Column { name: "description", ty: Type::Text },
        Column { name: "external_reference", ty: Type::Text },
        Column { name: "post_url", ty: Type::Text },
        Column { name: "require_non_expired", ty: Type::Bool },
        Column { name: "status", ty: Type::Text },
        Column { name: "key_pair", ty: Type::Int },
        Column { name: "slug", ty: Type::Text },
        Column { name: "changelog", ty: Type::Bool },
        Column { name: "api_download", ty: Type::Bool },
        Column { name: "deleted", ty: Type::Bool },
        Column { name: "created_at", ty: Type::Time },
        Column { name: "updated_at", ty: Type::Time },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        self.product.number
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        let product = &self.product;
        vec![
            product.number.into(),
            self.id.into(),
            self.sequence.into(),
            product.source.as_str().into(),
            product.name.as_str().into(),
            product.description.as_str().into(),
            product.external_reference.as_str().into(),
            product.post_url.as_str().into(),
            product.require_non_expired.into(),
            product.status.as_str().into(),
            product.key_pair.into(),
            product.slug.as_deref().into(),
            product.changelog.into(),
            product.api_download.into(),
            product.deleted.into(),
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
        let product = Product {
            number,
            source: values.named("a source", |text| Source::parse(text).filter(|source| source.as_str() == text))?,
            name: values.text()?,
            description: values.text()?,
            external_reference: values.text()?,
            post_url: values.text()?,
            require_non_expired: values.bool()?,
            status: values.named("a status", ProductStatus::parse)?,
            key_pair: values.maybe_int()?,
            slug: values.maybe_text()?,
            changelog: values.bool()?,
            api_download: values.bool()?,
            deleted: values.bool()?,
        };
        Ok(Self { product, id, sequence, created_at: values.time()?, updated_at: values.time()? })
    }

    /// # Errors
    /// When the event doesn't fit the row.
    pub fn fold(number: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let Event::Product(event) = &recorded.event else { return Ok(row) };
        check_sequence(row.as_ref().map(|row| row.sequence), recorded)?;
        let at = recorded.recorded_at;
        let (state, created_at, updated_at) = row.map_or((None, at, at), |row| (Some(row.product), row.created_at, row.updated_at));
        let product = require(Product::fold(state, event), Table::Product, number, recorded)?;
        // A meta entry has times of its own.
        let updated_at = match event {
            ProductEvent::ProductCreated(_)
            | ProductEvent::ProductUpdated(_)
            | ProductEvent::ProductSlugSet(_)
            | ProductEvent::ProductSwitchesChanged(_)
            | ProductEvent::ProductKeyPairChanged(_)
            | ProductEvent::ProductDeleted(_) => at,
            ProductEvent::ProductMetaCreated(_) | ProductEvent::ProductMetaUpdated(_) | ProductEvent::ProductMetaDeleted(_) => updated_at,
        };
        Ok(Some(Self { product, id: recorded.aggregate_id, sequence: recorded.sequence, created_at, updated_at }))
    }
}
