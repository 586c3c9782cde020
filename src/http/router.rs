//! The table of contents: every route, in the order of the contract. Each has its description (a `Doc`) beside its handler.

use std::sync::Arc;

use axum::Router;

use super::{
    admin::{self, api_keys, block_list, deliveries, key_pairs, licenses, products, settings, subjects, webhook_endpoints},
    assignments,
    body::LARGE_BODY_MAX,
    changelog, contract_api, contracts, docs, download,
    endpoint::Routes,
    feed::{self, subscriptions},
    generators, health, jwks,
    ledger::{self, proofs, tiles},
    license, license_keys, license_meta, license_service, lists, openapi,
    operation::Operation,
    product, product_info, product_meta, telemetry,
};
use crate::app::App;

// The capabilities of the administration; each with `:read` lets a key look alone.
const PRODUCTS: &str = "admin:products";
const LICENSES: &str = "admin:licenses";
const SETTINGS: &str = "admin:settings";
const GENERATORS: &str = "admin:generators";
const CONTRACTS: &str = "admin:contracts";
const DELIVERIES: &str = "admin:deliveries";
const WEBHOOKS: &str = webhook_endpoints::CAPABILITY;
const RELEASES: &str = "admin:releases";
const API_KEYS: &str = "admin:api-keys";
const BLOCK_LIST: &str = "admin:block-list";
// The capabilities of those who read the log.
const LEDGER: &str = "ledger:read";
const SUBJECTS: &str = "admin:subjects";

/// The service. Metrics are counted by the recorder that is installed when this is called.
pub fn router(app: Arc<App>) -> Router {
    routes().serve(app)
}

/// Every operation.
pub fn routes() -> Routes {
    let (get, post, put, patch, delete) = (Operation::get, Operation::post, Operation::put, Operation::patch, Operation::delete);
    // Some may have more sent than others.
    let shows_sent = |operation: Operation| operation.needs(WEBHOOKS).shows_more_with(&[feed::LICENSE_KEYS, feed::PERSONAL_DATA]);
    // Some see more than others of what these answer.
    let told = |path| get(path).needs(LEDGER).shows_more_with(&[ledger::ENTRIES, ledger::PERSONAL_DATA]).folds_streams();
    Routes::default()
        .signed(post("/api/v1/verify"), &license::VERIFY, license::verify)
        .signed(post("/api/v1/activate"), &license::ACTIVATE, license::activate)
        .signed(post("/api/v1/assign-license-key"), &license::ASSIGN, license::assign)
        .signed(post("/api/v1/assign-and-activate-license-key"), &license::ASSIGN_AND_ACTIVATE, license::assign_and_activate)
        .signed(post("/api/v1/random-assign-license-keys"), &assignments::ASSIGN, assignments::assign)
        .signed(post("/api/v1/random-assign-license-keys-queued"), &assignments::QUEUE, assignments::queue)
        .signed(post("/api/v1/deactivate"), &license::DEACTIVATE, license::deactivate)
        .signed(post("/api/v1/get-license-key-details"), &license::DETAILS, license::details)
        .signed(post("/api/v1/create-license-keys").body_max(LARGE_BODY_MAX), &license_keys::CREATE, license_keys::create)
        .signed(post("/api/v1/update-license-key"), &license_keys::UPDATE, license_keys::update)
        .signed(post("/api/v1/delete-license-key"), &license_keys::DELETE, license_keys::delete)
        .signed(post("/api/v1/create-product"), &product::CREATE, product::create)
        .signed(post("/api/v1/update-product"), &product::UPDATE, product::update)
        .signed(post("/api/v1/delete-product"), &product::DELETE, product::delete)
        .signed(post("/api/v1/create-license-key-meta"), &license_meta::CREATE, license_meta::create)
        .signed(post("/api/v1/update-license-key-meta"), &license_meta::UPDATE, license_meta::update)
        .signed(post("/api/v1/delete-license-key-meta"), &license_meta::DELETE, license_meta::delete)
        .signed(post("/api/v1/create-product-meta"), &product_meta::CREATE, product_meta::create)
        .signed(post("/api/v1/update-product-meta"), &product_meta::UPDATE, product_meta::update)
        .signed(post("/api/v1/delete-product-meta"), &product_meta::DELETE, product_meta::delete)
        .signed(get("/api/v1/get-all-products"), &lists::PRODUCTS, lists::products)
        .signed(get("/api/v1/get-all-generators"), &generators::LIST, generators::list)
        .signed(post("/api/v1/generate"), &generators::GENERATE, generators::generate)
        .signed(get("/api/v1/get-license-keys"), &lists::LICENSE_KEYS, lists::license_keys)
        .signed(get("/api/v1/get-available-license-keys-count"), &lists::AVAILABLE_COUNT, lists::available_count)
        .signed(get("/api/v1/get-product"), &product_info::PRODUCT, product_info::product)
        .signed(get("/api/v1/get-product-public-key"), &product_info::PUBLIC_KEY, product_info::public_key)
        .signed(get("/api/v1/get-product-meta"), &product_info::META, product_info::meta)
        .signed(post("/api/v1/send-telemetry-data"), &telemetry::SEND, telemetry::send)
        .signed(get("/api/v1/get-telemetry-data"), &telemetry::LIST, telemetry::list)
        .signed(get("/api/v1/get-all-contracts"), &contracts::LIST, contracts::list)
        .signed(post("/api/v1/create-contract"), &contracts::CREATE, contracts::create)
        .signed(post("/api/v1/update-contract"), &contracts::UPDATE, contracts::update)
        .signed(post("/api/v1/delete-contract"), &contracts::DELETE, contracts::delete)
        .signed(get("/api/v1/contracts/get-info").for_contracts(), &contract_api::INFO, contract_api::info)
        .signed(post("/api/v1/contracts/generate").for_contracts(), &contract_api::GENERATE, contract_api::generate)
        .signed(post("/api/v1/contracts/destroy").for_contracts(), &contract_api::DESTROY, contract_api::destroy)
        .signed(post("/api/v1/contracts/destroy-all").for_contracts(), &contract_api::DESTROY_ALL, contract_api::destroy_all)
        .public(get("/.well-known/jwks.json"), &jwks::DOC, jwks::show)
        .signed(post("/api/v1/access-downloadables"), &download::ACCESS, download::access)
        .file(
            get("/api/v1/download/{credential}/{license_key}/{identifier}/{numeric_version}").needs(download::CAPABILITY),
            &download::DOWNLOAD,
            download::download,
        )
        .file(get("/api/v1/products/{slug}/changelog"), &changelog::CHANGELOG, changelog::show)
        .service(get("/api/license/verify"), &license_service::VERIFY, license_service::verify)
        .service(post("/api/license/download"), &license_service::DOWNLOAD, license_service::download)
        .service(get("/api/license/download-file/{token}"), &license_service::DOWNLOAD_FILE, license_service::download_file)
        .admin(get("/admin/v1/products").needs(PRODUCTS), &products::LIST, products::list)
        .admin(post("/admin/v1/products").needs(PRODUCTS), &products::CREATE, products::create)
        .admin(get("/admin/v1/products/{product}").needs(PRODUCTS), &products::SHOW, products::show)
        .admin(patch("/admin/v1/products/{product}").needs(PRODUCTS), &products::UPDATE, products::update)
        .admin(delete("/admin/v1/products/{product}").needs(PRODUCTS), &products::DELETE, products::delete)
        .admin(get("/admin/v1/products/{product}/key-pairs").needs(PRODUCTS), &key_pairs::LIST, key_pairs::list)
        .admin(post("/admin/v1/products/{product}/key-pairs").needs(PRODUCTS), &key_pairs::ROTATE, key_pairs::rotate)
        .admin(post("/admin/v1/products/{product}/key-pairs/import").needs(PRODUCTS), &key_pairs::IMPORT, key_pairs::import)
        .admin(post("/admin/v1/products/{product}/key-pairs/{key_pair}/use").needs(PRODUCTS), &key_pairs::USE, key_pairs::make_current)
        .admin(post("/admin/v1/products/{product}/key-pairs/{key_pair}/retire").needs(PRODUCTS), &key_pairs::RETIRE, key_pairs::retire)
        .admin(get("/admin/v1/licenses").needs(LICENSES), &licenses::LIST, licenses::list)
        .admin(get("/admin/v1/licenses/{license}").needs(LICENSES), &licenses::SHOW, licenses::show)
        .admin(get("/admin/v1/licenses/{license}/activations").needs(LICENSES), &licenses::ACTIVATIONS, licenses::activations)
        .admin(post("/admin/v1/licenses/{license}/activations/{activation}/deactivate").needs(LICENSES), &licenses::DEACTIVATE, licenses::deactivate)
        .admin(post("/admin/v1/licenses/{license}/block").needs(LICENSES), &licenses::BLOCK, licenses::block)
        .admin(post("/admin/v1/licenses/{license}/unblock").needs(LICENSES), &licenses::UNBLOCK, licenses::unblock)
        .admin(put("/admin/v1/licenses/{license}/license-key").needs(LICENSES), &licenses::REPLACE_KEY, licenses::replace_key)
        .admin(get("/admin/v1/settings").needs(SETTINGS), &settings::SHOW, settings::show)
        .admin(patch("/admin/v1/settings").needs(SETTINGS), &settings::UPDATE, settings::update)
        .admin(get("/admin/v1/generators").needs(GENERATORS), &admin::generators::LIST, admin::generators::list)
        .admin(post("/admin/v1/generators").needs(GENERATORS), &admin::generators::CREATE, admin::generators::create)
        .admin(get("/admin/v1/generators/{generator}").needs(GENERATORS), &admin::generators::SHOW, admin::generators::show)
        .admin(patch("/admin/v1/generators/{generator}").needs(GENERATORS), &admin::generators::UPDATE, admin::generators::update)
        .admin(delete("/admin/v1/generators/{generator}").needs(GENERATORS), &admin::generators::DELETE, admin::generators::delete)
        .admin(get("/admin/v1/contracts").needs(CONTRACTS), &admin::contracts::LIST, admin::contracts::list)
        .admin(post("/admin/v1/contracts").needs(CONTRACTS), &admin::contracts::CREATE, admin::contracts::create)
        .admin(get("/admin/v1/contracts/{contract}").needs(CONTRACTS), &admin::contracts::SHOW, admin::contracts::show)
        .admin(put("/admin/v1/contracts/{contract}").needs(CONTRACTS), &admin::contracts::REPLACE, admin::contracts::replace)
        .admin(delete("/admin/v1/contracts/{contract}").needs(CONTRACTS), &admin::contracts::DELETE, admin::contracts::delete)
        .admin(get("/admin/v1/deliveries").needs(DELIVERIES), &deliveries::LIST, deliveries::list)
        .admin(get("/admin/v1/deliveries/{delivery}").needs(DELIVERIES), &deliveries::SHOW, deliveries::show)
        .admin(post("/admin/v1/deliveries/{delivery}/retry").needs(DELIVERIES), &deliveries::RETRY, deliveries::retry)
        .admin(get("/admin/v1/webhook-endpoints").needs(WEBHOOKS), &webhook_endpoints::LIST, webhook_endpoints::list)
        .admin(shows_sent(post("/admin/v1/webhook-endpoints")), &webhook_endpoints::CREATE, webhook_endpoints::create)
        .admin(get("/admin/v1/webhook-endpoints/{endpoint}").needs(WEBHOOKS), &webhook_endpoints::SHOW, webhook_endpoints::show)
        .admin(shows_sent(put("/admin/v1/webhook-endpoints/{endpoint}")), &webhook_endpoints::REPLACE, webhook_endpoints::replace)
        .admin(delete("/admin/v1/webhook-endpoints/{endpoint}").needs(WEBHOOKS), &webhook_endpoints::DELETE, webhook_endpoints::delete)
        .admin(post("/admin/v1/webhook-endpoints/{endpoint}/pause").needs(WEBHOOKS), &webhook_endpoints::PAUSE, webhook_endpoints::pause)
        .admin(post("/admin/v1/webhook-endpoints/{endpoint}/resume").needs(WEBHOOKS), &webhook_endpoints::RESUME, webhook_endpoints::resume)
        .admin(post("/admin/v1/webhook-endpoints/{endpoint}/replay").needs(WEBHOOKS), &webhook_endpoints::REPLAY, webhook_endpoints::replay)
        .admin(get("/admin/v1/webhook-endpoints/{endpoint}/secret").needs(WEBHOOKS), &webhook_endpoints::SECRET, webhook_endpoints::secret)
        .admin(
            post("/admin/v1/webhook-endpoints/{endpoint}/rotate-secret").needs(WEBHOOKS),
            &webhook_endpoints::ROTATE_SECRET,
            webhook_endpoints::rotate_secret,
        )
        .admin(get("/admin/v1/webhook-endpoints/{endpoint}/attempts").needs(WEBHOOKS), &webhook_endpoints::ATTEMPTS, webhook_endpoints::attempts)
        .admin(get("/admin/v1/releases").needs(RELEASES), &admin::releases::LIST, admin::releases::list)
        .admin(post("/admin/v1/releases").needs(RELEASES), &admin::releases::UPLOAD, admin::releases::upload)
        .admin(get("/admin/v1/releases/{release}").needs(RELEASES), &admin::releases::SHOW, admin::releases::show)
        .admin(patch("/admin/v1/releases/{release}").needs(RELEASES), &admin::releases::UPDATE, admin::releases::update)
        .admin(post("/admin/v1/releases/{release}/publish").needs(RELEASES), &admin::releases::PUBLISH, admin::releases::publish)
        .admin(post("/admin/v1/releases/{release}/unpublish").needs(RELEASES), &admin::releases::UNPUBLISH, admin::releases::unpublish)
        .admin(post("/admin/v1/releases/{release}/withdraw").needs(RELEASES), &admin::releases::WITHDRAW, admin::releases::withdraw)
        .admin(get("/admin/v1/api-keys").needs(API_KEYS), &api_keys::LIST, api_keys::list)
        .admin(post("/admin/v1/api-keys").needs(API_KEYS), &api_keys::CREATE, api_keys::create)
        .admin(get("/admin/v1/api-keys/{api_key}").needs(API_KEYS), &api_keys::SHOW, api_keys::show)
        .admin(post("/admin/v1/api-keys/{api_key}/disable").needs(API_KEYS), &api_keys::DISABLE, api_keys::disable)
        .admin(get("/admin/v1/block-list").needs(BLOCK_LIST), &block_list::LIST, block_list::list)
        .admin(post("/admin/v1/block-list").needs(BLOCK_LIST), &block_list::ADD, block_list::add)
        .admin(get("/admin/v1/block-list/{block}").needs(BLOCK_LIST), &block_list::SHOW, block_list::show)
        .admin(delete("/admin/v1/block-list/{block}").needs(BLOCK_LIST), &block_list::REMOVE, block_list::remove)
        .admin(get("/ledger/v1/checkpoint").needs(LEDGER).public_by_configuration(), &tiles::CHECKPOINT, tiles::checkpoint)
        .admin(get("/ledger/v1/verifier-key").needs(LEDGER).public_by_configuration(), &tiles::VERIFIER_KEY, tiles::verifier_key)
        .admin(get("/ledger/v1/tile/{*tile}").needs(LEDGER).public_by_configuration(), &tiles::TILE, tiles::tile)
        .admin(get("/ledger/v1/tile/entries/{*tile}").needs(ledger::ENTRIES), &tiles::ENTRIES, tiles::entries)
        .admin(get("/ledger/v1/checkpoints").needs(LEDGER).public_by_configuration(), &proofs::CHECKPOINTS, proofs::checkpoints)
        .admin(get("/ledger/v1/checkpoints/{size}/hand-outs").needs(LEDGER).public_by_configuration(), &proofs::HAND_OUTS, proofs::hand_outs)
        .admin(get("/ledger/v1/proofs/inclusion").needs(LEDGER).public_by_configuration(), &proofs::INCLUSION, proofs::inclusion)
        .admin(get("/ledger/v1/proofs/consistency").needs(LEDGER).public_by_configuration(), &proofs::CONSISTENCY, proofs::consistency)
        .admin(get("/ledger/v1/receipts/{position}").needs(LEDGER).public_by_configuration(), &proofs::RECEIPT, proofs::receipt)
        .admin(get("/ledger/v1/events/{position}").needs(ledger::ENTRIES), &proofs::LEAF, proofs::leaf)
        .admin(get("/ledger/v1/head").needs(LEDGER), &ledger::head::SHOW, ledger::head::show)
        .admin(told("/ledger/v1/licenses/{license}/history"), &ledger::history::OF_LICENSE, ledger::history::of_license)
        .admin(told("/ledger/v1/licenses/{license}/state"), &ledger::state::OF_LICENSE, ledger::state::of_license)
        .admin(get("/ledger/v1/licenses/{license}/verify").needs(LEDGER).folds_streams(), &ledger::verify::OF_LICENSE, ledger::verify::of_license)
        .admin(told("/ledger/v1/products/{product}/history"), &ledger::history::OF_PRODUCT, ledger::history::of_product)
        .admin(told("/ledger/v1/contracts/{contract}/history"), &ledger::history::OF_CONTRACT, ledger::history::of_contract)
        .admin(told("/ledger/v1/api-keys/{api_key}/history"), &ledger::history::OF_API_KEY, ledger::history::of_api_key)
        .admin(
            post("/ledger/v1/licenses/{license}/evidence").needs(ledger::ENTRIES).shows_more_with(&[ledger::PERSONAL_DATA]),
            &ledger::evidence::EXPORT,
            ledger::evidence::export,
        )
        .admin(
            get("/feed/v1/events").needs(feed::READ).shows_more_with(&[feed::LICENSE_KEYS, feed::PERSONAL_DATA]),
            &feed::events::EVENTS,
            feed::events::events,
        )
        .admin(get("/feed/v1/subscriptions").needs(feed::SUBSCRIPTIONS), &subscriptions::LIST, subscriptions::list)
        .admin(get("/feed/v1/subscriptions/{subscription}").needs(feed::SUBSCRIPTIONS), &subscriptions::SHOW, subscriptions::show)
        .admin(put("/feed/v1/subscriptions/{subscription}").needs(feed::SUBSCRIPTIONS), &subscriptions::PUT, subscriptions::put)
        .admin(delete("/feed/v1/subscriptions/{subscription}").needs(feed::SUBSCRIPTIONS), &subscriptions::DELETE, subscriptions::delete)
        .admin(
            post("/feed/v1/subscriptions/{subscription}/next").needs(feed::SUBSCRIPTIONS).shows_more_with(&[feed::LICENSE_KEYS, feed::PERSONAL_DATA]),
            &subscriptions::NEXT,
            subscriptions::next,
        )
        .admin(
            post("/feed/v1/subscriptions/{subscription}/acknowledge").needs(feed::SUBSCRIPTIONS),
            &subscriptions::ACKNOWLEDGE,
            subscriptions::acknowledge,
        )
        .admin(post("/feed/v1/subscriptions/{subscription}/extend").needs(feed::SUBSCRIPTIONS), &subscriptions::EXTEND, subscriptions::extend)
        .admin(post("/feed/v1/subscriptions/{subscription}/seek").needs(feed::SUBSCRIPTIONS), &subscriptions::SEEK, subscriptions::seek)
        .admin(get("/feed/v1/statistics").needs(feed::READ), &feed::statistics::STATISTICS, feed::statistics::statistics)
        .admin(post("/admin/v1/subjects/forget").needs(SUBJECTS), &subjects::FORGET, subjects::forget)
        .plain(get("/health/live"), &health::LIVE, health::live)
        .plain(get("/health/ready"), &health::READY, health::ready)
        .plain(get("/health/integrity"), &health::INTEGRITY, health::integrity)
        .plain(get("/metrics"), &health::METRICS, health::metrics)
        .plain(get("/openapi.json"), &openapi::DOC, openapi::show)
        .open(get("/docs"), &docs::DOC, docs::show)
        .open(get("/docs/style.css"), &docs::STYLE_DOC, docs::style)
}
