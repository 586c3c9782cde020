//! Where events are relayed to, as it is configured.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::{ConnectOptions, Event, ServerAddr};
use percent_encoding::percent_decode_str;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio::sync::watch;
use url::Url;

use crate::feed::Sight;

/// The stream's name where none is given, and what its subjects begin with.
pub const STREAM_DEFAULT: &str = "KEYLEDGER";
pub const SUBJECT_DEFAULT: &str = "keyledger";
/// As many copies as a JetStream stream may have.
pub const REPLICAS_MAX: usize = 5;
/// Servers that may be named: a cluster names the others of itself.
const SERVERS_MAX: usize = 16;
/// Longest name of a stream: the place in the log is named after it, and servers make a folder of that name.
const STREAM_CHARS_MAX: usize = 128;
/// Longest beginning of a subject: the rest is less than a hundred characters, and a line of the protocol has 4,096.
const SUBJECT_CHARS_MAX: usize = 200;

/// How long a server may take to let us in.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How often a connection on which nothing happens is tried: two answers that don't come end it.
const PING_EVERY: Duration = Duration::from_secs(5);

/// Why events can't be relayed so.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "--nats-url: address {0} of it is none: must be nats://host:port or tls://host:port, several with commas between; in a password a comma \
         is %2C, an @ %40, a colon %3A and a slash %2F"
    )]
    Url(usize),
    #[error("--nats-url: {SERVERS_MAX} servers at most can be named")]
    TooManyServers,
    #[error("--nats-url: all servers must be given with the same user and password, or one of them alone with any")]
    Logins,
    #[error("--nats-url and --nats-credentials: give a user in the one or a file as the other, not both")]
    TwoLogins,
    #[error("--nats-stream {0}: a stream's name has letters, digits, - and _, {STREAM_CHARS_MAX} at most")]
    Stream(String),
    #[error(
        "--nats-subject {0}: a subject begins with words of letters, digits, - and _ with dots between, {SUBJECT_CHARS_MAX} characters at \
         most, without wildcards"
    )]
    Subject(String),
    #[error("--nats-replicas {0}: must be 1 to {REPLICAS_MAX}")]
    Replicas(usize),
    #[error("--nats-show {0}: can be license-keys and personal-data")]
    Show(String),
    #[error("--nats-credentials {file}: {problem}")]
    Credentials { file: String, problem: String },
    #[error("--nats-ca {file}: {problem}")]
    Ca { file: String, problem: String },
}

/// What was given, as it was given.
#[derive(Clone, Debug, Default)]
pub struct Given<'a> {
    pub url: Option<&'a str>,
    pub stream: Option<&'a str>,
    pub subject: Option<&'a str>,
    pub credentials: Option<PathBuf>,
    pub ca: Option<PathBuf>,
    pub replicas: usize,
    pub show: &'a [String],
}

/// How we show who we are.
#[derive(Clone)]
enum Login {
    Nobody,
    Token(String),
    Password(String, String),
    /// Read again for each connection: such files are replaced.
    Credentials(PathBuf),
}

/// Where events are relayed to.
#[derive(Clone)]
pub struct RelayConfig {
    servers: Vec<ServerAddr>,
    login: Login,
    ca: Option<PathBuf>,
    pub stream: String,
    /// What all subjects begin with.
    pub subject: String,
    /// Of the stream, where it has to be made.
    pub replicas: usize,
    pub sight: Sight,
}

/// Text that says something; a variable that is set to nothing is unset.
fn said(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The address of a server, without the login that stands in it. No error repeats what may be a password.
fn server(number: usize, text: &str) -> Result<(ServerAddr, Login), ConfigError> {
    let of = || ConfigError::Url(number);
    let mut url = Url::parse(text).map_err(|_| of())?;
    let is_address = matches!(url.scheme(), "nats" | "tls") && url.host_str().is_some_and(|host| !host.is_empty());
    if !is_address || !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(of());
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).map_err(|_| of());
    let login = match (url.username(), url.password()) {
        ("", None) => Login::Nobody,
        (token, None) => Login::Token(decoded(token)?),
        (user, Some(password)) => Login::Password(decoded(user)?, decoded(password)?),
    };
    url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| of())?;
    Ok((ServerAddr::from_url(url).map_err(|_| of())?, login))
}

impl Login {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Token(one), Self::Token(two)) => one == two,
            (Self::Password(user, password), Self::Password(user_two, password_two)) => (user, password) == (user_two, password_two),
            _ => false,
        }
    }
}

fn servers(text: &str) -> Result<(Vec<ServerAddr>, Login), ConfigError> {
    let (mut servers, mut login) = (Vec::new(), Login::Nobody);
    for (text, number) in text.split(',').map(str::trim).filter(|text| !text.is_empty()).zip(1..) {
        let (address, own) = server(number, text)?;
        match (&login, &own) {
            (_, Login::Nobody) => {}
            (Login::Nobody, _) => login = own,
            (login, own) if login.is_same(own) => {}
            _ => return Err(ConfigError::Logins),
        }
        servers.push(address);
    }
    if servers.len() > SERVERS_MAX {
        return Err(ConfigError::TooManyServers);
    }
    Ok((servers, login))
}

fn sight(show: &[String]) -> Result<Sight, ConfigError> {
    let mut sight = Sight::default();
    for word in show.iter().map(|word| word.trim()).filter(|word| !word.is_empty()) {
        match word {
            "license-keys" => sight.keys = true,
            "personal-data" => sight.personal = true,
            other => return Err(ConfigError::Show(other.to_owned())),
        }
    }
    Ok(sight)
}

/// A file of credentials that can be used.
fn check_credentials(path: &std::path::Path) -> Result<(), ConfigError> {
    let of = |problem: String| ConfigError::Credentials { file: path.display().to_string(), problem };
    let text = std::fs::read_to_string(path).map_err(|error| of(error.to_string()))?;
    // What is wrong with it could quote it.
    ConnectOptions::with_credentials(&text).map(drop).map_err(|_| of("holds no user's JWT and nkey seed, as nsc writes them".to_owned()))
}

fn check_ca(path: &std::path::Path) -> Result<(), ConfigError> {
    let of = |problem: String| ConfigError::Ca { file: path.display().to_string(), problem };
    let text = std::fs::read(path).map_err(|error| of(error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(()),
        Ok(_) => Err(of("holds no certificate in PEM".to_owned())),
        Err(error) => Err(of(error.to_string())),
    }
}

impl RelayConfig {
    /// Where events are relayed to; nowhere where no server is given.
    ///
    /// # Errors
    /// What can't be.
    pub fn new(given: Given<'_>) -> Result<Option<Self>, ConfigError> {
        let Some(url) = said(given.url) else { return Ok(None) };
        let (servers, mut login) = servers(url)?;
        if servers.is_empty() {
            return Ok(None);
        }
        let stream = said(given.stream).unwrap_or(STREAM_DEFAULT);
        if !is_word(stream) || stream.len() > STREAM_CHARS_MAX {
            return Err(ConfigError::Stream(stream.to_owned()));
        }
        let subject = said(given.subject).unwrap_or(SUBJECT_DEFAULT);
        if !subject.split('.').all(is_word) || subject.len() > SUBJECT_CHARS_MAX {
            return Err(ConfigError::Subject(subject.to_owned()));
        }
        if !(1..=REPLICAS_MAX).contains(&given.replicas) {
            return Err(ConfigError::Replicas(given.replicas));
        }
        if let Some(path) = given.credentials.filter(|path| !path.as_os_str().is_empty()) {
            if !matches!(login, Login::Nobody) {
                return Err(ConfigError::TwoLogins);
            }
            check_credentials(&path)?;
            login = Login::Credentials(path);
        }
        let ca = given.ca.filter(|path| !path.as_os_str().is_empty());
        ca.as_deref().map(check_ca).transpose()?;
        let sight = sight(given.show)?;
        Ok(Some(Self { servers, login, ca, stream: stream.to_owned(), subject: subject.to_owned(), replicas: given.replicas, sight }))
    }

    /// The subjects that a stream must take: those of all aggregates and types.
    #[must_use]
    pub fn subjects(&self) -> String {
        format!("{}.>", self.subject)
    }

    /// Connects to one of the servers. `heard` is told what is heard of the connection.
    ///
    /// # Errors
    /// When none of them lets us in.
    pub(super) async fn connect(&self, heard: watch::Sender<Heard>) -> Result<async_nats::Client, String> {
        let on_event = move |event| {
            match event {
                Event::Disconnected | Event::Closed => heard.send_modify(|heard| heard.is_gone = true),
                Event::ServerError(error) => heard.send_modify(|heard| heard.said = Some(with_causes(&error))),
                _ => {}
            }
            std::future::ready(())
        };
        let options = match &self.login {
            Login::Nobody => ConnectOptions::new(),
            Login::Token(token) => ConnectOptions::with_token(token.clone()),
            Login::Password(user, password) => ConnectOptions::with_user_and_password(user.clone(), password.clone()),
            Login::Credentials(path) => {
                ConnectOptions::with_credentials_file(path).await.map_err(|error| format!("{}: {}", path.display(), error.kind()))?
            }
        };
        let mut options = options
            .name("keyledger")
            .connection_timeout(CONNECT_PATIENCE)
            .ping_interval(PING_EVERY)
            // A connection that is lost ends the session: the next one begins with a look at the stream. So the library need not go on for long.
            .max_reconnects(self.servers.len())
            .event_callback(on_event);
        if let Some(ca) = &self.ca {
            options = options.add_root_certificates(ca.clone());
        }
        options.connect(&self.servers[..]).await.map_err(|error| with_causes(&error))
    }
}

/// What is heard of a connection beside its answers.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub is_gone: bool,
    /// The server's last complaint, as of a missing permission.
    pub said: Option<String>,
}

/// An error with what led to it, on one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(url: &str) -> Given<'_> {
        Given { url: Some(url), replicas: 1, ..Given::default() }
    }

    fn error(given: Given<'_>) -> String {
        RelayConfig::new(given).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn nothing_said_is_no_relay() {
        for url in ["", "  ", " , "] {
            assert!(RelayConfig::new(given(url)).unwrap().is_none(), "{url:?}");
        }
        let unset = Given { stream: Some(""), subject: Some(" "), credentials: Some(PathBuf::new()), ca: Some(PathBuf::new()), ..given("nats://a") };
        let config = RelayConfig::new(unset).unwrap().unwrap();
        assert_eq!((config.stream.as_str(), config.subjects().as_str()), ("KEYLEDGER", "keyledger.>"));
    }

    #[test]
    fn a_login_is_taken_out_of_the_address() {
        let config = RelayConfig::new(given("tls://me:w%40rd@a.example:4333, nats://b.example")).unwrap().unwrap();
        assert!(matches!(&config.login, Login::Password(user, password) if user == "me" && password == "w@rd"));
        let shown = format!("{:?}", config.servers);
        assert!(!shown.contains("me") || !shown.contains("w%40rd"), "{shown}");
        let token = RelayConfig::new(given("nats://t0ken@a")).unwrap().unwrap();
        assert!(matches!(&token.login, Login::Token(token) if token == "t0ken"));
        assert_eq!(error(given("nats://a:b@one,nats://a:c@two")), ConfigError::Logins.to_string());
        let both = Given { credentials: Some("/nowhere".into()), ..given("nats://a:b@one") };
        assert_eq!(error(both), ConfigError::TwoLogins.to_string());
    }

    #[test]
    fn what_can_not_be_is_said_without_secrets() {
        for url in [
            "localhost:4222",
            "http://a",
            "nats://",
            "nats://a/path",
            "nats://a?x=1",
            "nats://me:secret@",
            "nats://me:secret",
            "nats://me:secret,more@a",
        ] {
            let said = error(given(url));
            assert!(said.starts_with("--nats-url") && !said.contains("secret"), "{url}: {said}");
        }
        for stream in ["a.b", "a b", "a*", "ä", "a/b", &"x".repeat(129)] {
            assert!(error(Given { stream: Some(stream), ..given("nats://a") }).starts_with("--nats-stream"), "{stream}");
        }
        for subject in ["a..b", ".a", "a.", "a.*", ">", "a b", &"x".repeat(201)] {
            assert!(error(Given { subject: Some(subject), ..given("nats://a") }).starts_with("--nats-subject"), "{subject}");
        }
        for replicas in [0, 6] {
            assert!(error(Given { replicas, ..given("nats://a") }).starts_with("--nats-replicas"), "{replicas}");
        }
        assert!(error(Given { show: &["keys".to_owned()], ..given("nats://a") }).starts_with("--nats-show keys"));
        assert!(error(Given { credentials: Some("/nowhere".into()), ..given("nats://a") }).starts_with("--nats-credentials /nowhere"));
        assert!(error(Given { ca: Some("/nowhere".into()), ..given("nats://a") }).starts_with("--nats-ca /nowhere"));
    }
}
