//! How license keys are made: the one place where methods and custom functions are registered. Pure: chance comes in.
//!
//! Every rule comes down to a list of parts that are written one after the other. What a rule is to make beyond the methods
//! is a [`Function`]: add it to [`FUNCTIONS`], and generators of the method `custom` can name it.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::values::SHORT_TEXT_CHARS_MAX;

/// Most chunks, and most characters of one: together with the limit of a key's length enough for any key that people type.
const CHUNKS_MAX: i64 = 64;
/// The characters of `@` in a pattern.
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// The characters of `#` in a pattern.
const DIGITS: &str = "0123456789";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    #[default]
    Uuid,
    ChunkSystem,
    Custom,
}

impl Method {
    /// The name on the wire and in rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::ChunkSystem => "chunk-system",
            Self::Custom => "custom",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Uuid, Self::ChunkSystem, Self::Custom].into_iter().find(|method| method.as_str() == text)
    }
}

/// How the keys of a generator look. What the method doesn't use is kept all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRule {
    pub charset: String,
    pub chunk_length: i64,
    /// Of the method `custom`: which of [`FUNCTIONS`].
    pub function_name: String,
    pub method: Method,
    pub number_of_chunks: i64,
    /// Of the function `pattern`: `#` is a digit, `@` a letter of A to Z, `*` one of the charset, `\` takes the next
    /// character as it is, and so is every other.
    pub pattern: String,
    pub prefix: String,
    pub suffix: String,
}

impl Default for KeyRule {
    fn default() -> Self {
        Self {
            charset: "0123456789ABCDEF".to_owned(),
            chunk_length: 4,
            function_name: String::new(),
            method: Method::Uuid,
            number_of_chunks: 4,
            pattern: String::new(),
            prefix: String::new(),
            suffix: String::new(),
        }
    }
}

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleError {
    #[error("charset, prefix, suffix and pattern must not hold blanks or control characters")]
    Blank,
    #[error("the charset must not be empty")]
    CharsetEmpty,
    #[error("number_of_chunks and chunk_length must be 1 to 64")]
    Chunks,
    #[error("the keys would be longer than 255 characters")]
    TooLong,
    #[error("the pattern must not be empty, nor end in a single backslash")]
    Pattern,
    #[error("there is no such function")]
    UnknownFunction,
}

/// Chance, from outside.
pub trait Random {
    /// A number below `bound`, each equally likely. `bound` is not 0.
    fn below(&mut self, bound: u32) -> u32;
    fn bytes(&mut self) -> [u8; 16];
}

/// A custom way to make keys.
pub struct Function {
    pub name: &'static str,
    /// The parts between prefix and suffix.
    parts: fn(&KeyRule) -> Result<Vec<Part>, RuleError>,
}

/// All functions that a generator of the method `custom` can name.
pub const FUNCTIONS: &[Function] = &[Function { name: "pattern", parts: pattern_parts }];

/// A piece of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// One of these characters.
    OneOf(Vec<char>),
    Uuid,
}

impl Part {
    /// One of the different characters of a text.
    fn one_of(text: &str) -> Result<Self, RuleError> {
        let characters: BTreeSet<char> = text.chars().collect();
        if characters.is_empty() { Err(RuleError::CharsetEmpty) } else { Ok(Self::OneOf(characters.into_iter().collect())) }
    }

    fn space(&self) -> u128 {
        match self {
            Self::Literal(_) => 1,
            Self::OneOf(characters) => characters.len() as u128,
            // Six bits of a UUID are not random.
            Self::Uuid => 1 << 122,
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Literal(text) => text.chars().count(),
            Self::OneOf(_) => 1,
            Self::Uuid => uuid::fmt::Hyphenated::LENGTH,
        }
    }
}

/// Makes the keys of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMaker(Vec<Part>);

impl KeyRule {
    /// # Errors
    /// What is wrong with the rule.
    pub fn maker(&self) -> Result<KeyMaker, RuleError> {
        let texts = [&self.charset, &self.prefix, &self.suffix, &self.pattern];
        if texts.iter().any(|text| text.chars().any(|character| character.is_control() || character.is_whitespace())) {
            return Err(RuleError::Blank);
        }
        if texts.iter().any(|text| text.chars().count() > SHORT_TEXT_CHARS_MAX) {
            return Err(RuleError::TooLong);
        }
        let mut parts = vec![Part::Literal(self.prefix.clone())];
        parts.extend(match self.method {
            Method::Uuid => vec![Part::Uuid],
            Method::ChunkSystem => chunk_parts(self)?,
            Method::Custom => {
                let function = FUNCTIONS.iter().find(|function| function.name == self.function_name).ok_or(RuleError::UnknownFunction)?;
                (function.parts)(self)?
            }
        });
        parts.push(Part::Literal(self.suffix.clone()));
        if parts.iter().map(Part::length).sum::<usize>() > SHORT_TEXT_CHARS_MAX {
            return Err(RuleError::TooLong);
        }
        Ok(KeyMaker(parts))
    }
}

impl KeyMaker {
    /// How many different keys there are.
    #[must_use]
    pub fn space(&self) -> u128 {
        self.0.iter().fold(1, |space: u128, part| space.saturating_mul(part.space()))
    }

    /// One key.
    pub fn make(&self, random: &mut impl Random) -> String {
        let mut key = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(text) => key.push_str(text),
                Part::OneOf(characters) => {
                    let bound = u32::try_from(characters.len()).unwrap_or(u32::MAX);
                    key.extend(characters.get(random.below(bound) as usize));
                }
                Part::Uuid => key.push_str(&uuid::Builder::from_random_bytes(random.bytes()).into_uuid().to_string()),
            }
        }
        key
    }

    /// Up to `count` different keys in random order: all there are where the rule has no more, fewer only where it has hardly more.
    pub fn make_different(&self, count: usize, random: &mut impl Random) -> Vec<String> {
        if self.space() <= count as u128 {
            return self.make_all(random);
        }
        let (mut keys, mut seen) = (Vec::new(), HashSet::new());
        // Eight tries for each find nearly all there are.
        for _ in 0..count.saturating_mul(8) {
            if keys.len() >= count {
                break;
            }
            let key = self.make(random);
            if seen.insert(key.clone()) {
                keys.push(key);
            }
        }
        keys
    }

    /// Every key of a rule that has few.
    fn make_all(&self, random: &mut impl Random) -> Vec<String> {
        let mut keys = vec![String::new()];
        for part in &self.0 {
            keys = match part {
                Part::Literal(text) => keys.into_iter().map(|key| key + text).collect(),
                Part::OneOf(characters) => keys.iter().flat_map(|key| characters.iter().map(move |character| format!("{key}{character}"))).collect(),
                // There are never few of these.
                Part::Uuid => return Vec::new(),
            };
        }
        for last in (1..keys.len()).rev() {
            let bound = u32::try_from(last + 1).unwrap_or(u32::MAX);
            keys.swap(last, random.below(bound) as usize);
        }
        keys
    }
}

fn chunk_parts(rule: &KeyRule) -> Result<Vec<Part>, RuleError> {
    let limits = 1..=CHUNKS_MAX;
    if !limits.contains(&rule.number_of_chunks) || !limits.contains(&rule.chunk_length) {
        return Err(RuleError::Chunks);
    }
    let one = Part::one_of(&rule.charset)?;
    let mut parts = Vec::new();
    for chunk in 0..rule.number_of_chunks {
        if chunk > 0 {
            parts.push(Part::Literal("-".to_owned()));
        }
        parts.extend((0..rule.chunk_length).map(|_| one.clone()));
    }
    Ok(parts)
}

fn pattern_parts(rule: &KeyRule) -> Result<Vec<Part>, RuleError> {
    let mut parts = Vec::new();
    let mut characters = rule.pattern.chars();
    while let Some(character) = characters.next() {
        parts.push(match character {
            '#' => Part::one_of(DIGITS)?,
            '@' => Part::one_of(LETTERS)?,
            '*' => Part::one_of(&rule.charset)?,
            '\\' => Part::Literal(characters.next().ok_or(RuleError::Pattern)?.to_string()),
            other => Part::Literal(other.to_string()),
        });
    }
    if parts.is_empty() { Err(RuleError::Pattern) } else { Ok(parts) }
}

/// A UUID's text is as long as this file takes it to be.
const _: () = assert!(uuid::fmt::Hyphenated::LENGTH == 36 && size_of::<Uuid>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts up instead of drawing.
    struct Counting(u32);

    impl Random for Counting {
        fn below(&mut self, bound: u32) -> u32 {
            self.0 = self.0.wrapping_add(1);
            self.0 % bound
        }

        fn bytes(&mut self) -> [u8; 16] {
            self.0 += 1;
            u128::from(self.0).to_be_bytes()
        }
    }

    fn made(rule: &KeyRule) -> String {
        rule.maker().unwrap().make(&mut Counting(0))
    }

    fn custom(pattern: &str) -> KeyRule {
        KeyRule { method: Method::Custom, function_name: "pattern".into(), pattern: pattern.into(), charset: "xyz".into(), ..KeyRule::default() }
    }

    #[test]
    fn each_method_makes_its_keys() {
        assert_eq!(made(&KeyRule::default()), "00000000-0000-4000-8000-000000000001");
        let chunks = KeyRule { method: Method::ChunkSystem, charset: "BA".into(), prefix: "P-".into(), suffix: "-S".into(), ..KeyRule::default() };
        assert_eq!(made(&chunks), "P-BABA-BABA-BABA-BABA-S");
        assert_eq!(chunks.maker().unwrap().space(), 1 << 16);
        assert_eq!(made(&custom(r"K#@*\#\\")), r"K1Cx#\");
        assert_eq!(custom("#@*").maker().unwrap().space(), 10 * 26 * 3);
        assert_eq!(KeyRule::default().maker().unwrap().space(), 1 << 122);
    }

    #[test]
    fn different_keys_are_as_many_as_there_are() {
        let maker = custom("*").maker().unwrap();
        assert_eq!(maker.make_different(2, &mut Counting(0)).len(), 2);
        let sorted = |mut keys: Vec<String>| {
            keys.sort();
            keys
        };
        assert_eq!(sorted(maker.make_different(9, &mut Counting(0))), ["x", "y", "z"]);
        let all = sorted(custom("a#*@").maker().unwrap().make_different(780, &mut Counting(0)));
        assert_eq!((all.len(), all[0].as_str(), all[779].as_str()), (780, "a0xA", "a9zZ"));
        assert!(all.is_sorted_by(|a, b| a < b), "each once");
        assert_eq!(KeyRule { charset: "AAAA".into(), method: Method::ChunkSystem, ..KeyRule::default() }.maker().unwrap().space(), 1);
    }

    #[test]
    fn a_wrong_rule_is_refused() {
        let chunks = || KeyRule { method: Method::ChunkSystem, ..KeyRule::default() };
        let cases = [
            (KeyRule { charset: String::new(), ..chunks() }, RuleError::CharsetEmpty),
            (KeyRule { charset: "A B".into(), ..chunks() }, RuleError::Blank),
            (KeyRule { prefix: " ".into(), ..KeyRule::default() }, RuleError::Blank),
            (KeyRule { number_of_chunks: 0, ..chunks() }, RuleError::Chunks),
            (KeyRule { chunk_length: 65, ..chunks() }, RuleError::Chunks),
            (KeyRule { number_of_chunks: 64, chunk_length: 4, ..chunks() }, RuleError::TooLong),
            (KeyRule { suffix: "s".repeat(256), ..KeyRule::default() }, RuleError::TooLong),
            (custom(""), RuleError::Pattern),
            (custom("a\\"), RuleError::Pattern),
            (KeyRule { function_name: "testFunction".into(), ..custom("#") }, RuleError::UnknownFunction),
        ];
        for (rule, error) in cases {
            assert_eq!(rule.maker(), Err(error), "{rule:?}");
        }
    }
}
