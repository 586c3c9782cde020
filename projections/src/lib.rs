//! The read side, pure: recorded events in, rows out. One file per projection; [`registry`] lists them.
//!
//! What must not enter: databases, HTTP, async runtimes, clocks. A row says what its columns are; the stores write it.

mod activation;
mod api_key;
mod assignment_job;
mod block;
mod contract;
mod contract_count;
mod counters;
mod delivery;
mod download_token;
mod generator;
mod key_pair;
mod license;
mod license_count;
mod license_meta;
mod packed;
mod product;
mod product_meta;
pub mod registry;
mod release;
mod row;
mod settings;
mod telemetry;
mod webhook_endpoint;

pub use activation::ActivationRow;
pub use api_key::ApiKeyRow;
pub use assignment_job::AssignmentJobRow;
pub use block::BlockRow;
pub use contract::ContractRow;
pub use contract_count::ContractCountRow;
pub use counters::CountersRow;
pub use delivery::DeliveryRow;
pub use download_token::DownloadTokenRow;
pub use generator::GeneratorRow;
pub use key_pair::KeyPairRow;
pub use license::LicenseRow;
pub use license_count::LicenseCountRow;
pub use license_meta::LicenseMetaRow;
pub use packed::PackedRow;
pub use product::ProductRow;
pub use product_meta::ProductMetaRow;
pub use registry::{Row, RowKey, Table, fold, touches};
pub use release::ReleaseRow;
pub use row::{Column, ColumnType, FoldError, ReadError, Value, Values};
pub use settings::SettingsRow;
pub use telemetry::TelemetryRow;
pub use webhook_endpoint::WebhookEndpointRow;
