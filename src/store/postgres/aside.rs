//! What is written beside the log: the evidence's tiles and checkpoints, and what readers of the log keep. Each on a connection of its
//! own: whoever appends never waits for it.

use keyledger_projections::Value;
use tokio::sync::Mutex;

use super::{
    error::OrStoreError,
    read::{column, values},
    session::{Connector, Role, Session, in_time},
    value::{Cell, Parameter},
};
use crate::store::{Publication, Statement, StoreError, StoredHandOut};

const MOVE_ON: &str = "UPDATE evidence SET size = $1, licenses = $2 WHERE id = 1 AND size = $3 AND licenses = $4";
const PUT_TILES: &str = "INSERT INTO tile (tree, level, number, entries) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[]) \
                         ON CONFLICT (tree, level, number) DO UPDATE SET entries = EXCLUDED.entries";
const INSERT_CHECKPOINT: &str = "INSERT INTO checkpoint (size, root, made_at, note) SELECT $1, $2, $3, $4 \
                                 WHERE NOT EXISTS (SELECT 1 FROM checkpoint WHERE size >= $1)";
const INSERT_HAND_OUT: &str =
    "INSERT INTO hand_out (destination, size, made_at, answer) VALUES ($1, $2, $3, $4) ON CONFLICT (destination, size) DO NOTHING";

pub(super) struct Aside {
    connector: Connector,
    /// Kept from one time to the next.
    session: Mutex<Option<Session>>,
}

impl Aside {
    pub(super) fn new(connector: Connector) -> Self {
        Self { connector, session: Mutex::new(None) }
    }

    /// The connection, which is kept where the work on it came to its end.
    async fn on_session<T>(&self, work: impl AsyncFnOnce(&Session) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut kept = self.session.lock().await;
        let session = match kept.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => self.connector.open(Role::Long).await?,
        };
        // An open transaction ends with its connection.
        let done = in_time(work(&session)).await?;
        *kept = Some(session);
        Ok(done)
    }

    /// `false` where the evidence is further already.
    pub(super) async fn publish(&self, publication: &Publication) -> Result<bool, StoreError> {
        self.on_session(async |session| {
            let Publication { from, to, tiles, checkpoint } = publication;
            session.client.batch_execute("BEGIN").await.or_store_error()?;
            let moved = [to.events, to.licenses, from.events, from.licenses].map(|number| Parameter::One(Cell::Int(number)));
            if session.execute(MOVE_ON, &moved).await.or_store_error()? == 0 {
                session.client.batch_execute("ROLLBACK").await.or_store_error()?;
                return Ok(false);
            }
            let columns = [
                column(tiles.iter().map(|(key, _)| Cell::Int(key.tree))),
                column(tiles.iter().map(|(key, _)| Cell::Int(key.level))),
                column(tiles.iter().map(|(key, _)| Cell::Int(key.number))),
                column(tiles.iter().map(|(_, entries)| Cell::Bytes(entries))),
            ];
            session.execute(PUT_TILES, &columns).await.or_store_error()?;
            if let Some(checkpoint) = checkpoint {
                let row = [Cell::Int(checkpoint.size), Cell::Bytes(&checkpoint.root), Cell::Time(checkpoint.made_at), Cell::Text(&checkpoint.note)];
                if session.execute(INSERT_CHECKPOINT, &row.map(Parameter::One)).await.or_store_error()? == 0 {
                    session.client.batch_execute("ROLLBACK").await.or_store_error()?;
                    return Ok(false);
                }
            }
            session.client.batch_execute("COMMIT").await.or_store_error()?;
            Ok(true)
        })
        .await
    }

    /// The rows of the first statement; where there are none, nothing is done.
    pub(super) async fn change(&self, statements: &[Statement]) -> Result<Vec<Vec<Value>>, StoreError> {
        self.on_session(async |session| {
            session.client.batch_execute("BEGIN").await.or_store_error()?;
            let mut returned = None;
            for statement in statements {
                let parameters: Vec<Parameter<'_>> = statement.parameters.iter().map(|value| Parameter::One(Cell::from(value))).collect();
                let rows = session.query(statement.sql, &parameters).await.or_store_error()?;
                if returned.get_or_insert(rows).is_empty() {
                    session.client.batch_execute("ROLLBACK").await.or_store_error()?;
                    return Ok(Vec::new());
                }
            }
            session.client.batch_execute("COMMIT").await.or_store_error()?;
            returned.unwrap_or_default().iter().map(values).collect()
        })
        .await
    }

    pub(super) async fn keep_hand_out(&self, hand_out: &StoredHandOut) -> Result<(), StoreError> {
        self.on_session(async |session| {
            let row = [Cell::Text(&hand_out.destination), Cell::Int(hand_out.size), Cell::Time(hand_out.made_at), Cell::Bytes(&hand_out.answer)];
            session.execute(INSERT_HAND_OUT, &row.map(Parameter::One)).await.or_store_error().map(drop)
        })
        .await
    }
}
