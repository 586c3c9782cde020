//! Values parsed once, at the edge. Each knows its limits; behind the edge they hold.

use std::fmt;

/// Longest license key, identifier, meta key, name, e-mail address, in characters. The widest that existing systems use;
/// four bytes a character keep it inside an index page of either database.
pub const SHORT_TEXT_CHARS_MAX: usize = 255;
/// Longest meta value, description or URL, in bytes: doubled by escaping and sealed in Base64 it still fits a leaf.
pub const LONG_TEXT_BYTES_MAX: usize = 16_384;
/// Largest activation limit and validity: what a 32-bit client can hold.
pub const COUNT_MAX: i64 = 2_147_483_647;

/// Why a text was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("must not be blank")]
    Blank,
    #[error("must be at most {0} characters")]
    TooLong(usize),
    #[error("must be at most {0} bytes")]
    TooManyBytes(usize),
    #[error("must not contain control characters")]
    ControlCharacter,
}

/// Trimmed text of at most [`SHORT_TEXT_CHARS_MAX`] characters, without control characters.
///
/// # Errors
/// When it is blank, too long or holds a control character.
pub fn short_text(text: &str) -> Result<&str, TextError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(TextError::Blank);
    }
    if text.chars().count() > SHORT_TEXT_CHARS_MAX {
        return Err(TextError::TooLong(SHORT_TEXT_CHARS_MAX));
    }
    if text.chars().any(char::is_control) {
        return Err(TextError::ControlCharacter);
    }
    Ok(text)
}

/// Text of at most [`LONG_TEXT_BYTES_MAX`] bytes, without control characters other than tab and line ends. May be blank.
///
/// # Errors
/// When it is too long or holds another control character.
pub fn long_text(text: &str) -> Result<&str, TextError> {
    if text.len() > LONG_TEXT_BYTES_MAX {
        return Err(TextError::TooManyBytes(LONG_TEXT_BYTES_MAX));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
        return Err(TextError::ControlCharacter);
    }
    Ok(text)
}

macro_rules! short_text_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// # Errors
            /// As [`short_text`].
            pub fn parse(text: &str) -> Result<Self, TextError> {
                short_text(text).map(|text| Self(text.to_owned()))
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            #[must_use]
            pub fn into_string(self) -> String {
                self.0
            }
        }
    };
}

short_text_type!(
    /// The key string of a license. Its `Debug` shows the first characters alone: keys don't belong in logs.
    LicenseKey
);
short_text_type!(
    /// What a license is activated for: a domain, a machine. Personal, so its `Debug` shows nothing of it.
    Identifier
);
short_text_type!(
    /// The key of a meta entry.
    MetaKey
);

impl fmt::Debug for LicenseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LicenseKey({}…)", self.0.chars().take(4).collect::<String>())
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identifier(…)")
    }
}

impl fmt::Debug for MetaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MetaKey({})", self.0)
    }
}

/// A count of 0 to [`COUNT_MAX`], as limits and validities are.
#[must_use]
pub fn count(text: &str) -> Option<i64> {
    let value = text.trim().parse::<i64>().ok()?;
    (0..=COUNT_MAX).contains(&value).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_trimmed_and_bounded() {
        assert_eq!(LicenseKey::parse("  K-1 ").unwrap().as_str(), "K-1");
        assert_eq!(LicenseKey::parse("   "), Err(TextError::Blank));
        assert_eq!(LicenseKey::parse(&"ä".repeat(255)).unwrap().as_str().chars().count(), 255);
        assert_eq!(LicenseKey::parse(&"ä".repeat(256)), Err(TextError::TooLong(255)));
        assert_eq!(Identifier::parse("a\0b"), Err(TextError::ControlCharacter));
        assert_eq!(long_text("a\r\n\tb"), Ok("a\r\n\tb"));
        assert_eq!(long_text("a\u{1b}"), Err(TextError::ControlCharacter));
        assert_eq!(long_text(&"x".repeat(16_385)), Err(TextError::TooManyBytes(16_384)));
    }

    #[test]
    fn debug_output_gives_no_key_away() {
        assert_eq!(format!("{:?}", LicenseKey::parse("ABCD-SECRET").unwrap()), "LicenseKey(ABCD…)");
        assert_eq!(format!("{:?}", Identifier::parse("jane.example").unwrap()), "Identifier(…)");
    }

    #[test]
    fn counts_are_whole_and_in_range() {
        assert_eq!(count(" 0 "), Some(0));
        assert_eq!(count("2147483647"), Some(COUNT_MAX));
        for bad in ["-1", "1.5", "2147483648", "", "x", "99999999999999999999"] {
            assert_eq!(count(bad), None, "{bad}");
        }
    }
}
