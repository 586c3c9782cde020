//! A small HTTP server of a test, whose answers a closure makes.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A request as the server got it.
pub struct Asked {
    pub line: String,
    pub content_type: String,
    pub body: Vec<u8>,
}

/// Status, media type, body.
pub type Told = (u16, &'static str, Vec<u8>);

pub struct Server {
    pub url: String,
    requests: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub async fn start(answer: impl Fn(Asked) -> Told + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (answer, requests) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, requests) = (Arc::clone(&answer), Arc::clone(&counted));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, requests) = (Arc::clone(&answer), Arc::clone(&requests));
                    async move {
                        requests.fetch_add(1, Ordering::SeqCst);
                        let line = format!("{} {}", request.method(), request.uri());
                        let content_type = request.headers().get("content-type").map_or("", |value| value.to_str().unwrap()).to_string();
                        let body = request.into_body().collect().await.unwrap().to_bytes().to_vec();
                        let told = tokio::task::spawn_blocking(move || answer(Asked { line, content_type, body })).await;
                        let (status, media_type, body) = told.unwrap_or((500, "text/plain", b"the test's server panicked".to_vec()));
                        let response = Response::builder().status(status).header("content-type", media_type);
                        Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body))).unwrap())
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Server { url, requests, task }
    }

    /// How many requests came so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
