//! Dispute files are made one at a time: each takes a core and much memory until it is with whoever asked for it.

use futures::future::join_all;
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{AdminAnswer, Backend, PRODUCT, Running, both_backends, eventually, fields};

both_backends!(a_file_has_its_turn_until_it_is_taken, a_client_that_hangs_up_early_ends_the_turn_in_the_end);

/// Activations of the license: so many that its file is larger than what fits between two sockets.
const ACTIVATIONS: usize = 1_200;
/// How many are made at once.
const AT_ONCE: usize = 50;

/// A license with a long history.
async fn storied(on: &Running, activations: usize) -> String {
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!(activation_limit: 0)).await;
    let url = format!("https://a.example/{}", "x".repeat(2_000));
    for first in (0..activations).step_by(AT_ONCE) {
        let activated = (first..first + AT_ONCE)
            .map(|number| on.api.form("activate", fields!(license_key: license, identifier: format!("{number}.example"), post_url: url)));
        for answer in join_all(activated).await {
            answer.expect(300, PRODUCT);
        }
    }
    license
}

fn path(license: &str) -> String {
    format!("/ledger/v1/licenses/{license}/evidence")
}

/// Asks for a file on a connection that takes little at a time.
async fn ask(on: &Running, license: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut stream = socket.connect(on.api.address().parse().expect("an address")).await.expect("the server accepts connections");
    let head =
        format!("POST {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 0\r\n\r\n", path(license), on.ledger.bootstrap_key);
    stream.write_all(head.as_bytes()).await.expect("the server reads");
    stream
}

/// A whole file, or the problem with it.
async fn export(on: &Running, license: &str) -> Result<Vec<u8>, AdminAnswer> {
    let response = on.api.request(Method::POST, &path(license)).send().await.expect("the server answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.expect("a whole answer").to_vec();
    if status == 200 {
        return Ok(body);
    }
    Err(AdminAnswer { status, headers, body: serde_json::from_slice(&body).expect("JSON") })
}

async fn a_file_has_its_turn_until_it_is_taken(backend: Backend) {
    let on = Running::start(backend).await;
    let license = storied(&on, ACTIVATIONS).await;
    let mut slow = ask(&on, &license).await;
    let mut begin = [0; 12];
    slow.read_exact(&mut begin).await.expect("an answer");
    assert_eq!(&begin, b"HTTP/1.1 200");

    let events = on.ledger.event_count().await;
    let refused = export(&on, &license).await.expect_err("the other one is on its way");
    refused.expect_problem(503, "unavailable");
    assert_eq!(on.ledger.event_count().await, events, "what is refused publishes no checkpoint");

    drop(slow);
    let file = eventually("the next one has its turn", || async { export(&on, &license).await.ok() }).await;
    assert!(file.len() > 5_000_000 && file.starts_with(b"PK"), "{} bytes", file.len());
    let saved = on.ledger.directory().join("case.zip");
    std::fs::write(&saved, file).expect("it can be saved");
    on.ledger.run(&["evidence", "verify", saved.to_str().expect("text")]).await.success();
}

async fn a_client_that_hangs_up_early_ends_the_turn_in_the_end(backend: Backend) {
    let on = Running::start(backend).await;
    let license = storied(&on, AT_ONCE).await;
    let events = on.ledger.event_count().await;
    drop(ask(&on, &license).await);
    eventually("the next one has its turn", || async { export(&on, &license).await.ok() }).await;
    assert!(on.ledger.event_count().await > events);
    on.ledger.expect_intact().await;
}
