//! What PostgreSQL's errors mean for the caller. Only code and message are told: details hold values.

use tokio_postgres::{Error, error::Severity};

use crate::store::StoreError;

/// Classes and codes of SQLSTATE that pass: the same call may work later.
const PASSING: &[&str] = &[
    "08",    // connection exceptions
    "40",    // deadlock, serialization failure
    "53",    // out of connections, disk or memory
    "55P03", // lock not available in time
    "57014", // cancelled, also by a time-out
    "57P",   // shut down, starting up
    "25P03", // idle in a transaction for too long
    "25006", // read-only: a standby, or an administrator at work
    "28",    // not let in: a password or role is being changed
    "3D000", // no such database: it is being restored
    "58",    // the server's own disk or memory
];

/// An error's code and message, or what went wrong with the connection.
fn text(error: &Error) -> String {
    match error.as_db_error() {
        Some(database) => format!("{} {}", database.code().code(), database.message()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

pub(super) fn store_error(error: &Error) -> StoreError {
    let passes = match error.code() {
        Some(code) => PASSING.iter().any(|passing| code.code().starts_with(passing)),
        None => is_broken(error),
    };
    if passes { StoreError::Unavailable(text(error)) } else { StoreError::Refused(text(error)) }
}

/// Whether the connection is at an end, and not what was sent over it at fault.
pub(super) fn is_broken(error: &Error) -> bool {
    match error.as_db_error() {
        Some(database) => matches!(database.parsed_severity(), Some(Severity::Fatal | Severity::Panic)),
        None => error.is_closed() || std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>()),
    }
}

/// What an error of a pipeline that ends with COMMIT means. A statement that the server refused makes its COMMIT a ROLLBACK;
/// whatever else goes wrong says nothing about it.
pub(super) fn pipeline_error(error: &Error, is_commit: bool) -> StoreError {
    let is_certain = match error.code() {
        // A server that is shut down may already have committed when it says so.
        Some(code) if is_commit => code.code().starts_with("23") || code.code().starts_with("40"),
        Some(_) => true,
        None => false,
    };
    if is_certain { store_error(error) } else { StoreError::CommitUnknown(text(error)) }
}

/// `?` on a result of PostgreSQL's.
pub(super) trait OrStoreError<T> {
    fn or_store_error(self) -> Result<T, StoreError>;
}

impl<T> OrStoreError<T> for Result<T, Error> {
    fn or_store_error(self) -> Result<T, StoreError> {
        self.map_err(|error| store_error(&error))
    }
}
