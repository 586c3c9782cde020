//! One row: the number that each kind of thing gets next, and how often keys and blocks changed (so that a server
//! notices with one look that its cached ones are old).

use keyledger_events::{
    Event, Numbers, Recorded, assignment_job::AssignmentJobEvent, contract::ContractEvent, delivery::DeliveryEvent,
    download_token::DownloadTokenEvent, generator::GeneratorEvent, license::LicenseEvent, product::ProductEvent, release::ReleaseEvent,
    webhook_endpoint::WebhookEndpointEvent,
};

use crate::{Column, ColumnType as Type, FoldError, ReadError, Value, Values};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountersRow {
    pub next: Numbers,
    pub access_changes: i64,
    /// Web hook endpoints that are not deleted.
    pub webhook_endpoints: i64,
}

impl CountersRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "id", ty: Type::Int },
        Column { name: "next_license", ty: Type::Int },
        Column { name: "next_activation", ty: Type::Int },
        Column { name: "next_license_meta", ty: Type::Int },
        Column { name: "next_product", ty: Type::Int },
        Column { name: "next_product_meta", ty: Type::Int },
        Column { name: "next_owner", ty: Type::Int },
        Column { name: "next_api_key", ty: Type::Int },
        Column { name: "next_block", ty: Type::Int },
        Column { name: "next_key_pair", ty: Type::Int },
        Column { name: "next_telemetry", ty: Type::Int },
        Column { name: "next_release", ty: Type::Int },
        Column { name: "next_download_token", ty: Type::Int },
        Column { name: "next_generator", ty: Type::Int },
        Column { name: "next_contract", ty: Type::Int },
        Column { name: "next_assignment_job", ty: Type::Int },
        Column { name: "next_delivery", ty: Type::Int },
        Column { name: "next_webhook_endpoint", ty: Type::Int },
        Column { name: "access_changes", ty: Type::Int },
        Column { name: "webhook_endpoints", ty: Type::Int },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        1
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        let next = &self.next;
        vec![
            1.into(),
            next.license.into(),
            next.activation.into(),
            next.license_meta.into(),
            next.product.into(),
            next.product_meta.into(),
            next.owner.into(),
            next.api_key.into(),
            next.block.into(),
            next.key_pair.into(),
            next.telemetry.into(),
            next.release.into(),
            next.download_token.into(),
            next.generator.into(),
            next.contract.into(),
            next.assignment_job.into(),
            next.delivery.into(),
            next.webhook_endpoint.into(),
            self.access_changes.into(),
            self.webhook_endpoints.into(),
        ]
    }

    /// # Errors
    /// When a column holds what it can't.
    pub fn read(values: &mut Values) -> Result<Self, ReadError> {
        values.only_row()?;
        let next = Numbers {
            license: values.int()?,
            activation: values.int()?,
            license_meta: values.int()?,
            product: values.int()?,
            product_meta: values.int()?,
            owner: values.int()?,
            api_key: values.int()?,
            block: values.int()?,
            key_pair: values.int()?,
            telemetry: values.int()?,
            release: values.int()?,
            download_token: values.int()?,
            generator: values.int()?,
            contract: values.int()?,
            assignment_job: values.int()?,
            delivery: values.int()?,
            webhook_endpoint: values.int()?,
        };
        Ok(Self { next, access_changes: values.int()?, webhook_endpoints: values.int()? })
    }

    /// # Errors
    /// Never; the signature is every projection's.
    pub fn fold(_: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        fn used(next: &mut i64, number: i64) {
            *next = (*next).max(number + 1);
        }
        let mut row = row.unwrap_or_default();
        let next = &mut row.next;
        match &recorded.event {
            Event::Ledger(_)
            | Event::KeyPair(keyledger_events::key_pair::KeyPairEvent::KeyPairRetired(_))
            | Event::Settings(_)
            | Event::StreamMap(_)
            | Event::VerificationCount(_) => {}
            Event::Telemetry(keyledger_events::telemetry::TelemetryEvent::TelemetryRecorded(event)) => used(&mut next.telemetry, event.telemetry),
            Event::KeyPair(keyledger_events::key_pair::KeyPairEvent::KeyPairCreated(event)) => used(&mut next.key_pair, event.key_pair),
            Event::ApiKey(event) => {
                row.access_changes += 1;
                if let keyledger_events::api_key::ApiKeyEvent::ApiKeyCreated(event) = event {
                    used(&mut next.api_key, event.api_key);
                }
            }
            Event::Subject(_) => row.access_changes += 1,
            Event::Block(event) => {
                row.access_changes += 1;
                if let keyledger_events::block::BlockEvent::BlockAdded(event) = event {
                    used(&mut next.block, event.block);
                }
            }
            Event::Release(event) => {
                if let ReleaseEvent::ReleaseUploaded(event) = event {
                    used(&mut next.release, event.release);
                }
            }
            Event::DownloadToken(event) => {
                if let DownloadTokenEvent::TokenIssued(event) = event {
                    used(&mut next.download_token, event.token);
                }
            }
            Event::Product(event) => match event {
                ProductEvent::ProductCreated(event) => used(&mut next.product, event.product),
                ProductEvent::ProductMetaCreated(event) => used(&mut next.product_meta, event.meta),
                ProductEvent::ProductUpdated(_)
                | ProductEvent::ProductMetaUpdated(_)
                | ProductEvent::ProductMetaDeleted(_)
                | ProductEvent::ProductSlugSet(_)
                | ProductEvent::ProductSwitchesChanged(_)
                | ProductEvent::ProductKeyPairChanged(_)
                | ProductEvent::ProductDeleted(_) => {}
            },
            Event::Generator(event) => match event {
                GeneratorEvent::GeneratorCreated(event) => used(&mut next.generator, event.generator),
                GeneratorEvent::GeneratorUpdated(_) | GeneratorEvent::GeneratorDeleted(_) => {}
            },
            Event::Contract(event) => match event {
                ContractEvent::ContractCreated(event) => used(&mut next.contract, event.contract),
                ContractEvent::ContractUpdated(_) | ContractEvent::ContractDeleted(_) => {}
            },
            Event::AssignmentJob(event) => match event {
                AssignmentJobEvent::AssignmentJobQueued(event) => {
                    used(&mut next.assignment_job, event.job);
                    event.owner.into_iter().for_each(|owner| used(&mut next.owner, owner));
                }
                AssignmentJobEvent::AssignmentJobFinished(_) => {}
            },
            Event::Delivery(event) => {
                if let DeliveryEvent::DeliveryQueued(event) = event {
                    used(&mut next.delivery, event.delivery);
                }
            }
            Event::WebhookEndpoint(event) => match event {
                WebhookEndpointEvent::EndpointCreated(event) => {
                    used(&mut next.webhook_endpoint, event.endpoint);
                    row.webhook_endpoints += 1;
                }
                WebhookEndpointEvent::EndpointDeleted(_) => row.webhook_endpoints -= 1,
                WebhookEndpointEvent::EndpointUpdated(_)
                | WebhookEndpointEvent::EndpointSecretRotated(_)
                | WebhookEndpointEvent::EndpointPaused(_)
                | WebhookEndpointEvent::EndpointResumed(_)
                | WebhookEndpointEvent::EndpointReplayed(_) => {}
            },
            Event::License(event) => {
                match event {
                    LicenseEvent::LicenseCreated(event) => {
                        used(&mut next.license, event.license);
                        event.owner
                    }
                    LicenseEvent::LicenseAssigned(event) => event.owner,
                    LicenseEvent::OwnerChanged(event) => event.owner,
                    LicenseEvent::LicenseActivated(event) => {
                        used(&mut next.activation, event.activation);
                        None
                    }
                    LicenseEvent::LicenseMetaCreated(event) => {
                        used(&mut next.license_meta, event.meta);
                        None
                    }
                    LicenseEvent::LicenseReserved(_)
                    | LicenseEvent::LicenseBlocked(_)
                    | LicenseEvent::LicenseMadeAvailable(_)
                    | LicenseEvent::OwnerCleared(_)
                    | LicenseEvent::ActivationLimitChanged(_)
                    | LicenseEvent::ValidityChanged(_)
                    | LicenseEvent::AssignedAtChanged(_)
                    | LicenseEvent::LicenseProductChanged(_)
                    | LicenseEvent::LicenseDeactivated(_)
                    | LicenseEvent::ActivationsEnded(_)
                    | LicenseEvent::ActivationRefused(_)
                    | LicenseEvent::AccessRefused(_)
                    | LicenseEvent::LicenseMetaUpdated(_)
                    | LicenseEvent::LicenseMetaDeleted(_)
                    | LicenseEvent::LicenseKeyReplaced(_)
                    | LicenseEvent::ReleaseDownloaded(_)
                    | LicenseEvent::LicenseDeleted(_) => None,
                }
                .into_iter()
                .for_each(|owner| used(&mut next.owner, owner));
            }
        }
        Ok(Some(row))
    }
}
