//! Activations: one row for each pair of license and identifier that ever was. It counts while it is `active` and its
//! `epoch` is its license's.

use keyledger_events::{
    Event, Recorded, Timestamp,
    license::{Activation, LicenseEvent},
    values::domain,
};

use crate::{Column, ColumnType as Type, FoldError, ReadError, Table, Value, Values, registry::require};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivationRow {
    pub activation: Activation,
    /// The domain that the identifier names, where that is not the identifier itself.
    pub domain: Option<String>,
    /// The last time it became active.
    pub activated_at: Timestamp,
    pub deactivated_at: Option<Timestamp>,
}

impl ActivationRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "number", ty: Type::Int },
        Column { name: "license", ty: Type::Int },
        Column { name: "identifier", ty: Type::Text },
        Column { name: "domain", ty: Type::Text },
        Column { name: "post_url", ty: Type::Text },
        Column { name: "active", ty: Type::Bool },
        Column { name: "epoch", ty: Type::Int },
        Column { name: "activated_at", ty: Type::Time },
        Column { name: "deactivated_at", ty: Type::Time },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        self.activation.number
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        let activation = &self.activation;
        vec![
            activation.number.into(),
            activation.license.into(),
            activation.identifier.as_deref().into(),
            self.domain.as_deref().into(),
            activation.post_url.as_deref().into(),
            activation.active.into(),
            activation.epoch.into(),
            self.activated_at.into(),
            self.deactivated_at.into(),
        ]
    }

    /// # Errors
    /// When a column holds what it can't.
    pub fn read(values: &mut Values) -> Result<Self, ReadError> {
        let (number, license, identifier) = (values.int()?, values.int()?, values.maybe_text()?);
        let domain = values.maybe_text()?;
        let activation = Activation { number, license, identifier, post_url: values.maybe_text()?, active: values.bool()?, epoch: values.int()? };
        Ok(Self { activation, domain, activated_at: values.time()?, deactivated_at: values.maybe_time()? })
    }

    /// # Errors
    /// When the event doesn't fit the row.
    pub fn fold(number: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let Event::License(event) = &recorded.event else { return Ok(row) };
        let at = recorded.recorded_at;
        let (state, activated_at) = row.map_or((None, at), |row| (Some(row.activation), row.activated_at));
        let activation = require(Activation::fold(state, event), Table::Activation, number, recorded)?;
        let (activated_at, deactivated_at) = if matches!(event, LicenseEvent::LicenseDeactivated(_)) { (activated_at, Some(at)) } else { (at, None) };
        let domain = activation.identifier.as_deref().and_then(other_domain);
        Ok(Some(Self { activation, domain, activated_at, deactivated_at }))
    }
}

/// The domain of an identifier that is not one already.
fn other_domain(identifier: &str) -> Option<String> {
    Some(domain(identifier)).filter(|domain| domain != identifier)
}
