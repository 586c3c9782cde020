//! The server's connections: accepted up to a limit, watched for slowness, drained at the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutWriter;

use super::router;
use crate::{app::App, webhooks};

/// Connections at the same time; more wait in the listener's queue. Each is a file descriptor and some kilobytes.
const CONNECTIONS_MAX: usize = 8_000;
/// File descriptors that something else needs: the database, files, outgoing calls, of which those to web hook endpoints are the most.
const OTHER_DESCRIPTORS: usize = 124 + webhooks::CONNECTIONS_MAX;
/// How long a request's head may take, and how long a connection may be idle before it.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// Largest head, and the largest piece of a body read at once.
const BUFFER_MAX: usize = 64 * 1024;
/// How long what has arrived may take to be read when the server stops: a connection whose request nobody has looked at yet would be
/// closed as an idle one.
const ARRIVED_WITHIN: Duration = Duration::from_millis(100);
/// How long requests in progress may take when the server stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);
/// How long to wait when no connection can be accepted: descriptors or memory are short, and that lasts.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` resolves, then lets the requests in progress end.
///
/// # Errors
/// When the listener has no address, so is none.
pub async fn serve(listener: TcpListener, app: Arc<App>, shutdown: impl Future) -> io::Result<()> {
    let address = listener.local_addr()?;
    let router = router(Arc::clone(&app));
    let limit = Arc::new(Semaphore::new(connections_within(raise_descriptor_limit())));
    let write_within = app.config.write_within;
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let permit = Arc::clone(&limit).acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, peer)| (stream, peer, permit))
        };
        let (stream, peer, permit) = tokio::select! {
            biased;
            _ = &mut shutdown => break,
            accepted = accepted => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            },
        };
        connections.spawn(connection(stream, peer, write_within, router.clone(), graceful.watcher(), permit));
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    tracing::info!(%address, connections = connections.len(), "stopping; requests in progress may end");
    tokio::time::sleep(ARRIVED_WITHIN).await;
    app.stopping.send_replace(true);
    if tokio::time::timeout(DRAIN_WITHIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests in progress took too long and are dropped");
    }
    connections.shutdown().await;
    Ok(())
}

/// Has this process use as many file descriptors as all connections take, where the system lets it: commonly it begins with 1,024. How many
/// it may use.
#[must_use]
pub fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = (CONNECTIONS_MAX + OTHER_DESCRIPTORS) as u64;
    let granted = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let is_enough = limit.current.is_none_or(|current| current >= granted);
    if !is_enough && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(granted), ..limit }) {
        tracing::warn!(%error, "the limit of file descriptors can't be raised");
    }
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |current| usize::try_from(current).unwrap_or(usize::MAX))
}

/// Where there are few descriptors, most are still for connections: seldom is everything else in use at once.
fn connections_within(descriptors: usize) -> usize {
    descriptors.saturating_sub(OTHER_DESCRIPTORS).max(descriptors / 4 * 3).clamp(1, CONNECTIONS_MAX)
}

async fn connection(stream: TcpStream, peer: SocketAddr, write_within: Duration, router: Router, watcher: Watcher, permit: OwnedSemaphorePermit) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection takes no TCP_NODELAY");
    }
    let service = TowerToHyperService::new(router);
    let with_peer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        service.call(request)
    });
    // A client that takes nothing of its answer would keep the answer and the connection for as long as it likes.
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(write_within));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(TokioIo::new(Box::pin(stream)), with_peer);
    if let Err(error) = watcher.watch(served).await {
        tracing::debug!(%error, "a connection ended badly");
    }
    drop(permit);
}

/// A connection that was gone before it was accepted is nothing; else the process is short of something.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::error!(%error, "connections can't be accepted");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        assert_eq!(connections_within(usize::MAX), CONNECTIONS_MAX);
        assert_eq!(connections_within(CONNECTIONS_MAX + OTHER_DESCRIPTORS), CONNECTIONS_MAX);
        assert_eq!(connections_within(CONNECTIONS_MAX), CONNECTIONS_MAX - OTHER_DESCRIPTORS);
        assert_eq!((connections_within(1_024), connections_within(0)), (768, 1));
    }
}
