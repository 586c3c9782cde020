//! Outgoing calls reach public addresses alone. Each rule has a listening server that must not be reached: what is tried is
//! refused, and no connection comes.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "../support/poll.rs"]
mod poll;
#[path = "../support/receiver.rs"]
mod receiver;

use keyledger::outgoing::{Allowed, Outgoing, OutgoingError, REPLY_MAX};
use receiver::Receiver;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn outgoing(allowed: &[&str]) -> Outgoing {
    Outgoing::new(Allowed::parse(allowed.iter().copied()).unwrap()).unwrap()
}

async fn post(outgoing: &Outgoing, url: &str) -> Result<u16, OutgoingError> {
    outgoing.post(url, &[("webhook-id", "msg_1".to_owned())], b"{}".to_vec()).await
}

/// None of these may be reached; then the same server is reached where it is allowed, so it was there.
async fn expect_unreachable(receiver: &Receiver, urls: &[String]) {
    let careful = outgoing(&[]);
    for url in urls {
        assert_eq!(post(&careful, url).await, Err(OutgoingError::NotPermitted), "{url}");
        assert_eq!(careful.get(url, &[]).await, Err(OutgoingError::NotPermitted), "{url}");
    }
    assert_eq!(receiver.connections(), 0, "a connection was made");
}

#[tokio::test]
async fn loopback_is_not_reached_in_any_notation() {
    let receiver = Receiver::start().await;
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "0",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
    ];
    let urls: Vec<String> = hosts.iter().map(|host| format!("http://{host}:{}/hook", receiver.port)).collect();
    expect_unreachable(&receiver, &urls).await;
    assert_eq!(post(&outgoing(&["127.0.0.0/8"]), &urls[2]).await, Ok(200), "the server is there");
    assert_eq!(receiver.received()[0].line, "POST /hook HTTP/1.1");
}

#[tokio::test]
async fn loopback_is_not_reached_over_ipv6() {
    let receiver = Receiver::on("[::1]:0").await;
    let urls: Vec<String> = ["[::1]", "[0:0:0:0:0:0:0:1]", "[::]"].iter().map(|host| format!("http://{host}:{}/", receiver.port)).collect();
    expect_unreachable(&receiver, &urls).await;
    assert_eq!(post(&outgoing(&["::1"]), &urls[0]).await, Ok(200), "the server is there");
}

#[tokio::test]
async fn private_and_link_local_addresses_are_not_called() {
    let careful = outgoing(&["127.0.0.1"]);
    for host in
        ["10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "[fe80::1]", "[fd00::1]", "[ff02::1]", "2852039166"]
    {
        assert_eq!(post(&careful, &format!("http://{host}/latest/meta-data")).await, Err(OutgoingError::NotPermitted), "{host}");
    }
}

/// The address that the machine has in its own network, where it has one.
#[tokio::test]
async fn the_machines_own_address_is_not_reached() {
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = probe.connect("192.0.2.1:9").and_then(|()| probe.local_addr()).map(|address| address.ip());
    let Ok(own) = own else { return };
    if keyledger::outgoing::is_public(own) || own.is_loopback() {
        return;
    }
    let receiver = Receiver::on("0.0.0.0:0").await;
    let url = format!("http://{own}:{}/", receiver.port);
    expect_unreachable(&receiver, std::slice::from_ref(&url)).await;
    assert_eq!(post(&outgoing(&[&own.to_string()]), &url).await, Ok(200), "the server is there");
}

/// What a name resolves to decides, on the addresses that are then connected to.
#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_not_reached() {
    let receiver = Receiver::start().await;
    let urls: Vec<String> = ["localhost", "LOCALHOST"].iter().map(|host| format!("http://{host}:{}/", receiver.port)).collect();
    expect_unreachable(&receiver, &urls).await;
    // Not every resolver knows this form.
    let refused = post(&outgoing(&[]), &format!("http://localhost.:{}/", receiver.port)).await;
    assert!(matches!(refused, Err(OutgoingError::NotPermitted | OutgoingError::Connect)), "{refused:?}");
    assert_eq!(receiver.connections(), 0, "a connection was made");
    assert_eq!(post(&outgoing(&["localhost"]), &urls[0]).await, Ok(200), "a host that is allowed by name");
    assert_eq!(post(&outgoing(&["127.0.0.1"]), &urls[0]).await, Ok(200), "a name of an address that is allowed");
    assert_eq!(post(&outgoing(&["other.example"]), &urls[0]).await, Err(OutgoingError::NotPermitted));
    // A resolver that asks others may take its time.
    let unknown = post(&outgoing(&[]), "http://no-such-host.invalid/").await;
    assert!(matches!(unknown, Err(OutgoingError::Connect | OutgoingError::TimedOut)), "{unknown:?}");
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let (receiver, elsewhere) = (Receiver::start().await, Receiver::on("127.0.0.2:0").await);
    let open = outgoing(&["127.0.0.0/8"]);
    for status in [301, 302, 303, 307, 308] {
        receiver.answer_with(&[status]);
        assert_eq!(post(&open, &receiver.url("/")).await, Ok(status));
        receiver.answer_with(&[status]);
        assert_eq!(open.get(&receiver.url("/"), &[]).await.unwrap().status, status);
    }
    assert!(receiver.received().iter().all(|received| received.line.contains(" / ")), "not even to the same host");
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn only_http_is_spoken_and_no_proxy_is_asked() {
    let careful = outgoing(&[]);
    for url in ["file:///etc/passwd", "ftp://a.example/", "gopher://127.0.0.1/", "http://", "not a url", "javascript:alert(1)", "unix:/run/x", ""] {
        assert_eq!(post(&careful, url).await, Err(OutgoingError::Url), "{url}");
    }
}

#[tokio::test]
async fn an_answer_is_bounded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // An answer that comes before its request would be none.
                let _ = stream.read(&mut [0; 4_096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
                let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
                while stream.write_all(&chunk).await.is_ok() {}
            });
        }
    });
    let open = outgoing(&["127.0.0.1"]);
    assert_eq!(open.get(&url, &[]).await, Err(OutgoingError::TooLarge));
    assert_eq!(post(&open, &url).await, Ok(200), "of whose answer nothing is read");
    const { assert!(REPLY_MAX < 64 * 1024 * 1024) };
}

#[tokio::test]
async fn a_receiver_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let held = tokio::spawn(async move {
        let mut streams = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            streams.push(stream);
        }
    });
    let started = std::time::Instant::now();
    assert_eq!(post(&outgoing(&["127.0.0.1"]), &url).await, Err(OutgoingError::TimedOut));
    assert!(started.elapsed() < keyledger::outgoing::CALL_WITHIN + std::time::Duration::from_secs(5));
    held.abort();
}
