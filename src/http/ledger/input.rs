//! A query in which parameters may come several times.

use axum::body::Body;
use axum::extract::Query as QueryString;
use axum::http::{Uri, request::Parts};
use serde::de::DeserializeOwned;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use crate::http::{
    admin::{Input, InputPlace, Kind, Problem, Query},
    body,
};

/// The query's parameters; the values of one that comes several times are joined by commas.
pub struct Repeatable<T>(pub T);

impl<T: DeserializeOwned + ToSchema + Send> Input for Repeatable<T> {
    const PLACE: InputPlace = InputPlace::Query;

    fn schema(components: &mut Vec<(String, RefOr<Schema>)>) -> Option<RefOr<Schema>> {
        Query::<T>::schema(components)
    }

    async fn read(head: &Parts, body: Body, _: usize) -> Result<(Self, Vec<u8>), Problem> {
        body::discard(body, &head.headers).await;
        let wrong = |error: &dyn std::fmt::Display| Problem::new(Kind::InvalidParameters, format!("The query: {error}."));
        let uri: Uri = format!("/?{}", joined(head.uri.query().unwrap_or_default())).parse().map_err(|error| wrong(&error))?;
        let query = QueryString::try_from_uri(&uri).map_err(|error| wrong(&error))?;
        Ok((Self(query.0), Vec::new()))
    }
}

fn joined(query: &str) -> String {
    let mut values: Vec<(String, String)> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => *values = format!("{values},{value}"),
            None => values.push((name.into_owned(), value.into_owned())),
        }
    }
    form_urlencoded::Serializer::new(String::new()).extend_pairs(values).finish()
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn values_of_one_name_are_joined() {
        assert_eq!(joined("type=A&limit=3&type=B%2CC&type="), "type=A%2CB%2CC%2C&limit=3");
        assert_eq!(joined(""), "");
    }
}
