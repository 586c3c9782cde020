//! What can be asked of a license.

use super::{AccessRefusal, Status};
use crate::{
    Timestamp,
    values::{Identifier, LicenseKey, MetaKey},
};

/// The owner that a request names, its number already looked up or drawn. An owner without an address has no number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    pub number: Option<i64>,
    pub name: Option<String>,
    pub email: Option<String>,
}

impl Owner {
    /// `None` where neither name nor address is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.name.is_none() && self.email.is_none()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateLicense {
    pub key: LicenseKey,
    pub product: i64,
    pub activation_limit: i64,
    pub validity_days: i64,
    pub status: Status,
    pub assigned_at: Option<Timestamp>,
    pub owner: Owner,
    pub contract: Option<i64>,
    pub job: Option<i64>,
}

/// A part of an update: a parameter that is absent changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    #[default]
    Keep,
    Set(T),
}

impl<T> Change<T> {
    pub fn new(value: Option<T>) -> Self {
        value.map_or(Self::Keep, Self::Set)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateLicense {
    pub product: Change<i64>,
    /// The whole owner after the change.
    pub owner: Change<Owner>,
    pub activation_limit: Change<i64>,
    pub validity_days: Change<i64>,
    pub status: Change<Status>,
    pub assigned_at: Change<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LicenseCommand {
    Create(CreateLicense),
    Assign {
        owner: Owner,
        job: Option<i64>,
    },
    /// `identifier` is `None` where the request has none: which refusal that is depends on the state.
    Activate {
        identifier: Option<Identifier>,
        post_url: Option<String>,
    },
    Deactivate {
        identifier: Option<Identifier>,
    },
    /// An operator ends one activation; whatever state the license is in.
    EndActivation {
        activation: i64,
    },
    Update(UpdateLicense),
    CreateMeta {
        identifier: Option<Identifier>,
        key: Option<MetaKey>,
        value: Option<String>,
    },
    UpdateMeta {
        identifier: Option<Identifier>,
        key: Option<MetaKey>,
        value: Option<String>,
    },
    DeleteMeta {
        identifier: Option<Identifier>,
        key: Option<MetaKey>,
    },
    /// Gives it another key string.
    ReplaceKey {
        key: LicenseKey,
    },
    /// Has it refused from here on; owner and activations stay.
    Block,
    /// Takes that back. Without a status it is assigned where it ever was, else available.
    Unblock {
        status: Option<Status>,
    },
    /// A download of the product's release begins.
    Download {
        identifier: Option<Identifier>,
        release: i64,
        /// Whether the product refuses expired licenses.
        require_non_expired: bool,
    },
    /// Note that use was refused, as a query found.
    RecordRefusal {
        reason: AccessRefusal,
        block: Option<i64>,
        identifier: Option<Identifier>,
    },
    Delete,
}
