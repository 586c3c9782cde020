//! Contracts: how many license keys of a product a reseller may have made.

use keyledger_events::{
    Timestamp,
    contract::{ContractError, ContractFields},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AdminCall, Check, Created, Done, Json, Listing, Paged, Problem, Query, Replied, Shown};
use crate::{
    http::doc::Doc,
    ledger::{Command, CommandResult, ContractView},
};

/// What a contract says.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ContractTerms)]
pub struct Terms {
    /// Under which it is found, and with which a reseller shows who it is.
    #[schema(min_length = 1, max_length = 255)]
    pub key: String,
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    #[schema(min_length = 1, max_length = 16384)]
    pub information: String,
    #[schema(minimum = 1)]
    pub product: i64,
    /// How many license keys it may have at a time.
    #[schema(minimum = 1, maximum = 2_147_483_647)]
    pub license_keys_quantity: i64,
    pub active: bool,
    pub can_get_info: bool,
    pub can_generate: bool,
    pub can_destroy: bool,
    pub can_destroy_all: bool,
}

/// A contract.
#[derive(Serialize, ToSchema)]
pub struct Contract {
    pub number: i64,
    pub id: uuid::Uuid,
    pub terms: Terms,
    /// How many license keys it has.
    pub license_keys: i64,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl Contract {
    fn new(view: ContractView) -> Self {
        let row = view.contract;
        let fields = row.contract.fields;
        Self {
            number: row.contract.number,
            id: row.id,
            terms: Terms {
                key: fields.key,
                name: fields.name,
                information: fields.information,
                product: fields.product,
                license_keys_quantity: fields.license_keys_quantity,
                active: fields.active,
                can_get_info: fields.can_get_info,
                can_generate: fields.can_generate,
                can_destroy: fields.can_destroy,
                can_destroy_all: fields.can_destroy_all,
            },
            license_keys: view.license_keys,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl Terms {
    fn check(self) -> Replied<ContractFields> {
        let mut check = Check::default();
        let fields = ContractFields {
            key: check.short("/key", &self.key),
            name: check.short("/name", &self.name),
            information: check.long("/information", &self.information),
            product: self.product,
            license_keys_quantity: check.count("/license_keys_quantity", self.license_keys_quantity),
            active: self.active,
            can_get_info: self.can_get_info,
            can_generate: self.can_generate,
            can_destroy: self.can_destroy,
            can_destroy_all: self.can_destroy_all,
        };
        if self.license_keys_quantity == 0 {
            check.wrong("/license_keys_quantity", "must be 1 or more.");
        }
        check.end()?;
        Ok(fields)
    }
}

pub const LIST: Doc = Doc::new("Contracts").details("In ascending number.");

pub async fn list(call: AdminCall, Query(query): Query<Listing>) -> Replied<Paged<Contract>> {
    let wanted = query.wanted()?;
    let rows = call.app.ledger.list_contracts(wanted.after, wanted.rows()).await?;
    Ok(Paged(wanted.page(rows, |view| view.contract.contract.number, Contract::new)))
}

pub const SHOW: Doc = Doc::new("A contract");

pub async fn show(call: AdminCall, (): ()) -> Replied<Shown<Contract>> {
    Ok(Shown(shown(&call, call.number("contract")?).await?))
}

async fn shown(call: &AdminCall, number: i64) -> Replied<Contract> {
    call.app.ledger.contract(number).await?.map(Contract::new).ok_or_else(|| Problem::not_found("contract"))
}

pub const CREATE: Doc = Doc::new("Make a contract");

pub async fn create(call: AdminCall, Json(terms): Json<Terms>) -> Replied<Created<Contract>> {
    let outcome = call.execute(Command::CreateContract { fields: terms.check()? }).await?;
    match outcome.result {
        CommandResult::ContractSet { contract, .. } => {
            Ok(Created { location: format!("/admin/v1/contracts/{contract}"), body: shown(&call, contract).await? })
        }
        other => Err(refused(other)),
    }
}

pub const REPLACE: Doc =
    Doc::new("Change the terms of a contract").details("All of them. License keys that it has stay, also where it may have fewer now.");

pub async fn replace(call: AdminCall, Json(terms): Json<Terms>) -> Replied<Shown<Contract>> {
    let contract = call.number("contract")?;
    let outcome = call.execute(Command::UpdateContract { contract, fields: terms.check()? }).await?;
    match outcome.result {
        CommandResult::ContractSet { contract, .. } => Ok(Shown(shown(&call, contract).await?)),
        other => Err(refused(other)),
    }
}

pub const DELETE: Doc = Doc::new("Delete a contract").details("License keys that it has stay.");

pub async fn delete(call: AdminCall, (): ()) -> Replied<Done> {
    let contract = call.number("contract")?;
    let outcome = call.execute(Command::DeleteContract { contract }).await?;
    match outcome.result {
        CommandResult::ContractDeleted => Ok(Done),
        other => Err(refused(other)),
    }
}

fn refused(result: CommandResult) -> Problem {
    match result {
        CommandResult::NoSuchProduct => Problem::invalid_field("/product", "is no product."),
        CommandResult::ContractRefused(ContractError::Unknown) => Problem::not_found("contract"),
        CommandResult::ContractRefused(error) => Problem::conflict(format!("Refused: {error}.")),
        other => Problem::unexpected(&other),
    }
}
