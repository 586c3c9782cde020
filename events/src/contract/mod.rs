//! A contract: how many license keys of a product a reseller may have made, and what else they may do with them.

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use crate::{Context, Personal, domain::domain_event};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ContractEvent {
    ContractCreated(ContractSet),
    ContractUpdated(ContractSet),
    ContractDeleted(ContractDeleted),
}

domain_event!(ContractEvent personal { ContractCreated "1.0", ContractUpdated "1.0", ContractDeleted "1.0" });

/// All of a contract as it is after the event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContractSet {
    pub active: bool,
    pub can_destroy: bool,
    pub can_destroy_all: bool,
    pub can_generate: bool,
    pub can_get_info: bool,
    pub contract: i64,
    pub information: String,
    pub key: String,
    pub license_keys_quantity: i64,
    pub name: String,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContractDeleted {
    pub contract: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
}

/// What a contract says, checked at the edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractFields {
    /// Under which it is found, and with which a reseller shows who it is.
    pub key: String,
    pub name: String,
    pub information: String,
    pub product: i64,
    /// How many keys it may have at a time.
    pub license_keys_quantity: i64,
    pub active: bool,
    pub can_get_info: bool,
    pub can_generate: bool,
    pub can_destroy: bool,
    pub can_destroy_all: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contract {
    pub number: i64,
    pub fields: ContractFields,
    pub deleted: bool,
}

/// What a contract's holder may want to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    GetInfo,
    Generate,
    Destroy,
    DestroyAll,
}

impl Contract {
    /// Whether its holder may use it at all.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.deleted && self.fields.active
    }

    /// # Errors
    /// When it is not in force, or doesn't permit that.
    pub fn permit(&self, permission: Permission) -> Result<(), ContractError> {
        if !self.is_active() {
            return Err(ContractError::Unknown);
        }
        let fields = &self.fields;
        let is_permitted = match permission {
            Permission::GetInfo => fields.can_get_info,
            Permission::Generate => fields.can_generate,
            Permission::Destroy => fields.can_destroy,
            Permission::DestroyAll => fields.can_destroy_all,
        };
        if is_permitted { Ok(()) } else { Err(ContractError::NotPermitted) }
    }

    /// Whether so many more keys may be made, where it has `present`.
    ///
    /// # Errors
    /// When they would be more than agreed.
    pub fn make_room(&self, present: i64, wanted: i64) -> Result<(), ContractError> {
        if present.saturating_add(wanted) > self.fields.license_keys_quantity { Err(ContractError::LimitReached) } else { Ok(()) }
    }

    /// Folds one event.
    #[must_use]
    pub fn fold(state: Option<Self>, event: &ContractEvent) -> Option<Self> {
        match event {
            ContractEvent::ContractCreated(set) => Some(Self::from(set)),
            ContractEvent::ContractUpdated(set) => state.map(|_| Self::from(set)),
            ContractEvent::ContractDeleted(_) => state.map(|contract| Self { deleted: true, ..contract }),
        }
    }
}

impl From<&ContractSet> for Contract {
    fn from(set: &ContractSet) -> Self {
        let fields = ContractFields {
            key: set.key.clone(),
            name: set.name.clone(),
            information: set.information.clone(),
            product: set.product,
            license_keys_quantity: set.license_keys_quantity,
            active: set.active,
            can_get_info: set.can_get_info,
            can_generate: set.can_generate,
            can_destroy: set.can_destroy,
            can_destroy_all: set.can_destroy_all,
        };
        Self { number: set.contract, fields, deleted: false }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContractCommand {
    Create(ContractFields),
    Update(ContractFields),
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContractError {
    #[error("the contract does not exist")]
    Unknown,
    #[error("the contract exists already")]
    Exists,
    #[error("another contract has this key")]
    KeyTaken,
    #[error("the contract does not permit this")]
    NotPermitted,
    #[error("the contract has as many license keys as it may have")]
    LimitReached,
}

/// Decides a command. `key_holder` is the contract that has the key which the command gives, if there is one.
///
/// # Errors
/// Why it was refused.
pub fn decide(
    state: Option<&Contract>,
    key_holder: Option<i64>,
    command: &ContractCommand,
    context: &Context,
) -> Result<Option<ContractEvent>, ContractError> {
    match (state.filter(|contract| !contract.deleted), command) {
        (None, ContractCommand::Create(_)) if key_holder.is_some() => Err(ContractError::KeyTaken),
        (None, ContractCommand::Create(fields)) => Ok(Some(ContractEvent::ContractCreated(set(context.next.contract, fields)))),
        (Some(_), ContractCommand::Create(_)) => Err(ContractError::Exists),
        (None, ContractCommand::Update(_) | ContractCommand::Delete) => Err(ContractError::Unknown),
        (Some(contract), ContractCommand::Update(_)) if key_holder.is_some_and(|holder| holder != contract.number) => Err(ContractError::KeyTaken),
        (Some(contract), ContractCommand::Update(fields)) => {
            Ok((*fields != contract.fields).then(|| ContractEvent::ContractUpdated(set(contract.number, fields))))
        }
        (Some(contract), ContractCommand::Delete) => {
            let deleted = ContractDeleted { contract: contract.number, personal: Personal::None, product: contract.fields.product };
            Ok(Some(ContractEvent::ContractDeleted(deleted)))
        }
    }
}

fn set(contract: i64, fields: &ContractFields) -> ContractSet {
    ContractSet {
        active: fields.active,
        can_destroy: fields.can_destroy,
        can_destroy_all: fields.can_destroy_all,
        can_generate: fields.can_generate,
        can_get_info: fields.can_get_info,
        contract,
        information: fields.information.clone(),
        key: fields.key.clone(),
        license_keys_quantity: fields.license_keys_quantity,
        name: fields.name.clone(),
        personal: Personal::None,
        product: fields.product,
    }
}

/// What the aggregate's commands need from outside.
#[derive(Clone, Copy, Debug, Default)]
pub struct ContractServices {
    pub context: Context,
    pub key_holder: Option<i64>,
}

/// The cqrs-es aggregate is the state itself; a contract that was never made is the default.
impl Aggregate for Contract {
    const TYPE: &'static str = "contract";
    type Command = ContractCommand;
    type Event = ContractEvent;
    type Error = ContractError;
    type Services = ContractServices;

    async fn handle(&mut self, command: ContractCommand, services: &ContractServices, sink: &EventSink<Self>) -> Result<(), ContractError> {
        let event = decide((self.number > 0).then_some(&*self), services.key_holder, &command, &services.context)?;
        if let Some(event) = event {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ContractEvent) {
        let state = (self.number > 0).then(|| std::mem::take(self));
        *self = Self::fold(state, &event).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    fn framework(key_holder: Option<i64>) -> TestFramework<Contract> {
        TestFramework::with(ContractServices { key_holder, ..ContractServices::default() })
    }

    fn fields() -> ContractFields {
        ContractFields { key: "C-1".into(), name: "Reseller".into(), product: 2, license_keys_quantity: 3, active: true, ..ContractFields::default() }
    }

    fn created() -> ContractEvent {
        ContractEvent::ContractCreated(set(1, &fields()))
    }

    #[test]
    fn a_contract_is_made_changed_and_deleted() {
        let create = || ContractCommand::Create(fields());
        framework(None).given_no_previous_events().when(create()).then_expect_events(vec![created()]);
        framework(Some(7)).given_no_previous_events().when(create()).then_expect_error(ContractError::KeyTaken);
        framework(Some(1)).given(vec![created()]).when(create()).then_expect_error(ContractError::Exists);
        let more = ContractFields { license_keys_quantity: 9, ..fields() };
        let updated = ContractEvent::ContractUpdated(set(1, &more));
        framework(Some(1)).given(vec![created()]).when(ContractCommand::Update(more.clone())).then_expect_events(vec![updated]);
        framework(Some(1)).given(vec![created()]).when(ContractCommand::Update(fields())).then_expect_events(vec![]);
        framework(Some(7)).given(vec![created()]).when(ContractCommand::Update(more.clone())).then_expect_error(ContractError::KeyTaken);
        framework(None).given_no_previous_events().when(ContractCommand::Update(more)).then_expect_error(ContractError::Unknown);
        let deleted = ContractEvent::ContractDeleted(ContractDeleted { contract: 1, personal: Personal::None, product: 2 });
        framework(None).given(vec![created()]).when(ContractCommand::Delete).then_expect_events(vec![deleted.clone()]);
        framework(None).given(vec![created(), deleted]).when(ContractCommand::Delete).then_expect_error(ContractError::Unknown);
    }

    #[test]
    fn a_contract_permits_what_it_says_and_no_more_keys_than_agreed() {
        let contract = Contract { number: 1, fields: ContractFields { can_generate: true, ..fields() }, deleted: false };
        assert_eq!(contract.permit(Permission::Generate), Ok(()));
        for other in [Permission::GetInfo, Permission::Destroy, Permission::DestroyAll] {
            assert_eq!(contract.permit(other), Err(ContractError::NotPermitted));
        }
        assert_eq!((contract.make_room(0, 3), contract.make_room(2, 1)), (Ok(()), Ok(())));
        assert_eq!(contract.make_room(2, 2), Err(ContractError::LimitReached));
        assert_eq!(contract.make_room(3, i64::MAX), Err(ContractError::LimitReached));
        let inactive = Contract { fields: ContractFields { active: false, ..contract.fields.clone() }, ..contract };
        assert_eq!(inactive.permit(Permission::Generate), Err(ContractError::Unknown));
    }
}
