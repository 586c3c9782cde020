//! keyledger: a license server whose source of truth is a ledger. See `ARCHITECTURE.md` for the map.

pub mod access;
pub mod app;
pub mod background;
pub mod cli;
pub mod clock;
pub mod envato;
pub mod files;
pub mod http;
pub mod ledger;
pub mod limits;
pub mod outgoing;
pub mod public_keys;
pub mod rate;
pub mod releases;
pub mod signer;
pub mod store;
pub mod vault;

/// A command is many small values: with the system's allocator, half of its time went there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
