//! The page that explains the service: the OpenAPI document as HTML, written when it is asked for first. It needs no script and
//! nothing from another host, and says so to the browser.

use std::fmt::Write as _;
use std::sync::OnceLock;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;

use super::{
    admin,
    doc::{Doc, Given, Guard, Shape},
    endpoint::Arrived,
    envelope,
};

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const CSS: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");
const SECURITY_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
const STYLE_SHEET: &str = include_str!("docs.css");
/// How deep nested schemas are written out: deeper ones are named alone.
const DEPTH_MAX: usize = 6;

pub const DOC: Doc = Doc::new("The documentation to read").guard(Guard::Nobody).given(&[Given::new(200, "A page.", "text/html", Shape::Text)]);
pub const STYLE_DOC: Doc =
    Doc::new("The documentation's style sheet").guard(Guard::Nobody).given(&[Given::new(200, "A style sheet.", "text/css", Shape::Text)]);

/// The page.
pub async fn show(arrived: Arrived) -> Response {
    static PAGE: OnceLock<Bytes> = OnceLock::new();
    let page = PAGE.get_or_init(|| {
        let document = arrived.app.openapi.get().and_then(|document| serde_json::from_slice(document).ok()).unwrap_or_default();
        Bytes::from(page(&document))
    });
    respond(&arrived, HTML, page.clone())
}

pub async fn style(arrived: Arrived) -> Response {
    respond(&arrived, CSS, Bytes::from_static(STYLE_SHEET.as_bytes()))
}

fn respond(arrived: &Arrived, content_type: HeaderValue, body: Bytes) -> Response {
    let mut response = envelope::plain(StatusCode::OK, content_type, Body::from(body), arrived.request_id);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, SECURITY_POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// A description's blocks: lists of lines that start with a dash, and paragraphs, with `code` in both.
fn prose(text: &str) -> String {
    let mut out = String::new();
    for block in text.split("\n\n").filter(|block| !block.is_empty()) {
        if block.starts_with("- ") {
            out.push_str("<ul>");
            for line in block.lines() {
                let _ = write!(out, "<li>{}</li>", inline(line.trim_start_matches("- ")));
            }
            out.push_str("</ul>");
        } else {
            let _ = write!(out, "<p>{}</p>", inline(block));
        }
    }
    out
}

fn inline(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 1 { format!("<code>{}</code>", escaped(part)) } else { escaped(part) }).collect()
}

fn page(document: &Value) -> String {
    let mut operations: Vec<(&str, &str, &Value)> = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (verb, operation) in item.as_object().into_iter().flatten() {
            operations.push((path, verb, operation));
        }
    }
    let mut out = String::from("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>keyledger</title>");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width\"><link rel=\"stylesheet\" href=\"/docs/style.css\"></head><body><nav>");
    let tags: Vec<&Value> = document["tags"].as_array().into_iter().flatten().collect();
    let of_tag = |tag: &Value| operations.iter().filter(|(_, _, operation)| operation["tags"][0] == tag["name"]).copied().collect::<Vec<_>>();
    for tag in &tags {
        let of_tag = of_tag(tag);
        if of_tag.is_empty() {
            continue;
        }
        let _ = write!(out, "<h2>{}</h2><ul>", escaped(text(tag, "name")));
        for (path, verb, operation) in of_tag {
            let (id, path) = (escaped(text(operation, "operationId")), escaped(path));
            let _ = write!(out, "<li><a href=\"#{id}\"><b class=\"{verb}\">{verb}</b> {path}</a></li>");
        }
        out.push_str("</ul>");
    }
    let info = &document["info"];
    let (title, version) = (escaped(text(info, "title")), escaped(text(info, "version")));
    let _ = write!(out, "</nav><main><h1>{title} <small>{version}</small></h1><p>{}</p>", escaped(text(info, "summary")));
    out.push_str("<p>The same for machines: <a href=\"/openapi.json\">/openapi.json</a> (OpenAPI 3.1).</p>");
    for tag in &tags {
        let of_tag = of_tag(tag);
        if of_tag.is_empty() {
            continue;
        }
        let _ = write!(out, "<section><h2>{}</h2>{}", escaped(text(tag, "name")), prose(text(tag, "description")));
        for (path, verb, operation) in of_tag {
            write_operation(&mut out, document, path, verb, operation);
        }
        out.push_str("</section>");
    }
    out.push_str(
        "<section><h2>Problems</h2><p>What the administration refuses, it refuses with one of these.</p><table><tr><th>type</th><th>title</th></tr>",
    );
    for kind in admin::Kind::ALL {
        let uri = kind.uri();
        let id = uri.rsplit('#').next().unwrap_or_default();
        let _ = write!(out, "<tr id=\"{id}\"><td><code>{uri}</code></td><td>{}</td></tr>", escaped(kind.title()));
    }
    out.push_str("</table></section></main></body></html>");
    out
}

fn write_operation(out: &mut String, document: &Value, path: &str, verb: &str, operation: &Value) {
    let id = escaped(text(operation, "operationId"));
    let (path, summary) = (escaped(path), inline(text(operation, "summary")));
    let _ = write!(out, "<article id=\"{id}\"><h3><b class=\"{verb}\">{verb}</b> <code>{path}</code></h3><p class=\"summary\">{summary}</p>");
    out.push_str(&prose(text(operation, "description")));
    let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
    if !parameters.is_empty() {
        out.push_str("<h4>Parameters</h4><table>");
        for parameter in parameters {
            let kind = format!("{}, {}", text(parameter, "in"), type_of(document, &parameter["schema"]));
            write_member(out, text(parameter, "name"), &kind, parameter["required"] == true, text(parameter, "description"));
        }
        out.push_str("</table>");
    }
    if let Some(content) = operation["requestBody"]["content"].as_object() {
        let types: Vec<&str> = content.keys().map(String::as_str).collect();
        let _ = write!(out, "<h4>Body <small>{}</small></h4>", escaped(&types.join(", ")));
        if let Some(body) = content.values().next() {
            write_members(out, document, &body["schema"], 0);
        }
    }
    out.push_str("<h4>Answers</h4>");
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let response = resolve(document, response);
        let body = response["content"].as_object().and_then(|content| content.iter().next());
        let kind = body.map_or_else(String::new, |(name, _)| format!(" <small>{}</small>", escaped(name)));
        let _ = write!(out, "<details><summary><b>{status}</b> {}{kind}</summary>", inline(text(response, "description")));
        if let Some((_, body)) = body {
            write_members(out, document, &body["schema"], 0);
        }
        out.push_str("</details>");
    }
    out.push_str("</article>");
}

/// Follows a reference into the document's components.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')).and_then(|pointer| document.pointer(pointer)) {
        Some(target) => target,
        None => value,
    }
}

/// The schemas that a schema is put together of; itself where it is one.
fn parts<'a>(document: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let schema = resolve(document, schema);
    let all = ["allOf", "anyOf", "oneOf"].iter().filter_map(|name| schema[*name].as_array()).flatten();
    all.map(|part| resolve(document, part)).chain(std::iter::once(schema)).collect()
}

fn type_of(document: &Value, schema: &Value) -> String {
    let schema = resolve(document, schema);
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect::<Vec<_>>().join(" | ");
    }
    if let Some(value) = schema.get("const") {
        return value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    }
    for name in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[name].as_array() {
            return choices.iter().map(|choice| type_of(document, choice)).collect::<Vec<_>>().join(" or ");
        }
    }
    match &schema["type"] {
        Value::String(kind) if kind == "array" => format!("list of {}", type_of(document, &schema["items"])),
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    }
}

fn write_members(out: &mut String, document: &Value, schema: &Value, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    let parts = parts(document, schema);
    let required: Vec<&Value> = parts.iter().filter_map(|part| part["required"].as_array()).flatten().collect();
    let mut members: Vec<(&String, &Value)> = Vec::new();
    for (name, member) in parts.iter().filter_map(|part| part["properties"].as_object()).flatten() {
        match members.iter_mut().find(|(known, _)| *known == name) {
            // What says more about the same member stands later.
            Some(known) => known.1 = member,
            None => members.push((name, member)),
        }
    }
    if members.is_empty() {
        if depth == 0 {
            let _ = write!(out, "<p>{}</p>", escaped(&type_of(document, schema)));
        }
        return;
    }
    out.push_str("<table>");
    for (name, member) in members {
        let kind = type_of(document, member);
        write_member(out, name, &kind, required.iter().any(|known| *known == name), text(resolve(document, member), "description"));
        let nested = parts_of_items(document, member);
        if nested.is_some() {
            out.push_str("<tr><td></td><td colspan=\"2\">");
            write_members(out, document, nested.unwrap_or(member), depth + 1);
            out.push_str("</td></tr>");
        }
    }
    out.push_str("</table>");
}

/// The schema of an object within, be it the member itself, one of its alternatives or a list's item.
fn parts_of_items<'a>(document: &'a Value, member: &'a Value) -> Option<&'a Value> {
    let member = resolve(document, member);
    let candidate = if member["items"].is_object() { resolve(document, &member["items"]) } else { member };
    parts(document, candidate).iter().any(|part| part["properties"].is_object()).then_some(candidate)
}

fn write_member(out: &mut String, name: &str, kind: &str, required: bool, meaning: &str) {
    let required = if required { " <b class=\"required\">required</b>" } else { "" };
    let _ = write!(out, "<tr><td><code>{}</code>{required}</td><td>{}</td><td>{}</td></tr>", escaped(name), escaped(kind), inline(meaning));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_set() {
        assert_eq!(inline("a <b> `c&d`"), "a &lt;b&gt; <code>c&amp;d</code>");
        assert_eq!(prose("One.\n\n- a\n- b"), "<p>One.</p><ul><li>a</li><li>b</li></ul>");
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let document = serde_json::json!({ "components": { "schemas": { "A": { "properties": { "a": { "$ref": "#/components/schemas/A" } } } } } });
        let mut out = String::new();
        write_members(&mut out, &document, &serde_json::json!({ "$ref": "#/components/schemas/A" }), 0);
        assert!(out.len() < 2_000, "{out}");
    }
}
