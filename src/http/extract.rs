//! From a request to a call: parse, check the API key, look at the block list. What a handler is given has passed all three.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use keyledger_events::{
    license::AccessRefusal,
    values::{Identifier, LicenseKey, MetaKey, TextError, long_text, short_text},
};

use super::{
    body::{self, Received},
    codes::Code,
    endpoint::Arrived,
    envelope::{Answer, Answered},
    items::Items,
    operation::Operation,
    parameters::{Parameters, Value},
    validate::{self, URL_BYTES_MAX},
};
use crate::{
    access::AccessError,
    app::App,
    ledger::{Actor, Command, Idempotency, Origin, Outcome, ProductName, Request as LedgerRequest},
};

/// Longest `Idempotency-Key`, in bytes.
const IDEMPOTENCY_KEY_MAX: usize = 255;
/// Stands for a header that is not ASCII, which every key is.
const NO_KEY: &str = "?";
/// A number that no product has: numbers start at 1. It stands for everything that is no product's number.
pub const NO_PRODUCT: i64 = 0;
/// The largest number that JSON takes from one program to another unchanged (RFC 8785): an event that held a larger one would be read
/// with another.
const NUMBER_MAX: i64 = (1 << 53) - 1;

/// One permitted call of an operation.
pub struct Call {
    pub app: Arc<App>,
    pub origin: Origin,
    headers: HeaderMap,
    parameters: Parameters,
    idempotency: Option<IdempotencyKey>,
    /// Kept for its share of memory.
    _received: Received,
}

/// An `Idempotency-Key`, and what was asked for under it: other parameters are none of the request.
struct IdempotencyKey {
    id: Vec<u8>,
    asked: Vec<(&'static str, String)>,
}

/// A list as a parameter: an array in JSON, its text in a form.
pub enum List {
    Items(Items),
    /// It was given, but is no list.
    Malformed,
}

impl Call {
    /// Parses a request and checks who asks.
    ///
    /// # Errors
    /// The answer to a request that can't be read or isn't permitted.
    pub async fn receive(arrived: Arrived, operation: &Operation) -> Answered<Self> {
        let Arrived { app, request, request_id, client_ip, .. } = arrived;
        let (head, body) = request.into_parts();
        let received = if operation.is_get() { Received::default() } else { body::read(body, &head.headers, operation.body_max).await? };
        let mut parameters = Parameters::default();
        parameters.add_query(head.uri.query().unwrap_or_default())?;
        let content_type = head.headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
        parameters.add_body(content_type, &received.bytes).await?;

        let key = presented_key(&head.headers, &mut parameters)?;
        let actor = who(&app, operation, key.as_deref(), client_ip).await?;
        if let Actor::ApiKey(number) = actor
            && let Some(wait_s) = app.limits.key_over(number)
        {
            return Err(Answer::too_many_requests(wait_s));
        }
        let origin = Origin { actor, request_id, client_ip: Some(client_ip), operation: Some(operation.capability()), operator: None, reason: None };
        if let Some(block) = app.access.blocked_by(client_ip, parameters.peek("identifier")).await? {
            record_block(&app, &parameters, block, origin);
            return Err(Answer::new(Code::AccessDenied));
        }
        let idempotency = idempotency_key(&head.headers)?.map(|key| {
            let (number, kind): (i64, &[u8]) = match actor {
                Actor::Contract(number) => (number, b"contract"),
                Actor::License(number) => (number, b"license"),
                Actor::ApiKey(number) => (number, b""),
                Actor::Operator | Actor::System => (0, b""),
            };
            let (number, path) = (number.to_be_bytes(), operation.path.as_bytes());
            let parts: &[&[u8]] = if kind.is_empty() { &[&number, path, key] } else { &[&number, path, key, kind] };
            let id = app.ledger.vault().request_hash(parts);
            IdempotencyKey { id, asked: Vec::new() }
        });
        Ok(Self { app, origin, headers: head.headers, parameters, idempotency, _received: received })
    }

    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// A parameter's text as it was given.
    ///
    /// # Errors
    /// When it was given twice or is not text.
    pub fn text(&mut self, name: &'static str) -> Answered<Option<String>> {
        match self.parameters.take(name)? {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Text(text)) => {
                self.note(name, || text.clone());
                Ok(Some(text))
            }
            Some(Value::List(_) | Value::Object) => Err(Answer::bad_request(format!("{name} must be text."))),
        }
    }

    /// A parameter that is a list.
    ///
    /// # Errors
    /// When it was given twice.
    pub fn list(&mut self, name: &'static str) -> Answered<Option<List>> {
        let items = match self.parameters.take(name)? {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Text(text)) if text.trim().is_empty() => return Ok(None),
            Some(Value::Text(text)) => serde_json::from_str(&text).map_err(|_| text),
            Some(Value::List(items)) => Ok(items),
            Some(Value::Object) => Err("{}".to_owned()),
        };
        // The same list is the same request, whether it came as an array or as text.
        Ok(Some(match items {
            Ok(items) => {
                self.note(name, || items.to_string());
                List::Items(items)
            }
            Err(text) => {
                self.note(name, || text);
                List::Malformed
            }
        }))
    }

    fn note(&mut self, name: &'static str, value: impl FnOnce() -> String) {
        if let Some(key) = &mut self.idempotency {
            key.asked.push((name, value()));
        }
    }

    /// A parameter that must be right or absent; blank is absent.
    fn parsed<T>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, TextError>) -> Answered<Option<T>> {
        match self.text(name)?.map(|text| parse(&text)) {
            None | Some(Err(TextError::Blank)) => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(error)) => Err(Answer::bad_request(format!("{name} {error}."))),
        }
    }

    /// # Errors
    /// When it is too long or holds control characters.
    pub fn license_key(&mut self) -> Answered<Option<LicenseKey>> {
        self.parsed("license_key", LicenseKey::parse)
    }

    /// # Errors
    /// When it is too long or holds control characters.
    pub fn identifier(&mut self) -> Answered<Option<Identifier>> {
        self.parsed("identifier", Identifier::parse)
    }

    /// # Errors
    /// When it is too long or holds control characters.
    pub fn meta_key(&mut self) -> Answered<Option<MetaKey>> {
        self.parsed("key", MetaKey::parse)
    }

    /// A meta entry's value, kept as it was given.
    ///
    /// # Errors
    /// When it is too long or holds control characters.
    pub fn meta_value(&mut self) -> Answered<Option<String>> {
        self.parsed("value", |text| if text.trim().is_empty() { Err(TextError::Blank) } else { long_text(text).map(str::to_owned) })
    }

    /// A short text, trimmed.
    ///
    /// # Errors
    /// When it is too long or holds control characters.
    pub fn short_text(&mut self, name: &'static str) -> Answered<Option<String>> {
        self.parsed(name, |text| short_text(text).map(str::to_owned))
    }

    /// An e-mail address.
    ///
    /// # Errors
    /// When it is none.
    pub fn email(&mut self, name: &'static str) -> Answered<Option<String>> {
        let email = self.short_text(name)?;
        if email.as_deref().is_some_and(|text| !validate::is_email(text)) {
            return Err(Answer::bad_request(format!("{name} must be a valid email address.")));
        }
        Ok(email)
    }

    /// The URL that a client wants to be told of deactivations at. It is only noted, so it need not be one: a client that
    /// sends something else is served all the same.
    ///
    /// # Errors
    /// When it is too long or holds control characters.
    pub fn post_url(&mut self) -> Answered<Option<String>> {
        self.parsed("post_url", |text| match text.trim() {
            "" => Err(TextError::Blank),
            text if text.len() > URL_BYTES_MAX => Err(TextError::TooManyBytes(URL_BYTES_MAX)),
            text if text.chars().any(char::is_control) => Err(TextError::ControlCharacter),
            text => Ok(text.to_owned()),
        })
    }

    /// A product's number; [`NO_PRODUCT`] for a text that can't be one. `None` where there is none or it is blank.
    ///
    /// # Errors
    /// When it was given twice or is not text.
    pub fn product_number(&mut self) -> Answered<Option<i64>> {
        self.number("product_id")
    }

    /// A number; 0, which nothing has, for a text that is none. `None` where there is none or it is blank.
    ///
    /// # Errors
    /// When it was given twice or is not text.
    pub fn number(&mut self, name: &'static str) -> Answered<Option<i64>> {
        let text = self.text(name)?;
        let digits = text.as_deref().map(str::trim).filter(|text| !text.is_empty());
        Ok(digits.map(|digits| {
            let number = digits.parse().ok().filter(|number| *number <= NUMBER_MAX && digits.bytes().all(|byte| byte.is_ascii_digit()));
            number.unwrap_or(NO_PRODUCT)
        }))
    }

    /// The product that is asked for by number, UUID or slug, in this order. `None` where it is by none of them, or by what
    /// can't be one.
    ///
    /// # Errors
    /// When one was given twice or is not text.
    pub fn product_name(&mut self) -> Answered<Option<ProductName>> {
        let (number, id, slug) = (self.product_number()?, self.short_text("product_uuid")?, self.short_text("product_slug")?);
        Ok(match (number, id) {
            (Some(number), _) => Some(ProductName::Number(number)),
            (None, Some(id)) => uuid::Uuid::try_parse(&id).ok().map(ProductName::Id),
            (None, None) => slug.map(ProductName::Slug),
        })
    }

    /// Executes the call's command durably.
    ///
    /// # Errors
    /// The answer where there is no outcome.
    pub async fn execute(self, command: Command) -> Answered<Outcome> {
        let (app, request) = self.into_request(command);
        Ok(app.ledger.execute(request).await?)
    }

    /// As [`Call::execute`], for a command that takes generated keys.
    ///
    /// # Errors
    /// The answer where there is no outcome.
    pub async fn execute_supplied(self, command: Command, first: Option<(i64, i64)>) -> Answered<Outcome> {
        let (app, request) = self.into_request(command);
        Ok(app.ledger.execute_supplied(request, first).await?)
    }

    fn into_request(self, command: Command) -> (Arc<App>, LedgerRequest) {
        let idempotency = self.idempotency.map(|mut key| {
            key.asked.sort_unstable();
            let parts: Vec<&[u8]> = key.asked.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]).collect();
            Idempotency { parameters: self.app.ledger.vault().request_hash(&parts), id: key.id }
        });
        (self.app, LedgerRequest { command, origin: self.origin, idempotency })
    }

    /// Ends a call that its own parameters refuse, before the ledger is asked. Under an idempotency key this is an outcome
    /// like any other: it is given again, and other parameters under that key are a conflict.
    ///
    /// # Errors
    /// When other parameters came under the key before, or the ledger is not available.
    pub async fn refuse(self, answer: Answer) -> Answered {
        if self.idempotency.is_none() {
            return Ok(answer);
        }
        let outcome = self.execute(answer.into_refusal()?).await?;
        Answer::from_refusal(outcome)
    }
}

/// Who asks: the holder of an API key that is allowed to, or, where the operation is open to them, of a contract's key.
async fn who(app: &App, operation: &Operation, key: Option<&str>, client_ip: IpAddr) -> Answered<Actor> {
    match app.access.check_key(key, operation.capability(), client_ip, app.clock.now()).await {
        Ok(number) => Ok(Actor::ApiKey(number)),
        Err(AccessError::Invalid) if operation.is_for_contracts => {
            let Some(key) = key.map(str::trim).filter(|key| !key.is_empty()) else { return Err(AccessError::Invalid.into()) };
            let view = app.ledger.contract_by_key(key).await?.ok_or(AccessError::Invalid)?;
            Ok(Actor::Contract(view.contract.contract.number))
        }
        Err(error) => Err(error.into()),
    }
}

/// The API key of a request. The header wins over the parameter, which must be well-formed all the same.
fn presented_key(headers: &HeaderMap, parameters: &mut Parameters) -> Answered<Option<String>> {
    let parameter = match parameters.take("api_key")? {
        None | Some(Value::Null) => None,
        Some(Value::Text(text)) => Some(text),
        Some(Value::List(_) | Value::Object) => return Err(Answer::bad_request("api_key must be text.")),
    };
    let header = headers.get(header::AUTHORIZATION).and_then(|value| match value.to_str() {
        Ok(value) => bearer(value),
        Err(_) => Some(NO_KEY),
    });
    for (name, key) in [("api_key", parameter.as_deref()), ("The bearer token", header)] {
        match key.map(short_text) {
            None | Some(Ok(_) | Err(TextError::Blank)) => {}
            Some(Err(error)) => return Err(Answer::bad_request(format!("{name} {error}."))),
        }
    }
    Ok(header.map(str::to_owned).or(parameter))
}

/// The token of `Authorization: Bearer TOKEN`; the scheme's letter case doesn't matter.
pub(super) fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// The `Idempotency-Key`, if there is one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Answered<Option<&[u8]>> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.as_bytes().trim_ascii();
    let is_good = (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len()) && key.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if values.next().is_some() || !is_good {
        return Err(Answer::bad_request(format!("Idempotency-Key must be given once, as 1 to {IDEMPOTENCY_KEY_MAX} characters of ASCII.")));
    }
    Ok(Some(key))
}

/// A blocked client that knows a license matters in a dispute about it.
fn record_block(app: &App, parameters: &Parameters, block: i64, origin: Origin) {
    let key = parameters.peek("license_key").and_then(|text| LicenseKey::parse(text).ok());
    let identifier = parameters.peek("identifier").and_then(|text| Identifier::parse(text).ok());
    if let Some(key) = key {
        app.ledger.record_refusal(&key, identifier.as_ref(), AccessRefusal::BlockListed, Some(block), origin);
    }
}

#[cfg(test)]
mod tests {
    use keyledger_events::values::SHORT_TEXT_CHARS_MAX;

    use super::*;

    fn headers(values: &[(&'static str, &str)]) -> HeaderMap {
        values.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn presented(values: &[(&'static str, &str)], query: &str) -> Answered<Option<String>> {
        let mut parameters = Parameters::default();
        parameters.add_query(query)?;
        presented_key(&headers(values), &mut parameters)
    }

    #[test]
    fn the_header_wins_over_the_parameter() {
        let key = |values: &[(&'static str, &str)], query: &str| presented(values, query).unwrap().unwrap_or_default();
        assert_eq!(key(&[("authorization", "Bearer HEADER")], "api_key=PARAMETER"), "HEADER");
        assert_eq!(key(&[("authorization", "bearer  HEADER ")], ""), "HEADER");
        assert_eq!(key(&[], "api_key=PARAMETER"), "PARAMETER");
        assert_eq!(key(&[("authorization", "Basic abc")], "api_key=PARAMETER"), "PARAMETER");
        assert_eq!(key(&[("authorization", "Bearer")], "api_key=PARAMETER"), "PARAMETER");
        assert_eq!(key(&[("authorization", "Bearer \u{fc}")], "api_key=PARAMETER"), "?", "no key of ours");
        assert_eq!(key(&[], ""), "");
    }

    #[test]
    fn a_malformed_key_is_refused_even_beside_a_good_one() {
        let long = "k".repeat(SHORT_TEXT_CHARS_MAX + 1);
        for query in [format!("api_key={long}"), "api_key=a&api_key=b".to_owned(), "api_key=a%00b".to_owned()] {
            assert_eq!(presented(&[("authorization", "Bearer HEADER")], &query).unwrap_err().code, Code::BadRequest);
        }
        assert_eq!(presented(&[("authorization", &format!("Bearer {long}"))], "").unwrap_err().code, Code::BadRequest);
    }

    #[test]
    fn an_idempotency_key_is_short_and_visible() {
        let key = |value: &str| idempotency_key(&headers(&[("idempotency-key", value)])).ok().flatten().map(<[u8]>::to_vec);
        assert_eq!(key("order 4711"), Some(b"order 4711".to_vec()));
        assert_eq!(key(&"k".repeat(255)).unwrap().len(), 255);
        for bad in ["", " ", "a\tb", "\u{e9}", &"k".repeat(256)] {
            assert_eq!(key(bad), None, "{bad}");
        }
        assert_eq!(idempotency_key(&HeaderMap::new()).unwrap(), None);
        let mut twice = headers(&[("idempotency-key", "a")]);
        twice.append("idempotency-key", "a".parse().unwrap());
        assert!(idempotency_key(&twice).is_err());
    }
}
