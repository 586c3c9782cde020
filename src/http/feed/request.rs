//! What a request to the feed says: in which form it wants the events, which ones, and from where on.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header, request::Parts};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::timeout;
use crate::{
    feed::{Filter, Form},
    http::{
        admin::{Check, Input, InputPlace, Kind, Problem, Query, Replied},
        ledger::Repeatable,
    },
};

/// Events of a page, where nothing is said.
const PAGE_DEFAULT: i64 = 100;
/// Events of a page at most: a megabyte or so.
const PAGE_MAX: i64 = 1_000;

/// Which events are wanted; what is absent doesn't matter.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FeedQuery {
    /// The events behind this position: the last one that the caller has. From the beginning, where it is not said.
    #[schema(value_type = Option<i64>, minimum = -1)]
    pub after: Option<String>,
    /// The same, as http-feeds.org calls it.
    #[serde(rename = "lastEventId")]
    #[schema(value_type = Option<i64>)]
    pub last_event_id: Option<String>,
    /// None behind this position.
    #[schema(minimum = 0)]
    pub through: Option<i64>,
    /// How many events: of a page 100 unless given, 1,000 at most; of a range all.
    #[schema(minimum = 1)]
    pub limit: Option<i64>,
    /// How many milliseconds a page may wait for its first event.
    #[schema(minimum = 0, maximum = 55_000)]
    pub timeout: Option<i64>,
    /// Only events of these types, separated by commas, such as license.activated or license.*; may come several times.
    pub r#type: Option<String>,
    /// Only events of this product.
    pub product: Option<i64>,
    /// Only events of this license.
    pub license: Option<i64>,
    /// Recorded then or later.
    #[schema(format = DateTime)]
    pub from: Option<String>,
    /// Recorded then or earlier.
    #[schema(format = DateTime)]
    pub to: Option<String>,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An array, a page at a time.
    Batch,
    /// A stream that goes on.
    EventStream,
    /// A range, as far as there is one.
    Range(Form),
}

/// The media types, and what they stand for.
const FORMATS: [(&str, Format); 9] = [
    ("application/cloudevents-batch+json", Format::Batch),
    ("text/event-stream", Format::EventStream),
    ("application/x-ndjson", Format::Range(Form::Lines)),
    ("application/ndjson", Format::Range(Form::Lines)),
    ("application/jsonl", Format::Range(Form::Lines)),
    ("application/vnd.apache.parquet", Format::Range(Form::Parquet)),
    ("application/json", Format::Batch),
    ("application/*", Format::Batch),
    ("*/*", Format::Batch),
];

impl Format {
    fn accepted(headers: &HeaderMap) -> Replied<Self> {
        let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
        if accept.trim().is_empty() {
            return Ok(Self::Batch);
        }
        let types = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
        let known = |range: &str| FORMATS.iter().find(|(name, _)| name.eq_ignore_ascii_case(range)).map(|(_, format)| *format);
        types.filter_map(known).next().ok_or_else(|| {
            let names = FORMATS.map(|(name, _)| name).join(", ");
            Problem::new(Kind::NotAcceptable, format!("The feed can be had as {names}."))
        })
    }
}

/// A request as it is understood.
pub struct FeedRequest {
    pub format: Format,
    pub filter: Filter,
    /// The last event that the caller has; `None` for the beginning.
    pub after: Option<i64>,
    pub through: Option<i64>,
    pub limit: Option<i64>,
    pub timeout: Duration,
}

impl FeedRequest {
    fn new(query: FeedQuery, head: &Parts) -> Replied<Self> {
        let mut check = Check::default();
        let last_seen = head.headers.get("last-event-id").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        // An EventSource repeats its URL, and says in the header where it has come to since.
        let named = [("Last-Event-ID", last_seen), ("lastEventId", query.last_event_id), ("after", query.after)];
        let named = named.into_iter().find_map(|(name, text)| text.filter(|text| !text.trim().is_empty()).map(|text| (name, text)));
        let after = named.and_then(|(name, text)| {
            let position = text.trim().parse().ok().filter(|position: &i64| *position >= -1);
            if position.is_none() {
                check.wrong(name, "must be the position of an event.");
            }
            position
        });
        let format = Format::accepted(&head.headers)?;
        if query.through.is_some_and(|through| through < 0) {
            check.wrong("through", "must be the position of an event.");
        }
        let limit = query.limit.or((format == Format::Batch).then_some(PAGE_DEFAULT));
        let limit_max = if format == Format::Batch { PAGE_MAX } else { i64::MAX };
        if limit.is_some_and(|limit| !(1..=limit_max).contains(&limit)) {
            check.wrong("limit", if format == Format::Batch { "must be 1 to 1000." } else { "must be 1 or more." });
        }
        let timeout = timeout(&mut check, "timeout", query.timeout.unwrap_or(0));
        let from = query.from.and_then(|text| check.time("from", &text));
        let to = query.to.and_then(|text| check.time("to", &text));
        let types = query.r#type.iter().flat_map(|types| types.split(',')).map(|name| name.trim().to_owned()).collect();
        let filter = check.parsed("type", Filter::new(types, query.product, query.license, from, to));
        check.end()?;
        Ok(Self { format, filter: filter.unwrap_or_default(), after, through: query.through, limit, timeout })
    }
}

impl Input for FeedRequest {
    const PLACE: InputPlace = InputPlace::Query;

    fn schema(components: &mut Vec<(String, RefOr<Schema>)>) -> Option<RefOr<Schema>> {
        Query::<FeedQuery>::schema(components)
    }

    async fn read(head: &Parts, body: Body, body_max: usize) -> Result<(Self, Vec<u8>), Problem> {
        let (Repeatable(query), compared) = Repeatable::<FeedQuery>::read(head, body, body_max).await?;
        Ok((Self::new(query, head)?, compared))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn request(query: FeedQuery, headers: &[(&str, &str)]) -> Replied<FeedRequest> {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        FeedRequest::new(query, &request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn the_first_type_that_can_be_given_is() {
        let format = |accept| request(FeedQuery::default(), &[("accept", accept)]).map(|request| request.format).ok();
        assert_eq!(format("text/html, text/event-stream;q=0.9"), Some(Format::EventStream));
        assert_eq!(format("application/X-NDJSON"), Some(Format::Range(Form::Lines)));
        assert_eq!((format("*/*"), format("")), (Some(Format::Batch), Some(Format::Batch)));
        assert_eq!(format("text/html"), None);
        assert_eq!(request(FeedQuery::default(), &[]).unwrap().format, Format::Batch);
    }

    #[test]
    fn where_a_stream_has_come_to_outweighs_where_it_began() {
        let query = || FeedQuery { after: Some("7".to_owned()), ..FeedQuery::default() };
        assert_eq!(request(query(), &[("last-event-id", "9")]).unwrap().after, Some(9));
        assert_eq!(request(query(), &[("last-event-id", "")]).unwrap().after, Some(7));
        assert_eq!(request(FeedQuery { last_event_id: Some("8".to_owned()), ..query() }, &[]).unwrap().after, Some(8));
        for bad in ["x", "9é"] {
            assert!(request(query(), &[("last-event-id", bad)]).is_err(), "{bad}");
        }
        assert_eq!(request(FeedQuery { after: Some("-1".to_owned()), ..FeedQuery::default() }, &[]).unwrap().after, Some(-1));
        for bad in ["-2", "1.5", "99999999999999999999"] {
            assert!(request(FeedQuery { after: Some(bad.to_owned()), ..FeedQuery::default() }, &[]).is_err(), "{bad}");
        }
    }
}
