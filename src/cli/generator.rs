//! `keyledger generator`.

use std::sync::LazyLock;

use clap::{Args, Subcommand};
use keyledger_events::{
    generator::{GeneratorFields, KeyRule, Method, UpdateGenerator},
    values::COUNT_MAX,
};
use keyledger_projections::{GeneratorRow, Table};

use super::{ChangeArgs, Failure, StoreArgs, unexpected};
use crate::ledger::{Command, CommandResult};

/// The function that a pattern is for.
const PATTERN: &str = "pattern";

#[derive(Debug, Subcommand)]
pub enum GeneratorCommand {
    /// Make a generator of a product's license keys.
    Create(CreateArgs),
    /// Change what is given; the rest stays.
    Update(UpdateArgs),
    /// Delete a generator; the licenses that it made stay.
    Delete(NumberArgs),
    /// List the generators.
    List(ListArgs),
}

/// What a generator is like; what is not given is left as it is, or as a new one has it.
#[derive(Debug, Args)]
pub struct RuleArgs {
    /// How keys are made: uuid, chunk-system or custom.
    #[arg(long, value_parser = method)]
    method: Option<Method>,
    /// What every key begins with.
    #[arg(long, allow_hyphen_values = true)]
    prefix: Option<String>,
    /// What every key ends with.
    #[arg(long, allow_hyphen_values = true)]
    suffix: Option<String>,
    /// Of chunk-system: how many chunks, joined by hyphens.
    #[arg(long, value_name = "N")]
    number_of_chunks: Option<i64>,
    /// Of chunk-system: characters of a chunk.
    #[arg(long, value_name = "N")]
    chunk_length: Option<i64>,
    /// Of chunk-system, and of `*` in a pattern: the characters to choose from.
    #[arg(long, value_name = "CHARACTERS")]
    charset: Option<String>,
    /// Of custom: which function makes the key; there is: pattern.
    #[arg(long, value_name = "NAME")]
    function_name: Option<String>,
    /// Of the function pattern: # is a digit, @ a letter, * of the charset, \ takes the next character as it is.
    #[arg(long, allow_hyphen_values = true)]
    pattern: Option<String>,
    /// Activations of a license made; 0 is unlimited.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..=COUNT_MAX))]
    activation_limit: Option<i64>,
    /// Days that a license made is valid; 0 is unlimited.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(i64).range(0..=COUNT_MAX))]
    validity: Option<i64>,
    /// Whether it may be used.
    #[arg(long, value_name = "true|false")]
    active: Option<bool>,
}

fn method(text: &str) -> Result<Method, String> {
    Method::parse(text).ok_or_else(|| "there are: uuid, chunk-system, custom".to_owned())
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// The product's number.
    #[arg(long, value_name = "NUMBER")]
    product: i64,
    #[command(flatten)]
    rule: RuleArgs,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// The generator's number in the list.
    number: i64,
    /// Another product's number.
    #[arg(long, value_name = "NUMBER")]
    product: Option<i64>,
    #[command(flatten)]
    rule: RuleArgs,
}

#[derive(Debug, Args)]
pub struct NumberArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// The generator's number in the list.
    number: i64,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    store: StoreArgs,
}

pub async fn run(command: GeneratorCommand) -> Result<(), Failure> {
    match command {
        GeneratorCommand::Create(args) => {
            let fields = new_fields(args.product, args.rule);
            let result = args.change.execute("generator create", |_| Ok(Command::CreateGenerator { fields })).await?;
            report(result)
        }
        GeneratorCommand::Update(args) => {
            let (generator, update) = (args.number, changes(args.product, args.rule));
            let command = |_: &_| Ok(Command::UpdateGenerator { generator, update });
            report(args.change.execute("generator update", command).await?)
        }
        GeneratorCommand::Delete(args) => {
            let command = |_: &_| Ok(Command::DeleteGenerator { generator: args.number });
            report(args.change.execute("generator delete", command).await?)
        }
        GeneratorCommand::List(args) => list(&args.store).await,
    }
}

fn new_fields(product: i64, given: RuleArgs) -> GeneratorFields {
    let usual = KeyRule::default();
    // A pattern can only be meant for the function of that name.
    let function_name = given.function_name.unwrap_or_else(|| if given.pattern.is_some() { PATTERN.to_owned() } else { String::new() });
    GeneratorFields {
        product,
        rule: KeyRule {
            charset: given.charset.unwrap_or(usual.charset),
            chunk_length: given.chunk_length.unwrap_or(usual.chunk_length),
            function_name,
            method: given.method.unwrap_or(if given.pattern.is_some() { Method::Custom } else { usual.method }),
            number_of_chunks: given.number_of_chunks.unwrap_or(usual.number_of_chunks),
            pattern: given.pattern.unwrap_or_default(),
            prefix: given.prefix.unwrap_or_default(),
            suffix: given.suffix.unwrap_or_default(),
        },
        activation_limit: given.activation_limit.unwrap_or(1),
        validity_days: given.validity.unwrap_or_default(),
        active: given.active.unwrap_or(true),
    }
}

fn changes(product: Option<i64>, given: RuleArgs) -> UpdateGenerator {
    UpdateGenerator {
        product,
        method: given.method,
        prefix: given.prefix,
        suffix: given.suffix,
        number_of_chunks: given.number_of_chunks,
        chunk_length: given.chunk_length,
        charset: given.charset,
        function_name: given.function_name,
        pattern: given.pattern,
        activation_limit: given.activation_limit,
        validity_days: given.validity,
        active: given.active,
    }
}

fn report(result: CommandResult) -> Result<(), Failure> {
    match result {
        CommandResult::GeneratorCreated { generator } => println!("{generator}"),
        CommandResult::GeneratorUpdated => println!("The generator is changed"),
        CommandResult::GeneratorDeleted => println!("The generator is deleted"),
        CommandResult::NoSuchProduct => return Err("there is no such product".into()),
        CommandResult::GeneratorRefused(error) => return Err(error.to_string().into()),
        other => return Err(unexpected(&other)),
    }
    Ok(())
}

static GENERATORS: LazyLock<String> = LazyLock::new(|| {
    let columns: Vec<&str> = Table::Generator.columns().iter().map(|column| column.name).collect();
    format!("SELECT {} FROM generator WHERE NOT deleted ORDER BY number", columns.join(", "))
});

async fn list(store: &StoreArgs) -> Result<(), Failure> {
    println!("number\tproduct\tactive\tmethod\trule\tlimit\tdays");
    for row in store.store(false).await?.query(GENERATORS.as_str(), &[]).await? {
        let generator = GeneratorRow::read(&mut row.into())?.generator;
        let (fields, rule) = (&generator.fields, &generator.fields.rule);
        let shape = match rule.method {
            Method::Uuid => String::new(),
            Method::ChunkSystem => format!("{}x{} of {}", rule.number_of_chunks, rule.chunk_length, rule.charset),
            Method::Custom => format!("{} {}", rule.function_name, rule.pattern),
        };
        let (active, method) = (fields.active, rule.method.as_str());
        println!(
            "{}\t{}\t{active}\t{method}\t{}{shape}{}\t{}\t{}",
            generator.number, fields.product, rule.prefix, rule.suffix, fields.activation_limit, fields.validity_days
        );
    }
    Ok(())
}
