//! The feed as a consumer reads it.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::Value;

use super::admin::AdminAnswer;
use super::client::Client;

/// No stream in these tests is silent for longer: heart-beats come in between.
const SILENCE: Duration = Duration::from_secs(30);

/// A message of a `text/event-stream`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub id: Option<i64>,
    pub event: Option<String>,
    /// Empty where it is a mark or a comment.
    pub data: String,
}

impl Message {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.data))
    }
}

/// An open stream of messages.
pub struct EventStream {
    response: Response,
    read: String,
}

impl EventStream {
    /// The next message, also one without data; `None` where the stream ends or breaks.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((message, rest)) = self.read.split_once("\n\n") {
                let message = parsed(message);
                self.read = rest.to_string();
                return Some(message);
            }
            let chunk = tokio::time::timeout(SILENCE, self.response.chunk()).await.expect("no stream is silent for so long");
            self.read.push_str(std::str::from_utf8(&chunk.ok()??).expect("UTF-8, cut between messages"));
        }
    }

    /// The next event.
    pub async fn event(&mut self) -> Option<Value> {
        loop {
            let message = self.next().await?;
            if message.event.is_none() && !message.data.is_empty() {
                let event = message.json();
                assert_eq!(event["id"], message.id.expect("an id").to_string());
                return Some(event);
            }
        }
    }
}

fn parsed(text: &str) -> Message {
    let mut message = Message::default();
    for line in text.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => message.id = Some(id.parse().expect("a position")),
            Some(("event", event)) => message.event = Some(event.to_string()),
            Some(("data", data)) => message.data.push_str(data),
            _ => {}
        }
    }
    message
}

/// Whether a text holds anything of Jane Doe: each of these stands in what is told of her, and none in Base64.
pub fn tells_of_jane(text: &str) -> bool {
    ["jane@", "jane.", "jane-", "Jane "].iter().any(|trace| text.contains(trace))
}

/// The position of an event.
pub fn position(event: &Value) -> i64 {
    event["id"].as_str().expect("an id").parse().expect("a position")
}

pub fn positions(events: &[Value]) -> Vec<i64> {
    events.iter().map(position).collect()
}

pub fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

impl Client {
    pub async fn feed_get(&self, query: &str) -> AdminAnswer {
        self.admin_answer(self.request(Method::GET, &format!("/feed/v1/events?{query}"))).await
    }

    /// A page of the feed: how far it has come, and its events.
    pub async fn feed_page(&self, query: &str) -> (i64, Vec<Value>) {
        let response = self.request(Method::GET, &format!("/feed/v1/events?{query}")).send().await.expect("the server answers");
        assert_eq!(response.status(), 200, "{query}");
        assert_eq!(response.headers()["content-type"], "application/cloudevents-batch+json");
        let position = response.headers()["feed-position"].to_str().expect("text").parse().expect("a position");
        (position, response.json().await.expect("JSON"))
    }

    /// A range of the feed, line by line.
    pub async fn feed_lines(&self, query: &str) -> Vec<Value> {
        let request = self.request(Method::GET, &format!("/feed/v1/events?{query}")).header("accept", "application/x-ndjson");
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), 200, "{query}");
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        let text = response.text().await.expect("a whole answer");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Follows the feed.
    pub async fn try_feed_stream(&self, query: &str, last_event_id: Option<i64>) -> Result<EventStream, reqwest::Error> {
        let mut request = self.request(Method::GET, &format!("/feed/v1/events?{query}")).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id.to_string());
        }
        let response = request.send().await?.error_for_status()?;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Ok(EventStream { response, read: String::new() })
    }

    pub async fn feed_stream(&self, query: &str, last_event_id: Option<i64>) -> EventStream {
        self.try_feed_stream(query, last_event_id).await.expect("a stream")
    }
}
