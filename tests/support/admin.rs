//! Calls of the administration, each answer checked as far as every one must hold: JSON, or a problem as RFC 9457 has it.

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::client::Client;

/// One answer of the administration.
#[derive(Clone, Debug)]
pub struct AdminAnswer {
    pub status: u16,
    pub headers: HeaderMap,
    /// `Null` where there is no body.
    pub body: Value,
}

impl AdminAnswer {
    /// Promises the status of a success and gives the body.
    #[track_caller]
    pub fn expect(&self, status: u16) -> &Value {
        assert_eq!(self.status, status, "{}", self.body);
        &self.body
    }

    /// Promises a problem of this status and kind, `/docs#problem-KIND`.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, kind: &str) -> &AdminAnswer {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.body["type"], format!("/docs#problem-{kind}"), "{}", self.body);
        self
    }

    /// Promises that these parameters are what is wrong, in this order.
    #[track_caller]
    pub fn expect_invalid(&self, pointers: &[&str]) {
        self.expect_problem(422, "invalid-parameters");
        let named: Vec<&str> = self.body["errors"].as_array().expect("errors").iter().filter_map(|error| error["pointer"].as_str()).collect();
        assert_eq!(named, pointers, "{}", self.body);
    }

    #[track_caller]
    fn check(&self) {
        let header = |name: &str| self.headers.get(name).map(|value| value.to_str().expect("a header is text"));
        assert!(header("x-request-id").is_some_and(|id| id.len() == 36), "a request id: {:?}", self.headers);
        assert_eq!(header("cache-control"), Some("no-store"));
        if self.status == 204 {
            assert_eq!((header("content-type"), &self.body), (None, &Value::Null));
        } else if self.status < 400 {
            assert_eq!(header("content-type"), Some("application/json"), "{}", self.body);
        } else {
            assert_eq!(header("content-type"), Some("application/problem+json"), "{}", self.body);
            assert_eq!(self.body["status"], self.status, "{}", self.body);
            for member in ["type", "title", "detail"] {
                assert!(self.body[member].as_str().is_some_and(|text| !text.trim().is_empty()), "{member} of {}", self.body);
            }
            assert_eq!(self.body["instance"], format!("urn:uuid:{}", header("x-request-id").unwrap_or_default()));
            assert_eq!(header("www-authenticate").is_some(), self.status == 401, "{:?}", self.headers);
            assert_eq!(header("retry-after").is_some(), matches!(self.status, 429 | 503), "{:?}", self.headers);
        }
    }
}

impl Client {
    /// A call of `/admin/v1/PATH`, with a JSON body unless that is null.
    pub async fn admin(&self, method: Method, path: &str, body: Value) -> AdminAnswer {
        let mut request = self.request(method, &format!("/admin/v1/{path}"));
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        self.admin_answer(request).await
    }

    /// Sends what was built and reads an answer of the administration.
    pub async fn admin_answer(&self, request: reqwest::RequestBuilder) -> AdminAnswer {
        let response = request.send().await.expect("the server answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a whole answer");
        let body =
            if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}")) };
        let answer = AdminAnswer { status, headers, body };
        answer.check();
        answer
    }

    /// A GET of `/ledger/v1/PATH`: it answers as the administration does.
    pub async fn ledger_get(&self, path: &str) -> AdminAnswer {
        self.admin_answer(self.request(Method::GET, &format!("/ledger/v1/{path}"))).await
    }

    pub async fn admin_get(&self, path: &str) -> AdminAnswer {
        self.admin(Method::GET, path, Value::Null).await
    }

    pub async fn admin_post(&self, path: &str, body: Value) -> AdminAnswer {
        self.admin(Method::POST, path, body).await
    }

    pub async fn admin_put(&self, path: &str, body: Value) -> AdminAnswer {
        self.admin(Method::PUT, path, body).await
    }

    pub async fn admin_patch(&self, path: &str, body: Value) -> AdminAnswer {
        self.admin(Method::PATCH, path, body).await
    }

    pub async fn admin_delete(&self, path: &str) -> AdminAnswer {
        self.admin(Method::DELETE, path, Value::Null).await
    }

    /// All items of a list, page by page.
    pub async fn admin_list(&self, path: &str, limit: usize) -> Vec<Value> {
        self.all_items(&format!("/admin/v1/{path}"), limit).await
    }

    /// All events of a history, page by page.
    pub async fn history(&self, path: &str, limit: usize) -> Vec<Value> {
        self.all_items(&format!("/ledger/v1/{path}"), limit).await
    }

    async fn all_items(&self, path: &str, limit: usize) -> Vec<Value> {
        let mut items = Vec::new();
        let mut after = String::new();
        let joint = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = self.admin_answer(self.request(Method::GET, &format!("{path}{joint}limit={limit}{after}"))).await;
            let page = page.expect(200);
            let of_page = page["items"].as_array().expect("items");
            assert!(of_page.len() <= limit, "{page}");
            items.extend(of_page.iter().cloned());
            match page["next"].as_str() {
                Some(next) => {
                    assert_eq!(of_page.len(), limit, "a page before the last one is full");
                    after = format!("&after={next}");
                }
                None => return items,
            }
        }
    }
}
