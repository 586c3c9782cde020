//! Events as a table: one Apache Parquet file, made group of rows by group of rows, of which one is in memory.

use std::sync::Arc;

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::{
    CloudEvents, Facts, Shown, Sight, Sink, Unreadable, Upcast,
    cloud_event::{ATTRIBUTES, PERSONAL_ATTRIBUTES},
};

/// Why a table can't be written.
pub type TableError = ParquetError;

/// Rows of a group: so many are in memory, and readers take a group at a time.
const ROWS_MAX: usize = 65_536;
/// The same in bytes of text.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// The columns, by the names that the attributes have in JSON; numbers come first. `position` is the event's id as a number; `license`
/// and `product` are in the data too.
const SCHEMA: &str = "message event {
    required int64 position;
    required int64 time (TIMESTAMP(MICROS,true));
    required int64 streamsequence;
    optional int64 license;
    optional int64 product;
    required binary type (STRING);
    required binary subject (STRING);
    required binary source (STRING);
    required binary eventid (STRING);
    required binary eventtype (STRING);
    required binary eventversion (STRING);
    required binary data (STRING);
    optional binary actor (STRING);
    optional binary correlationid (STRING);
    optional binary operation (STRING);
    optional binary requestid (STRING);
    optional binary channel (STRING);
    optional binary operator (STRING);
    optional binary reason (STRING);
}";
const NUMBERS: usize = 5;
const TEXTS: usize = 7 + ATTRIBUTES.len() + PERSONAL_ATTRIBUTES.len();
/// Columns that go up from row to row.
const RISING: [&str; 2] = ["position", "time"];
/// Columns whose values are nearly all different.
const DIFFERENT: [&str; 5] = ["subject", "eventid", "data", "correlationid", "requestid"];

/// The file as far as it is written.
pub struct Table {
    format: CloudEvents,
    source: ByteArray,
    file: SerializedFileWriter<Vec<u8>>,
    numbers: [Vec<Option<i64>>; NUMBERS],
    texts: [Vec<Option<ByteArray>>; TEXTS],
    bytes: usize,
}

impl Table {
    /// # Errors
    /// When the file can't be begun.
    pub fn new(format: CloudEvents) -> Result<Self, TableError> {
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            // What is known of each page would be kept until the end of the file.
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true);
        for column in RISING {
            properties =
                properties.set_column_dictionary_enabled(column.into(), false).set_column_encoding(column.into(), Encoding::DELTA_BINARY_PACKED);
        }
        for column in DIFFERENT {
            properties = properties.set_column_dictionary_enabled(column.into(), false);
        }
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build()))?;
        let source = ByteArray::from(format.source().into_bytes());
        let (numbers, texts) = (std::array::from_fn(|_| Vec::new()), std::array::from_fn(|_| Vec::new()));
        Ok(Self { format, source, file, numbers, texts, bytes: 0 })
    }

    /// Whether it is time to write a group of rows.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.numbers[0].len() >= ROWS_MAX || self.bytes >= BYTES_MAX
    }

    /// Writes the rows; the bytes of the file that are there since last time.
    ///
    /// # Errors
    /// When that fails.
    pub fn take(&mut self) -> Result<Vec<u8>, TableError> {
        if !self.numbers[0].is_empty() {
            let mut group = self.file.next_row_group()?;
            for column in &mut self.numbers {
                write_column::<Int64Type>(&mut group, column)?;
            }
            for column in &mut self.texts {
                write_column::<ByteArrayType>(&mut group, column)?;
            }
            group.close()?;
            self.bytes = 0;
        }
        self.file.flush()?;
        Ok(std::mem::take(self.file.inner_mut()))
    }

    /// The file's last bytes.
    ///
    /// # Errors
    /// When that fails.
    pub fn finish(mut self) -> Result<Vec<u8>, TableError> {
        let mut bytes = self.take()?;
        bytes.extend(self.file.into_inner()?);
        Ok(bytes)
    }
}

/// Writes the next column, and empties it.
fn write_column<T: DataType>(group: &mut SerializedRowGroupWriter<'_, Vec<u8>>, column: &mut Vec<Option<T::T>>) -> Result<(), TableError> {
    let Some(mut writer) = group.next_column()? else { return Err(ParquetError::General("there are more columns than in the schema".to_owned())) };
    let levels: Vec<i16> = column.iter().map(|value| i16::from(value.is_some())).collect();
    let values: Vec<T::T> = column.drain(..).flatten().collect();
    // A column that is required has no levels.
    writer.typed::<T>().write_batch(&values, Some(&levels), None)?;
    writer.close()
}

impl Sink for Table {
    fn sight(&self) -> Sight {
        self.format.sight()
    }

    fn put(&mut self, facts: &Facts<'_>, upcast: &Upcast, shown: &Shown) -> Result<(), Unreadable> {
        let event = facts.event();
        let metadata = facts.metadata()?;
        let mut data = Vec::with_capacity(event.payload.len());
        self.format.data(facts, shown, &mut data)?;
        let text = |text: &str| Some(ByteArray::from(text.as_bytes().to_vec()));
        let mut texts = vec![
            text(facts.name()),
            text(&format!("{}/{}", event.aggregate_type, event.aggregate_id)),
            Some(self.source.clone()),
            text(&event.event_id.to_string()),
            text(&event.event_type),
            text(upcast.version(event)),
            Some(ByteArray::from(data)),
        ];
        for (name, _) in ATTRIBUTES {
            texts.push(metadata.text(name).and_then(|value| text(&value)));
        }
        for (name, _) in PERSONAL_ATTRIBUTES {
            texts.push(if self.sight().personal { metadata.text(name).and_then(|value| text(&value)) } else { None });
        }
        let numbers = [Some(event.position), Some(event.recorded_at.0), Some(event.sequence), facts.license(), facts.product()];
        for (column, value) in self.numbers.iter_mut().zip(numbers) {
            column.push(value);
        }
        for (column, value) in self.texts.iter_mut().zip(texts) {
            self.bytes += value.as_ref().map_or(0, ByteArray::len);
            column.push(value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use keyledger_events::Timestamp;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::RowAccessor as _;
    use uuid::Uuid;

    use super::*;
    use crate::store::StoredEvent;

    fn event(position: i64, key: &str) -> StoredEvent {
        StoredEvent {
            position,
            aggregate_type: "license".to_owned(),
            aggregate_id: Uuid::from_u128(7),
            sequence: position,
            event_id: Uuid::from_u128(8),
            event_type: "LicenseKeyReplaced".to_owned(),
            event_version: "1.0".to_owned(),
            recorded_at: Timestamp(position),
            payload: format!("{{\"LicenseKeyReplaced\":{{\"license\":5,\"text\":\"{key}\"}}}}"),
            metadata: "{\"actor\":\"a\",\"reason\":\"personal\"}".to_owned(),
            leaf_hash: [0; 32],
        }
    }

    /// The file of so many rows, and how often a part of it was taken.
    fn file(rows: i64, key: &str) -> (SerializedFileReader<Bytes>, usize) {
        let mut table = Table::new(CloudEvents::new(Uuid::nil(), Sight::default())).unwrap();
        let (mut bytes, mut parts) = (Vec::new(), 0);
        for position in 0..rows {
            let event = event(position, key);
            let upcast = Upcast::of(&event).unwrap();
            table.put(&Facts::read(&event, &upcast).unwrap(), &upcast, &Shown::Closed).unwrap();
            if table.is_full() {
                bytes.extend(table.take().unwrap());
                parts += 1;
            }
        }
        bytes.extend(table.finish().unwrap());
        (SerializedFileReader::new(Bytes::from(bytes)).unwrap(), parts)
    }

    #[test]
    fn rows_are_written_group_by_group() {
        for (rows, key, groups, parts) in [(0, "", 0, 0), (1, "", 1, 0), (65_536, "", 1, 1), (65_537, "", 2, 1), (3_000, &*"x".repeat(10_000), 2, 1)]
        {
            let (file, taken) = file(rows, key);
            assert_eq!((file.num_row_groups(), taken), (groups, parts), "{rows}");
            let positions: Vec<i64> = file.get_row_iter(None).unwrap().map(|row| row.unwrap().get_long(0).unwrap()).collect();
            assert_eq!(positions, (0..rows).collect::<Vec<_>>());
        }
    }

    #[test]
    fn who_may_see_nothing_personal_gets_no_reason() {
        let (file, _) = file(1, "k");
        let row = file.get_row_iter(None).unwrap().next().unwrap().unwrap();
        let columns: Vec<(String, String)> = row.get_column_iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
        let of = |wanted: &str| columns.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        assert_eq!((of("actor"), of("reason"), of("license"), of("product")), (Some("\"a\""), Some("null"), Some("5"), Some("null")));
        assert_eq!(of("data"), Some("\"{\"license\":5,\"text\":\"k\"}\""));
    }
}
