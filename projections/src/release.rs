//! Releases, one row each; a withdrawn one stays, marked. Downloads, which happen to licenses, are counted here.

use keyledger_events::{Event, Recorded, Timestamp, license::LicenseEvent, release::Release};
use uuid::Uuid;

use crate::{
    Column, ColumnType as Type, FoldError, ReadError, Table, Value, Values,
    registry::{check_sequence, require},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseRow {
    pub release: Release,
    pub id: Uuid,
    pub sequence: i64,
    pub downloads: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl ReleaseRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "number", ty: Type::Int },
        Column { name: "id", ty: Type::Uuid },
        Column { name: "sequence", ty: Type::Int },
        Column { name: "product", ty: Type::Int },
        Column { name: "version", ty: Type::Text },
        Column { name: "numeric_version", ty: Type::Int },
        Column { name: "update_summary", ty: Type::Text },
        Column { name: "changelog", ty: Type::Text },
        Column { name: "file_name", ty: Type::Text },
        Column { name: "content_type", ty: Type::Text },
        Column { name: "size", ty: Type::Int },
        Column { name: "sha256", ty: Type::Text },
        Column { name: "object", ty: Type::Uuid },
        Column { name: "published", ty: Type::Bool },
        Column { name: "release_date", ty: Type::Time },
        Column { name: "withdrawn", ty: Type::Bool },
        Column { name: "downloads", ty: Type::Int },
        Column { name: "created_at", ty: Type::Time },
        Column { name: "updated_at", ty: Type::Time },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        self.release.number
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        let release = &self.release;
        vec![
            release.number.into(),
            self.id.into(),
            self.sequence.into(),
            release.product.into(),
            release.version.as_str().into(),
            release.numeric_version.into(),
            release.update_summary.as_str().into(),
            release.changelog.as_str().into(),
            release.file_name.as_str().into(),
            release.content_type.as_str().into(),
            release.size.into(),
            release.sha256.as_str().into(),
            release.object.into(),
            release.published.into(),
            release.release_date.into(),
            release.withdrawn.into(),
            self.downloads.into(),
            self.created_at.into(),
            self.updated_at.into(),
        ]
    }

    /// # Errors
    /// When a column holds what it can't.
    pub fn read(values: &mut Values) -> Result<Self, ReadError> {
        let number = values.int()?;
        let id = values.uuid()?;
        let sequence = values.int()?;
        let release = Release {
            number,
            product: values.int()?,
            version: values.text()?,
            numeric_version: values.int()?,
            update_summary: values.text()?,
            changelog: values.text()?,
            file_name: values.text()?,
            content_type: values.text()?,
            size: values.int()?,
            sha256: values.text()?,
            object: values.uuid()?,
            published: values.bool()?,
            release_date: values.maybe_time()?,
            withdrawn: values.bool()?,
        };
        Ok(Self { release, id, sequence, downloads: values.int()?, created_at: values.time()?, updated_at: values.time()? })
    }

    /// # Errors
    /// When the event doesn't fit the row.
    pub fn fold(number: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let at = recorded.recorded_at;
        match &recorded.event {
            Event::License(LicenseEvent::ReleaseDownloaded(_)) => {
                let row = require(row, Table::Release, number, recorded)?;
                Ok(Some(Self { downloads: row.downloads + 1, ..row }))
            }
            Event::Release(event) => {
                check_sequence(row.as_ref().map(|row| row.sequence), recorded)?;
                let (state, downloads, created_at) = row.map_or((None, 0, at), |row| (Some(row.release), row.downloads, row.created_at));
                let release = require(Release::fold(state, event), Table::Release, number, recorded)?;
                Ok(Some(Self { release, id: recorded.aggregate_id, sequence: recorded.sequence, downloads, created_at, updated_at: at }))
            }
            _ => Ok(row),
        }
    }
}
