//! Random commands, over few enough keys and identifiers that they meet.

use keyledger::ledger::{Command, LicenseChanges, OwnerInput};
use keyledger_events::{
    block::BlockKind,
    license::Status,
    product::{ProductFields, UpdateProduct},
    values::{Identifier, LicenseKey, MetaKey},
};
use proptest::{collection::vec, option, prelude::*, sample::select};

#[derive(Clone, Debug)]
pub struct Step {
    pub seconds_before: i64,
    pub command: Command,
}

fn key() -> impl Strategy<Value = LicenseKey> {
    (0..6u8).prop_map(|n| LicenseKey::parse(&format!("KEY-{n}")).unwrap())
}

fn identifier() -> impl Strategy<Value = Option<Identifier>> {
    option::weighted(0.95, (0..4u8).prop_map(|n| Identifier::parse(&format!("{n}.example")).unwrap()))
}

fn blocked() -> impl Strategy<Value = String> {
    (0..4u8).prop_map(|n| format!("{n}.example"))
}

fn meta_key() -> impl Strategy<Value = Option<MetaKey>> {
    option::weighted(0.9, (0..2u8).prop_map(|n| MetaKey::parse(&format!("meta-{n}")).unwrap()))
}

fn value() -> impl Strategy<Value = Option<String>> {
    option::weighted(0.9, select(vec!["red".to_owned(), "blaue Grüße".to_owned()]))
}

fn name() -> impl Strategy<Value = String> {
    select(vec!["Jane".to_owned(), "Zoë".to_owned()])
}

fn email() -> impl Strategy<Value = String> {
    select(vec!["jane@shop.example".to_owned(), "zoe@shop.example".to_owned(), "JANE@shop.example".to_owned()])
}

fn owner() -> impl Strategy<Value = OwnerInput> {
    (option::of(name()), option::of(email())).prop_map(|(name, email)| OwnerInput { name, email })
}

fn product() -> impl Strategy<Value = i64> {
    1..4i64
}

fn status() -> impl Strategy<Value = Status> {
    select(Status::ALL.to_vec())
}

fn changes() -> impl Strategy<Value = LicenseChanges> {
    let parts = (
        option::weighted(0.2, product()),
        option::weighted(0.3, option::of(name())),
        option::weighted(0.3, option::of(email())),
        option::weighted(0.3, 0..4i64),
        option::weighted(0.3, 0..3i64),
        option::weighted(0.5, status()),
    );
    parts.prop_map(|(product, owner_name, owner_email, activation_limit, validity_days, status)| LicenseChanges {
        product,
        owner_name,
        owner_email,
        activation_limit,
        validity_days,
        status,
        assigned_at: None,
    })
}

fn command() -> impl Strategy<Value = Command> {
    let create =
        (vec(key(), 1..4), product(), owner(), 0..4i64, 0..3i64, status()).prop_map(|(keys, product, owner, limit, validity_days, status)| {
            Command::CreateLicenses { keys, product, owner, activation_limit: limit, validity_days, status, assigned_at: None }
        });
    let product_fields = name().prop_map(|name| ProductFields { name, description: "x".into(), ..ProductFields::default() });
    let update_product = (product(), option::of(name()), option::of(any::<bool>())).prop_map(|(product, name, active)| Command::UpdateProduct {
        product,
        update: UpdateProduct {
            name,
            status: active.map(|active| {
                if active { keyledger_events::product::ProductStatus::Active } else { keyledger_events::product::ProductStatus::Inactive }
            }),
            ..UpdateProduct::default()
        },
    });
    prop_oneof![
        2 => product_fields.prop_map(|fields| Command::CreateProduct { fields, key_pair: None }),
        1 => update_product,
        1 => product().prop_map(|product| Command::DeleteProduct { product }),
        5 => create,
        4 => (key(), owner()).prop_map(|(key, owner)| Command::Assign { key, owner }),
        3 => (key(), owner(), identifier()).prop_map(|(key, owner, identifier)| Command::AssignAndActivate { key, owner, identifier, post_url: None }),
        8 => (key(), identifier()).prop_map(|(key, identifier)| Command::Activate { key, identifier, post_url: None }),
        4 => (key(), identifier()).prop_map(|(key, identifier)| Command::Deactivate { key, identifier }),
        5 => (key(), changes()).prop_map(|(key, changes)| Command::UpdateLicense { key, changes }),
        2 => key().prop_map(|key| Command::DeleteLicense { key }),
        1 => (key(), key()).prop_map(|(key, new_key)| Command::ReplaceKey { key, new_key }),
        1 => blocked().prop_map(|value| Command::AddBlock { kind: BlockKind::Identifier, value }),
        1 => blocked().prop_map(|value| Command::RemoveBlock { kind: BlockKind::Identifier, value }),
        2 => (key(), identifier(), meta_key(), value())
            .prop_map(|(key, identifier, meta_key, value)| Command::CreateLicenseMeta { key, identifier, meta_key, value }),
        2 => (key(), identifier(), meta_key(), value())
            .prop_map(|(key, identifier, meta_key, value)| Command::UpdateLicenseMeta { key, identifier, meta_key, value }),
        1 => (key(), identifier(), meta_key()).prop_map(|(key, identifier, meta_key)| Command::DeleteLicenseMeta { key, identifier, meta_key }),
        1 => (product(), meta_key(), value()).prop_map(|(product, meta_key, value)| Command::CreateProductMeta { product, meta_key, value }),
        1 => (product(), meta_key(), value()).prop_map(|(product, meta_key, value)| Command::UpdateProductMeta { product, meta_key, value }),
        1 => (product(), meta_key()).prop_map(|(product, meta_key)| Command::DeleteProductMeta { product, meta_key }),
    ]
}

/// A command after some time; now and then a day passes, so that licenses expire.
pub fn step() -> impl Strategy<Value = Step> {
    let pause = prop_oneof![9 => 0..40i64, 1 => Just(90_000i64)];
    (pause, command()).prop_map(|(seconds_before, command)| Step { seconds_before, command })
}
