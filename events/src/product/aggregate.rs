//! Decisions on a product, and the cqrs-es aggregate folded from its stream.

use std::collections::BTreeMap;

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use super::*;
use crate::{Context, Personal, values::MetaKey};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProductError {
    #[error("the product does not exist")]
    Unknown,
    #[error("the product exists already")]
    Exists,
    #[error("the product still has licenses")]
    HasLicenses,
    #[error("a meta key is required")]
    MetaKeyRequired,
    #[error("a meta value is required")]
    MetaValueRequired,
    #[error("the meta key exists already")]
    MetaExists,
    #[error("the meta key does not exist")]
    MetaUnknown,
}

/// The part of the state that a command needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProductAtHand<'a> {
    pub product: Option<&'a Product>,
    pub meta: Option<&'a ProductMeta>,
    /// How many licenses name the product.
    pub licenses: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProductDone {
    Created,
    Updated,
    MetaCreated,
    MetaUpdated,
    MetaDeleted,
    Deleted,
}

pub type ProductDecision = Result<(ProductDone, Vec<ProductEvent>), ProductError>;

/// Decides a command.
///
/// # Errors
/// Why it was refused.
pub fn decide(at_hand: ProductAtHand<'_>, command: &ProductCommand, context: &Context) -> ProductDecision {
    let Some(product) = at_hand.product.filter(|product| !product.deleted) else {
        return match command {
            ProductCommand::Create { fields, key_pair } => Ok((ProductDone::Created, vec![created(fields, *key_pair, context)])),
            _ => Err(ProductError::Unknown),
        };
    };
    match command {
        ProductCommand::Create { .. } => Err(ProductError::Exists),
        ProductCommand::Update(update) => Ok((ProductDone::Updated, updated(product, update).into_iter().collect())),
        ProductCommand::CreateMeta { key, value } => {
            let set = meta_set(product, key.as_ref(), value.as_ref())?;
            if at_hand.meta.is_some() {
                return Err(ProductError::MetaExists);
            }
            let set = ProductMetaSet { meta: context.next.product_meta, ..set };
            Ok((ProductDone::MetaCreated, vec![ProductEvent::ProductMetaCreated(set)]))
        }
        ProductCommand::UpdateMeta { key, value } => {
            let set = meta_set(product, key.as_ref(), value.as_ref())?;
            let meta = at_hand.meta.ok_or(ProductError::MetaUnknown)?.number;
            Ok((ProductDone::MetaUpdated, vec![ProductEvent::ProductMetaUpdated(ProductMetaSet { meta, ..set })]))
        }
        ProductCommand::DeleteMeta { key } => {
            key.as_ref().ok_or(ProductError::MetaKeyRequired)?;
            let meta = at_hand.meta.ok_or(ProductError::MetaUnknown)?;
            let deleted = ProductMetaDeleted { key: meta.key.clone(), meta: meta.number, personal: Personal::None, product: product.number };
            Ok((ProductDone::MetaDeleted, vec![ProductEvent::ProductMetaDeleted(deleted)]))
        }
        ProductCommand::Delete if at_hand.licenses > 0 => Err(ProductError::HasLicenses),
        ProductCommand::Delete => {
            Ok((ProductDone::Deleted, vec![ProductEvent::ProductDeleted(ProductDeleted { personal: Personal::None, product: product.number })]))
        }
    }
}

fn meta_set(product: &Product, key: Option<&MetaKey>, value: Option<&String>) -> Result<ProductMetaSet, ProductError> {
    let key = key.ok_or(ProductError::MetaKeyRequired)?;
    let value = value.ok_or(ProductError::MetaValueRequired)?;
    Ok(ProductMetaSet { key: key.as_str().to_owned(), meta: 0, personal: Personal::None, product: product.number, value: value.clone() })
}

fn created(fields: &ProductFields, key_pair: Option<i64>, context: &Context) -> ProductEvent {
    ProductEvent::ProductCreated(ProductCreated {
        description: fields.description.clone(),
        external_reference: fields.external_reference.clone(),
        key_pair,
        name: fields.name.clone(),
        personal: Personal::None,
        post_url: fields.post_url.clone(),
        product: context.next.product,
        require_non_expired: fields.require_non_expired,
        source: fields.source,
        status: fields.status,
    })
}

fn updated(product: &Product, update: &UpdateProduct) -> Option<ProductEvent> {
    let after = ProductUpdated {
        description: update.description.clone().unwrap_or_else(|| product.description.clone()),
        external_reference: update.external_reference.clone().unwrap_or_else(|| product.external_reference.clone()),
        name: update.name.clone().unwrap_or_else(|| product.name.clone()),
        personal: Personal::None,
        post_url: update.post_url.clone().unwrap_or_else(|| product.post_url.clone()),
        product: product.number,
        require_non_expired: update.require_non_expired.unwrap_or(product.require_non_expired),
        source: update.source.unwrap_or(product.source),
        status: update.status.unwrap_or(product.status),
    };
    let event = ProductEvent::ProductUpdated(after);
    // An update that changes nothing is no event.
    (Product::fold(Some(product.clone()), &event).as_ref() != Some(product)).then_some(event)
}

#[derive(Clone, Copy, Debug, Default)]
pub struct ProductServices {
    pub context: Context,
    pub licenses: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProductAggregate {
    pub product: Option<Product>,
    pub meta: BTreeMap<i64, ProductMeta>,
}

impl Aggregate for ProductAggregate {
    const TYPE: &'static str = "product";
    type Command = ProductCommand;
    type Event = ProductEvent;
    type Error = ProductError;
    type Services = ProductServices;

    async fn handle(&mut self, command: ProductCommand, services: &ProductServices, sink: &EventSink<Self>) -> Result<(), ProductError> {
        let key = match &command {
            ProductCommand::CreateMeta { key, .. } | ProductCommand::UpdateMeta { key, .. } | ProductCommand::DeleteMeta { key } => key.as_ref(),
            ProductCommand::Create { .. } | ProductCommand::Update(_) | ProductCommand::Delete => None,
        };
        let at_hand = ProductAtHand {
            product: self.product.as_ref(),
            meta: key.and_then(|key| self.meta.values().find(|meta| meta.key == key.as_str())),
            licenses: services.licenses,
        };
        let (_, events) = decide(at_hand, &command, &services.context)?;
        for event in events {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ProductEvent) {
        if let ProductEvent::ProductMetaCreated(ProductMetaSet { meta, .. })
        | ProductEvent::ProductMetaUpdated(ProductMetaSet { meta, .. })
        | ProductEvent::ProductMetaDeleted(ProductMetaDeleted { meta, .. }) = &event
        {
            let folded = ProductMeta::fold(self.meta.remove(meta), &event);
            self.meta.extend(folded.map(|row| (*meta, row)));
        }
        self.product = Product::fold(self.product.take(), &event);
    }
}
