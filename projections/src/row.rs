//! Typed columns and values, and the errors of folding and reading rows.

use keyledger_events::Timestamp;
use uuid::Uuid;

/// What a column holds. Both databases have a type of their own for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    Int,
    Bool,
    Text,
    Bytes,
    Time,
    Uuid,
}

#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    pub ty: ColumnType,
}

/// One value of a row or a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Int(i64),
    Bool(bool),
    Text(String),
    Bytes(Vec<u8>),
    Time(Timestamp),
    Uuid(Uuid),
}

macro_rules! value_from {
    ($($type:ty => $variant:ident),+ $(,)?) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        })+
    };
}

value_from!(i64 => Int, bool => Bool, String => Text, &str => Text, Vec<u8> => Bytes, &[u8] => Bytes, Timestamp => Time, Uuid => Uuid);

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A row was read that the program can't make sense of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column} holds {found} where {expected} is expected")]
pub struct ReadError {
    pub column: usize,
    pub expected: &'static str,
    pub found: String,
}

/// The values of one row, taken from left to right. SQLite has no types for bool and time: there an integer stands for each.
#[derive(Debug)]
pub struct Values {
    values: std::vec::IntoIter<Value>,
    column: usize,
}

impl From<Vec<Value>> for Values {
    fn from(values: Vec<Value>) -> Self {
        Self { values: values.into_iter(), column: 0 }
    }
}

impl Values {
    fn next(&mut self) -> Value {
        self.column += 1;
        self.values.next().unwrap_or(Value::Null)
    }

    /// Leaves out the next values.
    pub fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.next();
        }
    }

    fn unexpected<T>(&self, expected: &'static str, found: &Value) -> Result<T, ReadError> {
        // The value itself stays out of the error: it could be a key or personal.
        let found = match found {
            Value::Null => "nothing",
            Value::Int(_) => "an integer",
            Value::Bool(_) => "a boolean",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::Time(_) => "a time",
            Value::Uuid(_) => "a UUID",
        };
        self.differs(expected, found)
    }

    fn differs<T>(&self, expected: &'static str, found: impl Into<String>) -> Result<T, ReadError> {
        Err(ReadError { column: self.column, expected, found: found.into() })
    }

    /// # Errors
    /// When the next value is not an integer.
    pub fn int(&mut self) -> Result<i64, ReadError> {
        match self.next() {
            Value::Int(value) => Ok(value),
            other => self.unexpected("an integer", &other),
        }
    }

    /// The number of a table's only row, which the row itself doesn't keep.
    ///
    /// # Errors
    /// When the next value is not 1.
    pub fn only_row(&mut self) -> Result<(), ReadError> {
        match self.int()? {
            1 => Ok(()),
            _ => self.differs("the number of the only row, 1,", "another number"),
        }
    }

    /// # Errors
    /// When the next value is neither an integer nor null.
    pub fn maybe_int(&mut self) -> Result<Option<i64>, ReadError> {
        match self.next() {
            Value::Int(value) => Ok(Some(value)),
            Value::Null => Ok(None),
            other => self.unexpected("an integer", &other),
        }
    }

    /// # Errors
    /// When the next value is not a boolean.
    pub fn bool(&mut self) -> Result<bool, ReadError> {
        match self.next() {
            Value::Bool(value) => Ok(value),
            Value::Int(value @ (0 | 1)) => Ok(value == 1),
            other => self.unexpected("a boolean", &other),
        }
    }

    /// A flag that follows from other columns.
    ///
    /// # Errors
    /// When the next value is not that flag.
    pub fn following(&mut self, flag: bool) -> Result<(), ReadError> {
        if self.bool()? == flag {
            return Ok(());
        }
        self.differs("the flag that follows from other columns", "the contrary")
    }

    /// # Errors
    /// When the next value is not text.
    pub fn text(&mut self) -> Result<String, ReadError> {
        match self.next() {
            Value::Text(value) => Ok(value),
            other => self.unexpected("text", &other),
        }
    }

    /// Words with one blank between them. A blank too many makes an empty word, so that it is not read past.
    ///
    /// # Errors
    /// When the next value is not text.
    pub fn words(&mut self) -> Result<Vec<String>, ReadError> {
        let text = self.text()?;
        Ok(if text.is_empty() { Vec::new() } else { text.split(' ').map(str::to_owned).collect() })
    }

    /// # Errors
    /// When the next value is neither text nor null.
    pub fn maybe_text(&mut self) -> Result<Option<String>, ReadError> {
        match self.next() {
            Value::Text(value) => Ok(Some(value)),
            Value::Null => Ok(None),
            other => self.unexpected("text", &other),
        }
    }

    /// # Errors
    /// When the next value is not bytes.
    pub fn bytes(&mut self) -> Result<Vec<u8>, ReadError> {
        match self.next() {
            Value::Bytes(value) => Ok(value),
            other => self.unexpected("bytes", &other),
        }
    }

    /// # Errors
    /// When the next value is neither bytes nor null.
    pub fn maybe_bytes(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        match self.next() {
            Value::Bytes(value) => Ok(Some(value)),
            Value::Null => Ok(None),
            other => self.unexpected("bytes", &other),
        }
    }

    /// # Errors
    /// When the next value is not a time.
    pub fn time(&mut self) -> Result<Timestamp, ReadError> {
        self.maybe_time()?.map_or_else(|| self.unexpected("a time", &Value::Null), Ok)
    }

    /// # Errors
    /// When the next value is neither a time nor null.
    pub fn maybe_time(&mut self) -> Result<Option<Timestamp>, ReadError> {
        match self.next() {
            Value::Time(value) => Ok(Some(value)),
            Value::Int(value) => Ok(Some(Timestamp(value))),
            Value::Null => Ok(None),
            other => self.unexpected("a time", &other),
        }
    }

    /// # Errors
    /// When the next value is not a UUID.
    pub fn uuid(&mut self) -> Result<Uuid, ReadError> {
        match self.next() {
            Value::Uuid(value) => Ok(value),
            Value::Bytes(bytes) => Uuid::from_slice(&bytes).or_else(|_| self.unexpected("a UUID", &Value::Bytes(bytes))),
            other => self.unexpected("a UUID", &other),
        }
    }

    /// A UUID that may be kept as text.
    ///
    /// # Errors
    /// When the next value is not a UUID in any form.
    pub fn uuid_or_text(&mut self) -> Result<Uuid, ReadError> {
        match self.values.as_slice().first() {
            Some(Value::Text(_)) => {
                let text = self.text()?;
                text.parse().or_else(|_| self.unexpected("a UUID", &Value::Text(text)))
            }
            _ => self.uuid(),
        }
    }

    /// As [`Values::named`], where the text may be null.
    ///
    /// # Errors
    /// When the next value is neither null nor text that names something known.
    pub fn maybe_named<T>(&mut self, expected: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, ReadError> {
        let Some(text) = self.maybe_text()? else { return Ok(None) };
        parse(&text).map_or_else(|| self.differs(expected, format!("{text:?}")), |value| Ok(Some(value)))
    }

    /// Two columns that are there together or not at all.
    ///
    /// # Errors
    /// When one of the next two values can't be read, or one is there without the other.
    pub fn both<A, B>(
        &mut self,
        first: impl FnOnce(&mut Self) -> Result<Option<A>, ReadError>,
        second: impl FnOnce(&mut Self) -> Result<Option<B>, ReadError>,
    ) -> Result<Option<(A, B)>, ReadError> {
        match (first(self)?, second(self)?) {
            (Some(first), Some(second)) => Ok(Some((first, second))),
            (None, None) => Ok(None),
            (Some(_), None) => self.differs("what belongs to the column before", "nothing"),
            (None, Some(_)) => self.differs("nothing, as in the column before,", "a value"),
        }
    }

    /// Reads text that names one of a few things.
    ///
    /// # Errors
    /// When the next value is not text or names nothing known.
    pub fn named<T>(&mut self, expected: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, ReadError> {
        let text = self.text()?;
        parse(&text).map_or_else(|| self.differs(expected, format!("{text:?}")), Ok)
    }
}

/// An event that doesn't fit the rows it meets: the log or the rows are damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    #[error("event {position}: sequence {found} of {aggregate} where {expected} is due")]
    Sequence { position: i64, aggregate: Uuid, expected: i64, found: i64 },
    #[error("event {position}: there is no {table} {number} to apply it to")]
    Missing { position: i64, table: &'static str, number: i64 },
}
