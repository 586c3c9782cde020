//! What all routes have in common: the method, the request id, the answer to a panic, the rate limit of an address, the counting.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use axum::Router;
use axum::extract::{FromRequestParts, RawPathParams, Request};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use futures::FutureExt;
use futures::future::BoxFuture;
use ipnet::IpNet;
use uuid::Uuid;

use super::{
    admin::{self, AdminCall, Described, Input, Problem, Reply},
    body,
    client_ip::{client_ip, is_trusted, peer},
    codes::Code,
    doc::Doc,
    envelope::{self, Answer, Answered, internal},
    extract::Call,
    license_service,
    meters::RouteMeters,
    openapi,
    operation::{Family, Operation, Verb},
    turns,
};
use crate::app::App;

/// The route under which requests are counted that none matches.
const UNMATCHED: &str = "unmatched";

/// A request on its way to its handler.
pub struct Arrived {
    pub app: Arc<App>,
    pub request: Request,
    pub request_id: Uuid,
    pub client_ip: IpAddr,
    /// The parameters of its path, decoded.
    pub path: Vec<(String, String)>,
}

impl Arrived {
    /// A parameter of the path; empty where the path has none of that name.
    #[must_use]
    pub fn path_parameter(&self, name: &str) -> &str {
        self.path.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// An answer without a signature, for those who watch the service.
pub struct Plain {
    pub status: StatusCode,
    pub content_type: HeaderValue,
    pub body: String,
}

/// What a handler came to: the response, and the code under which it is counted.
type Served = BoxFuture<'static, (Response, u16)>;
type Service = Box<dyn Fn(Arrived) -> Served + Send + Sync>;

/// One operation with its description and its handler.
pub struct Route {
    pub operation: Operation,
    pub doc: &'static Doc,
    /// What the handler's own types say of its input and answer: administration alone.
    pub described: Option<Described>,
    service: Service,
}

/// The routes while they are being listed.
#[derive(Default)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// Adds an operation whose answers are signed.
    #[must_use]
    pub fn signed<H, F>(self, operation: Operation, doc: &'static Doc, handler: H) -> Self
    where
        H: Fn(Call) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answered> + Send + 'static,
    {
        self.add(operation, doc, None, move |arrived: Arrived| {
            let handler = handler.clone();
            async move {
                let (app, request_id) = (Arc::clone(&arrived.app), arrived.request_id);
                let handled = async { handler(Call::receive(arrived, &operation).await?).await };
                let (Ok(answer) | Err(answer)) = caught(operation.path, handled).await.unwrap_or_else(Err);
                debug_assert!(doc.names(answer.code), "{} answers {:?}, which its description doesn't name", operation.path, answer.code);
                let (response, code) = envelope::respond(&app, answer, request_id).await;
                (response, code.number())
            }
        })
    }

    /// Adds an operation of the administration: JSON in and out, problem details where it refuses.
    #[must_use]
    pub fn admin<H, F, I, O>(self, operation: Operation, doc: &'static Doc, handler: H) -> Self
    where
        H: Fn(AdminCall, I) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<O, Problem>> + Send + 'static,
        I: Input,
        O: Reply,
    {
        self.add(operation, doc, Some(Described::of::<I, O>()), move |arrived: Arrived| {
            let handler = handler.clone();
            async move {
                let request_id = arrived.request_id;
                let handled = async {
                    let (call, input) = AdminCall::receive(arrived, &operation).await?;
                    let _turn = if operation.folds() { Some(turns::to_fold().await?) } else { None };
                    handler(call, input).await
                };
                let result = caught(operation.path, handled).await.unwrap_or_else(|_| Err(Problem::internal()));
                let response = match result {
                    Ok(reply) => reply.into_response(request_id),
                    Err(problem) => problem.into_response(request_id),
                };
                let status = response.status().as_u16();
                (response, status)
            }
        })
    }

    /// Adds an operation that reads its request and writes its response itself: files, pages, other clients' formats.
    #[must_use]
    pub fn open<H, F>(self, operation: Operation, doc: &'static Doc, handler: H) -> Self
    where
        H: Fn(Arrived) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        self.add(operation, doc, None, move |arrived: Arrived| {
            let handler = handler.clone();
            async move {
                let (app, request_id) = (Arc::clone(&arrived.app), arrived.request_id);
                match caught(operation.path, handler(arrived)).await {
                    Ok(response) => {
                        let status = response.status().as_u16();
                        (response, status)
                    }
                    Err(answer) => refuse(&app, operation.family(), answer, request_id).await,
                }
            }
        })
    }

    /// Adds an operation that answers with a file where it succeeds; what refuses is signed.
    #[must_use]
    pub fn file<H, F>(self, operation: Operation, doc: &'static Doc, handler: H) -> Self
    where
        H: Fn(Arrived) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answered<Response>> + Send + 'static,
    {
        self.add(operation, doc, None, move |arrived: Arrived| {
            let handler = handler.clone();
            async move {
                let (app, request_id) = (Arc::clone(&arrived.app), arrived.request_id);
                match caught(operation.path, handler(arrived)).await.unwrap_or_else(Err) {
                    Ok(mut response) => {
                        envelope::stamp(response.headers_mut(), request_id);
                        let status = response.status().as_u16();
                        (response, status)
                    }
                    Err(answer) => {
                        debug_assert!(doc.names(answer.code), "{} answers {:?}, which its description doesn't name", operation.path, answer.code);
                        let (response, code) = envelope::respond(&app, answer, request_id).await;
                        (response, code.number())
                    }
                }
            }
        })
    }

    /// Adds an operation of interface B.
    #[must_use]
    pub fn service<H, F>(self, operation: Operation, doc: &'static Doc, handler: H) -> Self
    where
        H: Fn(Arrived) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = license_service::Served<Response>> + Send + 'static,
    {
        self.open(operation, doc, move |arrived: Arrived| {
            let (request_id, handled) = (arrived.request_id, handler(arrived));
            async move {
                let mut response = handled.await.unwrap_or_else(license_service::Refusal::into_response);
                envelope::stamp(response.headers_mut(), request_id);
                response
            }
        })
    }

    /// Adds a GET for everybody, whose handler writes its response itself; what refuses is signed.
    #[must_use]
    pub fn public<H, F>(self, operation: Operation, doc: &'static Doc, handler: H) -> Self
    where
        H: Fn(Arc<App>, HeaderMap) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answered<Response>> + Send + 'static,
    {
        self.open(operation, doc, move |arrived: Arrived| {
            let handled = handler(Arc::clone(&arrived.app), arrived.request.headers().clone());
            async move {
                match handled.await {
                    Ok(response) => response,
                    Err(answer) => envelope::respond(&arrived.app, answer, arrived.request_id).await.0,
                }
            }
        })
    }

    /// Adds a GET whose answers are not signed.
    #[must_use]
    pub fn plain<H, F>(self, operation: Operation, doc: &'static Doc, handler: H) -> Self
    where
        H: Fn(Arc<App>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Plain> + Send + 'static,
    {
        self.open(operation, doc, move |arrived: Arrived| {
            let handled = handler(Arc::clone(&arrived.app));
            async move {
                let Plain { status, content_type, body } = handled.await;
                envelope::plain(status, content_type, body, arrived.request_id)
            }
        })
    }

    fn add<S, F>(mut self, operation: Operation, doc: &'static Doc, described: Option<Described>, service: S) -> Self
    where
        S: Fn(Arrived) -> F + Send + Sync + 'static,
        F: Future<Output = (Response, u16)> + Send + 'static,
    {
        self.0.push(Route { operation, doc, described, service: Box::new(move |arrived| service(arrived).boxed()) });
        self
    }

    /// What API keys can be allowed: each once, in the order of the routes.
    pub fn capabilities(&self) -> Vec<String> {
        let mut capabilities: Vec<String> = Vec::new();
        for route in self.0.iter().filter(|route| route.doc.guard == super::doc::Guard::ApiKey || route.operation.says_capability()) {
            let capability = route.operation.capability();
            let reading = route.operation.has_reading_capability().then(|| admin::to_read(capability));
            let more = route.operation.shows_more().iter().map(|more| (*more).to_owned());
            for capability in std::iter::once(capability.to_owned()).chain(reading).chain(more) {
                if !capabilities.contains(&capability) {
                    capabilities.push(capability);
                }
            }
        }
        capabilities
    }

    /// The router that serves them. All other paths are not found.
    pub fn serve(self, app: Arc<App>) -> Router {
        // The document is the same for every router of a process: the first one's stays.
        let _ = app.openapi.set(openapi::document(&self.0, app.config.public_url.as_deref()));
        let mut paths: BTreeMap<&'static str, Vec<(Route, RouteMeters)>> = BTreeMap::new();
        for route in self.0 {
            let meters = RouteMeters::new(route.operation.path);
            paths.entry(route.operation.path).or_default().push((route, meters));
        }
        let mut router = Router::new();
        for (path, routes) in paths {
            let (app, routes) = (Arc::clone(&app), Arc::new(routes));
            router = router.route(
                path,
                any(move |request: Request| {
                    let (app, routes) = (Arc::clone(&app), Arc::clone(&routes));
                    async move { dispatch(app, &routes, request).await }
                }),
            );
        }
        let meters = Arc::new(RouteMeters::new(UNMATCHED));
        router.fallback(move |request: Request| {
            let (app, meters) = (Arc::clone(&app), Arc::clone(&meters));
            async move { not_found(&app, &meters, request).await }
        })
    }
}

async fn dispatch(app: Arc<App>, routes: &[(Route, RouteMeters)], request: Request) -> Response {
    let started = Instant::now();
    let (mut head, body) = request.into_parts();
    let request_id = request_id(&head.headers, &head.extensions, &app.config.trusted_proxies);
    let client_ip = client_ip(peer(&head.extensions), &head.headers, &app.config.trusted_proxies);
    let Some((_, first_meters)) = routes.first() else { return Response::new(axum::body::Body::empty()) };
    let found = routes.iter().find(|(route, _)| route.operation.verb.takes(&head.method));
    let (response, code, meters) = match found {
        None => {
            body::discard(body, &head.headers).await;
            let (response, code) = method_not_allowed(&app, routes, request_id).await;
            (response, code, first_meters)
        }
        Some((route, meters)) => {
            let family = route.operation.family();
            let over = route.operation.is_limited().then(|| app.limits.address_over(client_ip)).flatten();
            if let Some(wait_s) = over {
                body::discard(body, &head.headers).await;
                let (response, code) = refuse(&app, family, Answer::too_many_requests(wait_s), request_id).await;
                (response, code, meters)
            } else {
                let path = path_parameters(&mut head, route.operation.path).await;
                let request = Request::from_parts(head, body);
                let (response, code) = (route.service)(Arrived { app, request, request_id, client_ip, path }).await;
                (response, code, meters)
            }
        }
    };
    meters.answered(response.status().as_u16(), code, started.elapsed());
    response
}

async fn path_parameters(head: &mut axum::http::request::Parts, path: &str) -> Vec<(String, String)> {
    if !path.contains('{') {
        return Vec::new();
    }
    match RawPathParams::from_request_parts(head, &()).await {
        Ok(parameters) => parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        // Not UTF-8 once decoded: no parameter has that value.
        Err(_) => Vec::new(),
    }
}

/// A panic is an answer like any other error inside: the connection lives on.
async fn caught<T>(path: &'static str, handled: impl Future<Output = T>) -> Answered<T> {
    AssertUnwindSafe(handled).catch_unwind().await.map_err(|_| internal(&format_args!("the handler of {path} panicked")))
}

/// What answers in place of a handler, as the operation's neighbours do.
async fn refuse(app: &App, family: Family, answer: Answer, request_id: Uuid) -> (Response, u16) {
    match family {
        Family::Signed => {
            let (response, code) = envelope::respond(app, answer, request_id).await;
            (response, code.number())
        }
        Family::LicenseService => {
            let mut response = license_service::Refusal::from(answer).into_response();
            envelope::stamp(response.headers_mut(), request_id);
            let status = response.status().as_u16();
            (response, status)
        }
        Family::Admin => {
            let response = Problem::from(answer).into_response(request_id);
            let status = response.status().as_u16();
            (response, status)
        }
    }
}

async fn method_not_allowed(app: &App, routes: &[(Route, RouteMeters)], request_id: Uuid) -> (Response, u16) {
    let verbs: Vec<Verb> = routes.iter().map(|(route, _)| route.operation.verb).collect();
    let names: Vec<&str> = verbs.iter().map(|verb| verb.as_str()).collect();
    let family = routes.first().map_or(Family::Signed, |(route, _)| route.operation.family());
    let answer = Answer::error(Code::MethodNotAllowed, format!("This route takes {}.", names.join(", ")));
    let (mut response, code) = refuse(app, family, answer, request_id).await;
    let allow = verbs.iter().map(|verb| verb.allow()).collect::<Vec<_>>().join(", ");
    if let Ok(allow) = HeaderValue::from_str(&allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    (response, code)
}

async fn not_found(app: &App, meters: &RouteMeters, request: Request) -> Response {
    let started = Instant::now();
    let (head, body) = request.into_parts();
    body::discard(body, &head.headers).await;
    let answer = Answer::error(Code::NotFound, "There is no such route.");
    let request_id = request_id(&head.headers, &head.extensions, &app.config.trusted_proxies);
    let (response, code) = refuse(app, Family::of(head.uri.path()), answer, request_id).await;
    meters.answered(response.status().as_u16(), code, started.elapsed());
    response
}

/// A trusted proxy's request id where it is a UUID, else a new one: a client can't give what it does another request's id.
fn request_id(headers: &HeaderMap, extensions: &Extensions, trusted: &[IpNet]) -> Uuid {
    let header = headers.get("x-request-id").filter(|_| is_trusted(peer(extensions), trusted));
    let given = header.and_then(|value| Uuid::try_parse_ascii(value.as_bytes()).ok());
    given.unwrap_or_else(crate::clock::new_id)
}

/// All capabilities there are; `*` stands for every one of them.
#[must_use]
pub fn capabilities() -> &'static [String] {
    static CAPABILITIES: LazyLock<Vec<String>> = LazyLock::new(|| super::router::routes().capabilities());
    CAPABILITIES.as_slice()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::extract::ConnectInfo;

    use super::*;

    #[test]
    fn each_capability_is_there_once() {
        let all = capabilities();
        for name in ["verify", "get-license-keys", "admin:products", "admin:products:read", "ledger:read", "ledger:entries"] {
            assert_eq!(all.iter().filter(|capability| *capability == name).count(), 1, "{name}");
        }
        assert!(!all.contains(&"ledger:read:read".to_owned()));
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
