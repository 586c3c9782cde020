//! Which stream is meant. Here alone rows are asked, and only for the ids of streams.

use std::sync::LazyLock;

use keyledger_events::{Event, license::LicenseEvent, values::LicenseKey};
use keyledger_projections::{Table, Value, Values};
use uuid::Uuid;

use super::{
    super::Ledger,
    HistoryError,
    stream::{NOTHING, Stream, StreamReader},
};
use crate::store::StoreError;

/// Licenses that one key may have belonged to, one after the other: a reader of each is open at a time.
const LICENSES_OF_KEY_MAX: i64 = 16;

fn by_number(table: Table) -> String {
    format!("SELECT id FROM {} WHERE number = $1", table.name())
}

static LICENSE: LazyLock<String> = LazyLock::new(|| by_number(Table::License));
static PRODUCT: LazyLock<String> = LazyLock::new(|| by_number(Table::Product));
static CONTRACT: LazyLock<String> = LazyLock::new(|| by_number(Table::Contract));
static API_KEY: LazyLock<String> = LazyLock::new(|| by_number(Table::ApiKey));
const LIVE: &str = "SELECT id FROM license WHERE license_key = $1 AND NOT deleted";
const DELETED: &str = "SELECT id FROM license WHERE license_key = $1 AND deleted ORDER BY number LIMIT $2";

/// The licenses that a text can mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LicenseStreams {
    /// Whose number or id it is.
    pub(super) named: Option<Uuid>,
    /// Whose key it is now.
    live: Option<Uuid>,
    /// Whose key it was at some time, or is while they are deleted.
    once: Vec<Uuid>,
    /// The text, where it can be a key.
    pub(super) key: Option<LicenseKey>,
}

impl LicenseStreams {
    /// All of them, each once.
    pub(super) fn all(&self) -> Vec<Uuid> {
        let mut all: Vec<Uuid> = self.named.into_iter().chain(self.live).chain(self.once.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl Ledger {
    async fn ids(&self, sql: &'static str, parameters: &[Value]) -> Result<Vec<Uuid>, StoreError> {
        let rows = self.store.query(sql, parameters).await?;
        let id = |row: Vec<Value>| Values::from(row).uuid().map_err(|source| StoreError::Read { table: "id", source });
        rows.into_iter().map(id).collect()
    }

    /// # Errors
    /// When there never was such a product.
    pub async fn product_stream(&self, number: i64) -> Result<Stream, HistoryError> {
        self.ids(&PRODUCT, &[number.into()]).await?.pop().map(Stream::product).ok_or(HistoryError::Unknown)
    }

    /// # Errors
    /// When there never was such a contract.
    pub async fn contract_stream(&self, number: i64) -> Result<Stream, HistoryError> {
        self.ids(&CONTRACT, &[number.into()]).await?.pop().map(Stream::contract).ok_or(HistoryError::Unknown)
    }

    /// # Errors
    /// When there never was such an API key.
    pub async fn api_key_stream(&self, number: i64) -> Result<Stream, HistoryError> {
        self.ids(&API_KEY, &[number.into()]).await?.pop().map(Stream::api_key).ok_or(HistoryError::Unknown)
    }

    /// The licenses that have a number, an id, or have or had a key.
    ///
    /// # Errors
    /// When there never was one, or there were too many.
    pub async fn license_streams(&self, text: &str) -> Result<LicenseStreams, HistoryError> {
        let number = text.parse::<i64>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let mut found = LicenseStreams { key: LicenseKey::parse(text).ok(), ..LicenseStreams::default() };
        if let Some(number) = number {
            found.named = self.ids(&LICENSE, &[number.into()]).await?.pop();
        } else if let Ok(id) = Uuid::try_parse(text) {
            let first = self.store.stream(Stream::license(id).aggregate_type, id, 1, 1).await?;
            found.named = (!first.is_empty()).then_some(id);
        }
        if let Some(key) = &found.key {
            let limit = LICENSES_OF_KEY_MAX + 1;
            found.live = self.ids(LIVE, &[key.as_str().into()]).await?.pop();
            found.once = self.ids(DELETED, &[key.as_str().into(), limit.into()]).await?;
            found.once.extend(self.store.licenses_before_replacement(key.as_str(), limit).await?);
        }
        let count = i64::try_from(found.all().len()).unwrap_or(i64::MAX);
        match count {
            0 => Err(HistoryError::Unknown),
            count if count > LICENSES_OF_KEY_MAX => Err(HistoryError::TooMany(LICENSES_OF_KEY_MAX)),
            _ => Ok(found),
        }
    }

    /// The one license whose history is asked for: by number or id, else the one that has the key now, else the one that had it.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub async fn license_stream(&self, text: &str) -> Result<Stream, HistoryError> {
        let found = self.license_streams(text).await?;
        let all = found.all();
        match (found.named, found.live, all.as_slice()) {
            (_, _, [one]) => Ok(Stream::license(*one)),
            (None, Some(live), _) => Ok(Stream::license(live)),
            _ => Err(self.ambiguous(&all).await),
        }
    }

    /// The number of a license's stream.
    ///
    /// # Errors
    /// When there is no such stream, or its first event is damaged.
    pub async fn license_number(&self, stream: Stream) -> Result<i64, HistoryError> {
        let first = StreamReader::new(self, stream, 1, i64::MAX, NOTHING).next().await?;
        first.and_then(|told| license_number(&told.recorded.event)).ok_or(HistoryError::Unknown)
    }

    /// Says which licenses there are to choose from.
    pub(super) async fn ambiguous(&self, ids: &[Uuid]) -> HistoryError {
        let mut numbers = Vec::new();
        for id in ids {
            match self.license_number(Stream::license(*id)).await {
                Ok(number) => numbers.push(number),
                Err(error) => return error,
            }
        }
        numbers.sort_unstable();
        HistoryError::Ambiguous(numbers)
    }
}

fn license_number(event: &Event) -> Option<i64> {
    if let Event::License(event) = event { Some(LicenseEvent::license(event)) } else { None }
}
