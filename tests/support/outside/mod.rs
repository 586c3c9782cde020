//! Those outside who are handed checkpoints, played on this machine: a witness that really checks what it cosigns, and a time-stamping
//! authority whose tokens `openssl` accepts.
#![allow(dead_code, reason = "each test binary uses its own part of it")]
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

pub mod authority;
pub mod server;
pub mod tree;
pub mod witness;
