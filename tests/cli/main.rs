//! The command line: what operators script against.

#[path = "../support/mod.rs"]
mod support;

mod access_commands;
mod bootstrap;
mod demo;
mod evidence_commands;
mod maintenance;
mod product_commands;
mod release_commands;
mod subject_commands;
mod usage;
mod webhook_commands;
