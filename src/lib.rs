//! keyledger: a license server whose source of truth is a ledger. See `ARCHITECTURE.md` for the map.

pub mod access;
pub mod app;
pub mod background;
pub mod cli;
pub mod clock;
pub mod envato;
pub mod evidence;
pub mod feed;
pub mod files;
pub mod http;
pub mod ledger;
pub mod limits;
pub mod notes;
pub mod outgoing;
pub mod public_keys;
pub mod rate;
pub mod relay;
pub mod releases;
pub mod signer;
pub mod store;
pub mod vault;
pub mod verifications;
pub mod watch;
pub mod webhooks;

/// A command is many small values, and half of its time went to the C library's allocator; a replay took 1.7 times the CPU time with it,
/// and a quarter more memory.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
