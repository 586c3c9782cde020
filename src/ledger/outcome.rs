//! What became of a command: all that an answer says, so that it can be stored beside an idempotency key and given again.

use std::fmt;

use keyledger_events::{
    SubjectKind, Timestamp, api_key::ApiKeyError, assignment_job::AssignmentResult, block::BlockError, contract::ContractError,
    delivery::DeliveryError, download_token::DownloadTokenError, generator::GeneratorError, key_pair::KeyPairError, license::LicenseError,
    product::ProductError, release::ReleaseError, subject::SubjectError, webhook_endpoint::WebhookEndpointError,
};
use serde::{Deserialize, Serialize};

use super::tree::Hash;

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub result: CommandResult,
    /// The key pair of the product that this is about, where it was found and has its own.
    pub key_pair: Option<i64>,
    /// The positions of the command's events: first and how many.
    #[serde(default)]
    pub first_position: i64,
    #[serde(default)]
    pub events: i64,
    /// The event that the answer is about; older records have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

/// Where in the log an answer's event stands: with a checkpoint, what a caller needs to have its inclusion proved later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub position: i64,
    pub leaf_hash: LeafHash,
}

/// A leaf's hash; as text it is hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LeafHash(pub Hash);

impl fmt::Display for LeafHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl From<LeafHash> for String {
    fn from(hash: LeafHash) -> Self {
        hex::encode(hash.0)
    }
}

impl TryFrom<String> for LeafHash {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut hash = Hash::default();
        hex::decode_to_slice(text, &mut hash)?;
        Ok(Self(hash))
    }
}

/// A refusal is a result too: it is answered, and given again under the same idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandResult {
    Assigned,
    Activated,
    AlreadyActive,
    Deactivated,
    AlreadyInactive,
    LicenseUpdated,
    LicenseDeleted,
    LicenseMetaSet {
        meta: i64,
    },
    LicenseMetaDeleted,
    RefusalRecorded,
    LicenseRefused(LicenseError),
    LicensesCreated {
        created: i64,
        duplicate: i64,
    },
    KeyReplaced,
    /// A purchased license was added.
    PurchaseAdded,
    /// The product that a license shall belong to does not exist.
    NoSuchProduct,
    ProductCreated {
        product: i64,
    },
    ProductUpdated,
    ProductDeleted,
    ProductMetaSet,
    ProductMetaDeleted,
    ProductSlugSet,
    ProductSwitchesSet,
    KeyPairAdded {
        number: i64,
    },
    KeyPairUsed,
    ProductRefused(ProductError),
    KeyPairRetired,
    KeyPairRefused(KeyPairError),
    SettingsChanged,
    StreamMapRecorded,
    VerificationsRecorded,
    TelemetryRecorded {
        telemetry: i64,
        product_exists: bool,
    },
    DownloadCounted,
    ReleaseUploaded {
        release: i64,
    },
    ReleaseUpdated,
    ReleasePublished,
    ReleaseUnpublished,
    ReleaseWithdrawn,
    ReleaseRefused(ReleaseError),
    DownloadTokenIssued {
        token: i64,
        expires_at: Timestamp,
    },
    DownloadTokenClaimed {
        claim: i64,
        until: Timestamp,
    },
    DownloadTokenGivenBack,
    DownloadTokenUsed,
    DownloadTokenRefused(DownloadTokenError),
    Founded,
    ApiKeyCreated {
        number: i64,
        /// As the command gave it; under an idempotency key, the first one.
        #[serde(default)]
        salt: String,
    },
    ApiKeyDisabled,
    ApiKeyRefused(ApiKeyError),
    Bootstrapped,
    BlockAdded,
    BlockRemoved,
    BlockRefused(BlockError),
    Refused(Refusal),
    GeneratorCreated {
        generator: i64,
    },
    GeneratorUpdated,
    GeneratorDeleted,
    GeneratorRefused(GeneratorError),
    /// There is no active generator.
    NoGenerator,
    /// The generator can't make so many keys that are not in use yet.
    KeysUsedUp,
    LicensesGenerated {
        keys: Vec<String>,
    },
    ContractSet {
        contract: i64,
        created_at: Timestamp,
        updated_at: Timestamp,
        license_keys: i64,
    },
    ContractDeleted,
    ContractRefused(ContractError),
    ContractLicensesDestroyed {
        destroyed: i64,
        /// Licenses above this number were not meant.
        up_to: i64,
        /// Whether there are more of them.
        has_more: bool,
    },
    AvailableAssigned {
        assigned_at: Timestamp,
        licenses: Vec<AssignedLicense>,
    },
    TooFewAvailable {
        available: i64,
    },
    AssignmentQueued {
        job: i64,
    },
    JobFinished(AssignmentResult),
    /// It was finished before, or there is none.
    JobNotWaiting,
    DeliveryStarted {
        attempt: i64,
    },
    DeliveryDone,
    DeliveryRefused(DeliveryError),
    WebhookEndpointSet {
        endpoint: i64,
    },
    WebhookEndpointRefused(WebhookEndpointError),
    SubjectForgotten {
        kind: SubjectKind,
        number: i64,
        /// How many sealed objects can't be opened any more.
        sealed: i64,
        /// How many rows lost something.
        rows: i64,
    },
    SubjectRefused(SubjectError),
}

/// What an assignment's answer says of one license. Owner and meta entries are not here: an outcome holds nothing personal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedLicense {
    pub number: i64,
    pub key: String,
    pub activation_limit: i64,
    pub validity_days: i64,
    pub created_at: Timestamp,
    /// Whether it may have meta entries, or an owner from before.
    pub has_past: bool,
}

/// A refusal that was decided before the ledger was asked, in the words of whoever decided it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: u16,
    pub details: String,
}

/// Why there is no outcome.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExecuteError {
    #[error("the queue of commands is full")]
    Overloaded,
    #[error("the same idempotency key came with other parameters before")]
    IdempotencyMismatch,
    /// Nothing was done.
    #[error("the ledger is not available: {0}")]
    Unavailable(String),
    /// The database went away at the wrong moment and stayed away: whether it is done, a repetition will tell.
    #[error("whether this was done is not known: {0}")]
    Unknown(String),
    /// The keys it came with don't do: so many are needed, made by this generator as it is now. Nothing was done.
    #[error("so many keys were taken meanwhile that the command has to be tried again")]
    Again { generator: i64, wanted: i64 },
    #[error("the event would be larger than an entry may be")]
    TooLarge,
    #[error("internal error: {0}")]
    Internal(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_survives_the_idempotency_record() {
        let receipt = Some(Receipt { position: 7, leaf_hash: LeafHash([0xab; 32]) });
        let outcome = Outcome { result: CommandResult::Activated, key_pair: Some(3), first_position: 7, events: 1, receipt };
        let text = serde_json::to_string(&outcome).unwrap();
        let hash = "ab".repeat(32);
        assert_eq!(
            text,
            format!(r#"{{"result":"activated","key_pair":3,"first_position":7,"events":1,"receipt":{{"position":7,"leaf_hash":"{hash}"}}}}"#)
        );
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
        for bad in ["ab", "zz", &"ab".repeat(33)] {
            assert!(LeafHash::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_record_from_before_there_were_receipts_has_none() {
        let record = r#"{"result":"activated","key_pair":3,"first_position":7,"events":1}"#;
        let outcome: Outcome = serde_json::from_str(record).unwrap();
        assert_eq!(outcome.receipt, None);
        assert_eq!(serde_json::to_string(&outcome).unwrap(), record);
    }
}
