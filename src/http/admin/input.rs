//! What the administration's handlers take and give, with the types' own description of it.

use axum::body::{Body, HttpBody as _};
use axum::extract::Query as QueryString;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use uuid::Uuid;

use super::super::{body, envelope};
use super::problem::{Kind, Problem};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const LOCATION: HeaderName = header::LOCATION;

/// Where a handler's input stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputPlace {
    Nowhere,
    Query,
    /// A JSON body.
    Body,
    /// A body of another type.
    Upload(&'static str),
}

/// What the types of a handler say about an operation.
pub struct Described {
    pub input: InputPlace,
    /// Whether a request without it can't be right.
    pub input_required: bool,
    pub input_schema: Option<RefOr<Schema>>,
    pub status: u16,
    pub reply_schema: Option<RefOr<Schema>>,
    /// The schemas that those refer to.
    pub components: Vec<(String, RefOr<Schema>)>,
}

impl Described {
    #[must_use]
    pub fn of<I: Input, O: Reply>() -> Self {
        let mut components = Vec::new();
        let input_schema = I::schema(&mut components);
        let reply_schema = O::schema(&mut components);
        Self { input: I::PLACE, input_required: I::is_required(), input_schema, status: O::STATUS.as_u16(), reply_schema, components }
    }
}

fn named<T: ToSchema>(components: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
    T::schemas(components);
    let name = T::name().into_owned();
    components.push((name.clone(), T::schema()));
    RefOr::Ref(Ref::from_schema_name(name))
}

/// What a handler takes.
pub trait Input: Sized + Send {
    const PLACE: InputPlace;

    fn schema(components: &mut Vec<(String, RefOr<Schema>)>) -> Option<RefOr<Schema>>;

    /// Whether a request without it can't be right.
    #[must_use]
    fn is_required() -> bool {
        true
    }

    /// Reads it. Gives besides what an idempotency key compares.
    fn read(head: &Parts, body: Body, body_max: usize) -> impl Future<Output = Result<(Self, Vec<u8>), Problem>> + Send;
}

impl Input for () {
    const PLACE: InputPlace = InputPlace::Nowhere;

    fn schema(_: &mut Vec<(String, RefOr<Schema>)>) -> Option<RefOr<Schema>> {
        None
    }

    async fn read(head: &Parts, body: Body, _: usize) -> Result<(Self, Vec<u8>), Problem> {
        body::discard(body, &head.headers).await;
        Ok(((), Vec::new()))
    }
}

/// The query's parameters.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + ToSchema + Send> Input for Query<T> {
    const PLACE: InputPlace = InputPlace::Query;

    fn schema(components: &mut Vec<(String, RefOr<Schema>)>) -> Option<RefOr<Schema>> {
        T::schemas(components);
        Some(T::schema())
    }

    async fn read(head: &Parts, body: Body, _: usize) -> Result<(Self, Vec<u8>), Problem> {
        body::discard(body, &head.headers).await;
        let query = QueryString::try_from_uri(&head.uri).map_err(|error| Problem::new(Kind::InvalidParameters, format!("The query: {error}.")))?;
        Ok((Self(query.0), Vec::new()))
    }
}

/// A JSON body.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + ToSchema + Send> Input for Json<T> {
    const PLACE: InputPlace = InputPlace::Body;

    fn schema(components: &mut Vec<(String, RefOr<Schema>)>) -> Option<RefOr<Schema>> {
        Some(named::<T>(components))
    }

    fn is_required() -> bool {
        serde_json::from_value::<T>(serde_json::json!({})).is_err()
    }

    async fn read(head: &Parts, body: Body, body_max: usize) -> Result<(Self, Vec<u8>), Problem> {
        // No body says what an empty object says.
        if body.is_end_stream() && !head.headers.contains_key(header::CONTENT_TYPE) {
            let empty = serde_json::from_value(serde_json::json!({}));
            let input = empty.map_err(|error| Problem::new(Kind::InvalidParameters, format!("There is no body: {error}.")))?;
            return Ok((Self(input), b"{}".to_vec()));
        }
        let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            body::discard(body, &head.headers).await;
            return Err(Problem::new(Kind::UnsupportedMediaType, "The body must be JSON, with the content type application/json."));
        }
        let received = body::read(body, &head.headers, body_max).await?;
        let value: serde_json::Value = serde_json::from_slice(&received.bytes)
            .map_err(|error| Problem::new(Kind::BadRequest, format!("The body is not JSON (line {}, column {}).", error.line(), error.column())))?;
        // Sorted members: the same object is the same request, however it is written.
        let compared = value.to_string().into_bytes();
        let input = serde_json::from_value(value).map_err(|error| Problem::new(Kind::InvalidParameters, format!("The body: {error}.")))?;
        Ok((Self(input), compared))
    }
}

/// What a handler gives.
pub trait Reply: Sized + Send {
    const STATUS: StatusCode;

    fn schema(components: &mut Vec<(String, RefOr<Schema>)>) -> Option<RefOr<Schema>>;
    fn into_response(self, request_id: Uuid) -> Response;
}

fn json(status: StatusCode, body: &impl Serialize, request_id: Uuid) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => envelope::plain(status, JSON, Bytes::from(body), request_id),
        Err(error) => {
            tracing::error!(%error, "an answer can't be written as JSON");
            Problem::internal().into_response(request_id)
        }
    }
}

/// 200 with a body that is no JSON; the operation's description says what it is.
pub struct Raw {
    pub content_type: HeaderValue,
    pub cache: HeaderValue,
    /// Under which name it is saved.
    pub file_name: Option<String>,
    pub body: Body,
}

impl Reply for Raw {
    const STATUS: StatusCode = StatusCode::OK;

    fn schema(_: &mut Vec<(String, RefOr<Schema>)>) -> Option<RefOr<Schema>> {
        None
    }

    fn into_response(self, request_id: Uuid) -> Response {
        let mut response = envelope::plain(Self::STATUS, self.content_type, self.body, request_id);
        response.headers_mut().insert(header::CACHE_CONTROL, self.cache);
        let disposition = self.file_name.and_then(|name| HeaderValue::try_from(format!("attachment; filename=\"{name}\"")).ok());
        if let Some(disposition) = disposition {
            response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
        }
        response
    }
}

/// 200 with a body.
pub struct Shown<T>(pub T);

impl<T: Serialize + ToSchema + Send> Reply for Shown<T> {
    const STATUS: StatusCode = StatusCode::OK;

    fn schema(components: &mut Vec<(String, RefOr<Schema>)>) -> Option<RefOr<Schema>> {
        Some(named::<T>(components))
    }

    fn into_response(self, request_id: Uuid) -> Response {
        json(Self::STATUS, &self.0, request_id)
    }
}

/// 201 with what was made, and where it is.
pub struct Created<T> {
    pub location: String,
    pub body: T,
}

impl<T: Serialize + ToSchema + Send> Reply for Created<T> {
    const STATUS: StatusCode = StatusCode::CREATED;

    fn schema(components: &mut Vec<(String, RefOr<Schema>)>) -> Option<RefOr<Schema>> {
        Some(named::<T>(components))
    }

    fn into_response(self, request_id: Uuid) -> Response {
        let mut response = json(Self::STATUS, &self.body, request_id);
        if let Ok(location) = HeaderValue::from_str(&self.location) {
            response.headers_mut().insert(LOCATION, location);
        }
        response
    }
}

/// 204.
pub struct Done;

impl Reply for Done {
    const STATUS: StatusCode = StatusCode::NO_CONTENT;

    fn schema(_: &mut Vec<(String, RefOr<Schema>)>) -> Option<RefOr<Schema>> {
        None
    }

    fn into_response(self, request_id: Uuid) -> Response {
        let mut response = envelope::plain(Self::STATUS, JSON, Body::empty(), request_id);
        response.headers_mut().remove(header::CONTENT_TYPE);
        response
    }
}

/// One page of a list.
#[derive(Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The cursor of the next page, to be given as `after`; `null` on the last one.
    pub next: Option<String>,
}

/// 200 with a page. Each kind of item has a page of its own name.
pub struct Paged<T>(pub Page<T>);

impl<T: Serialize + ToSchema + Send> Reply for Paged<T> {
    const STATUS: StatusCode = StatusCode::OK;

    fn schema(components: &mut Vec<(String, RefOr<Schema>)>) -> Option<RefOr<Schema>> {
        named::<T>(components);
        let name = format!("{}Page", T::name());
        let items = ArrayBuilder::new().items(Ref::from_schema_name(T::name())).build();
        let next = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some("The cursor of the next page, to be given as `after`; `null` on the last one."));
        let page = ObjectBuilder::new().property("items", items).required("items").property("next", next).required("next");
        components.push((name.clone(), page.into()));
        Some(RefOr::Ref(Ref::from_schema_name(name)))
    }

    fn into_response(self, request_id: Uuid) -> Response {
        json(Self::STATUS, &self.0, request_id)
    }
}
