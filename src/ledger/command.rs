//! What can be asked of the ledger. Commands hold parsed values.

use std::net::IpAddr;

use keyledger_events::{
    Timestamp,
    block::BlockKind,
    contract::ContractFields,
    delivery::DeliveryCommand,
    generator::{GeneratorFields, UpdateGenerator},
    license::{AccessRefusal, Status},
    product::{ProductFields, UpdateProduct},
    release::NewRelease,
    settings::ChangeSettings,
    stream_map::StreamMapRecorded,
    telemetry::Report,
    values::{Identifier, LicenseKey, MetaKey, Slug},
    verification_count::VerificationsCounted,
    webhook_endpoint::{EndpointFields, MaySend, WebhookEndpointCommand},
};
use uuid::Uuid;

pub use super::outcome::{AssignedLicense, CommandResult, ExecuteError, LeafHash, Outcome, Receipt, Refusal};

/// Licenses that one command may make, assign or delete: so many are written durably in half a second.
pub const LICENSES_MAX: usize = 10_000;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// An API key, by number.
    ApiKey(i64),
    /// Whoever has a license's key, by the license's number.
    License(i64),
    /// A contract, by number: whoever shows its key.
    Contract(i64),
    /// Someone at the command line.
    Operator,
    /// The server itself.
    System,
}

/// Where a command comes from; it ends up in the events' metadata, the address in their sealed part.
#[derive(Clone, Debug)]
pub struct Origin {
    pub actor: Actor,
    pub request_id: Uuid,
    pub client_ip: Option<IpAddr>,
    /// Which operation was asked for: an API key's capability, or a command of the command line.
    pub operation: Option<&'static str>,
    /// The account at the command line.
    pub operator: Option<String>,
    /// What an operator gives as the reason.
    pub reason: Option<String>,
}

impl Origin {
    /// The server's own doing.
    #[must_use]
    pub fn system() -> Self {
        Self { actor: Actor::System, request_id: crate::clock::new_id(), client_ip: None, operation: None, operator: None, reason: None }
    }

    /// Someone at the command line.
    #[must_use]
    pub fn operator() -> Self {
        Self { actor: Actor::Operator, ..Self::system() }
    }
}

/// An `Idempotency-Key` as the ledger compares it: keyed hashes, made with [`crate::vault::Vault::request_hash`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Of API key, path and idempotency key.
    pub id: Vec<u8>,
    /// Of the parameters.
    pub parameters: Vec<u8>,
}

/// One request to the executor.
#[derive(Clone, Debug)]
pub struct Request {
    pub command: Command,
    pub origin: Origin,
    pub idempotency: Option<Idempotency>,
}

/// The owner as a request gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerInput {
    pub name: Option<String>,
    pub email: Option<String>,
}

/// What an update of a license changes; what is `None` stays. An inner `None` clears.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LicenseChanges {
    pub product: Option<i64>,
    pub owner_name: Option<Option<String>>,
    pub owner_email: Option<Option<String>>,
    pub activation_limit: Option<i64>,
    pub validity_days: Option<i64>,
    pub status: Option<Status>,
    pub assigned_at: Option<Timestamp>,
}

/// A key pair made before the command is queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKeyPair {
    pub algorithm: String,
    /// SPKI, PEM.
    pub public_key: String,
    /// PKCS#8, sealed by the master key.
    pub sealed_private_key: Vec<u8>,
}

/// Keys made before the command is queued: by which generator, as it was then, and more than are wanted where some may be in
/// use already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supply {
    pub generator: i64,
    /// The last event of the generator that they were made by.
    pub sequence: i64,
    pub keys: Vec<LicenseKey>,
    /// There will be no more: too few of them are a refusal.
    pub is_last: bool,
}

/// Licenses to be assigned, those with the lowest numbers first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    pub product: i64,
    pub quantity: i64,
    /// Whether keys are generated where too few are available.
    pub generate: bool,
    pub owner: OwnerInput,
}

/// What concerns releases, and the tokens to download them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DistributionCommand {
    /// A release whose file is stored already.
    UploadRelease(NewRelease),
    /// What is `None` stays as it is.
    UpdateRelease {
        release: i64,
        update_summary: Option<String>,
        changelog: Option<String>,
    },
    PublishRelease {
        release: i64,
        /// Without one it is now.
        release_date: Option<Timestamp>,
    },
    UnpublishRelease {
        release: i64,
    },
    WithdrawRelease {
        release: i64,
    },
    /// A token for one download, if the license may be used and the release is published still.
    IssueDownloadToken {
        license: i64,
        release: i64,
        /// Keyed hash of the token's value, in hexadecimal.
        hash: String,
    },
    ClaimDownloadToken {
        token: i64,
        license: i64,
        release: i64,
    },
    RenewDownloadToken {
        token: i64,
        license: i64,
        claim: i64,
    },
    GiveBackDownloadToken {
        token: i64,
        license: i64,
        claim: i64,
    },
    /// The file was handed over: the token is used up, and the download counted.
    UseDownloadToken {
        token: i64,
        license: i64,
        release: i64,
        claim: i64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    CreateLicenses {
        keys: Vec<LicenseKey>,
        product: i64,
        owner: OwnerInput,
        activation_limit: i64,
        validity_days: i64,
        status: Status,
        assigned_at: Option<Timestamp>,
    },
    Assign {
        key: LicenseKey,
        owner: OwnerInput,
    },
    Activate {
        key: LicenseKey,
        identifier: Option<Identifier>,
        post_url: Option<String>,
    },
    /// Both or neither.
    AssignAndActivate {
        key: LicenseKey,
        owner: OwnerInput,
        identifier: Option<Identifier>,
        post_url: Option<String>,
    },
    Deactivate {
        key: LicenseKey,
        identifier: Option<Identifier>,
    },
    UpdateLicense {
        key: LicenseKey,
        changes: LicenseChanges,
    },
    DeleteLicense {
        key: LicenseKey,
    },
    CreateLicenseMeta {
        key: LicenseKey,
        identifier: Option<Identifier>,
        meta_key: Option<MetaKey>,
        value: Option<String>,
    },
    UpdateLicenseMeta {
        key: LicenseKey,
        identifier: Option<Identifier>,
        meta_key: Option<MetaKey>,
        value: Option<String>,
    },
    DeleteLicenseMeta {
        key: LicenseKey,
        identifier: Option<Identifier>,
        meta_key: Option<MetaKey>,
    },
    /// Has a license refused from here on.
    BlockLicense {
        key: LicenseKey,
    },
    /// Takes that back.
    UnblockLicense {
        key: LicenseKey,
        status: Option<Status>,
    },
    /// Gives a license another key string.
    ReplaceKey {
        key: LicenseKey,
        new_key: LicenseKey,
    },
    /// Adds a license whose purchase somebody else vouches for, assigned from the start.
    AddPurchased {
        key: LicenseKey,
        product: i64,
        /// The product's reference as it was looked up; it must still be its own.
        external_reference: String,
        owner: OwnerInput,
    },
    /// Note that a query was refused.
    RecordRefusal {
        key: LicenseKey,
        identifier: Option<Identifier>,
        reason: AccessRefusal,
        /// The entry of the block list that decided it.
        block: Option<i64>,
    },
    /// Count a download of a release that begins now, if the license may be used for it still.
    RecordDownload {
        key: LicenseKey,
        identifier: Option<Identifier>,
        release: i64,
    },
    Distribution(DistributionCommand),
    CreateProduct {
        fields: ProductFields,
        key_pair: Option<NewKeyPair>,
    },
    UpdateProduct {
        product: i64,
        update: UpdateProduct,
    },
    DeleteProduct {
        product: i64,
    },
    CreateProductMeta {
        product: i64,
        meta_key: Option<MetaKey>,
        value: Option<String>,
    },
    UpdateProductMeta {
        product: i64,
        meta_key: Option<MetaKey>,
        value: Option<String>,
    },
    DeleteProductMeta {
        product: i64,
        meta_key: Option<MetaKey>,
    },
    /// Fields, slug and switches of a product: all or none. What is `None` stays as it is.
    ChangeProduct {
        product: i64,
        update: UpdateProduct,
        slug: Option<Slug>,
        changelog: Option<bool>,
        api_download: Option<bool>,
    },
    SetProductSlug {
        product: i64,
        slug: Slug,
    },
    /// What is `None` stays as it is.
    SetProductSwitches {
        product: i64,
        changelog: Option<bool>,
        api_download: Option<bool>,
    },
    /// Gives a product another key pair.
    AddKeyPair {
        product: i64,
        key_pair: NewKeyPair,
        /// Whether it signs from here on.
        make_current: bool,
    },
    /// Has another of a product's key pairs sign.
    UseKeyPair {
        product: i64,
        key_pair: i64,
    },
    RetireKeyPair {
        key_pair: i64,
    },
    ChangeSettings(ChangeSettings),
    RecordStreamMap(StreamMapRecorded),
    RecordVerifications(VerificationsCounted),
    RecordTelemetry(Report),
    /// The ledger's first commands: its own first event, and the key pair that signs where no product's does.
    Found {
        global_key_pair: NewKeyPair,
    },
    CreateApiKey {
        name: String,
        capabilities: Vec<String>,
        allow_ips: Vec<String>,
        expires_at: Option<Timestamp>,
        /// Keyed hash of the key's value.
        hmac: Vec<u8>,
        /// What the value is made of ([`crate::vault::Vault::api_key_value`]), in Base64.
        salt: String,
    },
    DisableApiKey {
        number: i64,
    },
    /// Makes sure that the key of this hash exists with every capability, and that no earlier bootstrap key works.
    Bootstrap {
        hmac: Vec<u8>,
        holder: Option<i64>,
        earlier: Vec<i64>,
    },
    AddBlock {
        kind: BlockKind,
        value: String,
    },
    /// Takes an entry off the block list by its number.
    RemoveBlockEntry {
        block: i64,
    },
    /// Changes nothing: what a request's own parameters refuse is an outcome under its idempotency key like any other.
    Refuse {
        refusal: Refusal,
        key_pair: Option<i64>,
    },
    RemoveBlock {
        kind: BlockKind,
        value: String,
    },
    CreateGenerator {
        fields: GeneratorFields,
    },
    UpdateGenerator {
        generator: i64,
        update: UpdateGenerator,
    },
    DeleteGenerator {
        generator: i64,
    },
    /// Makes available licenses with generated keys.
    GenerateLicenses {
        generator: i64,
        quantity: i64,
        supply: Option<Supply>,
    },
    CreateContract {
        fields: ContractFields,
    },
    UpdateContract {
        contract: i64,
        fields: ContractFields,
    },
    DeleteContract {
        contract: i64,
    },
    /// Makes available licenses under a contract, with the first active generator of its product.
    GenerateForContract {
        contract: i64,
        quantity: i64,
        supply: Option<Supply>,
    },
    /// Deletes a license of a contract: of this one, or of whichever it has.
    DestroyContractLicense {
        contract: Option<i64>,
        key: LicenseKey,
    },
    /// Deletes the licenses of a contract up to a number, so many at a time.
    DestroyContractLicenses {
        contract: i64,
        up_to: i64,
    },
    /// Assigns available licenses; all or none.
    AssignAvailable {
        assignment: Assignment,
        supply: Option<Supply>,
    },
    /// Has that done later.
    QueueAssignment {
        assignment: Assignment,
        identifier: Option<String>,
        webhook_url: Option<String>,
    },
    /// Does it, and finishes the job: in one transaction, so once.
    RunJob {
        job: i64,
        /// As the job says.
        assignment: Assignment,
        supply: Option<Supply>,
    },
    /// Ends an activation from this side, and has those told who want to know.
    EndActivation {
        license: i64,
        activation: i64,
    },
    Delivery {
        delivery: i64,
        command: DeliveryCommand,
    },
    CreateWebhookEndpoint {
        fields: EndpointFields,
        may: MaySend,
        /// What the secret is made of ([`crate::vault::Vault::endpoint_secret`]).
        salt: String,
        /// It is told of the events behind this one; without it, of what comes.
        after: Option<i64>,
    },
    ChangeWebhookEndpoint {
        endpoint: i64,
        /// Only where this is the sequence of its last event.
        sequence: Option<i64>,
        command: WebhookEndpointCommand,
    },
}

impl Command {
    /// How much of a batch it takes: about as many as it has events or look-ups.
    #[must_use]
    pub fn weight(&self) -> usize {
        let of = |quantity: i64, supply: &Option<Supply>| {
            usize::try_from(quantity).unwrap_or(1).clamp(1, LICENSES_MAX) + supply.as_ref().map_or(0, |supply| supply.keys.len())
        };
        match self {
            Self::CreateLicenses { keys, .. } => keys.len().max(1),
            Self::GenerateLicenses { quantity, supply, .. } | Self::GenerateForContract { quantity, supply, .. } => of(*quantity, supply),
            Self::AssignAvailable { assignment, supply } | Self::RunJob { assignment, supply, .. } => of(assignment.quantity, supply),
            Self::DestroyContractLicenses { .. } => LICENSES_MAX,
            _ => 1,
        }
    }

    /// Gives it generated keys, where it is one that takes some.
    pub(super) fn supply_with(&mut self, new: Option<Supply>) {
        match self {
            Self::GenerateLicenses { supply, .. }
            | Self::GenerateForContract { supply, .. }
            | Self::AssignAvailable { supply, .. }
            | Self::RunJob { supply, .. } => *supply = new,
            _ => {}
        }
    }
}
