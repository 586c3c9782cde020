//! Ports for servers that are told theirs.

/// A port that nobody listens on, below the range that the system gives to outgoing connections: it stays free while its server is down.
pub fn free_port() -> u16 {
    loop {
        let port = rand::random_range(20_000..32_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
