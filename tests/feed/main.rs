//! The feed as consumers in the field use it: events in every form, subscriptions, statistics, and the documentation's clients.

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod endings;
mod events;
mod statistics;
mod subscriptions;
