//! Generators, and keys made with them.

use keyledger_events::{Timestamp, generator::GeneratorError};
use keyledger_projections::GeneratorRow;
use serde::Serialize;

use super::{
    codes::Code,
    doc::{Doc, Field, Parameter, Shape},
    envelope::{Answer, Answered, internal},
    extract::Call,
};
use crate::ledger::{Command, CommandResult, LICENSES_MAX};

pub const LIST: Doc = Doc::new("All generators").codes(&[Code::AllGenerators]).fields(&[Field::new(
    "products",
    Shape::List(&Shape::Object(&[
        Field::always("id", Shape::Integer, "Its number."),
        Field::always("product_id", Shape::Integer, "Whose keys it makes."),
        Field::always("method", Shape::Choice(&["uuid", "chunk-system", "custom"]), ""),
        Field::always("prefix", Shape::Text, ""),
        Field::always("suffix", Shape::Text, ""),
        Field::always("function_name", Shape::Text, "Of the method custom."),
        Field::always("number_of_chunks", Shape::Integer, "Of the method chunk-system."),
        Field::always("chunk_length", Shape::Integer, "Of the method chunk-system."),
        Field::always("activation_limit", Shape::Integer, "Of the licenses made; 0 is no limit."),
        Field::always("validity", Shape::Integer, "Days of the licenses made; 0 is for ever."),
        Field::always("status", Shape::Flag, "Whether it may be used."),
        Field::always("charset", Shape::Text, ""),
        Field::always("created_at", Shape::Time, ""),
        Field::always("updated_at", Shape::Time, ""),
    ])),
    "The generators, in ascending number.",
)]);

pub async fn list(call: Call) -> Answered {
    let generators = call.app.ledger.generators().await?;
    let rows: Vec<GeneratorListed<'_>> = generators.iter().map(GeneratorListed::new).collect();
    // Observed: the list of generators is called products.
    Answer::new(Code::AllGenerators).field("products", &rows)
}

pub const GENERATE: Doc = Doc::new("Make available licenses with generated keys")
    .parameters(&[
        Parameter::required("generator_id", Shape::Integer, "The generator's number."),
        Parameter::required("quantity", Shape::Integer, "1 to 10,000."),
    ])
    .codes(&[Code::GeneratedLicenseKeys, Code::GeneratorNotFoundAssign])
    .fields(&[Field::new("licenseKeys", Shape::List(&Shape::Text), "The keys.")]);

pub async fn generate(mut call: Call) -> Answered {
    let generator = call.number("generator_id")?.unwrap_or_default();
    let quantity = call.number("quantity")?.unwrap_or_default();
    if !(1..=LICENSES_MAX as i64).contains(&quantity) {
        return call.refuse(Answer::bad_request(format!("quantity must be an integer of 1 to {LICENSES_MAX}."))).await;
    }
    let command = Command::GenerateLicenses { generator, quantity, supply: None };
    let outcome = call.execute_supplied(command, Some((generator, quantity))).await?;
    match outcome.result {
        CommandResult::LicensesGenerated { keys } => Answer::new(Code::GeneratedLicenseKeys).signed_by(outcome.key_pair).field("licenseKeys", &keys),
        CommandResult::GeneratorRefused(GeneratorError::Unknown) | CommandResult::NoSuchProduct => Ok(Answer::new(Code::GeneratorNotFoundAssign)),
        CommandResult::KeysUsedUp => Ok(Answer::bad_request("The generator can't make so many keys that are not in use yet.")),
        other => Err(internal(&format_args!("generating came to {other:?}"))),
    }
}

#[derive(Serialize)]
struct GeneratorListed<'a> {
    id: i64,
    product_id: i64,
    method: &'a str,
    prefix: &'a str,
    suffix: &'a str,
    function_name: &'a str,
    number_of_chunks: i64,
    chunk_length: i64,
    activation_limit: i64,
    validity: i64,
    status: u8,
    charset: &'a str,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl<'a> GeneratorListed<'a> {
    fn new(row: &'a GeneratorRow) -> Self {
        let fields = &row.generator.fields;
        let rule = &fields.rule;
        Self {
            id: row.generator.number,
            product_id: fields.product,
            method: rule.method.as_str(),
            prefix: &rule.prefix,
            suffix: &rule.suffix,
            function_name: &rule.function_name,
            number_of_chunks: rule.number_of_chunks,
            chunk_length: rule.chunk_length,
            activation_limit: fields.activation_limit,
            validity: fields.validity_days,
            status: fields.active.into(),
            charset: &rule.charset,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
