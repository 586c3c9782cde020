//! What else of the log the license's events need to be understood: the names of products and of those who acted.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Wrong, ensure, event::Event};

/// Names by number, as the log says them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub api_keys: BTreeMap<i64, String>,
    pub products: BTreeMap<i64, String>,
}

fn named(events: &[Event], aggregate_type: &str, event_type: &str, number: &str) -> Result<BTreeMap<i64, String>, Wrong> {
    events
        .iter()
        .filter(|event| event.is(aggregate_type, event_type))
        .map(|event| Ok((event.number(number)?, event.text("name")?.to_owned())))
        .collect()
}

/// The products that the license's events name.
fn products(license: &[&Event]) -> Result<BTreeSet<i64>, Wrong> {
    let mut products = BTreeSet::new();
    for event in license {
        let members: &[&str] = if event.event_type == "LicenseProductChanged" { &["from", "to"] } else { &["product"] };
        for member in members {
            products.insert(event.number(member)?);
        }
    }
    Ok(products)
}

impl Names {
    /// Reads the names, and checks that the file has the context that it must have, and none that it need not.
    pub fn read(events: &[Event], license: &[&Event]) -> Result<Self, Wrong> {
        let names = Self {
            api_keys: named(events, "api_key", "ApiKeyCreated", "api_key")?,
            products: named(events, "product", "ProductCreated", "product")?,
        };
        let (actors, products): (BTreeSet<i64>, _) = (license.iter().filter_map(|event| event.api_key()).collect(), products(license)?);
        for number in &actors {
            ensure(names.api_keys.contains_key(number), || {
                format!("the creation of API key {number}, which acts in the license's events, is missing")
            })?;
        }
        for number in &products {
            ensure(names.products.contains_key(number), || format!("the creation of product {number}, which the license's events name, is missing"))?;
        }
        for event in events {
            let belongs = match (event.aggregate_type.as_str(), event.event_type.as_str()) {
                ("license", _)
                | ("ledger", "LedgerCreated")
                | ("stream_map", "StreamMapRecorded")
                | ("key_pair", "KeyPairCreated" | "KeyPairRetired") => true,
                ("api_key", "ApiKeyCreated" | "ApiKeyDisabled") => actors.contains(&event.number("api_key")?),
                ("product", "ProductCreated" | "ProductKeyPairChanged") => products.contains(&event.number("product")?),
                _ => false,
            };
            ensure(belongs, || format!("the event at position {} ({}) does not belong in this file", event.position, event.event_type))?;
        }
        Ok(names)
    }

    pub fn api_key(&self, number: i64) -> String {
        self.api_keys.get(&number).map_or_else(|| format!("API key number {number}"), |name| format!("API key “{name}” (number {number})"))
    }

    pub fn product(&self, number: i64) -> String {
        self.products.get(&number).map_or_else(|| format!("product {number}"), |name| format!("product {number} “{name}”"))
    }
}
