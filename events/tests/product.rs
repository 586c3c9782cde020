//! What a product promises.

use cqrs_es::test::TestFramework;
use keyledger_events::{Personal, product::*, values::MetaKey};

fn framework() -> TestFramework<ProductAggregate> {
    TestFramework::with(ProductServices::default())
}

fn fields() -> ProductFields {
    ProductFields { name: "Doors".into(), description: "An operating system".into(), ..ProductFields::default() }
}

fn created() -> ProductEvent {
    ProductEvent::ProductCreated(ProductCreated {
        description: "An operating system".into(),
        external_reference: String::new(),
        key_pair: Some(2),
        name: "Doors".into(),
        personal: Personal::None,
        post_url: String::new(),
        product: 1,
        require_non_expired: false,
        source: Source::Internal,
        status: ProductStatus::Active,
    })
}

#[test]
fn a_product_is_created_once() {
    let create = || ProductCommand::Create { fields: fields(), key_pair: Some(2) };
    framework().given_no_previous_events().when(create()).then_expect_events(vec![created()]);
    framework().given(vec![created()]).when(create()).then_expect_error(ProductError::Exists);
}

#[test]
fn an_update_tells_all_fields_and_changes_only_what_is_given() {
    let update = |update| ProductCommand::Update(update);
    let renamed = UpdateProduct { name: Some("Gates".into()), ..UpdateProduct::default() };
    framework().given(vec![created()]).when(update(renamed)).then_expect_events(vec![ProductEvent::ProductUpdated(ProductUpdated {
        description: "An operating system".into(),
        external_reference: String::new(),
        name: "Gates".into(),
        personal: Personal::None,
        post_url: String::new(),
        product: 1,
        require_non_expired: false,
        source: Source::Internal,
        status: ProductStatus::Active,
    })]);
    framework().given(vec![created()]).when(update(UpdateProduct::default())).then_expect_events(vec![]);
    framework().given_no_previous_events().when(update(UpdateProduct::default())).then_expect_error(ProductError::Unknown);
}

#[test]
fn a_product_with_licenses_is_not_deleted() {
    TestFramework::<ProductAggregate>::with(ProductServices { licenses: 1, ..ProductServices::default() })
        .given(vec![created()])
        .when(ProductCommand::Delete)
        .then_expect_error(ProductError::HasLicenses);
    let deleted = ProductEvent::ProductDeleted(ProductDeleted { personal: Personal::None, product: 1 });
    framework().given(vec![created()]).when(ProductCommand::Delete).then_expect_events(vec![deleted.clone()]);
    framework().given(vec![created(), deleted]).when(ProductCommand::Delete).then_expect_error(ProductError::Unknown);
}

#[test]
fn meta_entries_are_made_changed_and_removed() {
    let key = || Some(MetaKey::parse("colour").unwrap());
    let set = |value: &str| ProductMetaSet { key: "colour".into(), meta: 1, personal: Personal::None, product: 1, value: value.into() };
    let create = || ProductCommand::CreateMeta { key: key(), value: Some("red".into()) };
    let made = vec![created(), ProductEvent::ProductMetaCreated(set("red"))];
    framework().given(vec![created()]).when(create()).then_expect_events(vec![ProductEvent::ProductMetaCreated(set("red"))]);
    framework().given(made.clone()).when(create()).then_expect_error(ProductError::MetaExists);
    let update = || ProductCommand::UpdateMeta { key: key(), value: Some("blue".into()) };
    framework().given(made.clone()).when(update()).then_expect_events(vec![ProductEvent::ProductMetaUpdated(set("blue"))]);
    framework().given(vec![created()]).when(update()).then_expect_error(ProductError::MetaUnknown);
    let deleted = ProductEvent::ProductMetaDeleted(ProductMetaDeleted { key: "colour".into(), meta: 1, personal: Personal::None, product: 1 });
    framework().given(made).when(ProductCommand::DeleteMeta { key: key() }).then_expect_events(vec![deleted]);
    framework().given(vec![created()]).when(ProductCommand::DeleteMeta { key: None }).then_expect_error(ProductError::MetaKeyRequired);
    framework()
        .given(vec![created()])
        .when(ProductCommand::CreateMeta { key: key(), value: None })
        .then_expect_error(ProductError::MetaValueRequired);
}
