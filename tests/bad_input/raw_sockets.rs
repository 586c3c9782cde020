//! What no HTTP client sends: broken HTTP, connections that stop in the middle, bytes that are no HTTP at all.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Target;
use crate::support::{Answer, Backend, PRODUCT, both_backends, poll::DEADLINE};

both_backends!(broken_http_does_no_harm, connections_that_stop_in_the_middle_do_no_harm, odd_but_valid_http_is_answered);

/// How long a test waits for an answer that may never come: the server may also just close, or wait for the rest.
const PATIENCE: Duration = Duration::from_millis(300);

/// Sends the bytes and returns what comes back until the server closes or is silent for so long.
async fn exchange(address: &str, bytes: &[u8], patience: Duration) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the server accepts connections");
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut received = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while let Ok(Ok(count @ 1..)) = tokio::time::timeout(patience, stream.read(&mut buffer)).await {
        received.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&received).into_owned()
}

/// The HTTP status of a raw answer, if there was one.
fn status_of(received: &str) -> Option<u16> {
    received.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}

async fn broken_http_does_no_harm(backend: Backend) {
    let target = Target::start(backend).await;
    let address = target.api().address();
    let mut noise = vec![0_u8; 4096];
    noise.iter_mut().for_each(|byte| *byte = rand::random());
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(200_000));
    let long_header = format!("GET /health/live HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(2_000_000));
    let many_headers = format!("GET /health/live HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: b\r\n".repeat(5_000));
    let cases: [&[u8]; 19] = [
        b"\0",
        b"\r\n\r\n\r\n\r\n",
        &noise,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /health/live\r\n\r\n",
        b"GET /health/live HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /api/v1/verify\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /api/v1/verify HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/verify HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /api/v1/verify HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /api/v1/verify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /api/v1/verify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"POST /api/v1/verify HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n",
        long_path.as_bytes(),
        long_header.as_bytes(),
        many_headers.as_bytes(),
    ];
    for case in cases {
        let received = exchange(address, case, PATIENCE).await;
        let status = status_of(&received);
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{:?} is answered {received}", String::from_utf8_lossy(case));
    }
    target.expect_untouched().await;
}

async fn connections_that_stop_in_the_middle_do_no_harm(backend: Backend) {
    let target = Target::start(backend).await;
    let body = format!("license_key={}&identifier=half.example&api_key={}", target.license, target.on.ledger.bootstrap_key);
    let request = format!(
        "POST /api/v1/activate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // Every stop before the last byte, some with a half-closed and some with a dropped connection.
    for length in (0..request.len()).step_by(7) {
        let mut stream = TcpStream::connect(target.api().address()).await.expect("the server accepts connections");
        stream.write_all(&request.as_bytes()[..length]).await.expect("the bytes can be sent");
        if length % 2 == 0 {
            stream.shutdown().await.expect("the connection can be half closed");
            let mut received = Vec::new();
            let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut received)).await;
            let received = String::from_utf8_lossy(&received).into_owned();
            assert!(status_of(&received).is_none_or(|status| (400..500).contains(&status)), "cut at {length}: {received}");
        }
    }
    target.expect_untouched().await;
    // The whole of it works: the cuts were what kept it from happening.
    assert_eq!(status_of(&exchange(target.api().address(), request.as_bytes(), DEADLINE).await), Some(200));
    target.api().verify(&target.license, "half.example").await.expect(200, PRODUCT);
}

async fn odd_but_valid_http_is_answered(backend: Backend) {
    let target = Target::start(backend).await;
    let key = &target.on.ledger.bootstrap_key;
    let body = format!("license_key={}&identifier=a.example", target.license);
    let headers = format!("Authorization: Bearer {key}\r\nContent-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n");
    let path = "/api/v1/verify";
    let (half, rest) = body.split_at(10);
    let cases = [
        (200, format!("POST {path} HTTP/1.0\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())),
        (
            200,
            format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{half}\r\n{:x};ext=1\r\n{rest}\r\n0\r\nTrailer: x\r\n\r\n",
                half.len(),
                rest.len()
            ),
        ),
        (200, format!("POST http://elsewhere.example{path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())),
        (404, format!("GET /api/v1/%00 HTTP/1.1\r\nHost: x\r\n{headers}\r\n")),
        (404, format!("GET /%ff%fe HTTP/1.1\r\nHost: x\r\n{headers}\r\n")),
        (404, format!("POST //api/v1/verify HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: 0\r\n\r\n")),
        (405, format!("BREW {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")),
        (401, format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer \u{fc}\u{df}\r\nContent-Length: 0\r\n\r\n")),
    ];
    for (expected, request) in cases {
        let received = exchange(target.api().address(), request.as_bytes(), DEADLINE).await;
        assert_eq!(status_of(&received), Some(expected), "{request}\n\n{received}");
        let (_, envelope) = received.split_once("\r\n\r\n").expect("an answer has a head and a body");
        let envelope = &envelope[envelope.find('{').expect("an envelope")..=envelope.rfind('}').expect("an envelope")];
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let answer = Answer::read(expected, headers, envelope, target.api().ring()).await;
        assert!(answer.code() == 200 || answer.code() == 100 || answer.code() == 9000 + i64::from(expected), "{}", answer.response);
    }
    target.expect_untouched().await;
}
