//! What a verification would have answered at a point, and the event that decided it: the streams of the license, of its
//! product and of the block list are folded together in the order of the log, with the rules that a verification applies
//! and the time of the point, and the last event is kept after which the answer was another one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use keyledger_events::{
    Event, Timestamp, aggregate_type,
    block::{Block, BlockEvent},
    license::{self, Activation, License, LicenseError, LicenseEvent},
    product::Product,
    values::Identifier,
};
use uuid::Uuid;

use super::{
    super::{
        Ledger,
        replay::{
            ReplayError,
            reader::{Opener, Source, sealed_for},
        },
    },
    HistoryError, LicenseStreams, Point,
    stream::{NOTHING, Opens, Secrecy, Stream, StreamReader, Told, decoded},
};
use crate::access::BlockList;

/// Events of the block list read at a time.
const BLOCK_CHUNK_EVENTS: i64 = 500;

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Question {
    pub identifier: Option<Identifier>,
    /// The client's address.
    pub ip: Option<IpAddr>,
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The address or the identifier is on the block list.
    BlockListed,
    Refused(LicenseError),
    Valid,
}

/// The event since which the answer is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    pub position: i64,
    pub aggregate_type: &'static str,
    pub sequence: i64,
    pub event_type: &'static str,
    pub recorded_at: Timestamp,
}

/// An answer with its grounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictAt {
    pub verdict: Verdict,
    /// `None` where no event decided it: nothing had happened yet that matters.
    pub decided: Option<Decided>,
    /// The number of the license that was meant, where there was one.
    pub license: Option<i64>,
    pub expires_at: Option<Timestamp>,
    /// Whether something that could have mattered is forgotten: an activation or an entry of the block list can't be
    /// recognized then.
    pub is_uncertain: bool,
}

impl Ledger {
    /// What verify would have answered.
    ///
    /// # Errors
    /// When several licenses are meant, the log is damaged or the store fails.
    pub async fn verdict(&self, streams: &LicenseStreams, point: Point, question: &Question) -> Result<VerdictAt, HistoryError> {
        let all = streams.all();
        if streams.named.is_some() && all.len() > 1 {
            return Err(self.ambiguous(&all).await);
        }
        let (boundaries, is_uncertain) = self.block_boundaries(question, point.position).await?;
        let readers = all.into_iter().map(|id| LicenseSide {
            id,
            reader: StreamReader::new(self, Stream::license(id), 1, point.position, ACTIVATIONS),
            license: None,
            activation: None,
        });
        let mut timeline = Timeline {
            ledger: self,
            streams,
            question,
            point,
            licenses: readers.collect(),
            products: BTreeMap::new(),
            boundaries,
            blocked: BTreeSet::new(),
            is_uncertain,
        };
        let (mut verdict, mut decided) = (timeline.verdict(), None);
        while let Some(event) = timeline.advance().await? {
            let next = timeline.verdict();
            if next != verdict {
                (verdict, decided) = (next, Some(event));
            }
        }
        let license = timeline.holder().and_then(|side| side.license.as_ref());
        Ok(VerdictAt {
            verdict,
            decided,
            license: license.map(|license| license.number),
            expires_at: license.and_then(License::expires_at),
            is_uncertain: timeline.is_uncertain,
        })
    }

    /// When the block list began and ceased to hold what is asked about. All entries there ever were are looked at, one
    /// stream after the other; those that hold something else are not kept.
    async fn block_boundaries(&self, question: &Question, up_to: i64) -> Result<(VecDeque<Boundary>, bool), HistoryError> {
        let (mut boundaries, mut is_uncertain) = (Vec::new(), false);
        let identifier = question.identifier.as_ref().map(Identifier::as_str);
        let mut opener = Opener::new(Arc::clone(&self.vault));
        let mut after = (Uuid::nil(), 0);
        while identifier.is_some() || question.ip.is_some() {
            let store = Arc::clone(&self.store);
            let read = async move { store.streams(aggregate_type::BLOCK, after, BLOCK_CHUNK_EVENTS).await };
            let chunk = decoded(self.vault.ledger_id(), read).await?;
            let Some((last, _)) = chunk.last() else { break };
            after = (last.aggregate_id, last.sequence);
            let is_last = i64::try_from(chunk.len()).is_ok_and(|count| count < BLOCK_CHUNK_EVENTS);
            opener
                .learn(&mut Source::Store(Arc::clone(&self.store)), chunk.iter().filter_map(|(recorded, _)| sealed_for(recorded)).collect())
                .await?;
            for (recorded, _) in chunk.into_iter().filter(|(recorded, _)| recorded.position <= up_to) {
                let recorded = opener.open_one(recorded)?;
                let Event::Block(event) = &recorded.event else { continue };
                let number = match event {
                    BlockEvent::BlockAdded(added) => added.block,
                    BlockEvent::BlockRemoved(removed) => removed.block,
                };
                let matters = match Block::fold(None, event) {
                    Some(block) => {
                        is_uncertain |= block.value.is_none();
                        let mut list = BlockList::default();
                        list.add(block);
                        list.blocked_by(question.ip, identifier).is_some()
                    }
                    None => boundaries.iter().any(|boundary: &Boundary| boundary.block == number),
                };
                if matters {
                    let begins = matches!(event, BlockEvent::BlockAdded(_));
                    let event = Decided {
                        position: recorded.position,
                        aggregate_type: aggregate_type::BLOCK,
                        sequence: recorded.sequence,
                        event_type: recorded.event.event_type(),
                        recorded_at: recorded.recorded_at,
                    };
                    boundaries.push(Boundary { block: number, begins, event });
                }
            }
            if is_last {
                break;
            }
        }
        boundaries.sort_unstable_by_key(|boundary| boundary.event.position);
        Ok((boundaries.into(), is_uncertain))
    }
}

/// Identifiers are needed to tell activations apart; nothing else that is personal is.
const ACTIVATIONS: Opens = |event| matches!(event, Event::License(LicenseEvent::LicenseActivated(_)));

/// An entry of the block list began or ceased.
struct Boundary {
    block: i64,
    begins: bool,
    event: Decided,
}

struct LicenseSide {
    id: Uuid,
    reader: StreamReader,
    license: Option<License>,
    /// That of the identifier asked for.
    activation: Option<Activation>,
}

struct ProductSide {
    reader: StreamReader,
    product: Option<Product>,
}

struct Timeline<'a> {
    ledger: &'a Ledger,
    streams: &'a LicenseStreams,
    question: &'a Question,
    point: Point,
    licenses: Vec<LicenseSide>,
    products: BTreeMap<i64, ProductSide>,
    boundaries: VecDeque<Boundary>,
    blocked: BTreeSet<i64>,
    is_uncertain: bool,
}

/// Whose event is next.
#[derive(Clone, Copy)]
enum Next {
    License(usize),
    Product(i64),
    Block,
}

impl Timeline<'_> {
    /// The license that is meant as things stand.
    fn holder(&self) -> Option<&LicenseSide> {
        let key = self.streams.key.as_ref();
        self.licenses.iter().find(|side| {
            side.license.as_ref().is_some_and(|license| {
                !license.deleted && (self.streams.named == Some(side.id) || key.is_some_and(|key| key.as_str() == license.key))
            })
        })
    }

    fn verdict(&self) -> Verdict {
        if !self.blocked.is_empty() {
            return Verdict::BlockListed;
        }
        let Some((side, license)) = self.holder().and_then(|side| Some((side, side.license.as_ref()?))) else {
            return Verdict::Refused(LicenseError::Unknown);
        };
        let product = self.products.get(&license.product).and_then(|side| side.product.as_ref());
        let is_active = product.is_some_and(Product::is_active);
        match license::verify(license, is_active, self.question.identifier.is_some(), side.activation.as_ref(), self.point.time) {
            Ok(()) => Verdict::Valid,
            Err(error) => Verdict::Refused(error),
        }
    }

    /// Folds the next event of all; `None` after the last.
    async fn advance(&mut self) -> Result<Option<Decided>, HistoryError> {
        let mut next: Option<(i64, Next)> = self.boundaries.front().map(|boundary| (boundary.event.position, Next::Block));
        let mut offer = |position: Option<i64>, of: Next| {
            if let Some(position) = position.filter(|position| next.is_none_or(|(first, _)| *position < first)) {
                next = Some((position, of));
            }
        };
        for (at, side) in self.licenses.iter_mut().enumerate() {
            offer(side.reader.next_position().await?, Next::License(at));
        }
        for (number, side) in &mut self.products {
            offer(side.reader.next_position().await?, Next::Product(*number));
        }
        match next {
            None => Ok(None),
            Some((_, Next::Block)) => Ok(self.boundaries.pop_front().map(|boundary| {
                if boundary.begins {
                    self.blocked.insert(boundary.block)
                } else {
                    self.blocked.remove(&boundary.block)
                };
                boundary.event
            })),
            Some((_, Next::Product(number))) => {
                let Some(side) = self.products.get_mut(&number) else { return Ok(None) };
                let told = side.reader.next().await?;
                Ok(told.map(|told| side.fold(&told)))
            }
            Some((_, Next::License(at))) => {
                let Some(side) = self.licenses.get_mut(at) else { return Ok(None) };
                let Some(told) = side.reader.next().await? else { return Ok(None) };
                self.is_uncertain |= side.fold(&told, self.question.identifier.as_ref());
                if let Some(product) = side.license.as_ref().map(|license| license.product) {
                    self.follow(product, told.recorded.position).await?;
                }
                Ok(Some(decided(&told)))
            }
        }
    }

    /// Looks after a product too, from where the others are.
    async fn follow(&mut self, product: i64, position: i64) -> Result<(), HistoryError> {
        if self.products.contains_key(&product) {
            return Ok(());
        }
        let stream = match self.ledger.product_stream(product).await {
            Ok(stream) => stream,
            Err(HistoryError::Unknown) => {
                return Err(ReplayError::Difference(format!("product {product}, which event {position} names, has no row")).into());
            }
            Err(error) => return Err(error),
        };
        let mut side = ProductSide { reader: StreamReader::new(self.ledger, stream, 1, self.point.position, NOTHING), product: None };
        while side.reader.next_position().await?.is_some_and(|next| next < position) {
            if let Some(told) = side.reader.next().await? {
                side.fold(&told);
            }
        }
        self.products.insert(product, side);
        Ok(())
    }
}

impl ProductSide {
    fn fold(&mut self, told: &Told) -> Decided {
        if let Event::Product(event) = &told.recorded.event {
            self.product = Product::fold(self.product.take(), event);
        }
        decided(told)
    }
}

impl LicenseSide {
    /// Whether an identifier that could be the one asked for is forgotten.
    fn fold(&mut self, told: &Told, identifier: Option<&Identifier>) -> bool {
        let Event::License(event) = &told.recorded.event else { return false };
        self.license = License::fold(self.license.take(), event, told.recorded.recorded_at);
        let is_asked_for = match event {
            LicenseEvent::LicenseActivated(of) => identifier.is_some() && of.personal.identifier().as_deref() == identifier.map(Identifier::as_str),
            LicenseEvent::LicenseDeactivated(of) => self.activation.as_ref().is_some_and(|activation| activation.number == of.activation),
            LicenseEvent::LicenseCreated(_)
            | LicenseEvent::LicenseAssigned(_)
            | LicenseEvent::LicenseReserved(_)
            | LicenseEvent::LicenseBlocked(_)
            | LicenseEvent::LicenseMadeAvailable(_)
            | LicenseEvent::OwnerChanged(_)
            | LicenseEvent::OwnerCleared(_)
            | LicenseEvent::ActivationLimitChanged(_)
            | LicenseEvent::ValidityChanged(_)
            | LicenseEvent::AssignedAtChanged(_)
            | LicenseEvent::LicenseProductChanged(_)
            | LicenseEvent::ActivationsEnded(_)
            | LicenseEvent::ActivationRefused(_)
            | LicenseEvent::AccessRefused(_)
            | LicenseEvent::LicenseMetaCreated(_)
            | LicenseEvent::LicenseMetaUpdated(_)
            | LicenseEvent::LicenseMetaDeleted(_)
            | LicenseEvent::LicenseKeyReplaced(_)
            | LicenseEvent::ReleaseDownloaded(_)
            | LicenseEvent::LicenseDeleted(_) => false,
        };
        if is_asked_for {
            self.activation = Activation::fold(self.activation.take(), event);
        }
        matches!(event, LicenseEvent::LicenseActivated(_)) && told.secrecy == Secrecy::Erased
    }
}

fn decided(told: &Told) -> Decided {
    let recorded = &told.recorded;
    Decided {
        position: recorded.position,
        aggregate_type: recorded.event.aggregate_type(),
        sequence: recorded.sequence,
        event_type: recorded.event.event_type(),
        recorded_at: recorded.recorded_at,
    }
}
