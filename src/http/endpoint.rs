//! What all routes have in common: the method, the request id, the answer to a panic, the envelope, the counting.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use futures::FutureExt;
use ipnet::IpNet;
use uuid::Uuid;

use super::{
    CAPABILITIES, body,
    client_ip::{is_trusted, peer},
    codes::Code,
    envelope::{self, Answer, Answered, internal},
    extract::Call,
    meters::RouteMeters,
};
use crate::app::App;

/// Where interface A lives.
const BASE: &str = "/api/v1/";
/// The route under which requests are counted that none matches.
const UNMATCHED: &str = "unmatched";

/// One operation: what the router and the access checks need to know of it.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub path: &'static str,
    pub is_get: bool,
    pub body_max: usize,
}

impl Operation {
    #[must_use]
    pub const fn get(path: &'static str) -> Self {
        Self { path, is_get: true, body_max: 0 }
    }

    #[must_use]
    pub const fn post(path: &'static str) -> Self {
        Self { path, is_get: false, body_max: body::BODY_MAX }
    }

    /// With another limit to the body.
    #[must_use]
    pub const fn body_max(self, body_max: usize) -> Self {
        Self { body_max, ..self }
    }

    /// What an API key must be allowed to call this: the path's end.
    #[must_use]
    pub fn capability(&self) -> &'static str {
        self.path.strip_prefix(BASE).unwrap_or(self.path)
    }

    fn allows(&self, method: &Method) -> bool {
        if self.is_get { method == Method::GET || method == Method::HEAD } else { method == Method::POST }
    }

    fn allow(&self) -> HeaderValue {
        HeaderValue::from_static(if self.is_get { "GET, HEAD" } else { "POST" })
    }
}

/// An answer without a signature, for those who watch the service.
pub struct Plain {
    pub status: StatusCode,
    pub content_type: HeaderValue,
    pub body: String,
}

/// The routes while they are being listed.
pub struct Routes {
    app: Arc<App>,
    router: Router,
    capabilities: Vec<&'static str>,
}

impl Routes {
    pub fn new(app: Arc<App>) -> Self {
        Self { app, router: Router::new(), capabilities: Vec::new() }
    }

    /// Adds an operation whose answers are signed.
    #[must_use]
    pub fn signed<H, F>(mut self, operation: Operation, handler: H) -> Self
    where
        H: Fn(Call) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answered> + Send + 'static,
    {
        let (app, meters) = (Arc::clone(&self.app), Arc::new(RouteMeters::new(operation.path)));
        self.capabilities.push(operation.capability());
        let service = move |request: Request| {
            let (app, meters, handler) = (Arc::clone(&app), Arc::clone(&meters), handler.clone());
            async move {
                let started = Instant::now();
                let request_id = request_id(request.headers(), request.extensions(), &app.config.trusted_proxies);
                let handled = async {
                    let request = allowed(&operation, request).await?;
                    handler(Call::receive(&app, &operation, request, request_id).await?).await
                };
                let (Ok(answer) | Err(answer)) = caught(operation.path, handled).await;
                let (response, code) = signed(&app, &operation, answer, request_id).await;
                meters.answered(response.status().as_u16(), code.number(), started.elapsed());
                response
            }
        };
        Self { router: self.router.route(operation.path, any(service)), ..self }
    }

    /// Adds a GET whose answers are not signed.
    #[must_use]
    pub fn plain<H, F>(self, path: &'static str, handler: H) -> Self
    where
        H: Fn(Arc<App>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Plain> + Send + 'static,
    {
        let (app, meters) = (Arc::clone(&self.app), Arc::new(RouteMeters::new(path)));
        let operation = Operation::get(path);
        let service = move |request: Request| {
            let (app, meters, handler) = (Arc::clone(&app), Arc::clone(&meters), handler.clone());
            async move {
                let started = Instant::now();
                let request_id = request_id(request.headers(), request.extensions(), &app.config.trusted_proxies);
                let handled = async {
                    allowed(&operation, request).await?;
                    Ok(handler(Arc::clone(&app)).await)
                };
                let response = match caught(operation.path, handled).await {
                    Ok(Plain { status, content_type, body }) => envelope::plain(status, content_type, body, request_id),
                    Err(answer) => signed(&app, &operation, answer, request_id).await.0,
                };
                let status = response.status().as_u16();
                meters.answered(status, status, started.elapsed());
                response
            }
        };
        Self { router: self.router.route(path, any(service)), ..self }
    }

    /// All other paths are not found.
    pub fn finish(self) -> Router {
        debug_assert_eq!(self.capabilities, CAPABILITIES, "the routes and the capabilities name the same operations");
        let (app, meters) = (self.app, Arc::new(RouteMeters::new(UNMATCHED)));
        self.router.fallback(move |request: Request| {
            let (app, meters) = (Arc::clone(&app), Arc::clone(&meters));
            async move { not_found(&app, &meters, request).await }
        })
    }
}

/// A panic is an answer like any other error inside: the connection lives on.
async fn caught<T>(path: &'static str, handled: impl Future<Output = Answered<T>>) -> Answered<T> {
    match AssertUnwindSafe(handled).catch_unwind().await {
        Ok(handled) => handled,
        Err(_) => Err(internal(&format_args!("the handler of {path} panicked"))),
    }
}

async fn signed(app: &App, operation: &Operation, answer: Answer, request_id: Uuid) -> (Response, Code) {
    let (mut response, code) = envelope::respond(app, answer, request_id).await;
    if code == Code::MethodNotAllowed {
        response.headers_mut().insert(header::ALLOW, operation.allow());
    }
    (response, code)
}

async fn not_found(app: &App, meters: &RouteMeters, request: Request) -> Response {
    let started = Instant::now();
    let (head, body) = request.into_parts();
    body::discard(body, &head.headers).await;
    let answer = Answer::error(Code::NotFound, "There is no such route.");
    let request_id = request_id(&head.headers, &head.extensions, &app.config.trusted_proxies);
    let (response, code) = envelope::respond(app, answer, request_id).await;
    meters.answered(response.status().as_u16(), code.number(), started.elapsed());
    response
}

async fn allowed(operation: &Operation, request: Request) -> Answered<Request> {
    if operation.allows(request.method()) {
        return Ok(request);
    }
    let (head, body) = request.into_parts();
    body::discard(body, &head.headers).await;
    let wanted = if operation.is_get { "GET" } else { "POST" };
    Err(Answer::error(Code::MethodNotAllowed, format!("This route takes {wanted}.")))
}

/// A trusted proxy's request id where it is a UUID, else a new one: a client can't give what it does another request's id.
fn request_id(headers: &HeaderMap, extensions: &Extensions, trusted: &[IpNet]) -> Uuid {
    let header = headers.get("x-request-id").filter(|_| is_trusted(peer(extensions), trusted));
    let given = header.and_then(|value| Uuid::try_parse_ascii(value.as_bytes()).ok());
    given.unwrap_or_else(crate::clock::new_id)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::extract::ConnectInfo;

    use super::*;

    #[test]
    fn the_capability_is_the_paths_end() {
        assert_eq!(Operation::post("/api/v1/verify").capability(), "verify");
        assert_eq!(Operation::get("/api/v1/contracts/get-info").capability(), "contracts/get-info");
    }

    #[test]
    fn a_request_id_is_taken_when_it_is_a_trusted_proxys_uuid() {
        const GIVEN: &str = "0190a5c0-0000-7000-8000-000000000001";
        let id = |peer: &str, value: &'static str, trusted: &[IpNet]| {
            let mut extensions = Extensions::new();
            extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 4711)));
            request_id(&HeaderMap::from_iter([("x-request-id".parse().unwrap(), HeaderValue::from_static(value))]), &extensions, trusted).to_string()
        };
        let trusted: [IpNet; 1] = ["127.0.0.0/8".parse().unwrap()];
        assert_eq!(id("127.0.0.1", GIVEN, &trusted), GIVEN);
        assert_eq!(id("::ffff:127.0.0.1", GIVEN, &trusted), GIVEN);
        assert_ne!(id("127.0.0.1", "not a uuid", &trusted), id("127.0.0.1", "not a uuid", &trusted));
        assert_ne!(id("198.51.100.1", GIVEN, &trusted), GIVEN);
        assert_ne!(id("127.0.0.1", GIVEN, &[]), GIVEN);
    }
}
