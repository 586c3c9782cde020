//! A child process that serves HTTP and says where on its first line.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::{Result, fill::API_KEY, place::Address};

/// Killed when dropped.
pub struct Server {
    pub address: SocketAddr,
    child: Child,
}

impl Server {
    /// `keyledger serve` on a ledger.
    pub fn serve(ledger: &Address) -> Result<Self> {
        let mut command = ledger.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.env("KEYLEDGER_BOOTSTRAP_API_KEY", API_KEY);
        Self::start(command)
    }

    /// Starts a command whose first line ends with the URL that it listens on.
    pub fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("standard output is piped")?;
        BufReader::new(stdout).read_line(&mut line)?;
        match line.trim().rsplit_once("http://").map(|(_, address)| address.parse()) {
            Some(Ok(address)) => Ok(Self { address, child }),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("the server does not listen; it said {line:?}").into())
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
