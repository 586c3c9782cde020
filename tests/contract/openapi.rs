//! The document and the router hold each other: no route is missing from either.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::Value;

use crate::support::{Backend, Running, both_backends};

both_backends!(the_document_names_exactly_the_routes_that_there_are, the_page_needs_nothing_from_elsewhere);

const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

async fn document(on: &Running) -> Value {
    let (status, body) = on.api.plain("/openapi.json").await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

/// The routes of both interfaces' contracts with their methods; a parameter of the path has the name that the document gives it.
fn contract() -> Vec<(String, String)> {
    let of = |text: &str| -> (String, Vec<Value>) {
        let file: Value = serde_json::from_str(text).expect("JSON");
        (file["base_path"].as_str().expect("a base path").to_owned(), file["endpoints"].as_array().expect("endpoints").clone())
    };
    let mut routes = Vec::new();
    for (base, endpoints) in [of(include_str!("../fixtures/licensing-v1.json")), of(include_str!("../fixtures/license-service.json"))] {
        for endpoint in endpoints {
            let path = endpoint["path"].as_str().expect("a path").replace(":slug", "{slug}");
            let path = if path.starts_with(&base) { path } else { format!("{base}{path}") };
            routes.push((path, endpoint["method"].as_str().expect("a method").to_owned()));
        }
    }
    assert_eq!(routes.len(), 40, "37 of interface A and 3 of interface B");
    routes
}

/// The methods of each path.
fn routes(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let paths = document["paths"].as_object().expect("paths");
    let methods = |item: &Value| item.as_object().expect("an item").keys().map(|verb| verb.to_uppercase()).collect();
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

async fn the_document_names_exactly_the_routes_that_there_are(backend: Backend) {
    let on = Running::start(backend).await;
    let document = document(&on).await;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")));
    let routes = routes(&document);

    // Each path is there, takes the methods that the document names, and no other.
    for (path, methods) in &routes {
        let url: String =
            path.split('/').map(|part| if part.starts_with('{') { "/999999999".to_owned() } else { format!("/{part}") }).skip(1).collect();
        for method in METHODS {
            let response = on.api.request(method.clone(), &url).send().await.expect("the server answers");
            let allow = response.headers().get("allow").map(|value| value.to_str().expect("text").to_owned());
            let is_named = methods.contains(method.as_str());
            assert_eq!(response.status() == 405, !is_named, "{method} {path} answers {}", response.status());
            if let Some(allow) = allow {
                let allowed: BTreeSet<String> = allow.split(", ").filter(|method| *method != "HEAD").map(ToOwned::to_owned).collect();
                assert_eq!(&allowed, methods, "what {path} allows");
            }
        }
    }

    // Each route of the contract is in the document.
    for (path, method) in contract() {
        let methods = routes.get(&path).unwrap_or_else(|| panic!("{path} is missing"));
        assert_eq!(methods.iter().collect::<Vec<_>>(), [&method], "{path}");
    }
    for path in ["/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"] {
        assert!(routes.contains_key(path), "{path} is missing");
    }

    // Each operation says what it is for and has a name of its own, and every reference leads somewhere.
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (verb, operation) in item.as_object().expect("an item") {
            let name = operation["operationId"].as_str().unwrap_or_default();
            assert!(names.insert(name), "two operations are called {name}");
            for member in ["summary", "responses"] {
                assert!(!operation[member].is_null() && operation[member] != "", "{verb} {path} has no {member}");
            }
        }
    }
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads elsewhere"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect_references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            into.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| collect_references(member, into));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, into)),
        _ => {}
    }
}

async fn the_page_needs_nothing_from_elsewhere(backend: Backend) {
    let on = Running::start(backend).await;
    let response = on.api.request(Method::GET, "/docs").send().await.expect("the server answers");
    let policy = response.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    assert!(response.headers()["content-type"].to_str().expect("text").starts_with("text/html"));
    let page = response.text().await.expect("a page");
    assert!(!page.contains("<script"), "a page to read");
    for link in page.split("href=\"").skip(1).chain(page.split("src=\"").skip(1)) {
        assert!(link.starts_with('#') || link.starts_with('/'), "a link to elsewhere: {link:.60}");
    }
    let (status, style) = on.api.plain("/docs/style.css").await;
    assert_eq!(status, 200);
    assert!(!style.contains("http") && !style.contains("@import"), "a style sheet that loads something");
    for (path, methods) in routes(&document(&on).await) {
        assert!(page.contains(&path), "{methods:?} {path} is not on the page");
    }
    // Where a problem's type leads.
    let problem = on.api.admin_get("products/0").await;
    let anchor = problem.body["type"].as_str().and_then(|uri| uri.strip_prefix("/docs#")).expect("a link to the page");
    assert!(page.contains(&format!("id=\"{anchor}\"")), "{anchor}");
}
