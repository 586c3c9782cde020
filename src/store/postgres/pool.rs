//! Connections kept open: a few that all queries share, and those of write transactions.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{sync::Mutex as AsyncMutex, time::timeout};

use super::session::{CONNECT_TIMEOUT, Connector, Role, Session};
use crate::store::StoreError;

/// Write transactions take turns anyway.
const IDLE_WRITERS_MAX: usize = 2;

/// Connections on which queries of many callers are under way at once.
pub(super) struct Readers {
    slots: Vec<Slot>,
}

#[derive(Default)]
struct Slot {
    session: Mutex<Option<Arc<Session>>>,
    connecting: AsyncMutex<()>,
    in_flight: Arc<AtomicUsize>,
}

/// A shared connection in use.
pub(super) struct Shared {
    pub(super) session: Arc<Session>,
    in_flight: Arc<AtomicUsize>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Readers {
    pub(super) fn new(count: usize) -> Self {
        Self { slots: (0..count.max(1)).map(|_| Slot::default()).collect() }
    }

    /// The connection with the fewest queries under way, opened anew where it is lost.
    pub(super) async fn get(&self, connector: &Connector) -> Result<Shared, StoreError> {
        let slot = self.slots.iter().min_by_key(|slot| slot.in_flight.load(Ordering::Relaxed));
        let slot = slot.ok_or_else(|| StoreError::Unavailable("there is no reading connection".to_owned()))?;
        let session = match slot.live() {
            Some(session) => session,
            None => timeout(CONNECT_TIMEOUT, slot.connect(connector))
                .await
                .unwrap_or_else(|_| Err(StoreError::Unavailable("the server does not take the connection in time".to_owned())))?,
        };
        slot.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Shared { session, in_flight: Arc::clone(&slot.in_flight) })
    }
}

impl Slot {
    fn live(&self) -> Option<Arc<Session>> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.as_ref().filter(|session| !session.is_closed()).cloned()
    }

    /// Whoever comes first connects; the others wait for it.
    async fn connect(&self, connector: &Connector) -> Result<Arc<Session>, StoreError> {
        let _turn = self.connecting.lock().await;
        if let Some(session) = self.live() {
            return Ok(session);
        }
        let session = Arc::new(connector.open(Role::Reader).await?);
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&session));
        Ok(session)
    }
}

/// Connections of write transactions that wait for the next.
#[derive(Clone)]
pub(super) struct Writers {
    connector: Connector,
    idle: Arc<Mutex<Vec<Arc<Session>>>>,
}

impl Writers {
    pub(super) fn new(connector: Connector) -> Self {
        Self { connector, idle: Arc::default() }
    }

    /// An idle connection; `None` where there is none that lives.
    pub(super) fn idle(&self) -> Option<Lease> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(session) = idle.pop() {
            if !session.is_closed() {
                return Some(self.lease(session));
            }
        }
        None
    }

    pub(super) async fn open(&self) -> Result<Lease, StoreError> {
        Ok(self.lease(Arc::new(self.connector.open(Role::Writer).await?)))
    }

    fn lease(&self, session: Arc<Session>) -> Lease {
        Lease { session, writers: self.clone(), is_released: false }
    }

    fn take_back(&self, session: Arc<Session>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_WRITERS_MAX && !session.is_closed() {
            idle.push(session);
        }
    }
}

/// A writing connection that somebody has. Dropped, it is rolled back, whatever was under way on it.
pub(super) struct Lease {
    pub(super) session: Arc<Session>,
    writers: Writers,
    is_released: bool,
}

impl Lease {
    /// Gives the connection back after its transaction ended.
    pub(super) fn release(mut self) {
        self.is_released = true;
        self.writers.take_back(Arc::clone(&self.session));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.is_released || self.session.is_closed() {
            return;
        }
        let (session, writers) = (Arc::clone(&self.session), self.writers.clone());
        // A connection that doesn't answer is closed, which ends its transaction too.
        self.writers.connector.runtime().spawn(async move {
            if let Ok(Ok(())) = timeout(CONNECT_TIMEOUT, session.client.batch_execute("ROLLBACK")).await {
                writers.take_back(session);
            }
        });
    }
}
