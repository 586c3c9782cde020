//! Ports for servers that are told theirs.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

use std::net::TcpListener;
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range that the system gives to outgoing connections.
const PORTS: Range<u16> = 20_000..32_000;
/// None is given twice: whoever asks for one whose server is down just now would meet another test's.
static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(rand::random_range(0..PORTS.len() as u16)));

/// A port that nobody listens on and nobody is given: it stays free while its server is down.
pub fn free_port() -> u16 {
    loop {
        let port = PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS.len() as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
