//! `keyledger export`: the log as files for analytics, a folder for each day.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use futures::TryStreamExt as _;
use indicatif::ProgressBar;
use keyledger_events::Timestamp;
use parquet::{
    file::reader::{FileReader as _, SerializedFileReader},
    record::RowAccessor as _,
    schema::parser::parse_message_type,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Failure, StoreArgs, change::CLOSE_PATIENCE, progress::progress_bar};
use crate::{
    feed::{Feed, Filter, Form, Range, Sight},
    ledger::Ledger,
    store::Portion,
};

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// How events are written.
    #[arg(long, value_name = "FORMAT")]
    format: Format,
    /// The folder for the files; made where there is none. One that has files already is continued.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Begin after this event [default: the last one in the folder, or the beginning of the log]
    #[arg(long, value_name = "POSITION", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    after: Option<i64>,
    /// Events of one file at most.
    #[arg(long, value_name = "EVENTS", default_value = "1000000")]
    events_per_file: NonZeroU32,
    /// Show license and contract keys whole, not masked.
    #[arg(long)]
    with_license_keys: bool,
    /// Open personal data as far as it was not forgotten; what is forgotten later stays in the files.
    #[arg(long)]
    with_personal_data: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Parquet,
    Ndjson,
}

impl Format {
    fn form(self) -> Form {
        match self {
            Self::Parquet => Form::Parquet,
            Self::Ndjson => Form::Lines,
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Ndjson => "ndjson",
        }
    }
}

/// What all files of a folder have in common: written with the first of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Contents {
    ledger: Uuid,
    format: Format,
    license_keys: bool,
    personal_data: bool,
    /// The event before the first one: a folder may have no file yet.
    #[serde(default = "beginning")]
    after: i64,
}

fn beginning() -> i64 {
    -1
}

/// Readers of folders of data leave files out whose names begin so.
const CONTENTS_FILE: &str = "_keyledger.json";
/// What is being written, until it is whole.
const UNFINISHED_FILE: &str = "_unfinished";
/// Longer ones are none of ours.
const CONTENTS_BYTES_MAX: u64 = 4_096;
/// Longer than any event's line.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// A folder that nobody else writes into.
struct Folder {
    path: PathBuf,
    contents: Contents,
    /// Its last event and the file that ends with it; `None` where it has none.
    last: Option<(i64, PathBuf)>,
    _lock: File,
}

fn failed(doing: &str, path: &Path) -> impl Fn(std::io::Error) -> Failure {
    let (doing, path) = (doing.to_owned(), path.display().to_string());
    move |error| format!("cannot {doing} {path}: {error}").into()
}

impl Folder {
    fn open(path: &Path, contents: Contents) -> Result<Self, Failure> {
        fs::create_dir_all(path).map_err(failed("make", path))?;
        let named = path.join(CONTENTS_FILE);
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&named);
        let mut file = file.map_err(failed("open", &named))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Failure::from(format!("another export is writing into {}", path.display())),
            TryLockError::Error(error) => failed("lock", &named)(error),
        })?;
        let mut text = String::new();
        (&mut file).take(CONTENTS_BYTES_MAX).read_to_string(&mut text).map_err(failed("read", &named))?;
        let contents = if text.trim().is_empty() {
            let text = format!("{}\n", serde_json::to_string(&contents)?);
            file.rewind().and_then(|()| file.write_all(text.as_bytes())).and_then(|()| file.sync_all()).map_err(failed("write", &named))?;
            contents
        } else {
            let there: Contents = serde_json::from_str(&text).map_err(|error| format!("{}: not of an export: {error}", named.display()))?;
            let contents = Contents { after: there.after, ..contents };
            if there != contents {
                let of = |contents: &Contents| serde_json::to_string(contents).unwrap_or_default();
                return Err(
                    format!("{} holds {}, which does not go with {}: choose another folder", path.display(), of(&there), of(&contents)).into()
                );
            }
            contents
        };
        let last = last_event(path, contents.format)?;
        Ok(Self { path: path.to_owned(), contents, last, _lock: file })
    }

    /// Where to begin.
    fn after(&self, wanted: Option<i64>, last: i64) -> Result<i64, Failure> {
        let shown = self.path.display();
        match (self.last.as_ref().map(|(last, _)| *last), wanted) {
            (None, _) if self.contents.after > last => {
                Err(format!("{shown} begins after event {}, and the ledger ends with {last}: an old copy of it was put back", self.contents.after)
                    .into())
            }
            (Some(there), _) if there > last => {
                Err(format!("{shown} holds events up to {there}, and the ledger ends with {last}: an old copy of it was put back").into())
            }
            (Some(there), Some(after)) if after != there && after != self.contents.after => {
                Err(format!("{shown} holds events up to {there}: after {after} there would be a gap, or events twice; leave --after out").into())
            }
            (Some(there), _) => Ok(there),
            (None, Some(after)) if after != self.contents.after => {
                Err(format!("{shown} is to begin after event {}: leave --after out, or choose another folder", self.contents.after).into())
            }
            (None, _) => Ok(self.contents.after),
        }
    }

    /// Whether its last event is the ledger's: one that was put back as it was on another day has gone on with others since.
    async fn check(&self, feed: &Feed) -> Result<(), Failure> {
        let Some((last, file)) = &self.last else { return Ok(()) };
        let there = last_of(file, self.contents.format).map_err(|error| format!("{}: not of an export: {error}", file.display()))?;
        if there.0 != *last {
            return Err(format!("{}: not of an export: it ends with event {}", file.display(), there.0).into());
        }
        let stored = feed.after(last - 1, Portion::ONE).await?;
        if stored.first().is_some_and(|event| event.event_id == there.1) {
            return Ok(());
        }
        let shown = self.path.display();
        Err(format!("{shown} holds another event {last} than the ledger has: an old copy of it was put back, and went on differently").into())
    }

    /// Writes one file, which appears when it is whole.
    async fn write(&self, feed: &Arc<Feed>, range: Range, day: Timestamp, bar: &ProgressBar) -> Result<(), Failure> {
        let folder = self.path.join(format!("day={}", day.date()));
        let extension = self.contents.format.extension();
        let name = folder.join(format!("events-{:012}-{:012}.{extension}", range.after + 1, range.through));
        let unfinished = self.path.join(UNFINISHED_FILE);
        fs::create_dir_all(&folder).map_err(failed("make", &folder))?;
        // Left by an export that was killed.
        clear_away(&unfinished)?;
        let written = self.write_unfinished(feed, range, &unfinished, bar).await;
        if written.is_err() {
            // A full disk is not kept full.
            clear_away(&unfinished)?;
        }
        written?;
        let sync = |path: &Path| File::open(path).and_then(|folder| folder.sync_all()).map_err(failed("write", path));
        fs::rename(&unfinished, &name).map_err(failed("make", &name))?;
        sync(&folder)?;
        sync(&self.path)
    }

    async fn write_unfinished(&self, feed: &Arc<Feed>, range: Range, path: &Path, bar: &ProgressBar) -> Result<(), Failure> {
        // What is open to all by intent stays as the account's mask has it.
        let mode = if range.sight == Sight::default() { 0o644 } else { 0o600 };
        let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(path).map_err(failed("make", path))?;
        let mut pieces = feed.range(range, self.contents.format.form())?;
        while let Some(piece) = pieces.try_next().await? {
            file.write_all(&piece.bytes).map_err(failed("write", path))?;
            bar.set_position(piece.position.unsigned_abs() + 1);
        }
        file.sync_all().map_err(failed("write", path))
    }
}

/// Deletes what was not finished, where there is something.
fn clear_away(unfinished: &Path) -> Result<(), Failure> {
    match fs::remove_file(unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("delete", unfinished)(error)),
        _ => Ok(()),
    }
}

/// The last event of a folder, as its files are called. Those of earlier days may have been taken away.
fn last_event(path: &Path, format: Format) -> Result<Option<(i64, PathBuf)>, Failure> {
    let mut last = None;
    for day in fs::read_dir(path).map_err(failed("read", path))? {
        let day = day.map_err(failed("read", path))?;
        if !day.file_name().to_string_lossy().starts_with("day=") {
            continue;
        }
        for file in fs::read_dir(day.path()).map_err(failed("read", &day.path()))? {
            let file = file.map_err(failed("read", &day.path()))?;
            let found = through(&file.file_name().to_string_lossy(), format);
            last = last.max(found.map(|through| (through, file.path())));
        }
    }
    Ok(last)
}

/// Which events are told apart by.
#[derive(Deserialize)]
struct Line {
    id: String,
    eventid: Uuid,
}

/// Position and id of the last event of a file.
fn last_of(path: &Path, format: Format) -> Result<(i64, Uuid), Failure> {
    let mut file = File::open(path)?;
    match format {
        Format::Ndjson => {
            let begin = file.metadata()?.len().saturating_sub(LINE_BYTES_MAX);
            file.seek(SeekFrom::Start(begin))?;
            let mut end = Vec::new();
            file.take(LINE_BYTES_MAX).read_to_end(&mut end)?;
            let last = end.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
            let line: Line = serde_json::from_slice(last)?;
            Ok((line.id.parse()?, line.eventid))
        }
        Format::Parquet => {
            let table = SerializedFileReader::new(file)?;
            let group = table.num_row_groups().checked_sub(1).ok_or("it has no events")?;
            let columns = parse_message_type("message event { required int64 position; required binary eventid (STRING); }")?;
            let row = table.get_row_group(group)?.get_row_iter(Some(columns))?.last().ok_or("it has no events")??;
            Ok((row.get_long(0)?, row.get_string(1)?.parse()?))
        }
    }
}

/// The last event of a file; `None` where it is none of ours.
fn through(name: &str, format: Format) -> Option<i64> {
    let positions = name.strip_prefix("events-")?.strip_suffix(format.extension())?.strip_suffix('.')?;
    positions.split_once('-')?.1.parse().ok()
}

pub async fn run(args: ExportArgs) -> Result<(), Failure> {
    let ledger = args.store.open().await?;
    let exported = export(&ledger, &args).await;
    ledger.close(CLOSE_PATIENCE).await;
    println!("{}", exported?);
    Ok(())
}

/// Writes what is new; a sentence about it.
async fn export(ledger: &Ledger, args: &ExportArgs) -> Result<String, Failure> {
    let feed = Arc::new(Feed::new(ledger.clone()));
    let sight = Sight { keys: args.with_license_keys, personal: args.with_personal_data };
    let known = feed.next_position().await? - 1;
    if let Some(after) = args.after.filter(|after| *after > known) {
        return Err(format!("--after {after}: the last event is {known}").into());
    }
    let contents = Contents {
        ledger: feed.ledger_id(),
        format: args.format,
        license_keys: sight.keys,
        personal_data: sight.personal,
        after: args.after.unwrap_or_else(beginning),
    };
    // In this order: another export may just have ended.
    let folder = Folder::open(&args.output, contents)?;
    let last = feed.next_position().await? - 1;
    let begin = folder.after(args.after, last)?;
    folder.check(&feed).await?;
    let shown = args.output.display();
    if begin == last {
        return Ok(format!("nothing is new in {shown}: the last event is {last}"));
    }
    let bar = progress_bar();
    bar.set_length(last.unsigned_abs() + 1);
    bar.set_position((begin + 1).unsigned_abs());
    bar.reset_eta();
    let (mut after, mut files) = (begin, 0);
    while after < last {
        let first = feed.after(after, Portion::ONE).await?;
        let day = first.first().ok_or_else(|| format!("event {} is missing", after + 1))?.recorded_at;
        let end_of_day = Timestamp(0).plus_days(day.day() + 1);
        // A server may be appending: no further than was planned.
        let through = feed.last_before(end_of_day).await?.min(last).min(after.saturating_add(args.events_per_file.get().into()));
        folder.write(&feed, Range { filter: Filter::default(), sight, after, through, room: usize::MAX }, day, &bar).await?;
        (after, files) = (through, files + 1);
    }
    bar.finish_and_clear();
    Ok(format!("events {} to {last} are in {shown}, in {files} new {}", begin + 1, if files == 1 { "file" } else { "files" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_says_its_last_event() {
        assert_eq!(through("events-000000000000-000000000041.parquet", Format::Parquet), Some(41));
        assert_eq!(through("events-000000000000-123456789012345.ndjson", Format::Ndjson), Some(123_456_789_012_345));
        for other in ["events-000000000000-000000000041.ndjson", "events-1.parquet", "notes.parquet", "events-1-x.parquet", "events-1-2parquet", ""] {
            assert_eq!(through(other, Format::Parquet), None, "{other}");
        }
    }
}
