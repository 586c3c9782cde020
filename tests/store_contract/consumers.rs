//! What readers of the log keep: changed by one transaction that begins with a condition, and moved on by one holder at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::future::join_all;
use keyledger::{
    clock::Clock,
    feed::{CLAIM_FOR, Claim},
    store::{Statement, Store},
};
use keyledger_projections::Value;

use crate::{on_both_backends, place::Place};

on_both_backends!(
    where_the_first_statement_returns_nothing_nothing_is_done,
    where_one_statement_fails_nothing_is_done,
    of_many_holders_one_moves_a_place_on,
    a_place_is_taken_over_once_its_holder_is_not_heard_of,
);

const ADD: &str = "INSERT INTO subscription_partition (subscription, number, position) VALUES ($1, $2, 0)";
const COUNT: &str = "SELECT count(*) FROM subscription_partition WHERE subscription = $1";
const MOVE: &str = "UPDATE subscription_partition SET position = position + 1 WHERE subscription = $1 AND number = $2 RETURNING position";

fn add(number: i64) -> Statement {
    Statement::new(ADD, vec!["s".into(), number.into()])
}

/// The same as a condition.
fn adding(number: i64) -> Statement {
    let sql = "INSERT INTO subscription_partition (subscription, number, position) VALUES ($1, $2, 0) RETURNING number";
    Statement::new(sql, vec!["s".into(), number.into()])
}

fn moved(number: i64) -> Statement {
    Statement::new(MOVE, vec!["s".into(), number.into()])
}

async fn count(store: &dyn Store) -> Value {
    store.query(COUNT, &["s".into()]).await.unwrap()[0][0].clone()
}

async fn where_the_first_statement_returns_nothing_nothing_is_done(place: &Place) {
    let store: Arc<dyn Store> = place.founded().await.into();
    assert_eq!(store.change(&[moved(1), add(2)]).await.unwrap(), Vec::<Vec<Value>>::new());
    assert_eq!(count(store.as_ref()).await, Value::Int(0));
    // One that returns nothing by its nature is no condition that holds.
    assert_eq!(store.change(&[add(1), add(2)]).await.unwrap(), Vec::<Vec<Value>>::new());
    assert_eq!(count(store.as_ref()).await, Value::Int(0));
    assert_eq!(store.change(&[adding(1), add(2)]).await.unwrap(), [[Value::Int(1)]]);
    assert_eq!(store.change(&[moved(2), moved(9), add(3)]).await.unwrap(), [[Value::Int(1)]], "the first alone is the condition");
    assert_eq!(count(store.as_ref()).await, Value::Int(3));
}

async fn where_one_statement_fails_nothing_is_done(place: &Place) {
    let store: Arc<dyn Store> = place.founded().await.into();
    assert!(store.change(&[adding(1), add(2), add(2)]).await.is_err());
    assert_eq!(count(store.as_ref()).await, Value::Int(0));
    assert_eq!(store.change(&[adding(1)]).await.unwrap(), [[Value::Int(1)]], "the connection is of use again");
}

async fn of_many_holders_one_moves_a_place_on(place: &Place) {
    let store: Arc<dyn Store> = place.founded().await.into();
    let claims: Vec<Claim> = (0..8).map(|_| Claim::new(Arc::clone(&store), Clock::default(), "place")).collect();
    let taken = join_all(claims.iter().map(|claim| claim.take(4))).await;
    let taken: Vec<_> = taken.into_iter().map(Result::unwrap).collect();
    assert_eq!(taken.iter().flatten().collect::<Vec<_>>(), [&4], "one of all has it, where it begins");
    let moved = join_all(claims.iter().map(|claim| claim.move_to(7, Vec::new()))).await;
    let moved: Vec<_> = moved.into_iter().map(Result::unwrap).collect();
    assert_eq!(moved, taken.iter().map(Option::is_some).collect::<Vec<_>>(), "who has it moves it on");
    let holder = taken.iter().position(Option::is_some).unwrap();
    assert!(!claims[holder].move_to(6, Vec::new()).await.unwrap(), "never back");
    claims[holder].give_back().await;
    assert_eq!(claims[(holder + 1) % 8].take(0).await.unwrap(), Some(7), "it goes on where it was");
    assert!(!claims[holder].move_to(9, Vec::new()).await.unwrap());
}

async fn a_place_is_taken_over_once_its_holder_is_not_heard_of(place: &Place) {
    let store: Arc<dyn Store> = place.founded().await.into();
    let now = Arc::new(AtomicI64::new(1_000_000));
    let claim = || Claim::new(Arc::clone(&store), Clock::Manual(Arc::clone(&now)), "place");
    let (first, second) = (claim(), claim());
    assert_eq!(first.take(-1).await.unwrap(), Some(-1));
    now.fetch_add(i64::try_from(CLAIM_FOR.as_micros()).unwrap(), Ordering::Relaxed);
    assert_eq!(second.take(-1).await.unwrap(), None, "not a moment before");
    assert!(first.move_to(3, Vec::new()).await.unwrap(), "being heard of holds it longer");
    now.fetch_add(1 + i64::try_from(CLAIM_FOR.as_micros()).unwrap(), Ordering::Relaxed);
    assert_eq!(second.take(-1).await.unwrap(), Some(3));
    assert!(!first.move_to(5, Vec::new()).await.unwrap());
}
