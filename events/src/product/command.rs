//! What can be asked of a product.

use super::{ProductStatus, Source};
use crate::values::{MetaKey, Slug};

/// A product's fields, checked at the edge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProductFields {
    pub source: Source,
    pub name: String,
    pub description: String,
    pub external_reference: String,
    pub post_url: String,
    pub require_non_expired: bool,
    pub status: ProductStatus,
}

/// What is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateProduct {
    pub source: Option<Source>,
    pub name: Option<String>,
    pub description: Option<String>,
    pub external_reference: Option<String>,
    pub post_url: Option<String>,
    pub require_non_expired: Option<bool>,
    pub status: Option<ProductStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProductCommand {
    Create {
        fields: ProductFields,
        key_pair: Option<i64>,
        slug: Slug,
    },
    Update(UpdateProduct),
    CreateMeta {
        key: Option<MetaKey>,
        value: Option<String>,
    },
    UpdateMeta {
        key: Option<MetaKey>,
        value: Option<String>,
    },
    DeleteMeta {
        key: Option<MetaKey>,
    },
    SetSlug {
        slug: Slug,
    },
    /// What is `None` stays as it is.
    SetSwitches {
        changelog: Option<bool>,
        api_download: Option<bool>,
    },
    /// Has one of its key pairs sign from here on.
    UseKeyPair {
        key_pair: i64,
    },
    Delete,
}
