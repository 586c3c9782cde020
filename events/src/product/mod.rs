//! A product: what licenses are for.

mod aggregate;
mod command;
mod event;
mod state;

pub use aggregate::{ProductAggregate, ProductAtHand, ProductDecision, ProductDone, ProductError, ProductServices, decide, free_slug, slugs_for};
pub use command::{ProductCommand, ProductFields, UpdateProduct};
pub use event::*;
pub use state::{Product, ProductMeta, ProductStatus, Source};
