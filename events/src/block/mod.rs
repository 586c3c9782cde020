//! An entry of the block list: a network or an identifier that is refused.

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use crate::{Context, Personal, PersonalData, domain::domain_event};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    #[default]
    Ip,
    Identifier,
}

impl BlockKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Identifier => "identifier",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Ip, Self::Identifier].into_iter().find(|kind| kind.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum BlockEvent {
    BlockAdded(BlockAdded),
    BlockRemoved(BlockRemoved),
}

domain_event!(BlockEvent personal { BlockAdded "1.0", BlockRemoved "1.0" });

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockAdded {
    pub block: i64,
    pub kind: BlockKind,
    /// With the blocked value.
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockRemoved {
    pub block: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
}

/// An entry that blocks now; a removed one is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub number: i64,
    pub kind: BlockKind,
    /// `None` once it is forgotten.
    pub value: Option<String>,
}

impl Block {
    /// Folds one event.
    #[must_use]
    pub fn fold(_: Option<Self>, event: &BlockEvent) -> Option<Self> {
        match event {
            BlockEvent::BlockAdded(event) => Some(Self { number: event.block, kind: event.kind, value: event.personal.value() }),
            BlockEvent::BlockRemoved(_) => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockCommand {
    Add { kind: BlockKind, value: String },
    Remove,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockError {
    #[error("it is not on the block list")]
    Unknown,
    #[error("it is on the block list already")]
    Exists,
}

/// Decides a command on the entry of one value.
///
/// # Errors
/// Why it was refused.
pub fn decide(state: Option<&Block>, command: &BlockCommand, context: &Context) -> Result<BlockEvent, BlockError> {
    match (state, command) {
        (None, BlockCommand::Add { kind, value }) => Ok(BlockEvent::BlockAdded(BlockAdded {
            block: context.next.block,
            kind: *kind,
            personal: Personal::new(PersonalData { value: Some(value.clone()), ..PersonalData::default() }),
        })),
        (Some(_), BlockCommand::Add { .. }) => Err(BlockError::Exists),
        (None, BlockCommand::Remove) => Err(BlockError::Unknown),
        (Some(block), BlockCommand::Remove) => Ok(BlockEvent::BlockRemoved(BlockRemoved { block: block.number, personal: Personal::None })),
    }
}

impl Aggregate for Block {
    const TYPE: &'static str = "block";
    type Command = BlockCommand;
    type Event = BlockEvent;
    type Error = BlockError;
    type Services = Context;

    async fn handle(&mut self, command: BlockCommand, context: &Context, sink: &EventSink<Self>) -> Result<(), BlockError> {
        let event = decide((self.number > 0).then_some(&*self), &command, context)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: BlockEvent) {
        *self = Self::fold(None, &event).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    #[test]
    fn an_entry_is_added_and_removed_once() {
        let add = BlockCommand::Add { kind: BlockKind::Ip, value: "10.0.0.0/8".into() };
        let added = decide(None, &add, &Context::default()).unwrap();
        let framework = || TestFramework::<Block>::with(Context::default());
        framework().given_no_previous_events().when(add.clone()).then_expect_events(vec![added.clone()]);
        framework().given(vec![added.clone()]).when(add).then_expect_error(BlockError::Exists);
        let removed = BlockEvent::BlockRemoved(BlockRemoved { block: 1, personal: Personal::None });
        framework().given(vec![added]).when(BlockCommand::Remove).then_expect_events(vec![removed]);
        framework().given_no_previous_events().when(BlockCommand::Remove).then_expect_error(BlockError::Unknown);
    }
}
