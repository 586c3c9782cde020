//! `keys.json`: the public keys that the server's answers are checked with, and when each signed, made from the log's events.

use serde::Serialize;

use crate::{Wrong, canonical, ensure, event::Event, time};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Key {
    pub algorithm: String,
    pub key_pair: i64,
    /// The position of the event that brought the key into the ledger.
    pub position: u64,
    /// `None` for a global key.
    pub product: Option<i64>,
    /// SPKI, PEM.
    pub public_key: String,
    pub recorded_at: String,
    /// From when on it signs no more, for good.
    pub retired_at: Option<String>,
    /// When it signed for what; products that the license never had are not followed.
    pub signs: Vec<Period>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Period {
    pub from: String,
    /// `None` where the key signed for all that has no key of its own.
    pub product: Option<i64>,
    /// `None` while it signs.
    pub to: Option<String>,
}

#[derive(Serialize)]
struct KeysFile<'a> {
    keys: &'a [Key],
}

fn find(keys: &mut [Key], number: i64) -> Result<&mut Key, Wrong> {
    keys.iter_mut().find(|key| key.key_pair == number).ok_or_else(|| Wrong(format!("the creation of key pair {number} is missing")))
}

/// Whatever signs for it signs no more.
fn end(keys: &mut [Key], product: Option<i64>, at: &str) {
    for period in keys.iter_mut().flat_map(|key| &mut key.signs) {
        if period.product == product && period.to.is_none() {
            period.to = Some(at.to_owned());
        }
    }
}

/// The keys, by number.
pub fn read(events: &[Event]) -> Result<Vec<Key>, Wrong> {
    let mut keys: Vec<Key> = Vec::new();
    for event in events.iter().filter(|event| event.is("key_pair", "KeyPairCreated")) {
        keys.push(Key {
            algorithm: event.text("algorithm")?.to_owned(),
            key_pair: event.number("key_pair")?,
            position: event.position,
            product: event.maybe_number("product")?,
            public_key: event.text("public_key")?.to_owned(),
            recorded_at: time::write(event.recorded_at),
            retired_at: None,
            signs: Vec::new(),
        });
    }
    // A product's key pair may be recorded after the product that names it, in one transaction; so all pairs are read first.
    for event in events {
        let at = time::write(event.recorded_at);
        let (product, pair) = match (event.aggregate_type.as_str(), event.event_type.as_str()) {
            ("key_pair", "KeyPairCreated") if event.maybe_number("product")?.is_none() => (None, Some(event.number("key_pair")?)),
            ("key_pair", "KeyPairRetired") => {
                find(&mut keys, event.number("key_pair")?)?.retired_at = Some(at);
                continue;
            }
            ("product", "ProductCreated") => (Some(event.number("product")?), event.maybe_number("key_pair")?),
            ("product", "ProductKeyPairChanged") => (Some(event.number("product")?), Some(event.number("to")?)),
            _ => continue,
        };
        let Some(pair) = pair else { continue };
        end(&mut keys, product, &at);
        find(&mut keys, pair)?.signs.push(Period { from: at, product, to: None });
    }
    keys.sort_by_key(|key| key.key_pair);
    ensure(keys.iter().any(|key| key.product.is_none()), || "the creation of the ledger's global key pair is missing".to_owned())?;
    Ok(keys)
}

/// `keys.json`.
pub fn write(keys: &[Key]) -> Result<String, Wrong> {
    canonical(&KeysFile { keys })
}

/// The global key pairs that are not retired, the newest first.
pub fn global(keys: &[Key]) -> impl Iterator<Item = &Key> {
    keys.iter().rev().filter(|key| key.product.is_none() && key.retired_at.is_none())
}
