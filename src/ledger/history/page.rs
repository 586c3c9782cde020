//! The history of a stream, page by page: every event, and what it changed. What it changed is found generically: the rows
//! that belong to the stream are folded to before and after the event, and compared column by column.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use keyledger_events::{Event, Timestamp, public::key_facts};
use keyledger_projections::{Row, RowKey, Table, Value, fold, touches};

use super::{
    super::{Ledger, replay::ReplayError},
    HistoryError,
    stream::{EVERYTHING, NOTHING, Stream, StreamReader, Told},
};

/// Which events are wanted; what is absent doesn't matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Their types' names; none is all.
    pub types: Vec<String>,
    /// Recorded then or later.
    pub from: Option<Timestamp>,
    /// Recorded then or earlier.
    pub to: Option<Timestamp>,
}

impl HistoryFilter {
    fn takes(&self, told: &Told) -> bool {
        let (name, at) = (told.recorded.event.event_type(), told.recorded.recorded_at);
        (self.types.is_empty() || self.types.iter().any(|wanted| wanted == name)) && self.from.is_none_or(|from| from <= at)
    }
}

/// One value that an event changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The column's name; behind the place of its row where that is no row of the stream's own, as in `meta/COLOR/value`.
    pub field: String,
    pub before: Value,
    pub after: Value,
    /// Whether it is a key, which not everybody may see.
    pub is_key: bool,
}

/// An event, who did it, and what it changed.
#[derive(Clone, Debug)]
pub struct HistoryEntry {
    pub told: Told,
    /// The name of the API key that acted, as it was given when the key was made.
    pub api_key_name: Option<String>,
    /// The facts of its payload that are keys.
    pub key_facts: &'static [&'static str],
    pub changes: Vec<Change>,
}

impl Ledger {
    /// Events of a stream after a sequence, in order: so many at most. Every page folds the stream from its start, and keeps
    /// no more of it than the rows that the page's own events change.
    ///
    /// # Errors
    /// When the log is damaged (the position is named) or the store fails.
    pub async fn history(
        &self,
        stream: Stream,
        filter: &HistoryFilter,
        after: Option<i64>,
        limit: i64,
        personal: bool,
    ) -> Result<Vec<HistoryEntry>, HistoryError> {
        let after = after.unwrap_or(0).max(0);
        let limit = usize::try_from(limit).unwrap_or(0);
        let (mut wanted, mut tracked) = (BTreeSet::new(), BTreeSet::new());
        let mut reader = StreamReader::new(self, stream, after + 1, i64::MAX, NOTHING);
        while wanted.len() < limit
            && let Some(told) = reader.next().await?
            && filter.to.is_none_or(|to| told.recorded.recorded_at <= to)
        {
            if filter.takes(&told) {
                wanted.insert(told.recorded.sequence);
                tracked.extend(touches(&told.recorded.event).into_iter().filter(|key| place(key.0).is_some()));
            }
        }
        let Some(last) = wanted.last().copied() else { return Ok(Vec::new()) };

        let (mut rows, mut entries): (BTreeMap<RowKey, Row>, _) = (BTreeMap::new(), Vec::with_capacity(wanted.len()));
        let mut reader = StreamReader::new(self, stream, 1, i64::MAX, if personal { EVERYTHING } else { NOTHING });
        let mut names = HashMap::new();
        while let Some(told) = reader.next().await? {
            let sequence = told.recorded.sequence;
            let is_wanted = wanted.contains(&sequence);
            let mut changes = Vec::new();
            for key in touches(&told.recorded.event).into_iter().filter(|key| tracked.contains(key)) {
                let before = rows.remove(&key);
                let shown = is_wanted.then(|| before.clone());
                let after = fold(key, before, &told.recorded).map_err(ReplayError::from)?;
                if let Some(before) = shown {
                    changes.extend(differences(key, before.as_ref(), after.as_ref()));
                }
                rows.extend(after.map(|row| (key, row)));
            }
            if is_wanted {
                let api_key_name = self.name_of_actor(&told, &mut names).await?;
                entries.push(HistoryEntry { key_facts: key_facts(told.recorded.event.event_type()), told, api_key_name, changes });
            }
            if sequence >= last {
                break;
            }
        }
        Ok(entries)
    }

    /// The name of the API key that acted, from its own first event.
    async fn name_of_actor(&self, told: &Told, known: &mut HashMap<i64, Option<String>>) -> Result<Option<String>, HistoryError> {
        let number = told.metadata.get("actor").and_then(|actor| actor.strip_prefix("api_key:")?.parse::<i64>().ok());
        let Some(number) = number else { return Ok(None) };
        if let Some(name) = known.get(&number) {
            return Ok(name.clone());
        }
        let stream = match self.api_key_stream(number).await {
            Ok(stream) => stream,
            Err(HistoryError::Unknown) => return Ok(None),
            Err(error) => return Err(error),
        };
        let first = StreamReader::new(self, stream, 1, i64::MAX, NOTHING).next().await?;
        let name = first.and_then(|told| match told.recorded.event {
            Event::ApiKey(keyledger_events::api_key::ApiKeyEvent::ApiKeyCreated(created)) => Some(created.name),
            _ => None,
        });
        known.insert(number, name.clone());
        Ok(name)
    }
}

/// Where the rows of a table stand among what belongs to a stream: its own have no name before theirs. `None` for rows that
/// many streams share.
fn place(table: Table) -> Option<&'static str> {
    match table {
        Table::License
        | Table::Product
        | Table::Contract
        | Table::ApiKey
        | Table::KeyPair
        | Table::Block
        | Table::Settings
        | Table::Telemetry
        | Table::DownloadToken
        | Table::Generator
        | Table::AssignmentJob
        | Table::Delivery
        | Table::WebhookEndpoint => Some(""),
        Table::Activation => Some("activations"),
        Table::LicenseMeta | Table::ProductMeta => Some("meta"),
        // A release counts what licenses download.
        Table::Counters | Table::LicenseCount | Table::ContractCount | Table::Release => None,
    }
}

/// Columns that only serve the ledger itself: numbers and ids of rows, bookkeeping, what follows from other columns.
const LEFT_OUT: [&str; 9] = ["number", "id", "sequence", "epoch", "refusal_minute", "refusal_reasons", "created_at", "updated_at", "domain"];
/// In rows that belong to another one, besides: what the field's name says already.
const LEFT_OUT_OF_PARTS: [&str; 3] = ["license", "product", "meta_key"];
const KEYS: [&str; 2] = ["license_key", "contract_key"];

fn differences(key: RowKey, before: Option<&Row>, after: Option<&Row>) -> Vec<Change> {
    let place = place(key.0).unwrap_or_default();
    let prefix = match (place, before.or(after)) {
        ("", _) => String::new(),
        (place, Some(Row::LicenseMeta(row))) => format!("{place}/{}/", row.meta.key),
        (place, Some(Row::ProductMeta(row))) => format!("{place}/{}/", row.meta.key),
        (place, _) => format!("{place}/{}/", key.1),
    };
    let values = |row: Option<&Row>| row.map(Row::values);
    let (before, after) = (values(before), values(after));
    let value = |values: &Option<Vec<Value>>, column: usize| values.as_ref().and_then(|values| values.get(column).cloned()).unwrap_or(Value::Null);
    let columns = key.0.columns().iter().enumerate();
    columns
        .filter(|(_, column)| !LEFT_OUT.contains(&column.name) && (prefix.is_empty() || !LEFT_OUT_OF_PARTS.contains(&column.name)))
        .map(|(at, column)| Change {
            field: format!("{prefix}{}", column.name),
            before: value(&before, at),
            after: value(&after, at),
            is_key: KEYS.contains(&column.name),
        })
        .filter(|change| change.before != change.after)
        .collect()
}

#[cfg(test)]
mod tests {
    use keyledger_events::{
        Personal, Recorded,
        license::{LicenseEvent, LicenseMetaDeleted, LicenseMetaSet},
    };
    use uuid::Uuid;

    use super::*;

    fn recorded(position: i64, event: LicenseEvent) -> Recorded {
        let id = Uuid::from_u128(1);
        Recorded { position, aggregate_id: id, sequence: position, event_id: id, recorded_at: Timestamp(position), event: Event::License(event) }
    }

    #[test]
    fn what_changed_is_said_without_the_ledgers_own_columns() {
        let set = LicenseMetaSet { key: "COLOR".into(), license: 3, meta: 7, personal: Personal::None, product: 1 };
        let key = RowKey(Table::LicenseMeta, 7);
        let row = fold(key, None, &recorded(1, LicenseEvent::LicenseMetaCreated(set))).unwrap().unwrap();
        let Row::LicenseMeta(mut with_value) = row.clone() else { panic!("no meta entry") };
        with_value.meta.value = Some("red".into());
        let with_value = Row::from(with_value);
        assert_eq!(differences(key, None, Some(&row)), [], "nothing but what is left out, and a value that is not open");
        let change = |before: Value, after: Value| Change { field: "meta/COLOR/value".into(), before, after, is_key: false };
        assert_eq!(differences(key, None, Some(&with_value)), [change(Value::Null, "red".into())]);
        let deleted = LicenseMetaDeleted { key: "COLOR".into(), license: 3, meta: 7, personal: Personal::None, product: 1 };
        let gone = fold(key, Some(with_value.clone()), &recorded(2, LicenseEvent::LicenseMetaDeleted(deleted))).unwrap();
        assert_eq!(differences(key, Some(&with_value), gone.as_ref()), [change("red".into(), Value::Null)]);
    }
}
