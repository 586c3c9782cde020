//! Points in time: what the ledger says was, against what the model remembers.

use std::collections::BTreeSet;

use keyledger::ledger::{
    Ledger,
    history::{AsOf, HistoryError, LicenseState, Page, Point, Question, Verdict},
};
use keyledger_events::{Timestamp, values::Identifier};
use proptest::{collection::vec, option, prelude::*};

use crate::{START, plain, plain::Model, store::Backend};

/// Points asked for in each sequence: with the 24 sequences of a run, 2,400 on SQLite.
const POINTS_SQLITE: usize = 100;
/// Each costs some round trips there: 2,016 in all.
const POINTS_POSTGRES: usize = 84;

/// One point, and what is asked of it: a share of the time or of the log, a key, an identifier.
#[derive(Clone, Debug)]
pub struct Asked {
    share: f64,
    by_position: bool,
    key: u8,
    identifier: Option<u8>,
}

pub fn points(backend: Backend) -> impl Strategy<Value = Vec<Asked>> {
    let count = match backend {
        Backend::Sqlite => POINTS_SQLITE,
        Backend::Postgres => POINTS_POSTGRES,
    };
    let asked = (0.0..=1.0, any::<bool>(), 0..6u8, option::weighted(0.95, 0..4u8));
    vec(asked.prop_map(|(share, by_position, key, identifier)| Asked { share, by_position, key, identifier }), count)
}

/// What was after one step.
struct Moment {
    /// The last event then.
    position: i64,
    now: i64,
    model: Model,
}

pub struct Past(Vec<Moment>);

impl Past {
    pub async fn new(ledger: &Ledger) -> Self {
        let position = ledger.store().head().await.unwrap().next_position - 1;
        Self(vec![Moment { position, now: START, model: Model::default() }])
    }

    pub async fn remember(&mut self, ledger: &Ledger, model: &Model, now: i64) {
        let position = ledger.store().head().await.unwrap().next_position - 1;
        self.0.push(Moment { position, now, model: model.clone() });
    }

    /// The moments up to a point, and the point.
    fn at(&self, asked: &Asked) -> (&[Moment], AsOf, Timestamp) {
        let last = self.0.last().unwrap();
        if asked.by_position {
            let share = (asked.share * (self.0.len() - 1) as f64).round() as usize;
            let position = self.0[share].position;
            // Steps that were refused have no event of their own: the time is that of the one that did.
            let first = self.0.iter().find(|moment| moment.position == position).unwrap();
            let count = self.0.iter().filter(|moment| moment.position <= position).count();
            (&self.0[..count], AsOf::Position(position), Timestamp(first.now))
        } else {
            let time = START + (asked.share * (last.now - START) as f64).round() as i64;
            let count = self.0.iter().filter(|moment| moment.now <= time).count();
            (&self.0[..count], AsOf::Time(Timestamp(time)), Timestamp(time))
        }
    }

    pub async fn check(&self, ledger: &Ledger, asked: &Asked) {
        let (moments, as_of, time) = self.at(asked);
        let moment = moments.last().unwrap();
        let point = ledger.point(as_of).await.unwrap();
        assert_eq!(point.time, time, "{asked:?}");
        assert_eq!(point.position, moment.position, "{asked:?}");
        let key = format!("KEY-{}", asked.key);
        check_state(ledger, &key, point, &moment.model).await;
        let identifier = asked.identifier.map(|n| Identifier::parse(&format!("{n}.example")).unwrap());
        check_verdict(ledger, &key, identifier, point, moments).await;
    }
}

async fn check_state(ledger: &Ledger, key: &str, point: Point, model: &Model) {
    let (live, deleted) = model.with_key(key);
    let found = match ledger.license_streams(key).await {
        Ok(streams) => ledger.license_state(&streams, point, Page::default(), true).await,
        Err(error) => Err(error),
    };
    match (live, deleted.as_slice(), found) {
        (Some(expected), _, Ok(Some(state))) => compare(&state, expected, point),
        (None, [expected], Ok(Some(state))) => compare(&state, expected, point),
        (None, [], Ok(None) | Err(HistoryError::Unknown)) => {}
        (None, [_, _, ..], Err(HistoryError::Ambiguous(numbers))) => {
            let expected: Vec<i64> = deleted.iter().map(|license| license.number).collect();
            assert_eq!(numbers, expected);
        }
        (live, deleted, found) => panic!("{key} at {point:?} is {found:?}, not {live:?} nor {deleted:?}"),
    }
    // By its number a license is found whatever became of it.
    if let Some(expected) = live.or(deleted.first().copied()) {
        let streams = ledger.license_streams(&expected.number.to_string()).await.unwrap();
        let state = ledger.license_state(&streams, point, Page::default(), true).await.unwrap().unwrap();
        compare(&state, expected, point);
    }
}

fn compare(state: &LicenseState, expected: &plain::License, point: Point) {
    let license = &state.row.license;
    assert_eq!((license.number, &license.key, license.product), (expected.number, &expected.key, expected.product));
    assert_eq!((license.status.as_str(), license.deleted), (expected.status.as_str(), expected.deleted));
    assert_eq!((license.activation_limit, license.validity_days), (expected.limit, expected.validity_days));
    assert_eq!(license.assigned_at.map(|at| at.0), expected.assigned_at);
    assert_eq!((&license.owner_name, &license.owner_email), (&expected.owner_name, &expected.owner_email));
    let active = state.activations.iter().filter(|activation| activation.active);
    let identifiers: BTreeSet<String> = active.map(|activation| activation.row.activation.identifier.clone().unwrap()).collect();
    assert_eq!(identifiers, expected.active);
    assert_eq!(license.active_count, expected.active.len() as i64);
    let meta: Vec<(String, String)> = state.meta.iter().map(|meta| (meta.row.meta.key.clone(), meta.row.meta.value.clone().unwrap())).collect();
    let mut meta = meta;
    meta.sort();
    assert_eq!(meta, expected.meta.clone().into_iter().collect::<Vec<_>>());
    for activation in &state.activations {
        assert!((1..=point.position).contains(&activation.since));
    }
}

async fn check_verdict(ledger: &Ledger, key: &str, identifier: Option<Identifier>, point: Point, moments: &[Moment]) {
    let now = point.time.0;
    let verdict = |moment: &Moment| match moment.model.verdict(key, identifier.as_ref(), now) {
        None => Verdict::BlockListed,
        Some(Ok(())) => Verdict::Valid,
        Some(Err(error)) => Verdict::Refused(error),
    };
    let last = moments.last().unwrap();
    let streams = match ledger.license_streams(key).await {
        Ok(streams) => streams,
        Err(HistoryError::Unknown) => return assert!(last.model.with_key(key).0.is_none()),
        Err(error) => panic!("{error}"),
    };
    let question = Question { identifier: identifier.clone(), ip: None };
    let found = ledger.verdict(&streams, point, &question).await.unwrap();
    assert_eq!(found.verdict, verdict(last), "{key} for {identifier:?} at {point:?}");
    assert!(!found.is_uncertain);
    let license = last.model.with_key(key).0;
    assert_eq!(found.license, license.map(|license| license.number));

    // The deciding event is one of the step after which the answer was another one. A step of several events can have
    // gone there and back.
    let changed = moments.windows(2).rev().find(|pair| verdict(&pair[0]) != verdict(&pair[1]));
    match (found.decided, changed) {
        (None, None) => {}
        (Some(decided), Some([before, after])) => {
            assert!(decided.position > before.position, "{decided:?} is before {}", before.position);
            let is_of_a_longer_step = || {
                moments
                    .windows(2)
                    .any(|pair| (pair[0].position + 1..=pair[1].position).contains(&decided.position) && pair[1].position > pair[0].position + 1)
            };
            assert!(decided.position <= after.position || is_of_a_longer_step(), "{decided:?} is after {}", after.position);
        }
        (Some(decided), None) => {
            assert!(moments.windows(2).any(|pair| pair[1].position > pair[0].position + 1 && decided.position <= pair[1].position), "{decided:?}");
        }
        (None, Some([before, _])) => panic!("nothing decided what was another answer after {}", before.position),
        (None, Some(_)) => unreachable!("windows of two"),
        (Some(_), Some(_)) => unreachable!("windows of two"),
    }
}
