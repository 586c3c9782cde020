//! Whose personal data an event holds, and with which key it is sealed.

use keyledger_events::{Event, Personal, PersonalData, Recorded, SubjectKind, assignment_job::AssignmentJobEvent};
use keyledger_projections::{LicenseRow, Table};

use super::{Staged, internal};
use crate::{
    ledger::command::{Actor, ExecuteError},
    store::StoredSubject,
    vault::{SubjectKey, VaultError},
};

impl Staged<'_, '_> {
    pub(super) fn seal(&mut self, recorded: &mut Recorded) -> Result<(), ExecuteError> {
        let Some(data) = recorded.event.personal().and_then(Personal::open).cloned() else { return Ok(()) };
        let sealed = match self.subject_of(&recorded.event, &data) {
            Some((kind, number)) => {
                let subject = self.subject_key(kind, number).map_err(internal)?;
                Personal::Sealed(self.workspace.vault.seal(&subject, recorded.event_id, &data).map_err(internal)?)
            }
            // Where an operator's command came from is nobody's to be forgotten, and not kept.
            None if data.is_only_client_ip() => Personal::None,
            None => return Err(internal(format_args!("nobody's key seals the personal data of {}", recorded.event.event_type()))),
        };
        if let Some(personal) = recorded.event.personal_mut() {
            *personal = sealed;
        }
        Ok(())
    }

    /// Whose data it is: the license's owner; or the license itself, where it has none; or, where nothing is said but
    /// where the request came from, whoever asked.
    fn subject_of(&self, event: &Event, data: &PersonalData) -> Option<(SubjectKind, i64)> {
        let actor = match self.origin.actor {
            Actor::ApiKey(number) => Some((SubjectKind::Actor, number)),
            Actor::License(number) => Some(self.subject_of_license(number)),
            Actor::Contract(_) | Actor::Operator | Actor::System => None,
        };
        match event {
            Event::License(event) => {
                let subject = self.subject_of_license(event.license());
                let is_known = self.subjects.contains_key(&subject) || self.workspace.subjects.contains_key(&subject);
                if subject.0 == SubjectKind::Owner || is_known || !data.is_only_client_ip() { Some(subject) } else { actor }
            }
            Event::Block(keyledger_events::block::BlockEvent::BlockAdded(event)) => Some((SubjectKind::Block, event.block)),
            Event::Telemetry(keyledger_events::telemetry::TelemetryEvent::TelemetryRecorded(event)) => match event.license {
                Some(license) => Some(self.subject_of_license(license)),
                None => actor,
            },
            Event::AssignmentJob(AssignmentJobEvent::AssignmentJobQueued(event)) => event.owner.map(|owner| (SubjectKind::Owner, owner)).or(actor),
            Event::AssignmentJob(_)
            | Event::Block(_)
            | Event::Product(_)
            | Event::ApiKey(_)
            | Event::KeyPair(_)
            | Event::Ledger(_)
            | Event::Settings(_)
            | Event::Release(_)
            | Event::DownloadToken(_)
            | Event::Generator(_)
            | Event::Contract(_)
            | Event::Delivery(_)
            | Event::WebhookEndpoint(_)
            | Event::StreamMap(_)
            | Event::VerificationCount(_) => actor,
            Event::Subject(_) => actor,
        }
    }

    fn subject_of_license(&self, number: i64) -> (SubjectKind, i64) {
        let owner = self.row::<LicenseRow>(Table::License, number).and_then(|row| row.license.owner);
        owner.map_or((SubjectKind::License, number), |owner| (SubjectKind::Owner, owner))
    }

    fn subject_key(&mut self, kind: SubjectKind, number: i64) -> Result<SubjectKey, VaultError> {
        if let Some(key) = self.subjects.get(&(kind, number)).or_else(|| self.workspace.subjects.get(&(kind, number))) {
            return Ok(key.clone());
        }
        let (key, sealed_key) = self.workspace.vault.new_subject(kind)?;
        let email_index = if kind == SubjectKind::Owner { self.new_owners.get(&number).cloned() } else { None };
        self.new_subjects.push(StoredSubject { kind, number, id: key.id, sealed_key, email_index });
        self.subjects.insert((kind, number), key.clone());
        Ok(key)
    }
}
