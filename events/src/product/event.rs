//! What can have happened to a product.

use serde::{Deserialize, Serialize};

use super::{ProductStatus, Source};
use crate::{Personal, domain::domain_event};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ProductEvent {
    ProductCreated(ProductCreated),
    ProductUpdated(ProductUpdated),
    ProductMetaCreated(ProductMetaSet),
    ProductMetaUpdated(ProductMetaSet),
    ProductMetaDeleted(ProductMetaDeleted),
    ProductSlugSet(ProductSlugSet),
    ProductSwitchesChanged(ProductSwitchesChanged),
    ProductKeyPairChanged(ProductKeyPairChanged),
    ProductDeleted(ProductDeleted),
}

domain_event!(ProductEvent personal {
    ProductCreated "1.0",
    ProductUpdated "1.0",
    ProductMetaCreated "1.0",
    ProductMetaUpdated "1.0",
    ProductMetaDeleted "1.0",
    ProductSlugSet "1.0",
    ProductSwitchesChanged "1.0",
    ProductKeyPairChanged "1.0",
    ProductDeleted "1.0",
});

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProductCreated {
    pub description: String,
    pub external_reference: String,
    /// The number of its own key pair; without one the global key signs.
    pub key_pair: Option<i64>,
    pub name: String,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub post_url: String,
    pub product: i64,
    pub require_non_expired: bool,
    pub source: Source,
    pub status: ProductStatus,
}

/// All fields as they are after the change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProductUpdated {
    pub description: String,
    pub external_reference: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub post_url: String,
    pub product: i64,
    pub require_non_expired: bool,
    pub source: Source,
    pub status: ProductStatus,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProductMetaSet {
    pub key: String,
    pub meta: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    /// In clear: a product has no data subject.
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProductMetaDeleted {
    pub key: String,
    pub meta: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
}

/// The name under which the product stands in addresses. No other product that is not deleted has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProductSlugSet {
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub slug: String,
}

/// Both switches as they are after the change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProductSwitchesChanged {
    pub api_download: bool,
    pub changelog: bool,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
}

/// Another key pair signs what is about the product from here on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProductKeyPairChanged {
    /// `None` where the global key signed until then.
    pub from: Option<i64>,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub to: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProductDeleted {
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
}
