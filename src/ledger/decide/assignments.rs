//! Available licenses that are assigned, at once or by a queued job.

use keyledger_events::{
    Event,
    assignment_job::{self, AssignmentJobCommand, AssignmentResult, QueueAssignment},
    delivery::{About, DeliveryCommand, DeliveryKind},
    license::{self, AtHand, CreateLicense, LicenseCommand, Owner, Status},
};
use keyledger_projections::{AssignmentJobRow, LicenseCountRow, LicenseRow, Table};

use super::{Executed, deliveries, generators, internal, is_live_product, outcome, resolve_owner};
use crate::ledger::{
    command::{AssignedLicense, Assignment, CommandResult, ExecuteError, LICENSES_MAX, OwnerInput, Supply},
    workspace::Staged,
};

/// What an assignment came to.
enum Assigned {
    All(Vec<AssignedLicense>),
    Not(AssignmentResult, Option<i64>),
}

pub(super) fn assign_available(staged: &mut Staged<'_, '_>, assignment: &Assignment, supply: Option<&Supply>) -> Executed {
    let assigned_at = staged.context().now;
    let result = match assign(staged, assignment, supply, None)? {
        Assigned::All(licenses) => CommandResult::AvailableAssigned { assigned_at, licenses },
        Assigned::Not(AssignmentResult::NoProduct, _) => CommandResult::NoSuchProduct,
        Assigned::Not(AssignmentResult::NoGenerator, _) => CommandResult::NoGenerator,
        Assigned::Not(AssignmentResult::TooFew | AssignmentResult::Assigned, available) => {
            CommandResult::TooFewAvailable { available: available.unwrap_or_default() }
        }
    };
    outcome(staged, result, None)
}

/// All or nothing: whatever is short is found before the first event.
fn assign(staged: &mut Staged<'_, '_>, assignment: &Assignment, supply: Option<&Supply>, job: Option<i64>) -> Result<Assigned, ExecuteError> {
    let product = assignment.product;
    if !is_live_product(staged, product) {
        return Ok(Assigned::Not(AssignmentResult::NoProduct, None));
    }
    let available = staged.row::<LicenseCountRow>(Table::LicenseCount, product).map_or(0, |row| row.available);
    let too_few = Ok(Assigned::Not(AssignmentResult::TooFew, Some(available)));
    let Some(quantity) = usize::try_from(assignment.quantity).ok().filter(|quantity| (1..=LICENSES_MAX).contains(quantity)) else {
        return too_few;
    };
    let numbers: Vec<i64> = staged.workspace.available(product).map(|row| row.license.number).take(quantity).collect();
    let missing = quantity - numbers.len();
    let made = if missing == 0 {
        None
    } else if assignment.generate {
        let row = staged.workspace.generator_of(product).cloned();
        match generators::pick(staged, row.as_ref(), missing as i64, supply)? {
            Ok(keys) => row.map(|row| (row.generator, keys)),
            Err(generators::Shortage::NoGenerator) => return Ok(Assigned::Not(AssignmentResult::NoGenerator, None)),
            Err(generators::Shortage::UsedUp) => return too_few,
        }
    } else {
        return too_few;
    };
    let owner = resolve_owner(staged, &assignment.owner);
    let mut licenses = Vec::with_capacity(quantity);
    for number in numbers {
        licenses.push(assign_one(staged, number, &owner, job)?);
    }
    if let Some((generator, keys)) = made {
        let created_at = staged.context().now;
        for key in keys {
            let text = key.as_str().to_owned();
            let number = generators::make(staged, &generator, key, |license| CreateLicense {
                status: Status::Assigned,
                owner: owner.clone(),
                job,
                ..license
            })?;
            let (activation_limit, validity_days) = (generator.fields.activation_limit, generator.fields.validity_days);
            licenses.push(AssignedLicense { number, key: text, activation_limit, validity_days, created_at, has_past: false });
        }
    }
    Ok(Assigned::All(licenses))
}

fn assign_one(staged: &mut Staged<'_, '_>, number: i64, owner: &Owner, job: Option<i64>) -> Result<AssignedLicense, ExecuteError> {
    let row = staged.row::<LicenseRow>(Table::License, number).ok_or_else(|| internal("an available license without a row"))?;
    let license = &row.license;
    let has_owner = license.owner_name.is_some() || license.owner_email.is_some();
    let assigned = AssignedLicense {
        number,
        key: license.key.clone(),
        activation_limit: license.activation_limit,
        validity_days: license.validity_days,
        created_at: row.created_at,
        has_past: row.sequence > 1 || (owner.is_empty() && has_owner),
    };
    let at_hand = AtHand { license: Some(license), ..AtHand::default() };
    let decision = license::decide(at_hand, &LicenseCommand::Assign { owner: owner.clone(), job }, &staged.context());
    decision.outcome.map_err(internal)?;
    for event in decision.events {
        staged.append(Event::License(event))?;
    }
    Ok(assigned)
}

pub(super) fn queue(staged: &mut Staged<'_, '_>, assignment: &Assignment, identifier: Option<&String>, webhook_url: Option<&String>) -> Executed {
    let owner = resolve_owner(staged, &assignment.owner);
    let context = staged.context();
    let command = AssignmentJobCommand::Queue(QueueAssignment {
        product: assignment.product,
        quantity: assignment.quantity,
        generate: assignment.generate,
        owner,
        identifier: identifier.cloned(),
        webhook_url: webhook_url.cloned(),
    });
    let event = assignment_job::decide(None, &command, &context).map_err(internal)?;
    staged.append(Event::AssignmentJob(event))?;
    outcome(staged, CommandResult::AssignmentQueued { job: context.next.assignment_job }, None)
}

/// Does a job, finishes it, and has its web hook told: all of it or nothing, whichever server comes first.
pub(super) fn run(staged: &mut Staged<'_, '_>, number: i64, assignment: &Assignment, supply: Option<&Supply>) -> Executed {
    let row = staged.row::<AssignmentJobRow>(Table::AssignmentJob, number).filter(|row| row.job.result.is_none());
    let Some(job) = row.map(|row| row.job.clone()) else { return outcome(staged, CommandResult::JobNotWaiting, None) };
    // As the job says now: its owner may have been forgotten since the command was made.
    let owner = OwnerInput { name: job.owner_name.clone(), email: job.owner_email.clone() };
    let assignment = Assignment { owner, ..assignment.clone() };
    let (result, assigned, available) = match assign(staged, &assignment, supply, Some(number))? {
        Assigned::All(licenses) => (AssignmentResult::Assigned, licenses.len() as i64, None),
        Assigned::Not(result, available) => (result, 0, available),
    };
    let finish = AssignmentJobCommand::Finish { result, assigned, available };
    let event = assignment_job::decide(Some(&job), &finish, &staged.context()).map_err(internal)?;
    staged.append(Event::AssignmentJob(event))?;
    if job.webhook_url.is_some() {
        let about = About { kind: DeliveryKind::AssignmentJob, job: Some(number), product: job.product, ..About::default() };
        deliveries::append(staged, None, &DeliveryCommand::Queue(about))?.map_err(internal)?;
    }
    outcome(staged, CommandResult::JobFinished(result), None)
}
