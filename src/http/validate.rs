//! Checks whose failures are listed field by field, as `errors`: `{field: [text]}`.

use axum::http::Uri;
use keyledger_events::{
    Timestamp,
    values::{TextError, count, long_text, short_text},
};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::envelope::{Answer, Answered};

/// Longest URL, in bytes: what browsers and proxies agree on.
pub const URL_BYTES_MAX: usize = 2_048;

/// What is wrong with which field, in the order in which the contract lists the fields.
#[derive(Debug, Default)]
pub struct Errors(Vec<(&'static str, String)>);

impl Errors {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&mut self, field: &'static str, text: impl Into<String>) {
        self.0.push((field, text.into()));
    }

    pub fn required(&mut self, field: &'static str) {
        self.add(field, format!("The {} field is required.", label(field)));
    }

    /// Notes an unknown product, which is found last but listed before the fields that follow it.
    pub fn invalid_product(&mut self) {
        let at = self.0.iter().take_while(|(field, _)| *field == "license_keys").count();
        self.0.insert(at, ("product_id", "The selected product id is invalid.".to_owned()));
    }

    /// A trimmed short text; blank is absent.
    ///
    /// # Errors
    /// A bad request when it holds control characters.
    pub fn short(&mut self, field: &'static str, text: Option<&str>) -> Answered<Option<String>> {
        match text.map(short_text) {
            None | Some(Err(TextError::Blank)) => Ok(None),
            Some(Ok(text)) => Ok(Some(text.to_owned())),
            Some(Err(error)) => self.text_error(field, error).map(|()| None),
        }
    }

    /// A short text that is kept as it was given; blank is absent.
    ///
    /// # Errors
    /// A bad request when it holds control characters.
    pub fn name(&mut self, field: &'static str, text: Option<String>) -> Answered<Option<String>> {
        // The ends are checked too, which a trimmed text doesn't show.
        if text.as_deref().is_some_and(|text| text.chars().any(char::is_control)) {
            return Err(control_characters(field));
        }
        Ok(self.short(field, text.as_deref())?.and(text))
    }

    /// A long text that is kept as it was given.
    ///
    /// # Errors
    /// A bad request when it holds control characters.
    pub fn long(&mut self, field: &'static str, text: Option<String>) -> Answered<Option<String>> {
        match text.as_deref().map(long_text) {
            None | Some(Ok(_)) => Ok(text),
            Some(Err(error)) => self.text_error(field, error).map(|()| None),
        }
    }

    fn text_error(&mut self, field: &'static str, error: TextError) -> Answered<()> {
        match error {
            TextError::ControlCharacter => Err(control_characters(field)),
            TextError::Blank | TextError::TooLong(_) | TextError::TooManyBytes(_) => {
                self.add(field, format!("The {} {error}.", label(field)));
                Ok(())
            }
        }
    }

    /// An e-mail address; blank is absent.
    ///
    /// # Errors
    /// A bad request when it holds control characters.
    pub fn email(&mut self, field: &'static str, text: Option<&str>) -> Answered<Option<String>> {
        let email = match text.map(short_text) {
            None | Some(Err(TextError::Blank)) => return Ok(None),
            Some(Err(TextError::ControlCharacter)) => return Err(control_characters(field)),
            Some(email) => email.ok().filter(|text| is_email(text)),
        };
        if email.is_none() {
            self.add(field, format!("The {} must be a valid email address.", label(field)));
        }
        Ok(email.map(str::to_owned))
    }

    /// A count; blank is absent.
    pub fn count(&mut self, field: &'static str, text: Option<&str>) -> Option<i64> {
        self.checked(field, text, count, |label| format!("The {label} must be an integer of 0 or more."))
    }

    /// A point in time; blank is absent.
    pub fn date(&mut self, field: &'static str, text: Option<&str>) -> Option<Timestamp> {
        self.checked(field, text, Timestamp::parse, |label| format!("The {label} is not a valid date."))
    }

    /// One of a few names; blank is absent.
    pub fn choice<T>(&mut self, field: &'static str, text: Option<&str>, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.checked(field, text, parse, |label| format!("The selected {label} is invalid."))
    }

    /// `0` or `1`; blank is absent.
    pub fn flag(&mut self, field: &'static str, text: Option<&str>) -> Option<bool> {
        let parse = |text: &str| match text {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        };
        self.checked(field, text, parse, |label| format!("The {label} field must be 0 or 1."))
    }

    fn checked<T>(
        &mut self,
        field: &'static str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Option<T>,
        error: impl FnOnce(&str) -> String,
    ) -> Option<T> {
        let text = text.map(str::trim).filter(|text| !text.is_empty())?;
        let value = parse(text);
        if value.is_none() {
            self.add(field, error(&label(field)));
        }
        value
    }
}

impl Serialize for Errors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (field, text) in &self.0 {
            map.serialize_entry(field, &[text])?;
        }
        map.end()
    }
}

fn label(field: &str) -> String {
    field.replace('_', " ")
}

fn control_characters(field: &str) -> Answer {
    Answer::bad_request(format!("{field} {}.", TextError::ControlCharacter))
}

/// A light check, on a trimmed text: one `@` with something on both sides, and no blanks. Whether it receives mail, only
/// mail can tell.
#[must_use]
pub fn is_email(text: &str) -> bool {
    let mut halves = text.split('@');
    let (local, domain, more) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default(), halves.next());
    !local.is_empty() && !domain.is_empty() && more.is_none() && !text.contains(char::is_whitespace)
}

/// An absolute http or https URL.
#[must_use]
pub fn is_url(text: &str) -> bool {
    if text.len() > URL_BYTES_MAX || text.chars().any(|character| character.is_control() || character.is_whitespace()) {
        return false;
    }
    text.parse::<Uri>().is_ok_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(errors: &Errors) -> String {
        serde_json::to_string(errors).unwrap()
    }

    #[test]
    fn each_check_has_its_text() {
        let mut errors = Errors::default();
        errors.required("activation_limit");
        assert_eq!(errors.count("validity", Some("1.5")), None);
        assert_eq!(errors.choice("status", Some("sold"), |_| None::<()>), None);
        assert_eq!(errors.date("assigned_at", Some("yesterday")), None);
        assert_eq!(errors.flag("own_key_pair", Some("2")), None);
        let expected = [
            r#"{"activation_limit":["The activation limit field is required."]"#,
            r#""validity":["The validity must be an integer of 0 or more."]"#,
            r#""status":["The selected status is invalid."]"#,
            r#""assigned_at":["The assigned at is not a valid date."]"#,
            r#""own_key_pair":["The own key pair field must be 0 or 1."]}"#,
        ];
        assert_eq!(text(&errors), expected.join(","));

        let mut errors = Errors::default();
        assert_eq!(errors.short("name", Some(&"n".repeat(256))).unwrap(), None);
        assert_eq!(errors.email("owner_email", Some("nobody")).unwrap(), None);
        let expected = r#"{"name":["The name must be at most 255 characters."],"owner_email":["The owner email must be a valid email address."]}"#;
        assert_eq!(text(&errors), expected);
    }

    #[test]
    fn blank_is_absent_and_control_characters_are_bad_requests() {
        let mut errors = Errors::default();
        assert_eq!(errors.short("name", Some(" \u{a0} ")).unwrap(), None);
        assert_eq!(errors.email("owner_email", Some(" ")).unwrap(), None);
        assert_eq!((errors.count("validity", Some("")), errors.flag("own_key_pair", None)), (None, None));
        assert_eq!(errors.name("name", Some(" Deski ".to_owned())).unwrap().as_deref(), Some(" Deski "));
        assert!(errors.name("name", Some("a\n".to_owned())).is_err());
        assert!(errors.short("owner_name", Some("a\tb")).is_err());
        assert!(errors.email("owner_email", Some("a\0@b")).is_err());
        assert!(errors.long("description", Some("a\0b".to_owned())).is_err());
        assert!(errors.is_empty());
    }

    #[test]
    fn the_product_stands_after_the_keys_and_before_the_rest() {
        let mut errors = Errors::default();
        errors.required("license_keys");
        errors.required("status");
        errors.invalid_product();
        let fields: Vec<&str> = errors.0.iter().map(|(field, _)| *field).collect();
        assert_eq!(fields, ["license_keys", "product_id", "status"]);
    }

    #[test]
    fn addresses_are_checked_lightly() {
        for good in ["domain@email.ltdc", "a@b", "grüße@shop.example"] {
            assert!(is_email(good), "{good}");
        }
        for bad in ["", "a", "@b", "a@", "a@b@c", "a b@c"] {
            assert!(!is_email(bad), "{bad}");
        }
        for good in ["https://domain.ltd/receiver.php?example-getKeyManager-post-url=test", "http://localhost:8080", "https://[::1]/x"] {
            assert!(is_url(good), "{good}");
        }
        let long = format!("https://a.example/{}", "x".repeat(URL_BYTES_MAX));
        for bad in ["", "domain.ltd", "ftp://a.example/", "https://", "https:///x", "javascript:alert(1)", "https://a b/", "/x", &long] {
            assert!(!is_url(bad), "{bad}");
        }
    }
}
