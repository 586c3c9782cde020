//! Why a command or query on a license was refused.

use super::AccessRefusal;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LicenseError {
    #[error("the license does not exist")]
    Unknown,
    #[error("the license exists already")]
    Exists,
    #[error("the license's product is not active or does not exist")]
    ProductInactive,
    #[error("the license is blocked")]
    Blocked,
    #[error("the license is not assigned")]
    NotAssigned,
    #[error("the license has expired")]
    Expired,
    #[error("an identifier is required")]
    IdentifierRequired,
    #[error("the license is not active for this identifier")]
    NoActivation,
    #[error("the license is active for as many identifiers as it may be")]
    LimitReached,
    #[error("only an available license can be assigned")]
    NotAvailable,
    #[error("a meta key is required")]
    MetaKeyRequired,
    #[error("a meta value is required")]
    MetaValueRequired,
    #[error("the meta key exists already")]
    MetaExists,
    #[error("the meta key does not exist")]
    MetaUnknown,
    #[error("another license has this key")]
    KeyTaken,
    #[error("the license is not blocked")]
    NotBlocked,
}

impl LicenseError {
    /// The reason under which a refusal is recorded, where it matters in a dispute.
    #[must_use]
    pub fn recorded_reason(self) -> Option<AccessRefusal> {
        match self {
            Self::Blocked => Some(AccessRefusal::LicenseBlocked),
            Self::Expired => Some(AccessRefusal::LicenseExpired),
            Self::Unknown
            | Self::Exists
            | Self::ProductInactive
            | Self::NotAssigned
            | Self::IdentifierRequired
            | Self::NoActivation
            | Self::LimitReached
            | Self::NotAvailable
            | Self::MetaKeyRequired
            | Self::MetaValueRequired
            | Self::MetaExists
            | Self::MetaUnknown
            | Self::KeyTaken
            | Self::NotBlocked => None,
        }
    }
}
