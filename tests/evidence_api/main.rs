//! What auditors and support ask over HTTP: histories, points in time, proofs, checkpoints, receipts, dispute files.

#[path = "../support/mod.rs"]
mod support;

mod dispute_files;
mod ledger_history;
mod ledger_points;
mod ledger_proofs;
mod receipts;
mod transparency_log;
