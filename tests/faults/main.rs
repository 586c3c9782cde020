//! What goes wrong around the ledger, and what must hold nevertheless: races, killed processes, lost connections, tampering.
//!
//! KEYLEDGER_SOAK_ROUNDS raises the number of rounds of the race and kill tests above their minimum.

#[path = "../support/mod.rs"]
mod support;

mod activation_race;
mod assign_race;
mod commit_cut;
mod cross_stream;
mod feed_loss;
mod integrity;
mod kill_job;
mod kill_postgres;
mod kill_server;
mod load;
mod maintenance;
mod proxy;
mod sealed;
mod shutdown;
mod startup;
mod tampering;
mod triggers;
mod turned_away;
