//! A release of a product: one file under one version. Uploaded as a draft, then published; withdrawn for good.

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Context, Personal, Timestamp, domain::domain_event};

/// Largest numeric version: fifteen digits, which every client's JSON numbers can hold.
pub const NUMERIC_VERSION_MAX: i64 = 999_999_999_999_999;

/// The digits of a version joined: 1.0.2 is 102. `None` where there are none or too many.
#[must_use]
pub fn numeric_version(version: &str) -> Option<i64> {
    let digits: String = version.chars().filter(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|number| (0..=NUMERIC_VERSION_MAX).contains(number))
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ReleaseEvent {
    ReleaseUploaded(ReleaseUploaded),
    ReleaseUpdated(ReleaseUpdated),
    ReleasePublished(ReleasePublished),
    ReleaseUnpublished(ReleaseUnpublished),
    ReleaseWithdrawn(ReleaseWithdrawn),
}

domain_event!(ReleaseEvent personal {
    ReleaseUploaded "1.0",
    ReleaseUpdated "1.0",
    ReleasePublished "1.0",
    ReleaseUnpublished "1.0",
    ReleaseWithdrawn "1.0",
});

impl ReleaseEvent {
    /// The number of the release it happened to.
    #[must_use]
    pub fn release(&self) -> i64 {
        match self {
            Self::ReleaseUploaded(event) => event.release,
            Self::ReleaseUpdated(event) => event.release,
            Self::ReleasePublished(event) => event.release,
            Self::ReleaseUnpublished(event) => event.release,
            Self::ReleaseWithdrawn(event) => event.release,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseUploaded {
    pub changelog: String,
    pub content_type: String,
    pub file_name: String,
    pub numeric_version: i64,
    /// Under which the file is kept.
    pub object: Uuid,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub release: i64,
    /// Of the file, in hexadecimal.
    pub sha256: String,
    /// Of the file, in bytes.
    pub size: i64,
    pub update_summary: String,
    pub version: String,
}

/// The texts as they are after the change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseUpdated {
    pub changelog: String,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub release: i64,
    pub update_summary: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleasePublished {
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub release: i64,
    pub release_date: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseUnpublished {
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub release: i64,
}

/// Taken back for good; its file is deleted, and its version can be used again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseWithdrawn {
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub release: i64,
}

/// A release, without its count of downloads, which happen to licenses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub number: i64,
    pub product: i64,
    pub version: String,
    pub numeric_version: i64,
    pub update_summary: String,
    pub changelog: String,
    pub file_name: String,
    pub content_type: String,
    pub size: i64,
    pub sha256: String,
    pub object: Uuid,
    pub published: bool,
    /// When it was published last.
    pub release_date: Option<Timestamp>,
    pub withdrawn: bool,
}

impl Release {
    /// Folds one event.
    #[must_use]
    pub fn fold(state: Option<Self>, event: &ReleaseEvent) -> Option<Self> {
        if let ReleaseEvent::ReleaseUploaded(event) = event {
            return Some(Self {
                number: event.release,
                product: event.product,
                version: event.version.clone(),
                numeric_version: event.numeric_version,
                update_summary: event.update_summary.clone(),
                changelog: event.changelog.clone(),
                file_name: event.file_name.clone(),
                content_type: event.content_type.clone(),
                size: event.size,
                sha256: event.sha256.clone(),
                object: event.object,
                published: false,
                release_date: None,
                withdrawn: false,
            });
        }
        let mut release = state?;
        match event {
            ReleaseEvent::ReleaseUploaded(_) => {}
            ReleaseEvent::ReleaseUpdated(event) => {
                release.update_summary.clone_from(&event.update_summary);
                release.changelog.clone_from(&event.changelog);
            }
            ReleaseEvent::ReleasePublished(event) => {
                release.published = true;
                release.release_date = Some(event.release_date);
            }
            ReleaseEvent::ReleaseUnpublished(_) => release.published = false,
            ReleaseEvent::ReleaseWithdrawn(_) => {
                release.published = false;
                release.withdrawn = true;
            }
        }
        Some(release)
    }
}

/// A release whose file is stored already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRelease {
    pub product: i64,
    pub version: String,
    pub numeric_version: i64,
    pub update_summary: String,
    pub changelog: String,
    pub file_name: String,
    pub content_type: String,
    pub size: i64,
    pub sha256: String,
    pub object: Uuid,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseCommand {
    Upload(NewRelease),
    /// What is `None` stays as it is.
    Update {
        update_summary: Option<String>,
        changelog: Option<String>,
    },
    /// Without a date it is now.
    Publish {
        release_date: Option<Timestamp>,
    },
    Unpublish,
    Withdraw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseError {
    #[error("the release does not exist")]
    Unknown,
    #[error("the release exists already")]
    Exists,
    #[error("the product does not exist")]
    ProductUnknown,
    #[error("the product has another release of this numeric version")]
    VersionTaken,
    #[error("the release is published already")]
    Published,
    #[error("the release is not published")]
    NotPublished,
}

/// The part of the state that a command needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReleaseAtHand<'a> {
    pub release: Option<&'a Release>,
    /// Whether the product exists.
    pub product_exists: bool,
    /// Whether another release of the product has the version.
    pub version_taken: bool,
}

/// Decides a command. A withdrawn release is as good as none.
///
/// # Errors
/// Why it was refused.
pub fn decide(at_hand: ReleaseAtHand<'_>, command: &ReleaseCommand, context: &Context) -> Result<Vec<ReleaseEvent>, ReleaseError> {
    if let ReleaseCommand::Upload(new) = command {
        return match at_hand {
            ReleaseAtHand { release: Some(_), .. } => Err(ReleaseError::Exists),
            ReleaseAtHand { product_exists: false, .. } => Err(ReleaseError::ProductUnknown),
            ReleaseAtHand { version_taken: true, .. } => Err(ReleaseError::VersionTaken),
            _ => Ok(vec![uploaded(new, context)]),
        };
    }
    let release = at_hand.release.filter(|release| !release.withdrawn).ok_or(ReleaseError::Unknown)?;
    let (number, product) = (release.number, release.product);
    let event = match command {
        ReleaseCommand::Upload(_) => return Err(ReleaseError::Exists),
        ReleaseCommand::Update { update_summary, changelog } => {
            let event = ReleaseEvent::ReleaseUpdated(ReleaseUpdated {
                changelog: changelog.clone().unwrap_or_else(|| release.changelog.clone()),
                personal: Personal::None,
                product,
                release: number,
                update_summary: update_summary.clone().unwrap_or_else(|| release.update_summary.clone()),
            });
            // An update that changes nothing is no event.
            if Release::fold(Some(release.clone()), &event).as_ref() == Some(release) {
                return Ok(Vec::new());
            }
            event
        }
        ReleaseCommand::Publish { .. } if release.published => return Err(ReleaseError::Published),
        ReleaseCommand::Publish { .. } if !at_hand.product_exists => return Err(ReleaseError::ProductUnknown),
        ReleaseCommand::Publish { release_date } => {
            let release_date = release_date.unwrap_or(context.now);
            ReleaseEvent::ReleasePublished(ReleasePublished { personal: Personal::None, product, release: number, release_date })
        }
        ReleaseCommand::Unpublish if !release.published => return Err(ReleaseError::NotPublished),
        ReleaseCommand::Unpublish => ReleaseEvent::ReleaseUnpublished(ReleaseUnpublished { personal: Personal::None, product, release: number }),
        ReleaseCommand::Withdraw => ReleaseEvent::ReleaseWithdrawn(ReleaseWithdrawn { personal: Personal::None, product, release: number }),
    };
    Ok(vec![event])
}

fn uploaded(new: &NewRelease, context: &Context) -> ReleaseEvent {
    ReleaseEvent::ReleaseUploaded(ReleaseUploaded {
        changelog: new.changelog.clone(),
        content_type: new.content_type.clone(),
        file_name: new.file_name.clone(),
        numeric_version: new.numeric_version,
        object: new.object,
        personal: Personal::None,
        product: new.product,
        release: context.next.release,
        sha256: new.sha256.clone(),
        size: new.size,
        update_summary: new.update_summary.clone(),
        version: new.version.clone(),
    })
}

/// What the aggregate's commands need from outside.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReleaseServices {
    pub context: Context,
    pub product_exists: bool,
    pub version_taken: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReleaseAggregate(pub Option<Release>);

impl Aggregate for ReleaseAggregate {
    const TYPE: &'static str = "release";
    type Command = ReleaseCommand;
    type Event = ReleaseEvent;
    type Error = ReleaseError;
    type Services = ReleaseServices;

    async fn handle(&mut self, command: ReleaseCommand, services: &ReleaseServices, sink: &EventSink<Self>) -> Result<(), ReleaseError> {
        let ReleaseServices { context, product_exists, version_taken } = *services;
        for event in decide(ReleaseAtHand { release: self.0.as_ref(), product_exists, version_taken }, &command, &context)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ReleaseEvent) {
        self.0 = Release::fold(self.0.take(), &event);
    }
}
