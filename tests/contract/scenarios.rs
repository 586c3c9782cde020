//! For each recorded example: the state that its answer needs, made over HTTP and on the command line, and the request.
//!
//! The requests go out as recorded. Replaced are only the numbers of products, which belong to the recorded ledger, and in
//! four examples the API key: keys are made by the server, so a disabled one can't have the recorded value.

use crate::examples::Example;
use crate::support::releases::Upload;
use crate::support::world::{fresh_key, merged, new_license_fields};
use crate::support::{Answer, ApiKey, Client, Fields, GLOBAL, Json, Ledger, PRODUCT, Place, Server, eventually, fields, is_get};

/// An address that this test blocks; it comes in as `X-Forwarded-For` from the trusted test client.
const BLOCKED_IP: &str = "203.0.113.66";

/// No product ever has this number.
const NO_PRODUCT: i64 = 999_999_999;

/// A ledger in which every example can be set up beside the others.
pub struct World {
    /// Sends requests exactly as they are given, the API key as the recorded parameter.
    sender: Client,
    /// Makes the state.
    vendor: Client,
    place: Place,
    product: i64,
    key_for_wrong_ip: String,
    key_disabled: String,
    key_without_capability: String,
}

impl World {
    pub async fn new(ledger: &Ledger, server: &Server, api_key: &str) -> World {
        let sender = server.client().with_key(ApiKey::Missing);
        let vendor = server.client().with_key(ApiKey::Header(api_key.to_string()));
        let product = fields!(name: "Test Product", description: "Test product that has it's own private key");
        let product = vendor.new_product_with(product).await;
        for (name, value) in [("test-key", "test value x"), ("test-key-2", "test value x2")] {
            let meta = fields!(product_id: product, key: name, value: value);
            vendor.form("create-product-meta", meta).await.expect(273, PRODUCT);
        }
        for (version, changelog) in [("1.0.1", "Minor bug fixes"), ("1.0.2", "Bugfixes")] {
            let more = ["--summary", "Bugfixes", "--changelog", changelog];
            let release = ledger.upload(Upload { product, version, content: b"a program", file_name: "program.zip", more: &more }).await;
            ledger.run(&["release", "publish", "--release-date", "2024-02-27", &release]).await.success();
        }
        ledger.run(&["block", "add", "--ip", BLOCKED_IP]).await.success();
        let blocked = vendor.with_header("x-forwarded-for", BLOCKED_IP);
        eventually("the block is known", || async { (blocked.verify("x", "y").await.code() == 150).then_some(()) }).await;
        let world = World {
            place: ledger.place.clone(),
            product,
            key_for_wrong_ip: ledger.create_api_key(&["--capability", "*", "--allow-ip", "192.0.2.0/24"]).await,
            key_disabled: disabled_key(ledger).await,
            key_without_capability: ledger.create_api_key(&["--capability", "activate"]).await,
            sender,
            vendor,
        };
        for (key, code) in [(&world.key_for_wrong_ip, 103), (&world.key_disabled, 101), (&world.key_without_capability, 102)] {
            let caller = world.sender.with_key(ApiKey::Header(key.clone()));
            let what = format!("an API key answers {code}");
            eventually(&what, || async { (caller.verify("x", "y").await.code() == code).then_some(()) }).await;
        }
        world
    }

    /// A license with exactly this key string; an earlier one of that string is deleted, which makes this a new license.
    async fn license(&self, key: &str, changes: Fields) {
        let deleted = self.vendor.form("delete-license-key", fields!(license_key: key)).await;
        assert!(matches!(deleted.code(), 850 | 851), "{}", deleted.response);
        self.vendor.new_licenses(self.product, &[key.to_string()], changes).await;
    }

    /// A contract like the recorded ones; returns its number.
    async fn contract(&self, key: &str) -> i64 {
        let contract = fields!(
            contract_key: key, contract_name: "Test Contract", contract_information: "Test information", product_id: self.product,
            license_keys_quantity: 65, status: "active", can_get_info: 1, can_generate: 1, can_destroy: 1, can_destroy_all: 1,
        );
        let made = self.vendor.form("create-contract", contract).await;
        made.expect(841, GLOBAL).response.at("contract").at("id").integer()
    }

    /// Deletes the contract of this key, if there is one.
    async fn no_contract(&self, key: &str) {
        let all = self.vendor.get("get-all-contracts", fields!()).await;
        for row in all.response.at("contracts").items().iter().filter(|row| row.at("contract_key").text() == key) {
            self.vendor.form("delete-contract", fields!(contract_id: row.at("id").integer())).await.expect(843, GLOBAL);
        }
    }

    async fn license_meta(&self, license: &str, name: &str, value: &str) {
        let meta = fields!(license_key: license, identifier: "domain.ltd", key: name, value: value);
        self.vendor.form("create-license-key-meta", meta).await.expect(453, PRODUCT);
    }

    async fn product_meta(&self, product: i64, name: &str, value: &str) {
        let meta = fields!(product_id: product, key: name, value: value);
        self.vendor.form("create-product-meta", meta).await.expect(273, PRODUCT);
    }
}

async fn disabled_key(ledger: &Ledger) -> String {
    let key = ledger.create_named_api_key("to be disabled", &["--capability", "*"]).await;
    let number = ledger.api_key_number("to be disabled").await;
    ledger.run(&["api-key", "disable", &number]).await.success();
    key
}

/// Makes the state that the example needs, sends its request, and returns the answer.
pub async fn send(world: &World, example: &Example) -> Answer {
    let mut request = example.request.clone();
    let mut sender = world.sender.clone();
    let license = value(&request, "license_key");
    let identifier = value(&request, "identifier");
    let assigned = || fields!(status: "assigned", activation_limit: 5);
    let at_product = |number: i64| merged(example.request.clone(), fields!(product_id: number));

    match (example.route.as_str(), example.name.as_str()) {
        ("verify", "Invalid API Key" | "Invalid license key") => {}
        ("verify", "Accessed From The Wrong IP") => request = fields!(api_key: world.key_for_wrong_ip),
        ("verify", "Inactive API Key") => request = fields!(api_key: world.key_disabled),
        ("verify", "Permission  Required") => request = fields!(api_key: world.key_without_capability),
        ("verify", "Blocked IP or identifier - Access denied") => {
            sender = sender.with_header("x-forwarded-for", BLOCKED_IP);
        }
        ("verify" | "create-license-key-meta", "This license key is not assigned") => {
            world.license(&license, fields!(status: "available")).await;
        }

        ("activate", "License key activated" | "Identifier is required") => world.license(&license, assigned()).await,
        ("activate", "License key already active") => {
            world.license(&license, assigned()).await;
            world.vendor.activate(&license, &identifier).await.expect(300, PRODUCT);
        }

        ("assign-license-key", "Invalid or already assigned license key") => world.license(&license, assigned()).await,
        ("assign-license-key", "License key assigned") | ("assign-and-activate-license-key", "License key activated") => {
            world.license(&license, fields!(status: "available")).await;
        }

        ("random-assign-license-keys", "License keys generated") => {
            let product = world.vendor.new_product().await;
            world.place.new_generator(product, &["--validity", "365"]).await;
            request = at_product(product);
        }
        ("random-assign-license-keys", "Product not found") | ("get-all-contracts", "Product doesn't exist") => request = at_product(NO_PRODUCT),
        ("random-assign-license-keys", "Generator not found") => request = at_product(world.vendor.new_product().await),
        ("random-assign-license-keys", "Insufficient license keys") => {
            let product = world.vendor.new_product().await;
            let keys: Vec<String> = (0..5).map(|_| fresh_key()).collect();
            world.vendor.new_licenses(product, &keys, fields!(status: "available")).await;
            request = at_product(product);
        }
        ("random-assign-license-keys-queued", "Request Queued") => request = at_product(world.product),
        ("get-all-generators", "All generators") => return only_the_recorded_generators(world, example, request).await,
        ("generate", "Generate") => {
            let generator = world.place.new_generator(world.product, &[]).await;
            request = merged(request, fields!(generator_id: generator));
        }
        ("create-contract", "Contract created") => {
            world.no_contract(&value(&request, "contract_key")).await;
            request = at_product(world.product);
        }
        ("create-contract" | "update-contract", "Incorrect data found") | ("delete-contract", "Contract not found") => {}
        ("update-contract", "Contract updated") => {
            let contract = world.contract("to be changed").await;
            request = merged(at_product(world.product), fields!(contract_id: contract));
        }
        ("delete-contract", "Contract deleted") => {
            let contract = world.contract("to be deleted").await;
            request = merged(request, fields!(contract_id: contract));
        }
        ("get-all-contracts", "All contracts") => {
            for row in world.vendor.get("get-all-contracts", fields!()).await.response.at("contracts").items() {
                world.no_contract(row.at("contract_key").text()).await;
            }
            world.contract(example.response.at("contracts").items()[0].at("contract_key").text()).await;
        }

        ("deactivate", "License key deactivated") => {
            world.license(&license, assigned()).await;
            world.vendor.activate(&license, &identifier).await.expect(300, PRODUCT);
        }
        ("deactivate", "License key already inactive") => world.license(&license, assigned()).await,

        ("get-license-key-details", "No activation found for this license key/identifier combination") => {
            world.license(&license, assigned()).await;
        }
        ("get-license-key-details", "Active license key found") => {
            // The recorded answer is about another license than its request: the answer was edited after it was signed.
            let shown = example.response.at("licenseKey").at("license_key").text();
            let owner = fields!(
                status: "assigned", activation_limit: 0, validity: 0, assigned_at: "2024-02-27 03:05:31",
                owner_name: "Test User", owner_email: "email@domain.ltd",
            );
            world.license(shown, owner).await;
            world.license_meta(shown, "test-key", "test value y").await;
            world.license_meta(shown, "test-key-2", "test value y2").await;
            world.vendor.activate(shown, &identifier).await.expect(300, PRODUCT);
            request = merged(request, fields!(license_key: shown));
        }

        ("create-license-keys", "License keys creation result") => {
            // Four keys, one of which exists: three are created and one is a duplicate.
            world.license("9cc2cc83-4c74-49f9-98f5-f0e1c1eb1541", assigned()).await;
            for key in Json::parse(&value(&request, "license_keys")).items() {
                if key.text() != "9cc2cc83-4c74-49f9-98f5-f0e1c1eb1541" {
                    world.vendor.form("delete-license-key", fields!(license_key: key.text())).await;
                }
            }
            request = at_product(world.product);
        }
        ("update-license-key", "License keys updated") => {
            world.license(&license, fields!(status: "available")).await;
            request = at_product(world.product);
        }
        ("delete-license-key", "License key deleted") => world.license(&license, assigned()).await,

        ("create-product", "Product created" | "Incorrect data found" | "Invalid status") => {}
        ("update-product", "Product Id doesn't exist")
        | ("create-product-meta", "Product not found")
        | ("get-available-license-keys-count", "Product doesn't exist") => request = at_product(NO_PRODUCT),
        ("update-product", "Product updated") | ("delete-product", "Product deleted") => {
            request = at_product(world.vendor.new_product().await);
        }

        ("create-license-key-meta", "Metadata created") | ("update-license-key-meta", "Meta key doesn't exist") => {
            world.license(&license, assigned()).await;
        }
        ("update-license-key-meta", "Metadata updated") | ("delete-license-key-meta", "Metadata deleted") => {
            world.license(&license, assigned()).await;
            world.license_meta(&license, &value(&request, "key"), "an earlier value").await;
        }

        ("create-product-meta", "Product meta created") | ("update-product-meta", "Meta key doesn't exists") => {
            request = at_product(world.vendor.new_product().await);
        }
        ("update-product-meta", "Product meta updated") | ("delete-product-meta", "Product meta deleted") => {
            let product = world.vendor.new_product().await;
            world.product_meta(product, &value(&request, "key"), "an earlier value").await;
            request = at_product(product);
        }

        ("access-downloadables", "Downloads") => {
            world.license(&license, assigned()).await;
            world.vendor.activate(&license, &identifier).await.expect(300, PRODUCT);
        }

        ("get-all-products", "All products") => return only_the_recorded_products(world, example, request).await,
        ("get-license-keys", "License keys") => {
            // Holds for shape only: it asks for 5 rows of a page and shows 10. The third page of 5 is rows 11 to 15.
            let product = world.vendor.new_product().await;
            let keys: Vec<String> = (0..15).map(|_| fresh_key()).collect();
            let available = fields!(status: "available", activation_limit: 1, validity: 365);
            world.vendor.form("create-license-keys", new_license_fields(product, &keys, available)).await.expect(900, PRODUCT);
            request = at_product(product);
        }
        ("get-available-license-keys-count", "Available license keys count") => {
            let product = world.vendor.new_product().await;
            world.vendor.new_license(product, fields!(status: "available")).await;
            request = at_product(product);
        }
        ("send-telemetry-data", "Incorrect format data saved - With Errors") => {}
        ("send-telemetry-data", "Correct format data saved") => request = at_product(world.product),
        ("get-telemetry-data", "Get Telemetry Data Example") => {
            // Holds for shape only: its rows don't match its own filters. These do, but for the flags; no other report names
            // product 100.
            let flags = ["license_key_exists", "product_exists", "product_version_exists", "is_correct_format", "has_red_flags"];
            request.retain(|(name, _)| !flags.contains(&name.as_str()));
            let report = merged(request.clone(), fields!(numeric_data_single_value: "50"));
            for _ in 0..2 {
                sender.call("send-telemetry-data", report.clone()).await.expect(831, GLOBAL);
            }
        }
        (route, name) => panic!("the recorded example {route} / {name} has no scenario"),
    }
    let answer = sender.call(&example.route, request).await;
    assert_eq!(example.method == "GET", is_get(&example.route), "the method of {}", example.route);
    answer
}

/// Makes products like the recorded ones and leaves only their rows in the answer: the world has others too.
async fn only_the_recorded_products(world: &World, example: &Example, request: Fields) -> Answer {
    let mut numbers = Vec::new();
    for row in example.response.at("products").items() {
        let product = fields!(
            name: row.at("name").text(), description: row.at("description").text(), source: row.at("source").text(),
            require_non_expired: row.at("require_non_expired").integer(),
        );
        let number = world.vendor.new_product_with(product).await;
        for meta in row.at("meta_data").items() {
            world.product_meta(number, meta.at("key").text(), meta.at("value").text()).await;
        }
        numbers.push(number);
    }
    let mut answer = world.sender.call(&example.route, request).await;
    answer.expect(810, GLOBAL);
    if let Json::Object(members) = &mut answer.response {
        for (_, products) in members.iter_mut().filter(|(name, _)| name == "products") {
            let rows = products.items().iter();
            *products = Json::List(rows.filter(|row| numbers.contains(&row.at("id").integer())).cloned().collect());
            assert_eq!(products.items().len(), numbers.len(), "each product is listed once");
        }
    }
    answer
}

/// Makes generators like the recorded ones and leaves only their rows in the answer.
async fn only_the_recorded_generators(world: &World, example: &Example, request: Fields) -> Answer {
    let mut numbers = Vec::new();
    for row in example.response.at("products").items() {
        let text = |name: &str| row.at(name).text().to_string();
        let (validity, active) = (row.at("validity").integer().to_string(), (row.at("status").integer() == 1).to_string());
        let (method, charset, function) = (text("method"), text("charset"), text("function_name"));
        let args = ["--method", &method, "--charset", &charset, "--function-name", &function, "--validity", &validity, "--active", &active];
        numbers.push(world.place.new_generator(world.product, &args).await);
    }
    let mut answer = world.sender.call(&example.route, request).await;
    answer.expect(820, GLOBAL);
    if let Json::Object(members) = &mut answer.response {
        for (_, generators) in members.iter_mut().filter(|(name, _)| name == "products") {
            let rows = generators.items().iter();
            *generators = Json::List(rows.filter(|row| numbers.contains(&row.at("id").integer())).cloned().collect());
            assert_eq!(generators.items().len(), numbers.len(), "each generator is listed once");
        }
    }
    answer
}

fn value(request: &Fields, name: &str) -> String {
    request.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default()
}
