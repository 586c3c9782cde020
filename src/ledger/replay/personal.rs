//! Personal data of single events, opened for who may see it.

use std::sync::Arc;

use keyledger_events::{PersonalData, Sealed};
use uuid::Uuid;

use super::{
    ReplayError,
    reader::{Opener, Source},
};
use crate::ledger::Ledger;

/// What an event has sealed: its position, its id, the sealed part.
pub type SealedPart = (i64, Uuid, Sealed);

impl Ledger {
    /// Opens what events have sealed, in order; `None` for what was forgotten. Keys are asked for anew each time, so that what is
    /// forgotten is so at once.
    ///
    /// # Errors
    /// When a key or a part is damaged, or the store fails.
    pub async fn open_sealed(&self, parts: &[SealedPart]) -> Result<Vec<Option<PersonalData>>, ReplayError> {
        let mut opener = Opener::new(Arc::clone(&self.vault));
        let subjects = parts.iter().map(|(_, _, sealed)| sealed.subject).collect();
        opener.learn(&mut Source::Store(Arc::clone(&self.store)), subjects).await?;
        parts.iter().map(|(position, event_id, sealed)| opener.unseal(*position, *event_id, sealed)).collect()
    }
}
