//! A product: what licenses are for.

mod aggregate;
mod command;
mod event;
mod state;

pub use aggregate::{ProductServices, ProductAggregate, ProductAtHand, ProductDecision, ProductDone, ProductError, decide};
pub use command::{ProductCommand, ProductFields, UpdateProduct};
pub use event::*;
pub use state::{Product, ProductMeta, ProductStatus, Source};
