//! What a product promises.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use cqrs_es::test::TestFramework;
use keyledger_events::{
    Personal,
    key_pair::KeyPair,
    product::*,
    values::{MetaKey, Slug},
};

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

fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

fn slug_set(slug: &str) -> ProductEvent {
    ProductEvent::ProductSlugSet(ProductSlugSet { personal: Personal::None, product: 1, slug: slug.into() })
}

fn with_slug_holder(product: i64) -> TestFramework<ProductAggregate> {
    TestFramework::with(ProductServices { slug_holder: Some(product), ..ProductServices::default() })
}

#[test]
fn a_product_is_created_once() {
    let create = || ProductCommand::Create { fields: fields(), key_pair: Some(2), slug: slug("doors") };
    framework().given_no_previous_events().when(create()).then_expect_events(vec![created(), slug_set("doors")]);
    framework().given(vec![created()]).when(create()).then_expect_error(ProductError::Exists);
    with_slug_holder(9).given_no_previous_events().when(create()).then_expect_error(ProductError::SlugTaken);
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

#[test]
fn a_slug_is_changed_to_one_that_no_other_product_has() {
    let set = |text| ProductCommand::SetSlug { slug: slug(text) };
    let made = || vec![created(), slug_set("doors")];
    framework().given(made()).when(set("gates")).then_expect_events(vec![slug_set("gates")]);
    with_slug_holder(1).given(made()).when(set("doors")).then_expect_events(vec![]);
    with_slug_holder(9).given(made()).when(set("gates")).then_expect_error(ProductError::SlugTaken);
    framework().given_no_previous_events().when(set("gates")).then_expect_error(ProductError::Unknown);
}

#[test]
fn a_new_product_gets_the_first_slug_that_is_free() {
    let free = |taken: &[&str]| free_slug("Doors 98", 17, |slug| taken.contains(&slug)).as_str().to_owned();
    assert_eq!(free(&[]), "doors-98");
    assert_eq!(free(&["doors-98", "doors-98-3"]), "doors-98-2");
    assert_eq!(free_slug("Doors", 17, |_| true).as_str(), "doors--17");
    assert_eq!(slugs_for("Doors").iter().map(Slug::as_str).collect::<Vec<_>>()[..2], ["doors", "doors-2"]);
}

#[test]
fn switches_are_changed_one_by_one() {
    let set = |changelog, api_download| ProductCommand::SetSwitches { changelog, api_download };
    let changed = |changelog, api_download| {
        ProductEvent::ProductSwitchesChanged(ProductSwitchesChanged { api_download, changelog, personal: Personal::None, product: 1 })
    };
    framework().given(vec![created()]).when(set(Some(true), Some(true))).then_expect_events(vec![]);
    framework().given(vec![created()]).when(set(Some(false), None)).then_expect_events(vec![changed(false, true)]);
    let off = vec![created(), changed(false, true)];
    framework().given(off.clone()).when(set(None, Some(false))).then_expect_events(vec![changed(false, false)]);
    framework().given(off).when(set(None, None)).then_expect_events(vec![]);
}

#[test]
fn only_a_key_pair_of_the_product_that_is_not_retired_can_sign() {
    let pair = KeyPair { number: 5, product: Some(1), ..KeyPair::default() };
    let with = |key_pair| TestFramework::<ProductAggregate>::with(ProductServices { key_pair, ..ProductServices::default() });
    let command = || ProductCommand::UseKeyPair { key_pair: 5 };
    let changed = ProductEvent::ProductKeyPairChanged(ProductKeyPairChanged { from: Some(2), personal: Personal::None, product: 1, to: 5 });
    with(Some(pair.clone())).given(vec![created()]).when(command()).then_expect_events(vec![changed.clone()]);
    with(Some(pair.clone())).given(vec![created(), changed]).when(command()).then_expect_events(vec![]);
    let retired = KeyPair { retired: true, ..pair.clone() };
    with(Some(retired)).given(vec![created()]).when(command()).then_expect_error(ProductError::KeyPairRetired);
    for unknown in [None, Some(KeyPair { product: Some(2), ..pair.clone() }), Some(KeyPair { product: None, ..pair })] {
        with(unknown).given(vec![created()]).when(command()).then_expect_error(ProductError::KeyPairUnknown);
    }
}
