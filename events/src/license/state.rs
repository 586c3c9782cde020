//! What the events of a license add up to. The projections' rows hold exactly these values: one fold per fact.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AccessRefusal, LicenseEvent};
use crate::Timestamp;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    #[default]
    Available,
    Assigned,
    Reserved,
    Blocked,
}

impl Status {
    pub const ALL: [Self; 4] = [Self::Available, Self::Assigned, Self::Reserved, Self::Blocked];

    /// The name on the wire and in rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Assigned => "assigned",
            Self::Reserved => "reserved",
            Self::Blocked => "blocked",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A license without its activations and meta entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct License {
    pub number: i64,
    pub key: String,
    /// When the key string was last replaced.
    pub key_replaced_at: Option<Timestamp>,
    pub product: i64,
    pub status: Status,
    /// 0 is unlimited.
    pub activation_limit: i64,
    /// 0 is unlimited.
    pub validity_days: i64,
    pub assigned_at: Option<Timestamp>,
    pub owner: Option<i64>,
    pub owner_name: Option<String>,
    pub owner_email: Option<String>,
    pub active_count: i64,
    /// Activations of earlier epochs have ended.
    pub epoch: i64,
    /// The minute of the last recorded refusals, and which reasons were recorded in it.
    pub refusal_minute: i64,
    pub refusal_reasons: i64,
    /// The contract that it was generated under.
    pub contract: Option<i64>,
    /// The queued assignment that gave it to its present owner.
    pub job: Option<i64>,
    pub deleted: bool,
}

impl License {
    /// When the license expires; `None` where it doesn't.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        (self.validity_days > 0).then(|| self.assigned_at.map(|at| at.plus_days(self.validity_days))).flatten()
    }

    /// Expiry is a fact of the clock: true from the very instant on.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at().is_some_and(|at| now >= at)
    }

    #[must_use]
    pub fn is_active(&self, activation: &Activation) -> bool {
        activation.active && activation.epoch == self.epoch
    }

    fn refusal_recorded(&mut self, minute: i64, bit: i64) {
        if self.refusal_minute != minute {
            self.refusal_minute = minute;
            self.refusal_reasons = 0;
        }
        self.refusal_reasons |= bit;
    }

    /// Folds one event. `at` is when it was recorded.
    #[must_use]
    pub fn fold(state: Option<Self>, event: &LicenseEvent, at: Timestamp) -> Option<Self> {
        if let LicenseEvent::LicenseCreated(created) = event {
            return Some(Self {
                number: created.license,
                key: created.key.clone(),
                product: created.product,
                status: created.status,
                activation_limit: created.activation_limit,
                validity_days: created.validity_days,
                assigned_at: created.assigned_at,
                owner: created.owner,
                owner_name: created.personal.owner_name(),
                owner_email: created.personal.owner_email(),
                contract: created.contract,
                job: created.job,
                ..Self::default()
            });
        }
        let mut license = state?;
        match event {
            LicenseEvent::LicenseCreated(_)
            | LicenseEvent::LicenseMetaCreated(_)
            | LicenseEvent::LicenseMetaUpdated(_)
            | LicenseEvent::LicenseMetaDeleted(_)
            | LicenseEvent::ReleaseDownloaded(_) => {}
            LicenseEvent::LicenseAssigned(event) => {
                license.status = Status::Assigned;
                license.assigned_at = Some(event.assigned_at);
                // Unblocking is no new assignment.
                if event.from == Status::Available || event.job.is_some() {
                    license.job = event.job;
                }
                license.owner = event.owner;
                if event.with_owner {
                    license.owner_name = event.personal.owner_name();
                    license.owner_email = event.personal.owner_email();
                }
            }
            LicenseEvent::LicenseReserved(_) => license.status = Status::Reserved,
            LicenseEvent::LicenseBlocked(_) => license.status = Status::Blocked,
            LicenseEvent::LicenseMadeAvailable(_) => {
                license.status = Status::Available;
                license.assigned_at = None;
                license.job = None;
            }
            LicenseEvent::OwnerChanged(event) => {
                license.owner = event.owner;
                license.owner_name = event.personal.owner_name();
                license.owner_email = event.personal.owner_email();
            }
            LicenseEvent::OwnerCleared(_) => {
                license.owner = None;
                license.owner_name = None;
                license.owner_email = None;
            }
            LicenseEvent::ActivationLimitChanged(event) => license.activation_limit = event.to,
            LicenseEvent::ValidityChanged(event) => license.validity_days = event.to,
            LicenseEvent::AssignedAtChanged(event) => license.assigned_at = Some(event.to),
            LicenseEvent::LicenseProductChanged(event) => license.product = event.to,
            LicenseEvent::LicenseActivated(event) => license.active_count = event.active,
            LicenseEvent::LicenseDeactivated(event) => license.active_count = event.active,
            LicenseEvent::ActivationsEnded(event) => {
                license.active_count = 0;
                license.epoch = event.epoch;
            }
            LicenseEvent::ActivationRefused(_) => license.refusal_recorded(at.minute(), AccessRefusal::LIMIT_BIT),
            LicenseEvent::AccessRefused(event) => license.refusal_recorded(at.minute(), event.reason.bit()),
            LicenseEvent::LicenseKeyReplaced(event) => {
                license.key.clone_from(&event.key);
                license.key_replaced_at = Some(event.replaced_at);
            }
            LicenseEvent::LicenseDeleted(_) => license.deleted = true,
        }
        Some(license)
    }
}

impl AccessRefusal {
    /// The bit of a refusal at the activation limit.
    pub const LIMIT_BIT: i64 = 1;

    /// This reason's bit in [`License::refusal_reasons`].
    #[must_use]
    pub fn bit(self) -> i64 {
        match self {
            Self::LicenseBlocked => 2,
            Self::LicenseExpired => 4,
            Self::BlockListed => 8,
        }
    }
}

/// One identifier that a license is or was active for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    pub number: i64,
    pub license: i64,
    /// `None` once it is forgotten.
    pub identifier: Option<String>,
    pub post_url: Option<String>,
    pub active: bool,
    pub epoch: i64,
}

impl Activation {
    /// Folds one event that names this activation.
    #[must_use]
    pub fn fold(state: Option<Self>, event: &LicenseEvent) -> Option<Self> {
        match event {
            LicenseEvent::LicenseActivated(event) => Some(Self {
                number: event.activation,
                license: event.license,
                identifier: event.personal.identifier(),
                post_url: event.personal.post_url(),
                active: true,
                epoch: event.epoch,
            }),
            LicenseEvent::LicenseDeactivated(_) => state.map(|activation| Self { active: false, ..activation }),
            LicenseEvent::LicenseCreated(_)
            | LicenseEvent::LicenseAssigned(_)
            | LicenseEvent::LicenseReserved(_)
            | LicenseEvent::LicenseBlocked(_)
            | LicenseEvent::LicenseMadeAvailable(_)
            | LicenseEvent::OwnerChanged(_)
            | LicenseEvent::OwnerCleared(_)
            | LicenseEvent::ActivationLimitChanged(_)
            | LicenseEvent::ValidityChanged(_)
            | LicenseEvent::AssignedAtChanged(_)
            | LicenseEvent::LicenseProductChanged(_)
            | LicenseEvent::ActivationsEnded(_)
            | LicenseEvent::ActivationRefused(_)
            | LicenseEvent::AccessRefused(_)
            | LicenseEvent::LicenseMetaCreated(_)
            | LicenseEvent::LicenseMetaUpdated(_)
            | LicenseEvent::LicenseMetaDeleted(_)
            | LicenseEvent::LicenseKeyReplaced(_)
            | LicenseEvent::ReleaseDownloaded(_)
            | LicenseEvent::LicenseDeleted(_) => state,
        }
    }
}

/// A meta entry of a license.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LicenseMeta {
    pub number: i64,
    pub license: i64,
    pub key: String,
    /// `None` once it is forgotten.
    pub value: Option<String>,
}

impl LicenseMeta {
    /// Folds one event that names this entry.
    #[must_use]
    pub fn fold(state: Option<Self>, event: &LicenseEvent) -> Option<Self> {
        match event {
            LicenseEvent::LicenseMetaCreated(event) | LicenseEvent::LicenseMetaUpdated(event) => {
                Some(Self { number: event.meta, license: event.license, key: event.key.clone(), value: event.personal.value() })
            }
            LicenseEvent::LicenseMetaDeleted(_) => None,
            _ => state,
        }
    }
}
