//! Compact JSON as PHP's `json_encode` writes it: `/` as `\/`, everything outside ASCII as `\uXXXX`. Signed bytes have this
//! form, so that they match what clients have stored. Fields stand in the order in which they are serialized.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Appends a value to `out`.
///
/// # Errors
/// When the value can't be JSON: a map whose keys aren't texts.
pub fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Php))
}

struct Php;

/// PHP writes DEL as it is, and the other ASCII characters as serde_json does; `/` is the one exception.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii() && byte != b'/'
}

impl Formatter for Php {
    /// `fragment` is a part of a text without quotes, backslashes and control characters: those are escaped elsewhere.
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.bytes().position(|byte| !is_plain(byte)) {
            let (plain, special) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut characters = special.chars();
            match characters.next() {
                Some('/') => writer.write_all(b"\\/")?,
                Some(character) => write_utf16(writer, character)?,
                None => {}
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

fn write_utf16<W: ?Sized + Write>(writer: &mut W, character: char) -> io::Result<()> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for unit in character.encode_utf16(&mut [0; 2]) {
        let digit = |shift: u32| DIGITS[usize::from(*unit >> shift & 0xf)];
        writer.write_all(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
    use serde::ser::{SerializeMap, SerializeSeq};

    use super::*;

    fn written(value: &impl Serialize) -> String {
        let mut out = Vec::new();
        write(&mut out, value).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// JSON whose members keep their order.
    enum Json {
        Scalar(serde_json::Value),
        List(Vec<Json>),
        Object(Vec<(String, Json)>),
    }

    impl Serialize for Json {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self {
                Self::Scalar(value) => value.serialize(serializer),
                Self::List(items) => {
                    let mut list = serializer.serialize_seq(Some(items.len()))?;
                    items.iter().try_for_each(|item| list.serialize_element(item))?;
                    list.end()
                }
                Self::Object(members) => {
                    let mut map = serializer.serialize_map(Some(members.len()))?;
                    members.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                    map.end()
                }
            }
        }
    }

    impl<'de> Deserialize<'de> for Json {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct AnyJson;
            impl<'de> Visitor<'de> for AnyJson {
                type Value = Json;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("JSON")
                }
                fn visit_unit<E>(self) -> Result<Json, E> {
                    Ok(Json::Scalar(serde_json::Value::Null))
                }
                fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                    Ok(Json::Scalar(value.into()))
                }
                fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                    Ok(Json::Scalar(value.into()))
                }
                fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                    Ok(Json::Scalar(value.into()))
                }
                fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                    Ok(Json::Scalar(value.into()))
                }
                fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                    let mut items = Vec::new();
                    while let Some(item) = seq.next_element()? {
                        items.push(item);
                    }
                    Ok(Json::List(items))
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                    let mut members = Vec::new();
                    while let Some(member) = map.next_entry()? {
                        members.push(member);
                    }
                    Ok(Json::Object(members))
                }
            }
            deserializer.deserialize_any(AnyJson)
        }
    }

    #[test]
    fn recorded_responses_are_written_byte_for_byte() {
        let file: serde_json::Value = serde_json::from_str(include_str!("../../tests/fixtures/signature-vectors.json")).unwrap();
        let vectors = file["vectors"].as_array().unwrap();
        assert_eq!(vectors.len(), 47);
        for vector in vectors {
            let recorded = STANDARD.decode(vector["response_base64"].as_str().unwrap()).unwrap();
            let value: Json = serde_json::from_slice(&recorded).unwrap();
            assert_eq!(written(&value), String::from_utf8(recorded).unwrap(), "{} {}", vector["endpoint"], vector["example"]);
        }
    }

    #[test]
    fn texts_are_escaped_as_php_does() {
        assert_eq!(written(&"a/b é 日 😀"), r#""a\/b \u00e9 \u65e5 \ud83d\ude00""#);
        assert_eq!(written(&"\" \\ \u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f}\u{2028}<&'>"), "\"\\\" \\\\ \\b\\f\\n\\r\\t\\u0001\\u001f\u{7f}\\u2028<&'>\"");
        assert_eq!(written(&"/"), r#""\/""#);
        assert_eq!(written(&""), r#""""#);
    }
}
