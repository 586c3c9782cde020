//! Subscriptions whose place the ledger keeps. A subscription is divided into partitions, by license; a worker is handed out the
//! next events of one partition with a lease, and nobody else gets that partition's meanwhile: so workers share a subscription, and
//! each license's events keep their order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use keyledger_events::Timestamp;
use keyledger_projections::{ReadError, Value, Values};
use uuid::Uuid;

use super::{Feed, FeedError, Filter, Frame, LookedThroughKey, Sight};
use crate::{
    clock::{self, Clock},
    store::{Portion, Statement, StoreError, aside},
};

/// Partitions of a subscription that was made without a word of them.
const PARTITIONS_DEFAULT: i64 = 8;
/// As many workers can share it.
pub const PARTITIONS_MAX: i64 = 64;
/// Subscriptions of a ledger: each has a few rows, and somebody who reads them.
pub const SUBSCRIPTIONS_MAX: i64 = 1_000;
/// What is read at a time: a hundred kilobytes usually.
const CHUNK: Portion = Portion { events: 100, bytes: 512 * 1024 };
/// Events looked at for one batch.
const LOOKS_AT: i64 = 20_000;
/// Bytes after which a batch is full.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// A partition that had nothing to hand out is moved on once it is so far behind what was looked at.
const MOVE_ON_AFTER: i64 = 1_000;

const INSERT: &str = "INSERT INTO subscription (name, filter, partitions, made_at) SELECT $1, $2, $3, $4 \
                      WHERE (SELECT count(*) FROM subscription) < $5 ON CONFLICT (name) DO NOTHING RETURNING name";
const INSERT_PARTITION: &str = "INSERT INTO subscription_partition (subscription, number, position, revision) VALUES ($1, $2, $3, $4)";
const SET_FILTER: &str = "UPDATE subscription SET filter = $1 WHERE name = $2 AND filter <> $1 RETURNING name";
/// What is handed out, and what is being looked for, was of the filter before.
const REVISE: &str = "UPDATE subscription_partition SET revision = revision + 1, lease = NULL, leased_until = NULL, leased_through = NULL \
                      WHERE subscription = $1";
const DELETE: &str = "DELETE FROM subscription WHERE name = $1 RETURNING name";
const DELETE_PARTITIONS: &str = "DELETE FROM subscription_partition WHERE subscription = $1";
const SEEK: &str = "UPDATE subscription_partition SET position = $1, lease = NULL, leased_until = NULL, leased_through = NULL \
                    WHERE subscription = $2 RETURNING number";
const ONE: &str = "SELECT name, filter, partitions, made_at FROM subscription WHERE name = $1";
const ALL: &str = "SELECT name, filter, partitions, made_at FROM subscription WHERE name > $1 ORDER BY name LIMIT $2";
const PARTITIONS: &str = "SELECT number, position, revision, leased_until, leased_through FROM subscription_partition \
                          WHERE subscription = $1 ORDER BY number";
const ALL_PARTITIONS: &str = "SELECT subscription, number, position, revision, leased_until, leased_through FROM subscription_partition \
                              ORDER BY subscription, number";
const LEASE: &str = "UPDATE subscription_partition SET lease = $1, leased_until = $2, leased_through = $3 \
                     WHERE subscription = $4 AND number = $5 AND position = $6 AND revision = $7 AND (lease IS NULL OR leased_until < $8) \
                     RETURNING number";
const MOVE_ON: &str = "UPDATE subscription_partition SET position = $1, lease = NULL, leased_until = NULL, leased_through = NULL \
                       WHERE subscription = $2 AND number = $3 AND position = $4 AND revision = $5 AND (lease IS NULL OR leased_until < $6) \
                       RETURNING number";
const ACKNOWLEDGE: &str = "UPDATE subscription_partition SET position = leased_through, lease = NULL, leased_until = NULL, leased_through = NULL \
                           WHERE lease = $1 AND subscription = $2 RETURNING position";
const ACKNOWLEDGE_PART: &str = "UPDATE subscription_partition SET position = $1, lease = NULL, leased_until = NULL, leased_through = NULL \
                                WHERE lease = $2 AND subscription = $3 AND position <= $1 AND leased_through >= $1 RETURNING position";
const HELD: &str = "SELECT number FROM subscription_partition WHERE lease = $1 AND subscription = $2";
const EXTEND: &str = "UPDATE subscription_partition SET leased_until = $1 WHERE lease = $2 AND subscription = $3 RETURNING number";

/// A subscription, without where it has come to.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub name: String,
    pub filter: Filter,
    pub partitions: i64,
    pub made_at: Timestamp,
}

/// Where one of its partitions has come to.
#[derive(Clone, Debug)]
pub struct Place {
    pub number: i64,
    /// The last event that is done with, as it is stored.
    position: i64,
    revision: i64,
    /// The last event that is done with: behind what is stored come only such as nobody wants.
    pub done: i64,
    /// Until when it is handed out.
    pub leased_until: Option<Timestamp>,
    /// The last event that is.
    pub leased_through: Option<i64>,
}

impl Place {
    /// By what it is known how far it was looked through. With another place, filter or past of the log it is another one.
    fn looked_through(&self, subscription: &str, times_went_back: u64) -> LookedThroughKey {
        (subscription.to_owned(), self.number, self.revision, self.position, times_went_back)
    }
}

/// Events handed out.
#[derive(Clone, Debug)]
pub struct Batch {
    pub lease: Uuid,
    pub until: Timestamp,
    pub partition: i64,
    /// How far the lease reaches.
    pub through: i64,
    /// CloudEvents as JSON, with commas between.
    pub events: Vec<u8>,
}

/// What a look for the next events came to.
#[derive(Clone, Debug)]
pub enum Next {
    Batch(Batch),
    /// Another look may find some at once: there are more behind those that were looked at in vain, or another worker was faster.
    Again,
    /// There are none, or others have them.
    Nothing,
}

#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    #[error("there is no such subscription")]
    Unknown,
    #[error("the subscription has {0} partitions; their number stays: delete it and make it anew, after where it has come to")]
    OtherPartitions(i64),
    #[error("there are {} subscriptions, and can be no more", SUBSCRIPTIONS_MAX)]
    TooMany,
    #[error("the lease is over: its events were acknowledged before, or handed out again, or the subscription was changed")]
    LeaseLost,
    #[error("the lease is not of event {0}")]
    NotLeased(i64),
    #[error(transparent)]
    Feed(#[from] FeedError),
}

impl From<StoreError> for SubscribeError {
    fn from(error: StoreError) -> Self {
        Self::Feed(error.into())
    }
}

fn unreadable(table: &'static str) -> impl Fn(ReadError) -> StoreError {
    move |source| StoreError::Read { table, source }
}

fn subscription(row: Vec<Value>) -> Result<Subscription, StoreError> {
    let (mut values, of) = (Values::from(row), unreadable("subscription"));
    let name = values.text().map_err(&of)?;
    let filter = values.text().map_err(&of)?;
    let filter = serde_json::from_str(&filter).map_err(|error| StoreError::Refused(format!("the filter of subscription {name}: {error}")))?;
    Ok(Subscription { name, filter, partitions: values.int().map_err(&of)?, made_at: values.time().map_err(&of)? })
}

fn place(values: &mut Values) -> Result<Place, StoreError> {
    let of = unreadable("subscription_partition");
    let (number, position) = (values.int().map_err(&of)?, values.int().map_err(&of)?);
    Ok(Place {
        number,
        position,
        done: position,
        revision: values.int().map_err(&of)?,
        leased_until: values.maybe_time().map_err(&of)?,
        leased_through: values.maybe_int().map_err(&of)?,
    })
}

/// The subscriptions of a ledger.
pub struct Subscriptions<'a> {
    feed: &'a Feed,
    clock: &'a Clock,
}

impl<'a> Subscriptions<'a> {
    #[must_use]
    pub fn new(feed: &'a Feed, clock: &'a Clock) -> Self {
        Self { feed, clock }
    }

    async fn done(&self, statements: &[Statement]) -> Result<Option<Vec<Value>>, StoreError> {
        Ok(self.feed.store().change(statements).await?.into_iter().next())
    }

    /// Makes a subscription that begins after an event, or gives one that is there another filter. Whether it was made.
    ///
    /// # Errors
    /// When it is there and has not the number of partitions that is asked for, there are too many, or the store fails.
    pub async fn put(&self, name: &str, filter: &Filter, wanted: Option<i64>, after: i64) -> Result<bool, SubscribeError> {
        let (text, now, partitions) = (serde_json::to_string(filter).unwrap_or_default(), self.clock.now(), wanted.unwrap_or(PARTITIONS_DEFAULT));
        let values = vec![name.into(), text.as_str().into(), partitions.into(), Value::Time(now), SUBSCRIPTIONS_MAX.into()];
        let mut statements = vec![Statement::new(INSERT, values)];
        // One that is deleted and made again has other revisions.
        let of = |number: i64| vec![name.into(), number.into(), after.into(), now.0.into()];
        statements.extend((0..partitions).map(|number| Statement::new(INSERT_PARTITION, of(number))));
        if self.done(&statements).await?.is_some() {
            return Ok(true);
        }
        let there = self.one(name).await.map_err(|error| match error {
            SubscribeError::Unknown => SubscribeError::TooMany,
            error => error,
        })?;
        if wanted.is_some_and(|wanted| wanted != there.partitions) {
            return Err(SubscribeError::OtherPartitions(there.partitions));
        }
        // Nothing is done where the filter is the same.
        self.done(&[Statement::new(SET_FILTER, vec![text.as_str().into(), name.into()]), Statement::new(REVISE, vec![name.into()])]).await?;
        Ok(false)
    }

    /// # Errors
    /// When there is none, or the store fails.
    pub async fn delete(&self, name: &str) -> Result<(), SubscribeError> {
        let statements = [Statement::new(DELETE, vec![name.into()]), Statement::new(DELETE_PARTITIONS, vec![name.into()])];
        self.done(&statements).await?.map(drop).ok_or(SubscribeError::Unknown)
    }

    /// Goes on after an event, from all partitions; what is handed out is given up.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn seek(&self, name: &str, after: i64) -> Result<(), SubscribeError> {
        self.done(&[Statement::new(SEEK, vec![after.into(), name.into()])]).await?.map(drop).ok_or(SubscribeError::Unknown)
    }

    /// # Errors
    /// When there is none, or the store fails.
    pub async fn one(&self, name: &str) -> Result<Subscription, SubscribeError> {
        let row = self.feed.store().query(ONE, &[name.into()]).await?.into_iter().next().ok_or(SubscribeError::Unknown)?;
        Ok(subscription(row)?)
    }

    /// Those whose names come after one, in order.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn all(&self, after: &str, limit: i64) -> Result<Vec<Subscription>, SubscribeError> {
        let rows = self.feed.store().query(ALL, &[after.into(), limit.into()]).await?;
        Ok(rows.into_iter().map(subscription).collect::<Result<_, _>>()?)
    }

    /// # Errors
    /// When the store fails.
    pub async fn places(&self, name: &str) -> Result<Vec<Place>, SubscribeError> {
        let rows = self.feed.store().query(PARTITIONS, &[name.into()]).await?;
        Ok(rows.into_iter().map(|row| self.known(name, &mut row.into())).collect::<Result<_, _>>()?)
    }

    /// Those of all subscriptions, by their names.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn all_places(&self) -> Result<HashMap<String, Vec<Place>>, SubscribeError> {
        let store = Arc::clone(self.feed.store());
        let rows = aside(async move { store.query(ALL_PARTITIONS, &[]).await }).await?;
        let mut places = HashMap::<String, Vec<Place>>::new();
        for row in rows {
            let mut values = Values::from(row);
            let name = values.text().map_err(unreadable("subscription_partition"))?;
            let place = self.known(&name, &mut values)?;
            places.entry(name).or_default().push(place);
        }
        Ok(places)
    }

    /// A place, with what is known here of how far it was looked through.
    fn known(&self, name: &str, values: &mut Values) -> Result<Place, StoreError> {
        let place = place(values)?;
        let done = self.feed.looked_through.get(&place.looked_through(name, self.feed.ledger.times_went_back())).unwrap_or(place.position);
        Ok(Place { done, ..place })
    }

    /// Hands out the next events of a partition that nobody has, the one furthest behind.
    ///
    /// # Errors
    /// When there is no such subscription, an event is damaged, or the store fails.
    pub async fn next(&self, name: &str, limit: i64, lease_for: Duration, sight: Sight) -> Result<Next, SubscribeError> {
        let now = self.clock.now();
        let times_went_back = self.feed.ledger.times_went_back();
        // Before the filter: if that changes in between, the revision is an old one, and nothing comes of the look.
        let mut free = self.places(name).await?;
        let subscription = self.one(name).await?;
        let (mut is_more, mut unreadable) = (false, None);
        free.retain(|place| place.leased_until.is_none_or(|until| until < now));
        free.sort_by_key(|place| place.position);
        for place in free {
            let filter = subscription.filter.clone().of_partition(place.number, subscription.partitions);
            let (mut events, through) = match self.look(place.done, &filter, limit, sight).await {
                Ok(found) => found,
                Err(error @ FeedError::Store(_)) => return Err(error.into()),
                // Others may have something before it.
                Err(error) => {
                    unreadable.get_or_insert(error);
                    continue;
                }
            };
            if events.is_empty() {
                is_more |= through - place.done >= LOOKS_AT;
                if through - place.position >= MOVE_ON_AFTER {
                    let values =
                        vec![through.into(), name.into(), place.number.into(), place.position.into(), place.revision.into(), Value::Time(now)];
                    self.done(&[Statement::new(MOVE_ON, values)]).await?;
                } else if through > place.done {
                    self.feed.looked_through.insert(place.looked_through(name, times_went_back), through);
                }
                continue;
            }
            // Without the last comma.
            events.pop();
            let lease = clock::new_id();
            // Not from before the look, which may have taken a while.
            let until = clock::later(self.clock.now(), lease_for);
            let values = vec![
                Value::Uuid(lease),
                Value::Time(until),
                through.into(),
                name.into(),
                place.number.into(),
                place.position.into(),
                place.revision.into(),
                Value::Time(now),
            ];
            // Another worker may have been faster.
            if self.done(&[Statement::new(LEASE, values)]).await?.is_some() {
                return Ok(Next::Batch(Batch { lease, until, partition: place.number, through, events }));
            }
            is_more = true;
        }
        if is_more {
            return Ok(Next::Again);
        }
        unreadable.map_or(Ok(Next::Nothing), |error| Err(error.into()))
    }

    /// The next events after one that a filter takes, as elements of an array with a comma behind each; and the last one looked at.
    async fn look(&self, after: i64, filter: &Filter, limit: i64, sight: Sight) -> Result<(Vec<u8>, i64), FeedError> {
        let (mut events, mut through, mut room) = (Vec::new(), after, usize::try_from(limit).unwrap_or(0));
        while room > 0 && events.len() < BATCH_BYTES && through - after < LOOKS_AT && through + 1 < self.feed.head_position() {
            let written = async {
                let read = self.feed.after(through, CHUNK).await?;
                self.feed.write_json(&read, filter, room, (sight, Frame::Element), &mut events).await
            };
            let written = match written.await {
                // What is before a damaged event can be handed out still.
                Err(_) if !events.is_empty() => break,
                written => written?,
            };
            if written.position <= through {
                break;
            }
            through = written.position;
            room = room.saturating_sub(written.events);
        }
        Ok((events, through))
    }

    /// Moves a partition on behind what was handed out, or behind the part of it up to an event. A lease that ran out is as good, as
    /// long as its events were not handed out again.
    ///
    /// # Errors
    /// When they were, or the lease is not of that event, there is no such subscription, or the store fails.
    pub async fn acknowledge(&self, name: &str, lease: Uuid, through: Option<i64>) -> Result<(), SubscribeError> {
        let statement = match through {
            None => Statement::new(ACKNOWLEDGE, vec![Value::Uuid(lease), name.into()]),
            Some(through) => Statement::new(ACKNOWLEDGE_PART, vec![through.into(), Value::Uuid(lease), name.into()]),
        };
        if self.done(&[statement]).await?.is_some() {
            return Ok(());
        }
        self.one(name).await?;
        let is_held = !self.feed.store().query(HELD, &[Value::Uuid(lease), name.into()]).await?.is_empty();
        Err(through.filter(|_| is_held).map_or(SubscribeError::LeaseLost, SubscribeError::NotLeased))
    }

    /// Holds a lease for longer.
    ///
    /// # Errors
    /// When it was lost, there is no such subscription, or the store fails.
    pub async fn extend(&self, name: &str, lease: Uuid, lease_for: Duration) -> Result<Timestamp, SubscribeError> {
        let until = clock::later(self.clock.now(), lease_for);
        let extended = self.done(&[Statement::new(EXTEND, vec![Value::Time(until), Value::Uuid(lease), name.into()])]).await?;
        if extended.is_none() {
            self.one(name).await?;
            return Err(SubscribeError::LeaseLost);
        }
        Ok(until)
    }
}
