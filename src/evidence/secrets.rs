//! Checks what can be checked of the secrets beside the log: that private keys open as their public keys' own, and that no two values
//! stand for one API key. Whose value is whose, nothing but this table says.

use std::sync::Arc;

use keyledger_projections::{ReadError, Values};

use crate::{
    ledger::replay::ReplayError,
    store::{Store, StoreError},
    vault::Vault,
};

/// Key pairs: a few for each product, so all at once.
const KEY_PAIRS: &str = "SELECT k.number, k.public_key, s.sealed FROM key_pair k LEFT JOIN key_pair_secret s ON s.key_pair = k.number \
                         WHERE k.retired_at IS NULL ORDER BY k.number";
const API_KEYS: &str = "SELECT s.api_key, count(*), count(k.number) FROM api_key_secret s LEFT JOIN api_key k ON k.number = s.api_key \
                        GROUP BY s.api_key HAVING count(*) > 1 OR count(k.number) = 0 ORDER BY s.api_key LIMIT 1";

/// # Errors
/// With the first that is wrong, or when the store fails.
pub async fn check(store: &Arc<dyn Store>, vault: &Vault) -> Result<(), ReplayError> {
    for row in store.query(KEY_PAIRS, &[]).await? {
        let mut row = Values::from(row);
        let (number, public_key, sealed) = (row.int(), row.text(), row.maybe_bytes());
        let (number, public_key, sealed) = (read(number)?, read(public_key)?, read(sealed)?);
        if sealed.is_none_or(|sealed| vault.open_private_key(&public_key, &sealed).is_err()) {
            return Err(ReplayError::Difference(format!("the private key of key pair {number} does not open")));
        }
    }
    if let Some(row) = store.query(API_KEYS, &[]).await?.into_iter().next() {
        let number = read(Values::from(row).int())?;
        return Err(ReplayError::Difference(format!("there are several values for API key {number}, or one and no such key")));
    }
    Ok(())
}

fn read<T>(value: Result<T, ReadError>) -> Result<T, StoreError> {
    value.map_err(|source| StoreError::Read { table: "key_pair", source })
}
