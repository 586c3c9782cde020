//! The database behind the ledger's back, by somebody with all rights on it: no trigger fires, and all values are text.

use keyledger_projections::ColumnType;
use rand::{RngExt, rngs::StdRng};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::super::Backend;

pub type Rows = Vec<Vec<Option<String>>>;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int,
    Bool,
    Text,
    /// Which PostgreSQL doesn't let be anything else.
    Json,
    Bytes,
    Time,
    Uuid,
    /// A UUID that PostgreSQL keeps as text.
    UuidText,
}

impl From<ColumnType> for Kind {
    fn from(ty: ColumnType) -> Self {
        match ty {
            ColumnType::Int => Self::Int,
            ColumnType::Bool => Self::Bool,
            ColumnType::Text => Self::Text,
            ColumnType::Bytes => Self::Bytes,
            ColumnType::Time => Self::Time,
            ColumnType::Uuid => Self::Uuid,
        }
    }
}

pub enum Raw {
    Sqlite(rusqlite::Connection),
    Postgres(Client),
}

impl Raw {
    /// A connection for which the triggers don't exist.
    pub async fn open(backend: Backend, place: &str) -> Self {
        let raw = match backend {
            Backend::Sqlite => Self::Sqlite(rusqlite::Connection::open(place).unwrap()),
            Backend::Postgres => {
                let (client, connection) = tokio_postgres::connect(place, NoTls).await.unwrap();
                tokio::spawn(connection);
                Self::Postgres(client)
            }
        };
        let triggers: Vec<String> = match &raw {
            Self::Sqlite(_) => {
                let found = raw.rows("SELECT 'DROP TRIGGER ' || name FROM sqlite_schema WHERE type = 'trigger'").await;
                [vec!["PRAGMA synchronous = OFF".to_owned()], first(found)].concat()
            }
            Self::Postgres(_) => {
                let of = |table| format!("ALTER TABLE {table} DISABLE TRIGGER ALL");
                [vec!["SET synchronous_commit = off".to_owned()], ["events", "head", "checkpoint"].map(of).to_vec()].concat()
            }
        };
        assert!(triggers.len() > 3, "the log has no triggers");
        raw.execute(&triggers.join("; ")).await.unwrap();
        raw
    }

    /// Runs statements in one transaction.
    pub async fn execute(&self, sql: &str) -> Result<(), String> {
        match self {
            Self::Sqlite(connection) => {
                let result = connection.execute_batch(sql).map_err(|error| error.to_string());
                if !connection.is_autocommit() {
                    connection.execute_batch("ROLLBACK").unwrap();
                }
                result
            }
            Self::Postgres(client) => client.batch_execute(sql).await.map_err(|error| format!("{error:?}")),
        }
    }

    /// What a query finds, all of it as text.
    pub async fn rows(&self, sql: &str) -> Rows {
        match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
                let width = statement.column_count();
                let text = |row: &rusqlite::Row<'_>, index| row.get::<_, rusqlite::types::Value>(index).map(text);
                let rows = statement.query_map([], |row| (0..width).map(|index| text(row, index)).collect()).unwrap();
                rows.map(Result::unwrap).collect()
            }
            Self::Postgres(client) => {
                let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
                let row = |message| match message {
                    SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect()),
                    _ => None,
                };
                messages.into_iter().filter_map(row).collect()
            }
        }
    }

    pub async fn texts(&self, sql: &str) -> Vec<String> {
        first(self.rows(sql).await)
    }

    pub async fn number(&self, sql: &str) -> i64 {
        self.texts(sql).await[0].parse().unwrap()
    }

    fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    /// Where copies of tables are kept.
    pub async fn make_room(&self, name: &str) {
        let sql = if self.is_sqlite() { format!("ATTACH ':memory:' AS {name}") } else { format!("CREATE SCHEMA {name}") };
        self.execute(&sql).await.unwrap();
    }

    /// Copies tables as they are now.
    pub async fn keep(&self, room: &str, tables: &[&str]) {
        self.make_room(room).await;
        for table in tables {
            self.execute(&format!("CREATE TABLE {room}.{table} AS SELECT * FROM {table}")).await.unwrap();
        }
    }

    /// Makes tables what they were.
    pub async fn restore(&self, room: &str, tables: &[&str]) {
        let (ours, begin) = if self.is_sqlite() { ("main", "BEGIN IMMEDIATE") } else { ("public", "BEGIN") };
        let mut sql = begin.to_owned();
        for table in tables {
            sql += &format!("; DELETE FROM {ours}.{table}; INSERT INTO {ours}.{table} SELECT * FROM {room}.{table}");
        }
        self.execute(&(sql + "; COMMIT")).await.unwrap();
    }

    pub fn bytes(&self, bytes: &[u8]) -> String {
        let hex = hex::encode(bytes);
        if self.is_sqlite() { format!("x'{hex}'") } else { format!("'\\x{hex}'::bytea") }
    }

    fn text(&self, bytes: &[u8]) -> Option<String> {
        if self.is_sqlite() {
            return Some(format!("CAST(x'{}' AS TEXT)", hex::encode(bytes)));
        }
        let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))?;
        Some(format!("'{}'", text.replace('\'', "''")))
    }

    /// An expression that gives a column's value as text: bytes in hexadecimal, times in microseconds.
    fn reading(&self, column: &str, kind: Kind) -> String {
        match (self.is_sqlite(), kind) {
            (_, Kind::Text) => column.to_owned(),
            (true, Kind::Json) => column.to_owned(),
            (true, Kind::Bytes | Kind::Uuid | Kind::UuidText) => format!("hex({column})"),
            (true, Kind::Int | Kind::Bool | Kind::Time) => column.to_owned(),
            (false, Kind::Json | Kind::Int | Kind::UuidText) => format!("{column}::text"),
            (false, Kind::Bool) => format!("{column}::int::text"),
            (false, Kind::Bytes) => format!("encode({column}, 'hex')"),
            (false, Kind::Uuid) => format!("replace({column}::text, '-', '')"),
            (false, Kind::Time) => format!("(extract(epoch FROM {column}) * 1000000)::bigint::text"),
        }
    }

    /// Flips one random bit of a column in one row; `None` where the database has no such value, as by a constraint.
    pub async fn flip(&self, random: &mut StdRng, table: &str, column: &str, kind: Kind, row: &str) -> Option<String> {
        let null = if self.is_sqlite() { format!("{column} IS NULL") } else { format!("({column} IS NULL)::int") };
        let sql = format!("SELECT {null}, {} FROM {table} WHERE {row}", self.reading(column, kind));
        let found = self.rows(&sql).await.remove(0);
        let is_null = found[0].as_deref() == Some("1");
        let old = found[1].clone().unwrap_or_default();
        let new = if is_null { self.something(kind) } else { self.flipped(random, &old, kind, column)? };
        let sql = format!("UPDATE {table} SET {column} = {new} WHERE {row}");
        self.execute(&sql).await.ok().map(|()| sql)
    }

    /// Where there was nothing.
    fn something(&self, kind: Kind) -> String {
        match (kind, self.is_sqlite()) {
            (Kind::Int, _) | (Kind::Bool | Kind::Time, true) => "1".to_owned(),
            (Kind::Bool, false) => "true".to_owned(),
            (Kind::Text | Kind::Json | Kind::UuidText, _) => "'1'".to_owned(),
            (Kind::Bytes, _) => self.bytes(&[1]),
            (Kind::Time, false) => "now()".to_owned(),
            (Kind::Uuid, true) => self.bytes(&[1; 16]),
            (Kind::Uuid, false) => "gen_random_uuid()".to_owned(),
        }
    }

    fn flipped(&self, random: &mut StdRng, old: &str, kind: Kind, column: &str) -> Option<String> {
        let sqlite = self.is_sqlite();
        let mut flip = |bytes: &mut [u8]| {
            let index = (!bytes.is_empty()).then(|| random.random_range(0..bytes.len()));
            index.map(|index| bytes[index] ^= 1 << random.random_range(0..8))
        };
        match kind {
            Kind::Bool => Some(if sqlite { (1 - old.parse::<i64>().unwrap()).to_string() } else { (old == "0").to_string() }),
            Kind::Text | Kind::Json => {
                let mut bytes = old.as_bytes().to_vec();
                flip(&mut bytes)?;
                self.text(&bytes)
            }
            Kind::UuidText if !sqlite => {
                let mut bytes = old.as_bytes().to_vec();
                flip(&mut bytes)?;
                self.text(&bytes)
            }
            Kind::Bytes | Kind::Uuid | Kind::UuidText => {
                let mut bytes = hex::decode(old).unwrap();
                flip(&mut bytes)?;
                let text = hex::encode(&bytes);
                Some(if kind == Kind::Bytes || sqlite { self.bytes(&bytes) } else { format!("'{text}'::uuid") })
            }
            Kind::Int | Kind::Time => {
                let old: i64 = old.parse().unwrap();
                // The low ones are what an intruder would change.
                let bits = if random.random_bool(0.5) { 8 } else { 64 };
                let new = old ^ (1 << random.random_range(0..bits));
                if kind == Kind::Int || sqlite {
                    return Some(new.to_string());
                }
                Some(format!("{column} + interval '{} microseconds'", i128::from(new) - i128::from(old)))
            }
        }
    }
}

fn first(rows: Rows) -> Vec<String> {
    rows.into_iter().filter_map(|mut row| row.remove(0)).collect()
}

fn text(value: rusqlite::types::Value) -> Option<String> {
    use rusqlite::types::Value;
    match value {
        Value::Null => None,
        Value::Integer(number) => Some(number.to_string()),
        Value::Real(number) => Some(number.to_string()),
        Value::Text(text) => Some(text),
        Value::Blob(bytes) => Some(hex::encode(bytes)),
    }
}
