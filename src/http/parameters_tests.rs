//! Tests of [`super::Parameters`].

use super::*;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

async fn parse(query: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Answered<Parameters> {
    let mut parameters = Parameters::default();
    parameters.add_query(query)?;
    parameters.add_body(Some(content_type.as_bytes()), &Bytes::from(body.into())).await?;
    Ok(parameters)
}

fn text(parameters: &mut Parameters, name: &'static str) -> Option<String> {
    match parameters.take(name).unwrap() {
        Some(Value::Text(text)) => Some(text),
        None => None,
        Some(other) => panic!("{other:?}"),
    }
}

async fn refusal(query: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Code {
    parse(query, content_type, body).await.unwrap_err().code
}

#[tokio::test]
async fn the_same_text_arrives_by_every_way() {
    let expected = "Grüße & Co. / a=b+c%20";
    let encoded = "identifier=Gr%C3%BC%c3%9fe+%26+Co.+%2F+a%3Db%2Bc%2520";
    let multipart = format!("--B\r\nContent-Disposition: form-data; name=\"identifier\"\r\n\r\n{expected}\r\n--B--\r\n");
    let ways = [
        parse(encoded, JSON, "").await,
        parse("", FORM, encoded).await,
        parse("", "Application/X-WWW-Form-Urlencoded; charset=UTF-8", encoded).await,
        parse("", JSON, serde_json::json!({"identifier": expected}).to_string()).await,
        parse("", "multipart/form-data; boundary=B", multipart).await,
    ];
    for way in ways {
        assert_eq!(text(&mut way.unwrap(), "identifier").as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn the_body_wins_over_the_query() {
    let mut both = parse("a=query&b=query&c=query", JSON, r#"{"a":"body","b":null}"#).await.unwrap();
    assert_eq!(both.peek("a"), Some("body"));
    assert_eq!(both.peek("c"), Some("query"));
    assert_eq!(text(&mut both, "a").as_deref(), Some("body"));
    assert_eq!(text(&mut both, "b").as_deref(), Some("query"), "null is absent");
    assert_eq!(text(&mut both, "c").as_deref(), Some("query"));
    assert_eq!(text(&mut both, "d"), None);
}

#[tokio::test]
async fn json_numbers_and_booleans_are_texts() {
    let body = r#"{"i":-1,"u":18446744073709551615,"f":1.5,"whole":2.0,"t":true,"n":false,"null":null,"list":["A",1],"object":{"a":[1]}}"#;
    let mut given = parse("", JSON, body).await.unwrap();
    for (name, expected) in [("i", "-1"), ("u", "18446744073709551615"), ("f", "1.5"), ("whole", "2.0"), ("t", "1"), ("n", "0")] {
        assert_eq!(text(&mut given, name).as_deref(), Some(expected));
    }
    assert_eq!(given.take("null").unwrap(), None);
    assert_eq!(given.take("list").unwrap(), Some(Value::List(serde_json::from_str(r#"["A","1"]"#).unwrap())));
    assert_eq!(given.take("object").unwrap(), Some(Value::Object));
}

#[tokio::test]
async fn twice_in_one_source_is_refused_when_it_is_asked_for() {
    for mut given in [
        parse("a=1&a=1&b=2", JSON, "").await.unwrap(),
        parse("", FORM, "a=1&b=2&a=3").await.unwrap(),
        parse("", JSON, r#"{"a":1,"b":2,"a":null}"#).await.unwrap(),
    ] {
        assert_eq!(text(&mut given, "b").as_deref(), Some("2"), "another parameter doesn't mind");
        assert_eq!(given.take("a").unwrap_err().code, Code::BadRequest);
    }
    assert_eq!(text(&mut parse("a=1", FORM, "a=2").await.unwrap(), "a").as_deref(), Some("2"));
}

#[tokio::test]
async fn what_is_not_utf8_is_refused() {
    for query in ["a=%ff", "%c3=1", "a=%ed%a0%80", "a=%c3%28"] {
        assert_eq!(refusal(query, JSON, "").await, Code::BadRequest);
        assert_eq!(refusal("", FORM, query).await, Code::BadRequest);
    }
    assert_eq!(refusal("", FORM, b"a=\xff".to_vec()).await, Code::BadRequest);
    assert_eq!(refusal("", JSON, b"{\"a\":\"\xc3\x28\"}".to_vec()).await, Code::BadRequest);
    let multipart = b"--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\xff\r\n--B--\r\n".to_vec();
    assert_eq!(refusal("", "multipart/form-data; boundary=B", multipart).await, Code::BadRequest);
    assert_eq!(text(&mut parse("a=%zz%4&b", JSON, "").await.unwrap(), "a").as_deref(), Some("%zz%4"), "no escape at all");
}

#[tokio::test]
async fn bodies_that_are_not_what_they_say_are_refused() {
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let deep_object = format!(r#"{{"a":{{"b":{}{}}}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let deep_late = format!(r#"{{{}"a":{}{}}}"#, r#""a":1,"#.repeat(PARAMETERS_MAX + 5), "[".repeat(5_000), "]".repeat(5_000));
    let more = [deep.as_str(), &deep_object, &deep_late];
    for body in ["{", "[]", "null", "1", r#"{"a":1}x"#, r#"{"a":"\ud800"}"#, r#"{"a":NaN}"#, r#"{"a":1e400}"#, "\u{feff}{}"].into_iter().chain(more) {
        assert_eq!(refusal("", JSON, body).await, Code::BadRequest, "{body:.20}");
    }
    let head = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n";
    for (boundary, body) in [
        ("", format!("{head}x\r\n--B--\r\n")),
        ("; boundary=", format!("{head}x\r\n--B--\r\n")),
        ("; boundary=B", "nothing".to_owned()),
        ("; boundary=B", format!("{head}never ends")),
        ("; boundary=B", "--B\r\nno headers\r\n".to_owned()),
    ] {
        assert_eq!(refusal("", &format!("multipart/form-data{boundary}"), body).await, Code::BadRequest);
    }
    for content_type in ["", "text/plain", "application/jsonp", "nonsense"] {
        assert_eq!(refusal("", content_type, "a=1").await, Code::UnsupportedMediaType);
        assert!(parse("", content_type, "").await.is_ok(), "an empty body is of any type");
    }
}

#[tokio::test]
async fn there_is_a_limit_to_their_number() {
    let many = |count: usize| "a=1&".repeat(count);
    assert!(parse("b=1", FORM, many(PARAMETERS_MAX - 1)).await.is_ok());
    assert_eq!(refusal("b=1", FORM, many(PARAMETERS_MAX)).await, Code::BadRequest);
    let members = |count: usize| format!("{{{}}}", vec![r#""a":1"#; count].join(","));
    assert!(parse("b=1", JSON, members(PARAMETERS_MAX - 1)).await.is_ok());
    for count in [PARAMETERS_MAX, PARAMETERS_MAX + 1, 100 * PARAMETERS_MAX] {
        assert_eq!(refusal("b=1", JSON, members(count)).await, Code::BadRequest);
    }
}
