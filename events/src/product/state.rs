//! What the events of a product add up to.

use serde::{Deserialize, Serialize};

use super::ProductEvent;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    #[default]
    Internal,
    Envato,
}

impl Source {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Envato => "envato",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Internal, Self::Envato].into_iter().find(|source| source.as_str().eq_ignore_ascii_case(text))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProductStatus {
    #[default]
    Active,
    Inactive,
}

impl ProductStatus {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Inactive].into_iter().find(|status| status.as_str() == text)
    }
}

/// A product without its meta entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    pub number: i64,
    pub source: Source,
    pub name: String,
    pub description: String,
    pub external_reference: String,
    pub post_url: String,
    pub require_non_expired: bool,
    pub status: ProductStatus,
    pub key_pair: Option<i64>,
    /// Its name in addresses. Products have had one from the start since there are slugs.
    pub slug: Option<String>,
    /// Whether its changelog is public.
    pub changelog: bool,
    /// Whether its files can be had through the license service.
    pub api_download: bool,
    pub deleted: bool,
}

impl Product {
    /// Whether its licenses may be used.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.deleted && self.status == ProductStatus::Active
    }

    /// The key pair that signs answers about it: its own, while it exists.
    #[must_use]
    pub fn signing_key_pair(&self) -> Option<i64> {
        if self.deleted { None } else { self.key_pair }
    }

    /// Folds one event.
    #[must_use]
    pub fn fold(state: Option<Self>, event: &ProductEvent) -> Option<Self> {
        if let ProductEvent::ProductCreated(created) = event {
            return Some(Self {
                number: created.product,
                source: created.source,
                name: created.name.clone(),
                description: created.description.clone(),
                external_reference: created.external_reference.clone(),
                post_url: created.post_url.clone(),
                require_non_expired: created.require_non_expired,
                status: created.status,
                key_pair: created.key_pair,
                slug: None,
                changelog: true,
                api_download: true,
                deleted: false,
            });
        }
        let mut product = state?;
        match event {
            ProductEvent::ProductCreated(_)
            | ProductEvent::ProductMetaCreated(_)
            | ProductEvent::ProductMetaUpdated(_)
            | ProductEvent::ProductMetaDeleted(_) => {}
            ProductEvent::ProductUpdated(updated) => {
                product.source = updated.source;
                product.name.clone_from(&updated.name);
                product.description.clone_from(&updated.description);
                product.external_reference.clone_from(&updated.external_reference);
                product.post_url.clone_from(&updated.post_url);
                product.require_non_expired = updated.require_non_expired;
                product.status = updated.status;
            }
            ProductEvent::ProductSlugSet(set) => product.slug = Some(set.slug.clone()),
            ProductEvent::ProductSwitchesChanged(changed) => {
                product.changelog = changed.changelog;
                product.api_download = changed.api_download;
            }
            ProductEvent::ProductKeyPairChanged(changed) => product.key_pair = Some(changed.to),
            ProductEvent::ProductDeleted(_) => product.deleted = true,
        }
        Some(product)
    }
}

/// A meta entry of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductMeta {
    pub number: i64,
    pub product: i64,
    pub key: String,
    pub value: String,
}

impl ProductMeta {
    /// Folds one event that names this entry.
    #[must_use]
    pub fn fold(state: Option<Self>, event: &ProductEvent) -> Option<Self> {
        match event {
            ProductEvent::ProductMetaCreated(event) | ProductEvent::ProductMetaUpdated(event) => {
                Some(Self { number: event.meta, product: event.product, key: event.key.clone(), value: event.value.clone() })
            }
            ProductEvent::ProductMetaDeleted(_) => None,
            ProductEvent::ProductCreated(_)
            | ProductEvent::ProductUpdated(_)
            | ProductEvent::ProductSlugSet(_)
            | ProductEvent::ProductSwitchesChanged(_)
            | ProductEvent::ProductKeyPairChanged(_)
            | ProductEvent::ProductDeleted(_) => state,
        }
    }
}
