//! Reads about what is sold and how it is signed: single products, key pairs, the settings.

use std::sync::LazyLock;

use keyledger_events::{product::Source, settings::Settings};
use keyledger_projections::{KeyPairRow, ProductRow, SettingsRow, Table};
use uuid::Uuid;

use super::{
    Ledger,
    reads::{columns, read},
};
use crate::store::StoreError;

/// What a request names a product by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProductName {
    Number(i64),
    Id(Uuid),
    Slug(String),
}

static PRODUCT_BY_ID: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM product p WHERE p.id = $1 AND NOT p.deleted", columns(Table::Product, "p")));

static PRODUCT_BY_SLUG: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM product p WHERE p.slug = $1 AND NOT p.deleted", columns(Table::Product, "p")));

/// The condition on the index comes first in both backends' plans.
static PRODUCT_BY_REFERENCE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {} FROM product p WHERE p.external_reference = $1 AND p.external_reference <> '' AND p.source = $2 AND p.status = 'active' \
         AND NOT p.deleted ORDER BY p.number LIMIT 1",
        columns(Table::Product, "p")
    )
});

static HAS_SOURCE: &str = "SELECT p.number FROM product p WHERE p.source = $1 AND p.status = 'active' AND NOT p.deleted LIMIT 1";

static KEY_PAIR: LazyLock<String> = LazyLock::new(|| format!("SELECT {} FROM key_pair k WHERE k.number = $1", columns(Table::KeyPair, "k")));

static KEY_PAIRS_OF_PRODUCT: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM key_pair k WHERE k.product = $1 ORDER BY k.number", columns(Table::KeyPair, "k")));

static KEY_PAIRS: LazyLock<String> = LazyLock::new(|| format!("SELECT {} FROM key_pair k ORDER BY k.number", columns(Table::KeyPair, "k")));

static SETTINGS: LazyLock<String> = LazyLock::new(|| format!("SELECT {} FROM settings s WHERE s.number = 1", columns(Table::Settings, "s")));

impl Ledger {
    /// A product that is not deleted, by whichever name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find_product(&self, name: &ProductName) -> Result<Option<ProductRow>, StoreError> {
        let mut rows = match name {
            ProductName::Number(number) => return self.product(*number).await,
            ProductName::Id(id) => self.store.query(PRODUCT_BY_ID.as_str(), &[(*id).into()]).await?,
            ProductName::Slug(slug) => self.store.query(PRODUCT_BY_SLUG.as_str(), &[slug.as_str().into()]).await?,
        };
        rows.pop().map(|row| read(Table::Product, row, ProductRow::read)).transpose()
    }

    /// The active product of a source with this reference; the oldest where there are several.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn product_by_reference(&self, source: Source, reference: &str) -> Result<Option<ProductRow>, StoreError> {
        let mut rows = self.store.query(PRODUCT_BY_REFERENCE.as_str(), &[reference.into(), source.as_str().into()]).await?;
        rows.pop().map(|row| read(Table::Product, row, ProductRow::read)).transpose()
    }

    /// Whether any active product is of a source.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn has_product_of(&self, source: Source) -> Result<bool, StoreError> {
        Ok(!self.store.query(HAS_SOURCE, &[source.as_str().into()]).await?.is_empty())
    }

    /// A key pair's public half, retired or not.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn key_pair(&self, number: i64) -> Result<Option<KeyPairRow>, StoreError> {
        let mut rows = self.store.query(KEY_PAIR.as_str(), &[number.into()]).await?;
        rows.pop().map(|row| read(Table::KeyPair, row, KeyPairRow::read)).transpose()
    }

    /// A product's key pairs, retired ones too, in the order of their making.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn key_pairs_of(&self, product: i64) -> Result<Vec<KeyPairRow>, StoreError> {
        let rows = self.store.query(KEY_PAIRS_OF_PRODUCT.as_str(), &[product.into()]).await?;
        rows.into_iter().map(|row| read(Table::KeyPair, row, KeyPairRow::read)).collect()
    }

    /// Every key pair there ever was, in the order of their making.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn key_pairs(&self) -> Result<Vec<KeyPairRow>, StoreError> {
        let rows = self.query_list(KEY_PAIRS.as_str(), Vec::new()).await?;
        rows.into_iter().map(|row| read(Table::KeyPair, row, KeyPairRow::read)).collect()
    }

    /// The settings in force.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn settings(&self) -> Result<Settings, StoreError> {
        let mut rows = self.store.query(SETTINGS.as_str(), &[]).await?;
        Ok(rows.pop().map(|row| read(Table::Settings, row, SettingsRow::read)).transpose()?.map_or_else(Settings::default, |row| row.settings))
    }
}
