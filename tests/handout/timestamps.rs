//! Time-stamps by `openssl ts`; `openssl ts -verify` accepts what is brought back.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use keyledger::evidence::handout::Checkpoint;
use keyledger::evidence::handout::timestamp::{Authority, TimestampError};
use keyledger::outgoing::{Allowed, Outgoing, OutgoingError};

use super::log::Log;
use super::outgoing;
use super::outside::authority::{authority, openssl, reply, start};
use super::outside::server::{Server, Told};

fn client(server: &Server) -> Authority {
    Authority::parse(&format!("{}/tsr", server.url), outgoing()).unwrap()
}

#[tokio::test]
async fn openssl_accepts_the_token() {
    let folder = authority("sha256, sha512");
    let server = start(&folder).await;
    let authority = client(&server);
    for size in [3, 4] {
        let checkpoint = Log::new(9).checkpoint(size);
        let token = authority.hand_out(&checkpoint).await.unwrap();
        assert!(token.time.starts_with("20") && token.time.ends_with('Z'), "{}", token.time);
        let at = |name: &str| -> PathBuf { folder.path().join(name) };
        fs::write(at("token"), &token.der).unwrap();
        fs::write(at("note"), checkpoint.note.as_bytes()).unwrap();
        let said = openssl(folder.path(), &["ts", "-verify", "-data", "note", "-in", "token", "-token_in", "-CAfile", "root.pem"]);
        assert!(said.contains("Verification: OK"), "{said}");
        let shown = openssl(folder.path(), &["ts", "-reply", "-in", "token", "-token_in", "-token_out", "-text"]);
        assert!(shown.contains("Hash Algorithm: sha256"), "{shown}");
        assert!(openssl(folder.path(), &["pkcs7", "-inform", "DER", "-in", "token", "-print_certs", "-noout"]).contains("Time-stamping test"));
    }
}

#[tokio::test]
async fn a_refusal_is_told() {
    let folder = authority("sha512");
    let server = start(&folder).await;
    let result = client(&server).hand_out(&Log::new(3).checkpoint(3)).await;
    assert!(matches!(result, Err(TimestampError::Refused(2))), "{result:?}");
}

#[tokio::test]
async fn an_answer_to_another_request_is_refused() {
    let folder = authority("sha256");
    let kept = Mutex::new(None::<Told>);
    let shared = Arc::clone(&folder);
    // Whatever is asked, the first answer is given again.
    let server = Server::start(move |asked| kept.lock().unwrap().get_or_insert_with(|| reply(shared.path(), &asked)).clone()).await;
    let (authority, log) = (client(&server), Log::new(5));
    authority.hand_out(&log.checkpoint(3)).await.unwrap();
    let result = authority.hand_out(&log.checkpoint(3)).await;
    assert!(matches!(result, Err(TimestampError::OtherNonce)), "{result:?}");
    let result = authority.hand_out(&log.checkpoint(4)).await;
    assert!(matches!(result, Err(TimestampError::OtherImprint)), "{result:?}");
}

#[tokio::test]
async fn what_is_no_time_stamp_is_refused() {
    let ask = async |told: Told| {
        let server = Server::start(move |_| told.clone()).await;
        client(&server).hand_out(&Checkpoint { size: 1, note: "note".into() }).await
    };
    for body in [&b""[..], b"<html>", &[0x30, 0x80], &[0x30, 0x03, 0x30, 0x01, 0x02], &[0xff; 5_000]] {
        let result = ask((200, "application/timestamp-reply", body.to_vec())).await;
        assert!(matches!(result, Err(TimestampError::Malformed(_))), "{result:?}");
    }
    let result = ask((503, "text/plain", Vec::new())).await;
    assert!(matches!(result, Err(TimestampError::Http(503))), "{result:?}");
    let result = ask((200, "application/timestamp-reply", vec![0x30; 200_000])).await;
    assert!(matches!(result, Err(TimestampError::Outgoing(OutgoingError::TooLarge))), "{result:?}");
}

#[test]
fn an_authority_is_configured_with_its_url_and_named_without_its_secrets() {
    let authority = |text: &str| Authority::parse(text, Outgoing::new(Allowed::default()).unwrap()).map(|authority| authority.name().to_owned());
    assert_eq!(authority("https://user:secret@tsa.example/tsr/?key=secret").as_deref(), Ok("tsa.example/tsr"));
    for bad in ["", "tsa.example", "ftp://tsa.example", "file:///etc/passwd"] {
        assert!(authority(bad).is_err(), "{bad}");
    }
}
