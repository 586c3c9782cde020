//! One batch in memory: the rows loaded under the head lock, and what the batch's commands add, each seeing the effects
//! of those before it. A command works on a [`Staged`] copy, so one that is refused or fails leaves no trace.

mod finds;
mod forgetting;
mod sealing;

use std::collections::{BTreeSet, HashMap};

use keyledger_events::{
    Context, Event, Leaf, Numbers, Personal, PersonalData, Recorded, SubjectKind, Timestamp,
    block::BlockKind,
    envelope::{LEAF_BYTES_MAX, canonical_json},
    license::Status,
    subject::SubjectEvent,
};
use keyledger_projections::{CountersRow, LicenseRow, ProductRow, ReleaseRow, Row, RowKey, Table, fold, registry::COUNTERS, touches};
use uuid::Uuid;

use finds::is_new;

use super::{
    command::{ExecuteError, LeafHash, Origin, Receipt},
    tree::{Edge, leaf_hash},
};
use crate::{
    clock::new_id,
    store::{ApiKeySecret, Found, Head, KeyPairSecret, Lookups, StoredEvent, StoredRequest, StoredSubject, WriteSet},
    vault::{SubjectKey, Vault},
};

/// A damaged ledger or an error of ours: logged, answered as such, and nothing is written.
pub(super) fn internal(error: impl std::fmt::Display) -> ExecuteError {
    ExecuteError::Internal(error.to_string())
}

pub(super) struct Workspace<'v> {
    vault: &'v Vault,
    /// The time of every event of the batch: never before the last event's.
    now: Timestamp,
    head: Head,
    edge: Edge,
    /// The numbers drawn next when the batch began: what is at or above them can't be in the database yet.
    drawn_from: Numbers,
    rows: HashMap<RowKey, Option<Row>>,
    /// Of the loaded rows, those that are in the database.
    stored: BTreeSet<RowKey>,
    changed: BTreeSet<RowKey>,
    licenses_by_key: HashMap<String, i64>,
    activations: HashMap<(i64, String), i64>,
    license_meta: HashMap<(i64, String), i64>,
    product_meta: HashMap<(i64, String), i64>,
    blocks: HashMap<(BlockKind, String), i64>,
    /// Who had a slug last; whether it still has, its row tells.
    slugs: HashMap<String, i64>,
    releases: HashMap<(i64, i64), i64>,
    releases_by_text: HashMap<(i64, String), BTreeSet<i64>>,
    /// Numbers of licenses by product that were available at some time in the batch, and by contract; of generators by product.
    /// What they are now their rows say.
    available: HashMap<i64, BTreeSet<i64>>,
    contract_licenses: HashMap<i64, BTreeSet<i64>>,
    generators: HashMap<i64, BTreeSet<i64>>,
    contracts_by_key: HashMap<String, i64>,
    subjects: HashMap<(SubjectKind, i64), SubjectKey>,
    owners_by_email: HashMap<Vec<u8>, i64>,
    requests: HashMap<Vec<u8>, StoredRequest>,
    events: Vec<StoredEvent>,
    new_subjects: Vec<StoredSubject>,
    forgotten: Vec<Uuid>,
    new_requests: Vec<StoredRequest>,
    api_key_secrets: Vec<ApiKeySecret>,
    key_pair_secrets: Vec<KeyPairSecret>,
}

impl<'v> Workspace<'v> {
    pub(super) fn new(vault: &'v Vault, head: Head, now: Timestamp) -> Result<Self, ExecuteError> {
        let size = u64::try_from(head.next_position).map_err(internal)?;
        let edge = Edge::read(size, &head.tree_edge).ok_or_else(|| internal("the head's tree edge does not fit its position"))?;
        Ok(Self {
            vault,
            now: now.max(head.recorded_at),
            head,
            edge,
            drawn_from: Numbers::default(),
            rows: HashMap::new(),
            stored: BTreeSet::new(),
            changed: BTreeSet::new(),
            licenses_by_key: HashMap::new(),
            activations: HashMap::new(),
            license_meta: HashMap::new(),
            product_meta: HashMap::new(),
            blocks: HashMap::new(),
            slugs: HashMap::new(),
            releases: HashMap::new(),
            releases_by_text: HashMap::new(),
            available: HashMap::new(),
            contract_licenses: HashMap::new(),
            generators: HashMap::new(),
            contracts_by_key: HashMap::new(),
            subjects: HashMap::new(),
            owners_by_email: HashMap::new(),
            requests: HashMap::new(),
            events: Vec::new(),
            new_subjects: Vec::new(),
            forgotten: Vec::new(),
            new_requests: Vec::new(),
            api_key_secrets: Vec::new(),
            key_pair_secrets: Vec::new(),
        })
    }

    /// Takes in what was found of what was looked up. What was asked for by number and not found is known to be absent.
    pub(super) fn add(&mut self, asked: &Lookups, found: Found) -> Result<(), ExecuteError> {
        for row in found.rows {
            let key = row.key();
            self.index(&row);
            self.stored.insert(key);
            self.rows.insert(key, Some(row));
        }
        for key in &asked.rows {
            self.rows.entry(*key).or_insert(None);
        }
        if asked.rows.contains(&COUNTERS) {
            self.drawn_from = self.counters().next;
        }
        for subject in found.subjects {
            let key = self.vault.open_subject(subject.kind, subject.id, &subject.sealed_key).map_err(internal)?;
            if let Some(index) = subject.email_index {
                self.owners_by_email.insert(index, subject.number);
            }
            self.subjects.insert((subject.kind, subject.number), key);
        }
        self.requests.extend(found.requests.into_iter().map(|request| (request.id.clone(), request)));
        Ok(())
    }

    /// Keeps the look-ups by key, identifier and value in step with the rows.
    fn index(&mut self, row: &Row) {
        match row {
            Row::License(row) if row.license.deleted => {
                if self.licenses_by_key.get(&row.license.key) == Some(&row.license.number) {
                    self.licenses_by_key.remove(&row.license.key);
                }
            }
            Row::License(row) => {
                let license = &row.license;
                self.licenses_by_key.insert(license.key.clone(), license.number);
                if license.status == Status::Available {
                    self.available.entry(license.product).or_default().insert(license.number);
                }
                if let Some(contract) = license.contract {
                    self.contract_licenses.entry(contract).or_default().insert(license.number);
                }
            }
            Row::Activation(row) => {
                if let Some(identifier) = &row.activation.identifier {
                    self.activations.insert((row.activation.license, identifier.clone()), row.activation.number);
                }
            }
            Row::LicenseMeta(row) => {
                self.license_meta.insert((row.meta.license, row.meta.key.clone()), row.meta.number);
            }
            Row::ProductMeta(row) => {
                self.product_meta.insert((row.meta.product, row.meta.key.clone()), row.meta.number);
            }
            Row::Block(row) => {
                if let Some(value) = &row.block.value {
                    self.blocks.insert((row.block.kind, value.clone()), row.block.number);
                }
            }
            Row::Product(row) => {
                if let Some(slug) = row.product.slug.as_ref().filter(|_| !row.product.deleted) {
                    self.slugs.insert(slug.clone(), row.product.number);
                }
            }
            Row::Release(row) => {
                let text = (row.release.product, row.release.version.clone());
                self.releases_by_text.entry(text).or_default().insert(row.release.number);
                let version = (row.release.product, row.release.numeric_version);
                if !row.release.withdrawn {
                    self.releases.insert(version, row.release.number);
                } else if self.releases.get(&version) == Some(&row.release.number) {
                    self.releases.remove(&version);
                }
            }
            Row::Generator(row) => {
                self.generators.entry(row.generator.fields.product).or_default().insert(row.generator.number);
            }
            Row::Contract(row) => {
                self.contracts_by_key.insert(row.contract.fields.key.clone(), row.contract.number);
            }
            Row::Counters(_)
            | Row::KeyPair(_)
            | Row::ApiKey(_)
            | Row::LicenseCount(_)
            | Row::Settings(_)
            | Row::Telemetry(_)
            | Row::DownloadToken(_)
            | Row::ContractCount(_)
            | Row::AssignmentJob(_)
            | Row::Delivery(_)
            | Row::WebhookEndpoint(_) => {}
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn row<'a, R>(&'a self, table: Table, number: i64) -> Option<&'a R>
    where
        &'a R: TryFrom<&'a Row>,
    {
        self.rows.get(&RowKey(table, number))?.as_ref().and_then(|row| row.try_into().ok())
    }

    pub(super) fn license(&self, key: &str) -> Option<&LicenseRow> {
        // A license whose key was replaced in this batch is still found by the old one.
        self.row(Table::License, *self.licenses_by_key.get(key)?).filter(|row: &&LicenseRow| row.license.key == key)
    }

    /// The product, not deleted, that has this slug.
    pub(super) fn slug_holder(&self, slug: &str) -> Option<i64> {
        let number = *self.slugs.get(slug)?;
        let row: &ProductRow = self.row(Table::Product, number)?;
        (!row.product.deleted && row.product.slug.as_deref() == Some(slug)).then_some(number)
    }

    pub(super) fn owner_by_email(&self, index: &[u8]) -> Option<i64> {
        self.owners_by_email.get(index).copied()
    }

    pub(super) fn block(&self, kind: BlockKind, value: &str) -> Option<i64> {
        let number = self.blocks.get(&(kind, value.to_owned())).copied()?;
        self.rows.get(&RowKey(Table::Block, number))?.as_ref().map(|_| number)
    }

    /// The release of a product that has a numeric version and is not withdrawn.
    pub(super) fn release(&self, product: i64, numeric_version: i64) -> Option<i64> {
        self.releases.get(&(product, numeric_version)).copied()
    }

    /// Whether a version of a product, as people read it, is published.
    pub(super) fn is_published(&self, product: i64, version: &str) -> bool {
        let numbers = self.releases_by_text.get(&(product, version.to_owned()));
        let published = |number: &i64| self.row::<ReleaseRow>(Table::Release, *number).is_some_and(|row| row.release.published);
        numbers.is_some_and(|numbers| numbers.iter().any(published))
    }

    pub(super) fn request(&self, id: &[u8]) -> Option<&StoredRequest> {
        self.requests.get(id).filter(|request| request.expires_at > self.now)
    }

    pub(super) fn record_request(&mut self, request: StoredRequest) {
        self.requests.insert(request.id.clone(), request.clone());
        self.new_requests.push(request);
    }

    fn counters(&self) -> CountersRow {
        self.row::<CountersRow>(COUNTERS.0, COUNTERS.1).copied().unwrap_or_default()
    }

    /// Whether the ledger has its first event.
    pub(super) fn is_founded(&self) -> bool {
        self.head.next_position > 0
    }

    pub(super) fn ledger_id(&self) -> Uuid {
        self.head.ledger_id
    }

    pub(super) fn stage<'w>(
        &'w mut self,
        origin: &'w Origin,
        request_hash: Option<&[u8]>,
        decided_at: Timestamp,
    ) -> Result<Staged<'w, 'v>, ExecuteError> {
        let metadata = canonical_json(&super::metadata(origin, request_hash, decided_at)).map_err(internal)?;
        Ok(Staged {
            workspace: self,
            origin,
            metadata,
            rows: HashMap::new(),
            events: Vec::new(),
            receipt: None,
            subjects: HashMap::new(),
            new_subjects: Vec::new(),
            new_owners: HashMap::new(),
            api_key_secrets: Vec::new(),
            key_pair_secrets: Vec::new(),
        })
    }

    pub(super) fn event_count(&self) -> usize {
        self.events.len()
    }

    /// What is to be written; `None` where no command had an effect.
    pub(super) fn into_write_set(self, requests_expired_before: Option<Timestamp>) -> Option<WriteSet> {
        if self.events.is_empty() && self.new_requests.is_empty() {
            return None;
        }
        let mut rows = self.rows;
        let (mut inserts, mut updates, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
        for key in self.changed {
            match rows.remove(&key).flatten() {
                Some(row) if self.stored.contains(&key) => updates.push(row),
                Some(row) => inserts.push(row),
                None if self.stored.contains(&key) => deletes.push(key),
                // Made and removed within the batch.
                None => {}
            }
        }
        let head =
            Head { tree_edge: self.edge.bytes(), recorded_at: if self.events.is_empty() { self.head.recorded_at } else { self.now }, ..self.head };
        Some(WriteSet {
            head,
            events: self.events,
            inserts,
            updates,
            deletes,
            subjects: self.new_subjects,
            forgotten: self.forgotten,
            requests: self.new_requests,
            api_key_secrets: self.api_key_secrets,
            key_pair_secrets: self.key_pair_secrets,
            requests_expired_before,
        })
    }
}

/// The effects of one command, not yet the batch's.
pub(super) struct Staged<'w, 'v> {
    pub(super) workspace: &'w mut Workspace<'v>,
    origin: &'w Origin,
    metadata: String,
    rows: HashMap<RowKey, Option<Row>>,
    events: Vec<StoredEvent>,
    /// The last event on a license.
    pub(super) receipt: Option<Receipt>,
    subjects: HashMap<(SubjectKind, i64), SubjectKey>,
    new_subjects: Vec<StoredSubject>,
    /// E-mail indexes of owners whose number this command drew.
    new_owners: HashMap<i64, Vec<u8>>,
    api_key_secrets: Vec<ApiKeySecret>,
    key_pair_secrets: Vec<KeyPairSecret>,
}

impl Staged<'_, '_> {
    pub(super) fn row<'a, R>(&'a self, table: Table, number: i64) -> Option<&'a R>
    where
        &'a R: TryFrom<&'a Row>,
    {
        match self.rows.get(&RowKey(table, number)) {
            Some(row) => row.as_ref().and_then(|row| row.try_into().ok()),
            None => self.workspace.row(table, number),
        }
    }

    pub(super) fn activation(&self, license: i64, identifier: &str) -> Option<&keyledger_projections::ActivationRow> {
        let number = self.workspace.activations.get(&(license, identifier.to_owned()))?;
        self.row(Table::Activation, *number)
    }

    pub(super) fn license_meta(&self, license: i64, key: &str) -> Option<&keyledger_projections::LicenseMetaRow> {
        let number = self.workspace.license_meta.get(&(license, key.to_owned()))?;
        self.row(Table::LicenseMeta, *number)
    }

    pub(super) fn product_meta(&self, product: i64, key: &str) -> Option<&keyledger_projections::ProductMetaRow> {
        let number = self.workspace.product_meta.get(&(product, key.to_owned()))?;
        self.row(Table::ProductMeta, *number)
    }

    pub(super) fn context(&self) -> Context {
        let counters = self.row::<CountersRow>(COUNTERS.0, COUNTERS.1).copied().unwrap_or_default();
        Context { now: self.workspace.now, next: counters.next }
    }

    /// The number of the owner with this address; a new one where it was never seen.
    pub(super) fn owner_number(&mut self, email: &str) -> i64 {
        let index = self.workspace.vault.email_index(email);
        if let Some(number) = self.workspace.owner_by_email(&index) {
            return number;
        }
        if let Some((number, _)) = self.new_owners.iter().find(|(_, known)| **known == index) {
            return *number;
        }
        let number = self.context().next.owner;
        self.new_owners.insert(number, index);
        number
    }

    pub(super) fn add_api_key_secret(&mut self, secret: ApiKeySecret) {
        self.api_key_secrets.push(secret);
    }

    pub(super) fn add_key_pair_secret(&mut self, secret: KeyPairSecret) {
        self.key_pair_secrets.push(secret);
    }

    /// How many events this command has so far, and where they begin.
    pub(super) fn positions(&self) -> (i64, i64) {
        (self.workspace.head.next_position, self.events.len() as i64)
    }

    /// Adds an event: stamps it, folds it into the rows, seals what is personal, hashes the leaf.
    ///
    /// # Errors
    /// When it is too large, or the rows are not what they must be; then the command as a whole has failed.
    pub(super) fn append(&mut self, mut event: Event) -> Result<(), ExecuteError> {
        let keys = touches(&event);
        for key in &keys {
            self.take_up(*key)?;
        }
        let (aggregate_id, last_sequence) = match (&event, keys.first().and_then(|key| self.rows.get(key))) {
            (Event::Ledger(_), _) => (self.workspace.head.ledger_id, 0),
            (Event::Subject(SubjectEvent::SubjectForgotten(event)), _) => (event.subject, 0),
            (_, Some(Some(row))) => row.stream().ok_or_else(|| internal("the first row an event touches is not its stream's"))?,
            (_, _) => (new_id(), 0),
        };
        if let (Some(ip), Some(personal)) = (self.origin.client_ip, event.personal_mut()) {
            let data = match std::mem::take(personal) {
                Personal::Open(data) => data,
                Personal::None | Personal::Sealed(_) => PersonalData::default(),
            };
            *personal = Personal::Open(PersonalData { client_ip: Some(ip.to_string()), ..data });
        }
        let position = self.workspace.head.next_position + self.events.len() as i64;
        let mut recorded =
            Recorded { position, aggregate_id, sequence: last_sequence + 1, event_id: new_id(), recorded_at: self.workspace.now, event };
        for key in keys {
            let row = self.rows.remove(&key).flatten();
            let row = fold(key, row, &recorded).map_err(internal)?;
            self.rows.insert(key, row);
        }
        self.seal(&mut recorded)?;
        let stored = self.stored(&recorded)?;
        if matches!(recorded.event, Event::License(_)) {
            self.receipt = Some(Receipt { position, leaf_hash: LeafHash(stored.leaf_hash) });
        }
        self.events.push(stored);
        Ok(())
    }

    /// Copies a row of the batch into this command's own. A row that was not looked up can only be one that is new.
    fn take_up(&mut self, key: RowKey) -> Result<(), ExecuteError> {
        if self.rows.contains_key(&key) {
            return Ok(());
        }
        let row = match self.workspace.rows.get(&key) {
            Some(row) => row.clone(),
            None if is_new(key, &self.workspace.drawn_from) => None,
            None => return Err(internal(format!("{} {} was not looked up", key.0.name(), key.1))),
        };
        self.rows.insert(key, row);
        Ok(())
    }

    fn stored(&self, recorded: &Recorded) -> Result<StoredEvent, ExecuteError> {
        let Recorded { position, aggregate_id, sequence, event_id, recorded_at, event } = recorded;
        let payload = event.payload().map_err(internal)?;
        let leaf = Leaf {
            ledger_id: self.workspace.head.ledger_id,
            position: *position,
            aggregate_type: event.aggregate_type(),
            aggregate_id: *aggregate_id,
            sequence: *sequence,
            event_id: *event_id,
            event_type: event.event_type(),
            event_version: event.event_version(),
            recorded_at: *recorded_at,
            payload: &payload,
            metadata: &self.metadata,
        }
        .canonical();
        if leaf.len() > LEAF_BYTES_MAX {
            return Err(ExecuteError::TooLarge);
        }
        let leaf_hash = leaf_hash(leaf.as_bytes());
        Ok(StoredEvent {
            position: *position,
            aggregate_type: event.aggregate_type().to_owned(),
            aggregate_id: *aggregate_id,
            sequence: *sequence,
            event_id: *event_id,
            event_type: event.event_type().to_owned(),
            event_version: event.event_version().to_owned(),
            recorded_at: *recorded_at,
            payload,
            metadata: self.metadata.clone(),
            leaf_hash,
        })
    }

    /// Takes back all that the command did so far.
    pub(super) fn discard(&mut self) {
        self.rows.clear();
        self.events.clear();
        self.receipt = None;
        self.subjects.clear();
        self.new_subjects.clear();
        self.new_owners.clear();
        self.api_key_secrets.clear();
        self.key_pair_secrets.clear();
    }

    /// Makes the command's effects the batch's.
    pub(super) fn finish(self) {
        let workspace = self.workspace;
        for (key, row) in self.rows {
            if let Some(row) = &row {
                workspace.index(row);
            }
            if workspace.rows.get(&key) != Some(&row) {
                workspace.changed.insert(key);
                workspace.rows.insert(key, row);
            }
        }
        for event in &self.events {
            workspace.edge.push(event.leaf_hash);
        }
        workspace.head.next_position += self.events.len() as i64;
        workspace.events.extend(self.events);
        workspace.subjects.extend(self.subjects);
        for subject in &self.new_subjects {
            if let Some(index) = &subject.email_index {
                workspace.owners_by_email.insert(index.clone(), subject.number);
            }
        }
        workspace.new_subjects.extend(self.new_subjects);
        workspace.api_key_secrets.extend(self.api_key_secrets);
        workspace.key_pair_secrets.extend(self.key_pair_secrets);
    }
}
