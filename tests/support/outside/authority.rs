//! A time-stamping authority: `openssl ts` behind a small HTTP server.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

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

pub fn openssl(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("openssl").args(args).current_dir(folder).output().expect("openssl is installed");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "openssl {args:?}: {said}");
    said
}

/// A time-stamping authority in a folder: its key, its certificate and the root that this is by, its settings.
pub fn authority(digests: &str) -> Arc<TempDir> {
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
pub fn reply(folder: &Path, asked: &Asked) -> Told {
    assert_eq!((asked.line.as_str(), asked.content_type.as_str()), ("POST /tsr", "application/timestamp-query"));
    fs::write(folder.join("query"), &asked.body).unwrap();
    let args = ["ts", "-reply", "-queryfile", "query", "-config", "tsa.cnf", "-section", "tsa", "-signer", "cert.pem", "-inkey", "key.pem"];
    openssl(folder, &[&args[..], &["-out", "reply"]].concat());
    (200, "application/timestamp-reply", fs::read(folder.join("reply")).unwrap())
}

pub async fn start(folder: &Arc<TempDir>) -> Server {
    let (folder, one_at_a_time) = (Arc::clone(folder), Mutex::new(()));
    Server::start(move |asked| {
        let _guard = one_at_a_time.lock().unwrap();
        reply(folder.path(), &asked)
    })
    .await
}
