//! Checkpoints and proofs: every event is proved to be in the log, every log to be the beginning of the later ones, and every
//! license's stream to end where it ends, by whoever computes it again from the definition.

use std::sync::Arc;

use keyledger::{
    clock::Clock,
    evidence::{self, ENTRY_BYTES, EvidenceError, Publisher},
    ledger::{
        Command, Ledger,
        tree::{Hash, leaf_hash, node_hash},
    },
    signer::NoteSigner,
    store::{Publication, Store, StoredEvent, TileKey},
};
use keyledger_events::{
    Event,
    stream_map::{StreamMapEvent, StreamMapRecorded},
};

use super::{Backend, Fixture, activate, create, execute, key, tampering::raw::Raw};

both_backends!(
    every_event_is_in_every_later_checkpoint,
    every_checkpoint_is_the_beginning_of_the_later_ones,
    the_map_says_where_each_stream_ends,
    who_publishes_at_once_publishes_one_log,
    a_log_that_was_changed_is_not_signed,
    an_event_that_was_changed_before_it_is_folded_is_not_signed,
    a_license_number_out_of_line_is_not_signed,
    maps_are_recorded_out_of_order_but_never_wrong,
    a_log_behind_its_checkpoint_is_not_opened,
    nothing_new_needs_no_checkpoint,
);

fn publisher(ledger: &Ledger) -> Publisher {
    let signer = Arc::new(NoteSigner::new(ledger.vault(), "test.example/ledger").unwrap());
    Publisher::new(ledger.clone(), Clock::default(), signer)
}

async fn log(store: &Arc<dyn Store>) -> Vec<StoredEvent> {
    store.events(0, 1_000_000).await.unwrap()
}

/// The root by the definition of RFC 6962.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => leaf_hash(b""),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&root(left), &root(right))
        }
    }
}

fn hashes(events: &[StoredEvent]) -> Vec<Hash> {
    events.iter().map(|event| event.leaf_hash).collect()
}

/// The root that an audit path leads to, as RFC 9162 computes it.
fn root_by_path(index: i64, size: i64, leaf: Hash, path: &[Hash]) -> Option<Hash> {
    let (mut fn_, mut sn, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if sn == 0 {
            return None;
        }
        if fn_ & 1 == 1 || fn_ == sn {
            hash = node_hash(sibling, &hash);
            while fn_ & 1 == 0 && fn_ != 0 {
                (fn_, sn) = (fn_ >> 1, sn >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (fn_, sn) = (fn_ >> 1, sn >> 1);
    }
    (sn == 0).then_some(hash)
}

/// Both roots that a consistency proof leads to, as RFC 9162 computes them.
fn roots_by_consistency(first: i64, second: i64, first_root: Hash, proof: &[Hash]) -> Option<(Hash, Hash)> {
    if first == second {
        return proof.is_empty().then_some((first_root, first_root));
    }
    let mut path: Vec<Hash> = if first.count_ones() == 1 { vec![first_root] } else { Vec::new() };
    path.extend_from_slice(proof);
    let mut path = path.into_iter();
    let (mut fn_, mut sn) = (first - 1, second - 1);
    while fn_ & 1 == 1 {
        (fn_, sn) = (fn_ >> 1, sn >> 1);
    }
    let start = path.next()?;
    let (mut older, mut newer) = (start, start);
    for hash in path {
        if sn == 0 {
            return None;
        }
        if fn_ & 1 == 1 || fn_ == sn {
            (older, newer) = (node_hash(&hash, &older), node_hash(&hash, &newer));
            while fn_ & 1 == 0 && fn_ != 0 {
                (fn_, sn) = (fn_ >> 1, sn >> 1);
            }
        } else {
            newer = node_hash(&newer, &hash);
        }
        (fn_, sn) = (fn_ >> 1, sn >> 1);
    }
    (sn == 0).then_some((older, newer))
}

async fn add_licenses(fixture: &Fixture, name: &str, count: usize) {
    let keys: Vec<String> = (0..count).map(|i| format!("{name}-{i}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    fixture.run(create(&keys, 0)).await;
}

async fn every_event_is_in_every_later_checkpoint(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    let publisher = publisher(&fixture.ledger);
    let store = fixture.ledger.store();
    let mut published = Vec::new();
    for (name, count) in [("A", 1), ("B", 270), ("C", 2_300)] {
        add_licenses(&fixture, name, count).await;
        published.push(publisher.publish().await.unwrap().unwrap());
    }
    let events = log(store).await;
    for checkpoint in &published {
        let size = checkpoint.size;
        let leaves = hashes(&events[..size as usize]);
        assert_eq!(root(&leaves), checkpoint.root);
        for position in (0..size).step_by(97).chain([size - 1]) {
            let path = evidence::inclusion_proof(store, position, size).await.unwrap();
            assert_eq!(root_by_path(position, size, leaves[position as usize], &path), Some(checkpoint.root), "{position} of {size}");
        }
        assert!(matches!(evidence::inclusion_proof(store, size, size).await, Err(EvidenceError::OutOfRange(_))));
        assert!(matches!(evidence::inclusion_proof(store, -1, size).await, Err(EvidenceError::OutOfRange(_))));
    }
    let ahead = events.len() as i64 + 1;
    assert!(matches!(evidence::inclusion_proof(store, 0, ahead).await, Err(EvidenceError::OutOfRange(_))));
    fixture.verify().await;
}

async fn every_checkpoint_is_the_beginning_of_the_later_ones(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    add_licenses(&fixture, "A", 600).await;
    publisher(&fixture.ledger).publish().await.unwrap();
    let store = fixture.ledger.store();
    let leaves = hashes(&log(store).await);
    let sizes: Vec<usize> = (0..20).chain([255, 256, 257, 511, 512, 513, leaves.len() - 1, leaves.len()]).collect();
    for (i, first) in sizes.iter().enumerate() {
        for second in &sizes[i..] {
            let proof = evidence::consistency_proof(store, *first as i64, *second as i64).await.unwrap();
            if *first == 0 {
                assert!(proof.is_empty());
                continue;
            }
            let roots = (root(&leaves[..*first]), root(&leaves[..*second]));
            assert_eq!(roots_by_consistency(*first as i64, *second as i64, roots.0, &proof), Some(roots), "{first} to {second}");
        }
    }
    assert!(matches!(evidence::consistency_proof(store, 9, 8).await, Err(EvidenceError::OutOfRange(_))));
}

async fn the_map_says_where_each_stream_ends(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    add_licenses(&fixture, "A", 400).await;
    let (publisher, store) = (publisher(&fixture.ledger), fixture.ledger.store());
    publisher.publish().await.unwrap();
    for identifier in ["a", "b"] {
        fixture.run(activate(identifier)).await;
    }
    fixture.run(Command::BlockLicense { key: key("A-399") }).await;
    for license in [1, 2, 256, 257, 401] {
        let published = publisher.publish_for(license).await.unwrap();
        let (map, checkpoint) = (published.map.unwrap(), published.checkpoint);
        let events = log(store).await;
        let recorded = keyledger::ledger::replay::recorded(store, fixture.ledger.vault(), map.event, map.event + 1).await.unwrap();
        let Event::StreamMap(StreamMapEvent::StreamMapRecorded(record)) = &recorded[0].event else { panic!("not a map") };
        assert!(map.event >= map.size && checkpoint.size > map.event);
        assert_eq!((record.licenses, record.size), (401, map.size));
        let path = root_by_path(map.index, record.licenses, leaf_hash(&map.entry), &map.hashes);
        assert_eq!(path.map(hex::encode).as_ref(), Some(&record.root));
        // The entry is the end of the license's stream in the log.
        let first = format!("\"license\":{license},");
        let stream = events.iter().find(|event| event.event_type == "LicenseCreated" && event.payload.contains(&first)).unwrap().aggregate_id;
        let last = events.iter().rfind(|event| event.aggregate_id == stream && event.position < map.size).unwrap();
        let mut entry = [0; ENTRY_BYTES];
        entry[..16].copy_from_slice(stream.as_bytes());
        entry[16..24].copy_from_slice(&last.sequence.to_be_bytes());
        entry[24..].copy_from_slice(&last.position.to_be_bytes());
        assert_eq!(map.entry, entry, "license {license}");
    }
    for unknown in [0, -1, 402] {
        assert!(matches!(publisher.publish_for(unknown).await, Err(EvidenceError::OutOfRange(_))), "{unknown}");
    }
    fixture.verify().await;
}

async fn who_publishes_at_once_publishes_one_log(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    let second = fixture.reopened(false).await.unwrap();
    let writing = async {
        for i in 0..40 {
            execute(&fixture.ledger, create(&[&format!("W-{i}")], 0)).await.unwrap();
        }
    };
    let publishing = async |ledger: &Ledger| {
        let publisher = publisher(ledger);
        for i in 0..12 {
            publisher.publish().await.unwrap();
            let proof = publisher.publish_for(1 + i % 2).await;
            // The second license comes while this runs.
            assert!(proof.is_ok() || i % 2 == 1, "{:?}", proof.err());
        }
    };
    futures::join!(writing, publishing(&fixture.ledger), publishing(&second));
    let store = fixture.ledger.store();
    let leaves = hashes(&log(store).await);
    for checkpoint in evidence::checkpoints(store, -1, 10_000).await.unwrap() {
        assert_eq!(root(&leaves[..checkpoint.size as usize]), checkpoint.root);
    }
    fixture.verify().await;
}

async fn a_log_that_was_changed_is_not_signed(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    let (publisher, store) = (publisher(&fixture.ledger), fixture.ledger.store());
    let first = publisher.publish().await.unwrap();
    let size = evidence::size(store).await.unwrap();
    let key = TileKey { tree: 0, level: 0, number: 0 };
    let mut entries = hashes(&log(store).await).concat();
    entries[33] ^= 1;
    let forged = Publication { from: size, to: size, tiles: vec![(key, entries)], checkpoint: None };
    assert!(store.publish(&forged).await.unwrap());
    fixture.run(activate("a")).await;
    let error = publisher.publish().await.unwrap_err();
    assert!(matches!(error, EvidenceError::Damaged(_)), "{error}");
    assert_eq!(evidence::newest_checkpoint(store).await.unwrap(), first);
    let error = evidence::verify(store, fixture.ledger.vault(), Vec::new(), &mut |_, _| {}).await.unwrap_err().to_string();
    assert!(error.contains("event 1 "), "{error}");
}

/// What a column of an event says, as it stands in the database.
async fn column(raw: &Raw, column: &str, position: i64) -> String {
    raw.texts(&format!("SELECT {column} FROM events WHERE position = {position}")).await.remove(0)
}

async fn set(raw: &Raw, column: &str, value: &str, position: i64) {
    raw.execute(&format!("UPDATE events SET {column} = {value} WHERE position = {position}")).await.unwrap();
}

async fn an_event_that_was_changed_before_it_is_folded_is_not_signed(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    let (publisher, store) = (publisher(&fixture.ledger), fixture.ledger.store());
    let raw = Raw::open(backend, &fixture.opened.place).await;
    let first = publisher.publish().await.unwrap();
    let size = evidence::size(store).await.unwrap();
    fixture.run(activate("a")).await;
    let position = size.events;
    for (name, forged) in [("sequence", "sequence + 5"), ("payload", r#"'{"LicenseActivated":{}}'"#), ("metadata", "'{}'")] {
        let original = column(&raw, name, position).await;
        set(&raw, name, forged, position).await;
        for refused in [publisher.publish().await.map(drop), publisher.publish_for(1).await.map(drop)] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains(&format!("event {position} does not have the hash")), "{name}: {error}");
        }
        assert_eq!((evidence::newest_checkpoint(store).await.unwrap(), evidence::size(store).await.unwrap()), (first.clone(), size));
        set(&raw, name, &format!("'{original}'"), position).await;
    }
    publisher.publish().await.unwrap();
    fixture.verify().await;
}

async fn a_license_number_out_of_line_is_not_signed(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    let (publisher, store) = (publisher(&fixture.ledger), fixture.ledger.store());
    let raw = Raw::open(backend, &fixture.opened.place).await;
    let first = publisher.publish().await.unwrap();
    add_licenses(&fixture, "A", 1).await;
    let position = store.head().await.unwrap().next_position - 1;
    let payload = column(&raw, "payload", position).await;
    for number in ["3", "1099511627776", "0", "-2"] {
        let forged = payload.replace("\"license\":2,", &format!("\"license\":{number},"));
        assert_ne!(forged, payload);
        set(&raw, "payload", &format!("'{forged}'"), position).await;
        // By somebody who knows how hashes are made.
        let event = store.events(position, 1).await.unwrap().remove(0);
        let hash = leaf_hash(event.leaf(fixture.ledger.vault().ledger_id()).canonical().as_bytes());
        set(&raw, "leaf_hash", &raw.bytes(&hash), position).await;
        let error = publisher.publish().await.unwrap_err().to_string();
        assert!(error.contains(&format!("event {position} is of license {number}, and there are 1 before it")), "{error}");
        assert_eq!(evidence::newest_checkpoint(store).await.unwrap(), first);
    }
}

async fn maps_are_recorded_out_of_order_but_never_wrong(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    let (publisher, store) = (publisher(&fixture.ledger), fixture.ledger.store());
    let mut records: Vec<StreamMapRecorded> = Vec::new();
    for name in ["A", "B", "C"] {
        add_licenses(&fixture, name, 3).await;
        fixture.run(activate(name)).await;
        let event = publisher.publish_for(1).await.unwrap().map.unwrap().event;
        let recorded = keyledger::ledger::replay::recorded(store, fixture.ledger.vault(), event, event + 1).await.unwrap();
        let Event::StreamMap(StreamMapEvent::StreamMapRecorded(record)) = &recorded[0].event else { panic!("not a map") };
        records.push(record.clone());
    }
    // As by nodes that took their time.
    for at in [1, 0, 2, 0] {
        fixture.run(Command::RecordStreamMap(records[at].clone())).await;
    }
    fixture.verify().await;
    let position = store.head().await.unwrap().next_position;
    fixture.run(Command::RecordStreamMap(StreamMapRecorded { root: records[1].root.clone(), ..records[0].clone() })).await;
    let error = evidence::verify(store, fixture.ledger.vault(), Vec::new(), &mut |_, _| {}).await.unwrap_err().to_string();
    assert!(error.contains(&format!("event {position} records a stream map that is not that of the first {} events", records[0].size)), "{error}");
}

async fn a_log_behind_its_checkpoint_is_not_opened(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    let store = fixture.ledger.store();
    let signer = NoteSigner::new(fixture.ledger.vault(), "test.example/ledger").unwrap();
    let published = publisher(&fixture.ledger).publish().await.unwrap().unwrap();
    evidence::check_start(store, &signer, None).await.unwrap();
    // The checkpoint that another log of the same ledger would have, kept outside.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoint");
    evidence::check_start(store, &signer, Some(&file)).await.unwrap();
    std::fs::write(&file, &published.note).unwrap();
    evidence::check_start(store, &signer, Some(&file)).await.unwrap();
    let noted = |size, root| signer.note(&keyledger::signer::NotedCheckpoint { size, root });
    for (note, says) in [
        (noted(published.size + 1, published.root), "behind"),
        (noted(published.size, [1; 32]), "are not those"),
        (published.note.replace("test.example", "else.example"), "no checkpoint signed by this ledger"),
    ] {
        std::fs::write(&file, note).unwrap();
        let error = evidence::check_start(store, &signer, Some(&file)).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

async fn nothing_new_needs_no_checkpoint(backend: Backend) {
    let fixture = Fixture::with_license(backend, 0).await;
    let publisher = publisher(&fixture.ledger);
    let first = publisher.publish().await.unwrap();
    assert_eq!(publisher.publish().await.unwrap(), first);
    assert_eq!(first.unwrap().size, fixture.ledger.store().head().await.unwrap().next_position);
}
