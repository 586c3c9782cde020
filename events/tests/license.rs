//! What a license promises: given these events, when this is asked, then that happens.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use cqrs_es::test::TestFramework;
use keyledger_events::{
    Context, Numbers, Personal, PersonalData, Timestamp,
    license::*,
    values::{Identifier, LicenseKey, MetaKey},
};

const DAY: i64 = 86_400_000_000;
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

type Framework = TestFramework<LicenseAggregate>;

fn services() -> LicenseServices {
    LicenseServices { context: Context { now: NOW, next: Numbers::default() }, product_active: true, key_taken: false }
}

fn framework() -> Framework {
    Framework::with(services())
}

fn identifier(text: &str) -> Option<Identifier> {
    Some(Identifier::parse(text).unwrap())
}

fn create(status: Status, limit: i64, validity_days: i64) -> CreateLicense {
    CreateLicense {
        key: LicenseKey::parse("KEY-1").unwrap(),
        product: 7,
        activation_limit: limit,
        validity_days,
        status,
        assigned_at: None,
        owner: Owner::default(),
        contract: None,
        job: None,
    }
}

fn created(status: Status, limit: i64) -> LicenseEvent {
    created_valid_for(status, limit, 0, NOW)
}

fn created_valid_for(status: Status, limit: i64, validity_days: i64, assigned_at: Timestamp) -> LicenseEvent {
    LicenseEvent::LicenseCreated(LicenseCreated {
        activation_limit: limit,
        assigned_at: (status == Status::Assigned).then_some(assigned_at),
        contract: None,
        job: None,
        key: "KEY-1".into(),
        license: 1,
        owner: None,
        personal: Personal::None,
        product: 7,
        status,
        validity_days,
    })
}

fn personal(identifier: &str) -> Personal {
    Personal::new(PersonalData { identifier: Some(identifier.into()), ..PersonalData::default() })
}

fn activated(activation: i64, identifier: &str, active: i64) -> LicenseEvent {
    LicenseEvent::LicenseActivated(LicenseActivated { activation, active, epoch: 0, license: 1, personal: personal(identifier), product: 7 })
}

fn deactivated(activation: i64, active: i64) -> LicenseEvent {
    LicenseEvent::LicenseDeactivated(LicenseDeactivated { activation, active, license: 1, personal: Personal::None, product: 7 })
}

fn activate(text: &str) -> LicenseCommand {
    LicenseCommand::Activate { identifier: identifier(text), post_url: None }
}

fn status(from: Status) -> StatusChanged {
    StatusChanged { from, license: 1, personal: Personal::None, product: 7 }
}

#[test]
fn a_license_is_created_with_everything_resolved() {
    framework()
        .given_no_previous_events()
        .when(LicenseCommand::Create(create(Status::Assigned, 3, 0)))
        .then_expect_events(vec![created(Status::Assigned, 3)]);
    framework()
        .given(vec![created(Status::Available, 3)])
        .when(LicenseCommand::Create(create(Status::Available, 3, 0)))
        .then_expect_error(LicenseError::Exists);
}

#[test]
fn only_an_available_license_is_assigned() {
    let owner = Owner { number: Some(5), name: Some("Jane".into()), email: Some("jane@shop.example".into()) };
    framework().given(vec![created(Status::Available, 1)]).when(LicenseCommand::Assign { owner: owner.clone(), job: Some(3) }).then_expect_events(
        vec![LicenseEvent::LicenseAssigned(LicenseAssigned {
            assigned_at: NOW,
            from: Status::Available,
            job: Some(3),
            license: 1,
            owner: Some(5),
            personal: Personal::new(PersonalData { owner_name: owner.name.clone(), owner_email: owner.email.clone(), ..PersonalData::default() }),
            product: 7,
            with_owner: true,
        })],
    );
    for other in [Status::Assigned, Status::Reserved, Status::Blocked] {
        framework()
            .given(vec![created(other, 1)])
            .when(LicenseCommand::Assign { owner: Owner::default(), job: None })
            .then_expect_error(LicenseError::NotAvailable);
    }
    framework().given_no_previous_events().when(LicenseCommand::Assign { owner, job: None }).then_expect_error(LicenseError::Unknown);
}

#[test]
fn activating_counts_each_identifier_once() {
    framework().given(vec![created(Status::Assigned, 2)]).when(activate("a.example")).then_expect_events(vec![activated(1, "a.example", 1)]);
    framework().given(vec![created(Status::Assigned, 2), activated(1, "a.example", 1)]).when(activate("a.example")).then_expect_events(vec![]);
}

#[test]
fn activation_stops_at_the_limit_and_the_refusal_is_recorded() {
    let refused = LicenseEvent::ActivationRefused(ActivationRefused { active: 1, license: 1, limit: 1, personal: personal("b.example"), product: 7 });
    framework().given(vec![created(Status::Assigned, 1), activated(1, "a.example", 1)]).when(activate("b.example")).then_expect_events(vec![refused]);
}

#[test]
fn limit_zero_is_unlimited() {
    let mut given = vec![created(Status::Assigned, 0)];
    given.extend((1..=50).map(|n| activated(n, &format!("{n}.example"), n)));
    let next = Context { next: Numbers { activation: 51, ..Numbers::default() }, ..services().context };
    Framework::with(LicenseServices { context: next, ..services() })
        .given(given)
        .when(activate("another.example"))
        .then_expect_events(vec![activated(51, "another.example", 51)]);
}

#[test]
fn an_identifier_that_comes_back_keeps_its_number() {
    let given = vec![created(Status::Assigned, 1), activated(1, "a.example", 1), deactivated(1, 0)];
    let next = Context { next: Numbers { activation: 2, ..Numbers::default() }, ..services().context };
    Framework::with(LicenseServices { context: next, ..services() }).given(given).when(activate("a.example")).then_expect_events(vec![activated(
        1,
        "a.example",
        1,
    )]);
}

#[test]
fn deactivating_frees_the_seat_once() {
    let deactivate = || LicenseCommand::Deactivate { identifier: identifier("a.example") };
    let given = vec![created(Status::Assigned, 1), activated(1, "a.example", 1)];
    framework().given(given.clone()).when(deactivate()).then_expect_events(vec![deactivated(1, 0)]);
    framework().given([given, vec![deactivated(1, 0)]].concat()).when(deactivate()).then_expect_events(vec![]);
}

#[test]
fn a_blocked_or_expired_license_can_still_be_deactivated() {
    let deactivate = || LicenseCommand::Deactivate { identifier: identifier("a.example") };
    let blocked = LicenseEvent::LicenseBlocked(status(Status::Assigned));
    framework()
        .given(vec![created(Status::Assigned, 1), activated(1, "a.example", 1), blocked])
        .when(deactivate())
        .then_expect_events(vec![deactivated(1, 0)]);
    framework()
        .given(vec![created_valid_for(Status::Assigned, 1, 1, Timestamp(NOW.0 - 2 * DAY)), activated(1, "a.example", 1)])
        .when(deactivate())
        .then_expect_events(vec![deactivated(1, 0)]);
}

#[test]
fn the_checks_come_in_the_contracts_order() {
    let decide_with = |license: &License, product_active, identifier: Option<Identifier>| {
        let at_hand = AtHand { license: Some(license), product_active, ..AtHand::default() };
        decide(at_hand, &LicenseCommand::Activate { identifier, post_url: None }, &services().context).outcome
    };
    let mut license =
        License { number: 1, status: Status::Blocked, validity_days: 1, assigned_at: Some(Timestamp(NOW.0 - 2 * DAY)), ..License::default() };
    assert_eq!(decide_with(&license, false, None), Err(LicenseError::ProductInactive));
    assert_eq!(decide_with(&license, true, None), Err(LicenseError::Blocked));
    license.status = Status::Reserved;
    assert_eq!(decide_with(&license, true, None), Err(LicenseError::NotAssigned));
    license.status = Status::Assigned;
    assert_eq!(decide_with(&license, true, None), Err(LicenseError::Expired));
    license.validity_days = 0;
    assert_eq!(decide_with(&license, true, None), Err(LicenseError::IdentifierRequired));
    assert_eq!(decide_with(&license, true, identifier("a")), Ok(Done::Activated));
}

#[test]
fn a_license_expires_the_instant_its_time_is_over() {
    let license = License { status: Status::Assigned, validity_days: 1, assigned_at: Some(Timestamp(NOW.0 - DAY)), ..License::default() };
    assert_eq!(check_access(&license, true, Timestamp(NOW.0 - 1)), Ok(()));
    assert_eq!(check_access(&license, true, NOW), Err(LicenseError::Expired));
}

#[test]
fn refusals_are_recorded_once_a_minute_and_reason() {
    let mut license = License { number: 1, status: Status::Blocked, ..License::default() };
    let context = services().context;
    let refuse = |license: &License, now| {
        let at_hand = AtHand { license: Some(license), product_active: true, ..AtHand::default() };
        decide(at_hand, &activate("a"), &Context { now, ..context }).events
    };
    let first = refuse(&license, NOW);
    assert!(matches!(first.as_slice(), [LicenseEvent::AccessRefused(of)] if of.reason == AccessRefusal::LicenseBlocked));
    license = License::fold(Some(license), &first[0], NOW).unwrap();
    assert!(refuse(&license, NOW).is_empty());
    assert_eq!(refuse(&license, Timestamp(NOW.0 + 60_000_000)).len(), 1);

    // The same minute, another reason.
    license.status = Status::Assigned;
    license.activation_limit = 1;
    license.active_count = 1;
    let limit = refuse(&license, NOW);
    assert!(matches!(limit.as_slice(), [LicenseEvent::ActivationRefused(_)]));
    license = License::fold(Some(license), &limit[0], NOW).unwrap();
    assert!(refuse(&license, NOW).is_empty());
    license.status = Status::Blocked;
    assert!(refuse(&license, NOW).is_empty(), "alternating between reasons records no more");
}

#[test]
fn making_available_ends_activations_and_clears_the_owner_each_as_an_event() {
    let owner = Owner { number: Some(5), name: None, email: Some("jane@shop.example".into()) };
    let given = vec![
        created(Status::Available, 1),
        LicenseEvent::LicenseAssigned(LicenseAssigned {
            assigned_at: NOW,
            from: Status::Available,
            job: None,
            license: 1,
            owner: owner.number,
            personal: Personal::new(PersonalData { owner_email: owner.email, ..PersonalData::default() }),
            product: 7,
            with_owner: true,
        }),
        activated(1, "a.example", 1),
    ];
    let update = UpdateLicense { status: Change::Set(Status::Available), ..UpdateLicense::default() };
    framework().given(given).when(LicenseCommand::Update(update)).then_expect_events(vec![
        LicenseEvent::LicenseMadeAvailable(status(Status::Assigned)),
        LicenseEvent::ActivationsEnded(ActivationsEnded { ended: 1, epoch: 1, license: 1, personal: Personal::None, product: 7 }),
        LicenseEvent::OwnerCleared(OwnerCleared { license: 1, personal: Personal::None, product: 7 }),
    ]);
}

#[test]
fn unblocking_keeps_the_time_of_assignment() {
    let earlier = Timestamp(NOW.0 - DAY);
    let given = vec![created_valid_for(Status::Assigned, 1, 30, earlier), LicenseEvent::LicenseBlocked(status(Status::Assigned))];
    let update = UpdateLicense { status: Change::Set(Status::Assigned), ..UpdateLicense::default() };
    framework().given(given).when(LicenseCommand::Update(update)).then_expect_events(vec![LicenseEvent::LicenseAssigned(LicenseAssigned {
        assigned_at: earlier,
        from: Status::Blocked,
        job: None,
        license: 1,
        owner: None,
        personal: Personal::None,
        product: 7,
        with_owner: false,
    })]);
}

#[test]
fn an_operator_blocks_once_and_unblocks_what_is_blocked() {
    let earlier = Timestamp(NOW.0 - DAY);
    let blocked = |from| LicenseEvent::LicenseBlocked(status(from));
    let unblock = |status| LicenseCommand::Unblock { status };
    let assigned = || vec![created_valid_for(Status::Assigned, 1, 30, earlier)];
    let available = || vec![created(Status::Available, 1)];
    framework().given(assigned()).when(LicenseCommand::Block).then_expect_events(vec![blocked(Status::Assigned)]);
    let given = [assigned(), vec![blocked(Status::Assigned)]].concat();
    framework().given(given.clone()).when(LicenseCommand::Block).then_expect_error(LicenseError::Blocked);
    framework().given(assigned()).when(unblock(None)).then_expect_error(LicenseError::NotBlocked);
    framework().given(assigned()).when(unblock(Some(Status::Available))).then_expect_error(LicenseError::NotBlocked);
    framework().given_no_previous_events().when(LicenseCommand::Block).then_expect_error(LicenseError::Unknown);
    framework().given(given.clone()).when(unblock(None)).then_expect_events(vec![LicenseEvent::LicenseAssigned(LicenseAssigned {
        assigned_at: earlier,
        from: Status::Blocked,
        job: None,
        license: 1,
        owner: None,
        personal: Personal::None,
        product: 7,
        with_owner: false,
    })]);
    let reserved = LicenseEvent::LicenseReserved(status(Status::Blocked));
    framework().given(given).when(unblock(Some(Status::Reserved))).then_expect_events(vec![reserved]);
    // Nobody ever had it: it is available again.
    let given = [available(), vec![blocked(Status::Available)]].concat();
    framework().given(given).when(unblock(None)).then_expect_events(vec![LicenseEvent::LicenseMadeAvailable(status(Status::Blocked))]);
}

#[test]
fn an_update_that_changes_nothing_is_no_event() {
    let update = UpdateLicense {
        product: Change::Set(7),
        owner: Change::Set(Owner::default()),
        activation_limit: Change::Set(2),
        validity_days: Change::Set(0),
        status: Change::Set(Status::Available),
        assigned_at: Change::Keep,
    };
    framework().given(vec![created(Status::Available, 2)]).when(LicenseCommand::Update(update)).then_expect_events(vec![]);
}

#[test]
fn lowering_the_limit_keeps_activations_and_refuses_new_ones() {
    let lowered = LicenseEvent::ActivationLimitChanged(ValueChanged { from: 2, license: 1, personal: Personal::None, product: 7, to: 1 });
    let given = vec![created(Status::Assigned, 2), activated(1, "a", 1), activated(2, "b", 2), lowered];
    framework().given(given.clone()).when(activate("a")).then_expect_events(vec![]);
    let refused = LicenseEvent::ActivationRefused(ActivationRefused { active: 2, license: 1, limit: 1, personal: personal("c"), product: 7 });
    framework().given(given).when(activate("c")).then_expect_events(vec![refused]);
}

#[test]
fn meta_entries_are_made_changed_and_removed() {
    let key = || Some(MetaKey::parse("colour").unwrap());
    let value = |text: &str| Personal::new(PersonalData { value: Some(text.into()), ..PersonalData::default() });
    let set = |text: &str| LicenseMetaSet { key: "colour".into(), license: 1, meta: 1, personal: value(text), product: 7 };
    let made = vec![created(Status::Assigned, 1), LicenseEvent::LicenseMetaCreated(set("red"))];
    let create = || LicenseCommand::CreateMeta { identifier: identifier("a"), key: key(), value: Some("red".into()) };
    let update = || LicenseCommand::UpdateMeta { identifier: identifier("a"), key: key(), value: Some("blue".into()) };
    let delete = || LicenseCommand::DeleteMeta { identifier: identifier("a"), key: key() };

    framework().given(vec![created(Status::Assigned, 1)]).when(create()).then_expect_events(vec![LicenseEvent::LicenseMetaCreated(set("red"))]);
    framework().given(made.clone()).when(create()).then_expect_error(LicenseError::MetaExists);
    framework().given(made.clone()).when(update()).then_expect_events(vec![LicenseEvent::LicenseMetaUpdated(set("blue"))]);
    framework().given(vec![created(Status::Assigned, 1)]).when(update()).then_expect_error(LicenseError::MetaUnknown);
    let deleted =
        LicenseEvent::LicenseMetaDeleted(LicenseMetaDeleted { key: "colour".into(), license: 1, meta: 1, personal: Personal::None, product: 7 });
    framework().given(made).when(delete()).then_expect_events(vec![deleted]);
    framework().given(vec![created(Status::Assigned, 1)]).when(delete()).then_expect_error(LicenseError::MetaUnknown);
    let no_key = LicenseCommand::CreateMeta { identifier: identifier("a"), key: None, value: None };
    framework().given(vec![created(Status::Assigned, 1)]).when(no_key).then_expect_error(LicenseError::MetaKeyRequired);
    let no_value = LicenseCommand::CreateMeta { identifier: identifier("a"), key: key(), value: None };
    framework().given(vec![created(Status::Assigned, 1)]).when(no_value).then_expect_error(LicenseError::MetaValueRequired);
}

#[test]
fn a_deleted_license_is_unknown() {
    let deleted =
        LicenseEvent::LicenseDeleted(LicenseDeleted { contract: None, from: Status::Assigned, license: 1, personal: Personal::None, product: 7 });
    framework().given(vec![created(Status::Assigned, 1)]).when(LicenseCommand::Delete).then_expect_events(vec![deleted.clone()]);
    framework().given(vec![created(Status::Assigned, 1), deleted]).when(activate("a")).then_expect_error(LicenseError::Unknown);
}

#[test]
fn a_querys_refusal_is_recorded_only_while_it_is_true() {
    let context = services().context;
    let record = |license: &License, reason| {
        let at_hand = AtHand { license: Some(license), product_active: true, ..AtHand::default() };
        decide(at_hand, &LicenseCommand::RecordRefusal { reason, block: None, identifier: None }, &context).events.len()
    };
    let blocked = License { number: 1, status: Status::Blocked, ..License::default() };
    let assigned = License { status: Status::Assigned, ..blocked.clone() };
    assert_eq!(record(&blocked, AccessRefusal::LicenseBlocked), 1);
    assert_eq!(record(&assigned, AccessRefusal::LicenseBlocked), 0, "unblocked meanwhile");
    assert_eq!(record(&assigned, AccessRefusal::LicenseExpired), 0);
    assert_eq!(record(&assigned, AccessRefusal::BlockListed), 1);
}

#[test]
fn a_key_is_replaced_by_one_that_no_other_license_has() {
    let replace = |key: &str| LicenseCommand::ReplaceKey { key: LicenseKey::parse(key).unwrap() };
    let given = || vec![created(Status::Blocked, 1)];
    let old = "KEY-1".to_owned();
    let replaced = LicenseEvent::LicenseKeyReplaced(LicenseKeyReplaced {
        from: old.clone(),
        key: "NEW-1".into(),
        license: 1,
        personal: Personal::None,
        product: 7,
        replaced_at: NOW,
    });
    framework().given(given()).when(replace("NEW-1")).then_expect_events(vec![replaced.clone()]);
    framework().given([given(), vec![replaced.clone()]].concat()).when(replace("NEW-1")).then_expect_events(vec![]);
    framework().given(given()).when(replace(&old)).then_expect_events(vec![]);
    framework().given_no_previous_events().when(replace("NEW-1")).then_expect_error(LicenseError::Unknown);
    Framework::with(LicenseServices { key_taken: true, ..services() })
        .given(given())
        .when(replace("NEW-1"))
        .then_expect_error(LicenseError::KeyTaken);
    let mut aggregate = LicenseAggregate::default();
    [given(), vec![replaced]].concat().into_iter().for_each(|event| cqrs_es::Aggregate::apply(&mut aggregate, event));
    let license = aggregate.license.unwrap();
    assert_eq!((license.key.as_str(), license.key_replaced_at), ("NEW-1", Some(NOW)));
}

#[test]
fn an_operator_ends_an_activation_whatever_state_the_license_is_in() {
    let end = |activation| LicenseCommand::EndActivation { activation };
    let active = || vec![created(Status::Assigned, 1), activated(1, "a.example", 1)];
    framework().given(active()).when(end(1)).then_expect_events(vec![deactivated(1, 0)]);
    let blocked = [active(), vec![LicenseEvent::LicenseBlocked(status(Status::Assigned))]].concat();
    framework().given(blocked).when(end(1)).then_expect_events(vec![deactivated(1, 0)]);
    let ended = [active(), vec![deactivated(1, 0)]].concat();
    framework().given(ended).when(end(1)).then_expect_events(vec![]);
    framework().given(active()).when(end(2)).then_expect_error(LicenseError::NoActivation);
}

#[test]
fn a_license_knows_its_contract_and_the_job_that_assigned_it() {
    let LicenseEvent::LicenseCreated(first) = created(Status::Available, 1) else { panic!("not created") };
    let created = LicenseEvent::LicenseCreated(LicenseCreated { contract: Some(4), ..first });
    let given = || TestFramework::<LicenseAggregate>::with(services()).given(vec![created.clone()]);
    given().when(LicenseCommand::Delete).then_expect_events(vec![LicenseEvent::LicenseDeleted(LicenseDeleted {
        contract: Some(4),
        from: Status::Available,
        license: 1,
        personal: Personal::None,
        product: 7,
    })]);
    let license = License::fold(None, &created, NOW);
    let assign = |job| LicenseCommand::Assign { owner: Owner::default(), job };
    let context = Context { now: NOW, next: Numbers::default() };
    let at_hand = AtHand { license: license.as_ref(), product_active: true, ..AtHand::default() };
    let event = decide(at_hand, &assign(Some(3)), &context).events.remove(0);
    let assigned = License::fold(license.clone(), &event, NOW);
    assert_eq!(assigned.as_ref().and_then(|license| license.job), Some(3));
    let free = License::fold(assigned, &LicenseEvent::LicenseMadeAvailable(status(Status::Assigned)), NOW);
    assert_eq!(free.map(|license| (license.job, license.contract)), Some((None, Some(4))));
}
