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

/// Longest slug, in characters.
pub const SLUG_CHARS_MAX: usize = 100;
/// Longest slug made of a name: room is left for a number behind it.
const SLUG_OF_NAME_CHARS_MAX: usize = 60;

/// A product's name in addresses: groups of small letters and digits (ASCII), with one hyphen between two groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slug(String);

impl Slug {
    /// `None` where the text is no slug.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_group = |group: &str| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        (text.len() <= SLUG_CHARS_MAX && text.split('-').all(is_group)).then(|| Self(text.to_owned()))
    }

    /// The slug that a name becomes: letters of other scripts are written in Latin ones, everything between is a hyphen.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let mut slug = String::new();
        let latin = name.chars().map(|character| deunicode::deunicode_char(character).unwrap_or(" "));
        for letter in latin.flat_map(str::chars) {
            if slug.len() >= SLUG_OF_NAME_CHARS_MAX {
                break;
            }
            match letter.to_ascii_lowercase() {
                letter if letter.is_ascii_alphanumeric() => slug.push(letter),
                '\'' => {}
                _ if slug.is_empty() || slug.ends_with('-') => {}
                _ => slug.push('-'),
            }
        }
        slug.truncate(slug.trim_end_matches('-').len());
        Self(if slug.is_empty() { "product".to_owned() } else { slug })
    }

    /// With a number behind it.
    #[must_use]
    pub fn with_number(&self, number: i64) -> Self {
        Self(format!("{}-{number}", self.0))
    }

    /// With the number of its own product behind two hyphens, which no other slug has.
    #[must_use]
    pub fn with_own_number(&self, product: i64) -> Self {
        Self(format!("{}--{product}", self.0))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

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

/// The domain that an identifier names, for comparing: without scheme (and then without path), without port, without a leading
/// `www.`, in lower case. What is no domain stays as it is otherwise.
#[must_use]
pub fn domain(identifier: &str) -> String {
    let text = identifier.trim();
    let text = match text.split_once("://") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        None => text.strip_suffix('/').unwrap_or(text),
    };
    let text = without_port(text).to_lowercase();
    text.strip_prefix("www.").map_or_else(|| text.clone(), str::to_owned)
}

/// An IPv6 address in brackets keeps its colons, and so does one without them, which can have no port.
fn without_port(text: &str) -> &str {
    match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && (host.ends_with(']') || !host.contains(':')) => host,
        _ => text,
    }
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
    fn a_slug_is_groups_of_letters_and_digits() {
        for good in ["doors", "doors-2", "3d", "a-b-c", &"x".repeat(100)] {
            assert_eq!(Slug::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "-", "a--b", "-a", "a-", "Doors", "a_b", "größe", "a b", "a/b", &"x".repeat(101)] {
            assert_eq!(Slug::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn domains_are_compared_without_what_surrounds_them() {
        for same in [
            "shop.example",
            "SHOP.example",
            "www.shop.example",
            "https://shop.example",
            "http://WWW.Shop.Example:8080/cart?x=1#y",
            "shop.example:443",
            "shop.example/",
        ] {
            assert_eq!(domain(same), "shop.example", "{same}");
        }
        for (text, expected) in [
            ("www2.shop.example", "www2.shop.example"),
            ("shop.example/a", "shop.example/a"),
            ("[::1]:8080", "[::1]"),
            ("2001:db8::1", "2001:db8::1"),
            ("MÜNCHEN.example", "münchen.example"),
            ("machine-7", "machine-7"),
            ("a:b", "a:b"),
            ("https://", ""),
            ("", ""),
        ] {
            assert_eq!(domain(text), expected);
        }
    }

    #[test]
    fn a_name_becomes_a_slug() {
        let cases = [
            ("Doors 98 (Second Edition)", "doors-98-second-edition"),
            ("Größe/Ω", "grosse-o"),
            ("  --Jane's  Tool-- ", "janes-tool"),
            ("北京", "bei-jing"),
            ("!?", "product"),
        ];
        for (name, slug) in cases {
            assert_eq!(Slug::of_name(name).as_str(), slug, "{name}");
            assert!(Slug::parse(slug).is_some());
        }
        let long = Slug::of_name(&"x y ".repeat(80));
        assert!(long.as_str().len() <= 60 && Slug::parse(long.with_number(i64::MAX).as_str()).is_some());
        assert_eq!(Slug::parse(long.with_own_number(17).as_str()), None, "nobody can choose it");
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
