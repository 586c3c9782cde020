//! What is new in a product's releases: for everybody, and for caches on the way.

use aws_lc_rs::digest;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use keyledger_events::Timestamp;
use keyledger_projections::ReleaseRow;
use serde::Serialize;

use super::{
    codes::Code,
    doc::{Doc, Field, Given, Guard, Parameter, Place, Shape},
    endpoint::Arrived,
    envelope::{self, Answer, Answered, internal},
};
use crate::ledger::ProductName;

/// How long caches may keep it without asking: a release is seen everywhere a minute after it is published.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=60");

pub const CHANGELOG: Doc = Doc::new("What is new in a product's releases")
    .details("The published releases, newest first. Needs no key. May be kept for a minute; then If-None-Match asks whether it is the same still.")
    .guard(Guard::Nobody)
    .parameters(&[
        Parameter::required("slug", Shape::Text, "The product's name in addresses.").at(Place::Path),
        Parameter::optional("If-None-Match", Shape::Text, "The ETag of an earlier answer.").at(Place::Header),
    ])
    .codes(&[Code::ChangelogRetrieved, Code::ChangelogDisabledGlobally, Code::ChangelogDisabledForProduct, Code::NotFound])
    .fields(&[
        Field::new(
            "product",
            Shape::Object(&[
                Field::always("id", Shape::Integer, "Its number."),
                Field::always("name", Shape::Text, ""),
                Field::always("slug", Shape::Text, ""),
            ]),
            "",
        ),
        Field::new(
            "changelog",
            Shape::List(&Shape::Object(&[
                Field::always("version", Shape::Text, ""),
                Field::always("numeric_version", Shape::Integer, ""),
                Field::always("update_summary", Shape::Text, ""),
                Field::always("changelog", Shape::Text, ""),
                Field::always("release_date", Shape::Nullable(&Shape::Time), "YYYY-MM-DD HH:MM:SS, UTC."),
            ])),
            "",
        ),
    ])
    .given(&[Given::new(304, "The answer is the same as the one with that ETag.", "", Shape::Any)]);

#[derive(Serialize)]
struct Product<'a> {
    id: i64,
    name: &'a str,
    slug: &'a str,
}

#[derive(Serialize)]
struct Entry<'a> {
    version: &'a str,
    numeric_version: i64,
    update_summary: &'a str,
    changelog: &'a str,
    release_date: Option<String>,
}

impl<'a> Entry<'a> {
    fn new(row: &'a ReleaseRow) -> Self {
        let release = &row.release;
        Self {
            version: &release.version,
            numeric_version: release.numeric_version,
            update_summary: &release.update_summary,
            changelog: &release.changelog,
            release_date: release.release_date.map(Timestamp::date_time),
        }
    }
}

pub async fn show(arrived: Arrived) -> Answered<Response> {
    let slug = arrived.path_parameter("slug").to_owned();
    let Arrived { app, request, request_id, .. } = arrived;
    let found = app.ledger.find_product(&ProductName::Slug(slug.clone())).await?;
    let product = found.ok_or_else(|| Answer::error(Code::NotFound, "There is no product of this slug."))?.product;
    let key_pair = product.signing_key_pair();
    if !app.ledger.settings().await?.changelog {
        return Err(Answer::new(Code::ChangelogDisabledGlobally).signed_by(key_pair));
    }
    if !product.changelog {
        return Err(Answer::new(Code::ChangelogDisabledForProduct).signed_by(key_pair));
    }
    let releases = app.ledger.published_releases(product.number).await?;
    let shown = Product { id: product.number, name: &product.name, slug: &slug };
    let entries: Vec<Entry<'_>> = releases.iter().map(Entry::new).collect();
    let etag = etag(&(&shown, &entries, key_pair))?;
    let known = request.headers().get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|value| value.split(',')).any(|tag| matches!(tag.trim(), "*") || tag.trim() == etag);
    let mut response = if is_known {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let answer = Answer::new(Code::ChangelogRetrieved).signed_by(key_pair).field("product", &shown)?.field("changelog", &entries)?;
        let (response, code) = envelope::respond(&app, answer, request_id).await;
        if code != Code::ChangelogRetrieved {
            return Ok(response);
        }
        response
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, CACHE_CONTROL);
    headers.insert(header::ETAG, HeaderValue::from_str(&etag).map_err(|error| internal(&error))?);
    Ok(response)
}

/// Weak: two answers of the same content differ in their time and signature.
fn etag(content: &impl Serialize) -> Answered<String> {
    let json = serde_json::to_vec(content).map_err(|error| internal(&error))?;
    Ok(format!("W/\"{}\"", hex::encode(digest::digest(&digest::SHA256, &json))))
}
