//! Every version of every event ever stored has a sample in `samples/`, which is never edited. It must decode, and the
//! current version must be written exactly so. A new event or version fails here until its sample is added.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use keyledger_events::{
    Event, Personal, Sealed, SubjectKind, Timestamp,
    api_key::*,
    assignment_job::*,
    block::*,
    contract::*,
    delivery::*,
    download_token::*,
    generator::*,
    key_pair::*,
    ledger::*,
    license::*,
    product::*,
    public::{key_facts, public_name, public_names},
    release::*,
    settings::*,
    stream_map::*,
    subject::*,
    telemetry::*,
    verification_count::*,
    webhook_endpoint::*,
};
use uuid::Uuid;

fn sealed() -> Personal {
    Personal::Sealed(Sealed {
        ciphertext: "c2VhbGVk".into(),
        commitment: "Y29tbWl0bWVudA==".into(),
        of: SubjectKind::Owner,
        subject: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
    })
}

/// One of every event; the `match` makes the compiler ask for a new one.
fn all() -> Vec<Event> {
    let at = Timestamp(1_732_388_528_829_115);
    let status = || StatusChanged { from: Status::Assigned, license: 1, personal: sealed(), product: 2 };
    let changed = || ValueChanged { from: 1, license: 1, personal: sealed(), product: 2, to: 5 };
    let meta = || LicenseMetaSet { key: "colour".into(), license: 1, meta: 3, personal: sealed(), product: 2 };
    let product_meta = || ProductMetaSet { key: "colour".into(), meta: 3, personal: sealed(), product: 2, value: "red".into() };
    let license = [
        LicenseEvent::LicenseCreated(LicenseCreated {
            activation_limit: 3,
            assigned_at: Some(at),
            contract: Some(5),
            job: Some(6),
            key: "3a343c8a-38fe-4b6e-ad77-2222222".into(),
            license: 1,
            owner: Some(4),
            personal: sealed(),
            product: 2,
            status: Status::Assigned,
            validity_days: 365,
        }),
        LicenseEvent::LicenseAssigned(LicenseAssigned {
            assigned_at: at,
            from: Status::Available,
            job: Some(6),
            license: 1,
            owner: Some(4),
            personal: sealed(),
            product: 2,
            with_owner: true,
        }),
        LicenseEvent::LicenseReserved(status()),
        LicenseEvent::LicenseBlocked(status()),
        LicenseEvent::LicenseMadeAvailable(status()),
        LicenseEvent::OwnerChanged(OwnerChanged { license: 1, owner: Some(4), personal: sealed(), product: 2 }),
        LicenseEvent::OwnerCleared(OwnerCleared { license: 1, personal: sealed(), product: 2 }),
        LicenseEvent::ActivationLimitChanged(changed()),
        LicenseEvent::ValidityChanged(changed()),
        LicenseEvent::AssignedAtChanged(AssignedAtChanged { from: None, license: 1, personal: sealed(), product: 2, to: at }),
        LicenseEvent::LicenseProductChanged(LicenseProductChanged { from: 2, license: 1, personal: sealed(), status: Status::Assigned, to: 9 }),
        LicenseEvent::LicenseActivated(LicenseActivated { activation: 6, active: 2, epoch: 0, license: 1, personal: sealed(), product: 2 }),
        LicenseEvent::LicenseDeactivated(LicenseDeactivated { activation: 6, active: 1, license: 1, personal: sealed(), product: 2 }),
        LicenseEvent::ActivationsEnded(ActivationsEnded { ended: 2, epoch: 1, license: 1, personal: sealed(), product: 2 }),
        LicenseEvent::ActivationRefused(ActivationRefused { active: 3, license: 1, limit: 3, personal: sealed(), product: 2 }),
        LicenseEvent::AccessRefused(AccessRefused { block: Some(8), license: 1, personal: sealed(), product: 2, reason: AccessRefusal::BlockListed }),
        LicenseEvent::LicenseMetaCreated(meta()),
        LicenseEvent::LicenseMetaUpdated(meta()),
        LicenseEvent::LicenseMetaDeleted(LicenseMetaDeleted { key: "colour".into(), license: 1, meta: 3, personal: sealed(), product: 2 }),
        LicenseEvent::LicenseKeyReplaced(LicenseKeyReplaced {
            from: "3a343c8a-38fe-4b6e-ad77-2222222".into(),
            key: "3a343c8a-38fe-4b6e-ad77-3333333".into(),
            license: 1,
            personal: sealed(),
            product: 2,
            replaced_at: at,
        }),
        LicenseEvent::ReleaseDownloaded(ReleaseDownloaded { license: 1, personal: sealed(), product: 2, release: 5 }),
        LicenseEvent::LicenseDeleted(LicenseDeleted { contract: Some(5), from: Status::Assigned, license: 1, personal: sealed(), product: 2 }),
    ];
    let product = [
        ProductEvent::ProductCreated(ProductCreated {
            description: "Desktop operating system".into(),
            external_reference: "4444".into(),
            key_pair: Some(2),
            name: "Doors".into(),
            personal: sealed(),
            post_url: "https://vendor.example/receive".into(),
            product: 2,
            require_non_expired: true,
            source: Source::Internal,
            status: ProductStatus::Active,
        }),
        ProductEvent::ProductUpdated(ProductUpdated {
            description: "Desktop operating system".into(),
            external_reference: String::new(),
            name: "Doors 2".into(),
            personal: sealed(),
            post_url: String::new(),
            product: 2,
            require_non_expired: false,
            source: Source::Envato,
            status: ProductStatus::Inactive,
        }),
        ProductEvent::ProductMetaCreated(product_meta()),
        ProductEvent::ProductMetaUpdated(product_meta()),
        ProductEvent::ProductMetaDeleted(ProductMetaDeleted { key: "colour".into(), meta: 3, personal: sealed(), product: 2 }),
        ProductEvent::ProductSlugSet(ProductSlugSet { personal: sealed(), product: 2, slug: "doors-2".into() }),
        ProductEvent::ProductSwitchesChanged(ProductSwitchesChanged { api_download: false, changelog: true, personal: sealed(), product: 2 }),
        ProductEvent::ProductKeyPairChanged(ProductKeyPairChanged { from: None, personal: sealed(), product: 2, to: 3 }),
        ProductEvent::ProductDeleted(ProductDeleted { personal: sealed(), product: 2 }),
    ];
    let api_key = [
        ApiKeyEvent::ApiKeyCreated(ApiKeyCreated {
            allow_ips: vec!["192.0.2.0/24".into()],
            api_key: 1,
            bootstrap: false,
            capabilities: vec!["verify".into(), "activate".into()],
            expires_at: Some(at),
            name: "shop".into(),
            personal: sealed(),
        }),
        ApiKeyEvent::ApiKeyDisabled(ApiKeyDisabled { api_key: 1, personal: sealed() }),
    ];
    let block = [
        BlockEvent::BlockAdded(BlockAdded { block: 1, kind: BlockKind::Identifier, personal: sealed() }),
        BlockEvent::BlockRemoved(BlockRemoved { block: 1, personal: sealed() }),
    ];
    let release = [
        ReleaseEvent::ReleaseUploaded(ReleaseUploaded {
            changelog: "Minor bug fixes".into(),
            content_type: "application/zip".into(),
            file_name: "doors-1.0.2.zip".into(),
            numeric_version: 102,
            object: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002),
            personal: sealed(),
            product: 2,
            release: 5,
            sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".into(),
            size: 1_048_576,
            update_summary: "Bugfixes".into(),
            version: "1.0.2".into(),
        }),
        ReleaseEvent::ReleaseUpdated(ReleaseUpdated {
            changelog: "More bug fixes".into(),
            personal: sealed(),
            product: 2,
            release: 5,
            update_summary: "Bugfixes".into(),
        }),
        ReleaseEvent::ReleasePublished(ReleasePublished { personal: sealed(), product: 2, release: 5, release_date: at }),
        ReleaseEvent::ReleaseUnpublished(ReleaseUnpublished { personal: sealed(), product: 2, release: 5 }),
        ReleaseEvent::ReleaseWithdrawn(ReleaseWithdrawn { personal: sealed(), product: 2, release: 5 }),
    ];
    let download_token = [
        DownloadTokenEvent::TokenIssued(TokenIssued {
            expires_at: at,
            hash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
            license: 1,
            personal: sealed(),
            product: 2,
            release: 5,
            token: 7,
        }),
        DownloadTokenEvent::TokenClaimed(TokenClaimed { claim: 1, license: 1, personal: sealed(), product: 2, token: 7, until: at }),
        DownloadTokenEvent::TokenReleased(TokenReleased { claim: 1, license: 1, personal: sealed(), product: 2, token: 7 }),
        DownloadTokenEvent::TokenUsed(TokenUsed { claim: 2, license: 1, personal: sealed(), product: 2, token: 7 }),
    ];
    let key_pair = KeyPairEvent::KeyPairCreated(KeyPairCreated {
        algorithm: "RSA-2048".into(),
        key_pair: 2,
        product: Some(2),
        public_key: "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n".into(),
    });
    let retired = KeyPairEvent::KeyPairRetired(KeyPairRetired { key_pair: 2, product: Some(2) });
    let settings = SettingsEvent::SettingsChanged(SettingsChanged { changelog: false, personal: sealed() });
    let telemetry = TelemetryEvent::TelemetryRecorded(TelemetryRecorded {
        data_group: Some("test_group".into()),
        data_type: Some("numeric-single-value".into()),
        is_correct_format: true,
        license: Some(1),
        personal: sealed(),
        product: Some(2),
        product_exists: true,
        product_version: Some("5.2.5".into()),
        product_version_exists: false,
        telemetry: 1,
    });
    let stream_map = StreamMapEvent::StreamMapRecorded(StreamMapRecorded { licenses: 3, root: "5d".repeat(32), size: 17 });
    let counted = VerificationCountEvent::VerificationsCounted(VerificationsCounted {
        counts: [("200".to_owned(), 41), ("205".to_owned(), 1), ("DOMAIN_MISMATCH".to_owned(), 2)].into(),
        minute: Timestamp(1_732_388_520_000_000),
        product: 2,
    });
    let ledger = LedgerEvent::LedgerCreated(LedgerCreated { format: "keyledger/1".into(), ledger_id: Uuid::from_u128(7) });
    let generator_set = || GeneratorSet {
        activation_limit: 1,
        active: true,
        generator: 3,
        personal: sealed(),
        product: 2,
        rule: KeyRule {
            charset: "0123456789ABCDEF".into(),
            chunk_length: 4,
            function_name: "pattern".into(),
            method: Method::ChunkSystem,
            number_of_chunks: 5,
            pattern: "KEY-####".into(),
            prefix: "P-".into(),
            suffix: "-S".into(),
        },
        validity_days: 365,
    };
    let generator = [
        GeneratorEvent::GeneratorCreated(generator_set()),
        GeneratorEvent::GeneratorUpdated(generator_set()),
        GeneratorEvent::GeneratorDeleted(GeneratorDeleted { generator: 3, personal: sealed(), product: 2 }),
    ];
    let contract_set = || ContractSet {
        active: true,
        can_destroy: true,
        can_destroy_all: false,
        can_generate: true,
        can_get_info: true,
        contract: 5,
        information: "Test information".into(),
        key: "6dabe9fa-3512-49b4-beb5-7f837b510ec3-1234".into(),
        license_keys_quantity: 65,
        name: "Test Contract".into(),
        personal: sealed(),
        product: 2,
    };
    let contract = [
        ContractEvent::ContractCreated(contract_set()),
        ContractEvent::ContractUpdated(contract_set()),
        ContractEvent::ContractDeleted(ContractDeleted { contract: 5, personal: sealed(), product: 2 }),
    ];
    let assignment_job = [
        AssignmentJobEvent::AssignmentJobQueued(AssignmentJobQueued {
            generate: true,
            job: 6,
            owner: Some(4),
            personal: sealed(),
            product: 2,
            quantity: 7,
        }),
        AssignmentJobEvent::AssignmentJobFinished(AssignmentJobFinished {
            assigned: 7,
            available: None,
            job: 6,
            personal: sealed(),
            product: 2,
            result: AssignmentResult::Assigned,
        }),
    ];
    let delivery = [
        DeliveryEvent::DeliveryQueued(DeliveryQueued {
            activation: Some(6),
            delivery: 9,
            job: None,
            kind: DeliveryKind::ProductActivationEnded,
            license: Some(1),
            personal: sealed(),
            product: 2,
        }),
        DeliveryEvent::DeliveryStarted(DeliveryStarted { attempt: 1, delivery: 9, personal: sealed(), until: at }),
        DeliveryEvent::DeliveryFailed(DeliveryFailed {
            attempt: 1,
            delivery: 9,
            error: "status".into(),
            next_attempt_at: at,
            personal: sealed(),
            status: Some(503),
        }),
        DeliveryEvent::DeliverySucceeded(DeliverySucceeded { attempt: 2, delivery: 9, personal: sealed(), status: 200 }),
        DeliveryEvent::DeliveryGivenUp(DeliveryGivenUp { attempt: 12, delivery: 9, error: "timed_out".into(), personal: sealed(), status: None }),
        DeliveryEvent::DeliveryRetried(DeliveryRetried { delivery: 9, personal: sealed() }),
    ];
    let endpoint_fields = || EndpointFields {
        filter: WantedEvents { license: Some(1), product: Some(2), types: vec!["license.*".into(), "activation.failed".into()] },
        license_keys: true,
        personal_data: false,
        url: "https://vendor.example/hook".into(),
    };
    let webhook_endpoint = [
        WebhookEndpointEvent::EndpointCreated(EndpointCreated {
            after: 17,
            endpoint: 4,
            fields: endpoint_fields(),
            personal: sealed(),
            salt: "c2FsdA".into(),
        }),
        WebhookEndpointEvent::EndpointUpdated(EndpointUpdated { endpoint: 4, fields: endpoint_fields(), personal: sealed() }),
        WebhookEndpointEvent::EndpointSecretRotated(EndpointSecretRotated { endpoint: 4, old_until: at, personal: sealed(), salt: "c2FsdDI".into() }),
        WebhookEndpointEvent::EndpointPaused(EndpointPaused { endpoint: 4, personal: sealed(), position: Some(21), reason: PauseReason::Failing }),
        WebhookEndpointEvent::EndpointResumed(EndpointResumed { endpoint: 4, personal: sealed() }),
        WebhookEndpointEvent::EndpointReplayed(EndpointReplayed { after: -1, endpoint: 4, personal: sealed() }),
        WebhookEndpointEvent::EndpointDeleted(EndpointDeleted { endpoint: 4, personal: sealed() }),
    ];
    let forgotten = SubjectEvent::SubjectForgotten(SubjectForgotten { kind: SubjectKind::Owner, number: 4, subject: Uuid::from_u128(7) });
    let mut events: Vec<Event> = Vec::new();
    events.extend(license.map(Event::License));
    events.extend(product.map(Event::Product));
    events.extend(api_key.map(Event::ApiKey));
    events.extend(block.map(Event::Block));
    events.extend(generator.map(Event::Generator));
    events.extend(contract.map(Event::Contract));
    events.extend(assignment_job.map(Event::AssignmentJob));
    events.extend(delivery.map(Event::Delivery));
    events.extend(webhook_endpoint.map(Event::WebhookEndpoint));
    events.extend([Event::KeyPair(key_pair), Event::KeyPair(retired), Event::Ledger(ledger)]);
    events.extend([Event::Settings(settings), Event::Telemetry(telemetry), Event::StreamMap(stream_map)]);
    events.push(Event::VerificationCount(counted));
    events.extend(release.map(Event::Release));
    events.extend(download_token.map(Event::DownloadToken));
    events.push(Event::Subject(forgotten));
    events
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples")
}

/// `LicenseActivated` 1.0 is `license_activated.v1.json`; the aggregate's folder keeps them apart.
fn file_name(event: &Event) -> String {
    let mut name = String::new();
    for letter in event.event_type().chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    let major = event.event_version().split('.').next().unwrap();
    format!("{}/{name}.v{major}.json", event.aggregate_type())
}

#[test]
fn every_event_is_stored_as_its_sample() {
    for event in all() {
        let path = folder().join(file_name(&event));
        let payload = event.payload().unwrap();
        if std::env::var_os("KEYLEDGER_NEW_SAMPLES").is_some() && !path.exists() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, format!("{payload}\n")).unwrap();
        }
        let sample = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(payload, sample.trim_end(), "{} changed its stored form: that takes a new version", event.event_type());
    }
}

#[test]
fn every_sample_decodes() {
    let mut types = BTreeSet::new();
    for aggregate in std::fs::read_dir(folder()).unwrap() {
        let aggregate = aggregate.unwrap().path();
        for sample in std::fs::read_dir(&aggregate).unwrap() {
            let path = sample.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            let event_type = value.as_object().unwrap().keys().next().unwrap().clone();
            let aggregate_type = aggregate.file_name().unwrap().to_str().unwrap();
            let major = path.file_stem().unwrap().to_str().unwrap().rsplit_once(".v").unwrap().1.to_owned();
            let event = Event::decode(aggregate_type, &event_type, &format!("{major}.0"), text.trim_end())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            types.insert(event.event_type());
        }
    }
    let known: BTreeSet<&str> = all().iter().map(Event::event_type).collect();
    assert_eq!(types, known);
}

#[test]
fn every_event_type_is_among_the_samples() {
    // The enums list their variants in `domain_event!`; the source is the list that can't be forgotten.
    let sources = [
        "license/event.rs",
        "product/event.rs",
        "api_key/mod.rs",
        "block/mod.rs",
        "key_pair/mod.rs",
        "ledger/mod.rs",
        "settings/mod.rs",
        "telemetry/mod.rs",
        "release/mod.rs",
        "download_token/mod.rs",
        "generator/mod.rs",
        "contract/mod.rs",
        "assignment_job/mod.rs",
        "delivery/mod.rs",
        "stream_map/mod.rs",
        "subject/mod.rs",
        "verification_count/mod.rs",
        "webhook_endpoint/mod.rs",
    ];
    let mut declared = BTreeSet::new();
    for source in sources {
        let text = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src").join(source)).unwrap();
        let (_, list) = text.split_once("domain_event!(").unwrap();
        let (_, list) = list.split_once('{').unwrap();
        let (list, _) = list.split_once('}').unwrap();
        declared.extend(list.split(',').filter_map(|entry| entry.split_whitespace().next()).map(str::to_owned));
    }
    let sampled: BTreeSet<String> = all().iter().map(|event| event.event_type().to_owned()).collect();
    assert_eq!(declared, sampled);
}

#[test]
fn a_payload_of_another_type_or_version_is_refused() {
    let event = all().remove(0);
    let payload = event.payload().unwrap();
    assert!(Event::decode("license", "LicenseDeleted", "1.0", &payload).is_err());
    assert!(Event::decode("license", "LicenseCreated", "9.0", &payload).is_err());
    assert!(Event::decode("product", "LicenseCreated", "1.0", &payload).is_err());
    assert!(Event::decode("future", "LicenseCreated", "1.0", &payload).is_err());
    assert!(Event::decode("license", "LicenseCreated", "1.0", "{").is_err());
}

/// Subscribers know every event by a name of its own.
#[test]
fn every_event_has_a_public_name() {
    let names: BTreeSet<&str> = all().iter().map(|event| public_name(event.event_type()).unwrap()).collect();
    assert_eq!(names.len(), all().iter().map(Event::event_type).collect::<BTreeSet<_>>().len());
    assert_eq!(names, public_names().collect());
    assert_eq!(public_name("NothingOfOurs"), None);
}

/// Whoever shows events to those who may not see keys learns from [`key_facts`] where they are.
#[test]
fn every_key_is_among_the_facts_that_are_keys() {
    for event in all() {
        let payload: serde_json::Value = serde_json::from_str(&event.payload().unwrap()).unwrap();
        for (name, fact) in payload[event.event_type()].as_object().unwrap() {
            let is_key = fact.as_str().is_some_and(|fact| fact.starts_with("3a343c8a") || fact.starts_with("6dabe9fa"));
            assert_eq!(is_key, key_facts(event.event_type()).contains(&name.as_str()), "{name} of {}", event.event_type());
        }
    }
}
