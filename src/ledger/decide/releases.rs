//! Releases, and tokens to download them.

use keyledger_events::{
    Event, SubjectKind,
    download_token::{self, DownloadTokenCommand, DownloadTokenError, DownloadTokenEvent},
    license::{self, LicenseCommand, LicenseError},
    release::{self, ReleaseAtHand, ReleaseCommand, ReleaseError},
    values::{Identifier, LicenseKey},
};
use keyledger_projections::{DownloadTokenRow, LicenseRow, ProductRow, ReleaseRow, RowKey, Table};

use super::{Executed, is_live_product, key_pair_of, on_license, outcome};
use crate::ledger::needs::{push_license_number, push_product};
use crate::{
    ledger::{
        command::{CommandResult, DistributionCommand},
        workspace::{Staged, Workspace, internal},
    },
    store::Lookups,
};

pub(in crate::ledger) fn needs(command: &DistributionCommand, lookups: &mut Lookups) {
    match command {
        DistributionCommand::UploadRelease(new) => {
            push_product(lookups, new.product);
            lookups.releases.push((new.product, new.numeric_version));
        }
        DistributionCommand::UpdateRelease { release, .. }
        | DistributionCommand::PublishRelease { release, .. }
        | DistributionCommand::UnpublishRelease { release }
        | DistributionCommand::WithdrawRelease { release } => lookups.rows.push(RowKey(Table::Release, *release)),
        DistributionCommand::IssueDownloadToken { license, release, .. } => {
            push_license_number(lookups, *license);
            lookups.rows.push(RowKey(Table::Release, *release));
        }
        DistributionCommand::ClaimDownloadToken { token, license, release }
        | DistributionCommand::UseDownloadToken { token, license, release, .. } => {
            push_license_number(lookups, *license);
            lookups.rows.extend([RowKey(Table::DownloadToken, *token), RowKey(Table::Release, *release)]);
        }
        DistributionCommand::RenewDownloadToken { token, license, .. } | DistributionCommand::GiveBackDownloadToken { token, license, .. } => {
            push_license_number(lookups, *license);
            lookups.rows.push(RowKey(Table::DownloadToken, *token));
        }
    }
}

pub(in crate::ledger) fn further_needs(command: &DistributionCommand, workspace: &Workspace<'_>, lookups: &mut Lookups) {
    match command {
        DistributionCommand::PublishRelease { release, .. } => {
            if let Some(row) = workspace.row::<ReleaseRow>(Table::Release, *release) {
                push_product(lookups, row.release.product);
            }
        }
        DistributionCommand::IssueDownloadToken { license, .. }
        | DistributionCommand::ClaimDownloadToken { license, .. }
        | DistributionCommand::RenewDownloadToken { license, .. }
        | DistributionCommand::GiveBackDownloadToken { license, .. }
        | DistributionCommand::UseDownloadToken { license, .. } => {
            if let Some(row) = workspace.row::<LicenseRow>(Table::License, *license) {
                push_product(lookups, row.license.product);
                lookups.subjects.extend(row.license.owner.map(|owner| (SubjectKind::Owner, owner)));
            }
        }
        DistributionCommand::UploadRelease(_)
        | DistributionCommand::UpdateRelease { .. }
        | DistributionCommand::UnpublishRelease { .. }
        | DistributionCommand::WithdrawRelease { .. } => {}
    }
}

pub(super) fn execute(staged: &mut Staged<'_, '_>, command: &DistributionCommand) -> Executed {
    match command {
        DistributionCommand::UploadRelease(new) => {
            let number = staged.context().next.release;
            on_release(staged, number, &ReleaseCommand::Upload(new.clone()), CommandResult::ReleaseUploaded { release: number })
        }
        DistributionCommand::UpdateRelease { release, update_summary, changelog } => {
            let command = ReleaseCommand::Update { update_summary: update_summary.clone(), changelog: changelog.clone() };
            on_release(staged, *release, &command, CommandResult::ReleaseUpdated)
        }
        DistributionCommand::PublishRelease { release, release_date } => {
            let command = ReleaseCommand::Publish { release_date: *release_date };
            on_release(staged, *release, &command, CommandResult::ReleasePublished)
        }
        DistributionCommand::UnpublishRelease { release } => {
            on_release(staged, *release, &ReleaseCommand::Unpublish, CommandResult::ReleaseUnpublished)
        }
        DistributionCommand::WithdrawRelease { release } => on_release(staged, *release, &ReleaseCommand::Withdraw, CommandResult::ReleaseWithdrawn),
        DistributionCommand::IssueDownloadToken { license, release, hash } => issue(staged, *license, *release, hash),
        DistributionCommand::ClaimDownloadToken { token, license, release } => {
            if let Some(refused) = no_download(staged, *license, *release) {
                return outcome(staged, refused, None);
            }
            on_token(staged, *token, &DownloadTokenCommand::Claim)
        }
        DistributionCommand::RenewDownloadToken { token, claim, .. } => on_token(staged, *token, &DownloadTokenCommand::Renew { claim: *claim }),
        DistributionCommand::GiveBackDownloadToken { token, claim, .. } => {
            on_token(staged, *token, &DownloadTokenCommand::GiveBack { claim: *claim })
        }
        DistributionCommand::UseDownloadToken { token, license, release, claim } => {
            let used = on_token(staged, *token, &DownloadTokenCommand::Use { claim: *claim })?;
            if used.result != CommandResult::DownloadTokenUsed {
                return Ok(used);
            }
            let row = staged.row::<LicenseRow>(Table::License, *license).ok_or_else(|| internal("a token's license is missing"))?;
            let event = license::downloaded(&row.license, *release, None);
            staged.append(Event::License(event))?;
            outcome(staged, used.result, used.key_pair)
        }
    }
}

/// A download that begins: the checks of the license once more, under the lock.
pub(super) fn record_download(staged: &mut Staged<'_, '_>, key: &LicenseKey, identifier: Option<&Identifier>, release: i64) -> Executed {
    let product = staged.workspace.license(key.as_str()).map(|row| row.license.product);
    let Some(product) = product else {
        return outcome(staged, CommandResult::LicenseRefused(LicenseError::Unknown), None);
    };
    let key_pair = key_pair_of(staged, product);
    let row = staged.row::<ReleaseRow>(Table::Release, release).map(|row| &row.release);
    if !row.is_some_and(|release| release.published && release.product == product) {
        return outcome(staged, CommandResult::ReleaseRefused(ReleaseError::NotPublished), key_pair);
    }
    let require_non_expired = staged.row::<ProductRow>(Table::Product, product).is_some_and(|row| row.product.require_non_expired);
    let command = LicenseCommand::Download { identifier: identifier.cloned(), release, require_non_expired };
    on_license(staged, key, identifier, None, &command)
}

fn on_release(staged: &mut Staged<'_, '_>, number: i64, command: &ReleaseCommand, done: CommandResult) -> Executed {
    let release = staged.row::<ReleaseRow>(Table::Release, number).map(|row| &row.release);
    let (product, version_taken) = match command {
        ReleaseCommand::Upload(new) => (Some(new.product), staged.workspace.release(new.product, new.numeric_version).is_some()),
        ReleaseCommand::Update { .. } | ReleaseCommand::Publish { .. } | ReleaseCommand::Unpublish | ReleaseCommand::Withdraw => {
            (release.map(|release| release.product), false)
        }
    };
    let product_exists = product.is_some_and(|product| is_live_product(staged, product));
    let result = match release::decide(ReleaseAtHand { release, product_exists, version_taken }, command, &staged.context()) {
        Ok(events) => {
            for event in events {
                staged.append(Event::Release(event))?;
            }
            done
        }
        Err(error) => CommandResult::ReleaseRefused(error),
    };
    outcome(staged, result, None)
}

/// Why a release can't be downloaded with a license that is named by a token; `None` where it can.
fn no_download(staged: &Staged<'_, '_>, license: i64, release: i64) -> Option<CommandResult> {
    let Some(row) = staged.row::<LicenseRow>(Table::License, license).filter(|row| !row.license.deleted) else {
        return Some(CommandResult::LicenseRefused(LicenseError::Unknown));
    };
    let product = staged.row::<ProductRow>(Table::Product, row.license.product);
    if let Err(error) = license::check_access(&row.license, product.is_some_and(|row| row.product.is_active()), staged.context().now) {
        return Some(CommandResult::LicenseRefused(error));
    }
    let release = staged.row::<ReleaseRow>(Table::Release, release).map(|row| &row.release);
    let is_published = release.is_some_and(|release| release.published && release.product == row.license.product);
    (!is_published).then_some(CommandResult::ReleaseRefused(ReleaseError::NotPublished))
}

fn issue(staged: &mut Staged<'_, '_>, license: i64, release: i64, hash: &str) -> Executed {
    if let Some(refused) = no_download(staged, license, release) {
        return outcome(staged, refused, None);
    }
    let product = staged.row::<LicenseRow>(Table::License, license).map_or(0, |row| row.license.product);
    let number = staged.context().next.download_token;
    on_token(staged, number, &DownloadTokenCommand::Issue { hash: hash.to_owned(), license, product, release })
}

fn on_token(staged: &mut Staged<'_, '_>, number: i64, command: &DownloadTokenCommand) -> Executed {
    let token = staged.row::<DownloadTokenRow>(Table::DownloadToken, number).map(|row| &row.token);
    let result = match download_token::decide(token, command, &staged.context()) {
        Ok(event) => {
            let result = match &event {
                DownloadTokenEvent::TokenIssued(event) => CommandResult::DownloadTokenIssued { token: event.token, expires_at: event.expires_at },
                DownloadTokenEvent::TokenClaimed(event) => CommandResult::DownloadTokenClaimed { claim: event.claim, until: event.until },
                DownloadTokenEvent::TokenReleased(_) => CommandResult::DownloadTokenGivenBack,
                DownloadTokenEvent::TokenUsed(_) => CommandResult::DownloadTokenUsed,
            };
            staged.append(Event::DownloadToken(event))?;
            result
        }
        Err(error @ DownloadTokenError::Exists) => return Err(internal(error)),
        Err(error) => CommandResult::DownloadTokenRefused(error),
    };
    outcome(staged, result, None)
}
