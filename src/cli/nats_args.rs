//! Where events are relayed to, as options of the server.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::relay::{Given, RelayConfig, STREAM_DEFAULT, SUBJECT_DEFAULT};

#[derive(Clone, Debug, Args)]
pub struct NatsArgs {
    /// NATS server that every event is relayed to, or all those of a cluster with commas between: nats:// or tls://, a user and password may
    /// stand in them [default: events are not relayed]
    #[arg(long, env = "KEYLEDGER_NATS_URL", hide_env_values = true, value_name = "URL")]
    nats_url: Option<String>,
    /// The JetStream stream; made where there is none.
    #[arg(long, env = "KEYLEDGER_NATS_STREAM", default_value = STREAM_DEFAULT, value_name = "NAME")]
    nats_stream: String,
    /// What the subjects begin with: SUBJECT.AGGREGATE.ID.TYPE
    #[arg(long, env = "KEYLEDGER_NATS_SUBJECT", default_value = SUBJECT_DEFAULT, value_name = "SUBJECT")]
    nats_subject: String,
    /// File with the JWT and nkey seed of a NATS user, as nsc writes it.
    #[arg(long, env = "KEYLEDGER_NATS_CREDENTIALS", value_name = "FILE")]
    nats_credentials: Option<PathBuf>,
    /// Certificates that the NATS servers' are checked with, in PEM [default: the system's]
    #[arg(long, env = "KEYLEDGER_NATS_CA", value_name = "FILE")]
    nats_ca: Option<PathBuf>,
    /// Copies that a cluster keeps of the stream, where it has to be made: 1 to 5.
    #[arg(long, env = "KEYLEDGER_NATS_REPLICAS", default_value_t = 1, value_name = "COUNT")]
    nats_replicas: usize,
    /// What is shown in clear: license-keys, personal-data, or both with a comma between [default: keys are masked, personal data is left out]
    #[arg(long, env = "KEYLEDGER_NATS_SHOW", value_delimiter = ',', value_name = "WHAT")]
    nats_show: Vec<String>,
}

impl NatsArgs {
    /// Where events are relayed to, if they are.
    ///
    /// # Errors
    /// When a value can't be.
    pub fn config(&self) -> Result<Option<RelayConfig>, Failure> {
        let given = Given {
            url: self.nats_url.as_deref(),
            stream: Some(&self.nats_stream),
            subject: Some(&self.nats_subject),
            credentials: self.nats_credentials.clone(),
            ca: self.nats_ca.clone(),
            replicas: self.nats_replicas,
            show: &self.nats_show,
        };
        Ok(RelayConfig::new(given)?)
    }
}
