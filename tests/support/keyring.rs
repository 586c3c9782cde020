//! The public keys of one ledger as `keyledger public-key` prints them, and the second implementation (crate `rsa`) that
//! verifies the server's signatures with them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::RsaPublicKey;
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::pkcs8::DecodePublicKey as _;
use rsa::sha2::Sha256;
use rsa::signature::Verifier as _;
use tokio::sync::OnceCell;

use super::answer::{Answer, GLOBAL, PRODUCT, SignedBy};
use super::json::Json;
use super::ledger::Place;

/// One public key, as text and ready to verify.
#[derive(Clone)]
pub struct PublicKey {
    pub pem: String,
    key: VerifyingKey<Sha256>,
}

impl PublicKey {
    #[track_caller]
    pub fn from_pem(pem: &str) -> PublicKey {
        let key = RsaPublicKey::from_public_key_pem(pem).unwrap_or_else(|error| panic!("no RSA public key ({error}): {pem}"));
        PublicKey { pem: pem.to_string(), key: VerifyingKey::new(key) }
    }

    /// Whether this key signed the ASCII bytes of `response_base64`.
    pub fn verifies(&self, response_base64: &str, signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        let Ok(signature) = Signature::try_from(signature.as_slice()) else { return false };
        self.key.verify(response_base64.as_bytes(), &signature).is_ok()
    }
}

/// The keys of one ledger. They are asked for when first needed: a product's after an answer has said that it was created.
pub struct KeyRing {
    place: Place,
    global: OnceCell<PublicKey>,
    products: Mutex<BTreeMap<i64, Known>>,
}

#[derive(Clone)]
enum Known {
    NotAskedYet,
    /// The product has no key pair of its own.
    None,
    Key(Box<PublicKey>),
}

impl KeyRing {
    pub fn new(place: Place) -> KeyRing {
        KeyRing { place, global: OnceCell::new(), products: Mutex::new(BTreeMap::new()) }
    }

    /// The service's own key.
    pub async fn global(&self) -> &PublicKey {
        self.global.get_or_init(|| async { PublicKey::from_pem(&self.place.run(&["public-key"]).await.success()) }).await
    }

    /// The key of one product, if it has its own.
    pub async fn product(&self, number: i64) -> Option<PublicKey> {
        let known = self.known(number);
        let known = match known {
            Known::NotAskedYet => {
                let known = self.ask(number).await;
                self.products.lock().expect("no panic under the lock").insert(number, known.clone());
                known
            }
            known => known,
        };
        match known {
            Known::Key(key) => Some(*key),
            Known::None | Known::NotAskedYet => None,
        }
    }

    fn known(&self, number: i64) -> Known {
        let products = self.products.lock().expect("no panic under the lock");
        products.get(&number).cloned().unwrap_or(Known::NotAskedYet)
    }

    async fn ask(&self, number: i64) -> Known {
        let number = number.to_string();
        let printed = self.place.run(&["public-key", "--product", &number]).await;
        if printed.code != 0 {
            return Known::None;
        }
        let key = PublicKey::from_pem(&printed.stdout);
        if key.pem == self.global().await.pem { Known::None } else { Known::Key(Box::new(key)) }
    }

    /// Says that there is such a product, where no answer of interface A has.
    pub fn note_product(&self, number: i64) {
        self.products.lock().expect("no panic under the lock").entry(number).or_insert(Known::NotAskedYet);
    }

    /// Whose key verifies the answer; panics if it is not the kind that the answer names.
    pub async fn who_signed(&self, answer: &Answer) -> SignedBy {
        if let Some(Json::Number(_)) = answer.response.find("product_id") {
            self.note_product(answer.response.at("product_id").integer());
        }
        match answer.private_key_used.as_str() {
            GLOBAL => {
                let key = self.global().await;
                assert!(key.verifies(&answer.response_base64, &answer.signature), "a bad global signature: {}", answer.response);
                SignedBy::Global
            }
            PRODUCT => self.which_product(answer).await,
            other => panic!("private_key_used is {other:?}"),
        }
    }

    async fn which_product(&self, answer: &Answer) -> SignedBy {
        if let Some(number) = self.already_known_signer(answer) {
            return SignedBy::Product(number);
        }
        for number in self.not_asked_yet() {
            if let Some(key) = self.product(number).await
                && key.verifies(&answer.response_base64, &answer.signature)
            {
                return SignedBy::Product(number);
            }
        }
        panic!("no product's key verifies {}", answer.response);
    }

    fn already_known_signer(&self, answer: &Answer) -> Option<i64> {
        let products = self.products.lock().expect("no panic under the lock");
        products.iter().find_map(|(number, known)| match known {
            Known::Key(key) => key.verifies(&answer.response_base64, &answer.signature).then_some(*number),
            Known::None | Known::NotAskedYet => None,
        })
    }

    fn not_asked_yet(&self) -> Vec<i64> {
        let products = self.products.lock().expect("no panic under the lock");
        products.iter().filter(|(_, known)| matches!(known, Known::NotAskedYet)).map(|(number, _)| *number).collect()
    }
}
