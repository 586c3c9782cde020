//! Interface B: a client that shows its license's key learns whether it is valid, and downloads the product's newest release by a
//! token that is good once. Plain JSON, without envelope or signature.

mod download;
mod refusal;
mod request;
mod verify;

pub use download::{DOWNLOAD, DOWNLOAD_FILE, download, download_file};
pub use refusal::{Refusal, Served};
pub use verify::{VERIFY, verify};

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use serde::Serialize;

/// What may be kept by nobody: an answer is true now.
fn no_cache(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(header::EXPIRES, HeaderValue::from_static("0"));
}

fn succeeded(message: &'static str, data: &impl Serialize) -> Served<Response> {
    #[derive(Serialize)]
    struct Success<'a, T> {
        success: bool,
        message: &'static str,
        data: &'a T,
    }
    refusal::json(axum::http::StatusCode::OK, &Success { success: true, message, data })
}
