//! A part of the log, from its beginning to its end, without waiting for more: read ahead, so that no core waits for another.

use std::sync::Arc;

use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream, Stream},
};

use super::{Feed, FeedError, Filter, Frame, Sight, Table, cores, missing, without_gaps};
use crate::store::{Portion, StoredEvent, aside, events_aside};

/// What is read at a time: half a megabyte usually.
const CHUNK: Portion = Portion { events: 500, bytes: 1024 * 1024 };
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

    /// The first events of a part, none of which is missing: all of them, unless they are long.
    async fn read(&self, part: Part) -> Result<Vec<StoredEvent>, FeedError> {
        let events = events_aside(Arc::clone(self.store()), part.after.saturating_add(1), CHUNK.at_most(part.events)).await?;
        without_gaps(part.after, &events)?;
        if events.is_empty() { Err(missing(part.after + 1).into()) } else { Ok(events) }
    }
}

/// A part of a range: so many events behind one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    after: i64,
    events: i64,
}

impl Part {
    /// What is left of it behind an event; `None` where nothing is.
    fn behind(self, position: i64) -> Option<Self> {
        let rest = Self { after: position, events: self.events - (position - self.after) };
        (rest.events > 0).then_some(rest)
    }
}

fn parts(range: &Range) -> impl Iterator<Item = Part> + use<> {
    let through = range.through;
    let starts = std::iter::successors(Some(range.after), |after| after.checked_add(CHUNK.events)).take_while(move |after| *after < through);
    starts.map(move |after| Part { after, events: CHUNK.events.min(through - after) })
}

/// One more than there are cores: a part may wait for the disk, or for the database.
fn ahead() -> usize {
    (cores() + 1).min(AHEAD_MAX)
}

fn lines(feed: Arc<Feed>, range: Range) -> impl Stream<Item = Result<Piece, FeedError>> {
    let (room, parts, range) = (range.room, parts(&range), Arc::new(range));
    let of = move |part, room| {
        let (feed, worker, range) = (Arc::clone(&feed), Arc::clone(&feed), Arc::clone(&range));
        let work = async move {
            let events = feed.read(part).await?;
            aside(async move {
                let mut bytes = Vec::with_capacity(events.len() * 768);
                let written = feed.write(&events, &range.filter, room, &mut feed.json(range.sight, Frame::Line, &mut bytes)).await?;
                Ok::<_, FeedError>((part, written, bytes))
            })
            .await
        };
        async move { worker.in_turn(work).await }
    };
    let each = of.clone();
    let parts = stream::iter(parts).map(move |part| each(part, room)).buffered(ahead());
    stream::try_unfold((parts.boxed(), None, room, of), |(mut parts, rest, room, of)| async move {
        if room == 0 {
            return Ok(None);
        }
        let made = match rest {
            Some(rest) => Some(of(rest, room).await?),
            None => parts.try_next().await?,
        };
        let Some((part, mut written, mut bytes)) = made else { return Ok(None) };
        if written.events > room {
            // It was made when it was not known how many there are before it: once in a range.
            (_, written, bytes) = of(part, room).await?;
        }
        Ok(Some((Piece { bytes, position: written.position }, (parts, part.behind(written.position), room - written.events, of))))
    })
}

fn parquet(feed: Arc<Feed>, range: Range, table: Table) -> impl Stream<Item = Result<Piece, FeedError>> {
    let reader = Arc::clone(&feed);
    let read = move |part| {
        let (feed, worker) = (Arc::clone(&reader), Arc::clone(&reader));
        async move { worker.in_turn(async move { Ok::<_, FeedError>((part, feed.read(part).await?)) }).await }
    };
    let parts = stream::iter(parts(&range)).map(read.clone()).buffered(ahead());
    let (after, room, filter) = (range.after, range.room, Arc::new(range.filter));
    stream::try_unfold((parts.boxed(), None, Some(table), after, room), move |(mut parts, rest, table, position, room)| {
        let (feed, filter, read) = (Arc::clone(&feed), Arc::clone(&filter), read.clone());
        async move {
            let Some(mut table) = table else { return Ok(None) };
            let events = match rest {
                _ if room == 0 => None,
                Some(rest) => Some(read(rest).await?),
                None => parts.try_next().await?,
            };
            let Some((part, events)) = events else {
                let bytes = feed.in_turn(aside(async move { table.finish().map_err(FeedError::from) })).await?;
                return Ok(Some((Piece { bytes, position }, (parts, None, None, position, room))));
            };
            let writer = Arc::clone(&feed);
            let put = async move {
                let written = writer.write(&events, &filter, room, &mut table).await?;
                let bytes = if table.is_full() { table.take()? } else { Vec::new() };
                Ok::<_, FeedError>((table, written, bytes))
            };
            let (table, written, bytes) = feed.in_turn(aside(put)).await?;
            let piece = Piece { bytes, position: written.position };
            Ok(Some((piece, (parts, part.behind(written.position), Some(table), written.position, room - written.events))))
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
            parts(&range).map(|part| (part.after, part.events)).collect::<Vec<_>>()
        };
        assert_eq!(of(-1, -1), []);
        assert_eq!(of(4, 4), []);
        assert_eq!(of(-1, 0), [(-1, 1)]);
        assert_eq!(of(-1, 1_000), [(-1, 500), (499, 500), (999, 1)]);
        assert_eq!(of(i64::MAX - 1, i64::MAX), [(i64::MAX - 1, 1)]);
        let part = Part { after: 4, events: 3 };
        assert_eq!((part.behind(5), part.behind(7)), (Some(Part { after: 5, events: 2 }), None));
    }
}
