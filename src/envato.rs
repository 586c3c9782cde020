//! Purchases on Envato's marketplaces: whether a purchase code is one of the vendor's sales, asked of the Envato API.
//!
//! What must not enter: licenses and products. Who asks here has found that the ledger knows no such key.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::outgoing::Outgoing;

/// Where the API is, unless the configuration says another place.
pub const DEFAULT_URL: &str = "https://api.envato.com";
const SALE: &str = "/v3/market/author/sale";
/// How long a negative answer is remembered: guessing one code over and over costs us, not Envato.
const NEGATIVE_FOR: Duration = Duration::from_secs(60);
/// Codes remembered at once, a hundred bytes each.
const REMEMBERED_MAX: u64 = 10_000;
/// Calls at the same time, so that guessing many codes doesn't become a flood either. Who finds all of them taken waits.
const CALLS_MAX: usize = 8;
/// How long a request waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(5);

/// A sale that the API knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    /// The number of the item that was sold, as text: a product's external reference.
    pub item: String,
}

/// Why it is not known whether there was such a sale. It is never "no".
#[derive(Clone, Debug, thiserror::Error)]
pub enum EnvatoError {
    #[error("the Envato API can't be asked: {0}")]
    Call(crate::outgoing::OutgoingError),
    #[error("the Envato API answers with status {0}")]
    Status(u16),
    #[error("the Envato API's answer about a sale can't be read")]
    Answer,
    #[error("too many purchase codes are being asked after")]
    Busy,
}

#[derive(Deserialize)]
struct SaleBody {
    item: Item,
}

#[derive(Deserialize)]
struct Item {
    id: u64,
}

/// Whose sales are asked after, and where.
#[derive(Clone)]
pub struct EnvatoConfig {
    /// The API's base.
    pub url: String,
    /// The vendor's personal token.
    pub token: String,
}

/// The token doesn't belong in logs.
impl std::fmt::Debug for EnvatoConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvatoConfig").field("url", &self.url).finish_non_exhaustive()
    }
}

pub struct Envato {
    outgoing: Outgoing,
    url: String,
    authorization: String,
    asked: moka::future::Cache<String, Option<Sale>>,
    turns: Semaphore,
}

impl Envato {
    #[must_use]
    pub fn new(outgoing: Outgoing, config: &EnvatoConfig) -> Self {
        Self {
            outgoing,
            url: config.url.trim_end_matches('/').to_owned(),
            authorization: format!("Bearer {}", config.token),
            asked: moka::future::Cache::builder().max_capacity(REMEMBERED_MAX).time_to_live(NEGATIVE_FOR).build(),
            turns: Semaphore::new(CALLS_MAX),
        }
    }

    /// The sale that a purchase code stands for; `None` where the API knows none. Requests that ask after one code at the
    /// same time make one call.
    ///
    /// # Errors
    /// When the API can't tell.
    pub async fn sale(&self, code: &str) -> Result<Option<Sale>, Arc<EnvatoError>> {
        let sale = self.asked.try_get_with(code.to_owned(), self.ask(code)).await?;
        if sale.is_some() {
            // It becomes a license now; should that not work, the next request asks again.
            self.asked.invalidate(code).await;
        }
        Ok(sale)
    }

    async fn ask(&self, code: &str) -> Result<Option<Sale>, EnvatoError> {
        let _turn = match tokio::time::timeout(TURN_WITHIN, self.turns.acquire()).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) | Err(_) => return Err(EnvatoError::Busy),
        };
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("code", code).finish();
        let url = format!("{}{SALE}?{query}", self.url);
        let reply = self.outgoing.get(&url, &[("authorization", self.authorization.clone())]).await.map_err(EnvatoError::Call)?;
        match reply.status {
            200 => {
                let sale: SaleBody = serde_json::from_slice(&reply.body).map_err(|_| EnvatoError::Answer)?;
                Ok(Some(Sale { item: sale.item.id.to_string() }))
            }
            // No such sale, or nothing that a code can be.
            400 | 404 | 422 => Ok(None),
            status => Err(EnvatoError::Status(status)),
        }
    }
}
