//! Reading, on any connection: what is asked, and how the answers become rows.

use std::{collections::BTreeMap, pin::pin};

use futures::TryStreamExt;
use keyledger_events::SubjectKind;
use keyledger_projections::{Row, RowKey, Table, Value};
use tokio_postgres::Row as PostgresRow;
use uuid::Uuid;

use super::{
    error::{OrStoreError, store_error},
    session::{Call, Session},
    sql::{BEFORE_REPLACEMENT, EVENTS, EVENTS_OF_STREAM, EVENTS_OF_STREAMS, HEAD, PORTION, Sql},
    value::{Cell, Datum, Id, Parameter, Time},
};
use crate::store::{Found, Head, Lookups, Portion, StoreError, StoredEvent, StoredRequest, StoredSubject};

pub(super) fn column<'a>(cells: impl IntoIterator<Item = Cell<'a>>) -> Parameter<'a> {
    Parameter::Column(cells.into_iter().collect())
}

pub(super) fn values(row: &PostgresRow) -> Result<Vec<Value>, StoreError> {
    (0..row.len()).map(|i| row.try_get::<_, Datum>(i).map(|datum| datum.0).or_store_error()).collect()
}

fn table_row(table: Table, row: &PostgresRow) -> Result<Row, StoreError> {
    Row::read(table, values(row)?).map_err(|source| StoreError::Read { table: table.name(), source })
}

pub(super) fn head(rows: &[PostgresRow]) -> Result<Head, StoreError> {
    let row = rows.first().ok_or_else(|| StoreError::Unsuitable("the ledger is not initialised".to_owned()))?;
    let read = || {
        Ok(Head {
            ledger_id: row.try_get::<_, Id>(0)?.0,
            next_position: row.try_get(1)?,
            recorded_at: row.try_get::<_, Time>(2)?.0,
            tree_edge: row.try_get(3)?,
            projections: row.try_get(4)?,
        })
    };
    read().or_store_error()
}

pub(super) async fn read_head(session: &Session) -> Result<Head, StoreError> {
    head(&session.query(HEAD, &[]).await.or_store_error()?)
}

/// A portion; where the server counts its bytes, it sends no more.
pub(super) async fn events(session: &Session, from: i64, portion: Portion, counts: bool) -> Result<Vec<StoredEvent>, StoreError> {
    let (from, events) = (Cell::Int(from), Cell::Int(portion.events));
    if counts {
        let bytes = Cell::Int(i64::try_from(portion.bytes).unwrap_or(i64::MAX));
        return found_events(session, &PORTION, [from, events, bytes], portion.bytes).await;
    }
    found_events(session, &EVENTS, [from, events], portion.bytes).await
}

pub(super) async fn stream(session: &Session, aggregate_type: &str, id: Uuid, from: i64, limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
    session.refresh_plans().await.or_store_error()?;
    found_events(session, &EVENTS_OF_STREAM, [Cell::Text(aggregate_type), Cell::Uuid(id), Cell::Int(from), Cell::Int(limit)], usize::MAX).await
}

pub(super) async fn streams(session: &Session, aggregate_type: &str, after: (Uuid, i64), limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
    session.refresh_plans().await.or_store_error()?;
    found_events(session, &EVENTS_OF_STREAMS, [Cell::Text(aggregate_type), Cell::Uuid(after.0), Cell::Int(after.1), Cell::Int(limit)], usize::MAX)
        .await
}

pub(super) async fn licenses_before_replacement(session: &Session, key: &str, limit: i64) -> Result<Vec<Uuid>, StoreError> {
    session.refresh_plans().await.or_store_error()?;
    let rows = session.query(BEFORE_REPLACEMENT, &[Parameter::One(Cell::Text(key)), Parameter::One(Cell::Int(limit))]).await.or_store_error()?;
    let refused = || StoreError::Refused("an aggregate's id is no UUID as the ledger writes it".to_owned());
    let id = |row: &PostgresRow| canonical(row.try_get(0).or_store_error()?).ok_or_else(refused);
    rows.iter().map(id).collect()
}

/// Rows are taken apart while the server still sends others. Once these have so many bytes, those that were sent beyond them are not looked at.
async fn found_events<const N: usize>(
    session: &Session,
    sql: &str,
    parameters: [Cell<'_>; N],
    bytes_max: usize,
) -> Result<Vec<StoredEvent>, StoreError> {
    let mut rows = pin!(session.stream(sql, parameters.into_iter().map(Parameter::One).collect()).await.or_store_error()?);
    let (mut events, mut bytes) = (Vec::new(), 0);
    while bytes < bytes_max
        && let Some(row) = rows.try_next().await.map_err(|error| store_error(&session.noted(error)))?
    {
        let event = event(&row)?;
        bytes += event.bytes();
        events.push(event);
    }
    Ok(events)
}

/// A UUID in the one form that the ledger writes, since what reads the same as it but is not the same was altered.
fn canonical(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|id| id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text)
}

fn event(row: &PostgresRow) -> Result<StoredEvent, StoreError> {
    let position: i64 = row.try_get(0).or_store_error()?;
    let damaged = |why: String| StoreError::Refused(format!("event {position} can't be read: {why}"));
    let aggregate_id: &str = row.try_get(2).or_store_error()?;
    let leaf_hash: &[u8] = row.try_get(10).or_store_error()?;
    let aggregate_id = canonical(aggregate_id).ok_or_else(|| damaged("its aggregate's id is no UUID as the ledger writes it".to_owned()))?;
    let leaf_hash = leaf_hash.try_into().map_err(|_| damaged("its leaf hash is not 32 bytes long".to_owned()))?;
    let read = || {
        Ok(StoredEvent {
            position,
            aggregate_type: row.try_get(1)?,
            aggregate_id,
            sequence: row.try_get(3)?,
            event_id: row.try_get::<_, Id>(4)?.0,
            event_type: row.try_get(5)?,
            event_version: row.try_get(6)?,
            recorded_at: row.try_get::<_, Time>(7)?.0,
            payload: row.try_get(8)?,
            metadata: row.try_get(9)?,
            leaf_hash,
        })
    };
    read().map_err(|error: tokio_postgres::Error| damaged(error.to_string()))
}

pub(super) async fn subjects(session: &Session, sql: &Sql, ids: &[Uuid]) -> Result<Vec<StoredSubject>, StoreError> {
    let rows = session.query(&sql.subject_by_id, &[column(ids.iter().map(|id| Cell::Uuid(*id)))]).await.or_store_error()?;
    rows.iter().map(subject).collect()
}

fn subject(row: &PostgresRow) -> Result<StoredSubject, StoreError> {
    let kind: &str = row.try_get(0).or_store_error()?;
    let all = [SubjectKind::Owner, SubjectKind::License, SubjectKind::Actor, SubjectKind::Block];
    let kind = all.into_iter().find(|known| known.as_str() == kind);
    let kind = kind.ok_or_else(|| StoreError::Refused("a subject is of an unknown kind".to_owned()))?;
    let read = || {
        let id = row.try_get::<_, Id>(2)?.0;
        Ok(StoredSubject { kind, number: row.try_get(1)?, id, sealed_key: row.try_get(3)?, email_index: row.try_get(4)? })
    };
    read().or_store_error()
}

fn request(row: &PostgresRow) -> Result<StoredRequest, StoreError> {
    let read = || {
        let expires_at = row.try_get::<_, Time>(3)?.0;
        Ok(StoredRequest { id: row.try_get(0)?, parameters: row.try_get(1)?, outcome: row.try_get(2)?, expires_at })
    };
    read().or_store_error()
}

/// Row keys by table.
pub(super) fn by_table(keys: &[RowKey]) -> BTreeMap<Table, Vec<Cell<'static>>> {
    let mut tables: BTreeMap<Table, Vec<Cell<'_>>> = BTreeMap::new();
    for key in keys {
        tables.entry(key.0).or_default().push(Cell::Int(key.1));
    }
    tables
}

/// Rows of several tables, in one round trip.
pub(super) async fn rows(session: &Session, sql: &Sql, keys: &[RowKey]) -> Result<Vec<Row>, StoreError> {
    Ok(load(session, sql, &Lookups { rows: keys.to_vec(), ..Lookups::default() }).await?.rows)
}

/// What the rows of an answer are.
#[derive(Clone, Copy)]
enum Kind {
    Row(Table),
    Subject,
    Request,
}

/// Everything that a batch looks up, in one round trip.
pub(super) async fn load(session: &Session, sql: &Sql, lookups: &Lookups) -> Result<Found, StoreError> {
    let asked = Asked::new(sql, lookups)?;
    asked.found(session.query_all(asked.calls()).await.or_store_error()?)
}

/// Look-ups as queries, and what their rows are.
pub(super) struct Asked<'a> {
    kinds: Vec<Kind>,
    calls: Vec<Call<'a>>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(sql: &'a Sql, lookups: &'a Lookups) -> Result<Self, StoreError> {
        let mut kinds = Vec::new();
        let mut calls = Vec::new();
        let mut ask = |kind, call| {
            kinds.push(kind);
            calls.push(call);
        };
        for (table, keys) in by_table(&lookups.rows) {
            ask(Kind::Row(table), Call { sql: &sql.table(table)?.select, parameters: vec![Parameter::Column(keys)] });
        }
        if !lookups.licenses.is_empty() {
            let keys = column(lookups.licenses.iter().map(|key| Cell::Text(key)));
            ask(Kind::Row(Table::License), Call { sql: &sql.license_by_key, parameters: vec![keys] });
        }
        let pairs = [
            (Table::Activation, &sql.activation, &lookups.activations),
            (Table::LicenseMeta, &sql.license_meta, &lookups.license_meta),
            (Table::ProductMeta, &sql.product_meta, &lookups.product_meta),
            (Table::Release, &sql.release_by_text, &lookups.release_versions),
        ];
        for (table, sql, pairs) in pairs {
            if !pairs.is_empty() {
                let (numbers, texts) = (pairs.iter().map(|pair| Cell::Int(pair.0)), pairs.iter().map(|pair| Cell::Text(&pair.1)));
                ask(Kind::Row(table), Call { sql, parameters: vec![column(numbers), column(texts)] });
            }
        }
        if !lookups.blocks.is_empty() {
            let kinds = column(lookups.blocks.iter().map(|(kind, _)| Cell::Text(kind.as_str())));
            let values = column(lookups.blocks.iter().map(|(_, value)| Cell::Text(value)));
            ask(Kind::Row(Table::Block), Call { sql: &sql.block, parameters: vec![kinds, values] });
        }
        if !lookups.slugs.is_empty() {
            let slugs = column(lookups.slugs.iter().map(|slug| Cell::Text(slug)));
            ask(Kind::Row(Table::Product), Call { sql: &sql.product_by_slug, parameters: vec![slugs] });
        }
        if !lookups.releases.is_empty() {
            let products = column(lookups.releases.iter().map(|(product, _)| Cell::Int(*product)));
            let versions = column(lookups.releases.iter().map(|(_, version)| Cell::Int(*version)));
            ask(Kind::Row(Table::Release), Call { sql: &sql.release, parameters: vec![products, versions] });
        }
        let counted = [(&sql.available, &lookups.available), (&sql.contract_licenses, &lookups.contract_licenses)];
        for (sql, wanted) in counted {
            if !wanted.is_empty() {
                let (numbers, counts) = (wanted.iter().map(|wanted| Cell::Int(wanted.0)), wanted.iter().map(|wanted| Cell::Int(wanted.1)));
                ask(Kind::Row(Table::License), Call { sql, parameters: vec![column(numbers), column(counts)] });
            }
        }
        if !lookups.generators.is_empty() {
            let products = column(lookups.generators.iter().map(|product| Cell::Int(*product)));
            ask(Kind::Row(Table::Generator), Call { sql: &sql.generators, parameters: vec![products] });
        }
        if !lookups.contracts.is_empty() {
            let keys = column(lookups.contracts.iter().map(|key| Cell::Text(key)));
            ask(Kind::Row(Table::Contract), Call { sql: &sql.contract_by_key, parameters: vec![keys] });
        }
        if !lookups.subjects.is_empty() {
            let kinds = column(lookups.subjects.iter().map(|(kind, _)| Cell::Text(kind.as_str())));
            let numbers = column(lookups.subjects.iter().map(|(_, number)| Cell::Int(*number)));
            ask(Kind::Subject, Call { sql: &sql.subject, parameters: vec![kinds, numbers] });
        }
        if !lookups.owners_by_email.is_empty() {
            let indexes = column(lookups.owners_by_email.iter().map(|index| Cell::Bytes(index)));
            ask(Kind::Subject, Call { sql: &sql.owner_by_email, parameters: vec![indexes] });
        }
        if !lookups.requests.is_empty() {
            let ids = column(lookups.requests.iter().map(|id| Cell::Bytes(id)));
            ask(Kind::Request, Call { sql: &sql.request, parameters: vec![ids] });
        }
        Ok(Self { kinds, calls })
    }

    pub(super) fn calls(&self) -> &[Call<'a>] {
        &self.calls
    }

    /// The answers' rows.
    pub(super) fn found(&self, answers: Vec<Vec<PostgresRow>>) -> Result<Found, StoreError> {
        let mut found = Found::default();
        for (kind, rows) in self.kinds.iter().zip(answers) {
            for row in &rows {
                match kind {
                    Kind::Row(table) => found.rows.push(table_row(*table, row)?),
                    Kind::Subject => found.subjects.push(subject(row)?),
                    Kind::Request => found.requests.push(request(row)?),
                }
            }
        }
        Ok(found)
    }
}

pub(super) async fn page(session: &Session, sql: &Sql, table: Table, from: i64, limit: i64) -> Result<Vec<Row>, StoreError> {
    let parameters = [Parameter::One(Cell::Int(from)), Parameter::One(Cell::Int(limit))];
    let rows = session.query(&sql.table(table)?.page, &parameters).await.or_store_error()?;
    rows.iter().map(|row| table_row(table, row)).collect()
}
