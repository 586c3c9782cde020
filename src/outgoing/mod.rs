//! The one HTTP client for calls to elsewhere: web hooks, a product's or an activation's `post_url`, the Envato API.
//!
//! Where these calls go, others say: so they reach public addresses alone, unless the configuration allows more. That is
//! decided on the addresses that are then connected to: names are resolved here, and what is not permitted is never handed
//! to the connector. No redirect is followed, no proxy of the environment is used, and time and sizes are bounded.

pub mod address;
pub mod webhook;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use reqwest::{
    Client, Method, RequestBuilder, Response, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::CONTENT_TYPE,
    redirect::Policy,
};
use url::Host;

pub use address::{Allowed, is_public};

/// How long a connection may take to be made: three lost packets.
const CONNECT_WITHIN: Duration = Duration::from_secs(7);
/// How long a call may take as a whole. Receivers are expected to answer at once and to work afterwards.
pub const CALL_WITHIN: Duration = Duration::from_secs(20);
/// Connections kept to one host, and for how long: bursts of calls go to the same few hosts.
const IDLE_PER_HOST_MAX: usize = 2;
const IDLE_FOR: Duration = Duration::from_secs(30);
/// Largest answer that is read where its content matters.
pub const REPLY_MAX: usize = 1024 * 1024;

/// Why a call got no answer. Never names the address or what was sent: both can be personal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutgoingError {
    #[error("the URL is not one of http or https with a host")]
    Url,
    #[error("the address is not public, and not among those that --allow-outgoing opens")]
    NotPermitted,
    #[error("the call took too long")]
    TimedOut,
    #[error("no connection could be made")]
    Connect,
    #[error("the answer is too large")]
    TooLarge,
    #[error("the connection broke before the answer was whole")]
    Broken,
}

impl OutgoingError {
    /// A word for metrics and for the record of an attempt.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::Url => "bad_url",
            Self::NotPermitted => "not_permitted",
            Self::TimedOut => "timed_out",
            Self::Connect => "no_connection",
            Self::TooLarge => "too_large",
            Self::Broken => "broken",
        }
    }
}

/// What came back, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// Empty where it isn't said.
    pub content_type: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// Whether the body is said to be of a media type, whatever its parameters.
    #[must_use]
    pub fn is_of_type(&self, media_type: &str) -> bool {
        self.content_type.split(';').next().is_some_and(|given| given.trim().eq_ignore_ascii_case(media_type))
    }
}

/// Whether a text is a URL that can be called: of http or https, with a host.
#[must_use]
pub fn is_http_url(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Cloning shares the connections.
#[derive(Clone)]
pub struct Outgoing {
    client: Client,
    allowed: Arc<Allowed>,
}

impl Outgoing {
    /// # Errors
    /// When the system's certificate authorities can't be read.
    pub fn new(allowed: Allowed) -> Result<Self, reqwest::Error> {
        let allowed = Arc::new(allowed);
        let client = Client::builder()
            .user_agent(concat!("keyledger/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WITHIN)
            .timeout(CALL_WITHIN)
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .pool_idle_timeout(IDLE_FOR)
            .dns_resolver(Arc::new(Resolver { allowed: Arc::clone(&allowed), lookups: Arc::default() }))
            .build()?;
        Ok(Self { client, allowed })
    }

    /// A POST, of whose answer only the status matters. A redirect is an answer like any other.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, url: &str, headers: &[(&'static str, String)], body: Vec<u8>) -> Result<u16, OutgoingError> {
        let response = self.request(Method::POST, url, headers)?.body(body).send().await.map_err(|error| classify(&error))?;
        Ok(response.status().as_u16())
    }

    /// A GET, with an answer of at most [`REPLY_MAX`] bytes.
    ///
    /// # Errors
    /// When there is no answer, or a larger one.
    pub async fn get(&self, url: &str, headers: &[(&'static str, String)]) -> Result<Reply, OutgoingError> {
        let response = self.request(Method::GET, url, headers)?.send().await.map_err(|error| classify(&error))?;
        read(response, REPLY_MAX).await
    }

    /// A POST, with an answer of at most so many bytes.
    ///
    /// # Errors
    /// When there is no answer, or a larger one.
    pub async fn post_for_reply(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
        reply_max: usize,
    ) -> Result<Reply, OutgoingError> {
        let response = self.request(Method::POST, url, headers)?.body(body).send().await.map_err(|error| classify(&error))?;
        read(response, reply_max).await
    }

    fn request(&self, method: Method, url: &str, headers: &[(&'static str, String)]) -> Result<RequestBuilder, OutgoingError> {
        let url = Url::parse(url).map_err(|_| OutgoingError::Url)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(OutgoingError::Url);
        }
        // An address in any notation is an address here; only names come to the resolver.
        let is_permitted = match url.host().ok_or(OutgoingError::Url)? {
            Host::Ipv4(address) => self.allowed.permits(address.into()),
            Host::Ipv6(address) => self.allowed.permits(address.into()),
            Host::Domain(_) => true,
        };
        if !is_permitted {
            return Err(OutgoingError::NotPermitted);
        }
        let request = self.client.request(method, url);
        Ok(headers.iter().fold(request, |request, (name, value)| request.header(*name, value)))
    }
}

async fn read(mut response: Response, max: usize) -> Result<Reply, OutgoingError> {
    let status = response.status().as_u16();
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| classify(&error))? {
        if body.len() + chunk.len() > max {
            return Err(OutgoingError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply { status, content_type, body })
}

fn classify(error: &reqwest::Error) -> OutgoingError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<NotPermitted>() {
            return OutgoingError::NotPermitted;
        }
        cause = error.source();
    }
    if error.is_timeout() {
        OutgoingError::TimedOut
    } else if error.is_connect() {
        OutgoingError::Connect
    } else if error.is_builder() {
        OutgoingError::Url
    } else {
        OutgoingError::Broken
    }
}

/// None of a name's addresses may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("no permitted address")]
struct NotPermitted;

type Lookup = Shared<BoxFuture<'static, Result<Vec<SocketAddr>, Arc<io::Error>>>>;

/// Look-ups under way, by name. A name that doesn't resolve keeps a thread for longer than any call waits: one of them, however many ask.
#[derive(Default)]
struct Lookups(Mutex<HashMap<String, Lookup>>);

impl Lookups {
    fn of(self: &Arc<Self>, name: &str) -> Lookup {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lookup) = under_way.get(name) {
            return lookup.clone();
        }
        let (lookups, asked) = (Arc::clone(self), name.to_owned());
        let task = tokio::spawn(async move {
            let found = tokio::net::lookup_host((asked.as_str(), 0)).await.map(Iterator::collect).map_err(Arc::new);
            lookups.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&asked);
            found
        });
        let lookup = async move { task.await.unwrap_or_else(|error| Err(Arc::new(io::Error::other(error)))) }.boxed().shared();
        under_way.insert(name.to_owned(), lookup.clone());
        lookup
    }
}

/// Gives the connector the permitted addresses of a name and no others.
struct Resolver {
    allowed: Arc<Allowed>,
    lookups: Arc<Lookups>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (allowed, lookup) = (Arc::clone(&self.allowed), self.lookups.of(name.as_str()));
        Box::pin(async move {
            let name = name.as_str();
            let found = lookup.await?;
            let is_named = allowed.names(name);
            let is_found = !found.is_empty();
            let permitted: Vec<SocketAddr> = found.into_iter().filter(|address| is_named || allowed.permits(address.ip())).collect();
            if is_found && permitted.is_empty() {
                return Err(NotPermitted.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}
