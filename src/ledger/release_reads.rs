//! The reads about releases, their downloads and their tokens.

use std::sync::LazyLock;

use keyledger_events::values::LicenseKey;
use keyledger_projections::{ActivationRow, DownloadTokenRow, LicenseRow, ProductRow, ReleaseRow, Table};

use super::{
    Ledger,
    reads::{columns, read},
};
use crate::store::StoreError;

/// How many releases of a product an answer lists, the newest: a weekly release for twenty years.
const PUBLISHED_MAX: i64 = 1_000;

/// A license, its product, and the activation that counts for a domain.
#[derive(Clone, Debug)]
pub struct DomainView {
    pub license: LicenseRow,
    pub product: Option<ProductRow>,
    pub activation: Option<ActivationRow>,
}

static PUBLISHED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {} FROM product_release r WHERE r.product = $1 AND r.published AND NOT r.withdrawn \
         ORDER BY r.release_date DESC, r.numeric_version DESC LIMIT $2",
        columns(Table::Release, "r")
    )
});

static BY_VERSION: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT {} FROM product_release r WHERE r.product = $1 AND r.numeric_version = $2 AND NOT r.withdrawn", columns(Table::Release, "r"))
});

static BY_NUMBER: LazyLock<String> = LazyLock::new(|| format!("SELECT {} FROM product_release r WHERE r.number = $1", columns(Table::Release, "r")));

static PAGE: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM product_release r WHERE r.number > $1 ORDER BY r.number LIMIT $2", columns(Table::Release, "r")));

static PAGE_OF_PRODUCT: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT {} FROM product_release r WHERE r.product = $1 AND r.number > $2 ORDER BY r.number LIMIT $3", columns(Table::Release, "r"))
});

static TOKEN: LazyLock<String> = LazyLock::new(|| format!("SELECT {} FROM download_token t WHERE t.hash = $1", columns(Table::DownloadToken, "t")));

static LICENSE: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM license l WHERE l.license_key = $1 AND NOT l.deleted", columns(Table::License, "l")));

static ACTIVATION_OF_DOMAIN: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {} FROM activation a WHERE a.license = $1 AND (a.identifier = $2 OR a.domain = $2) AND a.active AND a.epoch = $3 \
         ORDER BY a.number LIMIT 1",
        columns(Table::Activation, "a")
    )
});

impl Ledger {
    /// A product's published releases, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn published_releases(&self, product: i64) -> Result<Vec<ReleaseRow>, StoreError> {
        let rows = self.query_list(PUBLISHED.as_str(), vec![product.into(), PUBLISHED_MAX.into()]).await?;
        rows.into_iter().map(|row| read(Table::Release, row, ReleaseRow::read)).collect()
    }

    /// A product's newest published release.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn newest_release(&self, product: i64) -> Result<Option<ReleaseRow>, StoreError> {
        let rows = self.store.query(PUBLISHED.as_str(), &[product.into(), 1.into()]).await?;
        rows.into_iter().next().map(|row| read(Table::Release, row, ReleaseRow::read)).transpose()
    }

    /// The release of a product that has a numeric version, published or not, unless it is withdrawn.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn release_by_version(&self, product: i64, numeric_version: i64) -> Result<Option<ReleaseRow>, StoreError> {
        let mut rows = self.store.query(BY_VERSION.as_str(), &[product.into(), numeric_version.into()]).await?;
        rows.pop().map(|row| read(Table::Release, row, ReleaseRow::read)).transpose()
    }

    /// A release by its number, withdrawn or not.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn release(&self, number: i64) -> Result<Option<ReleaseRow>, StoreError> {
        let mut rows = self.store.query(BY_NUMBER.as_str(), &[number.into()]).await?;
        rows.pop().map(|row| read(Table::Release, row, ReleaseRow::read)).transpose()
    }

    /// Releases in ascending number after one, of a product or of all.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn release_page(&self, product: Option<i64>, after: i64, limit: i64) -> Result<Vec<ReleaseRow>, StoreError> {
        let rows = match product {
            Some(product) => self.query_list(PAGE_OF_PRODUCT.as_str(), vec![product.into(), after.into(), limit.into()]).await?,
            None => self.query_list(PAGE.as_str(), vec![after.into(), limit.into()]).await?,
        };
        rows.into_iter().map(|row| read(Table::Release, row, ReleaseRow::read)).collect()
    }

    /// A token that may still be good, by the hash of its value.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn download_token(&self, hash: &str) -> Result<Option<DownloadTokenRow>, StoreError> {
        let mut rows = self.store.query(TOKEN.as_str(), &[hash.into()]).await?;
        rows.pop().map(|row| read(Table::DownloadToken, row, DownloadTokenRow::read)).transpose()
    }

    /// A license by its key, with its product and the activation in force whose identifier names a domain (as
    /// [`keyledger_events::values::domain`] writes it).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find_domain(&self, key: &LicenseKey, domain: Option<&str>) -> Result<Option<DomainView>, StoreError> {
        let mut rows = self.store.query(LICENSE.as_str(), &[key.as_str().into()]).await?;
        let Some(row) = rows.pop() else { return Ok(None) };
        let license = read(Table::License, row, LicenseRow::read)?;
        let product = self.product(license.license.product).await?;
        let activation = match domain {
            Some(domain) => {
                let parameters = [license.license.number.into(), domain.into(), license.license.epoch.into()];
                self.store.query(ACTIVATION_OF_DOMAIN.as_str(), &parameters).await?.pop()
            }
            None => None,
        };
        let activation = activation.map(|row| read(Table::Activation, row, ActivationRow::read)).transpose()?;
        Ok(Some(DomainView { license, product, activation }))
    }
}
