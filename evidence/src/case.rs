//! A dispute file, taken apart into what it holds; and how one is made. Whoever makes it gives events, proofs and signatures; states,
//! keys, report and the archive are made here, and the file is checked before it is given out.

use std::collections::BTreeMap;

use crate::{
    CASE_FORMAT, Wrong,
    archive::{self, Files},
    ensure,
    event::{Event, uuid_text},
    facts::{self, Facts},
    keys,
    map::entry,
    note::{Checkpoint, Lines, VerifierKey, open_checkpoint},
    open::{self, Secret},
    proof::{EarlierProof, Inclusion, MapProof, Proof, write_hashes},
    report,
    rsa_check::{base64, to_base64},
    state,
    tree::Hash,
    verify::{self, Given},
};

pub const EVENTS: &str = "events.jsonl";
pub const PROOF: &str = "proof.json";
pub const CHECKPOINT: &str = "checkpoint";
pub const CHECKPOINT_SIGNATURE: &str = "checkpoint.sig";
pub const CHECKPOINT_KEY: &str = "checkpoint.vkey";
pub const STATES: &str = "states.jsonl";
pub const KEYS: &str = "keys.json";
pub const OPENED: &str = "opened.json";
pub const REPORT: &str = "report.html";
/// Events that a file can have: what an expert may be expected to go through, and what keeps an archive within its size.
pub const EVENTS_MAX: usize = 100_000;
/// Before the sizes of earlier checkpoints.
pub const EARLIER: &str = "earlier/";

/// What stands in every file.
const NEEDED: [&str; 8] = [EVENTS, PROOF, CHECKPOINT, CHECKPOINT_SIGNATURE, CHECKPOINT_KEY, STATES, KEYS, REPORT];

/// One event and where it stands in the tree of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenEvent {
    /// The canonical leaf.
    pub leaf: String,
    /// Its inclusion proof in the tree of the checkpoint's size, from the leaf upwards.
    pub hashes: Vec<Hash>,
}

/// A checkpoint that the customer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// The signed note, as the customer has it; it may carry witnesses' lines.
    pub note: String,
    /// The consistency proof from its size to the checkpoint's.
    pub hashes: Vec<Hash>,
}

/// What a dispute file is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseInput {
    /// The license's number.
    pub license: u64,
    /// The period in dispute, `2026-05-03T00:00:00.000000Z`; it only marks what is inside it.
    pub from: Option<String>,
    pub to: Option<String>,
    /// By ascending position: `LedgerCreated`; exactly one `StreamMapRecorded`, of map size N; all of the license's events with a
    /// position below N; all events of key pairs; `ProductCreated` and `ProductKeyPairChanged` of the products that the license's
    /// events name; all events of the API keys that act in the license's events. All have positions below the checkpoint's size.
    pub events: Vec<ProvenEvent>,
    /// The signed note, with the log's own signature line alone.
    pub checkpoint: String,
    /// The newest global key pair's signature of [`crate::rsa_check::checkpoint_message`].
    pub checkpoint_signature: Vec<u8>,
    /// The key that checks the note, as [`crate::note::VerifierKey`] writes it.
    pub vkey: String,
    /// The inclusion proof of the license's entry ([`crate::map_entry`]) in the map that `StreamMapRecorded` names: index is the
    /// license's number less one, size its `licenses`.
    pub map_hashes: Vec<Hash>,
    /// At most one of each size.
    pub earlier: Vec<Earlier>,
    /// With personal data: by position, the secrets of those events of the license that have personal data and can still be opened.
    pub secrets: Option<BTreeMap<u64, [u8; 32]>>,
}

/// An earlier checkpoint in a file.
pub struct EarlierCheckpoint {
    pub name: String,
    pub checkpoint: Checkpoint,
    pub hashes: Vec<Hash>,
}

/// A dispute file whose parts can be read; whether they are true is another question.
pub struct Case {
    pub proof: Proof,
    pub key: VerifierKey,
    pub note: String,
    pub checkpoint: Checkpoint,
    pub checkpoint_signature: Vec<u8>,
    pub events: Vec<Event>,
    pub earlier: Vec<EarlierCheckpoint>,
    /// `None` where no personal data was given out.
    pub secrets: Option<BTreeMap<u64, Secret>>,
}

fn text<'a>(files: &'a Files, name: &str) -> Result<&'a str, Wrong> {
    let bytes = files.get(name).ok_or_else(|| Wrong(format!("the file {name} is missing")))?;
    str::from_utf8(bytes).map_err(|_| Wrong(format!("{name} is not UTF-8")))
}

/// The text of a file that is one line.
fn line<'a>(files: &'a Files, name: &str) -> Result<&'a str, Wrong> {
    text(files, name)?.strip_suffix('\n').ok_or_else(|| Wrong(format!("{name} does not end with a line end")))
}

/// Reads lines that each end with a line end.
fn events(text: &str) -> Result<Vec<Event>, Wrong> {
    let lines = text.strip_suffix('\n').ok_or_else(|| Wrong(format!("{EVENTS} does not end with a line end")))?;
    ensure(lines.split('\n').count() <= EVENTS_MAX, || format!("{EVENTS} has more than {EVENTS_MAX} events"))?;
    let read = |(index, line): (usize, &str)| Event::read(line).map_err(|wrong| Wrong(format!("line {} of {EVENTS}: {wrong}", index + 1)));
    lines.split('\n').enumerate().map(read).collect()
}

/// Checks that the archive has the files of a dispute file and no other.
pub fn check_names(files: &Files) -> Result<(), Wrong> {
    for name in NEEDED {
        ensure(files.contains_key(name), || format!("the file {name} is missing"))?;
    }
    for name in files.keys() {
        let is_known = NEEDED.contains(&name.as_str()) || name == OPENED || name.starts_with(EARLIER);
        ensure(is_known, || format!("the file {name} does not belong in a dispute file"))?;
    }
    Ok(())
}

impl Case {
    /// Reads the files from which all others are made.
    pub fn read(files: &Files) -> Result<Self, Wrong> {
        let proof = Proof::read(text(files, PROOF)?)?;
        let key = VerifierKey::parse(line(files, CHECKPOINT_KEY)?).map_err(|wrong| Wrong(format!("{CHECKPOINT_KEY}: {wrong}")))?;
        let note = text(files, CHECKPOINT)?.to_owned();
        let checkpoint = open_checkpoint(&note, &key, Lines::One).map_err(|wrong| Wrong(format!("the checkpoint can't be relied on: {wrong}")))?;
        let signature = base64(line(files, CHECKPOINT_SIGNATURE)?).ok_or_else(|| Wrong(format!("{CHECKPOINT_SIGNATURE} is no line of Base64")))?;
        let events = events(text(files, EVENTS)?)?;
        let earlier = Self::read_earlier(files, &proof, &key)?;
        let secrets = files.contains_key(OPENED).then(|| text(files, OPENED).and_then(open::read)).transpose()?;
        Ok(Self { proof, key, note, checkpoint, checkpoint_signature: signature, events, earlier, secrets })
    }

    /// The earlier checkpoints: a proof for each, and each for a proof.
    fn read_earlier(files: &Files, proof: &Proof, key: &VerifierKey) -> Result<Vec<EarlierCheckpoint>, Wrong> {
        ensure(proof.earlier.is_sorted_by(|one, next| one.size < next.size), || "the earlier checkpoints in proof.json are not in order".to_owned())?;
        let mut earlier = Vec::new();
        for EarlierProof { size, hashes } in &proof.earlier {
            let name = format!("{EARLIER}{size}");
            let checkpoint = open_checkpoint(text(files, &name)?, key, Lines::Any)
                .map_err(|wrong| Wrong(format!("the checkpoint {name} can't be relied on: {wrong}")))?;
            ensure(checkpoint.size == *size, || format!("the checkpoint {name} is of size {}", checkpoint.size))?;
            earlier.push(EarlierCheckpoint { name, checkpoint, hashes: crate::proof::hashes(hashes)? });
        }
        match files.keys().find(|name| name.starts_with(EARLIER) && !earlier.iter().any(|known| known.name == **name)) {
            Some(name) => Err(Wrong(format!("the file {name} has no proof in {PROOF}"))),
            None => Ok(earlier),
        }
    }

    /// The license's own events.
    pub fn license_events(&self) -> Vec<&Event> {
        self.events.iter().filter(|event| event.is_license()).collect()
    }
}

/// The files that are made from the others.
pub fn derive(files: &Files, case: &Case, facts: &Facts<'_>) -> Result<[(&'static str, String); 3], Wrong> {
    let (states, keys) = (state::write(&facts.steps)?, keys::write(&facts.keys)?);
    let report = report::render(&report::digests(files, &[(STATES, &states), (KEYS, &keys)]), case, facts);
    Ok([(STATES, states), (KEYS, keys), (REPORT, report)])
}

/// The proofs as they are written down.
fn proof(input: &CaseInput, events: &[Event], size: u64, earlier: &[EarlierCheckpoint]) -> Result<Proof, Wrong> {
    let license: Vec<&Event> = events.iter().filter(|event| event.is_license()).collect();
    let steps = state::replay(license.iter().copied())?;
    let (Some(last), Some(step), Some(first)) = (license.last(), steps.last(), events.first()) else {
        return Err(Wrong("there is no event of the license".to_owned()));
    };
    let inclusion = |(event, proven): (&Event, &ProvenEvent)| Inclusion { hashes: write_hashes(&proven.hashes), position: event.position };
    Ok(Proof {
        earlier: earlier.iter().map(|earlier| EarlierProof { hashes: write_hashes(&earlier.hashes), size: earlier.checkpoint.size }).collect(),
        format: CASE_FORMAT.to_owned(),
        from: input.from.clone(),
        inclusion: events.iter().zip(&input.events).map(inclusion).collect(),
        ledger_id: uuid_text(&first.ledger_id),
        license: input.license,
        license_key: step.state.key.clone(),
        map: MapProof {
            entry: hex::encode(entry(&last.aggregate_id, last.sequence, last.position)),
            event: facts::map(events)?.event.position,
            hashes: write_hashes(&input.map_hashes),
            index: input.license.saturating_sub(1),
        },
        size,
        to: input.to.clone(),
    })
}

/// Makes the dispute file: the bytes of the archive.
///
/// # Errors
/// When what is given does not make up a file that passes its own check.
pub fn build(input: &CaseInput) -> Result<Vec<u8>, Wrong> {
    let (mut files, mut earlier) = (Files::new(), Vec::new());
    let key = VerifierKey::parse(&input.vkey)?;
    for Earlier { note, hashes } in &input.earlier {
        let checkpoint = open_checkpoint(note, &key, Lines::Any)?;
        let name = format!("{EARLIER}{}", checkpoint.size);
        ensure(files.insert(name.clone(), note.clone().into_bytes()).is_none(), || format!("{name} is given twice"))?;
        earlier.push(EarlierCheckpoint { name, checkpoint, hashes: hashes.clone() });
    }
    earlier.sort_by_key(|earlier| earlier.checkpoint.size);
    let mut leaves = String::new();
    for event in &input.events {
        leaves.push_str(&event.leaf);
        leaves.push('\n');
    }
    let (events, checkpoint) = (events(&leaves)?, open_checkpoint(&input.checkpoint, &key, Lines::One)?);
    let proof = proof(input, &events, checkpoint.size, &earlier)?;
    files.insert(EVENTS.to_owned(), leaves.into_bytes());
    files.insert(PROOF.to_owned(), crate::canonical(&proof)?.into_bytes());
    files.insert(CHECKPOINT.to_owned(), input.checkpoint.clone().into_bytes());
    files.insert(CHECKPOINT_SIGNATURE.to_owned(), format!("{}\n", to_base64(&input.checkpoint_signature)).into_bytes());
    files.insert(CHECKPOINT_KEY.to_owned(), format!("{}\n", input.vkey).into_bytes());
    if let Some(secrets) = &input.secrets {
        files.insert(OPENED.to_owned(), open::write(secrets)?.into_bytes());
    }
    let (note, checkpoint_signature, secrets) = (input.checkpoint.clone(), input.checkpoint_signature.clone(), input.secrets.clone());
    let case = Case { proof, key, note, checkpoint, checkpoint_signature, events, earlier, secrets };
    let derived = derive(&files, &case, &Facts::of(&case)?)?;
    files.extend(derived.map(|(name, text)| (name.to_owned(), text.into_bytes())));
    let archive = archive::write(&files)?;
    // Checking takes as much memory again.
    drop((files, case));
    verify::verify(&archive, &Given::default()).wrong.map_or(Ok(archive), Err)
}
