//! Ports for servers that are told theirs.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

use std::net::TcpListener;

/// A port that nobody listens on, below the range that the system gives to outgoing connections: it stays free while its server is down.
pub fn free_port() -> u16 {
    free_ports::<1>()[0]
}

/// So many, no two of them the same.
pub fn free_ports<const N: usize>() -> [u16; N] {
    // All are held until the last one is found.
    let held = std::array::from_fn::<_, N, _>(|_| {
        loop {
            let port = rand::random_range(20_000..32_000);
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                return (port, listener);
            }
        }
    });
    held.map(|(port, _)| port)
}
