//! Makes dispute files: gathers a license's events and their context, proves them, and has the file made by the crate that
//! checks it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use keyledger_events::{Event, Personal, Timestamp, aggregate_type, key_pair::KeyPairEvent, license::LicenseEvent, product::ProductEvent};
use keyledger_evidence::{CaseInput, EVENTS_MAX, Earlier, ProvenEvent, build, rsa_check::checkpoint_message};
use uuid::Uuid;

use super::{
    EvidenceError, Published,
    fold::number,
    shape::{TILE_WIDTH, consistency, inclusion},
    tiles::{Tiles, Tree},
};
use crate::{
    ledger::{Ledger, history::Stream},
    signer::{NoteSigner, Signer},
    store::{Store, StoredEvent},
};

/// Events read at a time.
const PAGE_EVENTS: i64 = 1_000;
/// Earlier checkpoints that one file is proved to go on from.
pub const EARLIER_MAX: usize = 100;

/// What a dispute file is to hold.
#[derive(Clone, Debug, Default)]
pub struct ExportOptions {
    /// The period in dispute: it marks what is inside.
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    /// Checkpoints that the customer holds, as signed notes.
    pub earlier: Vec<String>,
    pub with_personal_data: bool,
}

/// The events of a file, by position.
type Gathered = BTreeMap<i64, StoredEvent>;

struct Export<'a> {
    ledger: &'a Ledger,
    /// Positions below it are in the checkpoint.
    size: i64,
    gathered: Gathered,
}

/// Makes the dispute file of a license, for which a checkpoint was just published.
///
/// # Errors
/// When it would be too large, an earlier checkpoint is not this log's, the log is damaged or the store fails.
pub async fn export(
    ledger: &Ledger,
    signer: &Signer,
    notes: &NoteSigner,
    license: Stream,
    published: Published,
    options: ExportOptions,
) -> Result<Vec<u8>, EvidenceError> {
    let Published { checkpoint, map } = published;
    let map = map.ok_or_else(|| EvidenceError::OutOfRange("the checkpoint was not published for the license".to_owned()))?;
    if options.earlier.len() > EARLIER_MAX {
        return Err(EvidenceError::OutOfRange(format!("there can be at most {EARLIER_MAX} earlier checkpoints")));
    }
    let mut export = Export { ledger, size: checkpoint.size, gathered: Gathered::new() };
    let secrets = export.gather(license, map.size, map.event, options.with_personal_data).await?;
    let store = ledger.store();
    let mut tiles = Tiles::new(Arc::clone(store));
    let size = checkpoint.size;
    let mut events = Vec::with_capacity(export.gathered.len());
    let key_pair = export.global_key_pair()?;
    for event in std::mem::take(&mut export.gathered).into_values() {
        let ranges = inclusion(event.position, size)
            .ok_or_else(|| EvidenceError::Damaged(format!("event {} is beyond the checkpoint of {size} events", event.position)))?;
        // Events come in their order, so of the lowest tiles one is enough.
        tiles.give_up_before(Tree::Log, number(event.position) / TILE_WIDTH);
        let hashes = tiles.proof(Tree::Log, ranges).await?;
        events.push(ProvenEvent { leaf: event.leaf(ledger.vault().ledger_id()).canonical(), hashes });
    }
    let mut earlier = Vec::new();
    for note in options.earlier {
        let noted = notes.read(&note).ok_or_else(|| EvidenceError::OutOfRange("an earlier checkpoint is not signed by this ledger".to_owned()))?;
        let ranges = consistency(noted.size, size)
            .ok_or_else(|| EvidenceError::OutOfRange(format!("the log is behind the earlier checkpoint of {} events", noted.size)))?;
        earlier.push(Earlier { note, hashes: tiles.proof(Tree::Log, ranges).await? });
    }
    let signature = signer.sign(key_pair, &checkpoint_message(&checkpoint.note)).await?;
    let input = CaseInput {
        license: number(map.index + 1),
        from: options.from.map(|at| at.to_string()),
        to: options.to.map(|at| at.to_string()),
        events,
        checkpoint: checkpoint.note,
        checkpoint_signature: BASE64.decode(signature).unwrap_or_default(),
        vkey: notes.verifier_key(),
        map_hashes: map.hashes,
        earlier,
        secrets,
    };
    let built = tokio::task::spawn_blocking(move || build(&input)).await;
    let built = built.map_err(|_| EvidenceError::Busy("making the file was broken off".to_owned()))?;
    built.map_err(|wrong| EvidenceError::Damaged(format!("the file would not hold: {wrong}")))
}

impl Export<'_> {
    fn store(&self) -> &Arc<dyn Store> {
        self.ledger.store()
    }

    fn keep(&mut self, event: StoredEvent) -> Result<(), EvidenceError> {
        if event.position < self.size {
            self.gathered.insert(event.position, event);
        }
        if self.gathered.len() > EVENTS_MAX {
            return Err(EvidenceError::OutOfRange(format!("a dispute file can hold {EVENTS_MAX} events at most")));
        }
        Ok(())
    }

    /// All that the file holds; with personal data, the secrets that open the license's events.
    async fn gather(
        &mut self,
        license: Stream,
        map_size: i64,
        map_event: i64,
        with_personal_data: bool,
    ) -> Result<Option<BTreeMap<u64, [u8; 32]>>, EvidenceError> {
        for position in [0, map_event] {
            for event in self.ledger.log_page(position, 1).await? {
                self.keep(event)?;
            }
        }
        let (mut products, mut api_keys, mut sealed) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let visit = |export: &mut Self, event: StoredEvent, decoded: Event| {
            if let Event::License(of_license) = &decoded {
                products.extend(products_of(of_license));
            }
            if let Some(Personal::Sealed(of)) = decoded.personal() {
                sealed.insert(event.position, (event.event_id, of.subject));
            }
            let metadata: BTreeMap<String, String> = serde_json::from_str(&event.metadata).unwrap_or_default();
            let actor = metadata.get("actor").and_then(|actor| actor.strip_prefix("api_key:")?.parse::<i64>().ok());
            api_keys.extend(actor);
            export.keep(event)
        };
        self.each_of(license, map_size, visit).await?;
        for product in products {
            let stream = self.ledger.product_stream(product).await.map_err(|_| EvidenceError::Damaged(format!("there is no product {product}")))?;
            let visit = |export: &mut Self, event, decoded| match decoded {
                Event::Product(ProductEvent::ProductCreated(_) | ProductEvent::ProductKeyPairChanged(_)) => export.keep(event),
                _ => Ok(()),
            };
            self.each_of(stream, self.size, visit).await?;
        }
        for api_key in api_keys {
            let stream = self.ledger.api_key_stream(api_key).await.map_err(|_| EvidenceError::Damaged(format!("there is no API key {api_key}")))?;
            self.each_of(stream, self.size, |export: &mut Self, event, _| export.keep(event)).await?;
        }
        self.key_pairs().await?;
        if with_personal_data { Ok(Some(self.secrets(&sealed).await?)) } else { Ok(None) }
    }

    /// Goes through the events of a stream below a position, of which those are kept that are wanted.
    async fn each_of(
        &mut self,
        stream: Stream,
        below: i64,
        mut visit: impl FnMut(&mut Self, StoredEvent, Event) -> Result<(), EvidenceError>,
    ) -> Result<(), EvidenceError> {
        let mut next = 1;
        loop {
            let page = self.store().stream(stream.aggregate_type, stream.id, next, PAGE_EVENTS).await?;
            let Some(last) = page.last() else { return Ok(()) };
            next = last.sequence + 1;
            for event in page {
                if event.position >= below {
                    return Ok(());
                }
                let decoded = decode(&event)?;
                visit(self, event, decoded)?;
            }
        }
    }

    /// The newest global key pair that the file shows: one made since the checkpoint would be nobody's in it.
    fn global_key_pair(&self) -> Result<Option<i64>, EvidenceError> {
        let mut newest = None;
        for event in self.gathered.values().filter(|event| event.aggregate_type == aggregate_type::KEY_PAIR) {
            if let Event::KeyPair(KeyPairEvent::KeyPairCreated(created)) = decode(event)?
                && created.product.is_none()
            {
                newest = Some(created.key_pair);
            }
        }
        Ok(newest)
    }

    async fn key_pairs(&mut self) -> Result<(), EvidenceError> {
        let mut after = (Uuid::nil(), 0);
        loop {
            let page = self.store().streams(aggregate_type::KEY_PAIR, after, PAGE_EVENTS).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = (last.aggregate_id, last.sequence);
            for event in page {
                self.keep(event)?;
            }
        }
    }

    /// Of those events whose subject's key there still is.
    async fn secrets(&self, sealed: &BTreeMap<i64, (Uuid, Uuid)>) -> Result<BTreeMap<u64, [u8; 32]>, EvidenceError> {
        let vault = self.ledger.vault();
        let mut ids: Vec<Uuid> = sealed.values().map(|(_, subject)| *subject).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut subjects = BTreeMap::new();
        for subject in self.store().subjects(&ids).await? {
            let key = vault.open_subject(subject.kind, subject.id, &subject.sealed_key);
            let key = key.map_err(|_| EvidenceError::Damaged(format!("the key of data subject {} does not open", subject.id)))?;
            subjects.insert(subject.id, key);
        }
        let mut secrets = BTreeMap::new();
        for (position, (event, subject)) in sealed {
            if let Some(key) = subjects.get(subject) {
                secrets.insert(number(*position), vault.event_secret(key, *event).map_err(|error| EvidenceError::Damaged(error.to_string()))?);
            }
        }
        Ok(secrets)
    }
}

fn decode(event: &StoredEvent) -> Result<Event, EvidenceError> {
    Event::decode(&event.aggregate_type, &event.event_type, &event.event_version, &event.payload)
        .map_err(|error| EvidenceError::Damaged(format!("event {} cannot be read: {error}", event.position)))
}

/// The products that an event of a license names.
fn products_of(event: &LicenseEvent) -> Vec<i64> {
    match event {
        LicenseEvent::LicenseProductChanged(event) => vec![event.from, event.to],
        event => vec![event.product()],
    }
}
