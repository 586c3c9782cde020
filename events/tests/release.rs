//! What a release and a download token promise.

use cqrs_es::{Aggregate, test::TestFramework};
use keyledger_events::{Context, Numbers, Personal, Timestamp, download_token::*, release::*};
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_750_000_000_000_000);

fn services() -> ReleaseServices {
    ReleaseServices { context: Context { now: NOW, ..Context::default() }, product_exists: true, version_taken: false }
}

fn framework() -> TestFramework<ReleaseAggregate> {
    TestFramework::with(services())
}

fn new() -> NewRelease {
    NewRelease {
        product: 2,
        version: "1.0.2".into(),
        numeric_version: 102,
        update_summary: "Bugfixes".into(),
        changelog: "Fewer bugs".into(),
        file_name: "doors.zip".into(),
        content_type: "application/zip".into(),
        size: 3,
        sha256: "00".into(),
        object: Uuid::from_u128(7),
    }
}

fn uploaded() -> ReleaseEvent {
    ReleaseEvent::ReleaseUploaded(ReleaseUploaded {
        changelog: "Fewer bugs".into(),
        content_type: "application/zip".into(),
        file_name: "doors.zip".into(),
        numeric_version: 102,
        object: Uuid::from_u128(7),
        personal: Personal::None,
        product: 2,
        release: 1,
        sha256: "00".into(),
        size: 3,
        update_summary: "Bugfixes".into(),
        version: "1.0.2".into(),
    })
}

fn published(release_date: Timestamp) -> ReleaseEvent {
    ReleaseEvent::ReleasePublished(ReleasePublished { personal: Personal::None, product: 2, release: 1, release_date })
}

fn withdrawn() -> ReleaseEvent {
    ReleaseEvent::ReleaseWithdrawn(ReleaseWithdrawn { personal: Personal::None, product: 2, release: 1 })
}

#[test]
fn a_version_becomes_its_digits() {
    assert_eq!(numeric_version("1.0.2"), Some(102));
    assert_eq!(numeric_version("v0.9-rc1"), Some(91));
    assert_eq!(numeric_version("2024.02.27"), Some(20_240_227));
    assert_eq!(numeric_version("next"), None);
    assert_eq!(numeric_version("٣"), None);
    assert_eq!(numeric_version("1234567890.123456"), None);
}

#[test]
fn a_release_is_uploaded_under_a_version_of_its_own() {
    framework().given_no_previous_events().when(ReleaseCommand::Upload(new())).then_expect_events(vec![uploaded()]);
    framework().given(vec![uploaded()]).when(ReleaseCommand::Upload(new())).then_expect_error(ReleaseError::Exists);
    let refused = |services: ReleaseServices, error| {
        TestFramework::<ReleaseAggregate>::with(services).given_no_previous_events().when(ReleaseCommand::Upload(new())).then_expect_error(error);
    };
    refused(ReleaseServices { version_taken: true, ..services() }, ReleaseError::VersionTaken);
    refused(ReleaseServices { product_exists: false, version_taken: true, ..services() }, ReleaseError::ProductUnknown);
}

#[test]
fn a_release_is_published_unpublished_and_published_again() {
    let publish = |release_date| ReleaseCommand::Publish { release_date };
    framework().given(vec![uploaded()]).when(publish(None)).then_expect_events(vec![published(NOW)]);
    framework().given(vec![uploaded()]).when(publish(Some(Timestamp(5)))).then_expect_events(vec![published(Timestamp(5))]);
    framework().given(vec![uploaded(), published(NOW)]).when(publish(None)).then_expect_error(ReleaseError::Published);
    framework().given_no_previous_events().when(publish(None)).then_expect_error(ReleaseError::Unknown);
    let unpublished = ReleaseEvent::ReleaseUnpublished(ReleaseUnpublished { personal: Personal::None, product: 2, release: 1 });
    framework().given(vec![uploaded(), published(NOW)]).when(ReleaseCommand::Unpublish).then_expect_events(vec![unpublished.clone()]);
    framework().given(vec![uploaded()]).when(ReleaseCommand::Unpublish).then_expect_error(ReleaseError::NotPublished);
    framework().given(vec![uploaded(), published(NOW), unpublished]).when(publish(None)).then_expect_events(vec![published(NOW)]);
}

#[test]
fn a_withdrawn_release_is_as_good_as_none() {
    framework().given(vec![uploaded(), published(NOW)]).when(ReleaseCommand::Withdraw).then_expect_events(vec![withdrawn()]);
    for command in [ReleaseCommand::Withdraw, ReleaseCommand::Unpublish, ReleaseCommand::Publish { release_date: None }] {
        framework().given(vec![uploaded(), published(NOW), withdrawn()]).when(command).then_expect_error(ReleaseError::Unknown);
    }
    let mut release = ReleaseAggregate::default();
    for event in [uploaded(), published(NOW), withdrawn()] {
        release.apply(event);
    }
    assert!(release.0.is_some_and(|release| release.withdrawn && !release.published));
}

#[test]
fn an_update_changes_the_texts_that_are_given() {
    let update = |changelog: Option<&str>| ReleaseCommand::Update { update_summary: None, changelog: changelog.map(str::to_owned) };
    let updated = ReleaseEvent::ReleaseUpdated(ReleaseUpdated {
        changelog: "None".into(),
        personal: Personal::None,
        product: 2,
        release: 1,
        update_summary: "Bugfixes".into(),
    });
    framework().given(vec![uploaded()]).when(update(Some("None"))).then_expect_events(vec![updated]);
    framework().given(vec![uploaded()]).when(update(Some("Fewer bugs"))).then_expect_events(vec![]);
    framework().given(vec![uploaded()]).when(update(None)).then_expect_events(vec![]);
}

fn at(micros: i64) -> Context {
    Context { now: Timestamp(NOW.0 + micros), next: Numbers { download_token: 7, ..Numbers::default() } }
}

fn tokens(micros: i64) -> TestFramework<DownloadTokenAggregate> {
    TestFramework::with(at(micros))
}

fn issue() -> DownloadTokenCommand {
    DownloadTokenCommand::Issue { hash: "ab".into(), license: 1, product: 2, release: 5 }
}

fn issued() -> DownloadTokenEvent {
    DownloadTokenEvent::TokenIssued(TokenIssued {
        expires_at: Timestamp(NOW.0 + LIFETIME_MICROS),
        hash: "ab".into(),
        license: 1,
        personal: Personal::None,
        product: 2,
        release: 5,
        token: 7,
    })
}

fn claimed(claim: i64, micros: i64) -> DownloadTokenEvent {
    let until = Timestamp(NOW.0 + micros + CLAIM_MICROS);
    DownloadTokenEvent::TokenClaimed(TokenClaimed { claim, license: 1, personal: Personal::None, product: 2, token: 7, until })
}

fn given_back(claim: i64) -> DownloadTokenEvent {
    DownloadTokenEvent::TokenReleased(TokenReleased { claim, license: 1, personal: Personal::None, product: 2, token: 7 })
}

fn used(claim: i64) -> DownloadTokenEvent {
    DownloadTokenEvent::TokenUsed(TokenUsed { claim, license: 1, personal: Personal::None, product: 2, token: 7 })
}

#[test]
fn a_token_is_claimed_by_one_transfer_at_a_time() {
    tokens(0).given_no_previous_events().when(issue()).then_expect_events(vec![issued()]);
    tokens(0).given(vec![issued()]).when(issue()).then_expect_error(DownloadTokenError::Exists);
    tokens(5).given(vec![issued()]).when(DownloadTokenCommand::Claim).then_expect_events(vec![claimed(1, 5)]);
    tokens(6).given(vec![issued(), claimed(1, 5)]).when(DownloadTokenCommand::Claim).then_expect_error(DownloadTokenError::Claimed);
    tokens(6).given(vec![issued(), claimed(1, 5), given_back(1)]).when(DownloadTokenCommand::Claim).then_expect_events(vec![claimed(2, 6)]);
    // Whoever held it is gone.
    let later = 5 + CLAIM_MICROS;
    tokens(later).given(vec![issued(), claimed(1, 5)]).when(DownloadTokenCommand::Claim).then_expect_events(vec![claimed(2, later)]);
    tokens(LIFETIME_MICROS).given(vec![issued()]).when(DownloadTokenCommand::Claim).then_expect_error(DownloadTokenError::Expired);
    tokens(0).given_no_previous_events().when(DownloadTokenCommand::Claim).then_expect_error(DownloadTokenError::Unknown);
}

#[test]
fn a_transfer_keeps_its_claim_and_ends_it() {
    let renew = |claim| DownloadTokenCommand::Renew { claim };
    let give_back = |claim| DownloadTokenCommand::GiveBack { claim };
    let use_up = |claim| DownloadTokenCommand::Use { claim };
    let held = || vec![issued(), claimed(1, 5)];
    tokens(9).given(held()).when(renew(1)).then_expect_events(vec![claimed(1, 9)]);
    tokens(9).given(held()).when(give_back(1)).then_expect_events(vec![given_back(1)]);
    tokens(9).given(held()).when(use_up(1)).then_expect_events(vec![used(1)]);
    // A transfer may outlast the token.
    let late = LIFETIME_MICROS - 1;
    tokens(LIFETIME_MICROS + 1).given(vec![issued(), claimed(1, late)]).when(renew(1)).then_expect_events(vec![claimed(1, LIFETIME_MICROS + 1)]);
    // Another has it now, or the time is over.
    let taken_over = || vec![issued(), claimed(1, 5), claimed(2, 5 + CLAIM_MICROS)];
    for command in [renew(1), give_back(1), use_up(1)] {
        tokens(6 + CLAIM_MICROS).given(taken_over()).when(command).then_expect_error(DownloadTokenError::ClaimEnded);
    }
    tokens(5 + CLAIM_MICROS).given(held()).when(renew(1)).then_expect_error(DownloadTokenError::ClaimEnded);
    tokens(5 + CLAIM_MICROS).given(held()).when(use_up(1)).then_expect_events(vec![used(1)]);
    // Used is used.
    for command in [DownloadTokenCommand::Claim, renew(1), give_back(1), use_up(1)] {
        tokens(9).given(vec![issued(), claimed(1, 5), used(1)]).when(command).then_expect_error(DownloadTokenError::Unknown);
    }
}
