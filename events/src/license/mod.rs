//! A license: its key, status, owner, limit, activations and meta entries.

mod access;
mod aggregate;
mod command;
mod decide;
mod error;
mod event;
mod state;

pub use access::{check_access, check_activation, check_download, verify};
pub use aggregate::{LicenseAggregate, LicenseServices};
pub use command::{Change, CreateLicense, LicenseCommand, Owner, UpdateLicense};
pub use decide::{AtHand, Decision, Done, decide, downloaded};
pub use error::LicenseError;
pub use event::*;
pub use state::{Activation, License, LicenseMeta, Status};
