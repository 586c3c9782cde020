//! Telemetry: every report is stored, well formed or not. The global key signs all of it.

use keyledger_events::{
    Timestamp,
    telemetry::{DataType, Report},
    values::{TextError, long_text, short_text},
};
use keyledger_projections::TelemetryRow;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    codes::Code,
    doc::{Doc, Field, Parameter, Shape},
    envelope::{Answer, Answered, internal},
    extract::{Call, NO_PRODUCT},
    lists::positive,
    validate::Errors,
};
use crate::ledger::{Command, CommandResult, TelemetryFilter};

/// Longest text of a report, in bytes: a full page of the longest stays at a few megabytes.
const TEXT_BYTES_MAX: usize = 4_096;
/// Records of one page, which is what is shown unless fewer are asked for: the contract knows no pages.
const ITEMS_PER_PAGE_MAX: i64 = 1_000;

const DATA_TYPES: Shape = Shape::Choice(&["numeric-xy-axis", "numeric-single-value", "text"]);

pub const SEND: Doc = Doc::new("Store a report of a shipped program")
    .details("Every report is stored, whatever is wrong with it; `errors` says what is. Longest text: 4096 bytes.")
    .parameters(&[
        Parameter::required("data_type", DATA_TYPES, ""),
        Parameter::optional("numeric_data_single_value", Shape::Text, "The number, where the type is `numeric-single-value`."),
        Parameter::optional("numeric_data_x", Shape::Text, "One number, where the type is `numeric-xy-axis`."),
        Parameter::optional("numeric_data_y", Shape::Text, "And the other."),
        Parameter::optional("text_data", Shape::Text, "The text, where the type is `text`."),
        Parameter::required("data_group", Shape::Text, "Under which records are found together."),
        Parameter::required("product_id", Shape::Integer, "The product's number."),
        Parameter::required("user_identifier", Shape::Text, "Who uses the program, wherever it is."),
        Parameter::required("license_key", Shape::Text, "Need not be a license's."),
        Parameter::required("activation_identifier", Shape::Text, "What the license is used for."),
        Parameter::required("product_version", Shape::Text, ""),
    ])
    .codes(&[Code::CorrectFormatTelemetrySaved, Code::IncorrectFormatTelemetrySaved])
    .fields(&[Field::new(
        "errors",
        Shape::Either(&[Shape::Map(&Shape::List(&Shape::Text)), Shape::List(&Shape::Text)]),
        "What is wrong with which parameter; an empty list where nothing is.",
    )]);

pub async fn send(mut call: Call) -> Answered {
    let product = call.product_number()?.filter(|number| *number != NO_PRODUCT);
    let mut errors = Errors::default();
    let user_identifier = short(&mut call, &mut errors, "user_identifier")?;
    let license_key = short(&mut call, &mut errors, "license_key")?;
    let activation_identifier = short(&mut call, &mut errors, "activation_identifier")?;
    let product_version = short(&mut call, &mut errors, "product_version")?;
    let data_type = short(&mut call, &mut errors, "data_type")?;
    let known = errors.choice("data_type", data_type.as_deref(), DataType::parse);
    let data_group = short(&mut call, &mut errors, "data_group")?;
    let data = Given::take(&mut call)?.data(&mut errors, known);
    let report = Report {
        product,
        user_identifier,
        license_key,
        activation_identifier,
        product_version,
        data_type,
        data_group,
        data,
        is_well_formed: errors.is_empty(),
    };
    let outcome = call.execute(Command::RecordTelemetry(report)).await?;
    let CommandResult::TelemetryRecorded { product_exists, .. } = outcome.result else {
        return Err(internal(&format_args!("a report came to {:?}", outcome.result)));
    };
    if !product_exists {
        errors.invalid_product();
    }
    if errors.is_empty() {
        // Observed: an empty list, not an empty object.
        return Answer::new(Code::CorrectFormatTelemetrySaved).field("errors", &[(); 0]);
    }
    Answer::new(Code::IncorrectFormatTelemetrySaved).field("errors", &errors)
}

/// A required short text. What can't be kept is an error of the report, never of the request: the rest is stored.
fn short(call: &mut Call, errors: &mut Errors, field: &'static str) -> Answered<Option<String>> {
    let text = call.text(field)?;
    Ok(kept(errors, field, text.as_deref(), |text| short_text(text).map(str::to_owned)))
}

fn kept(errors: &mut Errors, field: &'static str, text: Option<&str>, parse: impl FnOnce(&str) -> Result<String, TextError>) -> Option<String> {
    match text.map(parse) {
        Some(Ok(text)) => Some(text),
        None | Some(Err(TextError::Blank)) => {
            errors.required(field);
            None
        }
        Some(Err(error)) => {
            errors.add(field, format!("The {} {error}.", field.replace('_', " ")));
            None
        }
    }
}

/// The data as they were given.
struct Given {
    single: Option<String>,
    x: Option<String>,
    y: Option<String>,
    text: Option<String>,
}

impl Given {
    fn take(call: &mut Call) -> Answered<Self> {
        Ok(Self {
            single: call.text("numeric_data_single_value")?,
            x: call.text("numeric_data_x")?,
            y: call.text("numeric_data_y")?,
            text: call.text("text_data")?,
        })
    }

    /// What is stored. Of an unknown type, whichever was given is.
    fn data(self, errors: &mut Errors, data_type: Option<DataType>) -> Option<String> {
        match data_type {
            Some(DataType::Single) => number(errors, "numeric_data_single_value", self.single.as_deref()),
            Some(DataType::Axes) => axes(errors, self.x.as_deref(), self.y.as_deref()),
            Some(DataType::Text) => kept(errors, "text_data", self.text.as_deref(), text_data),
            None => {
                let mut unheard = Errors::default();
                match self {
                    Self { text: Some(text), .. } => text_data(&text).ok(),
                    Self { single: Some(single), .. } => number(&mut unheard, "numeric_data_single_value", Some(&single)),
                    Self { x: None, y: None, .. } => None,
                    Self { x, y, .. } => axes(&mut unheard, x.as_deref(), y.as_deref()),
                }
            }
        }
    }
}

fn text_data(text: &str) -> Result<String, TextError> {
    if text.trim().is_empty() {
        return Err(TextError::Blank);
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(TextError::TooManyBytes(TEXT_BYTES_MAX));
    }
    long_text(text).map(str::to_owned)
}

/// A number, kept as it was written. What is none is kept too, if it can be, and an error.
fn number(errors: &mut Errors, field: &'static str, text: Option<&str>) -> Option<String> {
    let text = kept(errors, field, text, |text| short_text(text).map(str::to_owned))?;
    let is_number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    if !is_number || !text.parse::<f64>().is_ok_and(f64::is_finite) {
        errors.add(field, format!("The {} must be a number.", field.replace('_', " ")));
    }
    Some(text)
}

fn axes(errors: &mut Errors, x: Option<&str>, y: Option<&str>) -> Option<String> {
    let (x, y) = (number(errors, "numeric_data_x", x), number(errors, "numeric_data_y", y));
    (x.is_some() || y.is_some()).then(|| json!({ "x": x, "y": y }).to_string())
}

pub const LIST: Doc = Doc::new("Stored reports")
    .parameters(&[
        Parameter::required("data_type", DATA_TYPES, ""),
        Parameter::required("data_group", Shape::Text, ""),
        Parameter::optional("product_id", Shape::Integer, "Only reports that name this product."),
        Parameter::optional("user_identifier", Shape::Text, "Only this user's."),
        Parameter::optional("license_key", Shape::Text, "Only reports that name this key."),
        Parameter::optional("activation_identifier", Shape::Text, "Only those from there."),
        Parameter::optional("product_version", Shape::Text, "Only this version's."),
        Parameter::optional("license_key_exists", Shape::Flag, "Whether there was a license of that key."),
        Parameter::optional("product_exists", Shape::Flag, "Whether there was such a product."),
        Parameter::optional("product_version_exists", Shape::Flag, "Whether that version was published."),
        Parameter::optional("is_correct_format", Shape::Flag, "Whether nothing was wrong with the data."),
        Parameter::optional("has_red_flags", Shape::Flag, "Whether any of the four isn't so."),
        Parameter::optional("page", Shape::Integer, "Which page, from 1."),
        Parameter::optional("items_per_page", Shape::Integer, "1000 unless given, which is the most."),
    ])
    .codes(&[Code::TelemetryDataFound])
    .fields(&[Field::new(
        "data",
        Shape::List(&Shape::Object(&[
            Field::always("id", Shape::Integer, "Its number."),
            Field::always("user_identifier", Shape::Nullable(&Shape::Text), "`null` where it was not given, or is forgotten; so are those below."),
            Field::always("license_key", Shape::Nullable(&Shape::Text), ""),
            Field::always("activation_identifier", Shape::Nullable(&Shape::Text), ""),
            Field::always("product_id", Shape::Nullable(&Shape::Integer), ""),
            Field::always("product_version", Shape::Nullable(&Shape::Text), ""),
            Field::always("data_type", Shape::Nullable(&Shape::Text), ""),
            Field::always("data_group", Shape::Nullable(&Shape::Text), ""),
            Field::always("data", Shape::Any, "Text, or an object of `x` and `y`."),
            Field::always("is_correct_format", Shape::Flag, ""),
            Field::always("license_key_exists", Shape::Flag, ""),
            Field::always("product_exists", Shape::Flag, ""),
            Field::always("product_version_exists", Shape::Flag, ""),
            Field::always("has_red_flags", Shape::Flag, ""),
            Field::always("created_at", Shape::Time, ""),
            Field::always("updated_at", Shape::Time, ""),
        ])),
        "In ascending number.",
    )]);

pub async fn list(mut call: Call) -> Answered {
    let (data_type, data_group) = (call.short_text("data_type")?, call.short_text("data_group")?);
    let (Some(data_type), Some(data_group)) = (data_type, data_group) else {
        return Err(Answer::bad_request("data_type and data_group are required."));
    };
    let filter = TelemetryFilter {
        data_type,
        data_group,
        product: call.product_number()?,
        user_identifier: call.short_text("user_identifier")?,
        license_key: call.short_text("license_key")?,
        activation_identifier: call.short_text("activation_identifier")?,
        product_version: call.short_text("product_version")?,
        license_key_exists: flag(&mut call, "license_key_exists")?,
        product_exists: flag(&mut call, "product_exists")?,
        product_version_exists: flag(&mut call, "product_version_exists")?,
        is_correct_format: flag(&mut call, "is_correct_format")?,
        has_red_flags: flag(&mut call, "has_red_flags")?,
    };
    let page = positive(&mut call, "page", 1, i64::MAX)?;
    let items_per_page = positive(&mut call, "items_per_page", ITEMS_PER_PAGE_MAX, ITEMS_PER_PAGE_MAX)?;
    let records = call.app.ledger.telemetry_page(&filter, page, items_per_page).await?;
    let rows: Vec<Listed<'_>> = records.iter().map(Listed::new).collect();
    Answer::new(Code::TelemetryDataFound).field("data", &rows)
}

/// `0` or `1`; blank is absent.
fn flag(call: &mut Call, name: &'static str) -> Answered<Option<bool>> {
    match call.short_text(name)?.as_deref() {
        None => Ok(None),
        Some("0") => Ok(Some(false)),
        Some("1") => Ok(Some(true)),
        Some(_) => Err(Answer::bad_request(format!("{name} must be 0 or 1."))),
    }
}

#[derive(Serialize)]
struct Listed<'a> {
    id: i64,
    user_identifier: Option<&'a str>,
    license_key: Option<&'a str>,
    activation_identifier: Option<&'a str>,
    product_id: Option<i64>,
    product_version: Option<&'a str>,
    data_type: Option<&'a str>,
    data_group: Option<&'a str>,
    data: Value,
    is_correct_format: u8,
    license_key_exists: u8,
    product_exists: u8,
    product_version_exists: u8,
    has_red_flags: u8,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl<'a> Listed<'a> {
    fn new(row: &'a TelemetryRow) -> Self {
        let record = &row.telemetry;
        Self {
            id: record.number,
            user_identifier: record.user_identifier.as_deref(),
            license_key: record.license_key.as_deref(),
            activation_identifier: record.activation_identifier.as_deref(),
            product_id: record.product,
            product_version: record.product_version.as_deref(),
            data_type: record.data_type.as_deref(),
            data_group: record.data_group.as_deref(),
            data: shown(record.data_type.as_deref(), record.data.as_deref()),
            is_correct_format: record.is_correct_format.into(),
            license_key_exists: record.license_key_exists().into(),
            product_exists: record.product_exists.into(),
            product_version_exists: record.product_version_exists.into(),
            has_red_flags: record.has_red_flags().into(),
            created_at: row.created_at,
            updated_at: row.created_at,
        }
    }
}

/// Two numbers are an object, everything else is text.
fn shown(data_type: Option<&str>, data: Option<&str>) -> Value {
    let Some(data) = data else { return Value::Null };
    let axes = if data_type == Some(DataType::Axes.as_str()) { serde_json::from_str(data).ok() } else { None };
    axes.unwrap_or_else(|| data.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(single: Option<&str>, x: Option<&str>, y: Option<&str>, text: Option<&str>) -> Given {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Given { single: owned(single), x: owned(x), y: owned(y), text: owned(text) }
    }

    fn data(given: Given, data_type: Option<DataType>) -> (Option<String>, String) {
        let mut errors = Errors::default();
        let data = given.data(&mut errors, data_type);
        (data, serde_json::to_string(&errors).unwrap())
    }

    #[test]
    fn each_type_takes_its_own_data() {
        let all = || given(Some(" 50 "), Some("1"), Some("-2.5e3"), Some("a\nb"));
        assert_eq!(data(all(), Some(DataType::Single)), (Some("50".into()), "{}".into()));
        assert_eq!(data(all(), Some(DataType::Axes)), (Some(r#"{"x":"1","y":"-2.5e3"}"#.into()), "{}".into()));
        assert_eq!(data(all(), Some(DataType::Text)), (Some("a\nb".into()), "{}".into()));
        assert_eq!(data(all(), None).0, Some("a\nb".into()));
        assert_eq!(data(given(None, None, None, None), None), (None, "{}".into()));
    }

    #[test]
    fn what_is_wrong_is_told_and_kept_where_it_can_be() {
        for bad in ["abc", "NaN", "inf", "1e999", "0x10", "1 2"] {
            let (kept, errors) = data(given(Some(bad), None, None, None), Some(DataType::Single));
            assert_eq!(errors, r#"{"numeric_data_single_value":["The numeric data single value must be a number."]}"#, "{bad}");
            assert_eq!(kept.as_deref(), Some(bad));
        }
        let (kept, errors) = data(given(None, Some("1"), None, None), Some(DataType::Axes));
        assert_eq!(errors, r#"{"numeric_data_y":["The numeric data y field is required."]}"#);
        assert_eq!(kept.as_deref(), Some(r#"{"x":"1","y":null}"#));
        let (kept, errors) = data(given(None, None, None, Some(&"x".repeat(TEXT_BYTES_MAX + 1))), Some(DataType::Text));
        assert_eq!((kept, errors.as_str()), (None, r#"{"text_data":["The text data must be at most 4096 bytes."]}"#));
    }

    #[test]
    fn two_numbers_are_shown_as_an_object() {
        assert_eq!(shown(Some("numeric-xy-axis"), Some(r#"{"x":"1","y":"2"}"#)), json!({ "x": "1", "y": "2" }));
        assert_eq!(shown(Some("text"), Some(r#"{"x":"1"}"#)), json!(r#"{"x":"1"}"#));
        assert_eq!(shown(None, None), Value::Null);
    }
}
