//! A prober of `/health/live`: how long a request that needs no signature waits beside those that do.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Result;

const EVERY: Duration = Duration::from_millis(5);

pub struct Prober {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<f64>>>,
}

impl Prober {
    /// Asks every few milliseconds on a connection of its own.
    pub fn start(server: SocketAddr) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut connection = TcpStream::connect(server)?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(Duration::from_secs(10)))?;
        let thread = std::thread::spawn(move || {
            let mut waits = Vec::new();
            let mut answer = [0; 4_096];
            while !stopped.load(Ordering::Relaxed) {
                let asked = Instant::now();
                connection.write_all(b"GET /health/live HTTP/1.1\r\nhost: bench\r\n\r\n")?;
                // The whole answer is a few hundred bytes, so it comes in one piece.
                let length = connection.read(&mut answer)?;
                waits.push(asked.elapsed().as_secs_f64() * 1_000.0);
                if !answer[..length].starts_with(b"HTTP/1.1 200") {
                    return Err(format!("/health/live: {}", String::from_utf8_lossy(&answer[..length])).into());
                }
                std::thread::sleep(EVERY);
            }
            Ok(waits)
        });
        Ok(Self { stop, thread })
    }

    /// Ends it; the waits in milliseconds.
    pub fn stop(self) -> Result<Vec<f64>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the prober panicked")?
    }
}
