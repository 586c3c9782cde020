//! Connections: their settings, which are read back, and what their errors mean.

use std::{
    fs::OpenOptions,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql, config::DbConfig};

use crate::store::StoreError;

/// How long a statement waits for a lock that another process holds.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two attempts where SQLite itself doesn't wait.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// Every statement is prepared once; there are fewer than this.
const STATEMENTS_MAX: usize = 256;
/// The log of changes is moved into the database when it has so many pages (32 MiB): a page that changes often is then moved
/// once for many commits.
const CHECKPOINT_PAGES: i64 = 8_192;
/// A larger one, left behind by a long read, is cut to this.
const WAL_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// What the connection is for, and how much of the database it may keep in memory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    Reader { cache_kib: i64 },
    Writer { cache_kib: i64 },
}

/// What an error means for the caller. SQLite's texts name tables and columns, never values.
pub(super) fn store_error(error: &rusqlite::Error) -> StoreError {
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::OutOfMemory
            | ErrorCode::OperationInterrupted,
        ) => StoreError::Unavailable(text),
        _ => StoreError::Refused(text),
    }
}

/// What an error of COMMIT means: after a failed write nobody can tell whether the commit record is on disk.
pub(super) fn commit_error(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => StoreError::CommitUnknown(error.to_string()),
        _ => store_error(error),
    }
}

/// `?` on a result of SQLite's.
pub(super) trait OrStoreError<T> {
    fn or_store_error(self) -> Result<T, StoreError>;
}

impl<T> OrStoreError<T> for rusqlite::Result<T> {
    fn or_store_error(self) -> Result<T, StoreError> {
        self.map_err(|error| store_error(&error))
    }
}

/// Opens a connection and makes sure that it is set as it must be. A writer creates the file.
pub(super) fn open(path: &Path, role: Role) -> Result<Connection, StoreError> {
    let access = match role {
        Role::Reader { .. } => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Role::Writer { .. } => {
            create_private(path)?;
            OpenFlags::SQLITE_OPEN_READ_WRITE
        }
    };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).or_store_error()?;
    connection.busy_timeout(BUSY_TIMEOUT).or_store_error()?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Or else statements are prepared anew whenever certain parameters change.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).or_store_error()?;
    let cache_kib = match role {
        Role::Reader { cache_kib } => {
            set(&connection, "query_only", 1)?;
            cache_kib
        }
        Role::Writer { cache_kib } => {
            set_write_ahead(&connection)?;
            // The log of changes is on disk before a commit is answered.
            set(&connection, "synchronous", 2)?;
            set(&connection, "fullfsync", 1)?;
            // So that INSERT OR REPLACE fires the triggers that refuse deletion.
            set(&connection, "recursive_triggers", 1)?;
            // What is overwritten is gone from the file, where that costs no additional write.
            set_to(&connection, "secure_delete", "fast", 2)?;
            set(&connection, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
            set(&connection, "journal_size_limit", WAL_BYTES_MAX)?;
            cache_kib
        }
    };
    set(&connection, "foreign_keys", 0)?;
    set(&connection, "temp_store", 2)?;
    set(&connection, "cache_size", -cache_kib)?;
    Ok(connection)
}

/// Makes the file, where there is none, for its owner's eyes only: SQLite gives its other files the same mode.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(StoreError::Unsuitable(format!("{} can't be opened: {error}", path.display()))),
    }
}

/// Sets a pragma and reads it back.
fn set(connection: &Connection, pragma: &str, value: i64) -> Result<(), StoreError> {
    set_to(connection, pragma, value, value)
}

/// The same, where what is read is not what is written.
fn set_to(connection: &Connection, pragma: &str, value: impl ToSql, expected: i64) -> Result<(), StoreError> {
    connection.pragma_update(None, pragma, value).or_store_error()?;
    let actual: i64 = connection.pragma_query_value(None, pragma, |row| row.get(0)).or_store_error()?;
    let unsuitable = || StoreError::Unsuitable(format!("SQLite's {pragma} is {actual} where it was set to {expected}"));
    (actual == expected).then_some(()).ok_or_else(unsuitable)
}

/// SQLite doesn't wait for others when it changes the journal mode.
fn set_write_ahead(connection: &Connection) -> Result<(), StoreError> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0)) {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => return Err(StoreError::Unsuitable(format!("SQLite's journal_mode is {mode} where it was set to wal"))),
            Err(error) => match store_error(&error) {
                StoreError::Unavailable(_) if Instant::now() < deadline => sleep(BUSY_PAUSE),
                other => return Err(other),
            },
        }
    }
}
