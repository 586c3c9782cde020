//! A JSON array as a parameter. It is read before the API key is checked, so it stays about as small as it was in the body:
//! its texts lie one behind the other, and whatever no operation takes is read over.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// How many items are kept. That many are too many for every operation, so how many more there are doesn't matter.
pub const ITEMS_MAX: usize = 10_001;

/// Stands for the end of an item that is not text.
const NO_TEXT: u32 = u32::MAX;

/// The items of a JSON array, the first [`ITEMS_MAX`] of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Items {
    texts: String,
    /// Where each text ends.
    ends: Vec<u32>,
}

/// One of them. A JSON number is text, as in a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    Text(&'a str),
    Other,
}

impl Items {
    /// Reads an array to its end.
    ///
    /// # Errors
    /// When it is not well-formed.
    pub fn read<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut items = Self::default();
        while items.len() < ITEMS_MAX && seq.next_element_seed(Push(&mut items))?.is_some() {}
        while seq.next_element::<Skipped>()?.is_some() {}
        items.texts.shrink_to_fit();
        items.ends.shrink_to_fit();
        Ok(items)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let end = usize::try_from(*end).unwrap_or(usize::MAX);
            let Some(text) = self.texts.get(start..end) else { return Item::Other };
            start = end;
            Item::Text(text)
        })
    }

    fn push_text(&mut self, text: &str) {
        self.texts.push_str(text);
        self.ends.push(u32::try_from(self.texts.len()).unwrap_or(NO_TEXT));
    }

    fn push_other(&mut self) {
        self.ends.push(NO_TEXT);
    }
}

/// As a JSON array of texts, `null` for what is none: equal lists read equally, however they came.
impl fmt::Display for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, item) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match item {
                Item::Text(text) => write!(f, "{comma}{}", serde_json::Value::from(text))?,
                Item::Other => write!(f, "{comma}null")?,
            }
        }
        f.write_str("]")
    }
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnArray;
        impl<'de> Visitor<'de> for AnArray {
            type Value = Items;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Items, A::Error> {
                Items::read(seq)
            }
        }
        deserializer.deserialize_seq(AnArray)
    }
}

/// Adds a value to the items.
struct Push<'a>(&'a mut Items);

impl<'de> DeserializeSeed<'de> for Push<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Push<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.push_other();
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.0.push_other();
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.push_text(&value.to_string());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0.push_text(&value.to_string());
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.push_text(&serde_json::Value::from(value).to_string());
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.0.push_text(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        self.0.push_other();
        Skipped.visit_seq(seq).map(drop)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.push_other();
        Skipped.visit_map(map).map(drop)
    }
}

/// Any value, read over. In contrast to [`serde::de::IgnoredAny`], the limit to the depth holds for it: that one asks
/// `serde_json` to skip, which counts no levels.
#[derive(Clone, Copy, Debug)]
pub struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Skipped {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Items> {
        serde_json::from_str(json).ok()
    }

    #[test]
    fn texts_and_numbers_are_kept_and_the_rest_is_marked() {
        let items = read(r#"["A", "", 7, -1, 1.50, 18446744073709551615, "\u00fc\n", null, true, [["x"], {}], {"a": ["y"]}, "Z"]"#).unwrap();
        let text = |item| if let Item::Text(text) = item { Some(text) } else { None };
        let expected = ["A", "", "7", "-1", "1.5", "18446744073709551615", "ü\n"].map(Some);
        assert_eq!(items.iter().map(text).collect::<Vec<_>>(), [&expected[..], &[None; 4], &[Some("Z")]].concat());
        assert_eq!((items.len(), items.is_empty()), (12, false));
        assert!(read("[]").unwrap().is_empty());
    }

    #[test]
    fn equal_lists_read_equally_and_others_do_not() {
        let written = |json| read(json).unwrap().to_string();
        assert_eq!(written(r#"[ "A","\u0042", 7 ]"#), r#"["A","B","7"]"#);
        assert_eq!(written(r#"["\"\n",null]"#), r#"["\"\n",null]"#);
        assert_eq!(written("[]"), "[]");
        for (one, other) in [(r#"["A","B"]"#, r#"["AB"]"#), (r#"["A,B"]"#, r#"["A","B"]"#), (r#"["null"]"#, "[null]"), (r#"[""]"#, "[]")] {
            assert_ne!(written(one), written(other));
            assert_ne!(read(one), read(other));
        }
    }

    #[test]
    fn what_is_no_array_is_refused_wherever_it_goes_wrong() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let deep_objects = format!("[{}0{}]", r#"{"a":"#.repeat(200), "}".repeat(200));
        let broken_late = format!("[{}nonsense]", "0,".repeat(ITEMS_MAX + 5));
        let deep_late = format!("[{}{}]", "0,".repeat(ITEMS_MAX + 5), deep(200));
        let long = [deep(200), deep_objects, broken_late, deep_late];
        let short = ["", "{}", "null", "7", r#""A""#, "[", "[1", "[1,]", "[1]x", "[1e400]", r#"["\ud800"]"#];
        for bad in short.into_iter().chain(long.iter().map(String::as_str)) {
            assert_eq!(read(bad), None, "{bad:.20}");
        }
        assert_eq!(read(&deep(100)).unwrap().len(), 1);
    }

    #[test]
    fn a_long_list_is_kept_in_part_and_stays_small() {
        let items = read(&format!("[{}0]", "0,".repeat(4_000_000))).unwrap();
        assert_eq!(items.len(), ITEMS_MAX);
        assert!(items.texts.capacity() + items.ends.capacity() * size_of::<u32>() < 64 * 1024);
    }
}
