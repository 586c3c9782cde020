//! How many licenses each product has in each status.

use keyledger_events::{
    Event, Recorded,
    license::{LicenseEvent, Status},
};

use crate::{Column, ColumnType as Type, FoldError, ReadError, Value, Values};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LicenseCountRow {
    pub product: i64,
    pub available: i64,
    pub assigned: i64,
    pub reserved: i64,
    pub blocked: i64,
}

impl LicenseCountRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "product", ty: Type::Int },
        Column { name: "available", ty: Type::Int },
        Column { name: "assigned", ty: Type::Int },
        Column { name: "reserved", ty: Type::Int },
        Column { name: "blocked", ty: Type::Int },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        self.product
    }

    #[must_use]
    pub fn total(&self) -> i64 {
        self.available + self.assigned + self.reserved + self.blocked
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        vec![self.product.into(), self.available.into(), self.assigned.into(), self.reserved.into(), self.blocked.into()]
    }

    /// # Errors
    /// When a column holds what it can't.
    pub fn read(values: &mut Values) -> Result<Self, ReadError> {
        Ok(Self { product: values.int()?, available: values.int()?, assigned: values.int()?, reserved: values.int()?, blocked: values.int()? })
    }

    fn add(&mut self, status: Status, count: i64) {
        match status {
            Status::Available => self.available += count,
            Status::Assigned => self.assigned += count,
            Status::Reserved => self.reserved += count,
            Status::Blocked => self.blocked += count,
        }
    }

    /// # Errors
    /// Never; the signature is every projection's.
    pub fn fold(product: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let mut row = row.unwrap_or(Self { product, ..Self::default() });
        let Event::License(event) = &recorded.event else { return Ok(Some(row)) };
        let mut moved = |from: Option<Status>, to: Option<Status>| {
            if let Some(from) = from {
                row.add(from, -1);
            }
            if let Some(to) = to {
                row.add(to, 1);
            }
        };
        match event {
            LicenseEvent::LicenseCreated(event) => moved(None, Some(event.status)),
            LicenseEvent::LicenseAssigned(event) => moved(Some(event.from), Some(Status::Assigned)),
            LicenseEvent::LicenseReserved(event) => moved(Some(event.from), Some(Status::Reserved)),
            LicenseEvent::LicenseBlocked(event) => moved(Some(event.from), Some(Status::Blocked)),
            LicenseEvent::LicenseMadeAvailable(event) => moved(Some(event.from), Some(Status::Available)),
            LicenseEvent::LicenseDeleted(event) => moved(Some(event.from), None),
            LicenseEvent::LicenseProductChanged(event) if event.from == product => moved(Some(event.status), None),
            LicenseEvent::LicenseProductChanged(event) => moved(None, Some(event.status)),
            LicenseEvent::OwnerChanged(_)
            | LicenseEvent::OwnerCleared(_)
            | LicenseEvent::ActivationLimitChanged(_)
            | LicenseEvent::ValidityChanged(_)
            | LicenseEvent::AssignedAtChanged(_)
            | LicenseEvent::LicenseActivated(_)
            | LicenseEvent::LicenseDeactivated(_)
            | LicenseEvent::ActivationsEnded(_)
            | LicenseEvent::ActivationRefused(_)
            | LicenseEvent::AccessRefused(_)
            | LicenseEvent::LicenseMetaCreated(_)
            | LicenseEvent::LicenseMetaUpdated(_)
            | LicenseEvent::LicenseMetaDeleted(_)
            | LicenseEvent::LicenseKeyReplaced(_)
            | LicenseEvent::ReleaseDownloaded(_) => {}
        }
        Ok(Some(row))
    }
}
