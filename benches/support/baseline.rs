//! The baseline of verify: an axum server that parses the form, makes one RSA-2048 signature on the handler's own task and
//! answers with a body of the same size. No ledger, no access control, no metrics.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::RSA_PKCS1_SHA256,
};
use axum::{Router, extract::State, http::header, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;

use super::{Result, load::VALID, process, server::Server};

/// The first argument of the benchmark's own program when it is to be the baseline.
const MODE: &str = "baseline-server";
/// How many bytes are signed: about what an answer to verify has.
const SIGNED_BYTES: usize = 200;

/// Serves the baseline if that is what this process was started for.
pub fn serve_if_asked() -> Result<bool> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, mode, body_bytes] = arguments.as_slice() else { return Ok(false) };
    if mode != MODE {
        return Ok(false);
    }
    let body_bytes = body_bytes.parse()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(body_bytes))?;
    Ok(true)
}

/// Starts this very program as a baseline whose answers have so many bytes.
pub fn start(body_bytes: usize) -> Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([MODE, &body_bytes.to_string()]);
    Server::start(command)
}

struct Baseline {
    key: KeyPair,
    /// The body without the signature.
    padding: String,
}

async fn serve(body_bytes: usize) -> Result<()> {
    let key = KeyPair::generate(KeySize::Rsa2048)?;
    let signature_bytes = BASE64.encode(vec![0; key.public_modulus_len()]).len();
    let padding = "x".repeat(body_bytes.saturating_sub(VALID.len() + signature_bytes));
    let router = Router::new().route("/api/v1/verify", post(verify)).with_state(Arc::new(Baseline { key, padding }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("baseline listening on http://{}", listener.local_addr()?);
    let listener = axum::serve::ListenerExt::tap_io(listener, |connection| {
        let _ = connection.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}

async fn verify(State(baseline): State<Arc<Baseline>>, body: Bytes) -> ([(header::HeaderName, &'static str); 1], String) {
    let (mut license_key, mut identifier) = (None, None);
    for (name, value) in form_urlencoded::parse(&body) {
        match name.as_ref() {
            "license_key" => license_key = Some(value.into_owned()),
            "identifier" => identifier = Some(value.into_owned()),
            _ => {}
        }
    }
    let mut answer = String::with_capacity(VALID.len() + baseline.padding.len() + 400);
    if let (Some(_), Some(_)) = (license_key, identifier) {
        answer.push_str(&String::from_utf8_lossy(VALID));
        let message = &baseline.padding.as_bytes()[..SIGNED_BYTES.min(baseline.padding.len())];
        answer.push_str(&sign(&baseline.key, message).unwrap_or_default());
        answer.push_str(&baseline.padding);
    }
    ([(header::CONTENT_TYPE, "application/json")], answer)
}

fn sign(key: &KeyPair, message: &[u8]) -> Result<String> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)?;
    Ok(BASE64.encode(signature))
}

/// CPU microseconds of one RSA-2048 signature, made on all cores at once, as a busy server does.
pub fn signature_micros(key: &Arc<KeyPair>, time: Duration) -> Result<f64> {
    let cores = std::thread::available_parallelism()?.get();
    let before = process::cpu_seconds(std::process::id())?;
    let threads: Vec<_> = (0..cores)
        .map(|_| {
            let key = Arc::clone(key);
            std::thread::spawn(move || {
                let started = Instant::now();
                let mut made: u64 = 0;
                while started.elapsed() < time {
                    sign_raw(&key)?;
                    made += 1;
                }
                Ok::<u64, aws_lc_rs::error::Unspecified>(made)
            })
        })
        .collect();
    let mut made = 0;
    for thread in threads {
        made += thread.join().map_err(|_| "a signing thread panicked")??;
    }
    Ok((process::cpu_seconds(std::process::id())? - before) * 1e6 / made as f64)
}

fn sign_raw(key: &KeyPair) -> std::result::Result<(), aws_lc_rs::error::Unspecified> {
    let mut signature = [0; 256];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &[b'x'; SIGNED_BYTES], &mut signature)
}
