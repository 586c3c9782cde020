//! What forgetting a data subject does to a batch; it is always a batch of its own.

use keyledger_events::SubjectKind;
use keyledger_projections::{Row, RowKey};
use uuid::Uuid;

use super::{Staged, Workspace, internal};
use crate::ledger::command::ExecuteError;

impl Workspace<'_> {
    /// The id of a subject that was looked up and has its key.
    pub(in crate::ledger) fn subject_id(&self, kind: SubjectKind, number: i64) -> Option<Uuid> {
        self.subjects.get(&(kind, number)).map(|key| key.id)
    }

    /// Has the key of a subject destroyed.
    pub(in crate::ledger) fn forget(&mut self, subject: Uuid) {
        self.subjects.retain(|_, key| key.id != subject);
        self.forgotten.push(subject);
    }
}

impl Staged<'_, '_> {
    /// Puts a row that was folded anew in the place of what there is; whether they differ.
    ///
    /// # Errors
    /// When they are not of the same events: then the rows are not as the log says.
    pub(in crate::ledger) fn fold_anew(&mut self, key: RowKey, row: Option<Row>) -> Result<bool, ExecuteError> {
        match (self.workspace.rows.get(&key), &row) {
            (Some(None), None) => Ok(false),
            (Some(Some(present)), Some(anew)) if present.stream() == anew.stream() => {
                let is_changed = present != anew;
                if is_changed {
                    self.rows.insert(key, row);
                }
                Ok(is_changed)
            }
            _ => Err(internal(format_args!("{} {} is not as the log says; `keyledger rebuild` makes it so", key.0.name(), key.1))),
        }
    }
}
