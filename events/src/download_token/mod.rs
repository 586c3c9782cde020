//! A token that is good for one download of one file. It is claimed for the time of a transfer, so that two requests never
//! both get the file; a transfer that fails gives it back, one that ends uses it up.

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use crate::{Context, Personal, Timestamp, domain::domain_event};

/// How long a token is good for, in microseconds: a day.
pub const LIFETIME_MICROS: i64 = 24 * 60 * 60 * 1_000_000;
/// How long a claim holds unless it is renewed, in microseconds: a client whose server died waits no longer before its next try,
/// and a transfer renews seldom enough.
pub const CLAIM_MICROS: i64 = 2 * 60 * 1_000_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum DownloadTokenEvent {
    TokenIssued(TokenIssued),
    TokenClaimed(TokenClaimed),
    TokenReleased(TokenReleased),
    TokenUsed(TokenUsed),
}

domain_event!(DownloadTokenEvent personal {
    TokenIssued "1.0",
    TokenClaimed "1.0",
    TokenReleased "1.0",
    TokenUsed "1.0",
});

impl DownloadTokenEvent {
    /// The number of the token it happened to.
    #[must_use]
    pub fn token(&self) -> i64 {
        match self {
            Self::TokenIssued(event) => event.token,
            Self::TokenClaimed(event) => event.token,
            Self::TokenReleased(event) => event.token,
            Self::TokenUsed(event) => event.token,
        }
    }

    /// The number of the license that the token was issued for.
    #[must_use]
    pub fn license(&self) -> i64 {
        match self {
            Self::TokenIssued(event) => event.license,
            Self::TokenClaimed(event) => event.license,
            Self::TokenReleased(event) => event.license,
            Self::TokenUsed(event) => event.license,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenIssued {
    pub expires_at: Timestamp,
    /// Keyed hash of the token's value, in hexadecimal: the value itself is nowhere.
    pub hash: String,
    pub license: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub release: i64,
    pub token: i64,
}

/// A transfer begins, or goes on: then the claim is the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenClaimed {
    /// Counts the token's transfers.
    pub claim: i64,
    pub license: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub token: i64,
    pub until: Timestamp,
}

/// The transfer failed: the token can be claimed again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenReleased {
    pub claim: i64,
    pub license: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub token: i64,
}

/// The last byte was handed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenUsed {
    pub claim: i64,
    pub license: i64,
    #[serde(default, skip_serializing_if = "Personal::is_none")]
    pub personal: Personal,
    pub product: i64,
    pub token: i64,
}

/// A token that may still be good; one that was used is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadToken {
    pub number: i64,
    pub hash: String,
    pub license: i64,
    pub product: i64,
    pub release: i64,
    pub expires_at: Timestamp,
    /// Transfers so far.
    pub claims: i64,
    pub claimed_until: Option<Timestamp>,
}

impl DownloadToken {
    /// Folds one event.
    #[must_use]
    pub fn fold(state: Option<Self>, event: &DownloadTokenEvent) -> Option<Self> {
        match event {
            DownloadTokenEvent::TokenIssued(event) => Some(Self {
                number: event.token,
                hash: event.hash.clone(),
                license: event.license,
                product: event.product,
                release: event.release,
                expires_at: event.expires_at,
                claims: 0,
                claimed_until: None,
            }),
            DownloadTokenEvent::TokenClaimed(event) => state.map(|token| Self { claims: event.claim, claimed_until: Some(event.until), ..token }),
            DownloadTokenEvent::TokenReleased(_) => state.map(|token| Self { claimed_until: None, ..token }),
            DownloadTokenEvent::TokenUsed(_) => None,
        }
    }

    /// Whether a transfer may begin now.
    #[must_use]
    pub fn is_free(&self, now: Timestamp) -> bool {
        now < self.expires_at && !self.is_claimed(now)
    }

    fn is_claimed(&self, now: Timestamp) -> bool {
        self.claimed_until.is_some_and(|until| now < until)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownloadTokenCommand {
    Issue {
        hash: String,
        license: i64,
        product: i64,
        release: i64,
    },
    Claim,
    /// The transfer goes on. It may outlast the token.
    Renew {
        claim: i64,
    },
    /// The transfer failed.
    GiveBack {
        claim: i64,
    },
    Use {
        claim: i64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DownloadTokenError {
    #[error("the token is unknown or was used")]
    Unknown,
    #[error("the token exists already")]
    Exists,
    #[error("the token has expired")]
    Expired,
    #[error("the token is being used")]
    Claimed,
    #[error("the claim to the token has ended")]
    ClaimEnded,
}

/// Decides a command.
///
/// # Errors
/// Why it was refused.
pub fn decide(state: Option<&DownloadToken>, command: &DownloadTokenCommand, context: &Context) -> Result<DownloadTokenEvent, DownloadTokenError> {
    let now = context.now;
    let after = |micros: i64| Timestamp(now.0.saturating_add(micros));
    if let DownloadTokenCommand::Issue { hash, license, product, release } = command {
        return match state {
            Some(_) => Err(DownloadTokenError::Exists),
            None => Ok(DownloadTokenEvent::TokenIssued(TokenIssued {
                expires_at: after(LIFETIME_MICROS),
                hash: hash.clone(),
                license: *license,
                personal: Personal::None,
                product: *product,
                release: *release,
                token: context.next.download_token,
            })),
        };
    }
    let held = state.ok_or(DownloadTokenError::Unknown)?;
    let (token, license, product) = (held.number, held.license, held.product);
    let claimed = |claim| {
        DownloadTokenEvent::TokenClaimed(TokenClaimed { claim, license, personal: Personal::None, product, token, until: after(CLAIM_MICROS) })
    };
    let holds = |claim: i64| if held.claims == claim && held.is_claimed(now) { Ok(()) } else { Err(DownloadTokenError::ClaimEnded) };
    match command {
        DownloadTokenCommand::Issue { .. } => Err(DownloadTokenError::Exists),
        DownloadTokenCommand::Claim if now >= held.expires_at => Err(DownloadTokenError::Expired),
        DownloadTokenCommand::Claim if held.is_claimed(now) => Err(DownloadTokenError::Claimed),
        DownloadTokenCommand::Claim => Ok(claimed(held.claims + 1)),
        DownloadTokenCommand::Renew { claim } => holds(*claim).map(|()| claimed(*claim)),
        DownloadTokenCommand::GiveBack { claim } => {
            holds(*claim)?;
            Ok(DownloadTokenEvent::TokenReleased(TokenReleased { claim: *claim, license, personal: Personal::None, product, token }))
        }
        // Even when the claim has ended: nobody else has claimed it since, and the file is with the client.
        DownloadTokenCommand::Use { claim } if held.claims == *claim && held.claimed_until.is_some() => {
            Ok(DownloadTokenEvent::TokenUsed(TokenUsed { claim: *claim, license, personal: Personal::None, product, token }))
        }
        DownloadTokenCommand::Use { .. } => Err(DownloadTokenError::ClaimEnded),
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DownloadTokenAggregate(pub Option<DownloadToken>);

impl Aggregate for DownloadTokenAggregate {
    const TYPE: &'static str = "download_token";
    type Command = DownloadTokenCommand;
    type Event = DownloadTokenEvent;
    type Error = DownloadTokenError;
    type Services = Context;

    async fn handle(&mut self, command: DownloadTokenCommand, context: &Context, sink: &EventSink<Self>) -> Result<(), DownloadTokenError> {
        let event = decide(self.0.as_ref(), &command, context)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: DownloadTokenEvent) {
        self.0 = DownloadToken::fold(self.0.take(), &event);
    }
}
