//! A client of interface A that checks each answer's envelope and signature before a test sees it.

use std::sync::Arc;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};

use super::answer::Answer;
use super::keyring::KeyRing;
use super::poll::DEADLINE;
use super::routes::is_get;
use super::world::Fields;

/// How the caller shows who it is.
#[derive(Clone, Debug)]
pub enum ApiKey {
    Missing,
    /// `Authorization: Bearer KEY`
    Header(String),
    /// the parameter `api_key`
    Parameter(String),
}

/// One caller of one server. Cloning is cheap and shares the connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: ApiKey,
    headers: Fields,
    ring: Arc<KeyRing>,
}

impl Client {
    pub fn new(base: &str, key: ApiKey, ring: Arc<KeyRing>) -> Client {
        let http = reqwest::Client::builder().timeout(DEADLINE).no_proxy().build().expect("an HTTP client");
        Client { http, base: base.to_string(), key, headers: Vec::new(), ring }
    }

    /// The same caller with another API key.
    pub fn with_key(&self, key: ApiKey) -> Client {
        Client { key, ..self.clone() }
    }

    /// The same caller sending one more header with every request.
    pub fn with_header(&self, name: &str, value: &str) -> Client {
        let mut client = self.clone();
        client.headers.push((name.to_string(), value.to_string()));
        client
    }

    /// The same caller with connections of its own.
    pub fn with_own_connections(&self) -> Client {
        Client { headers: self.headers.clone(), ..Client::new(&self.base, self.key.clone(), self.ring.clone()) }
    }

    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// The server's address, `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// A request to any path, with this caller's headers and its key if that goes into the header.
    pub fn request(&self, method: Method, path_and_query: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path_and_query}", self.base));
        if let ApiKey::Header(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
    }

    /// A POST to a route of interface A, for bodies that the other calls can't make.
    pub fn post(&self, route: &str) -> RequestBuilder {
        self.request(Method::POST, &format!("/api/v1/{route}"))
    }

    /// Sends what was built and reads the signed answer.
    ///
    /// # Errors
    /// When no whole HTTP answer came back. An answer without a right envelope is a panic, not an error.
    pub async fn try_answer(&self, request: RequestBuilder) -> Result<Answer, reqwest::Error> {
        let response = request.send().await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.text().await?;
        Ok(Answer::read(status, headers, &body, &self.ring).await)
    }

    /// Sends what was built and reads the signed answer, which must come.
    pub async fn answer(&self, request: RequestBuilder) -> Answer {
        self.try_answer(request).await.expect("the server answers")
    }

    /// A form POST; an error where the connection failed.
    ///
    /// # Errors
    /// As [`Client::try_answer`].
    pub async fn try_form(&self, route: &str, fields: Fields) -> Result<Answer, reqwest::Error> {
        let request = self.post(route).header("content-type", "application/x-www-form-urlencoded").body(encode(&self.with_key_parameter(fields)));
        self.try_answer(request).await
    }

    /// A form POST.
    pub async fn form(&self, route: &str, fields: Fields) -> Answer {
        self.try_form(route, fields).await.unwrap_or_else(|error| panic!("{route}: {error:?}"))
    }

    /// A POST with a JSON object.
    pub async fn json(&self, route: &str, mut object: serde_json::Value) -> Answer {
        if let ApiKey::Parameter(key) = &self.key {
            object["api_key"] = key.as_str().into();
        }
        self.answer(self.post(route).header("content-type", "application/json").body(object.to_string())).await
    }

    /// A POST with a multipart form.
    pub async fn multipart(&self, route: &str, fields: Fields) -> Answer {
        let fields = self.with_key_parameter(fields);
        let form = fields.into_iter().fold(reqwest::multipart::Form::new(), |form, (name, value)| form.text(name, value));
        self.answer(self.post(route).multipart(form)).await
    }

    /// A GET with a query string.
    pub async fn get(&self, route: &str, fields: Fields) -> Answer {
        let query = encode(&self.with_key_parameter(fields));
        self.answer(self.request(Method::GET, &format!("/api/v1/{route}?{query}"))).await
    }

    /// The request as the contract makes it: a GET with a query string or a form POST.
    pub async fn call(&self, route: &str, fields: Fields) -> Answer {
        if is_get(route) { self.get(route, fields).await } else { self.form(route, fields).await }
    }

    /// A GET of something that is neither signed nor JSON, with this caller's key: HTTP status, headers and the body's bytes.
    pub async fn bytes(&self, path: &str) -> (u16, HeaderMap, Vec<u8>) {
        let response = self.request(Method::GET, path).send().await.expect("the server answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.bytes().await.expect("a whole answer").to_vec())
    }

    /// A GET of something that is not signed (`/health/…`, `/metrics`): HTTP status and body.
    ///
    /// # Errors
    /// When no whole HTTP answer came back.
    pub async fn try_plain(&self, path: &str) -> Result<(u16, String), reqwest::Error> {
        let response = self.http.get(format!("{}{path}", self.base)).send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// A GET of something that is not signed.
    pub async fn plain(&self, path: &str) -> (u16, String) {
        self.try_plain(path).await.expect("the server answers")
    }

    fn with_key_parameter(&self, mut fields: Fields) -> Fields {
        if let ApiKey::Parameter(key) = &self.key {
            fields.insert(0, ("api_key".to_string(), key.clone()));
        }
        fields
    }
}

/// `application/x-www-form-urlencoded`, as in a body or a query string.
pub fn encode(fields: &Fields) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}
