//! Consumers of the feed lose nothing, whatever becomes of servers and connections: every one ends with every position exactly once, in
//! order. It takes a minute; with `KEYLEDGER_SOAK_ROUNDS=100`, five.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures::future::{join, join_all};

use crate::support::feed::position;
use crate::support::{Backend, Client, Ledger, ServeOptions, Server, both_backends, fields, soak_rounds};

const WRITERS: usize = 32;
const CONSUMERS: usize = 4;
/// Of these, so many are disconnected at random.
const DISCONNECTED: usize = 2;
/// How long servers are killed, one every few seconds.
const KILLED_FOR: Duration = Duration::from_secs(60);
/// Kills at least, in any case.
const ROUNDS: usize = 10;
/// How long whoever finds no server waits for one.
const PAUSE: Duration = Duration::from_millis(50);

both_backends!(every_consumer_gets_every_event_once);

/// Who can be asked at the moment: a server for each place, until it is killed and again once it is back.
struct Nodes(RwLock<Vec<Client>>);

impl Nodes {
    fn any(&self) -> Client {
        let nodes = self.0.read().expect("no panic under the lock");
        nodes[rand::random_range(0..nodes.len())].clone()
    }

    fn put(&self, place: usize, server: &Server) {
        self.0.write().expect("no panic under the lock")[place] = server.client();
    }
}

async fn every_consumer_gets_every_event_once(backend: Backend) {
    let ledger = Ledger::new(backend).await;
    let places = match backend {
        Backend::Sqlite => vec![ledger.place.clone()],
        Backend::Postgres => vec![ledger.place.clone(), ledger.place.another_node("node-2")],
    };
    let mut servers = Vec::new();
    for place in &places {
        servers.push(Some(ledger.serve_at(place, ServeOptions::default()).await));
    }
    let clients = servers.iter().flatten().map(Server::client).collect();
    let nodes = Nodes(RwLock::new(clients));
    let product = nodes.any().new_product().await;
    let license = nodes.any().new_license(product, fields!(activation_limit: 0)).await;

    let (is_over, end) = (AtomicBool::new(false), AtomicI64::new(i64::MAX));
    let writers = join_all((0..WRITERS).map(|writer| write(&nodes, &license, writer, &is_over)));
    let consumers = join_all((0..CONSUMERS).map(|consumer| consume(&nodes, consumer < DISCONNECTED, &end)));
    let killing = async {
        let (begun, rounds) = (Instant::now(), soak_rounds(ROUNDS));
        for round in 0.. {
            if round >= rounds && begun.elapsed() >= KILLED_FOR {
                break;
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(3_000..4_000))).await;
            let victim = rand::random_range(0..places.len());
            servers[victim].take().expect("it runs").kill_9();
            let server = ledger.serve_at(&places[victim], ServeOptions::default()).await;
            nodes.put(victim, &server);
            servers[victim] = Some(server);
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let (written, ()) = join(
        async {
            let (written, ()) = join(writers, killing).await;
            // Nobody writes any more: where the log ends is where all must come to.
            end.store(ledger.event_count().await, Ordering::Relaxed);
            // One event more wakes those who wait.
            nodes.any().new_license(product, fields!()).await;
            written
        },
        async {
            for (consumer, seen) in consumers.await.into_iter().enumerate() {
                let end = usize::try_from(end.load(Ordering::Relaxed)).expect("a count");
                let gap = seen.iter().zip(0_i64..).find(|(seen, expected)| **seen != *expected);
                assert_eq!(gap, None, "consumer {consumer}: the first event that is not the next, and what would be");
                assert!(seen.len() >= end, "consumer {consumer} has {} events of {end}", seen.len());
            }
        },
    )
    .await;
    assert!(written.iter().sum::<u64>() > 100, "hardly anything was written: {written:?}");
    ledger.expect_intact().await;
}

/// Activates until it is over; how many times it worked.
async fn write(nodes: &Nodes, license: &str, writer: usize, is_over: &AtomicBool) -> u64 {
    let mut written = 0;
    for number in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let identifier = format!("{writer}-{number}.example");
        match nodes.any().try_form("activate", fields!(license_key: license, identifier: identifier)).await {
            Ok(answer) if answer.code() == 300 => written += 1,
            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.response),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
        // So that a consumer in a debug build keeps up on a busy machine.
        tokio::time::sleep(Duration::from_millis(rand::random_range(5..30))).await;
    }
    written
}

/// Follows until the end, coming again where it was; the positions that it was given.
async fn consume(nodes: &Nodes, is_disconnected: bool, end: &AtomicI64) -> Vec<i64> {
    let mut seen: Vec<i64> = Vec::new();
    let is_done = |seen: &[i64]| i64::try_from(seen.len()).expect("a count") >= end.load(Ordering::Relaxed);
    while !is_done(&seen) {
        let Ok(mut stream) = nodes.any().with_own_connections().try_feed_stream("", seen.last().copied()).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let patience = if is_disconnected { rand::random_range(1..400) } else { usize::MAX };
        for _ in 0..patience {
            let Some(event) = stream.event().await else { break };
            seen.push(position(&event));
            if is_done(&seen) {
                break;
            }
        }
    }
    seen
}
