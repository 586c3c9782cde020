//! Time-stamps: an authority signs that a checkpoint was there at a time. Protocol: RFC 3161 over HTTP.
//!
//! What is checked here is that the token is about this request. Whether its signature is one of an authority that is trusted is for
//! those who use it as evidence, with roots of their own choosing; `openssl ts -verify` does it.

use aws_lc_rs::digest::{SHA256, digest};
use der::{
    AnyRef, Decode, Encode, Reader, SliceReader, Tag, TagNumber,
    asn1::{ObjectIdentifier, OctetStringRef},
};

use super::Checkpoint;
use crate::{
    outgoing::{Outgoing, OutgoingError, is_http_url},
    vault,
};

/// Longest answer: a token with a chain of certificates.
const REPLY_BYTES_MAX: usize = 128 * 1024;
const QUERY_TYPE: &str = "application/timestamp-query";
const NONCE_BYTES: usize = 16;

const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");

#[derive(Debug, thiserror::Error)]
pub enum TimestampError {
    #[error("the time-stamping authority answered with status {0}")]
    Http(u16),
    /// PKIStatus: 2 is a rejection, the others are about revocation.
    #[error("the time-stamping authority refused: status {0}")]
    Refused(u8),
    #[error("the time-stamping authority's answer can't be read: {0}")]
    Malformed(&'static str),
    #[error("the time-stamp is for something else than was asked for")]
    OtherImprint,
    #[error("the time-stamp doesn't repeat the request's nonce")]
    OtherNonce,
    #[error("no random number could be drawn")]
    Random,
    #[error(transparent)]
    Outgoing(#[from] OutgoingError),
}

impl From<der::Error> for TimestampError {
    fn from(_: der::Error) -> Self {
        Self::Malformed("it is not the DER that was expected")
    }
}

/// A time-stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The token as the authority sent it: a CMS ContentInfo, DER.
    pub der: Vec<u8>,
    /// The time in it, as it is written there: `YYYYMMDDHHMMSS[.fraction]Z`.
    pub time: String,
}

/// A time-stamping authority.
pub struct Authority {
    url: String,
    name: String,
    outgoing: Outgoing,
}

impl Authority {
    /// Reads its URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str, outgoing: Outgoing) -> Result<Self, &'static str> {
        let parsed = url::Url::parse(url).ok().filter(|_| is_http_url(url)).ok_or("a time-stamping authority's URL must be one of http or https")?;
        let name = format!("{}{}", parsed.host_str().unwrap_or_default(), parsed.path().trim_end_matches('/'));
        Ok(Self { url: url.to_owned(), name, outgoing })
    }

    /// Host and path: a URL's other parts may be secret.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Has a checkpoint time-stamped: the bytes of its note.
    ///
    /// # Errors
    /// When the authority doesn't, or its answer isn't about this request.
    pub async fn hand_out(&self, checkpoint: &Checkpoint) -> Result<Token, TimestampError> {
        let imprint = digest(&SHA256, checkpoint.note.as_bytes());
        let nonce = nonce().ok_or(TimestampError::Random)?;
        let query = query(imprint.as_ref(), &nonce)?;
        let headers = [("content-type", QUERY_TYPE.to_owned())];
        let reply = self.outgoing.post_for_reply(&self.url, &headers, query, REPLY_BYTES_MAX).await?;
        if reply.status != 200 {
            return Err(TimestampError::Http(reply.status));
        }
        read_reply(&reply.body, imprint.as_ref(), &nonce)
    }
}

/// A random number whose bytes are its DER: positive, and without a first byte that would be left out.
fn nonce() -> Option<[u8; NONCE_BYTES]> {
    let mut nonce: [u8; NONCE_BYTES] = vault::random().ok()?;
    nonce[0] = (nonce[0] & 0x7f) | 0x40;
    Some(nonce)
}

fn any(tag: Tag, value: &[u8]) -> der::Result<Vec<u8>> {
    AnyRef::new(tag, value)?.to_der()
}

fn sequence(members: &[Vec<u8>]) -> der::Result<Vec<u8>> {
    any(Tag::Sequence, &members.concat())
}

/// A TimeStampReq that asks for the certificates too: without them a token can hardly be checked years later.
fn query(imprint: &[u8], nonce: &[u8]) -> der::Result<Vec<u8>> {
    let version = any(Tag::Integer, &[1])?;
    let algorithm = sequence(&[SHA_256.to_der()?, any(Tag::Null, &[])?])?;
    let message_imprint = sequence(&[algorithm, OctetStringRef::new(imprint)?.to_der()?])?;
    let cert_req = any(Tag::Boolean, &[0xff])?;
    sequence(&[version, message_imprint, any(Tag::Integer, nonce)?, cert_req])
}

/// The members of a constructed value.
fn members<'a>(of: AnyRef<'a>, tag: Tag) -> Result<Vec<AnyRef<'a>>, TimestampError> {
    if der::Tagged::tag(&of) != tag {
        return Err(TimestampError::Malformed("a part of it is of another type"));
    }
    let mut reader = SliceReader::new(of.value())?;
    let mut members = Vec::new();
    while !reader.is_finished() {
        members.push(AnyRef::decode(&mut reader)?);
    }
    Ok(members)
}

fn member<'a>(members: &[AnyRef<'a>], at: usize) -> Result<AnyRef<'a>, TimestampError> {
    members.get(at).copied().ok_or(TimestampError::Malformed("a part of it is missing"))
}

/// What stands in an explicit `[0]`.
fn explicit(of: AnyRef<'_>) -> Result<AnyRef<'_>, TimestampError> {
    member(&members(of, Tag::ContextSpecific { constructed: true, number: TagNumber::N0 })?, 0)
}

fn is_oid(of: AnyRef<'_>, expected: ObjectIdentifier) -> bool {
    of.decode_as::<ObjectIdentifier>().is_ok_and(|oid| oid == expected)
}

/// Checks a TimeStampResp as far as it is about the request, and takes its token out.
fn read_reply(reply: &[u8], imprint: &[u8], nonce: &[u8]) -> Result<Token, TimestampError> {
    let reply = members(AnyRef::from_der(reply)?, Tag::Sequence)?;
    let status = members(member(&reply, 0)?, Tag::Sequence)?;
    // 0 is granted, 1 is granted with modifications.
    match member(&status, 0)?.decode_as::<u8>()? {
        0 | 1 => {}
        refused => return Err(TimestampError::Refused(refused)),
    }
    let token = member(&reply, 1)?;
    let content = members(token, Tag::Sequence)?;
    if !is_oid(member(&content, 0)?, SIGNED_DATA) {
        return Err(TimestampError::Malformed("the token is not signed data"));
    }
    let signed = members(explicit(member(&content, 1)?)?, Tag::Sequence)?;
    let encapsulated = members(member(&signed, 2)?, Tag::Sequence)?;
    if !is_oid(member(&encapsulated, 0)?, TST_INFO) {
        return Err(TimestampError::Malformed("the token does not hold a time-stamp"));
    }
    let info = explicit(member(&encapsulated, 1)?)?.decode_as::<OctetStringRef<'_>>()?;
    let time = check_info(info.as_bytes(), imprint, nonce)?;
    Ok(Token { der: token.to_der()?, time })
}

/// Checks a TSTInfo: version, policy, imprint, serial number, time; then, where they are there, accuracy, ordering and the nonce,
/// which alone of these is an integer. Its time.
fn check_info(info: &[u8], imprint: &[u8], nonce: &[u8]) -> Result<String, TimestampError> {
    let info = members(AnyRef::from_der(info)?, Tag::Sequence)?;
    let message_imprint = members(member(&info, 2)?, Tag::Sequence)?;
    let algorithm = members(member(&message_imprint, 0)?, Tag::Sequence)?;
    let stamped = member(&message_imprint, 1)?.decode_as::<OctetStringRef<'_>>()?;
    if !is_oid(member(&algorithm, 0)?, SHA_256) || stamped.as_bytes() != imprint {
        return Err(TimestampError::OtherImprint);
    }
    let time = member(&info, 4)?;
    if der::Tagged::tag(&time) != Tag::GeneralizedTime || !time.value().iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'Z')) {
        return Err(TimestampError::Malformed("its time is none"));
    }
    let given = info.iter().skip(5).find(|member| der::Tagged::tag(*member) == Tag::Integer);
    if given.map(|given| given.value()) != Some(nonce) {
        return Err(TimestampError::OtherNonce);
    }
    Ok(String::from_utf8_lossy(time.value()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMPRINT: [u8; 32] = [7; 32];
    const NONCE: [u8; 16] = [0x41; 16];

    fn context(inner: &[u8]) -> Vec<u8> {
        any(Tag::ContextSpecific { constructed: true, number: TagNumber::N0 }, inner).unwrap()
    }

    fn info(imprint: &[u8], nonce: Option<&[u8]>) -> Vec<u8> {
        let algorithm = sequence(&[SHA_256.to_der().unwrap()]).unwrap();
        let mut parts = vec![
            any(Tag::Integer, &[1]).unwrap(),
            TST_INFO.to_der().unwrap(),
            sequence(&[algorithm, OctetStringRef::new(imprint).unwrap().to_der().unwrap()]).unwrap(),
            any(Tag::Integer, &[9]).unwrap(),
            any(Tag::GeneralizedTime, b"20240229120000.25Z").unwrap(),
            sequence(&[any(Tag::Integer, &[1]).unwrap()]).unwrap(),
            any(Tag::Boolean, &[0xff]).unwrap(),
        ];
        parts.extend(nonce.map(|nonce| any(Tag::Integer, nonce).unwrap()));
        sequence(&parts).unwrap()
    }

    fn reply(status: u8, info: &[u8]) -> Vec<u8> {
        let octets = OctetStringRef::new(info).unwrap().to_der().unwrap();
        let encapsulated = sequence(&[TST_INFO.to_der().unwrap(), context(&octets)]).unwrap();
        let signed = sequence(&[any(Tag::Integer, &[3]).unwrap(), any(Tag::Set, &[]).unwrap(), encapsulated]).unwrap();
        let token = sequence(&[SIGNED_DATA.to_der().unwrap(), context(&signed)]).unwrap();
        sequence(&[sequence(&[any(Tag::Integer, &[status]).unwrap()]).unwrap(), token]).unwrap()
    }

    #[test]
    fn a_token_about_the_request_is_taken() {
        for status in [0, 1] {
            let token = read_reply(&reply(status, &info(&IMPRINT, Some(&NONCE))), &IMPRINT, &NONCE).unwrap();
            assert_eq!(token.time, "20240229120000.25Z");
            assert!(AnyRef::from_der(&token.der).is_ok());
        }
    }

    #[test]
    fn a_token_about_something_else_is_refused() {
        let read = |reply: &[u8]| read_reply(reply, &IMPRINT, &NONCE).unwrap_err();
        assert!(matches!(read(&reply(0, &info(&[8; 32], Some(&NONCE)))), TimestampError::OtherImprint));
        assert!(matches!(read(&reply(0, &info(&IMPRINT, Some(&[0x42; 16])))), TimestampError::OtherNonce));
        assert!(matches!(read(&reply(0, &info(&IMPRINT, None))), TimestampError::OtherNonce));
        assert!(matches!(read(&reply(2, &info(&IMPRINT, Some(&NONCE)))), TimestampError::Refused(2)));
        let refused = sequence(&[sequence(&[any(Tag::Integer, &[2]).unwrap()]).unwrap()]).unwrap();
        assert!(matches!(read(&refused), TimestampError::Refused(2)));
    }

    #[test]
    fn whatever_is_sent_is_an_error_and_nothing_worse() {
        let good = reply(0, &info(&IMPRINT, Some(&NONCE)));
        for length in 0..good.len() {
            assert!(read_reply(&good[..length], &IMPRINT, &NONCE).is_err(), "cut to {length}");
        }
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 0x55;
            // Some members don't matter here; the token is kept as it came.
            let _ = read_reply(&changed, &IMPRINT, &NONCE);
        }
        assert!(read_reply(&[&good[..], &[0]].concat(), &IMPRINT, &NONCE).is_err(), "something behind it");
    }

    #[test]
    fn a_nonce_is_its_own_der() {
        for _ in 0..200 {
            let nonce = nonce().unwrap();
            assert!((0x40..0x80).contains(&nonce[0]), "positive, and the first byte needed: {nonce:?}");
        }
    }
}
