//! What events are called where others subscribe to them, and which of their facts are not for everybody.

use cqrs_es::Aggregate;

use crate::delivery::Delivery;

/// The name that subscribers know an event by: what it concerns, a dot, what happened. `None` for what is no event of ours.
#[must_use]
pub fn public_name(event_type: &str) -> Option<&'static str> {
    NAMES.iter().find(|(known, _)| *known == event_type).map(|(_, name)| *name)
}

/// All names that subscribers can ask for.
pub fn public_names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(_, name)| *name)
}

/// Whether all events of such a stream that name a license name the same: a delivery names its own where it begins, and not again.
#[must_use]
pub fn keeps_its_license(aggregate_type: &str) -> bool {
    aggregate_type != Delivery::TYPE
}

/// Members of an event's payload that are license or contract keys.
#[must_use]
pub fn key_facts(event_type: &str) -> &'static [&'static str] {
    match event_type {
        "LicenseCreated" | "ContractCreated" | "ContractUpdated" => &["key"],
        "LicenseKeyReplaced" => &["from", "key"],
        _ => &[],
    }
}

/// The most frequent ones first: the list is searched from its start.
const NAMES: &[(&str, &str)] = &[
    ("LicenseActivated", "license.activated"),
    ("LicenseDeactivated", "license.deactivated"),
    ("LicenseCreated", "license.created"),
    ("LicenseAssigned", "license.assigned"),
    ("ActivationRefused", "activation.failed"),
    ("AccessRefused", "access.refused"),
    ("TelemetryRecorded", "telemetry.recorded"),
    ("LicenseReserved", "license.reserved"),
    ("LicenseBlocked", "license.blocked"),
    ("LicenseMadeAvailable", "license.made_available"),
    ("LicenseDeleted", "license.deleted"),
    ("LicenseKeyReplaced", "license.key_replaced"),
    ("LicenseProductChanged", "license.product_changed"),
    ("OwnerChanged", "license.owner_changed"),
    ("OwnerCleared", "license.owner_cleared"),
    ("ActivationLimitChanged", "license.activation_limit_changed"),
    ("ValidityChanged", "license.validity_changed"),
    ("AssignedAtChanged", "license.assigned_at_changed"),
    ("ActivationsEnded", "license.activations_ended"),
    ("LicenseMetaCreated", "license.meta_created"),
    ("LicenseMetaUpdated", "license.meta_updated"),
    ("LicenseMetaDeleted", "license.meta_deleted"),
    ("ReleaseDownloaded", "license.release_downloaded"),
    ("VerificationsCounted", "verification.counted"),
    ("StreamMapRecorded", "stream_map.recorded"),
    ("ProductCreated", "product.created"),
    ("ProductUpdated", "product.updated"),
    ("ProductMetaCreated", "product.meta_created"),
    ("ProductMetaUpdated", "product.meta_updated"),
    ("ProductMetaDeleted", "product.meta_deleted"),
    ("ProductSlugSet", "product.slug_set"),
    ("ProductSwitchesChanged", "product.switches_changed"),
    ("ProductKeyPairChanged", "product.key_pair_changed"),
    ("ProductDeleted", "product.deleted"),
    ("ContractCreated", "contract.created"),
    ("ContractUpdated", "contract.updated"),
    ("ContractDeleted", "contract.deleted"),
    ("ReleaseUploaded", "release.uploaded"),
    ("ReleaseUpdated", "release.updated"),
    ("ReleasePublished", "release.published"),
    ("ReleaseUnpublished", "release.unpublished"),
    ("ReleaseWithdrawn", "release.withdrawn"),
    ("GeneratorCreated", "generator.created"),
    ("GeneratorUpdated", "generator.updated"),
    ("GeneratorDeleted", "generator.deleted"),
    ("AssignmentJobQueued", "assignment_job.queued"),
    ("AssignmentJobFinished", "assignment_job.finished"),
    ("DeliveryQueued", "delivery.queued"),
    ("DeliveryStarted", "delivery.started"),
    ("DeliveryFailed", "delivery.failed"),
    ("DeliverySucceeded", "delivery.succeeded"),
    ("DeliveryGivenUp", "delivery.given_up"),
    ("DeliveryRetried", "delivery.retried"),
    ("TokenIssued", "download_token.issued"),
    ("TokenClaimed", "download_token.claimed"),
    ("TokenReleased", "download_token.released"),
    ("TokenUsed", "download_token.used"),
    ("EndpointCreated", "webhook_endpoint.created"),
    ("EndpointUpdated", "webhook_endpoint.updated"),
    ("EndpointSecretRotated", "webhook_endpoint.secret_rotated"),
    ("EndpointPaused", "webhook_endpoint.paused"),
    ("EndpointResumed", "webhook_endpoint.resumed"),
    ("EndpointReplayed", "webhook_endpoint.replayed"),
    ("EndpointDeleted", "webhook_endpoint.deleted"),
    ("ApiKeyCreated", "api_key.created"),
    ("ApiKeyDisabled", "api_key.disabled"),
    ("BlockAdded", "block.added"),
    ("BlockRemoved", "block.removed"),
    ("KeyPairCreated", "key_pair.created"),
    ("KeyPairRetired", "key_pair.retired"),
    ("SettingsChanged", "settings.changed"),
    ("SubjectForgotten", "subject.forgotten"),
    ("LedgerCreated", "ledger.created"),
];
