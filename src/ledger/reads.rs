//! The reads that answers are made of. Each is one or two statements on indexes, the same SQL for both backends.

mod background;
mod supply;
pub mod webhooks;

use std::sync::{Arc, LazyLock};

use keyledger_events::{
    license::{Activation, License, Status},
    product::{Product, ProductStatus},
    values::{Identifier, LicenseKey},
};
use keyledger_projections::{
    ActivationRow, LicenseCountRow, LicenseMetaRow, LicenseRow, ProductMetaRow, ProductRow, ReadError, Table, Value, Values,
};

pub use background::Backlog;
pub use supply::ContractView;

use super::Ledger;
use crate::store::{Portion, StoreError, StoredEvent, aside, events_aside};

/// What verify, details and their like look at.
#[derive(Clone, Debug)]
pub struct LicenseView {
    pub license: LicenseRow,
    pub product: Option<ProductRow>,
    /// The activation of the identifier asked for, in force or not.
    pub activation: Option<ActivationRow>,
}

/// The little of it that tells whether a license may be used: verify asks for this millions of times a day.
#[derive(Clone, Debug)]
pub struct LicenseUse {
    /// Number, product, status, validity, assignment and epoch; the rest is empty.
    pub license: License,
    pub product_active: bool,
    /// The key pair that signs, where the product has its own.
    pub key_pair: Option<i64>,
    pub activation: Option<Activation>,
}

/// Which licenses a list shows; what is `None` doesn't matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LicenseFilter {
    pub product: Option<i64>,
    pub status: Option<Status>,
    pub owner_email: Option<String>,
    pub owner_name: Option<String>,
}

pub(super) fn columns(table: Table, alias: &str) -> String {
    table.columns().iter().map(|column| format!("{alias}.{}", column.name)).collect::<Vec<_>>().join(", ")
}

static VIEW: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {}, {}, {} FROM license l LEFT JOIN activation a ON a.license = l.number AND a.identifier = $1 \
         LEFT JOIN product p ON p.number = l.product WHERE l.license_key = $2 AND NOT l.deleted",
        columns(Table::License, "l"),
        columns(Table::Product, "p"),
        columns(Table::Activation, "a"),
    )
});

static USE: &str = "SELECT l.number, l.product, l.status, l.validity_days, l.assigned_at, l.epoch, p.status, p.deleted, p.key_pair, \
                    a.number, a.active, a.epoch FROM license l LEFT JOIN activation a ON a.license = l.number AND a.identifier = $1 \
                    LEFT JOIN product p ON p.number = l.product WHERE l.license_key = $2 AND NOT l.deleted";

fn read_use(values: &mut Values) -> Result<LicenseUse, ReadError> {
    let license = License {
        number: values.int()?,
        product: values.int()?,
        status: values.named("a status", Status::parse)?,
        validity_days: values.int()?,
        assigned_at: values.maybe_time()?,
        epoch: values.int()?,
        ..License::default()
    };
    let product = match values.maybe_text()? {
        Some(status) => Some(Product {
            status: ProductStatus::parse(&status).unwrap_or(ProductStatus::Inactive),
            deleted: values.bool()?,
            key_pair: values.maybe_int()?,
            ..Product::default()
        }),
        None => {
            values.skip(2);
            None
        }
    };
    let activation = match values.maybe_int()? {
        Some(number) => {
            let (active, epoch) = (values.bool()?, values.int()?);
            Some(Activation { number, license: license.number, identifier: None, post_url: None, active, epoch })
        }
        None => None,
    };
    Ok(LicenseUse {
        product_active: product.as_ref().is_some_and(Product::is_active),
        key_pair: product.as_ref().and_then(Product::signing_key_pair),
        license,
        activation,
    })
}

static LICENSE_META: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM license_meta m WHERE m.license = $1 ORDER BY m.number", columns(Table::LicenseMeta, "m")));

static PRODUCT_META: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM product_meta m WHERE m.product = $1 ORDER BY m.number", columns(Table::ProductMeta, "m")));

static ALL_PRODUCT_META: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {} FROM product_meta m JOIN product p ON p.number = m.product WHERE NOT p.deleted ORDER BY m.product, m.number",
        columns(Table::ProductMeta, "m")
    )
});

static PRODUCTS: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM product p WHERE NOT p.deleted ORDER BY p.number", columns(Table::Product, "p")));

static PRODUCT: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM product p WHERE p.number = $1 AND NOT p.deleted", columns(Table::Product, "p")));

static LICENSE_COUNT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {} FROM license_count c JOIN product p ON p.number = c.product WHERE c.product = $1 AND NOT p.deleted",
        columns(Table::LicenseCount, "c")
    )
});

/// One statement for each combination of filters, so that each can use its index.
static PAGES: LazyLock<Vec<String>> = LazyLock::new(|| (0..1 << PAGE_FILTERS.len()).map(page_sql).collect());

const PAGE_FILTERS: [&str; 4] = ["product", "status", "owner_email", "owner_name"];

fn page_sql(filters: usize) -> String {
    let mut conditions = vec!["NOT l.deleted".to_owned()];
    for (bit, column) in PAGE_FILTERS.iter().enumerate() {
        if filters & (1 << bit) != 0 {
            conditions.push(format!("l.{column} = ${}", conditions.len()));
        }
    }
    let next = conditions.len();
    format!(
        "SELECT {} FROM license l WHERE {} ORDER BY l.number LIMIT ${next} OFFSET ${}",
        columns(Table::License, "l"),
        conditions.join(" AND "),
        next + 1
    )
}

pub(super) fn read<R>(table: Table, row: Vec<Value>, read: impl FnOnce(&mut Values) -> Result<R, ReadError>) -> Result<R, StoreError> {
    read(&mut row.into()).map_err(|source| StoreError::Read { table: table.name(), source })
}

impl Ledger {
    /// Whether a license may be used for an identifier.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find_use(&self, key: &LicenseKey, identifier: Option<&Identifier>) -> Result<Option<LicenseUse>, StoreError> {
        let parameters = [identifier.map(Identifier::as_str).into(), key.as_str().into()];
        let mut rows = self.store.query(USE, &parameters).await?;
        rows.pop().map(|row| read(Table::License, row, read_use)).transpose()
    }

    /// A license by its key, with its product and the activation of one identifier.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find_license(&self, key: &LicenseKey, identifier: Option<&Identifier>) -> Result<Option<LicenseView>, StoreError> {
        let parameters = [identifier.map(Identifier::as_str).into(), key.as_str().into()];
        let mut rows = self.store.query(VIEW.as_str(), &parameters).await?;
        let Some(mut license) = rows.pop() else { return Ok(None) };
        let mut product = license.split_off(Table::License.columns().len());
        let activation = product.split_off(Table::Product.columns().len());
        let is_there = |row: &Vec<Value>| row.first().is_some_and(|number| *number != Value::Null);
        Ok(Some(LicenseView {
            license: read(Table::License, license, LicenseRow::read)?,
            product: is_there(&product).then(|| read(Table::Product, product, ProductRow::read)).transpose()?,
            activation: is_there(&activation).then(|| read(Table::Activation, activation, ActivationRow::read)).transpose()?,
        }))
    }

    /// Events from a position on, on a thread where reading them holds up nobody.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn log_page(&self, from: i64, limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
        events_aside(Arc::clone(&self.store), from, Portion::however_long(limit)).await
    }

    /// A query that may look at many rows, on a thread where it holds up nobody: the embedded store works on its caller's.
    pub(super) async fn query_list(&self, sql: &'static str, parameters: Vec<Value>) -> Result<Vec<Vec<Value>>, StoreError> {
        let store = Arc::clone(&self.store);
        aside(async move { store.query(sql, &parameters).await }).await
    }

    /// The meta entries of a license, in the order of their making.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn license_meta(&self, license: i64) -> Result<Vec<LicenseMetaRow>, StoreError> {
        let rows = self.store.query(LICENSE_META.as_str(), &[license.into()]).await?;
        rows.into_iter().map(|row| read(Table::LicenseMeta, row, LicenseMetaRow::read)).collect()
    }

    /// The meta entries of a product, in the order of their making.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn product_meta(&self, product: i64) -> Result<Vec<ProductMetaRow>, StoreError> {
        let rows = self.store.query(PRODUCT_META.as_str(), &[product.into()]).await?;
        rows.into_iter().map(|row| read(Table::ProductMeta, row, ProductMetaRow::read)).collect()
    }

    /// All products that are not deleted, with their meta entries.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn products(&self) -> Result<Vec<(ProductRow, Vec<ProductMetaRow>)>, StoreError> {
        let products = self.query_list(PRODUCTS.as_str(), Vec::new()).await?;
        let meta = self.query_list(ALL_PRODUCT_META.as_str(), Vec::new()).await?;
        let mut products = products
            .into_iter()
            .map(|row| read(Table::Product, row, ProductRow::read).map(|product| (product, Vec::new())))
            .collect::<Result<Vec<(ProductRow, Vec<ProductMetaRow>)>, _>>()?;
        for row in meta {
            let meta = read(Table::ProductMeta, row, ProductMetaRow::read)?;
            if let Ok(at) = products.binary_search_by_key(&meta.meta.product, |(row, _)| row.product.number) {
                products[at].1.push(meta);
            }
        }
        Ok(products)
    }

    /// A product that is not deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn product(&self, number: i64) -> Result<Option<ProductRow>, StoreError> {
        let mut rows = self.store.query(PRODUCT.as_str(), &[number.into()]).await?;
        rows.pop().map(|row| read(Table::Product, row, ProductRow::read)).transpose()
    }

    /// One page of licenses in ascending number; pages count from 1.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn license_page(&self, filter: &LicenseFilter, page: i64, items_per_page: i64) -> Result<Vec<LicenseRow>, StoreError> {
        let given: [Value; 4] = [
            filter.product.into(),
            filter.status.map(Status::as_str).into(),
            filter.owner_email.as_deref().into(),
            filter.owner_name.as_deref().into(),
        ];
        let filters = given.iter().enumerate().filter(|(_, value)| **value != Value::Null).map(|(bit, _)| 1 << bit).sum::<usize>();
        let mut parameters: Vec<Value> = given.into_iter().filter(|value| *value != Value::Null).collect();
        parameters.push(items_per_page.into());
        parameters.push(page.saturating_sub(1).saturating_mul(items_per_page).into());
        let rows = self.query_list(PAGES[filters].as_str(), parameters).await?;
        rows.into_iter().map(|row| read(Table::License, row, LicenseRow::read)).collect()
    }

    /// How many licenses a product has in each status; `None` where there is no such product.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn license_count(&self, product: i64) -> Result<Option<LicenseCountRow>, StoreError> {
        let mut rows = self.store.query(LICENSE_COUNT.as_str(), &[product.into()]).await?;
        rows.pop().map(|row| read(Table::LicenseCount, row, LicenseCountRow::read)).transpose()
    }
}
