//! All events of all aggregates as one type, and how the log's rows become it.

use cqrs_es::{Aggregate, DomainEvent};
use serde::de::DeserializeOwned;

use crate::{
    Personal,
    api_key::{ApiKey, ApiKeyEvent},
    assignment_job::{AssignmentJob, AssignmentJobEvent},
    block::{Block, BlockEvent},
    contract::{Contract, ContractEvent},
    delivery::{Delivery, DeliveryEvent},
    download_token::{DownloadTokenAggregate, DownloadTokenEvent},
    generator::{Generator, GeneratorEvent},
    key_pair::{KeyPair, KeyPairEvent},
    ledger::{Ledger, LedgerEvent},
    license::{LicenseAggregate, LicenseEvent},
    product::{ProductAggregate, ProductEvent},
    release::{ReleaseAggregate, ReleaseEvent},
    settings::{Settings, SettingsEvent},
    stream_map::{StreamMap, StreamMapEvent},
    subject::{SubjectAggregate, SubjectEvent},
    telemetry::{Telemetry, TelemetryEvent},
    verification_count::{VerificationCount, VerificationCountEvent},
    webhook_endpoint::{WebhookEndpoint, WebhookEndpointEvent},
};

/// The names of types of streams, for those who read single streams.
pub mod aggregate_type {
    use cqrs_es::Aggregate;

    pub const API_KEY: &str = super::ApiKey::TYPE;
    pub const BLOCK: &str = super::Block::TYPE;
    pub const CONTRACT: &str = super::Contract::TYPE;
    pub const KEY_PAIR: &str = super::KeyPair::TYPE;
    pub const LICENSE: &str = super::LicenseAggregate::TYPE;
    pub const PRODUCT: &str = super::ProductAggregate::TYPE;
}

/// An event of any aggregate.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Ledger(LedgerEvent),
    KeyPair(KeyPairEvent),
    ApiKey(ApiKeyEvent),
    Block(BlockEvent),
    Product(ProductEvent),
    License(LicenseEvent),
    Settings(SettingsEvent),
    Telemetry(TelemetryEvent),
    Release(ReleaseEvent),
    DownloadToken(DownloadTokenEvent),
    Generator(GeneratorEvent),
    Contract(ContractEvent),
    AssignmentJob(AssignmentJobEvent),
    Delivery(DeliveryEvent),
    WebhookEndpoint(WebhookEndpointEvent),
    StreamMap(StreamMapEvent),
    Subject(SubjectEvent),
    VerificationCount(VerificationCountEvent),
}

/// Why a stored event could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("unknown aggregate type {0:?}")]
    AggregateType(String),
    #[error("unknown version {version:?} of {event_type}")]
    Version { event_type: String, version: String },
    #[error("the payload is not a {event_type}")]
    Payload {
        event_type: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("the row says {row}, its payload says {payload}")]
    TypeMismatch { row: String, payload: String },
}

impl Event {
    /// Reads a stored payload.
    ///
    /// # Errors
    /// When the type or version is unknown, or the payload is not what its type says.
    pub fn decode(aggregate_type: &str, event_type: &str, event_version: &str, payload: &str) -> Result<Self, DecodeError> {
        fn read<E: DomainEvent + DeserializeOwned>(event_type: &str, event_version: &str, payload: &str) -> Result<E, DecodeError> {
            let not_a_payload = |source| DecodeError::Payload { event_type: event_type.to_owned(), source };
            let upcast = crate::upcast::upcast(event_type, event_version, payload).map_err(not_a_payload)?;
            let (event_version, payload) = upcast.as_ref().map_or((event_version, payload), |(version, payload)| (version, payload));
            let event: E = serde_json::from_str(payload).map_err(not_a_payload)?;
            if event.event_type() != event_type {
                return Err(DecodeError::TypeMismatch { row: event_type.to_owned(), payload: event.event_type() });
            }
            if event.event_version() != event_version {
                return Err(DecodeError::Version { event_type: event_type.to_owned(), version: event_version.to_owned() });
            }
            Ok(event)
        }
        Ok(match aggregate_type {
            LicenseAggregate::TYPE => Self::License(read(event_type, event_version, payload)?),
            ProductAggregate::TYPE => Self::Product(read(event_type, event_version, payload)?),
            ApiKey::TYPE => Self::ApiKey(read(event_type, event_version, payload)?),
            Block::TYPE => Self::Block(read(event_type, event_version, payload)?),
            KeyPair::TYPE => Self::KeyPair(read(event_type, event_version, payload)?),
            Telemetry::TYPE => Self::Telemetry(read(event_type, event_version, payload)?),
            Settings::TYPE => Self::Settings(read(event_type, event_version, payload)?),
            ReleaseAggregate::TYPE => Self::Release(read(event_type, event_version, payload)?),
            DownloadTokenAggregate::TYPE => Self::DownloadToken(read(event_type, event_version, payload)?),
            Ledger::TYPE => Self::Ledger(read(event_type, event_version, payload)?),
            Generator::TYPE => Self::Generator(read(event_type, event_version, payload)?),
            Contract::TYPE => Self::Contract(read(event_type, event_version, payload)?),
            AssignmentJob::TYPE => Self::AssignmentJob(read(event_type, event_version, payload)?),
            Delivery::TYPE => Self::Delivery(read(event_type, event_version, payload)?),
            WebhookEndpoint::TYPE => Self::WebhookEndpoint(read(event_type, event_version, payload)?),
            StreamMap::TYPE => Self::StreamMap(read(event_type, event_version, payload)?),
            SubjectAggregate::TYPE => Self::Subject(read(event_type, event_version, payload)?),
            VerificationCount::TYPE => Self::VerificationCount(read(event_type, event_version, payload)?),
            other => return Err(DecodeError::AggregateType(other.to_owned())),
        })
    }

    #[must_use]
    pub fn aggregate_type(&self) -> &'static str {
        match self {
            Self::Ledger(_) => Ledger::TYPE,
            Self::KeyPair(_) => KeyPair::TYPE,
            Self::ApiKey(_) => ApiKey::TYPE,
            Self::Block(_) => Block::TYPE,
            Self::Product(_) => ProductAggregate::TYPE,
            Self::License(_) => LicenseAggregate::TYPE,
            Self::Settings(_) => Settings::TYPE,
            Self::Telemetry(_) => Telemetry::TYPE,
            Self::Release(_) => ReleaseAggregate::TYPE,
            Self::DownloadToken(_) => DownloadTokenAggregate::TYPE,
            Self::Generator(_) => Generator::TYPE,
            Self::Contract(_) => Contract::TYPE,
            Self::AssignmentJob(_) => AssignmentJob::TYPE,
            Self::Delivery(_) => Delivery::TYPE,
            Self::WebhookEndpoint(_) => WebhookEndpoint::TYPE,
            Self::StreamMap(_) => StreamMap::TYPE,
            Self::Subject(_) => SubjectAggregate::TYPE,
            Self::VerificationCount(_) => VerificationCount::TYPE,
        }
    }

    #[must_use]
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::Ledger(event) => event.name(),
            Self::KeyPair(event) => event.name(),
            Self::ApiKey(event) => event.name(),
            Self::Block(event) => event.name(),
            Self::Product(event) => event.name(),
            Self::License(event) => event.name(),
            Self::Settings(event) => event.name(),
            Self::Telemetry(event) => event.name(),
            Self::Release(event) => event.name(),
            Self::DownloadToken(event) => event.name(),
            Self::Generator(event) => event.name(),
            Self::Contract(event) => event.name(),
            Self::AssignmentJob(event) => event.name(),
            Self::Delivery(event) => event.name(),
            Self::WebhookEndpoint(event) => event.name(),
            Self::StreamMap(event) => event.name(),
            Self::Subject(event) => event.name(),
            Self::VerificationCount(event) => event.name(),
        }
    }

    #[must_use]
    pub fn event_version(&self) -> &'static str {
        match self {
            Self::Ledger(event) => event.version(),
            Self::KeyPair(event) => event.version(),
            Self::ApiKey(event) => event.version(),
            Self::Block(event) => event.version(),
            Self::Product(event) => event.version(),
            Self::License(event) => event.version(),
            Self::Settings(event) => event.version(),
            Self::Telemetry(event) => event.version(),
            Self::Release(event) => event.version(),
            Self::DownloadToken(event) => event.version(),
            Self::Generator(event) => event.version(),
            Self::Contract(event) => event.version(),
            Self::AssignmentJob(event) => event.version(),
            Self::Delivery(event) => event.version(),
            Self::WebhookEndpoint(event) => event.version(),
            Self::StreamMap(event) => event.version(),
            Self::Subject(event) => event.version(),
            Self::VerificationCount(event) => event.version(),
        }
    }

    /// The stored payload, canonical.
    ///
    /// # Errors
    /// When personal data is still open.
    pub fn payload(&self) -> Result<String, serde_json::Error> {
        use crate::envelope::canonical_json as json;
        match self {
            Self::Ledger(event) => json(event),
            Self::KeyPair(event) => json(event),
            Self::ApiKey(event) => json(event),
            Self::Block(event) => json(event),
            Self::Product(event) => json(event),
            Self::License(event) => json(event),
            Self::Settings(event) => json(event),
            Self::Telemetry(event) => json(event),
            Self::Release(event) => json(event),
            Self::DownloadToken(event) => json(event),
            Self::Generator(event) => json(event),
            Self::Contract(event) => json(event),
            Self::AssignmentJob(event) => json(event),
            Self::Delivery(event) => json(event),
            Self::WebhookEndpoint(event) => json(event),
            Self::StreamMap(event) => json(event),
            Self::Subject(event) => json(event),
            Self::VerificationCount(event) => json(event),
        }
    }

    /// The event's personal part, where its type has one.
    #[must_use]
    pub fn personal(&self) -> Option<&Personal> {
        match self {
            Self::Ledger(_) | Self::KeyPair(_) | Self::StreamMap(_) | Self::Subject(_) | Self::VerificationCount(_) => None,
            Self::ApiKey(event) => Some(event.personal()),
            Self::Block(event) => Some(event.personal()),
            Self::Product(event) => Some(event.personal()),
            Self::License(event) => Some(event.personal()),
            Self::Settings(event) => Some(event.personal()),
            Self::Telemetry(event) => Some(event.personal()),
            Self::Release(event) => Some(event.personal()),
            Self::DownloadToken(event) => Some(event.personal()),
            Self::Generator(event) => Some(event.personal()),
            Self::Contract(event) => Some(event.personal()),
            Self::AssignmentJob(event) => Some(event.personal()),
            Self::Delivery(event) => Some(event.personal()),
            Self::WebhookEndpoint(event) => Some(event.personal()),
        }
    }

    /// As [`Self::personal`], to seal or open it in place.
    pub fn personal_mut(&mut self) -> Option<&mut Personal> {
        match self {
            Self::Ledger(_) | Self::KeyPair(_) | Self::StreamMap(_) | Self::Subject(_) | Self::VerificationCount(_) => None,
            Self::ApiKey(event) => Some(event.personal_mut()),
            Self::Block(event) => Some(event.personal_mut()),
            Self::Product(event) => Some(event.personal_mut()),
            Self::License(event) => Some(event.personal_mut()),
            Self::Settings(event) => Some(event.personal_mut()),
            Self::Telemetry(event) => Some(event.personal_mut()),
            Self::Release(event) => Some(event.personal_mut()),
            Self::DownloadToken(event) => Some(event.personal_mut()),
            Self::Generator(event) => Some(event.personal_mut()),
            Self::Contract(event) => Some(event.personal_mut()),
            Self::AssignmentJob(event) => Some(event.personal_mut()),
            Self::Delivery(event) => Some(event.personal_mut()),
            Self::WebhookEndpoint(event) => Some(event.personal_mut()),
        }
    }
}
