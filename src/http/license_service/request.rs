//! What a request shows, and the checks that both routes have in common, in the contract's order.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use axum::response::Response;
use keyledger_events::{
    license,
    values::{LicenseKey, domain},
};
use keyledger_projections::{ActivationRow, LicenseRow, ProductRow};
use uuid::Uuid;

use super::refusal::{Refusal, Served};
use crate::{
    app::App,
    http::{
        body,
        codes::Code,
        endpoint::Arrived,
        parameters::{Parameters, Value},
    },
    ledger::{Actor, DomainView, Origin},
    rate::Standing,
};

/// Stands for what is no text, so no key that anybody has.
const NO_KEY: &str = "\0";
/// As what a valid license is counted: interface A's code for it, since this one's answers have none.
const VALID: &str = Code::ValidLicenseKey.digits();

/// A license that is valid for the domain and product that the request shows.
pub struct Valid {
    pub app: Arc<App>,
    pub headers: HeaderMap,
    pub license: LicenseRow,
    pub product: ProductRow,
    pub activation: ActivationRow,
    pub origin: Origin,
}

/// What a valid license is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To know it; what the answer is gets counted.
    Verify,
    Download,
}

/// Serves a request that is counted against its address's limit: the headers tell where that stands.
pub async fn limited<F>(arrived: Arrived, purpose: Purpose, serve: impl FnOnce(Valid) -> F) -> Served<Response>
where
    F: Future<Output = Served<Response>>,
{
    let Arrived { app, request, request_id, client_ip: address, .. } = arrived;
    let (head, body) = request.into_parts();
    let (served, standing) = match authorized(&app, &head.headers, address) {
        Ok((key, standing)) => {
            let served = match valid(&app, purpose, head, body, key, address, request_id).await {
                Ok(valid) => serve(valid).await,
                Err(refusal) => Err(refusal),
            };
            (served, standing)
        }
        Err((refusal, standing)) => {
            body::discard(body, &head.headers).await;
            (Err(refusal), standing)
        }
    };
    let mut response = served.unwrap_or_else(Refusal::into_response);
    let is_limited = response.status() == StatusCode::TOO_MANY_REQUESTS;
    let headers = response.headers_mut();
    tell(headers, standing);
    if is_limited {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(standing.retry_after));
    }
    Ok(response)
}

/// The key that a request shows, if it may be looked up at all.
fn authorized(app: &App, headers: &HeaderMap, address: IpAddr) -> Result<(Option<LicenseKey>, Standing), (Refusal, Standing)> {
    let now = app.clock.now();
    match shown_key(headers) {
        Ok(key) => match app.license_rate.count(address, now) {
            // A text that can't be a key is one that nobody has.
            Ok(standing) => Ok((LicenseKey::parse(key).ok(), standing)),
            Err(standing) => Err((Refusal::RateLimitExceeded(standing), standing)),
        },
        Err(refusal) => Err((refusal, app.license_rate.look(address, now))),
    }
}

fn shown_key(headers: &HeaderMap) -> Served<&str> {
    let value = headers.get(header::AUTHORIZATION).ok_or(Refusal::MissingAuthorization)?.as_bytes().trim_ascii();
    let (scheme, key) = value.split_at(value.iter().position(|byte| *byte == b' ').unwrap_or(value.len()));
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Refusal::MissingAuthorization);
    }
    match key.trim_ascii() {
        [] => Err(Refusal::MissingLicenseKey),
        key => Ok(std::str::from_utf8(key).unwrap_or(NO_KEY)),
    }
}

async fn valid(
    app: &Arc<App>,
    purpose: Purpose,
    head: Parts,
    body: axum::body::Body,
    key: Option<LicenseKey>,
    address: IpAddr,
    request_id: Uuid,
) -> Served<Valid> {
    let received = body::read(body, &head.headers, body::BODY_MAX).await?;
    let mut parameters = Parameters::default();
    parameters.add_query(head.uri.query().unwrap_or_default())?;
    let content_type = head.headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    parameters.add_body(content_type, &received.bytes).await?;
    let domain = shown(&head.headers, HeaderName::from_static("x-domain"), &mut parameters, "domain")?.map(|text| domain(&text));
    let domain = domain.filter(|domain| !domain.is_empty());
    let product_id = shown(&head.headers, HeaderName::from_static("x-product-id"), &mut parameters, "product_id")?;

    let found = match &key {
        Some(key) => app.ledger.find_domain(key, domain.as_deref()).await?,
        None => None,
    };
    let found = found.ok_or(Refusal::InvalidLicense)?;
    let (number, product) = (found.license.license.number, found.license.license.product);
    let checked = checked(app, found, domain.as_deref(), product_id.as_deref());
    if purpose == Purpose::Verify
        && let Some(code) = checked.as_ref().err().map_or(Some(VALID), |refusal| refusal.error_code())
    {
        app.verifications.count(product, code, app.clock.now());
    }
    let (license, product, activation) = checked?;
    let origin = Origin {
        actor: Actor::License(number),
        request_id,
        client_ip: Some(address),
        operation: Some("license-service"),
        operator: None,
        reason: None,
    };
    Ok(Valid { app: Arc::clone(app), headers: head.headers, license, product, activation, origin })
}

/// What of a license that was found makes it valid for a domain and product.
fn checked(app: &App, found: DomainView, domain: Option<&str>, product_id: Option<&str>) -> Served<(LicenseRow, ProductRow, ActivationRow)> {
    let DomainView { license, product, activation } = found;
    if domain.is_none() {
        return Err(Refusal::MissingDomain);
    }
    let product_id = product_id.ok_or(Refusal::MissingProductId)?;
    let is_active = product.as_ref().is_some_and(|row| row.product.is_active());
    let product = product.ok_or(Refusal::InactiveLicense)?;
    license::check_access(&license.license, is_active, app.clock.now()).map_err(|_| Refusal::InactiveLicense)?;
    if license.license.active_count == 0 {
        return Err(Refusal::NoDomainConfigured);
    }
    let activation = activation.ok_or(Refusal::DomainMismatch)?;
    if !product_id.bytes().all(|byte| byte.is_ascii_digit()) || product_id.parse() != Ok(license.license.product) {
        return Err(Refusal::ProductIdMismatch);
    }
    Ok((license, product, activation))
}

/// A header, or else the parameter; blank is absent.
fn shown(headers: &HeaderMap, header: HeaderName, parameters: &mut Parameters, name: &'static str) -> Served<Option<String>> {
    let given = headers.get(header).map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned());
    let parameter = match parameters.take(name)? {
        Some(Value::Text(text)) => Some(text.trim().to_owned()),
        Some(Value::List(_) | Value::Object) => return Err(Refusal::Other(Code::BadRequest)),
        None | Some(Value::Null) => None,
    };
    Ok(given.filter(|text| !text.is_empty()).or(parameter).filter(|text| !text.is_empty()))
}

fn tell(headers: &mut HeaderMap, standing: Standing) {
    headers.insert("x-ratelimit-limit", HeaderValue::from(standing.limit));
    headers.insert("x-ratelimit-remaining", HeaderValue::from(standing.remaining));
    headers.insert("x-ratelimit-reset", HeaderValue::from(standing.reset_at));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: Option<&[u8]>) -> Result<String, Refusal> {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        shown_key(&headers).map(str::to_owned)
    }

    #[test]
    fn the_authorization_is_missing_malformed_or_a_key() {
        for bad in [None, Some(b"".as_slice()), Some(b"Basic abc"), Some(b"KEY"), Some(b"Bearerx KEY"), Some(b"\xfc")] {
            assert_eq!(shown(bad), Err(Refusal::MissingAuthorization), "{bad:?}");
        }
        for empty in [b"Bearer".as_slice(), b"Bearer ", b"bearer    "] {
            assert_eq!(shown(Some(empty)), Err(Refusal::MissingLicenseKey));
        }
        assert_eq!(shown(Some(b"Bearer KEY-1")), Ok("KEY-1".to_owned()));
        assert_eq!(shown(Some(b"bearer  KEY 1 ")), Ok("KEY 1".to_owned()));
        assert!(LicenseKey::parse(&shown(Some(b"Bearer \xfc")).unwrap()).is_err(), "no key of ours");
    }
}
