//! Public keys as JSON web keys (RFC 7517), named by their thumbprints (RFC 7638).

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use rsa::{RsaPublicKey, pkcs8::DecodePublicKey, traits::PublicKeyParts};
use serde::Serialize;

/// An RSA public key that answers are checked with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwk {
    pub kty: &'static str,
    #[serde(rename = "use")]
    pub use_: &'static str,
    pub alg: &'static str,
    pub kid: String,
    pub n: String,
    pub e: String,
}

impl Jwk {
    /// `None` where the text is no public key.
    #[must_use]
    pub fn of_pem(public_key: &str) -> Option<Self> {
        let key = RsaPublicKey::from_public_key_pem(public_key.trim()).ok()?;
        let (n, e) = (BASE64URL.encode(key.n().to_bytes_be()), BASE64URL.encode(key.e().to_bytes_be()));
        // The members that make up the key, in alphabetical order and without blanks.
        let thumbprint = digest(&SHA256, format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#).as_bytes());
        Some(Self { kty: "RSA", use_: "sig", alg: "RS256", kid: BASE64URL.encode(thumbprint), n, e })
    }
}

#[cfg(test)]
mod tests {
    use rsa::{
        BigUint,
        pkcs8::{EncodePublicKey, LineEnding},
    };

    use super::*;

    /// The modulus of the example of RFC 7638, section 3.1.
    const MODULUS: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMst\
                           n64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajr\
                           n1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

    #[test]
    fn the_thumbprint_is_the_standards() {
        let modulus = BigUint::from_bytes_be(&BASE64URL.decode(MODULUS).unwrap());
        let key = RsaPublicKey::new(modulus, BigUint::from(65_537_u32)).unwrap();
        let jwk = Jwk::of_pem(&key.to_public_key_pem(LineEnding::LF).unwrap()).unwrap();
        assert_eq!(jwk.kid, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        assert_eq!((jwk.n.as_str(), jwk.e.as_str()), (MODULUS, "AQAB"));
        let json = serde_json::to_value(&jwk).unwrap();
        assert_eq!((&json["kty"], &json["use"], &json["alg"]), (&"RSA".into(), &"sig".into(), &"RS256".into()));
        assert_eq!(Jwk::of_pem("no key"), None);
    }
}
