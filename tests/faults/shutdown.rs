//! SIGTERM: the server takes nothing new, answers what it has taken, and exits with 0.

use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::load::Load;
use crate::support::{Backend, Ledger, PRODUCT, Running, both_backends, eventually, fields};

const ROUNDS: usize = 4;
const WORKERS: usize = 16;

both_backends!(sigterm_under_load_loses_nothing_acknowledged, sigterm_answers_the_request_that_is_on_its_way);

async fn sigterm_under_load_loses_nothing_acknowledged(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let mut server = ledger.serve().await;
    let product = server.client().new_product().await;
    let mut load = Load::new(product, WORKERS);
    for _ in 0..ROUNDS {
        let running = load.start(&[server.client()]);
        running.wait_for(rand::random_range(50..300)).await;
        server.stop().await;
        load = running.until_unanswered().await;
        server = ledger.serve().await;
        load.check_touched(&server.client()).await;
    }
    load.check_everything(&server.client()).await;
    ledger.expect_intact().await;
}

async fn sigterm_answers_the_request_that_is_on_its_way(backend: Backend) {
    let on = Running::start(backend).await;
    let product = on.api.new_product().await;
    let license = on.api.new_license(product, fields!()).await;
    let body = format!("license_key={license}&identifier=a.example&api_key={}", on.ledger.bootstrap_key);
    let head = "POST /api/v1/activate HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let (first, rest) = request.as_bytes().split_at(request.len() - 5);

    // One connection in the middle of a request, and one that is open and idle.
    let _idle = TcpStream::connect(on.api.address()).await.expect("the server accepts connections");
    let mut busy = TcpStream::connect(on.api.address()).await.expect("the server accepts connections");
    busy.write_all(first).await.expect("the bytes can be sent");
    // This answer, on a connection made later, shows that the server has taken the connections before it.
    on.api.with_own_connections().verify(&license, "a.example").await.expect(202, PRODUCT);
    on.server.signal(Signal::SIGTERM);
    let address = on.api.address().to_string();
    eventually("the server takes no new connections", || async { TcpStream::connect(&address).await.is_err().then_some(()) }).await;

    busy.write_all(rest).await.expect("the bytes can be sent");
    let mut received = String::new();
    busy.read_to_string(&mut received).await.expect("the server answers and closes");
    assert!(received.starts_with("HTTP/1.1 200"), "{received}");
    let Running { mut server, ledger, .. } = on;
    assert_eq!(server.wait().await.code(), Some(0), "{}", server.log_text());
    assert!(!server.log_text().contains('\u{1b}'), "no colours where no terminal is: {}", server.log_text());

    let server = ledger.serve().await;
    server.client().verify(&license, "a.example").await.expect(200, PRODUCT);
    ledger.expect_intact().await;
}
