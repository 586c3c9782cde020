//! Key pairs, slugs, switches, settings and license keys, as an operator changes them; and that another node signs with a
//! new key pair at once.

use keyledger::{
    evidence,
    ledger::{Command, CommandResult, ProductName},
    signer::{Bits, Signer, verify_response},
};
use keyledger_events::{
    key_pair::KeyPairError,
    license::LicenseError,
    product::{ProductError, ProductFields},
    settings::ChangeSettings,
    values::Slug,
};
use rsa::pkcs8::EncodePrivateKey as _;

use super::*;

both_backends!(
    a_rotated_key_pair_signs_on_every_node_at_once,
    an_imported_key_pair_signs_what_its_public_half_verifies,
    a_key_pair_is_retired_when_it_signs_no_more,
    a_slug_belongs_to_one_product,
    switches_and_settings_are_changed,
    a_license_key_is_replaced,
);

async fn signer(ledger: &Ledger) -> Signer {
    Signer::new(Arc::clone(ledger.store()), Arc::clone(ledger.vault()), 2).await.unwrap()
}

async fn new_product(fixture: &Fixture, signer: &Signer, name: &str) -> i64 {
    let fields = ProductFields { name: name.into(), description: "x".into(), ..ProductFields::default() };
    let key_pair = Some(signer.generate(Bits::B2048).await.unwrap());
    match fixture.run(Command::CreateProduct { fields, key_pair }).await {
        CommandResult::ProductCreated { product } => product,
        other => panic!("{other:?}"),
    }
}

async fn signing(ledger: &Ledger, product: i64) -> i64 {
    ledger.product(product).await.unwrap().unwrap().product.signing_key_pair().unwrap()
}

async fn public_key(ledger: &Ledger, number: i64) -> String {
    ledger.key_pair(number).await.unwrap().unwrap().key_pair.public_key
}

async fn expect_intact(fixture: &Fixture) {
    evidence::verify(fixture.ledger.store(), fixture.ledger.vault(), Vec::new(), &mut |_, _| {})
        .await
        .expect("incremental rows are the rebuilt ones");
}

async fn a_rotated_key_pair_signs_on_every_node_at_once(backend: Backend) {
    let fixture = Fixture::new(backend).await;
    let one = signer(&fixture.ledger).await;
    let product = new_product(&fixture, &one, "Doors").await;
    let other_ledger = fixture.reopened(false).await.unwrap();
    let other = signer(&other_ledger).await;
    let first = signing(&other_ledger, product).await;
    assert!(verify_response(&public_key(&other_ledger, first).await, "abc", &other.sign(Some(first), b"abc").await.unwrap()));

    let pair = one.generate(Bits::B3072).await.unwrap();
    assert_eq!(pair.algorithm, "RSA-3072");
    let add = |make_current| Command::AddKeyPair { product, key_pair: pair.clone(), make_current };
    let CommandResult::KeyPairAdded { number } = fixture.run(add(false)).await else { panic!("not added") };
    assert_eq!(signing(&other_ledger, product).await, first, "not the current one yet");
    assert_eq!(fixture.run(Command::UseKeyPair { product, key_pair: number }).await, CommandResult::KeyPairUsed);
    assert_eq!(signing(&other_ledger, product).await, number);
    let signature = other.sign(Some(number), b"abc").await.unwrap();
    assert!(verify_response(&public_key(&fixture.ledger, number).await, "abc", &signature));
    // The earlier one still verifies what it signed, and can be made the current one again.
    assert_eq!(execute(&other_ledger, Command::UseKeyPair { product, key_pair: first }).await.unwrap(), CommandResult::KeyPairUsed);
    assert_eq!(signing(&fixture.ledger, product).await, first);
    let CommandResult::KeyPairAdded { number } = fixture.run(add(true)).await else { panic!("not added") };
    assert_eq!(signing(&fixture.ledger, product).await, number);
    assert_eq!(fixture.ledger.key_pairs_of(product).await.unwrap().len(), 3);
    assert_eq!(
        fixture.run(Command::AddKeyPair { product: 99, key_pair: pair.clone(), make_current: true }).await,
        CommandResult::ProductRefused(ProductError::Unknown)
    );
    expect_intact(&fixture).await;
}

async fn an_imported_key_pair_signs_what_its_public_half_verifies(backend: Backend) {
    let fixture = Fixture::new(backend).await;
    let signer = signer(&fixture.ledger).await;
    let product = new_product(&fixture, &signer, "Doors").await;
    // A key of another system: made there, by another implementation.
    let private = tokio::task::spawn_blocking(|| rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap()).await.unwrap();
    let pem = private.to_pkcs8_pem(rsa::pkcs8::LineEnding::LF).unwrap();
    let key_pair = signer.import(pem.to_string()).await.unwrap();
    assert!(signer.import("no key".into()).await.is_err());
    let CommandResult::KeyPairAdded { number } = fixture.run(Command::AddKeyPair { product, key_pair, make_current: true }).await else {
        panic!("not added")
    };
    let signature = signer.sign(Some(number), b"abc").await.unwrap();
    assert!(verify_response(&public_key(&fixture.ledger, number).await, "abc", &signature));
    expect_intact(&fixture).await;
}

async fn a_key_pair_is_retired_when_it_signs_no_more(backend: Backend) {
    let fixture = Fixture::new(backend).await;
    let signer = signer(&fixture.ledger).await;
    let (product, other) = (new_product(&fixture, &signer, "Doors").await, new_product(&fixture, &signer, "Gates").await);
    let first = signing(&fixture.ledger, product).await;
    let retire = |key_pair| Command::RetireKeyPair { key_pair };
    let refused = CommandResult::KeyPairRefused;
    assert_eq!(fixture.run(retire(first)).await, refused(KeyPairError::Current));
    assert_eq!(fixture.run(retire(1)).await, refused(KeyPairError::Current), "the global one");
    assert_eq!(fixture.run(retire(99)).await, refused(KeyPairError::Unknown));
    let key_pair = signer.generate(Bits::B2048).await.unwrap();
    fixture.run(Command::AddKeyPair { product, key_pair, make_current: true }).await;
    assert_eq!(fixture.run(retire(first)).await, CommandResult::KeyPairRetired);
    assert_eq!(fixture.run(retire(first)).await, refused(KeyPairError::Retired));
    let use_pair = |product, key_pair| Command::UseKeyPair { product, key_pair };
    assert_eq!(fixture.run(use_pair(product, first)).await, CommandResult::ProductRefused(ProductError::KeyPairRetired));
    let theirs = signing(&fixture.ledger, other).await;
    assert_eq!(fixture.run(use_pair(product, theirs)).await, CommandResult::ProductRefused(ProductError::KeyPairUnknown));
    let row = fixture.ledger.key_pair(first).await.unwrap().unwrap();
    assert!(row.key_pair.retired && row.retired_at.is_some(), "its public half stays");
    assert_eq!(fixture.ledger.key_pairs().await.unwrap().len(), 4);
    expect_intact(&fixture).await;
}

async fn a_slug_belongs_to_one_product(backend: Backend) {
    let fixture = Fixture::new(backend).await;
    let new = async |name: &str| {
        let fields = ProductFields { name: name.into(), description: "x".into(), ..ProductFields::default() };
        fixture.run(Command::CreateProduct { fields, key_pair: None }).await
    };
    new("Doors").await;
    new("Gates").await;
    let set = |product, slug: &str| Command::SetProductSlug { product, slug: Slug::parse(slug).unwrap() };
    let found = async |slug: &str| fixture.ledger.find_product(&ProductName::Slug(slug.into())).await.unwrap().map(|row| row.product.number);
    assert_eq!((found("doors").await, found("gates").await), (Some(1), Some(2)));
    assert_eq!(fixture.run(set(2, "doors")).await, CommandResult::ProductRefused(ProductError::SlugTaken));
    assert_eq!(fixture.run(set(1, "windows")).await, CommandResult::ProductSlugSet);
    assert_eq!(fixture.run(set(2, "doors")).await, CommandResult::ProductSlugSet, "it is free now");
    assert_eq!((found("windows").await, found("doors").await, found("gates").await), (Some(1), Some(2), None));
    // Two that exchange theirs at the same time: whichever order they come in, no slug ever has two products.
    let (a, b) = tokio::join!(execute(&fixture.ledger, set(1, "a")), execute(&fixture.ledger, set(2, "windows")));
    assert_eq!((a.unwrap(), found("a").await), (CommandResult::ProductSlugSet, Some(1)));
    let taken = CommandResult::ProductRefused(ProductError::SlugTaken);
    assert!(match b.unwrap() {
        CommandResult::ProductSlugSet => found("windows").await == Some(2),
        other => other == taken && found("doors").await == Some(2),
    });
    assert_eq!(fixture.run(set(99, "x")).await, CommandResult::ProductRefused(ProductError::Unknown));
    expect_intact(&fixture).await;
}

async fn switches_and_settings_are_changed(backend: Backend) {
    let fixture = Fixture::with_license(backend, 1).await;
    let switches = async || {
        let product = fixture.ledger.product(1).await.unwrap().unwrap().product;
        (product.changelog, product.api_download)
    };
    assert_eq!(switches().await, (true, true), "on unless switched off");
    let set = |changelog, api_download| Command::SetProductSwitches { product: 1, changelog, api_download };
    assert_eq!(fixture.run(set(Some(false), None)).await, CommandResult::ProductSwitchesSet);
    assert_eq!(switches().await, (false, true));
    assert_eq!(fixture.run(set(Some(true), Some(false))).await, CommandResult::ProductSwitchesSet);
    assert_eq!(switches().await, (true, false));
    assert!(fixture.ledger.settings().await.unwrap().changelog);
    for changelog in [false, true, true, false] {
        let change = Command::ChangeSettings(ChangeSettings { changelog: Some(changelog) });
        assert_eq!(fixture.run(change).await, CommandResult::SettingsChanged);
        assert_eq!(fixture.ledger.settings().await.unwrap().changelog, changelog);
    }
    let head = fixture.ledger.store().head().await.unwrap();
    let events = replay::recorded(fixture.ledger.store(), fixture.ledger.vault(), 0, head.next_position).await.unwrap();
    let settings: Vec<i64> = events.iter().filter(|event| matches!(event.event, Event::Settings(_))).map(|event| event.sequence).collect();
    assert_eq!(settings, [1, 2, 3], "one stream; what changes nothing is no event");
    expect_intact(&fixture).await;
}

async fn a_license_key_is_replaced(backend: Backend) {
    let fixture = Fixture::with_license(backend, 1).await;
    fixture.run(create(&["KEY-2"], 1)).await;
    assert_eq!(fixture.run(activate("a.example")).await, CommandResult::Activated);
    let replace = |from: &str, to: &str| Command::ReplaceKey { key: key(from), new_key: key(to) };
    let refused = CommandResult::LicenseRefused;
    assert_eq!(fixture.run(replace("KEY-1", "KEY-2")).await, refused(LicenseError::KeyTaken));
    assert_eq!(fixture.run(replace("KEY-9", "KEY-8")).await, refused(LicenseError::Unknown));
    assert_eq!(fixture.run(replace("KEY-1", "NEW-1")).await, CommandResult::KeyReplaced);
    assert!(fixture.ledger.find_license(&key("KEY-1"), None).await.unwrap().is_none());
    let identifier = Identifier::parse("a.example").unwrap();
    let view = fixture.ledger.find_license(&key("NEW-1"), Some(&identifier)).await.unwrap().unwrap();
    assert_eq!(view.license.license.key_replaced_at.unwrap().0, START);
    assert!(view.license.license.is_active(&view.activation.unwrap().activation), "it is the same license");
    // The old key is free: for a new license, or to be taken back.
    assert_eq!(fixture.run(create(&["KEY-1"], 1)).await, CommandResult::LicensesCreated { created: 1, duplicate: 0 });
    assert_eq!(fixture.run(replace("NEW-1", "KEY-1")).await, refused(LicenseError::KeyTaken));
    // Both at once, in one batch or two: one of them gets the key.
    let (a, b) = tokio::join!(execute(&fixture.ledger, replace("NEW-1", "SAME")), execute(&fixture.ledger, replace("KEY-2", "SAME")));
    let results = [a.unwrap(), b.unwrap()];
    assert!(results.contains(&CommandResult::KeyReplaced) && results.contains(&refused(LicenseError::KeyTaken)), "{results:?}");
    expect_intact(&fixture).await;
}
