//! Who may ask: API keys and the block list. Both are read whole into memory and are a second old at most; one look at
//! the counters tells whether anything changed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, RwLock};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use keyledger_events::{
    Timestamp,
    api_key::ApiKey,
    block::{Block, BlockKind},
};
use keyledger_projections::{ApiKeyRow, BlockRow, Table, Value};

use crate::{
    store::{Store, StoreError},
    vault::Vault,
};

/// How old the keys and blocks in memory may be.
const FRESH_FOR: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("the API key is missing or unknown")]
    Invalid,
    #[error("the API key is disabled or expired")]
    Inactive,
    #[error("the API key can't be used from this address")]
    IpNotAllowed,
    #[error("the API key lacks the capability")]
    NotPermitted,
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

/// An API key with its networks parsed.
struct KnownKey {
    api_key: ApiKey,
    networks: Vec<IpNet>,
}

#[derive(Default)]
struct Known {
    /// As the counters say it: equal means unchanged.
    changes: i64,
    keys: HashMap<Vec<u8>, KnownKey>,
    blocks: BlockList,
}

/// The block list: networks by the length of their prefix, identifiers, and the numbers of the entries.
#[derive(Debug, Default)]
pub struct BlockList {
    networks: HashMap<u8, HashMap<IpNet, i64>>,
    identifiers: HashMap<String, i64>,
}

impl BlockList {
    /// Adds an entry; one that is forgotten, or that is no network, blocks nobody.
    pub fn add(&mut self, block: Block) {
        let Some(value) = block.value else { return };
        match block.kind {
            BlockKind::Identifier => {
                self.identifiers.insert(value, block.number);
            }
            BlockKind::Ip => {
                if let Some(network) = parse_network(&value) {
                    self.networks.entry(network.prefix_len()).or_default().insert(network, block.number);
                }
            }
        }
    }

    /// The entry that the address or the identifier is on, if there is one.
    #[must_use]
    pub fn blocked_by(&self, ip: Option<IpAddr>, identifier: Option<&str>) -> Option<i64> {
        let contains = |ip: IpAddr| self.networks.iter().find_map(|(length, networks)| networks.get(&IpNet::new(ip, *length).ok()?.trunc()).copied());
        ip.and_then(contains).or_else(|| self.identifiers.get(identifier?.trim()).copied())
    }
}

struct Seen {
    at: Option<Instant>,
    known: Arc<Known>,
}

pub struct Access {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    seen: RwLock<Seen>,
    /// One look at the database at a time; who comes meanwhile waits for its result, be it a failure.
    refreshing: tokio::sync::Mutex<Option<(Instant, String)>>,
}

static API_KEYS: LazyLock<String> = LazyLock::new(|| {
    let columns: Vec<String> = Table::ApiKey.columns().iter().map(|column| format!("k.{}", column.name)).collect();
    format!("SELECT s.hmac, {} FROM api_key_secret s JOIN api_key k ON k.number = s.api_key", columns.join(", "))
});

static BLOCKS: LazyLock<String> = LazyLock::new(|| {
    let columns: Vec<&str> = Table::Block.columns().iter().map(|column| column.name).collect();
    format!("SELECT {} FROM block", columns.join(", "))
});

impl Access {
    #[must_use]
    pub fn new(store: Arc<dyn Store>, vault: Arc<Vault>) -> Self {
        Self { store, vault, seen: RwLock::new(Seen { at: None, known: Arc::default() }), refreshing: tokio::sync::Mutex::new(None) }
    }

    /// Checks an API key in the contract's order and gives its number.
    ///
    /// # Errors
    /// The first check that fails, or that the keys can't be read.
    pub async fn check_key(&self, presented: Option<&str>, capability: &str, ip: IpAddr, now: Timestamp) -> Result<i64, AccessError> {
        self.check_key_for(presented, &[capability], ip, now).await
    }

    /// As [`Access::check_key`], where any of several capabilities is enough.
    ///
    /// # Errors
    /// The first check that fails, or that the keys can't be read.
    pub async fn check_key_for(&self, presented: Option<&str>, capabilities: &[&str], ip: IpAddr, now: Timestamp) -> Result<i64, AccessError> {
        let presented = presented.map(str::trim).filter(|value| !value.is_empty()).ok_or(AccessError::Invalid)?;
        let known = self.known().await?;
        let key = known.keys.get(self.vault.api_key_hash(presented).as_slice()).ok_or(AccessError::Invalid)?;
        if !key.api_key.is_active(now) {
            return Err(AccessError::Inactive);
        }
        if !key.networks.is_empty() && !key.networks.iter().any(|network| network.contains(&ip)) {
            return Err(AccessError::IpNotAllowed);
        }
        if !capabilities.iter().any(|capability| key.api_key.allows(capability)) {
            return Err(AccessError::NotPermitted);
        }
        Ok(key.api_key.number)
    }

    /// As [`Access::check_key_for`] and [`Access::blocked_by`], of an API key known by its number.
    ///
    /// # Errors
    /// When the keys can't be read.
    pub async fn is_permitted(&self, number: i64, capability: &str, ip: Option<IpAddr>, now: Timestamp) -> Result<bool, StoreError> {
        let known = self.known().await?;
        let is_from_there = |key: &KnownKey| key.networks.is_empty() || ip.is_some_and(|ip| key.networks.iter().any(|network| network.contains(&ip)));
        let is_permitted = |key: &KnownKey| key.api_key.is_active(now) && key.api_key.allows(capability) && is_from_there(key);
        let is_known = known.keys.values().any(|key| key.api_key.number == number && is_permitted(key));
        Ok(is_known && known.blocks.blocked_by(ip, None).is_none())
    }

    /// Whether an API key, known by its number, has a capability.
    ///
    /// # Errors
    /// When the keys can't be read.
    pub async fn allows(&self, number: i64, capability: &str) -> Result<bool, StoreError> {
        let known = self.known().await?;
        Ok(known.keys.values().any(|key| key.api_key.number == number && key.api_key.allows(capability)))
    }

    /// The entry of the block list that the address or the identifier is on, if there is one.
    ///
    /// # Errors
    /// When the list can't be read.
    pub async fn blocked_by(&self, ip: IpAddr, identifier: Option<&str>) -> Result<Option<i64>, StoreError> {
        let known = self.known().await?;
        Ok(known.blocks.blocked_by(Some(ip), identifier))
    }

    fn fresh(&self) -> Option<Arc<Known>> {
        let seen = self.seen.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.at.is_some_and(|at| at.elapsed() < FRESH_FOR).then(|| Arc::clone(&seen.known))
    }

    async fn known(&self) -> Result<Arc<Known>, StoreError> {
        if let Some(known) = self.fresh() {
            return Ok(known);
        }
        let asked = Instant::now();
        let mut failure = self.refreshing.lock().await;
        if let Some(known) = self.fresh() {
            return Ok(known);
        }
        // Who waited for a look that failed doesn't make another: with a database that hangs, each would take its turn.
        if let Some((_, reason)) = failure.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(StoreError::Unavailable(reason.clone()));
        }
        match self.look().await {
            Ok(known) => {
                *failure = None;
                Ok(known)
            }
            Err(error) => {
                *failure = Some((Instant::now(), error.to_string()));
                Err(error)
            }
        }
    }

    async fn look(&self) -> Result<Arc<Known>, StoreError> {
        // The time is taken before the look, so that what is known is never older than it claims.
        let at = Instant::now();
        let changes = match self.store.query("SELECT access_changes FROM counters WHERE id = 1", &[]).await?.first().and_then(|row| row.first()) {
            Some(Value::Int(changes)) => *changes,
            _ => 0,
        };
        let current = Arc::clone(&self.seen.read().unwrap_or_else(std::sync::PoisonError::into_inner).known);
        let known = if current.changes == changes && changes > 0 { current } else { Arc::new(self.load(changes).await?) };
        *self.seen.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Seen { at: Some(at), known: Arc::clone(&known) };
        Ok(known)
    }

    /// A change between the two looks is in the rows already and seen again at the next look: `changes` is older.
    async fn load(&self, changes: i64) -> Result<Known, StoreError> {
        let mut known = Known { changes, ..Known::default() };
        for mut row in self.store.query(API_KEYS.as_str(), &[]).await? {
            let values = row.split_off(1);
            let Some(Value::Bytes(hmac)) = row.pop() else { continue };
            let api_key = ApiKeyRow::read(&mut values.into()).map_err(|source| StoreError::Read { table: "api_key", source })?.api_key;
            let networks = api_key.allow_ips.iter().filter_map(|text| parse_network(text)).collect();
            known.keys.insert(hmac, KnownKey { api_key, networks });
        }
        for row in self.store.query(BLOCKS.as_str(), &[]).await? {
            known.blocks.add(BlockRow::read(&mut row.into()).map_err(|source| StoreError::Read { table: "block", source })?.block);
        }
        Ok(known)
    }
}

/// Reads a network in CIDR form, or one address; what lies behind the prefix is cut off. IPv4 written as IPv6 becomes IPv4,
/// as clients' addresses do.
#[must_use]
pub fn parse_network(text: &str) -> Option<IpNet> {
    const MAPPED_PREFIX: u8 = 96;
    let text = text.trim();
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?.trunc();
    match (network.addr().to_canonical(), network.prefix_len().checked_sub(MAPPED_PREFIX)) {
        (address @ IpAddr::V4(_), Some(length)) if network.addr().is_ipv6() => IpNet::new(address, length).ok().map(|network| network.trunc()),
        _ => Some(network),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_network;

    #[test]
    fn networks_are_read_and_cut() {
        assert_eq!(parse_network("10.1.2.3/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(parse_network(" 192.0.2.7 ").unwrap().to_string(), "192.0.2.7/32");
        assert_eq!(parse_network("2001:db8::1").unwrap().to_string(), "2001:db8::1/128");
        assert_eq!(parse_network("::ffff:192.0.2.7").unwrap().to_string(), "192.0.2.7/32");
        assert_eq!(parse_network("::ffff:192.0.2.7/120").unwrap().to_string(), "192.0.2.0/24");
        assert_eq!(parse_network("::/0").unwrap().to_string(), "::/0");
        assert_eq!(parse_network("localhost"), None);
    }
}
