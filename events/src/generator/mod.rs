//! A generator: by which rule a product's license keys are made, and what the licenses with them are like.

pub mod keys;

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use crate::{Context, Personal, domain::domain_event};

pub use keys::{FUNCTIONS, KeyMaker, KeyRule, Method, Random, RuleError};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum GeneratorEvent {
    GeneratorCreated(GeneratorSet),
    GeneratorUpdated(GeneratorSet),
    GeneratorDeleted(GeneratorDeleted),
}

domain_event!(GeneratorEvent personal { GeneratorCreated "1.0", GeneratorUpdated "1.0", GeneratorDeleted "1.0" });

/// All of a generator as it is after the event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeneratorSet {
    pub activation_limit: i64,
    pub active: bool,
    pub generator: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub rule: KeyRule,
    pub validity_days: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeneratorDeleted {
    pub generator: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
}

/// What a generator is made from, its counts checked at the edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratorFields {
    pub product: i64,
    pub rule: KeyRule,
    /// Of the licenses made; 0 is unlimited.
    pub activation_limit: i64,
    /// Of the licenses made; 0 is unlimited.
    pub validity_days: i64,
    pub active: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generator {
    pub number: i64,
    pub fields: GeneratorFields,
    pub deleted: bool,
}

impl Generator {
    /// Whether it may make keys.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.deleted && self.fields.active
    }

    /// Folds one event.
    #[must_use]
    pub fn fold(state: Option<Self>, event: &GeneratorEvent) -> Option<Self> {
        match event {
            GeneratorEvent::GeneratorCreated(set) => Some(Self::from(set)),
            GeneratorEvent::GeneratorUpdated(set) => state.map(|_| Self::from(set)),
            GeneratorEvent::GeneratorDeleted(_) => state.map(|generator| Self { deleted: true, ..generator }),
        }
    }
}

impl From<&GeneratorSet> for Generator {
    fn from(set: &GeneratorSet) -> Self {
        let fields = GeneratorFields {
            product: set.product,
            rule: set.rule.clone(),
            activation_limit: set.activation_limit,
            validity_days: set.validity_days,
            active: set.active,
        };
        Self { number: set.generator, fields, deleted: false }
    }
}

/// What is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateGenerator {
    pub product: Option<i64>,
    pub method: Option<Method>,
    pub prefix: Option<String>,
    pub suffix: Option<String>,
    pub number_of_chunks: Option<i64>,
    pub chunk_length: Option<i64>,
    pub charset: Option<String>,
    pub function_name: Option<String>,
    pub pattern: Option<String>,
    pub activation_limit: Option<i64>,
    pub validity_days: Option<i64>,
    pub active: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GeneratorCommand {
    Create(GeneratorFields),
    Update(UpdateGenerator),
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GeneratorError {
    #[error("the generator does not exist")]
    Unknown,
    #[error("the generator exists already")]
    Exists,
    #[error("{0}")]
    Rule(RuleError),
}

/// Decides a command; `None` where it changes nothing.
///
/// # Errors
/// Why it was refused.
pub fn decide(state: Option<&Generator>, command: &GeneratorCommand, context: &Context) -> Result<Option<GeneratorEvent>, GeneratorError> {
    let generator = state.filter(|generator| !generator.deleted);
    match (generator, command) {
        (None, GeneratorCommand::Create(fields)) => {
            check(fields)?;
            Ok(Some(GeneratorEvent::GeneratorCreated(set(context.next.generator, fields))))
        }
        (Some(_), GeneratorCommand::Create(_)) => Err(GeneratorError::Exists),
        (None, GeneratorCommand::Update(_) | GeneratorCommand::Delete) => Err(GeneratorError::Unknown),
        (Some(generator), GeneratorCommand::Update(update)) => {
            let fields = updated(&generator.fields, update);
            check(&fields)?;
            Ok((fields != generator.fields).then(|| GeneratorEvent::GeneratorUpdated(set(generator.number, &fields))))
        }
        (Some(generator), GeneratorCommand::Delete) => {
            let deleted = GeneratorDeleted { generator: generator.number, personal: Personal::None, product: generator.fields.product };
            Ok(Some(GeneratorEvent::GeneratorDeleted(deleted)))
        }
    }
}

/// A function that this program doesn't have may be named by a generator that is not active.
fn check(fields: &GeneratorFields) -> Result<(), GeneratorError> {
    match fields.rule.maker() {
        Err(RuleError::UnknownFunction) if !fields.active => Ok(()),
        Err(error) => Err(GeneratorError::Rule(error)),
        Ok(_) => Ok(()),
    }
}

fn set(generator: i64, fields: &GeneratorFields) -> GeneratorSet {
    GeneratorSet {
        activation_limit: fields.activation_limit,
        active: fields.active,
        generator,
        personal: Personal::None,
        product: fields.product,
        rule: fields.rule.clone(),
        validity_days: fields.validity_days,
    }
}

fn updated(fields: &GeneratorFields, update: &UpdateGenerator) -> GeneratorFields {
    fn text(new: Option<&String>, old: &str) -> String {
        new.map_or_else(|| old.to_owned(), Clone::clone)
    }
    let rule = &fields.rule;
    GeneratorFields {
        product: update.product.unwrap_or(fields.product),
        rule: KeyRule {
            charset: text(update.charset.as_ref(), &rule.charset),
            chunk_length: update.chunk_length.unwrap_or(rule.chunk_length),
            function_name: text(update.function_name.as_ref(), &rule.function_name),
            method: update.method.unwrap_or(rule.method),
            number_of_chunks: update.number_of_chunks.unwrap_or(rule.number_of_chunks),
            pattern: text(update.pattern.as_ref(), &rule.pattern),
            prefix: text(update.prefix.as_ref(), &rule.prefix),
            suffix: text(update.suffix.as_ref(), &rule.suffix),
        },
        activation_limit: update.activation_limit.unwrap_or(fields.activation_limit),
        validity_days: update.validity_days.unwrap_or(fields.validity_days),
        active: update.active.unwrap_or(fields.active),
    }
}

/// The cqrs-es aggregate is the state itself; a generator that was never made is the default.
impl Aggregate for Generator {
    const TYPE: &'static str = "generator";
    type Command = GeneratorCommand;
    type Event = GeneratorEvent;
    type Error = GeneratorError;
    type Services = Context;

    async fn handle(&mut self, command: GeneratorCommand, context: &Context, sink: &EventSink<Self>) -> Result<(), GeneratorError> {
        let event = decide((self.number > 0).then_some(&*self), &command, context)?;
        if let Some(event) = event {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: GeneratorEvent) {
        let state = (self.number > 0).then(|| std::mem::take(self));
        *self = Self::fold(state, &event).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    fn framework() -> TestFramework<Generator> {
        TestFramework::with(Context::default())
    }

    fn fields() -> GeneratorFields {
        GeneratorFields { product: 2, activation_limit: 1, validity_days: 365, active: true, ..GeneratorFields::default() }
    }

    fn created() -> GeneratorEvent {
        GeneratorEvent::GeneratorCreated(set(1, &fields()))
    }

    #[test]
    fn a_generator_is_made_changed_and_deleted() {
        let create = || GeneratorCommand::Create(fields());
        framework().given_no_previous_events().when(create()).then_expect_events(vec![created()]);
        framework().given(vec![created()]).when(create()).then_expect_error(GeneratorError::Exists);
        let update = |update| GeneratorCommand::Update(update);
        let inactive = || UpdateGenerator { active: Some(false), ..UpdateGenerator::default() };
        let changed = GeneratorEvent::GeneratorUpdated(set(1, &GeneratorFields { active: false, ..fields() }));
        framework().given(vec![created()]).when(update(inactive())).then_expect_events(vec![changed]);
        framework().given(vec![created()]).when(update(UpdateGenerator::default())).then_expect_events(vec![]);
        framework().given_no_previous_events().when(update(inactive())).then_expect_error(GeneratorError::Unknown);
        let deleted = GeneratorEvent::GeneratorDeleted(GeneratorDeleted { generator: 1, personal: Personal::None, product: 2 });
        framework().given(vec![created()]).when(GeneratorCommand::Delete).then_expect_events(vec![deleted.clone()]);
        framework().given(vec![created(), deleted]).when(GeneratorCommand::Delete).then_expect_error(GeneratorError::Unknown);
    }

    #[test]
    fn an_active_generator_can_make_keys() {
        let rule = KeyRule { method: Method::Custom, function_name: "testFunction".into(), ..KeyRule::default() };
        let with = |active| GeneratorFields { rule: rule.clone(), active, ..fields() };
        let inactive = GeneratorEvent::GeneratorCreated(set(1, &with(false)));
        framework().given_no_previous_events().when(GeneratorCommand::Create(with(false))).then_expect_events(vec![inactive.clone()]);
        let unknown = || GeneratorError::Rule(RuleError::UnknownFunction);
        framework().given_no_previous_events().when(GeneratorCommand::Create(with(true))).then_expect_error(unknown());
        let activate = GeneratorCommand::Update(UpdateGenerator { active: Some(true), ..UpdateGenerator::default() });
        framework().given(vec![inactive]).when(activate).then_expect_error(unknown());
    }
}
