//! The database as somebody with a SQL prompt sees it, the same way on both backends: everything is text.

use rusqlite::types::ValueRef;
use tokio_postgres::SimpleQueryMessage;

use super::ledger::{Backend, Place};
use super::postgres;

pub type Row = Vec<Option<String>>;

/// Runs one query and returns its rows.
///
/// # Errors
/// What the database says.
pub async fn rows(place: &Place, sql: &str) -> Result<Vec<Row>, String> {
    match place.backend {
        Backend::Sqlite => sqlite_rows(place, sql).map_err(|error| error.to_string()),
        Backend::Postgres => postgres_rows(place, sql).await,
    }
}

/// Runs statements separated by semicolons.
///
/// # Errors
/// What the database says; on PostgreSQL nothing of the batch holds then.
pub async fn execute(place: &Place, sql: &str) -> Result<(), String> {
    match place.backend {
        Backend::Sqlite => sqlite(place).execute_batch(sql).map_err(|error| error.to_string()),
        Backend::Postgres => postgres_rows(place, sql).await.map(drop),
    }
}

/// The one number that a query returns.
pub async fn number(place: &Place, sql: &str) -> i64 {
    let rows = rows(place, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let value = rows.first().and_then(|row| row.first()).cloned().flatten();
    value.unwrap_or_else(|| panic!("{sql}: no value")).parse().unwrap_or_else(|_| panic!("{sql}: no number"))
}

/// The tables of the ledger.
pub async fn tables(place: &Place) -> Vec<String> {
    first_column(
        place,
        match place.backend {
            Backend::Sqlite => "select name from sqlite_master where type = 'table' order by name",
            Backend::Postgres => "select table_name from information_schema.tables where table_schema = 'public' order by 1",
        },
    )
    .await
}

/// The columns of one table in their order.
pub async fn columns(place: &Place, table: &str) -> Vec<String> {
    let sql = match place.backend {
        Backend::Sqlite => format!("select name from pragma_table_info('{table}') order by cid"),
        Backend::Postgres => format!(
            "select column_name from information_schema.columns \
             where table_schema = 'public' and table_name = '{table}' order by ordinal_position"
        ),
    };
    first_column(place, &sql).await
}

async fn first_column(place: &Place, sql: &str) -> Vec<String> {
    let rows = rows(place, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows.into_iter().filter_map(|mut row| row.remove(0)).collect()
}

/// Does to the events what the database's triggers forbid, as an intruder with all rights could: switches the triggers off,
/// runs the statements, and switches them on again.
pub async fn tamper(place: &Place, sql: &str) {
    match place.backend {
        Backend::Sqlite => {
            let triggers = "select name, sql from sqlite_master where type = 'trigger' and tbl_name = 'events'";
            let triggers = rows(place, triggers).await.expect("the triggers can be listed");
            assert!(!triggers.is_empty(), "the events have no triggers");
            let part = |row: &Row, index: usize| row[index].clone().expect("a trigger has a name and a text");
            let drop: String = triggers.iter().map(|row| format!("DROP TRIGGER \"{}\";", part(row, 0))).collect();
            let create: String = triggers.iter().map(|row| format!("{};", part(row, 1))).collect();
            execute(place, &format!("BEGIN; {drop} {sql}; {create} COMMIT;")).await
        }
        Backend::Postgres => {
            let around = ["ALTER TABLE events DISABLE TRIGGER USER", sql, "ALTER TABLE events ENABLE TRIGGER USER"];
            execute(place, &around.join("; ")).await
        }
    }
    .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Remembers the log's present end for [`put_back`].
pub async fn keep_end(place: &Place) {
    execute(place, "CREATE TABLE kept_end AS SELECT * FROM head").await.expect("the head can be copied");
}

/// Takes away what was appended since [`keep_end`], as an old copy does that is put back under a running server. The rows stay as they are.
pub async fn put_back(place: &Place) {
    let switch_off = match place.backend {
        Backend::Sqlite => "DROP TRIGGER head_moves_forward",
        Backend::Postgres => "ALTER TABLE head DISABLE TRIGGER ALL",
    };
    let kept = |column: &str| format!("{column} = (SELECT {column} FROM kept_end)");
    let head = ["next_position", "recorded_at", "tree_edge"].map(kept).join(", ");
    let sql = format!("{switch_off}; DELETE FROM events WHERE position >= (SELECT next_position FROM kept_end); UPDATE head SET {head}");
    tamper(place, &sql).await;
}

/// A text as a SQL literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn sqlite(place: &Place) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(place.sqlite_file()).expect("the ledger's file can be opened");
    connection.busy_timeout(super::poll::DEADLINE).expect("a busy time-out can be set");
    connection
}

fn sqlite_rows(place: &Place, sql: &str) -> rusqlite::Result<Vec<Row>> {
    let connection = sqlite(place);
    let mut statement = connection.prepare(sql)?;
    let width = statement.column_count();
    let rows = statement.query_map([], |row| (0..width).map(|index| row.get_ref(index).map(value_text)).collect())?;
    rows.collect()
}

fn value_text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
    }
}

async fn postgres_rows(place: &Place, sql: &str) -> Result<Vec<Row>, String> {
    let url = place.database_url.as_deref().expect("a PostgreSQL place has a URL");
    let client = postgres::connect(url).await.map_err(|error| error.to_string())?;
    let messages = client.simple_query(sql).await.map_err(|error| match error.as_db_error() {
        Some(said) => said.message().to_string(),
        None => error.to_string(),
    })?;
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|index| row.get(index).map(ToString::to_string)).collect()),
        _ => None,
    });
    Ok(rows.collect())
}
