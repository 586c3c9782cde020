//! Named subscriptions: the server keeps how far they have come, and hands out events with leases.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use keyledger_events::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};
use uuid::Uuid;

use super::{SUBSCRIPTIONS, sight, still_permitted, timeout, to_follow};
use crate::{
    app::App,
    feed::{Batch, Filter, Next, PARTITIONS_MAX, Place, SUBSCRIPTIONS_MAX, SubscribeError, Subscription, Subscriptions},
    http::{
        admin::{AdminCall, Check, Done, Json, Problem, Replied, Reply, Shown},
        doc::{self, Doc, Field, Given, Parameter, Shape},
        envelope,
    },
};

/// Longest name.
const NAME_CHARS_MAX: usize = 100;
/// Events of a batch, where nothing is said, and at most.
const BATCH_DEFAULT: i64 = 100;
const BATCH_MAX: i64 = 1_000;
/// Seconds of a lease, where nothing is said, and at most.
const LEASE_DEFAULT_S: i64 = 60;
const LEASE_MAX_S: i64 = 3_600;
/// How often who waits looks for a partition that became free: nothing tells of it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The pause before another look, however much is appended that is not wanted.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one request goes on looking while all that it finds is not wanted: shorter than proxies commonly wait for an answer.
const LOOK_FOR: Duration = Duration::from_secs(20);
const JSON: HeaderValue = HeaderValue::from_static("application/json");

const NAME: Parameter = Parameter::required("subscription", Shape::Text, "The subscription's name.").at(doc::Place::Path);

/// What a subscription is to be of; what is absent doesn't matter.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewSubscription {
    /// Only events of these types, such as license.activated or license.*.
    #[schema(max_items = 100)]
    pub types: Vec<String>,
    /// Only events of this product.
    pub product: Option<i64>,
    /// Only events of this license.
    pub license: Option<i64>,
    /// How many workers can share it: 8 where it is made and nothing is said, and later as many as there are. With 1 all events keep their
    /// order, else those of each license.
    #[schema(minimum = 1, maximum = 64)]
    pub partitions: Option<i64>,
    /// Begins after this event, where it is made; with the first event, where it is not said.
    #[schema(minimum = -1)]
    pub after: Option<i64>,
    /// Begins with what is recorded from now on.
    pub from_now: bool,
}

/// A subscription.
#[derive(Serialize, ToSchema)]
pub struct SubscriptionShown {
    pub name: String,
    #[schema(value_type = Object)]
    pub filter: Filter,
    #[schema(value_type = String, format = DateTime)]
    pub made_at: Timestamp,
    /// The last event that all partitions are done with.
    pub position: i64,
    /// Events behind that.
    pub lag: i64,
    pub partitions: Vec<PartitionShown>,
}

/// A part of a subscription: the events of some licenses.
#[derive(Serialize, ToSchema)]
pub struct PartitionShown {
    pub number: i64,
    /// The last event that it is done with.
    pub position: i64,
    /// Until when its next events are handed out; `null` where they are not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub leased_until: Option<Timestamp>,
    /// The last event that is.
    pub leased_through: Option<i64>,
}

impl SubscriptionShown {
    fn new(places: Vec<Place>, subscription: Subscription, next_position: i64) -> Self {
        let position = places.iter().map(|place| place.done).min().unwrap_or(-1);
        let partition = |place: Place| PartitionShown {
            number: place.number,
            position: place.done,
            leased_until: place.leased_until,
            leased_through: place.leased_through,
        };
        Self {
            name: subscription.name,
            filter: subscription.filter,
            made_at: subscription.made_at,
            position,
            lag: (next_position - 1 - position).max(0),
            partitions: places.into_iter().map(partition).collect(),
        }
    }
}

/// All subscriptions.
#[derive(Serialize, ToSchema)]
pub struct SubscriptionList {
    pub items: Vec<SubscriptionShown>,
}

impl From<SubscribeError> for Problem {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::Unknown => Self::not_found("subscription"),
            SubscribeError::Feed(error) => error.into(),
            SubscribeError::OtherPartitions(_) | SubscribeError::TooMany | SubscribeError::LeaseLost => {
                let text = error.to_string();
                let mut letters = text.chars();
                let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
                Self::conflict(format!("{first}{}.", letters.as_str()))
            }
            SubscribeError::NotLeased(_) => Self::invalid_field("/through", format!("{error}.")),
        }
    }
}

fn subscriptions(app: &App) -> Subscriptions<'_> {
    Subscriptions::new(&app.feed, &app.clock)
}

async fn shown(app: &App, subscription: Subscription, next_position: i64) -> Replied<SubscriptionShown> {
    let places = subscriptions(app).places(&subscription.name).await?;
    Ok(SubscriptionShown::new(places, subscription, next_position))
}

pub const LIST: Doc = Doc::new("All subscriptions").details("In the order of their names.");

pub async fn list(call: AdminCall, (): ()) -> Replied<Shown<SubscriptionList>> {
    let next_position = call.app.feed.next_position().await?;
    let mut places = subscriptions(&call.app).all_places().await?;
    let all = subscriptions(&call.app).all("", SUBSCRIPTIONS_MAX).await?;
    // One that is so new that it had no places yet is there the next time.
    let shown = |subscription: Subscription| Some(SubscriptionShown::new(places.remove(&subscription.name)?, subscription, next_position));
    Ok(Shown(SubscriptionList { items: all.into_iter().filter_map(shown).collect() }))
}

pub const SHOW: Doc = Doc::new("A subscription, and how far it has come").parameters(&[NAME]);

pub async fn show(call: AdminCall, (): ()) -> Replied<Shown<SubscriptionShown>> {
    let subscription = subscriptions(&call.app).one(call.text("subscription")).await?;
    Ok(Shown(shown(&call.app, subscription, call.app.feed.next_position().await?).await?))
}

pub const PUT: Doc = Doc::new("Make a subscription, or change what it is of")
    .details(
        "One that is there keeps its place and its number of partitions; after and from_now count where it is made. With another filter its \
         leases end: what was handed out is handed out again, as far as it is still wanted.",
    )
    .parameters(&[NAME])
    .refusals(&[409]);

pub async fn put(call: AdminCall, Json(new): Json<NewSubscription>) -> Replied<Shown<SubscriptionShown>> {
    let mut check = Check::default();
    let name = call.text("subscription");
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.bytes().all(is_name) {
        check.wrong("subscription", format!("must be 1 to {NAME_CHARS_MAX} letters, digits, dots, hyphens or underscores."));
    }
    if new.partitions.is_some_and(|partitions| !(1..=PARTITIONS_MAX).contains(&partitions)) {
        check.wrong("/partitions", format!("must be 1 to {PARTITIONS_MAX}."));
    }
    let next_position = call.app.feed.next_position().await?;
    let after = new.after.unwrap_or(if new.from_now { next_position - 1 } else { -1 });
    check_place(&mut check, after, next_position);
    let filter = check.parsed("/types", Filter::new(new.types, new.product, new.license, None, None));
    check.end()?;
    subscriptions(&call.app).put(name, &filter.unwrap_or_default(), new.partitions, after).await?;
    let subscription = subscriptions(&call.app).one(name).await?;
    Ok(Shown(shown(&call.app, subscription, next_position).await?))
}

fn check_place(check: &mut Check, after: i64, next_position: i64) {
    if !(-1..next_position).contains(&after) {
        check.wrong("/after", format!("must be -1 or the position of an event; the last one is {}.", next_position - 1));
    }
}

pub const DELETE: Doc = Doc::new("Delete a subscription").parameters(&[NAME]);

pub async fn delete(call: AdminCall, (): ()) -> Replied<Done> {
    subscriptions(&call.app).delete(call.text("subscription")).await?;
    Ok(Done)
}

/// How many events, and for how long.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NextRequest {
    /// How many events at most, 100 unless given.
    #[schema(minimum = 1, maximum = 1_000)]
    pub limit: Option<i64>,
    /// Seconds until they are handed out again unless they are acknowledged, 60 unless given.
    #[schema(minimum = 1, maximum = 3_600)]
    pub seconds: Option<i64>,
    /// How many milliseconds to wait for an event.
    #[schema(minimum = 0, maximum = 55_000)]
    pub timeout: i64,
}

fn lease_for(check: &mut Check, pointer: &str, seconds: Option<i64>) -> Duration {
    let seconds = seconds.unwrap_or(LEASE_DEFAULT_S);
    if !(1..=LEASE_MAX_S).contains(&seconds) {
        check.wrong(pointer, format!("must be 1 to {LEASE_MAX_S} seconds."));
    }
    Duration::from_secs(seconds.unsigned_abs().min(LEASE_MAX_S.unsigned_abs()))
}

/// Events with a lease, or none.
pub struct Handed(Option<Vec<u8>>);

impl Reply for Handed {
    const STATUS: StatusCode = StatusCode::OK;

    fn schema(_: &mut Vec<(String, RefOr<Schema>)>) -> Option<RefOr<Schema>> {
        None
    }

    fn into_response(self, request_id: Uuid) -> Response {
        match self.0 {
            Some(body) => envelope::plain(Self::STATUS, JSON, body, request_id),
            None => Done.into_response(request_id),
        }
    }
}

pub const NEXT: Doc = Doc::new("Take the next events of a subscription")
    .details(
        "They are handed out to the caller alone until the lease runs out; after that they are handed out again, unless they were \
         acknowledged. A batch is of one partition; meanwhile other workers get those of others.",
    )
    .parameters(&[NAME])
    .given(&[
        Given::json(
            200,
            "Events with a lease.",
            Shape::Object(&[
                Field::always("lease", Shape::Text, "What acknowledges them."),
                Field::always("until", Shape::Text, "When the lease runs out."),
                Field::always("partition", Shape::Integer, "Which part of the subscription they are of."),
                Field::always("through", Shape::Integer, "How far the partition has come once they are acknowledged."),
                Field::always("events", Shape::List(&Shape::Any), "CloudEvents, in order."),
            ]),
        ),
        Given::new(204, "There are none, or others have them; or so many were looked through in vain that it is time to answer.", "", Shape::Any),
    ]);

pub async fn next(call: AdminCall, Json(wanted): Json<NextRequest>) -> Replied<Handed> {
    let mut check = Check::default();
    let limit = wanted.limit.unwrap_or(BATCH_DEFAULT);
    if !(1..=BATCH_MAX).contains(&limit) {
        check.wrong("/limit", format!("must be 1 to {BATCH_MAX}."));
    }
    let timeout = timeout(&mut check, "/timeout", wanted.timeout);
    let lease_for = lease_for(&mut check, "/seconds", wanted.seconds);
    check.end()?;
    let (app, name) = (&call.app, call.text("subscription"));
    let sight = sight(&call).await?;
    let (deadline, look_until) = (Instant::now() + timeout, Instant::now() + LOOK_FOR);
    app.feed.next_position().await?;
    let mut moved = app.feed.moved();
    let mut waiting = None;
    loop {
        moved.mark_unchanged();
        match subscriptions(app).next(name, limit, lease_for, sight).await? {
            Next::Batch(batch) => return Ok(Handed(Some(body(&batch)))),
            Next::Again if Instant::now() < look_until && !app.is_stopping() => continue,
            Next::Again | Next::Nothing => {}
        }
        if Instant::now() >= deadline || app.is_stopping() {
            return Ok(Handed(None));
        }
        if waiting.is_none() {
            waiting = Some(to_follow()?);
        }
        // Whether something came, or a partition became free, or it is enough: the next look tells. What comes meanwhile comes in one batch.
        let _ = timeout_at(deadline.min(Instant::now() + LOOK_EVERY), moved.changed()).await;
        tokio::time::sleep(PAUSE.min(deadline.saturating_duration_since(Instant::now()))).await;
        // Before anything is leased to it.
        still_permitted(&call, SUBSCRIPTIONS).await?;
    }
}

fn body(batch: &Batch) -> Vec<u8> {
    let Batch { lease, until, partition, through, events } = batch;
    let mut body = format!("{{\"lease\":\"{lease}\",\"until\":\"{until}\",\"partition\":{partition},\"through\":{through},\"events\":[").into_bytes();
    body.extend_from_slice(events);
    body.extend_from_slice(b"]}");
    body
}

/// What is done with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// The lease that the events came with.
    pub lease: Uuid,
    /// The last event that is done with, where it is not all of them: the rest is handed out again.
    pub through: Option<i64>,
}

pub const ACKNOWLEDGE: Doc = Doc::new("Say that events are done with").parameters(&[NAME]).refusals(&[409]);

pub async fn acknowledge(call: AdminCall, Json(done): Json<Acknowledgement>) -> Replied<Done> {
    subscriptions(&call.app).acknowledge(call.text("subscription"), done.lease, done.through).await?;
    Ok(Done)
}

/// For how much longer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// The lease that the events came with.
    pub lease: Uuid,
    /// Seconds from now, 60 unless given.
    #[schema(minimum = 1, maximum = 3_600)]
    pub seconds: Option<i64>,
}

/// The lease as it is now.
#[derive(Serialize, ToSchema)]
pub struct Extended {
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}

pub const EXTEND: Doc = Doc::new("Hold a lease for longer").parameters(&[NAME]).refusals(&[409]);

pub async fn extend(call: AdminCall, Json(extension): Json<Extension>) -> Replied<Shown<Extended>> {
    let mut check = Check::default();
    let lease_for = lease_for(&mut check, "/seconds", extension.seconds);
    check.end()?;
    let until = subscriptions(&call.app).extend(call.text("subscription"), extension.lease, lease_for).await?;
    Ok(Shown(Extended { until }))
}

/// Where to go on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Seek {
    /// The last event that counts as done with; -1 for none.
    #[schema(minimum = -1)]
    pub after: i64,
}

pub const SEEK: Doc =
    Doc::new("Have a subscription go on elsewhere").details("Leases end. What lies behind is handed out again.").parameters(&[NAME]);

pub async fn seek(call: AdminCall, Json(seek): Json<Seek>) -> Replied<Done> {
    let mut check = Check::default();
    check_place(&mut check, seek.after, call.app.feed.next_position().await?);
    check.end()?;
    subscriptions(&call.app).seek(call.text("subscription"), seek.after).await?;
    Ok(Done)
}
