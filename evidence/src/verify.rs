//! What is checked, in the order in which it is checked. Each check says what it found in a sentence; the first that fails ends it.

use crate::{
    Wrong, answer, archive,
    case::{self, CHECKPOINT_SIGNATURE, Case, EVENTS, PROOF},
    ensure,
    event::{Event, uuid_text},
    facts::{self, Facts},
    keys::{self, Key},
    map::{entry, read_entry},
    note::{Lines, VerifierKey, open_checkpoint},
    proof::{hash, hashes},
    rsa_check, time,
    tree::{is_consistent, leaf_hash, root_from_inclusion},
};

/// What the one who checks brings along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Checkpoints that were kept: signed notes.
    pub checkpoints: Vec<String>,
    /// Keys that are trusted: a vkey, or the global public key in PEM.
    pub public_keys: Vec<String>,
    /// Signed answers of the server that were kept.
    pub answers: Vec<Vec<u8>>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What was checked and holds, a sentence each.
    pub checked: Vec<String>,
    /// The first thing wrong.
    pub wrong: Option<Wrong>,
}

/// Checks a dispute file.
#[must_use]
pub fn verify(archive: &[u8], given: &Given) -> Verdict {
    let mut checked = Vec::new();
    let wrong = check(archive, given, &mut checked).err();
    Verdict { checked, wrong }
}

fn check(archive: &[u8], given: &Given, checked: &mut Vec<String>) -> Result<(), Wrong> {
    let files = archive::read(archive)?;
    case::check_names(&files)?;
    let case = Case::read(&files)?;
    let proof = &case.proof;
    checked.push(format!("The archive has the {} files of a dispute file about license {}, and nothing else.", files.len(), proof.license));
    check_checkpoint(&case, given, checked)?;
    check_events(&case, checked)?;
    let global = check_signature(&case, given, checked)?;
    check_stream(&case, checked)?;
    check_map(&case, checked)?;
    check_earlier(&case, given, checked)?;
    check_key_streams(&case)?;

    let facts = Facts::of(&case)?;
    let last = facts.steps.last().map(|step| step.state.key.as_str());
    ensure(last == Some(proof.license_key.as_str()), || format!("the license's key after its last event is not the one in {PROOF}"))?;
    if case.secrets.is_some() {
        checked.push(format!("The personal data of {} events was opened, and is what was sealed when they were recorded.", facts.opened.len()));
    }
    for (name, text) in case::derive(&files, &case, &facts)? {
        ensure(files.get(name).map(Vec::as_slice) == Some(text.as_bytes()), || {
            format!("{name} is not what the events add up to: it was altered, or made by another version of this program")
        })?;
    }
    checked.push("The states, the list of keys and the report were made again from the events, and are the same byte for byte.".to_owned());
    for answer in &given.answers {
        checked.extend(answer::check(answer, &facts)?);
    }
    if given.public_keys.is_empty() {
        checked.push(format!(
            "Both keys were taken from the file itself. Compare them with what you have from elsewhere, or give one with --public-key: \
             the checkpoint key {}, and key pair {global}, the public key that the vendor's programs hold.",
            case.key
        ));
    }
    Ok(())
}

/// The checkpoint's Ed25519 signature was checked when it was read; here, whether it is the right log's and key's.
fn check_checkpoint(case: &Case, given: &Given, checked: &mut Vec<String>) -> Result<(), Wrong> {
    let checkpoint = &case.checkpoint;
    for key in given.public_keys.iter().filter(|key| !is_pem(key)) {
        let key = VerifierKey::parse(key.trim()).map_err(|wrong| Wrong(format!("the given public key can't be read: {wrong}")))?;
        ensure(key == case.key, || format!("the file's checkpoint is signed by {}, not by the given key {key}", case.key))?;
        checked.push(format!("The checkpoint's key is the given one, {key}."));
    }
    ensure(checkpoint.size == case.proof.size, || format!("the checkpoint is of size {}, {PROOF} of size {}", checkpoint.size, case.proof.size))?;
    checked.push(format!(
        "The checkpoint says that the log “{}” had {} events with root {}; its Ed25519 signature is valid.",
        checkpoint.origin,
        checkpoint.size,
        hex::encode(checkpoint.root)
    ));
    Ok(())
}

/// Every line is an event of the log at its position, in order.
fn check_events(case: &Case, checked: &mut Vec<String>) -> Result<(), Wrong> {
    let (events, inclusion, checkpoint) = (&case.events, &case.proof.inclusion, &case.checkpoint);
    for (index, (event, proof)) in events.iter().zip(inclusion).enumerate() {
        let (line, at) = (index + 1, proof.position);
        ensure(event.position == at, || {
            format!("line {line} of {EVENTS} is the event at position {}, {PROOF} expects the one at {at}", event.position)
        })?;
        let root = root_from_inclusion(&event.hash, at, checkpoint.size, &hashes(&proof.hashes)?);
        ensure(root == Some(checkpoint.root), || {
            format!("the event at position {at} (line {line} of {EVENTS}) is not in the log as signed: it was altered, or its proof was")
        })?;
    }
    if let Some(event) = events.get(inclusion.len()) {
        return Err(Wrong(format!("the event at position {} has no proof in {PROOF}", event.position)));
    }
    if let Some(proof) = inclusion.get(events.len()) {
        return Err(Wrong(format!("the event at position {}, of which {PROOF} has a proof, is missing in {EVENTS}", proof.position)));
    }
    for pair in events.windows(2) {
        ensure(pair[0].position < pair[1].position, || format!("the event at position {} stands in the wrong place", pair[1].position))?;
        ensure(pair[0].recorded_at <= pair[1].recorded_at, || {
            format!("the event at position {} was recorded before the one at position {}", pair[1].position, pair[0].position)
        })?;
    }
    let first = events.first().filter(|event| event.position == 0 && event.is("ledger", "LedgerCreated"));
    let ledger = first.ok_or_else(|| Wrong("the log's first event, LedgerCreated at position 0, is missing".to_owned()))?;
    let id = uuid_text(&ledger.ledger_id);
    ensure(case.proof.ledger_id == id && ledger.text("ledger_id")? == id, || {
        "the file is not about the ledger that its first event names".to_owned()
    })?;
    if let Some(event) = events.iter().find(|event| event.ledger_id != ledger.ledger_id) {
        return Err(Wrong(format!("the event at position {} is of another ledger", event.position)));
    }
    checked.push(format!(
        "All {} events are written in the one canonical way and are in that log, each at its position (inclusion proofs of RFC 6962); \
         their times never run backwards.",
        events.len()
    ));
    Ok(())
}

fn is_pem(key: &str) -> bool {
    key.trim_start().starts_with("-----BEGIN")
}

/// The RSA signature of the global key pair, whose public half is in the log and in the vendor's programs. Returns its number.
fn check_signature(case: &Case, given: &Given, checked: &mut Vec<String>) -> Result<i64, Wrong> {
    let all = keys::read(&case.events)?;
    let message = rsa_check::checkpoint_message(&case.note);
    let signs = |key: &&Key| rsa_check::public_key(&key.public_key).is_ok_and(|key| rsa_check::is_signed(&key, &message, &case.checkpoint_signature));
    let key = keys::global(&all).find(signs);
    let key = key.ok_or_else(|| Wrong(format!("{CHECKPOINT_SIGNATURE} is not a signature of the checkpoint by the ledger's global key pair")))?;
    checked.push(format!(
        "The checkpoint is also signed by key pair {}, the ledger's global one ({}), recorded in the log at position {}.",
        key.key_pair, key.algorithm, key.position
    ));
    let logged = rsa_check::public_key(&key.public_key)?;
    for pem in given.public_keys.iter().filter(|key| is_pem(key)) {
        let trusted = rsa_check::public_key(pem).map_err(|wrong| Wrong(format!("the given public key can't be read: {wrong}")))?;
        if trusted != logged {
            let other = all.iter().find(|key| rsa_check::public_key(&key.public_key).is_ok_and(|key| key == trusted));
            return Err(Wrong(other.map_or_else(
                || "the given public key is not in the ledger".to_owned(),
                |key| {
                    format!("the given public key is key pair {} of this ledger, which does not sign checkpoints; give the global one", key.key_pair)
                },
            )));
        }
        checked.push(format!("Key pair {} is the given public key.", key.key_pair));
    }
    Ok(key.key_pair)
}

/// The license's events follow each other without a gap, from its creation on.
fn check_stream(case: &Case, checked: &mut Vec<String>) -> Result<(), Wrong> {
    let (events, license) = (case.license_events(), case.proof.license);
    let mut before: Option<&Event> = None;
    for event in &events {
        let Event { position, sequence, .. } = event;
        ensure(u64::try_from(event.number("license")?) == Ok(license), || format!("the event at position {position} is not of license {license}"))?;
        let (expected, after) = before.map_or((1, "the beginning".to_owned()), |event| (event.sequence + 1, format!("position {}", event.position)));
        ensure(*sequence == expected, || {
            format!("the license's event number {expected} is missing: between {after} and position {position}, which is its number {sequence}")
        })?;
        ensure(before.is_none_or(|before| before.aggregate_id == event.aggregate_id), || {
            format!("the event at position {position} is of another stream")
        })?;
        before = Some(event);
    }
    let last = before.ok_or_else(|| Wrong(format!("there is no event of license {license}")))?;
    checked.push(format!("The license's events are numbered from 1 to {} without a gap.", last.sequence));
    Ok(())
}

/// The stream map says which the license's last event was: so none is missing at the end either.
fn check_map(case: &Case, checked: &mut Vec<String>) -> Result<(), Wrong> {
    let (map, proof, events) = (facts::map(&case.events)?, &case.proof, case.license_events());
    let recorded = map.event.position;
    ensure(proof.map.event == recorded && map.size <= recorded, || {
        format!("the stream map at position {recorded} is not the one that {PROOF} names, or is of later events")
    })?;
    ensure(proof.map.index.checked_add(1) == Some(proof.license) && proof.license <= map.licenses, || {
        format!("the stream map at position {recorded} has {} licenses; license {} is not the one that {PROOF} looks up", map.licenses, proof.license)
    })?;
    let last = events.last().ok_or_else(|| Wrong("there is no event of the license".to_owned()))?;
    let claimed = hash(&proof.map.entry).ok_or_else(|| Wrong(format!("the stream map's entry in {PROOF} can't be read")))?;
    let (id, sequence, position) = read_entry(&claimed);
    ensure(last.position < map.size, || format!("the event at position {} is later than the stream map", last.position))?;
    ensure(claimed == entry(&last.aggregate_id, last.sequence, last.position), || {
        let (have, at) = (last.sequence, last.position);
        match (id == last.aggregate_id, sequence > have) {
            (true, true) => {
                format!("the license's event number {sequence} at position {position} is missing: the file ends with number {have} at position {at}")
            }
            _ => format!("the stream map's entry in {PROOF} is not that of event number {have} at position {at}, the license's last in this file"),
        }
    })?;
    let root = root_from_inclusion(&leaf_hash(&claimed), proof.map.index, map.licenses, &hashes(&proof.map.hashes)?);
    ensure(root.is_some() && root == hash(map.root), || {
        format!(
            "the stream map recorded at position {recorded} does not say that the license's last event is number {} at position {}: \
             an event after it is missing, or the map's proof was altered",
            last.sequence, last.position
        )
    })?;
    checked.push(format!(
        "No event of the license is missing, up to and with position {}: the stream map of all {} licenses, recorded in the log at position {recorded} on {}, \
         says that the license's last event is number {} at position {}.",
        map.size.saturating_sub(1),
        map.licenses,
        time::in_words(map.event.recorded_at),
        last.sequence,
        last.position
    ));
    Ok(())
}

/// The log only grew since checkpoints that somebody else holds.
fn check_earlier(case: &Case, given: &Given, checked: &mut Vec<String>) -> Result<(), Wrong> {
    let now = &case.checkpoint;
    for earlier in &case.earlier {
        let (name, then) = (&earlier.name, &earlier.checkpoint);
        ensure(is_consistent(then.size, &then.root, now.size, &now.root, &earlier.hashes), || {
            format!(
                "the log is not the one that the checkpoint {name} was made of: what is before its event {} was altered since, or the proof was",
                then.size
            )
        })?;
        checked
            .push(format!("The log of the earlier checkpoint of {} events is the beginning of this one (consistency proof of RFC 6962).", then.size));
    }
    for note in &given.checkpoints {
        let kept = open_checkpoint(note, &case.key, Lines::Any).map_err(|wrong| Wrong(format!("the given checkpoint does not fit: {wrong}")))?;
        let same = case.earlier.iter().map(|earlier| &earlier.checkpoint).chain([now]).find(|checkpoint| checkpoint.size == kept.size);
        let same = same.ok_or_else(|| {
            Wrong(if kept.size > now.size {
                format!("the file ends at {} events, the given checkpoint is of {}: ask for a newer file", now.size, kept.size)
            } else {
                format!(
                    "the file has no consistency proof from the given checkpoint of {} events: ask for a file made with that checkpoint",
                    kept.size
                )
            })
        })?;
        ensure(same.root == kept.root, || {
            format!("the given checkpoint of {} events has another root: there are two versions of this log", kept.size)
        })?;
        checked.push(format!("The given checkpoint of {} events is of this log.", kept.size));
    }
    Ok(())
}

/// The events of each key pair follow each other without a gap; later ones can't be shown to be there.
fn check_key_streams(case: &Case) -> Result<(), Wrong> {
    let pairs: Vec<&Event> = case.events.iter().filter(|event| event.aggregate_type == "key_pair").collect();
    for (index, event) in pairs.iter().enumerate() {
        let before = pairs[..index].iter().filter(|other| other.aggregate_id == event.aggregate_id).count() as u64;
        ensure(event.sequence == before + 1, || format!("an event of the key pair at position {} is missing before it", event.position))?;
    }
    Ok(())
}
