//! Time-stamps by `openssl ts` behind a small HTTP server; `openssl ts -verify` accepts what is brought back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use keyledger::evidence::handout::Checkpoint;
use keyledger::evidence::handout::timestamp::{Authority, TimestampError};
use keyledger::outgoing::{Allowed, Outgoing, OutgoingError};
use tempfile::TempDir;

use super::log::Log;
use super::outgoing;
use super::server::{Asked, Server, Told};

const CONFIG: &str = r"
[ req ]
distinguished_name = name
prompt = no
[ name ]
CN = Time-stamping test
[ root ]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign
[ stamping ]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[ tsa ]
serial = serial
default_policy = 1.2.3.4.1
digests = DIGESTS
signer_digest = sha256
accuracy = secs:1
clock_precision_digits = 3
ordering = yes
ess_cert_id_alg = sha256
";

fn openssl(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("openssl").args(args).current_dir(folder).output().expect("openssl is installed");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "openssl {args:?}: {said}");
    said
}

/// A time-stamping authority in a folder: its key, its certificate and the root that this is by, its settings.
fn authority(digests: &str) -> Arc<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tsa.cnf"), CONFIG.replace("DIGESTS", digests)).unwrap();
    let new = ["req", "-newkey", "rsa:2048", "-nodes", "-config", "tsa.cnf"];
    openssl(folder.path(), &[&new[..], &["-x509", "-days", "2", "-extensions", "root", "-keyout", "root.key", "-out", "root.pem"]].concat());
    openssl(folder.path(), &[&new[..], &["-keyout", "key.pem", "-out", "request.pem"]].concat());
    let sign = ["x509", "-req", "-in", "request.pem", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "2"];
    openssl(folder.path(), &[&sign[..], &["-extfile", "tsa.cnf", "-extensions", "stamping", "-out", "cert.pem"]].concat());
    Arc::new(folder)
}

/// One reply by `openssl ts -reply`; one at a time, since they count their serial numbers in a file.
fn reply(folder: &Path, asked: &Asked) -> Told {
    assert_eq!((asked.line.as_str(), asked.content_type.as_str()), ("POST /tsr", "application/timestamp-query"));
    fs::write(folder.join("query"), &asked.body).unwrap();
    let args = ["ts", "-reply", "-queryfile", "query", "-config", "tsa.cnf", "-section", "tsa", "-signer", "cert.pem", "-inkey", "key.pem"];
    openssl(folder, &[&args[..], &["-out", "reply"]].concat());
    (200, "application/timestamp-reply", fs::read(folder.join("reply")).unwrap())
}

async fn start(folder: &Arc<TempDir>) -> Server {
    let (folder, one_at_a_time) = (Arc::clone(folder), Mutex::new(()));
    Server::start(move |asked| {
        let _guard = one_at_a_time.lock().unwrap();
        reply(folder.path(), &asked)
    })
    .await
}

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
