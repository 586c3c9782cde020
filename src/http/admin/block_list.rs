//! The block list: addresses and identifiers that are refused.

use keyledger_events::{
    Timestamp,
    block::{BlockError, BlockKind},
    values::Identifier,
};
use keyledger_projections::BlockRow;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AdminCall, Check, Created, Done, Json, Listing, Paged, Problem, Query, Replied, Shown};
use crate::{
    http::doc::Doc,
    ledger::{Command, CommandResult},
};

/// What an entry blocks.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlockedKind {
    Ip,
    Identifier,
}

impl From<BlockKind> for BlockedKind {
    fn from(kind: BlockKind) -> Self {
        match kind {
            BlockKind::Ip => Self::Ip,
            BlockKind::Identifier => Self::Identifier,
        }
    }
}

/// An entry of the block list.
#[derive(Serialize, ToSchema)]
pub struct Block {
    pub number: i64,
    pub kind: BlockedKind,
    /// `null` once it is forgotten.
    pub value: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl Block {
    fn new(row: BlockRow) -> Self {
        Self { number: row.block.number, kind: row.block.kind.into(), value: row.block.value, created_at: row.created_at }
    }
}

/// An entry to be added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBlock {
    pub kind: BlockedKind,
    /// An address, a network in CIDR form, or an identifier exactly as clients send it.
    #[schema(min_length = 1, max_length = 255)]
    pub value: String,
}

pub const LIST: Doc = Doc::new("What is blocked").details("In ascending number.");

pub async fn list(call: AdminCall, Query(query): Query<Listing>) -> Replied<Paged<Block>> {
    let wanted = query.wanted()?;
    let rows = call.app.ledger.list_blocks(wanted.after, wanted.rows()).await?;
    Ok(Paged(wanted.page(rows, |row| row.block.number, Block::new)))
}

pub const ADD: Doc = Doc::new("Block an address, a network or an identifier").details("Servers notice within a second.");

pub async fn add(call: AdminCall, Json(new): Json<NewBlock>) -> Replied<Created<Block>> {
    let mut check = Check::default();
    let (kind, value) = match new.kind {
        BlockedKind::Ip => (BlockKind::Ip, check.network("/value", &new.value).map(|network| network.to_string())),
        BlockedKind::Identifier => (BlockKind::Identifier, check.parsed("/value", Identifier::parse(&new.value)).map(Identifier::into_string)),
    };
    check.end()?;
    let value = value.unwrap_or_default();
    let outcome = call.execute(Command::AddBlock { kind, value: value.clone() }).await?;
    match outcome.result {
        CommandResult::BlockAdded => {
            let row = call.app.ledger.block_of(kind, &value).await?.ok_or_else(|| Problem::conflict("It was removed again since."))?;
            Ok(Created { location: format!("/admin/v1/block-list/{}", row.block.number), body: Block::new(row) })
        }
        CommandResult::BlockRefused(BlockError::Exists) => Err(Problem::conflict("It is on the block list already.")),
        other => Err(Problem::unexpected(&other)),
    }
}

pub const SHOW: Doc = Doc::new("An entry of the block list");

pub async fn show(call: AdminCall, (): ()) -> Replied<Shown<Block>> {
    let row = call.app.ledger.block(call.number("block")?).await?;
    row.map(|row| Shown(Block::new(row))).ok_or_else(|| Problem::not_found("entry of the block list"))
}

pub const REMOVE: Doc = Doc::new("Take an entry off the block list").details("Servers notice within a second.");

pub async fn remove(call: AdminCall, (): ()) -> Replied<Done> {
    let unknown = || Problem::not_found("entry of the block list");
    let block = call.number("block")?;
    let outcome = call.execute(Command::RemoveBlockEntry { block }).await?;
    match outcome.result {
        CommandResult::BlockRemoved => Ok(Done),
        CommandResult::BlockRefused(BlockError::Unknown) => Err(unknown()),
        other => Err(Problem::unexpected(&other)),
    }
}
