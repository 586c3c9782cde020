//! A license as it was at a point, folded from its stream.

use std::collections::BTreeMap;

use keyledger_events::{Event, Timestamp, license::LicenseEvent};
use keyledger_projections::{ActivationRow, LicenseMetaRow, LicenseRow, Row, RowKey, Table, fold, touches};
use uuid::Uuid;

use super::{
    super::{Ledger, replay::ReplayError},
    HistoryError, LicenseStreams, Point,
    stream::{EVERYTHING, NOTHING, Secrecy, Stream, StreamReader, Told},
};

/// Which of a license's activations are wanted: those after a number, so many at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub after: i64,
    pub limit: usize,
}

/// An activation as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationState {
    pub row: ActivationRow,
    /// Whether it was in force.
    pub active: bool,
    /// The event since which it was so.
    pub since: i64,
    pub secrecy: Secrecy,
}

/// A meta entry as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct MetaState {
    pub row: LicenseMetaRow,
    pub secrecy: Secrecy,
}

/// A license as it was.
#[derive(Clone, Debug)]
pub struct LicenseState {
    pub row: LicenseRow,
    /// What became of the owner's name and address.
    pub owner_secrecy: Secrecy,
    pub activations: Vec<ActivationState>,
    pub meta: Vec<MetaState>,
    /// Its last event up to the point.
    pub last_position: i64,
    pub last_recorded_at: Timestamp,
}

impl Ledger {
    /// The license that a text meant at a point, as it was then; `None` where none did.
    ///
    /// # Errors
    /// When several are meant, the log is damaged or the store fails.
    pub async fn license_state(
        &self,
        streams: &LicenseStreams,
        point: Point,
        page: Page,
        personal: bool,
    ) -> Result<Option<LicenseState>, HistoryError> {
        let mut states = Vec::new();
        for id in streams.all() {
            states.extend(self.state_of(id, point, page, personal).await?.map(|state| (id, state)));
        }
        let key = streams.key.as_ref();
        let has_key = |state: &LicenseState| key.is_some_and(|key| state.row.license.key == key.as_str());
        let (mut meant, others): (Vec<_>, Vec<_>) =
            states.into_iter().partition(|(id, state)| streams.named == Some(*id) || has_key(state) && !state.row.license.deleted);
        // Nobody has the key: then it is of the one that was deleted with it.
        if meant.is_empty() {
            meant = others.into_iter().filter(|(_, state)| has_key(state)).collect();
        }
        if meant.len() > 1 {
            return Err(self.ambiguous(&meant.iter().map(|(id, _)| *id).collect::<Vec<_>>()).await);
        }
        Ok(meant.pop().map(|(_, state)| state))
    }

    async fn state_of(&self, id: Uuid, point: Point, page: Page, personal: bool) -> Result<Option<LicenseState>, HistoryError> {
        let opens = if personal { EVERYTHING } else { NOTHING };
        let mut reader = StreamReader::new(self, Stream::license(id), 1, point.position, opens);
        let mut folded = Folded { page, ..Folded::default() };
        while let Some(told) = reader.next().await? {
            folded.add(&told)?;
        }
        Ok(folded.end())
    }
}

impl Default for Page {
    fn default() -> Self {
        Self { after: 0, limit: usize::MAX }
    }
}

#[derive(Default)]
struct Folded {
    page: Page,
    license: Option<LicenseRow>,
    owner_secrecy: Secrecy,
    activations: BTreeMap<i64, ActivationState>,
    meta: BTreeMap<i64, MetaState>,
    last: (i64, Timestamp),
}

impl Folded {
    fn add(&mut self, told: &Told) -> Result<(), ReplayError> {
        let recorded = &told.recorded;
        let Event::License(event) = &recorded.event else { return Ok(()) };
        self.last = (recorded.position, recorded.recorded_at);
        match event {
            LicenseEvent::LicenseCreated(_) | LicenseEvent::OwnerChanged(_) => self.owner_secrecy = told.secrecy,
            LicenseEvent::LicenseAssigned(of) if of.with_owner => self.owner_secrecy = told.secrecy,
            LicenseEvent::OwnerCleared(_) => self.owner_secrecy = Secrecy::None,
            LicenseEvent::ActivationsEnded(_) => self.end_activations(recorded.position),
            LicenseEvent::LicenseAssigned(_)
            | LicenseEvent::LicenseReserved(_)
            | LicenseEvent::LicenseBlocked(_)
            | LicenseEvent::LicenseMadeAvailable(_)
            | LicenseEvent::ActivationLimitChanged(_)
            | LicenseEvent::ValidityChanged(_)
            | LicenseEvent::AssignedAtChanged(_)
            | LicenseEvent::LicenseProductChanged(_)
            | LicenseEvent::LicenseActivated(_)
            | LicenseEvent::LicenseDeactivated(_)
            | LicenseEvent::ActivationRefused(_)
            | LicenseEvent::AccessRefused(_)
            | LicenseEvent::LicenseMetaCreated(_)
            | LicenseEvent::LicenseMetaUpdated(_)
            | LicenseEvent::LicenseMetaDeleted(_)
            | LicenseEvent::LicenseKeyReplaced(_)
            | LicenseEvent::ReleaseDownloaded(_)
            | LicenseEvent::LicenseDeleted(_) => {}
        }
        for key in touches(&recorded.event) {
            match key.0 {
                Table::License => {
                    let row = self.license.take().map(Row::from);
                    self.license = fold(key, row, recorded)?.and_then(|row| LicenseRow::try_from(row).ok());
                }
                Table::Activation => self.activation(key, told)?,
                Table::LicenseMeta => {
                    let row = self.meta.remove(&key.1).map(|meta| Row::from(meta.row));
                    let row = fold(key, row, recorded)?.and_then(|row| LicenseMetaRow::try_from(row).ok());
                    self.meta.extend(row.map(|row| (key.1, MetaState { row, secrecy: told.secrecy })));
                }
                // Rows of others.
                _ => {}
            }
        }
        Ok(())
    }

    /// An activation's number is the higher the later its identifier was first seen, so the first that come are the page's.
    fn activation(&mut self, key: RowKey, told: &Told) -> Result<(), ReplayError> {
        let before = self.activations.remove(&key.1);
        if before.is_none() && (key.1 <= self.page.after || self.activations.len() >= self.page.limit) {
            return Ok(());
        }
        let secrecy = match (&told.recorded.event, &before) {
            // Who deactivates need not be whose identifier it is.
            (Event::License(LicenseEvent::LicenseDeactivated(_)), Some(before)) => before.secrecy,
            _ => told.secrecy,
        };
        let row = fold(key, before.map(|before| Row::from(before.row)), &told.recorded)?.and_then(|row| ActivationRow::try_from(row).ok());
        let since = told.recorded.position;
        self.activations.extend(row.map(|row| (key.1, ActivationState { active: row.activation.active, row, since, secrecy })));
        Ok(())
    }

    fn end_activations(&mut self, position: i64) {
        for activation in self.activations.values_mut().filter(|activation| activation.active) {
            (activation.active, activation.since) = (false, position);
        }
    }

    fn end(self) -> Option<LicenseState> {
        let row = self.license?;
        let activations = self.activations.into_values();
        // The one rule of what is in force.
        let activations = activations.map(|state| ActivationState { active: row.license.is_active(&state.row.activation), ..state }).collect();
        Some(LicenseState {
            activations,
            row,
            owner_secrecy: self.owner_secrecy,
            meta: self.meta.into_values().collect(),
            last_position: self.last.0,
            last_recorded_at: self.last.1,
        })
    }
}
