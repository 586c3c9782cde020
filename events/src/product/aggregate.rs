//! Decisions on a product, and the cqrs-es aggregate folded from its stream.

use std::collections::BTreeMap;

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    Context, Personal,
    key_pair::KeyPair,
    values::{MetaKey, Slug},
};

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
    #[error("another product has this slug")]
    SlugTaken,
    #[error("the product has no such key pair")]
    KeyPairUnknown,
    #[error("the key pair is retired")]
    KeyPairRetired,
}

/// The part of the state that a command needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProductAtHand<'a> {
    pub product: Option<&'a Product>,
    pub meta: Option<&'a ProductMeta>,
    /// How many licenses name the product.
    pub licenses: i64,
    /// The product, not deleted, that has the slug which the command wants.
    pub slug_holder: Option<i64>,
    /// The key pair that the command names.
    pub key_pair: Option<&'a KeyPair>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProductDone {
    Created,
    Updated,
    MetaCreated,
    MetaUpdated,
    MetaDeleted,
    SlugSet,
    SwitchesSet,
    KeyPairUsed,
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
            ProductCommand::Create { .. } if at_hand.slug_holder.is_some() => Err(ProductError::SlugTaken),
            ProductCommand::Create { fields, key_pair, slug } => {
                Ok((ProductDone::Created, vec![created(fields, *key_pair, context), slug_set(context.next.product, slug)]))
            }
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
        ProductCommand::SetSlug { .. } if at_hand.slug_holder.is_some_and(|holder| holder != product.number) => Err(ProductError::SlugTaken),
        ProductCommand::SetSlug { slug } => {
            let is_new = product.slug.as_deref() != Some(slug.as_str());
            Ok((ProductDone::SlugSet, is_new.then(|| slug_set(product.number, slug)).into_iter().collect()))
        }
        ProductCommand::SetSwitches { changelog, api_download } => {
            let changed = ProductSwitchesChanged {
                api_download: api_download.unwrap_or(product.api_download),
                changelog: changelog.unwrap_or(product.changelog),
                personal: Personal::None,
                product: product.number,
            };
            let is_new = (changed.changelog, changed.api_download) != (product.changelog, product.api_download);
            Ok((ProductDone::SwitchesSet, is_new.then_some(ProductEvent::ProductSwitchesChanged(changed)).into_iter().collect()))
        }
        ProductCommand::UseKeyPair { key_pair } => {
            let pair = at_hand.key_pair.filter(|pair| pair.number == *key_pair && pair.product == Some(product.number));
            if pair.ok_or(ProductError::KeyPairUnknown)?.retired {
                return Err(ProductError::KeyPairRetired);
            }
            let changed = ProductKeyPairChanged { from: product.key_pair, personal: Personal::None, product: product.number, to: *key_pair };
            let is_new = product.key_pair != Some(*key_pair);
            Ok((ProductDone::KeyPairUsed, is_new.then_some(ProductEvent::ProductKeyPairChanged(changed)).into_iter().collect()))
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

fn slug_set(product: i64, slug: &Slug) -> ProductEvent {
    ProductEvent::ProductSlugSet(ProductSlugSet { personal: Personal::None, product, slug: slug.as_str().to_owned() })
}

/// How many numbers are tried behind a slug that another product has.
const SLUG_NUMBERS_TRIED: i64 = 9;

/// The slugs that a new product of this name may get, the best first. All of them can be looked up before the decision.
#[must_use]
pub fn slugs_for(name: &str) -> Vec<Slug> {
    let slug = Slug::of_name(name);
    let numbered = (2..=SLUG_NUMBERS_TRIED).map(|number| slug.with_number(number));
    std::iter::once(slug.clone()).chain(numbered).collect()
}

/// The slug of a new product: the first of [`slugs_for`] that is free, else one that ends in its number behind two hyphens,
/// which no other can have.
#[must_use]
pub fn free_slug(name: &str, product: i64, is_taken: impl Fn(&str) -> bool) -> Slug {
    let free = slugs_for(name).into_iter().find(|slug| !is_taken(slug.as_str()));
    free.unwrap_or_else(|| Slug::of_name(name).with_own_number(product))
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

#[derive(Clone, Debug, Default)]
pub struct ProductServices {
    pub context: Context,
    pub licenses: i64,
    pub slug_holder: Option<i64>,
    pub key_pair: Option<KeyPair>,
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
            ProductCommand::Create { .. }
            | ProductCommand::Update(_)
            | ProductCommand::SetSlug { .. }
            | ProductCommand::SetSwitches { .. }
            | ProductCommand::UseKeyPair { .. }
            | ProductCommand::Delete => None,
        };
        let at_hand = ProductAtHand {
            product: self.product.as_ref(),
            meta: key.and_then(|key| self.meta.values().find(|meta| meta.key == key.as_str())),
            licenses: services.licenses,
            slug_holder: services.slug_holder,
            key_pair: services.key_pair.as_ref(),
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
