//! Products and licenses for tests, made over HTTP like a vendor makes them.

use super::answer::Answer;
use super::client::Client;
use super::ledger::random_hex;
use super::{Json, fields};

/// The parameters of a request in their order.
pub type Fields = Vec<(String, String)>;

/// `defaults`, with what `changes` names replaced or added.
pub fn merged(defaults: Fields, changes: Fields) -> Fields {
    let kept = defaults.into_iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    kept.chain(changes.iter().cloned()).collect()
}

/// A license key string that nobody has used.
pub fn fresh_key() -> String {
    format!("KEY-{}", random_hex(10))
}

impl Client {
    /// An active product with its own key pair; returns its number.
    pub async fn new_product(&self) -> i64 {
        self.new_product_with(fields!()).await
    }

    /// A product with some parameters changed; returns its number.
    pub async fn new_product_with(&self, changes: Fields) -> i64 {
        let defaults = fields!(
            source: "internal", name: "Test Product", description: "Made by a test",
            require_non_expired: 0, external_reference: "", status: "active",
        );
        let answer = self.form("create-product", merged(defaults, changes)).await;
        answer.expect(750, super::GLOBAL).response.at("product_id").integer()
    }

    pub async fn set_product_status(&self, product: i64, status: &str) {
        let fields = fields!(
            product_id: product, source: "internal", name: "Test Product", description: "Made by a test",
            require_non_expired: 0, external_reference: "", status: status,
        );
        self.form("update-product", fields).await.expect(650, super::GLOBAL);
    }

    /// One assigned license without expiry and with room for 5 activations, or with some of that changed.
    pub async fn new_license(&self, product: i64, changes: Fields) -> String {
        let key = fresh_key();
        self.new_licenses(product, std::slice::from_ref(&key), changes).await;
        key
    }

    /// Several licenses with these key strings.
    pub async fn new_licenses(&self, product: i64, keys: &[String], changes: Fields) {
        let answer = self.try_new_licenses(product, keys, changes).await;
        let created = i64::try_from(keys.len()).expect("a small number");
        assert_eq!(answer.response.find("created"), Some(&Json::from(created)), "{}", answer.response);
    }

    /// Asks for licenses with these key strings, whatever the answer is.
    pub async fn try_new_licenses(&self, product: i64, keys: &[String], changes: Fields) -> Answer {
        self.form("create-license-keys", new_license_fields(product, keys, changes)).await
    }

    pub async fn verify(&self, key: &str, identifier: &str) -> Answer {
        self.form("verify", fields!(license_key: key, identifier: identifier)).await
    }

    pub async fn activate(&self, key: &str, identifier: &str) -> Answer {
        self.form("activate", fields!(license_key: key, identifier: identifier)).await
    }

    pub async fn deactivate(&self, key: &str, identifier: &str) -> Answer {
        self.form("deactivate", fields!(license_key: key, identifier: identifier)).await
    }

    pub async fn details(&self, key: &str, identifier: &str) -> Answer {
        self.form("get-license-key-details", fields!(license_key: key, identifier: identifier)).await
    }

    pub async fn assign(&self, key: &str) -> Answer {
        self.form("assign-license-key", fields!(license_key: key)).await
    }

    /// Changes some parameters of a license.
    pub async fn update_license(&self, key: &str, changes: Fields) -> Answer {
        self.form("update-license-key", merged(fields!(license_key: key), changes)).await
    }

    /// The row of one license as `get-license-keys` shows it, looked for among its product's.
    pub async fn listed(&self, product: i64, key: &str) -> Option<Json> {
        let answer = self.get("get-license-keys", fields!(product_id: product, items_per_page: 1000)).await;
        answer.expect(730, super::GLOBAL);
        let rows = answer.response.at("license_keys").items();
        rows.iter().find(|row| row.at("license_key").text() == key).cloned()
    }
}

/// The parameters of create-license-keys for assigned licenses, with some of them changed.
pub fn new_license_fields(product: i64, keys: &[String], changes: Fields) -> Fields {
    let list = serde_json::to_string(keys).expect("a list of texts is JSON");
    let defaults = fields!(license_keys: list, product_id: product, activation_limit: 5, validity: 0, status: "assigned");
    merged(defaults, changes)
}
