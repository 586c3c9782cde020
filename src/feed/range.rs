//! A part of the log, from its beginning to its end, without waiting for more: read ahead, so that no core waits for another.

use std::sync::Arc;

use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream, Stream},
};

use super::{Feed, FeedError, Filter, Frame, Sight, Table, cores, missing, without_gaps};
use crate::store::{StoredEvent, aside, events_aside};

/// Events read at a time: half a megabyte usually, and thirty at most.
const CHUNK: i64 = 500;
/// Parts of a range that are worked on at once, at most: each takes a core, and what is ready waits for those before it.
const AHEAD_MAX: usize = 4;

/// Which events.
#[derive(Clone, Debug)]
pub struct Range {
    pub filter: Filter,
    pub sight: Sight,
    /// The last event before it.
    pub after: i64,
    /// Its last event.
    pub through: i64,
    /// How many at most.
    pub room: usize,
}

/// As what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line of JSON each.
    Lines,
    /// One Apache Parquet file.
    Parquet,
}

/// A part of what becomes of a range.
#[derive(Debug)]
pub struct Piece {
    /// It may be empty: a table is written when there is enough of it, and a filter may take nothing.
    pub bytes: Vec<u8>,
    /// The last event looked at.
    pub position: i64,
}

type Pieces = BoxStream<'static, Result<Piece, FeedError>>;

impl Feed {
    /// A range, piece by piece, in order. Only what is asked for is made, and a few pieces ahead.
    ///
    /// # Errors
    /// When a table can't be begun; the pieces have their own.
    pub fn range(self: &Arc<Self>, range: Range, form: Form) -> Result<Pieces, FeedError> {
        let feed = Arc::clone(self);
        Ok(match form {
            Form::Lines => lines(feed, range).boxed(),
            Form::Parquet => {
                let table = Table::new(self.format(range.sight))?;
                parquet(feed, range, table).boxed()
            }
        })
    }

    /// Some events, none of which is missing.
    async fn chunk(&self, (after, count): (i64, i64)) -> Result<Vec<StoredEvent>, FeedError> {
        let events = events_aside(Arc::clone(self.store()), after.saturating_add(1), count).await?;
        without_gaps(after, &events)?;
        let found = i64::try_from(events.len()).unwrap_or(i64::MAX);
        if found < count {
            return Err(missing(after + found + 1).into());
        }
        Ok(events)
    }
}

/// A range in parts: the last event before each, and its length.
fn chunks(range: &Range) -> impl Iterator<Item = (i64, i64)> + use<> {
    let through = range.through;
    let starts = std::iter::successors(Some(range.after), |after| after.checked_add(CHUNK)).take_while(move |after| *after < through);
    starts.map(move |after| (after, CHUNK.min(through - after)))
}

/// One more than there are cores: a part may wait for the disk, or for the database.
fn ahead() -> usize {
    (cores() + 1).min(AHEAD_MAX)
}

fn lines(feed: Arc<Feed>, range: Range) -> impl Stream<Item = Result<Piece, FeedError>> {
    let (room, chunks, range) = (range.room, chunks(&range), Arc::new(range));
    let of = move |chunk, room| {
        let (feed, worker, range) = (Arc::clone(&feed), Arc::clone(&feed), Arc::clone(&range));
        let work = async move {
            let events = feed.chunk(chunk).await?;
            aside(async move {
                let mut bytes = Vec::with_capacity(events.len() * 768);
                let written = feed.write(&events, &range.filter, room, &mut feed.json(range.sight, Frame::Line, &mut bytes)).await?;
                Ok::<_, FeedError>((chunk, written, bytes))
            })
            .await
        };
        async move { worker.in_turn(work).await }
    };
    let each = of.clone();
    let parts = stream::iter(chunks).map(move |chunk| each(chunk, room)).buffered(ahead());
    stream::try_unfold((parts.boxed(), room, of), |(mut parts, room, of)| async move {
        if room == 0 {
            return Ok(None);
        }
        let Some((chunk, mut written, mut bytes)) = parts.try_next().await? else { return Ok(None) };
        if written.events > room {
            // It was made when it was not known how many there are before it: once in a range.
            (_, written, bytes) = of(chunk, room).await?;
        }
        Ok(Some((Piece { bytes, position: written.position }, (parts, room - written.events, of))))
    })
}

fn parquet(feed: Arc<Feed>, range: Range, table: Table) -> impl Stream<Item = Result<Piece, FeedError>> {
    let reader = Arc::clone(&feed);
    let read = move |chunk| {
        let (feed, worker) = (Arc::clone(&reader), Arc::clone(&reader));
        async move { worker.in_turn(async move { feed.chunk(chunk).await }).await }
    };
    let parts = stream::iter(chunks(&range)).map(read).buffered(ahead());
    let (after, room, filter) = (range.after, range.room, Arc::new(range.filter));
    stream::try_unfold((parts.boxed(), Some(table), after, room), move |(mut parts, table, position, room)| {
        let (feed, filter) = (Arc::clone(&feed), Arc::clone(&filter));
        async move {
            let Some(mut table) = table else { return Ok(None) };
            let events = if room == 0 { None } else { parts.try_next().await? };
            let Some(events) = events else {
                let bytes = feed.in_turn(aside(async move { table.finish().map_err(FeedError::from) })).await?;
                return Ok(Some((Piece { bytes, position }, (parts, None, position, room))));
            };
            let writer = Arc::clone(&feed);
            let put = async move {
                let written = writer.write(&events, &filter, room, &mut table).await?;
                let bytes = if table.is_full() { table.take()? } else { Vec::new() };
                Ok::<_, FeedError>((table, written, bytes))
            };
            let (table, written, bytes) = feed.in_turn(aside(put)).await?;
            let piece = Piece { bytes, position: written.position };
            Ok(Some((piece, (parts, Some(table), written.position, room - written.events))))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_in_parts_without_gaps() {
        let of = |after, through| {
            let range = Range { filter: Filter::default(), sight: Sight::default(), after, through, room: 1 };
            chunks(&range).collect::<Vec<_>>()
        };
        assert_eq!(of(-1, -1), []);
        assert_eq!(of(4, 4), []);
        assert_eq!(of(-1, 0), [(-1, 1)]);
        assert_eq!(of(-1, 1_000), [(-1, 500), (499, 500), (999, 1)]);
        assert_eq!(of(i64::MAX - 1, i64::MAX), [(i64::MAX - 1, 1)]);
    }
}
