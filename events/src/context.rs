//! What a decision may know beside the state and the command: it never reads a clock or a counter itself.

use crate::Timestamp;

/// The number that each kind of thing gets next; numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    pub license: i64,
    pub activation: i64,
    pub license_meta: i64,
    pub product: i64,
    pub product_meta: i64,
    pub owner: i64,
    pub api_key: i64,
    pub block: i64,
    pub key_pair: i64,
    pub telemetry: i64,
    pub release: i64,
    pub download_token: i64,
    pub generator: i64,
    pub contract: i64,
    pub assignment_job: i64,
    pub delivery: i64,
    pub webhook_endpoint: i64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            license: 1,
            activation: 1,
            license_meta: 1,
            product: 1,
            product_meta: 1,
            owner: 1,
            api_key: 1,
            block: 1,
            key_pair: 1,
            telemetry: 1,
            release: 1,
            download_token: 1,
            generator: 1,
            contract: 1,
            assignment_job: 1,
            delivery: 1,
            webhook_endpoint: 1,
        }
    }
}

/// Time and numbers for one decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    pub now: Timestamp,
    pub next: Numbers,
}
