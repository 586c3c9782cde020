//! What can have happened to a license. Facts, past tense, everything a replay needs; stored for ever.

use serde::{Deserialize, Serialize};

use super::Status;
use crate::{Personal, Timestamp, domain::domain_event};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LicenseEvent {
    LicenseCreated(LicenseCreated),
    LicenseAssigned(LicenseAssigned),
    LicenseReserved(StatusChanged),
    LicenseBlocked(StatusChanged),
    LicenseMadeAvailable(StatusChanged),
    OwnerChanged(OwnerChanged),
    OwnerCleared(OwnerCleared),
    ActivationLimitChanged(ValueChanged),
    ValidityChanged(ValueChanged),
    AssignedAtChanged(AssignedAtChanged),
    LicenseProductChanged(LicenseProductChanged),
    LicenseActivated(LicenseActivated),
    LicenseDeactivated(LicenseDeactivated),
    ActivationsEnded(ActivationsEnded),
    ActivationRefused(ActivationRefused),
    AccessRefused(AccessRefused),
    LicenseMetaCreated(LicenseMetaSet),
    LicenseMetaUpdated(LicenseMetaSet),
    LicenseMetaDeleted(LicenseMetaDeleted),
    LicenseKeyReplaced(LicenseKeyReplaced),
    ReleaseDownloaded(ReleaseDownloaded),
    LicenseDeleted(LicenseDeleted),
}

domain_event!(LicenseEvent personal {
    LicenseCreated "2.0",
    LicenseAssigned "2.0",
    LicenseReserved "1.0",
    LicenseBlocked "1.0",
    LicenseMadeAvailable "1.0",
    OwnerChanged "1.0",
    OwnerCleared "1.0",
    ActivationLimitChanged "1.0",
    ValidityChanged "1.0",
    AssignedAtChanged "1.0",
    LicenseProductChanged "1.0",
    LicenseActivated "1.0",
    LicenseDeactivated "1.0",
    ActivationsEnded "1.0",
    ActivationRefused "1.0",
    AccessRefused "1.0",
    LicenseMetaCreated "1.0",
    LicenseMetaUpdated "1.0",
    LicenseMetaDeleted "1.0",
    LicenseKeyReplaced "1.0",
    ReleaseDownloaded "1.0",
    LicenseDeleted "2.0",
});

impl LicenseEvent {
    /// The number of the product that the license has after it.
    #[must_use]
    pub fn product(&self) -> i64 {
        match self {
            Self::LicenseCreated(event) => event.product,
            Self::LicenseAssigned(event) => event.product,
            Self::LicenseReserved(event) => event.product,
            Self::LicenseBlocked(event) => event.product,
            Self::LicenseMadeAvailable(event) => event.product,
            Self::OwnerChanged(event) => event.product,
            Self::OwnerCleared(event) => event.product,
            Self::ActivationLimitChanged(event) => event.product,
            Self::ValidityChanged(event) => event.product,
            Self::AssignedAtChanged(event) => event.product,
            Self::LicenseProductChanged(event) => event.to,
            Self::LicenseActivated(event) => event.product,
            Self::LicenseDeactivated(event) => event.product,
            Self::ActivationsEnded(event) => event.product,
            Self::ActivationRefused(event) => event.product,
            Self::AccessRefused(event) => event.product,
            Self::LicenseMetaCreated(event) => event.product,
            Self::LicenseMetaUpdated(event) => event.product,
            Self::LicenseMetaDeleted(event) => event.product,
            Self::LicenseKeyReplaced(event) => event.product,
            Self::ReleaseDownloaded(event) => event.product,
            Self::LicenseDeleted(event) => event.product,
        }
    }

    /// The number of the license it happened to.
    #[must_use]
    pub fn license(&self) -> i64 {
        match self {
            Self::LicenseCreated(event) => event.license,
            Self::LicenseAssigned(event) => event.license,
            Self::LicenseReserved(event) => event.license,
            Self::LicenseBlocked(event) => event.license,
            Self::LicenseMadeAvailable(event) => event.license,
            Self::OwnerChanged(event) => event.license,
            Self::OwnerCleared(event) => event.license,
            Self::ActivationLimitChanged(event) => event.license,
            Self::ValidityChanged(event) => event.license,
            Self::AssignedAtChanged(event) => event.license,
            Self::LicenseProductChanged(event) => event.license,
            Self::LicenseActivated(event) => event.license,
            Self::LicenseDeactivated(event) => event.license,
            Self::ActivationsEnded(event) => event.license,
            Self::ActivationRefused(event) => event.license,
            Self::AccessRefused(event) => event.license,
            Self::LicenseMetaCreated(event) => event.license,
            Self::LicenseMetaUpdated(event) => event.license,
            Self::LicenseMetaDeleted(event) => event.license,
            Self::LicenseKeyReplaced(event) => event.license,
            Self::ReleaseDownloaded(event) => event.license,
            Self::LicenseDeleted(event) => event.license,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LicenseCreated {
    pub activation_limit: i64,
    pub assigned_at: Option<Timestamp>,
    /// The contract that it was generated under.
    pub contract: Option<i64>,
    /// The queued assignment that it was generated for.
    pub job: Option<i64>,
    pub key: String,
    pub license: i64,
    /// The owner's number; name and address are in `personal`.
    pub owner: Option<i64>,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub status: Status,
    pub validity_days: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LicenseAssigned {
    pub assigned_at: Timestamp,
    pub from: Status,
    /// The queued assignment that did it.
    pub job: Option<i64>,
    pub license: i64,
    /// The owner after this event: the one given, or the one there was.
    pub owner: Option<i64>,
    /// With the owner's name and address when they are given by this event.
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    /// Whether this event gave the owner; if not, name and address stay as they are.
    pub with_owner: bool,
}

/// For the events whose only fact is the new status, which their name tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusChanged {
    pub from: Status,
    pub license: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LicenseDeleted {
    /// The contract whose place it frees.
    pub contract: Option<i64>,
    pub from: Status,
    pub license: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnerChanged {
    pub license: i64,
    pub owner: Option<i64>,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnerCleared {
    pub license: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValueChanged {
    pub from: i64,
    pub license: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub to: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AssignedAtChanged {
    pub from: Option<Timestamp>,
    pub license: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub to: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LicenseProductChanged {
    pub from: i64,
    pub license: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub status: Status,
    pub to: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LicenseActivated {
    /// Names the pair of license and identifier for ever: the same identifier activated again has the same number.
    pub activation: i64,
    /// Active activations of the license after this one.
    pub active: i64,
    /// The license's epoch: an activation counts while its epoch is the license's.
    pub epoch: i64,
    pub license: i64,
    /// With the identifier and, where given, the `post_url`.
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LicenseDeactivated {
    pub activation: i64,
    pub active: i64,
    pub license: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
}

/// All activations of the license ended at once: the epoch moved on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivationsEnded {
    pub ended: i64,
    pub epoch: i64,
    pub license: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
}

/// An activation was refused at the limit. At most one a minute is recorded for a license.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivationRefused {
    pub active: i64,
    pub license: i64,
    pub limit: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
}

/// Use of the license was refused. At most one a minute is recorded for a license and reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccessRefused {
    /// The entry of the block list that decided it, where that was the reason.
    pub block: Option<i64>,
    pub license: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub reason: AccessRefusal,
}

/// Why use was refused, where that matters in a dispute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessRefusal {
    LicenseBlocked,
    LicenseExpired,
    /// The client's address or the identifier is on the block list.
    BlockListed,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LicenseMetaSet {
    pub key: String,
    pub license: i64,
    pub meta: i64,
    /// With the value.
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LicenseMetaDeleted {
    pub key: String,
    pub license: i64,
    pub meta: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
}

/// The license has another key string from here on; the old one is free for another license.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LicenseKeyReplaced {
    pub from: String,
    pub key: String,
    pub license: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub replaced_at: Timestamp,
}

/// A release of the product was downloaded with the license: the whole file, or a transfer of it from its first byte on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseDownloaded {
    pub license: i64,
    /// With the identifier.
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub release: i64,
}
