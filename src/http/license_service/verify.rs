//! Whether a license is valid for a domain and product.

use axum::response::Response;
use keyledger_events::Timestamp;
use serde::Serialize;

use super::{
    refusal::Served,
    request::{Purpose, Valid, limited},
    succeeded,
};
use crate::http::{
    doc::{Doc, Field, Given, Guard, Parameter, Place, Shape},
    endpoint::Arrived,
};

#[derive(Serialize)]
struct Verified<'a> {
    license_id: i64,
    license_key: &'a str,
    product_id: i64,
    product_name: &'a str,
    user_id: Option<i64>,
    is_active: bool,
    last_rotated: Timestamp,
    created_at: Timestamp,
    domain: Option<&'a str>,
}

/// What both routes take, wherever the client puts it.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::optional("X-Domain", Shape::Text, "Where the license is used. Compared without scheme, port and leading www.").at(Place::Header),
    Parameter::optional("X-Product-ID", Shape::Text, "The product's number.").at(Place::Header),
    Parameter::optional("domain", Shape::Text, "As X-Domain; in the query or the body.").at(Place::Query),
    Parameter::optional("product_id", Shape::Text, "As X-Product-ID; in the query or the body.").at(Place::Query),
];

/// What a refusal looks like.
pub(super) const FAILURE: Shape = Shape::Object(&[
    Field::always("success", Shape::Boolean, "false"),
    Field::always("message", Shape::Text, "For a person."),
    Field::new("error_code", Shape::Text, "For a program."),
]);

pub const VERIFY: Doc = Doc::new("Check that a license is valid for a domain and product")
    .details("At most 60 requests a minute from one address, together with /download; the headers X-RateLimit-… tell how many are left.")
    .guard(Guard::LicenseKey)
    .parameters(PARAMETERS)
    .given(&[
        Given::json(
            200,
            "It is.",
            Shape::Object(&[
                Field::always("success", Shape::Boolean, "true"),
                Field::always("message", Shape::Text, ""),
                Field::always(
                    "data",
                    Shape::Object(&[
                        Field::always("license_id", Shape::Integer, ""),
                        Field::always("license_key", Shape::Text, ""),
                        Field::always("product_id", Shape::Integer, ""),
                        Field::always("product_name", Shape::Text, ""),
                        Field::always("user_id", Shape::Nullable(&Shape::Integer), "The owner's number."),
                        Field::always("is_active", Shape::Boolean, ""),
                        Field::always("last_rotated", Shape::Time, "When the license's key was replaced last."),
                        Field::always("created_at", Shape::Time, ""),
                        Field::always("domain", Shape::Nullable(&Shape::Text), "The domain that matched, as it was activated."),
                    ]),
                    "",
                ),
            ]),
        ),
        Given::json(400, "MISSING_DOMAIN, MISSING_PRODUCT_ID, or the request can't be read.", FAILURE),
        Given::json(401, "MISSING_AUTHORIZATION, MISSING_LICENSE_KEY, INVALID_LICENSE.", FAILURE),
        Given::json(403, "INACTIVE_LICENSE, NO_DOMAIN_CONFIGURED, DOMAIN_MISMATCH, PRODUCT_ID_MISMATCH.", FAILURE),
        Given::json(413, "The body is too large.", FAILURE),
        Given::json(415, "The body is of an unknown type.", FAILURE),
        Given::json(429, "RATE_LIMIT_EXCEEDED.", FAILURE),
        Given::json(500, "Internal error.", FAILURE),
        Given::json(503, "The ledger is not available.", FAILURE),
    ]);

pub async fn verify(arrived: Arrived) -> Served<Response> {
    limited(arrived, Purpose::Verify, async |Valid { license: row, product, activation, .. }| {
        let license = &row.license;
        let verified = Verified {
            license_id: license.number,
            license_key: &license.key,
            product_id: license.product,
            product_name: &product.product.name,
            user_id: license.owner,
            is_active: true,
            last_rotated: license.key_replaced_at.unwrap_or(row.created_at),
            created_at: row.created_at,
            domain: activation.activation.identifier.as_deref(),
        };
        succeeded("License is valid and active", &verified)
    })
    .await
}
