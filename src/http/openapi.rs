//! The OpenAPI 3.1 document of every operation, made of the routes' descriptions and of the types of the administration's
//! handlers. It can't name a route that is not there, nor miss one that is: both come from the same list.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{
    admin::{self, InputPlace},
    codes::Code,
    doc::{Doc, Field, Given, Guard, Parameter, Place, Shape},
    endpoint::{Plain, Route},
    operation::{Family, Operation},
    receipt,
};
use crate::app::App;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const JSON_TYPE: &str = "application/json";
const PROBLEM_TYPE: &str = "application/problem+json";
/// The ways in which interface A takes parameters.
const BODY_TYPES: [&str; 3] = ["application/x-www-form-urlencoded", "multipart/form-data", JSON_TYPE];

pub const DOC: Doc = Doc::new("This document").guard(Guard::Nobody).given(&[Given::json(200, "OpenAPI 3.1.", Shape::Map(&Shape::Any))]);

/// The document, as it was made with the router.
pub async fn show(app: Arc<App>) -> Plain {
    let body = app.openapi.get().map(|document| String::from_utf8_lossy(document).into_owned()).unwrap_or_default();
    Plain { status: StatusCode::OK, content_type: JSON, body }
}

/// Makes the document.
pub fn document(routes: &[Route], public_url: Option<&str>) -> Bytes {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut schemas = schemas();
    for route in routes {
        let verb = route.operation.verb.as_str().to_lowercase();
        paths.entry(route.operation.path.replace("{*", "{")).or_default().insert(verb, operation(route, &mut schemas));
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "keyledger",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": env!("CARGO_PKG_DESCRIPTION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": public_url.unwrap_or("/") }],
        "tags": TAGS.map(|(name, description)| json!({ "name": name, "description": description })),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": { "Problem": {
                "description": "A refusal, as RFC 9457 has it.",
                "headers": headers(None),
                "content": { PROBLEM_TYPE: { "schema": reference("Problem") } },
            } },
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "An API key." },
                "api_key": { "type": "apiKey", "in": "query", "name": "api_key", "description": "An API key; in a body it is the parameter of the same name. The header wins." },
                "license_key": { "type": "http", "scheme": "bearer", "description": "A license key." },
            },
        },
    });
    Bytes::from(document.to_string())
}

const TAGS: [(&str, &str); 5] = [
    (
        "Licensing",
        "Interface A. Parameters come in the query or, in a POST, in the body: a form, a multipart form or a JSON object; what is unknown is \
         ignored. Answers are signed: the signature (RSASSA-PKCS1-v1_5, SHA-256) covers the bytes of response_base64. Every business outcome \
         has HTTP status 200 and its own code.",
    ),
    ("License service", "Interface B."),
    ("Administration", "What an operator sets up: JSON, refusals as problem details, pages with cursors."),
    (
        "Ledger",
        "The log of events itself, and what follows from it: JSON, refusals as problem details. Whatever is said here is computed from the \
         log, each event checked against the hash it was recorded with.",
    ),
    ("Service", "What watches the service, and what explains it."),
];

fn tag(path: &str) -> &'static str {
    match path {
        path if path.starts_with("/api/v1/") => TAGS[0].0,
        path if path.starts_with("/api/license/") => TAGS[1].0,
        path if path.starts_with("/admin/") => TAGS[2].0,
        path if path.starts_with("/ledger/") => TAGS[3].0,
        _ => TAGS[4].0,
    }
}

/// The name of an operation in clients that are made of the document.
fn operation_id(operation: &Operation) -> String {
    let words = operation.path.split(|character: char| !character.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words = words.skip_while(|word| matches!(*word, "api" | "v1"));
    std::iter::once(operation.verb.as_str().to_lowercase()).chain(words.map(str::to_lowercase)).collect::<Vec<_>>().join("_")
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// What all parts refer to.
fn schemas() -> Map<String, Value> {
    let mut schemas = Map::new();
    let envelope = |response: Value| {
        json!({
            "type": "object",
            "required": ["response", "response_base64", "private_key_used", "signature"],
            "properties": {
                "response": response,
                "response_base64": { "type": "string", "description": "The compact JSON of response, in Base64: what is signed." },
                "private_key_used": { "enum": ["product", "global"], "description": "Whose key signed: the product's, or the service's." },
                "signature": { "type": "string", "description": "RSASSA-PKCS1-v1_5 with SHA-256 over the bytes of response_base64, in Base64." },
            },
            "additionalProperties": false,
        })
    };
    schemas.insert("Envelope".to_owned(), envelope(json!({ "type": "object" })));
    let mut problem = Vec::new();
    <admin::ProblemBody<'_> as utoipa::ToSchema>::schemas(&mut problem);
    problem.push(("Problem".to_owned(), <admin::ProblemBody<'_> as utoipa::PartialSchema>::schema()));
    for (name, schema) in problem {
        schemas.insert(name, serde_json::to_value(schema).unwrap_or_default());
    }
    schemas
}

fn operation(route: &Route, schemas: &mut Map<String, Value>) -> Value {
    let (operation, doc) = (&route.operation, route.doc);
    let id = operation_id(operation);
    let is_admin = operation.family() == Family::Admin;
    let mut parameters = path_parameters(operation, doc);
    let mut request_body = None;
    if let Some(described) = &route.described {
        for (name, schema) in &described.components {
            let schema = serde_json::to_value(schema).unwrap_or_default();
            let earlier = schemas.insert(name.clone(), schema.clone());
            debug_assert!(earlier.is_none_or(|earlier| earlier == schema), "two types are called {name}");
        }
        let schema = described.input_schema.as_ref().map(|schema| serde_json::to_value(schema).unwrap_or_default()).unwrap_or_default();
        match described.input {
            InputPlace::Nowhere => {}
            InputPlace::Query => parameters.extend(query_parameters(&schema)),
            InputPlace::Body => request_body = Some(json!({ "required": described.input_required, "content": { JSON_TYPE: { "schema": schema } } })),
            InputPlace::Upload(content_type) => request_body = Some(json!({ "required": true, "content": { content_type: { "schema": schema } } })),
        }
    }
    let usual = doc.parameters.iter().filter(|parameter| parameter.place == Place::Usual);
    if operation.is_get() {
        parameters.extend(usual.map(|of| parameter(of, "query")));
    } else if !is_admin {
        let mut members: Vec<Field> = usual.map(|of| Field { name: of.name, shape: of.shape, meaning: of.meaning, always: of.required }).collect();
        if doc.guard == Guard::ApiKey {
            members.push(Field::new("api_key", Shape::Text, "The API key, where no header has it."));
        }
        if !members.is_empty() {
            let name = format!("{id}_request");
            schemas.insert(name.clone(), request_schema(&members));
            let content: Map<String, Value> = BODY_TYPES.iter().map(|of| ((*of).to_owned(), json!({ "schema": reference(&name) }))).collect();
            request_body = Some(json!({ "content": content }));
        }
    }
    if !operation.is_get() && doc.guard == Guard::ApiKey {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false, "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
            "description": "The same key with the same parameters gets the first outcome again and changes nothing; kept for 24 hours.",
        }));
        if is_admin {
            parameters.push(json!({
                "name": "X-Reason", "in": "header", "required": false, "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
                "description": "Why, for the history.",
            }));
        }
    }
    if doc.gives_receipt {
        parameters.push(parameter(&receipt::PARAMETER, "header"));
    }
    let mut described = json!({
        "operationId": id,
        "tags": [tag(operation.path)],
        "summary": doc.summary,
        "parameters": parameters,
        "responses": responses(route),
        "security": security(operation, doc),
    });
    let details = details(operation, doc);
    if !details.is_empty() {
        described["description"] = details.into();
    }
    if let Some(body) = request_body {
        described["requestBody"] = body;
    }
    described
}

fn details(operation: &Operation, doc: &Doc) -> String {
    let mut parts = Vec::new();
    if !doc.details.is_empty() {
        parts.push(doc.details.to_owned());
    }
    if doc.guard == Guard::ApiKey {
        let capability = operation.capability();
        let mut needed = format!("Capability: `{capability}`");
        if operation.has_reading_capability() {
            needed += &format!(" or `{}`", admin::to_read(capability));
        }
        for more in operation.shows_more() {
            needed += &format!("; `{more}` shows more");
        }
        parts.push(needed + ".");
    }
    let outcomes: Vec<String> = doc.codes.iter().map(|code| format!("- {}: {}", code.number(), code.message())).collect();
    if !outcomes.is_empty() {
        parts.push(outcomes.join("\n"));
    }
    parts.join("\n\n")
}

fn security(operation: &Operation, doc: &Doc) -> Value {
    match (doc.guard, operation.family()) {
        (Guard::Nobody, _) => json!([]),
        (Guard::LicenseKey, _) => json!([{ "license_key": [] }]),
        (Guard::ApiKey, Family::Admin) => json!([{ "bearer": [] }]),
        (Guard::ApiKey, Family::Signed | Family::LicenseService) => json!([{ "bearer": [] }, { "api_key": [] }]),
    }
}

/// The parameters of the path; numbers unless the description says otherwise.
fn path_parameters(operation: &Operation, doc: &Doc) -> Vec<Value> {
    let names = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).map(|name| name.trim_start_matches('*'));
    let of_path = names.map(|name| match doc.parameters.iter().find(|of| of.place == Place::Path && of.name == name) {
        Some(of) => parameter(of, "path"),
        None => json!({
            "name": name, "in": "path", "required": true, "description": "Its number.",
            "schema": { "type": "integer", "minimum": 1, "maximum": i64::MAX },
        }),
    });
    let elsewhere = doc.parameters.iter().filter_map(|of| match of.place {
        Place::Query => Some(parameter(of, "query")),
        Place::Header => Some(parameter(of, "header")),
        Place::Usual | Place::Path => None,
    });
    of_path.chain(elsewhere).collect()
}

fn parameter(of: &Parameter, place: &str) -> Value {
    let mut schema = schema(&of.shape);
    // The path ends where the parameter would be empty.
    if place == "path" && schema["type"] == "string" {
        schema["minLength"] = 1.into();
    }
    json!({ "name": of.name, "in": place, "required": of.required || place == "path", "description": of.meaning, "schema": schema })
}

/// The members of a query's own type, each a parameter.
fn query_parameters(schema: &Value) -> Vec<Value> {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let members = schema["properties"].as_object().cloned().unwrap_or_default();
    let parameter = |(name, mut schema): (String, Value)| {
        // An absent parameter is the only way to say nothing.
        if let Some(types) = schema["type"].as_array() {
            let kept: Vec<Value> = types.iter().filter(|of| **of != "null").cloned().collect();
            schema["type"] = kept.first().cloned().unwrap_or_default();
        }
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description")).unwrap_or_default();
        json!({ "name": name, "in": "query", "required": required.contains(&name.clone().into()), "description": description, "schema": schema })
    };
    members.into_iter().map(parameter).collect()
}

fn responses(route: &Route) -> Value {
    let (operation, doc) = (&route.operation, route.doc);
    let mut responses: BTreeMap<u16, Value> = BTreeMap::new();
    match (operation.family(), &route.described) {
        (Family::Admin, Some(described)) => {
            let mut reply = json!({ "description": "Done.", "headers": headers(None) });
            if let Some(schema) = &described.reply_schema {
                reply["content"] = json!({ JSON_TYPE: { "schema": schema } });
            }
            for given in doc.given {
                add_given(&mut responses, given);
            }
            responses.entry(described.status).or_insert(reply);
            let always = [400, 401, 403, 422, 429, 500, 503];
            let by_path = operation.path.contains('{').then_some(404);
            let by_body: &[u16] = if described.input == InputPlace::Body { &[413, 415] } else { &[] };
            let by_write: &[u16] = if operation.is_get() { &[] } else { &[409] };
            for status in always.iter().chain(&by_path).chain(by_body).chain(by_write).chain(doc.refusals) {
                responses.entry(*status).or_insert_with(|| json!({ "$ref": "#/components/responses/Problem" }));
            }
        }
        _ => {
            let mut codes: Vec<Code> = doc.codes.to_vec();
            codes.extend(common_codes(operation, doc));
            let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
            for code in codes {
                let of_status = by_status.entry(code.status().as_u16()).or_default();
                if !of_status.contains(&code) {
                    of_status.push(code);
                }
            }
            for (status, codes) in by_status {
                let content = json!({ JSON_TYPE: { "schema": envelope(&codes, if status == 200 { doc.fields } else { &[] }) } });
                let said: Vec<&str> = codes.iter().map(|code| code.message()).collect();
                let description = if status == 200 { "An outcome; its code says which." } else { said[0] };
                let mut headers = headers(Some(status));
                if status == 200 && doc.gives_receipt {
                    for (name, meaning, shape) in &receipt::HEADERS {
                        headers[*name] = json!({ "description": meaning, "schema": schema(shape) });
                    }
                }
                responses.insert(status, json!({ "description": description, "headers": headers, "content": content }));
            }
            for given in doc.given {
                add_given(&mut responses, given);
            }
        }
    }
    let responses: Map<String, Value> = responses.into_iter().map(|(status, response)| (status.to_string(), response)).collect();
    responses.into()
}

fn common_codes(operation: &Operation, doc: &Doc) -> Vec<Code> {
    if operation.family() == Family::LicenseService {
        return Vec::new();
    }
    let mut codes = vec![Code::InternalError, Code::ServiceUnavailable];
    if operation.is_limited() {
        codes.push(Code::TooManyRequests);
    }
    if doc.guard == Guard::ApiKey && operation.family() == Family::Signed {
        codes.extend([
            Code::InvalidApiKey,
            Code::InactiveApiKey,
            Code::InsufficientPermissions,
            Code::IpNotAllowed,
            Code::AccessDenied,
            Code::BadRequest,
        ]);
        if !operation.is_get() {
            codes.extend([Code::IdempotencyConflict, Code::PayloadTooLarge]);
        }
        // A body is read where it is sent, whatever the method.
        codes.push(Code::UnsupportedMediaType);
    }
    codes
}

fn add_given(responses: &mut BTreeMap<u16, Value>, given: &Given) {
    let response = responses.entry(given.status).or_insert_with(|| json!({ "headers": headers(Some(given.status)) }));
    response["description"] = given.meaning.into();
    if given.content_type.is_empty() {
        return;
    }
    let schema = schema(&given.shape);
    let content = match response["content"][given.content_type].get("schema") {
        Some(other) => json!({ "schema": { "anyOf": [other, schema] } }),
        None => json!({ "schema": schema }),
    };
    response["content"][given.content_type] = content;
}

fn headers(status: Option<u16>) -> Value {
    let mut headers = json!({
        "X-Request-Id": { "description": "The request's id, as in the log.", "schema": { "type": "string" } },
    });
    if matches!(status, None | Some(429 | 503)) {
        headers["Retry-After"] = json!({ "description": "Seconds to wait.", "schema": { "type": "integer" } });
    }
    headers
}

/// A signed answer with one of these codes.
fn envelope(codes: &[Code], fields: &[Field]) -> Value {
    let numbers: Vec<Value> = codes.iter().map(|code| serde_json::to_value(code).unwrap_or_default()).collect();
    let mut properties = Map::new();
    properties.insert("code".to_owned(), json!({ "enum": numbers }));
    properties.insert("message".to_owned(), json!({ "type": "string" }));
    if codes.iter().any(|code| code.number() >= 9000) {
        properties.insert("error".to_owned(), json!({ "type": "string", "description": "What is wrong, for a person." }));
    }
    for field in fields {
        properties.insert(field.name.to_owned(), described(field));
    }
    properties.insert("timestamp".to_owned(), json!({ "type": "integer", "description": "When it was answered: Unix seconds." }));
    json!({
        "allOf": [reference("Envelope")],
        "properties": { "response": {
            "type": "object", "required": ["code", "message", "timestamp"], "properties": properties, "additionalProperties": false,
        } },
    })
}

fn described(field: &Field) -> Value {
    let mut schema = schema(&field.shape);
    if !field.meaning.is_empty() {
        schema["description"] = field.meaning.into();
    }
    schema
}

/// A request's parameters. Numbers and booleans may be texts too, as in a form, and lists their JSON text.
fn request_schema(members: &[Field]) -> Value {
    let required: Vec<&str> = members.iter().filter(|member| member.always).map(|member| member.name).collect();
    let properties: Map<String, Value> = members
        .iter()
        .map(|member| {
            let mut schema = match member.shape {
                Shape::List(_) => json!({ "anyOf": [schema(&member.shape), { "type": "string" }] }),
                _ => schema(&member.shape),
            };
            schema["description"] = member.meaning.into();
            (member.name.to_owned(), schema)
        })
        .collect();
    let mut schema = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

/// The JSON Schema of a shape.
pub fn schema(shape: &Shape) -> Value {
    match shape {
        Shape::Text | Shape::Time | Shape::Email | Shape::Url => json!({ "type": "string" }),
        Shape::Integer => json!({ "type": "integer" }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Flag => json!({ "type": "integer", "enum": [0, 1] }),
        Shape::Choice(texts) => json!({ "type": "string", "enum": texts }),
        Shape::Is(text) => json!({ "const": text }),
        Shape::List(items) => json!({ "type": "array", "items": schema(items) }),
        Shape::Object(fields) => {
            let required: Vec<&str> = fields.iter().filter(|field| field.always).map(|field| field.name).collect();
            let properties: Map<String, Value> = fields.iter().map(|field| (field.name.to_owned(), described(field))).collect();
            let mut object = json!({ "type": "object", "properties": properties, "additionalProperties": false });
            if !required.is_empty() {
                object["required"] = required.into();
            }
            object
        }
        Shape::Map(values) => json!({ "type": "object", "additionalProperties": schema(values) }),
        Shape::Nullable(inner) => json!({ "anyOf": [schema(inner), { "type": "null" }] }),
        Shape::Either(shapes) => json!({ "anyOf": shapes.iter().map(schema).collect::<Vec<_>>() }),
        Shape::Binary | Shape::Any => json!({}),
    }
}
