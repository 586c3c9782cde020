//! What a server makes of the events by itself (statistics, calls to web hooks, a relay) has its place in the log, and one server at a
//! time that moves it on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyledger_events::Timestamp;
use keyledger_projections::Value;
use uuid::Uuid;

use crate::{
    clock::{self, Clock},
    store::{Statement, Store, StoreError},
};

/// How long a claim holds unless it is renewed: so long nothing is done when a server dies.
pub const CLAIM_FOR: Duration = Duration::from_secs(15);
/// How often it is renewed where it is not moved on.
pub const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How long its holder goes on without a renewal: others may take the place a little later.
const HELD_FOR: Duration = Duration::from_secs(CLAIM_FOR.as_secs() - 3);

const POSITION: &str = "SELECT position FROM consumer WHERE name = $1";
const TAKE: &str = "INSERT INTO consumer (name, position, holder, held_until) VALUES ($1, $2, $3, $4) \
                    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until \
                    WHERE consumer.holder = excluded.holder OR consumer.held_until < $5 RETURNING position";
const MOVE_ON: &str = "UPDATE consumer SET position = $1, held_until = $2 WHERE name = $3 AND holder = $4 AND position <= $1 RETURNING position";
const PUT: &str = "UPDATE consumer SET position = $1, held_until = $2 WHERE name = $3 AND holder = $4 RETURNING position";
const GIVE_BACK: &str = "UPDATE consumer SET held_until = $1 WHERE name = $2 AND holder = $3 RETURNING name";
const BEGIN_ANEW: &str = "INSERT INTO consumer (name, position, holder, held_until) VALUES ($1, -1, $2, $3) ON CONFLICT (name) DO UPDATE \
                          SET position = excluded.position, holder = excluded.holder, held_until = excluded.held_until RETURNING name";

/// The last event that is done with at a place, whoever holds it; -1 where it was never begun.
///
/// # Errors
/// When the store fails.
pub async fn position_of(store: &dyn Store, name: &str) -> Result<i64, StoreError> {
    let rows = store.query(POSITION, &[name.into()]).await?;
    Ok(rows.first().and_then(|row| if let [Value::Int(position)] = row.as_slice() { Some(*position) } else { None }).unwrap_or(-1))
}

/// What came of having a place held longer.
#[derive(Debug)]
pub enum Kept {
    Stored,
    /// It could not be stored, and is held still from before.
    Unstored(StoreError),
    /// It is another server's, or may be soon, since it could not be stored for so long.
    Lost(Option<StoreError>),
}

/// One consumer's place in the log, as this server holds it.
#[derive(Clone)]
pub struct Claim {
    store: Arc<dyn Store>,
    clock: Clock,
    name: String,
    holder: Uuid,
}

impl Claim {
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock, name: impl Into<String>) -> Self {
        Self { store, clock, name: name.into(), holder: clock::new_id() }
    }

    fn until(&self) -> Timestamp {
        clock::later(self.clock.now(), CLAIM_FOR)
    }

    /// Takes it, or holds it longer: the last event that is done with. `None` where another server holds it. What was never begun is
    /// begun after an event.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn take(&self, begin_after: i64) -> Result<Option<i64>, StoreError> {
        let values =
            vec![self.name.as_str().into(), begin_after.into(), Value::Uuid(self.holder), Value::Time(self.until()), Value::Time(self.clock.now())];
        let rows = self.store.change(&[Statement::new(TAKE, values)]).await?;
        Ok(rows.first().and_then(|row| match row.as_slice() {
            [Value::Int(position)] => Some(*position),
            _ => None,
        }))
    }

    /// Moves it on to an event, together with what was made of the events up to there. `false` where another server took it meanwhile:
    /// then nothing is done.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn move_to(&self, position: i64, together_with: Vec<Statement>) -> Result<bool, StoreError> {
        self.change(MOVE_ON, position, together_with).await
    }

    /// Moves it on as [`Claim::move_to`] does. `held_at` is when it was last known to be held.
    pub async fn keep(&self, position: i64, together_with: Vec<Statement>, held_at: &mut Instant) -> Kept {
        // Counted from before it is written.
        let tried_at = Instant::now();
        match self.move_to(position, together_with).await {
            Ok(true) => {
                *held_at = tried_at;
                Kept::Stored
            }
            Ok(false) => Kept::Lost(None),
            Err(error) if held_at.elapsed() < HELD_FOR => Kept::Unstored(error),
            Err(error) => Kept::Lost(Some(error)),
        }
    }

    /// Puts it to an event, before or behind where it was: for who is told elsewhere how far it is. `false` where another server took it
    /// meanwhile: then nothing is done.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put_to(&self, position: i64, together_with: Vec<Statement>) -> Result<bool, StoreError> {
        self.change(PUT, position, together_with).await
    }

    async fn change(&self, sql: &'static str, position: i64, together_with: Vec<Statement>) -> Result<bool, StoreError> {
        let values = vec![position.into(), Value::Time(self.until()), self.name.as_str().into(), Value::Uuid(self.holder)];
        let mut statements = vec![Statement::new(sql, values)];
        statements.extend(together_with);
        Ok(!self.store.change(&statements).await?.is_empty())
    }

    /// Puts it before the first event, together with what shall be gone, and leaves it to whoever comes next. Who held it can't move it on
    /// any more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn begin_anew(&self, together_with: Vec<Statement>) -> Result<(), StoreError> {
        let mut statements = vec![Statement::new(BEGIN_ANEW, vec![self.name.as_str().into(), Value::Uuid(self.holder), Value::Time(Timestamp(0))])];
        statements.extend(together_with);
        self.store.change(&statements).await.map(drop)
    }

    /// Leaves it to others at once; where that can't be stored, they get it when it ends.
    pub async fn give_back(&self) {
        let values = vec![Value::Time(Timestamp(0)), self.name.as_str().into(), Value::Uuid(self.holder)];
        if let Err(error) = self.store.change(&[Statement::new(GIVE_BACK, values)]).await {
            tracing::debug!(%error, place = self.name, "a place in the log is left to others only when its claim ends");
        }
    }
}
