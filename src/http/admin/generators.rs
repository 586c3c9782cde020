//! Generators: by which rule a product's license keys are made.

use keyledger_events::{
    Timestamp,
    generator::{GeneratorError, GeneratorFields, KeyRule, Method, UpdateGenerator},
};
use keyledger_projections::GeneratorRow;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AdminCall, Check, Created, Done, Json, Listing, Paged, Problem, Query, Replied, Shown};
use crate::{
    http::doc::Doc,
    ledger::{Command, CommandResult},
};

/// How keys are made.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GeneratorMethod {
    Uuid,
    ChunkSystem,
    Custom,
}

impl From<GeneratorMethod> for Method {
    fn from(method: GeneratorMethod) -> Self {
        match method {
            GeneratorMethod::Uuid => Self::Uuid,
            GeneratorMethod::ChunkSystem => Self::ChunkSystem,
            GeneratorMethod::Custom => Self::Custom,
        }
    }
}

impl From<Method> for GeneratorMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::Uuid => Self::Uuid,
            Method::ChunkSystem => Self::ChunkSystem,
            Method::Custom => Self::Custom,
        }
    }
}

/// A generator.
#[derive(Serialize, ToSchema)]
pub struct Generator {
    pub number: i64,
    pub id: uuid::Uuid,
    pub product: i64,
    pub method: GeneratorMethod,
    /// What every key begins with.
    pub prefix: String,
    /// What every key ends with.
    pub suffix: String,
    /// Of the method chunk-system.
    pub number_of_chunks: i64,
    /// Of the method chunk-system.
    pub chunk_length: i64,
    /// Of the method chunk-system, and of `*` in a pattern.
    pub charset: String,
    /// Of the method custom.
    pub function_name: String,
    /// Of the function pattern: `#` is a digit, `@` a letter, `*` one of the charset, `\` takes the next character as it is.
    pub pattern: String,
    /// Of the licenses made; 0 is no limit.
    pub activation_limit: i64,
    /// Of the licenses made: days from the assignment; 0 is for ever.
    pub validity_days: i64,
    /// Whether it may make keys.
    pub active: bool,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl Generator {
    fn new(row: GeneratorRow) -> Self {
        let GeneratorFields { product, rule, activation_limit, validity_days, active } = row.generator.fields;
        Self {
            number: row.generator.number,
            id: row.id,
            product,
            method: rule.method.into(),
            prefix: rule.prefix,
            suffix: rule.suffix,
            number_of_chunks: rule.number_of_chunks,
            chunk_length: rule.chunk_length,
            charset: rule.charset,
            function_name: rule.function_name,
            pattern: rule.pattern,
            activation_limit,
            validity_days,
            active,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// What is said of a generator. A new one needs a product; what else is absent is as usual, and in a change as it was.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = GeneratorGiven)]
pub struct Given {
    #[schema(minimum = 1)]
    pub product: Option<i64>,
    /// `uuid` as usual.
    pub method: Option<GeneratorMethod>,
    #[schema(max_length = 255)]
    pub prefix: Option<String>,
    #[schema(max_length = 255)]
    pub suffix: Option<String>,
    #[schema(minimum = 1, maximum = 64)]
    pub number_of_chunks: Option<i64>,
    #[schema(minimum = 1, maximum = 64)]
    pub chunk_length: Option<i64>,
    #[schema(max_length = 255)]
    pub charset: Option<String>,
    #[schema(max_length = 255)]
    pub function_name: Option<String>,
    #[schema(max_length = 255)]
    pub pattern: Option<String>,
    /// 1 as usual; 0 is no limit.
    #[schema(minimum = 0, maximum = 2_147_483_647)]
    pub activation_limit: Option<i64>,
    /// 0 as usual, which is for ever.
    #[schema(minimum = 0, maximum = 2_147_483_647)]
    pub validity_days: Option<i64>,
    /// `true` as usual.
    pub active: Option<bool>,
}

impl Given {
    fn check(self) -> Replied<UpdateGenerator> {
        let mut check = Check::default();
        let mut count = |pointer: &str, value: Option<i64>| value.map(|value| check.count(pointer, value));
        let (activation_limit, validity_days) = (count("/activation_limit", self.activation_limit), count("/validity_days", self.validity_days));
        let texts = [
            ("/prefix", &self.prefix),
            ("/suffix", &self.suffix),
            ("/charset", &self.charset),
            ("/function_name", &self.function_name),
            ("/pattern", &self.pattern),
        ];
        for (pointer, text) in texts {
            check.short_or_empty(pointer, text.as_deref().unwrap_or_default());
        }
        check.end()?;
        Ok(UpdateGenerator {
            product: self.product,
            method: self.method.map(Method::from),
            prefix: self.prefix,
            suffix: self.suffix,
            number_of_chunks: self.number_of_chunks,
            chunk_length: self.chunk_length,
            charset: self.charset,
            function_name: self.function_name,
            pattern: self.pattern,
            activation_limit,
            validity_days,
            active: self.active,
        })
    }
}

pub const LIST: Doc = Doc::new("Generators").details("In ascending number.");

pub async fn list(call: AdminCall, Query(query): Query<Listing>) -> Replied<Paged<Generator>> {
    let wanted = query.wanted()?;
    let rows = call.app.ledger.list_generators(wanted.after, wanted.rows()).await?;
    Ok(Paged(wanted.page(rows, |row| row.generator.number, Generator::new)))
}

pub const SHOW: Doc = Doc::new("A generator");

pub async fn show(call: AdminCall, (): ()) -> Replied<Shown<Generator>> {
    Ok(Shown(shown(&call, call.number("generator")?).await?))
}

async fn shown(call: &AdminCall, number: i64) -> Replied<Generator> {
    call.app.ledger.generator(number).await?.map(Generator::new).ok_or_else(|| Problem::not_found("generator"))
}

pub const CREATE: Doc = Doc::new("Make a generator").details("The product must be given.");

pub async fn create(call: AdminCall, Json(given): Json<Given>) -> Replied<Created<Generator>> {
    let given = given.check()?;
    let product = given.product.ok_or_else(|| Problem::invalid_field("/product", "must be given."))?;
    let usual = KeyRule::default();
    let fields = GeneratorFields {
        product,
        rule: KeyRule {
            charset: given.charset.unwrap_or(usual.charset),
            chunk_length: given.chunk_length.unwrap_or(usual.chunk_length),
            function_name: given.function_name.unwrap_or_default(),
            method: given.method.unwrap_or_default(),
            number_of_chunks: given.number_of_chunks.unwrap_or(usual.number_of_chunks),
            pattern: given.pattern.unwrap_or_default(),
            prefix: given.prefix.unwrap_or_default(),
            suffix: given.suffix.unwrap_or_default(),
        },
        activation_limit: given.activation_limit.unwrap_or(1),
        validity_days: given.validity_days.unwrap_or_default(),
        active: given.active.unwrap_or(true),
    };
    let outcome = call.execute(Command::CreateGenerator { fields }).await?;
    match outcome.result {
        CommandResult::GeneratorCreated { generator } => {
            Ok(Created { location: format!("/admin/v1/generators/{generator}"), body: shown(&call, generator).await? })
        }
        other => Err(refused(other)),
    }
}

pub const UPDATE: Doc = Doc::new("Change a generator").details("What is absent stays as it is. Licenses that it made stay as they are.");

pub async fn update(call: AdminCall, Json(given): Json<Given>) -> Replied<Shown<Generator>> {
    let generator = call.number("generator")?;
    let outcome = call.execute(Command::UpdateGenerator { generator, update: given.check()? }).await?;
    match outcome.result {
        CommandResult::GeneratorUpdated => Ok(Shown(shown(&call, generator).await?)),
        other => Err(refused(other)),
    }
}

pub const DELETE: Doc = Doc::new("Delete a generator").details("Licenses that it made stay.");

pub async fn delete(call: AdminCall, (): ()) -> Replied<Done> {
    let generator = call.number("generator")?;
    let outcome = call.execute(Command::DeleteGenerator { generator }).await?;
    match outcome.result {
        CommandResult::GeneratorDeleted => Ok(Done),
        other => Err(refused(other)),
    }
}

fn refused(result: CommandResult) -> Problem {
    match result {
        CommandResult::NoSuchProduct => Problem::invalid_field("/product", "is no product."),
        CommandResult::GeneratorRefused(GeneratorError::Unknown) => Problem::not_found("generator"),
        CommandResult::GeneratorRefused(error) => Problem::invalid_field("", format!("{error}.")),
        other => Problem::unexpected(&other),
    }
}
