//! Tokens for one download each. One that was used has no row; one that has expired keeps it.

use keyledger_events::{Event, Recorded, Timestamp, download_token::DownloadToken};
use uuid::Uuid;

use crate::{Column, ColumnType as Type, FoldError, ReadError, Value, Values, registry::check_sequence};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadTokenRow {
    pub token: DownloadToken,
    pub id: Uuid,
    pub sequence: i64,
    pub created_at: Timestamp,
}

impl DownloadTokenRow {
    pub const COLUMNS: &'static [Column] = &[
        Column { name: "number", ty: Type::Int },
        Column { name: "id", ty: Type::Uuid },
        Column { name: "sequence", ty: Type::Int },
        Column { name: "hash", ty: Type::Text },
        Column { name: "license", ty: Type::Int },
        Column { name: "product", ty: Type::Int },
        Column { name: "product_release", ty: Type::Int },
        Column { name: "expires_at", ty: Type::Time },
        Column { name: "claims", ty: Type::Int },
        Column { name: "claimed_until", ty: Type::Time },
        Column { name: "created_at", ty: Type::Time },
    ];

    #[must_use]
    pub fn number(&self) -> i64 {
        self.token.number
    }

    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        let token = &self.token;
        vec![
            token.number.into(),
            self.id.into(),
            self.sequence.into(),
            token.hash.as_str().into(),
            token.license.into(),
            token.product.into(),
            token.release.into(),
            token.expires_at.into(),
            token.claims.into(),
            token.claimed_until.into(),
            self.created_at.into(),
        ]
    }

    /// # Errors
    /// When a column holds what it can't.
    pub fn read(values: &mut Values) -> Result<Self, ReadError> {
        let number = values.int()?;
        let id = values.uuid()?;
        let sequence = values.int()?;
        let token = DownloadToken {
            number,
            hash: values.text()?,
            license: values.int()?,
            product: values.int()?,
            release: values.int()?,
            expires_at: values.time()?,
            claims: values.int()?,
            claimed_until: values.maybe_time()?,
        };
        Ok(Self { token, id, sequence, created_at: values.time()? })
    }

    /// # Errors
    /// When the event doesn't fit the row.
    pub fn fold(_: i64, row: Option<Self>, recorded: &Recorded) -> Result<Option<Self>, FoldError> {
        let Event::DownloadToken(event) = &recorded.event else { return Ok(row) };
        check_sequence(row.as_ref().map(|row| row.sequence), recorded)?;
        let (state, created_at) = row.map_or((None, recorded.recorded_at), |row| (Some(row.token), row.created_at));
        Ok(DownloadToken::fold(state, event).map(|token| Self { token, id: recorded.aggregate_id, sequence: recorded.sequence, created_at }))
    }
}
