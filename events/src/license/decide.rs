//! The decisions: state and command in, events and outcome out. Pure.

use super::*;
use crate::{
    Context, Personal, PersonalData,
    values::{Identifier, LicenseKey},
};

/// The part of the state that a command needs: the license, the one activation of the identifier it names, the one
/// meta entry of the key it names, and whether the product may be used.
#[derive(Clone, Copy, Debug, Default)]
pub struct AtHand<'a> {
    pub license: Option<&'a License>,
    pub activation: Option<&'a Activation>,
    pub meta: Option<&'a LicenseMeta>,
    pub product_active: bool,
    /// Whether another license has the key that the command asks for.
    pub key_taken: bool,
}

/// What a command that was not refused did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Created,
    Assigned,
    Activated,
    AlreadyActive,
    Deactivated,
    AlreadyInactive,
    Updated,
    MetaSet { meta: i64 },
    MetaDeleted,
    Downloaded,
    RefusalRecorded,
    KeyReplaced,
    Deleted,
}

/// A refusal can have an event too, so events stand beside the outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub events: Vec<LicenseEvent>,
    pub outcome: Result<Done, LicenseError>,
}

impl Decision {
    fn done(done: Done, events: Vec<LicenseEvent>) -> Self {
        Self { events, outcome: Ok(done) }
    }

    fn refused(error: LicenseError) -> Self {
        Self { events: Vec::new(), outcome: Err(error) }
    }
}

/// Decides a command. Never reads anything but its arguments.
#[must_use]
pub fn decide(at_hand: AtHand<'_>, command: &LicenseCommand, context: &Context) -> Decision {
    let Some(license) = at_hand.license.filter(|license| !license.deleted) else {
        return match command {
            LicenseCommand::Create(create) => Decision::done(Done::Created, vec![created(create, context)]),
            _ => Decision::refused(LicenseError::Unknown),
        };
    };
    match command {
        LicenseCommand::Create(_) => Decision::refused(LicenseError::Exists),
        LicenseCommand::Assign { owner, job } => assign(license, owner, *job, context),
        LicenseCommand::Activate { identifier, post_url } => activate(license, at_hand, identifier.as_ref(), post_url.as_ref(), context),
        LicenseCommand::Deactivate { identifier } => deactivate(license, at_hand, identifier.as_ref()),
        LicenseCommand::EndActivation { activation } => end_activation(license, at_hand.activation.filter(|row| row.number == *activation)),
        LicenseCommand::Update(update) => Decision::done(Done::Updated, updated(license, update, context)),
        LicenseCommand::CreateMeta { identifier, key, value } => {
            set_meta(license, at_hand, identifier.as_ref(), key.as_ref(), value.as_ref(), true, context)
        }
        LicenseCommand::UpdateMeta { identifier, key, value } => {
            set_meta(license, at_hand, identifier.as_ref(), key.as_ref(), value.as_ref(), false, context)
        }
        LicenseCommand::DeleteMeta { identifier, key } => delete_meta(license, at_hand, identifier.as_ref(), key.is_some(), context),
        LicenseCommand::Download { identifier, release, require_non_expired } => {
            download(license, at_hand, identifier.as_ref(), *release, *require_non_expired, context)
        }
        LicenseCommand::RecordRefusal { reason, block, identifier } => {
            record_refusal(license, at_hand.product_active, *reason, *block, identifier.as_ref(), context)
        }
        LicenseCommand::ReplaceKey { key } if key.as_str() == license.key => Decision::done(Done::KeyReplaced, Vec::new()),
        LicenseCommand::ReplaceKey { .. } if at_hand.key_taken => Decision::refused(LicenseError::KeyTaken),
        LicenseCommand::Block if license.status == Status::Blocked => Decision::refused(LicenseError::Blocked),
        LicenseCommand::Block => with_status(license, Status::Blocked, context),
        LicenseCommand::Unblock { .. } if license.status != Status::Blocked => Decision::refused(LicenseError::NotBlocked),
        LicenseCommand::Unblock { status } => {
            let before = if license.assigned_at.is_some() { Status::Assigned } else { Status::Available };
            with_status(license, status.unwrap_or(before), context)
        }
        LicenseCommand::ReplaceKey { key } => Decision::done(Done::KeyReplaced, vec![key_replaced(license, key, context)]),
        LicenseCommand::Delete => Decision::done(Done::Deleted, vec![deleted(license)]),
    }
}

fn owner_data(owner: &Owner) -> Personal {
    Personal::new(PersonalData { owner_name: owner.name.clone(), owner_email: owner.email.clone(), ..PersonalData::default() })
}

fn created(create: &CreateLicense, context: &Context) -> LicenseEvent {
    // A key that is in use from the start counts from the given time, or from now.
    let assigned_at = create.assigned_at.or((create.status == Status::Assigned).then_some(context.now));
    LicenseEvent::LicenseCreated(LicenseCreated {
        activation_limit: create.activation_limit,
        assigned_at,
        contract: create.contract,
        job: create.job,
        key: create.key.as_str().to_owned(),
        license: context.next.license,
        owner: create.owner.number,
        personal: owner_data(&create.owner),
        product: create.product,
        status: create.status,
        validity_days: create.validity_days,
    })
}

fn assign(license: &License, owner: &Owner, job: Option<i64>, context: &Context) -> Decision {
    if license.status != Status::Available {
        return Decision::refused(LicenseError::NotAvailable);
    }
    let with_owner = !owner.is_empty();
    Decision::done(
        Done::Assigned,
        vec![LicenseEvent::LicenseAssigned(LicenseAssigned {
            assigned_at: context.now,
            from: license.status,
            job,
            license: license.number,
            owner: if with_owner { owner.number } else { license.owner },
            personal: owner_data(owner),
            product: license.product,
            with_owner,
        })],
    )
}

/// The checks before an operation's own outcome; those that matter in a dispute leave an event.
fn check_use(license: &License, at_hand: AtHand<'_>, identifier: Option<&Identifier>, context: &Context) -> Result<(), Decision> {
    check_access(license, at_hand.product_active, context.now).and_then(|()| identifier.map(|_| ()).ok_or(LicenseError::IdentifierRequired)).map_err(
        |error| Decision {
            events: error.recorded_reason().and_then(|reason| access_refused(license, reason, None, identifier, context)).into_iter().collect(),
            outcome: Err(error),
        },
    )
}

fn identifier_data(identifier: Option<&Identifier>, post_url: Option<&String>) -> Personal {
    Personal::new(PersonalData {
        identifier: identifier.map(|text| text.as_str().to_owned()),
        post_url: post_url.cloned(),
        ..PersonalData::default()
    })
}

/// A query's refusal comes here later; what is not true any more by then is not recorded.
fn record_refusal(
    license: &License,
    product_active: bool,
    reason: AccessRefusal,
    block: Option<i64>,
    identifier: Option<&Identifier>,
    context: &Context,
) -> Decision {
    let still = match reason {
        AccessRefusal::BlockListed => true,
        AccessRefusal::LicenseBlocked | AccessRefusal::LicenseExpired => {
            check_access(license, product_active, context.now).err().and_then(LicenseError::recorded_reason) == Some(reason)
        }
    };
    let event = if still { access_refused(license, reason, block, identifier, context) } else { None };
    Decision::done(Done::RefusalRecorded, event.into_iter().collect())
}

/// Whether this reason was recorded in this minute already.
fn is_recorded(license: &License, bit: i64, context: &Context) -> bool {
    license.refusal_minute == context.now.minute() && license.refusal_reasons & bit != 0
}

fn access_refused(
    license: &License,
    reason: AccessRefusal,
    block: Option<i64>,
    identifier: Option<&Identifier>,
    context: &Context,
) -> Option<LicenseEvent> {
    (!is_recorded(license, reason.bit(), context)).then(|| {
        LicenseEvent::AccessRefused(AccessRefused {
            block,
            license: license.number,
            personal: identifier_data(identifier, None),
            product: license.product,
            reason,
        })
    })
}

fn activate(license: &License, at_hand: AtHand<'_>, identifier: Option<&Identifier>, post_url: Option<&String>, context: &Context) -> Decision {
    if let Err(decision) = check_use(license, at_hand, identifier, context) {
        return decision;
    }
    if at_hand.activation.is_some_and(|activation| license.is_active(activation)) {
        return Decision::done(Done::AlreadyActive, Vec::new());
    }
    if license.activation_limit > 0 && license.active_count >= license.activation_limit {
        let event = (!is_recorded(license, AccessRefusal::LIMIT_BIT, context)).then(|| {
            LicenseEvent::ActivationRefused(ActivationRefused {
                active: license.active_count,
                license: license.number,
                limit: license.activation_limit,
                personal: identifier_data(identifier, None),
                product: license.product,
            })
        });
        return Decision { events: event.into_iter().collect(), outcome: Err(LicenseError::LimitReached) };
    }
    Decision::done(
        Done::Activated,
        vec![LicenseEvent::LicenseActivated(LicenseActivated {
            activation: at_hand.activation.map_or(context.next.activation, |activation| activation.number),
            active: license.active_count + 1,
            epoch: license.epoch,
            license: license.number,
            personal: identifier_data(identifier, post_url),
            product: license.product,
        })],
    )
}

/// A blocked or expired license can still be deactivated: the checks leave those two out.
fn deactivate(license: &License, at_hand: AtHand<'_>, identifier: Option<&Identifier>) -> Decision {
    if !at_hand.product_active {
        return Decision::refused(LicenseError::ProductInactive);
    }
    if matches!(license.status, Status::Available | Status::Reserved) {
        return Decision::refused(LicenseError::NotAssigned);
    }
    if identifier.is_none() {
        return Decision::refused(LicenseError::IdentifierRequired);
    }
    let Some(activation) = at_hand.activation.filter(|activation| license.is_active(activation)) else {
        return Decision::done(Done::AlreadyInactive, Vec::new());
    };
    deactivated(license, activation)
}

fn end_activation(license: &License, activation: Option<&Activation>) -> Decision {
    let Some(activation) = activation.filter(|activation| activation.license == license.number) else {
        return Decision::refused(LicenseError::NoActivation);
    };
    if !license.is_active(activation) {
        return Decision::done(Done::AlreadyInactive, Vec::new());
    }
    deactivated(license, activation)
}

fn deactivated(license: &License, activation: &Activation) -> Decision {
    Decision::done(
        Done::Deactivated,
        vec![LicenseEvent::LicenseDeactivated(LicenseDeactivated {
            activation: activation.number,
            active: license.active_count - 1,
            license: license.number,
            personal: Personal::None,
            product: license.product,
        })],
    )
}

fn key_replaced(license: &License, key: &LicenseKey, context: &Context) -> LicenseEvent {
    LicenseEvent::LicenseKeyReplaced(LicenseKeyReplaced {
        from: license.key.clone(),
        key: key.as_str().to_owned(),
        license: license.number,
        personal: Personal::None,
        product: license.product,
        replaced_at: context.now,
    })
}

fn with_status(license: &License, status: Status, context: &Context) -> Decision {
    Decision::done(Done::Updated, updated(license, &UpdateLicense { status: Change::Set(status), ..UpdateLicense::default() }, context))
}

fn download(
    license: &License,
    at_hand: AtHand<'_>,
    identifier: Option<&Identifier>,
    release: i64,
    require_non_expired: bool,
    context: &Context,
) -> Decision {
    let checked = check_download(license, at_hand.product_active, require_non_expired, context.now)
        .and_then(|()| check_activation(license, identifier.is_some(), at_hand.activation));
    match checked {
        Ok(()) => Decision::done(Done::Downloaded, vec![downloaded(license, release, identifier)]),
        Err(error) => Decision {
            events: error.recorded_reason().and_then(|reason| access_refused(license, reason, None, identifier, context)).into_iter().collect(),
            outcome: Err(error),
        },
    }
}

/// That a release was downloaded with a license, whoever decided that it may be.
#[must_use]
pub fn downloaded(license: &License, release: i64, identifier: Option<&Identifier>) -> LicenseEvent {
    LicenseEvent::ReleaseDownloaded(ReleaseDownloaded {
        license: license.number,
        personal: identifier_data(identifier, None),
        product: license.product,
        release,
    })
}

fn status_changed(license: &License) -> StatusChanged {
    StatusChanged { from: license.status, license: license.number, personal: Personal::None, product: license.product }
}

fn deleted(license: &License) -> LicenseEvent {
    LicenseEvent::LicenseDeleted(LicenseDeleted {
        contract: license.contract,
        from: license.status,
        license: license.number,
        personal: Personal::None,
        product: license.product,
    })
}

fn updated(license: &License, update: &UpdateLicense, context: &Context) -> Vec<LicenseEvent> {
    let mut events = Vec::new();
    let number = license.number;
    if let Change::Set(to) = update.product
        && to != license.product
    {
        events.push(LicenseEvent::LicenseProductChanged(LicenseProductChanged {
            from: license.product,
            license: number,
            personal: Personal::None,
            status: license.status,
            to,
        }));
    }
    let product = match update.product {
        Change::Set(product) => product,
        Change::Keep => license.product,
    };
    if let Change::Set(to) = update.activation_limit
        && to != license.activation_limit
    {
        events.push(LicenseEvent::ActivationLimitChanged(ValueChanged {
            from: license.activation_limit,
            license: number,
            personal: Personal::None,
            product,
            to,
        }));
    }
    if let Change::Set(to) = update.validity_days
        && to != license.validity_days
    {
        events.push(LicenseEvent::ValidityChanged(ValueChanged {
            from: license.validity_days,
            license: number,
            personal: Personal::None,
            product,
            to,
        }));
    }
    let status = match update.status {
        Change::Set(status) if status != license.status => Some(status),
        Change::Set(_) | Change::Keep => None,
    };
    if status == Some(Status::Available) {
        events.push(LicenseEvent::LicenseMadeAvailable(StatusChanged { product, ..status_changed(license) }));
        if license.active_count > 0 {
            events.push(LicenseEvent::ActivationsEnded(ActivationsEnded {
                ended: license.active_count,
                epoch: license.epoch + 1,
                license: number,
                personal: Personal::None,
                product,
            }));
        }
        if license.owner.is_some() || license.owner_name.is_some() || license.owner_email.is_some() {
            events.push(LicenseEvent::OwnerCleared(OwnerCleared { license: number, personal: Personal::None, product }));
        }
        return events;
    }
    events.extend(owner_changed(license, product, &update.owner));
    let assigned_at = match update.assigned_at {
        Change::Set(at) => Some(at),
        Change::Keep => None,
    };
    match status {
        Some(Status::Assigned) => events.push(LicenseEvent::LicenseAssigned(LicenseAssigned {
            // Unblocking is no new start: the time of assignment stays unless another is given.
            assigned_at: assigned_at.or(license.assigned_at).unwrap_or(context.now),
            from: license.status,
            job: None,
            license: number,
            owner: match &update.owner {
                Change::Set(owner) => owner.number,
                Change::Keep => license.owner,
            },
            personal: Personal::None,
            product,
            with_owner: false,
        })),
        Some(Status::Reserved) => events.push(LicenseEvent::LicenseReserved(StatusChanged { product, ..status_changed(license) })),
        Some(Status::Blocked) => events.push(LicenseEvent::LicenseBlocked(StatusChanged { product, ..status_changed(license) })),
        Some(Status::Available) | None => {}
    }
    if let Some(to) = assigned_at
        && status != Some(Status::Assigned)
        && license.assigned_at != Some(to)
    {
        events.push(LicenseEvent::AssignedAtChanged(AssignedAtChanged {
            from: license.assigned_at,
            license: number,
            personal: Personal::None,
            product,
            to,
        }));
    }
    events
}

fn owner_changed(license: &License, product: i64, owner: &Change<Owner>) -> Option<LicenseEvent> {
    let Change::Set(owner) = owner else { return None };
    let now = Owner { number: license.owner, name: license.owner_name.clone(), email: license.owner_email.clone() };
    if *owner == now {
        None
    } else if owner.is_empty() {
        Some(LicenseEvent::OwnerCleared(OwnerCleared { license: license.number, personal: Personal::None, product }))
    } else {
        Some(LicenseEvent::OwnerChanged(OwnerChanged { license: license.number, owner: owner.number, personal: owner_data(owner), product }))
    }
}

fn set_meta(
    license: &License,
    at_hand: AtHand<'_>,
    identifier: Option<&Identifier>,
    key: Option<&crate::values::MetaKey>,
    value: Option<&String>,
    create: bool,
    context: &Context,
) -> Decision {
    if let Err(decision) = check_use(license, at_hand, identifier, context) {
        return decision;
    }
    let Some(key) = key else { return Decision::refused(LicenseError::MetaKeyRequired) };
    let Some(value) = value else { return Decision::refused(LicenseError::MetaValueRequired) };
    let meta = match (at_hand.meta, create) {
        (Some(_), true) => return Decision::refused(LicenseError::MetaExists),
        (None, false) => return Decision::refused(LicenseError::MetaUnknown),
        (None, true) => context.next.license_meta,
        (Some(meta), false) => meta.number,
    };
    let set = LicenseMetaSet {
        key: key.as_str().to_owned(),
        license: license.number,
        meta,
        personal: Personal::new(PersonalData { value: Some(value.clone()), ..PersonalData::default() }),
        product: license.product,
    };
    let event = if create { LicenseEvent::LicenseMetaCreated(set) } else { LicenseEvent::LicenseMetaUpdated(set) };
    Decision::done(Done::MetaSet { meta }, vec![event])
}

fn delete_meta(license: &License, at_hand: AtHand<'_>, identifier: Option<&Identifier>, has_key: bool, context: &Context) -> Decision {
    if let Err(decision) = check_use(license, at_hand, identifier, context) {
        return decision;
    }
    if !has_key {
        return Decision::refused(LicenseError::MetaKeyRequired);
    }
    let Some(meta) = at_hand.meta else { return Decision::refused(LicenseError::MetaUnknown) };
    Decision::done(
        Done::MetaDeleted,
        vec![LicenseEvent::LicenseMetaDeleted(LicenseMetaDeleted {
            key: meta.key.clone(),
            license: license.number,
            meta: meta.number,
            personal: Personal::None,
            product: license.product,
        })],
    )
}
