//! The one list of projections: which rows an event touches, and how each folds it.

use keyledger_events::{
    Event, Recorded, SubjectKind,
    api_key::ApiKeyEvent,
    assignment_job::AssignmentJobEvent,
    block::BlockEvent,
    contract::ContractEvent,
    delivery::DeliveryEvent,
    download_token::DownloadTokenEvent,
    generator::GeneratorEvent,
    key_pair::KeyPairEvent,
    license::LicenseEvent,
    product::{ProductEvent, ProductMetaDeleted, ProductMetaSet},
    release::ReleaseEvent,
    settings::SettingsEvent,
    stream_map::StreamMapEvent,
    subject::{SubjectEvent, SubjectForgotten},
    telemetry::TelemetryEvent,
    verification_count::VerificationCountEvent,
    webhook_endpoint::WebhookEndpointEvent,
};
use uuid::Uuid;

use crate::{
    ActivationRow, ApiKeyRow, AssignmentJobRow, BlockRow, Column, ContractCountRow, ContractRow, CountersRow, DeliveryRow, DownloadTokenRow,
    FoldError, GeneratorRow, KeyPairRow, LicenseCountRow, LicenseMetaRow, LicenseRow, ProductMetaRow, ProductRow, ReadError, ReleaseRow, SettingsRow,
    TelemetryRow, Value, Values, WebhookEndpointRow,
};

macro_rules! projections {
    ($($variant:ident: $row:ident, $name:literal version $version:literal;)+) => {
        /// A projection's table. Every table's first column is its integer primary key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Table { $($variant),+ }

        impl Table {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Counts up whenever the fold or the columns change: the rows are then rebuilt at start-up.
            #[must_use]
            pub fn version(self) -> i64 {
                match self { $(Self::$variant => $version),+ }
            }

            #[must_use]
            pub fn columns(self) -> &'static [Column] {
                match self { $(Self::$variant => $row::COLUMNS),+ }
            }
        }

        /// A row of any projection.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Row { $($variant($row)),+ }

        $(impl From<$row> for Row {
            fn from(row: $row) -> Self {
                Self::$variant(row)
            }
        }

        impl TryFrom<Row> for $row {
            type Error = Row;

            fn try_from(row: Row) -> Result<Self, Row> {
                match row {
                    Row::$variant(row) => Ok(row),
                    other => Err(other),
                }
            }
        }

        impl<'a> TryFrom<&'a Row> for &'a $row {
            type Error = ();

            fn try_from(row: &'a Row) -> Result<Self, ()> {
                match row {
                    Row::$variant(row) => Ok(row),
                    _ => Err(()),
                }
            }
        })+

        impl Row {
            /// The row's values in the order of its table's columns.
            #[must_use]
            pub fn values(&self) -> Vec<Value> {
                match self { $(Self::$variant(row) => row.values()),+ }
            }

            /// Reads a row.
            ///
            /// # Errors
            /// When a column holds what it can't.
            pub fn read(table: Table, values: Vec<Value>) -> Result<Self, ReadError> {
                let mut values = Values::from(values);
                Ok(match table { $(Table::$variant => Self::$variant($row::read(&mut values)?)),+ })
            }

            #[must_use]
            pub fn key(&self) -> RowKey {
                match self { $(Self::$variant(row) => RowKey(Table::$variant, row.number())),+ }
            }
        }

        /// Folds one event into the row of `key`.
        ///
        /// # Errors
        /// When the event doesn't fit the row.
        pub fn fold(key: RowKey, row: Option<Row>, recorded: &Recorded) -> Result<Option<Row>, FoldError> {
            Ok(match key.0 {
                $(Table::$variant => {
                    let row = row.and_then(|row| $row::try_from(row).ok());
                    $row::fold(key.1, row, recorded)?.map(Row::from)
                })+
            })
        }
    };
}

projections! {
    Counters: CountersRow, "counters" version 5;
    KeyPair: KeyPairRow, "key_pair" version 2;
    ApiKey: ApiKeyRow, "api_key" version 1;
    Block: BlockRow, "block" version 1;
    Product: ProductRow, "product" version 2;
    ProductMeta: ProductMetaRow, "product_meta" version 1;
    LicenseCount: LicenseCountRow, "license_count" version 1;
    License: LicenseRow, "license" version 4;
    Activation: ActivationRow, "activation" version 2;
    LicenseMeta: LicenseMetaRow, "license_meta" version 1;
    Settings: SettingsRow, "settings" version 1;
    Telemetry: TelemetryRow, "telemetry" version 1;
    Release: ReleaseRow, "product_release" version 1;
    DownloadToken: DownloadTokenRow, "download_token" version 1;
    Generator: GeneratorRow, "generator" version 1;
    Contract: ContractRow, "contract" version 1;
    ContractCount: ContractCountRow, "contract_count" version 1;
    AssignmentJob: AssignmentJobRow, "assignment_job" version 1;
    Delivery: DeliveryRow, "delivery" version 1;
    WebhookEndpoint: WebhookEndpointRow, "webhook_endpoint" version 1;
}

/// One row of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey(pub Table, pub i64);

/// The settings are one row.
pub const SETTINGS: RowKey = RowKey(Table::Settings, 1);

/// The counters are one row.
pub const COUNTERS: RowKey = RowKey(Table::Counters, 1);

impl Row {
    /// The id and last sequence of the stream that the row is the state of; `None` for rows that are not a stream's own.
    #[must_use]
    pub fn stream(&self) -> Option<(Uuid, i64)> {
        match self {
            Self::License(row) => Some((row.id, row.sequence)),
            Self::Product(row) => Some((row.id, row.sequence)),
            Self::ApiKey(row) => Some((row.id, row.sequence)),
            Self::Block(row) => Some((row.id, row.sequence)),
            Self::KeyPair(row) => Some((row.id, row.sequence)),
            Self::Settings(row) => Some((row.id, row.sequence)),
            Self::Telemetry(row) => Some((row.id, row.sequence)),
            Self::Release(row) => Some((row.id, row.sequence)),
            Self::DownloadToken(row) => Some((row.id, row.sequence)),
            Self::Generator(row) => Some((row.id, row.sequence)),
            Self::Contract(row) => Some((row.id, row.sequence)),
            Self::AssignmentJob(row) => Some((row.id, row.sequence)),
            Self::Delivery(row) => Some((row.id, row.sequence)),
            Self::WebhookEndpoint(row) => Some((row.id, row.sequence)),
            Self::Counters(_)
            | Self::ProductMeta(_)
            | Self::LicenseCount(_)
            | Self::ContractCount(_)
            | Self::Activation(_)
            | Self::LicenseMeta(_) => None,
        }
    }
}

impl Table {
    /// Whether its rows hold what events carry sealed. Whoever forgets a data subject folds those rows anew.
    #[must_use]
    pub fn holds_personal_data(self) -> bool {
        match self {
            Self::License | Self::Activation | Self::LicenseMeta | Self::Telemetry | Self::AssignmentJob | Self::Block => true,
            Self::Counters
            | Self::KeyPair
            | Self::ApiKey
            | Self::Product
            | Self::ProductMeta
            | Self::LicenseCount
            | Self::Settings
            | Self::Release
            | Self::DownloadToken
            | Self::Generator
            | Self::Contract
            | Self::ContractCount
            | Self::Delivery
            | Self::WebhookEndpoint => false,
        }
    }
}

/// How the versions that a database's rows are of compare with this program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    Same,
    /// The rows have to be rebuilt.
    Older,
    /// A newer program made the rows: this one must leave them alone.
    Newer,
}

/// This program's versions, as they stand in the database.
#[must_use]
pub fn versions() -> String {
    Table::ALL.iter().map(|table| format!("{}={}", table.name(), table.version())).collect::<Vec<_>>().join(" ")
}

/// Compares what stands in the database with this program.
#[must_use]
pub fn compare_versions(stored: &str) -> Versions {
    let mut older = false;
    let mut known = 0;
    for entry in stored.split_whitespace() {
        let (name, version) = entry.split_once('=').unwrap_or((entry, "0"));
        let version: i64 = version.parse().unwrap_or(0);
        match Table::ALL.iter().find(|table| table.name() == name) {
            Some(table) if version > table.version() => return Versions::Newer,
            Some(table) => {
                known += 1;
                older |= version < table.version();
            }
            None => return Versions::Newer,
        }
    }
    if older || known < Table::ALL.len() { Versions::Older } else { Versions::Same }
}

/// The rows that an event changes, its own aggregate's first. No wildcard over the events: a new one makes the compiler ask here.
#[must_use]
pub fn touches(event: &Event) -> Vec<RowKey> {
    use RowKey as Key;
    match event {
        Event::Ledger(_) => vec![COUNTERS],
        // About the log, so in no row.
        Event::StreamMap(StreamMapEvent::StreamMapRecorded(_)) => Vec::new(),
        // Summed up by the statistics, which lag behind.
        Event::VerificationCount(VerificationCountEvent::VerificationsCounted(_)) => Vec::new(),
        Event::KeyPair(KeyPairEvent::KeyPairCreated(of)) => vec![Key(Table::KeyPair, of.key_pair), COUNTERS],
        Event::KeyPair(KeyPairEvent::KeyPairRetired(of)) => vec![Key(Table::KeyPair, of.key_pair)],
        Event::Settings(SettingsEvent::SettingsChanged(_)) => vec![SETTINGS],
        // The rows that hold something of the subject's are folded anew without its key, by whoever forgets it. Servers keep
        // the block list in memory: the count of its changes tells them.
        Event::Subject(SubjectEvent::SubjectForgotten(SubjectForgotten { kind: SubjectKind::Block, .. })) => vec![COUNTERS],
        Event::Subject(SubjectEvent::SubjectForgotten(_)) => Vec::new(),
        Event::Telemetry(TelemetryEvent::TelemetryRecorded(of)) => vec![Key(Table::Telemetry, of.telemetry), COUNTERS],
        Event::ApiKey(ApiKeyEvent::ApiKeyCreated(of)) => vec![Key(Table::ApiKey, of.api_key), COUNTERS],
        Event::ApiKey(ApiKeyEvent::ApiKeyDisabled(of)) => vec![Key(Table::ApiKey, of.api_key), COUNTERS],
        Event::Block(BlockEvent::BlockAdded(of)) => vec![Key(Table::Block, of.block), COUNTERS],
        Event::Block(BlockEvent::BlockRemoved(of)) => vec![Key(Table::Block, of.block), COUNTERS],
        Event::Product(event) => match event {
            ProductEvent::ProductCreated(of) => vec![Key(Table::Product, of.product), Key(Table::LicenseCount, of.product), COUNTERS],
            ProductEvent::ProductUpdated(of) => vec![Key(Table::Product, of.product)],
            ProductEvent::ProductMetaCreated(ProductMetaSet { product, meta, .. }) => {
                vec![Key(Table::Product, *product), Key(Table::ProductMeta, *meta), COUNTERS]
            }
            ProductEvent::ProductMetaUpdated(ProductMetaSet { product, meta, .. })
            | ProductEvent::ProductMetaDeleted(ProductMetaDeleted { product, meta, .. }) => {
                vec![Key(Table::Product, *product), Key(Table::ProductMeta, *meta)]
            }
            ProductEvent::ProductSlugSet(of) => vec![Key(Table::Product, of.product)],
            ProductEvent::ProductSwitchesChanged(of) => vec![Key(Table::Product, of.product)],
            ProductEvent::ProductKeyPairChanged(of) => vec![Key(Table::Product, of.product)],
            ProductEvent::ProductDeleted(of) => vec![Key(Table::Product, of.product)],
        },
        Event::Release(event) => match event {
            ReleaseEvent::ReleaseUploaded(of) => vec![Key(Table::Release, of.release), COUNTERS],
            ReleaseEvent::ReleaseUpdated(of) => vec![Key(Table::Release, of.release)],
            ReleaseEvent::ReleasePublished(of) => vec![Key(Table::Release, of.release)],
            ReleaseEvent::ReleaseUnpublished(of) => vec![Key(Table::Release, of.release)],
            ReleaseEvent::ReleaseWithdrawn(of) => vec![Key(Table::Release, of.release)],
        },
        Event::DownloadToken(event) => match event {
            DownloadTokenEvent::TokenIssued(of) => vec![Key(Table::DownloadToken, of.token), COUNTERS],
            DownloadTokenEvent::TokenClaimed(of) => vec![Key(Table::DownloadToken, of.token)],
            DownloadTokenEvent::TokenReleased(of) => vec![Key(Table::DownloadToken, of.token)],
            DownloadTokenEvent::TokenUsed(of) => vec![Key(Table::DownloadToken, of.token)],
        },
        Event::Generator(event) => match event {
            GeneratorEvent::GeneratorCreated(of) => vec![Key(Table::Generator, of.generator), COUNTERS],
            GeneratorEvent::GeneratorUpdated(of) => vec![Key(Table::Generator, of.generator)],
            GeneratorEvent::GeneratorDeleted(of) => vec![Key(Table::Generator, of.generator)],
        },
        Event::Contract(event) => match event {
            ContractEvent::ContractCreated(of) => vec![Key(Table::Contract, of.contract), Key(Table::ContractCount, of.contract), COUNTERS],
            ContractEvent::ContractUpdated(of) => vec![Key(Table::Contract, of.contract)],
            ContractEvent::ContractDeleted(of) => vec![Key(Table::Contract, of.contract)],
        },
        Event::AssignmentJob(event) => match event {
            AssignmentJobEvent::AssignmentJobQueued(of) => vec![Key(Table::AssignmentJob, of.job), COUNTERS],
            AssignmentJobEvent::AssignmentJobFinished(of) => vec![Key(Table::AssignmentJob, of.job)],
        },
        Event::Delivery(DeliveryEvent::DeliveryQueued(of)) => vec![Key(Table::Delivery, of.delivery), COUNTERS],
        Event::Delivery(event) => vec![Key(Table::Delivery, event.delivery())],
        // There are only so many of them: making and deleting is counted.
        Event::WebhookEndpoint(WebhookEndpointEvent::EndpointCreated(of)) => vec![Key(Table::WebhookEndpoint, of.endpoint), COUNTERS],
        Event::WebhookEndpoint(WebhookEndpointEvent::EndpointDeleted(of)) => vec![Key(Table::WebhookEndpoint, of.endpoint), COUNTERS],
        Event::WebhookEndpoint(event) => vec![Key(Table::WebhookEndpoint, event.endpoint())],
        Event::License(event) => match event {
            LicenseEvent::LicenseCreated(of) => {
                let mut keys = vec![Key(Table::License, of.license), Key(Table::LicenseCount, of.product), COUNTERS];
                keys.extend(of.contract.map(|contract| Key(Table::ContractCount, contract)));
                keys
            }
            LicenseEvent::LicenseDeleted(of) => {
                let mut keys = vec![Key(Table::License, of.license), Key(Table::LicenseCount, of.product)];
                keys.extend(of.contract.map(|contract| Key(Table::ContractCount, contract)));
                keys
            }
            LicenseEvent::LicenseAssigned(of) => vec![Key(Table::License, of.license), Key(Table::LicenseCount, of.product), COUNTERS],
            LicenseEvent::LicenseReserved(of) | LicenseEvent::LicenseBlocked(of) | LicenseEvent::LicenseMadeAvailable(of) => {
                vec![Key(Table::License, of.license), Key(Table::LicenseCount, of.product)]
            }
            LicenseEvent::LicenseProductChanged(of) => {
                vec![Key(Table::License, of.license), Key(Table::LicenseCount, of.from), Key(Table::LicenseCount, of.to)]
            }
            LicenseEvent::OwnerChanged(of) => vec![Key(Table::License, of.license), COUNTERS],
            LicenseEvent::OwnerCleared(of) => vec![Key(Table::License, of.license)],
            LicenseEvent::ActivationLimitChanged(of) | LicenseEvent::ValidityChanged(of) => vec![Key(Table::License, of.license)],
            LicenseEvent::AssignedAtChanged(of) => vec![Key(Table::License, of.license)],
            LicenseEvent::LicenseActivated(of) => vec![Key(Table::License, of.license), Key(Table::Activation, of.activation), COUNTERS],
            LicenseEvent::LicenseDeactivated(of) => vec![Key(Table::License, of.license), Key(Table::Activation, of.activation)],
            LicenseEvent::ActivationsEnded(of) => vec![Key(Table::License, of.license)],
            LicenseEvent::ActivationRefused(of) => vec![Key(Table::License, of.license)],
            LicenseEvent::AccessRefused(of) => vec![Key(Table::License, of.license)],
            LicenseEvent::LicenseMetaCreated(of) => vec![Key(Table::License, of.license), Key(Table::LicenseMeta, of.meta), COUNTERS],
            LicenseEvent::LicenseMetaUpdated(of) => vec![Key(Table::License, of.license), Key(Table::LicenseMeta, of.meta)],
            LicenseEvent::LicenseKeyReplaced(of) => vec![Key(Table::License, of.license)],
            LicenseEvent::LicenseMetaDeleted(of) => vec![Key(Table::License, of.license), Key(Table::LicenseMeta, of.meta)],
            LicenseEvent::ReleaseDownloaded(of) => vec![Key(Table::License, of.license), Key(Table::Release, of.release)],
        },
    }
}

/// Checks that an event is the next one of its stream.
pub(crate) fn check_sequence(last: Option<i64>, recorded: &Recorded) -> Result<(), FoldError> {
    let expected = last.unwrap_or(0) + 1;
    if recorded.sequence == expected {
        Ok(())
    } else {
        Err(FoldError::Sequence { position: recorded.position, aggregate: recorded.aggregate_id, expected, found: recorded.sequence })
    }
}

/// An event that changes a row finds it, or the log is damaged.
pub(crate) fn require<T>(row: Option<T>, table: Table, number: i64, recorded: &Recorded) -> Result<T, FoldError> {
    row.ok_or(FoldError::Missing { position: recorded.position, table: table.name(), number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_tell_older_from_newer() {
        assert_eq!(compare_versions(&versions()), Versions::Same);
        assert_eq!(compare_versions(""), Versions::Older);
        assert_eq!(compare_versions(&versions().replace("block=1", "block=0")), Versions::Older);
        assert_eq!(compare_versions(&versions().replace("block=1", "block=99")), Versions::Newer);
        assert_eq!(compare_versions(&format!("{} future=1", versions())), Versions::Newer);
    }
}
