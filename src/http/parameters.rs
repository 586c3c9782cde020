//! A request's parameters, whichever way they came: query string, form, multipart form or JSON object. The body wins over
//! the query; what nobody asks for is never looked at.

use std::convert::Infallible;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{
    codes::Code,
    envelope::{Answer, Answered},
    items::{Items, Skipped},
};

/// Parameters of a request, query and body together. No operation asks for more than a dozen.
const PARAMETERS_MAX: usize = 1_000;

/// A parameter's value. A JSON number or boolean is text, as in a form.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// JSON's `null`, which is as good as nothing.
    #[default]
    Null,
    Text(String),
    List(Items),
    Object,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Query,
    Body,
}

#[derive(Debug)]
struct Parameter {
    source: Source,
    name: String,
    value: Value,
}

#[derive(Debug, Default)]
pub struct Parameters(Vec<Parameter>);

impl Parameters {
    /// Adds those of a query string.
    ///
    /// # Errors
    /// When it is not UTF-8 or holds too many.
    pub fn add_query(&mut self, query: &str) -> Answered<()> {
        self.add_form(Source::Query, query.as_bytes())
    }

    /// Adds those of a body. An empty body has none, whatever its type.
    ///
    /// # Errors
    /// When the body is not what its content type says, or of an unknown one.
    pub async fn add_body(&mut self, content_type: Option<&[u8]>, body: &Bytes) -> Answered<()> {
        if body.is_empty() {
            return Ok(());
        }
        let essence = content_type.and_then(|value| value.split(|byte| *byte == b';').next()).unwrap_or_default().trim_ascii();
        if essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            self.add_form(Source::Body, body)
        } else if essence.eq_ignore_ascii_case(b"application/json") {
            self.add_json(body)
        } else if essence.eq_ignore_ascii_case(b"multipart/form-data") {
            self.add_multipart(content_type.unwrap_or_default(), body.clone()).await
        } else {
            let error = "The body must be application/x-www-form-urlencoded, multipart/form-data or application/json.";
            Err(Answer::error(Code::UnsupportedMediaType, error))
        }
    }

    fn add_form(&mut self, source: Source, form: &[u8]) -> Answered<()> {
        for pair in form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = decode(halves.next().unwrap_or_default())?;
            let value = decode(halves.next().unwrap_or_default())?;
            self.push(source, name, Value::Text(value))?;
        }
        Ok(())
    }

    fn add_json(&mut self, body: &[u8]) -> Answered<()> {
        // serde_json itself refuses what is nested deeper than 128 levels.
        let members: Members = serde_json::from_slice(body)
            .map_err(|error| Answer::bad_request(format!("The body is not a JSON object (line {}, column {}).", error.line(), error.column())))?;
        for (name, value) in members.0 {
            self.push(Source::Body, name, value)?;
        }
        Ok(())
    }

    async fn add_multipart(&mut self, content_type: &[u8], body: Bytes) -> Answered<()> {
        let broken = |_| Answer::bad_request("The body is not a well-formed multipart form.");
        let boundary = std::str::from_utf8(content_type).ok().and_then(|text| multer::parse_boundary(text).ok()).filter(|text| !text.is_empty());
        let boundary = boundary.ok_or_else(|| Answer::bad_request("The content type names no boundary."))?;
        let stream = futures::stream::iter([Ok::<_, Infallible>(body)]);
        let mut multipart = multer::Multipart::new(stream, boundary);
        while let Some(field) = multipart.next_field().await.map_err(broken)? {
            let name = field.name().map(str::to_owned);
            let value = field.bytes().await.map_err(broken)?;
            if let Some(name) = name {
                self.push(Source::Body, name, Value::Text(utf8(value.into())?))?;
            }
        }
        Ok(())
    }

    fn push(&mut self, source: Source, name: String, value: Value) -> Answered<()> {
        if self.0.len() >= PARAMETERS_MAX {
            return Err(Answer::bad_request(format!("There are more than {PARAMETERS_MAX} parameters.")));
        }
        self.0.push(Parameter { source, name, value });
        Ok(())
    }

    /// Takes a parameter's value out. `null` counts as absent.
    ///
    /// # Errors
    /// When one source has it twice.
    pub fn take(&mut self, name: &'static str) -> Answered<Option<Value>> {
        let (mut query, mut body) = (None, None);
        for parameter in self.0.iter_mut().filter(|parameter| parameter.name == name) {
            let found = match parameter.source {
                Source::Query => &mut query,
                Source::Body => &mut body,
            };
            if found.replace(std::mem::take(&mut parameter.value)).is_some() {
                return Err(Answer::bad_request(format!("{name} was given twice.")));
            }
        }
        let given = |value: &Value| *value != Value::Null;
        Ok(body.filter(given).or(query.filter(given)))
    }

    /// A parameter's text without taking it, if it is text.
    #[must_use]
    pub fn peek(&self, name: &str) -> Option<&str> {
        let mut texts = self.0.iter().filter(|parameter| parameter.name == name).filter_map(|parameter| match &parameter.value {
            Value::Text(text) => Some((parameter.source, text.as_str())),
            Value::Null | Value::List(_) | Value::Object => None,
        });
        let first = texts.next()?;
        if first.0 == Source::Body { Some(first.1) } else { Some(texts.find(|(source, _)| *source == Source::Body).unwrap_or(first).1) }
    }
}

/// Decodes `+` and `%XX`; a `%` that no two digits follow stands for itself, as browsers and PHP have it.
fn decode(text: &[u8]) -> Answered<String> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return utf8(text.to_vec());
    }
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, digit(after.first()), digit(after.get(1))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', ..) => decoded.push(b' '),
            _ => decoded.push(*byte),
        }
    }
    utf8(decoded)
}

fn utf8(bytes: Vec<u8>) -> Answered<String> {
    String::from_utf8(bytes).map_err(|_| Answer::bad_request("The parameters must be UTF-8."))
}

/// The members of a JSON object in their order, duplicates kept: the first ones, down to the one that is too many.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnObject;
        impl<'de> Visitor<'de> for AnObject {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while members.len() <= PARAMETERS_MAX
                    && let Some(member) = map.next_entry()?
                {
                    members.push(member);
                }
                while map.next_entry::<Skipped, Skipped>()?.is_some() {}
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(AnObject)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Text(if value { "1" } else { "0" }.to_owned()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Text(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Text(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Text(serde_json::Value::from(value).to_string()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::Text(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Value, E> {
                Ok(Value::Text(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Value, A::Error> {
                Items::read(seq).map(Value::List)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
                Skipped.visit_map(map).map(|Skipped| Value::Object)
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}

#[cfg(test)]
#[path = "parameters_tests.rs"]
mod tests;
