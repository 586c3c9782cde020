//! Checks of what a request gives, collected so that all of them are told at once.

use ipnet::IpNet;
use keyledger_events::{
    Timestamp,
    values::{COUNT_MAX, long_text, short_text},
};

use super::{
    Replied,
    problem::{FieldError, Problem},
};
use crate::access::parse_network;

/// What is wrong so far.
#[derive(Debug, Default)]
pub struct Check(Vec<FieldError>);

impl Check {
    pub fn wrong(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push(FieldError { pointer: pointer.into(), detail: detail.into() });
    }

    /// What of a result is good; what isn't is noted.
    pub fn parsed<T, E: std::fmt::Display>(&mut self, pointer: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.wrong(pointer, format!("{error}."))).ok()
    }

    /// A trimmed text of 1 to 255 characters.
    pub fn short(&mut self, pointer: &str, text: &str) -> String {
        self.parsed(pointer, short_text(text)).unwrap_or_default().to_owned()
    }

    /// A trimmed text of at most 255 characters; blank is empty.
    pub fn short_or_empty(&mut self, pointer: &str, text: &str) -> String {
        if text.trim().is_empty() { String::new() } else { self.short(pointer, text) }
    }

    /// A longer text that must not be blank.
    pub fn long(&mut self, pointer: &str, text: &str) -> String {
        if text.trim().is_empty() {
            self.wrong(pointer, "must not be blank.");
        }
        self.parsed(pointer, long_text(text)).unwrap_or_default().to_owned()
    }

    /// A count, as limits and validities are.
    pub fn count(&mut self, pointer: &str, value: i64) -> i64 {
        if !(0..=COUNT_MAX).contains(&value) {
            self.wrong(pointer, format!("must be an integer of 0 to {COUNT_MAX}."));
        }
        value
    }

    /// A point in time.
    pub fn time(&mut self, pointer: &str, text: &str) -> Option<Timestamp> {
        let time = Timestamp::parse(text);
        if time.is_none() {
            self.wrong(pointer, "must be a time: RFC 3339, or YYYY-MM-DD (UTC).");
        }
        time
    }

    /// An address or a network.
    pub fn network(&mut self, pointer: impl Into<String>, text: &str) -> Option<IpNet> {
        let network = parse_network(text);
        if network.is_none() {
            self.wrong(pointer, "must be an address or a network in CIDR form.");
        }
        network
    }

    /// Ends the checks.
    ///
    /// # Errors
    /// When something is wrong.
    pub fn end(self) -> Replied<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::invalid(self.0)) }
    }
}
