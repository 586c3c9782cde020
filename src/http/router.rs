//! The table of contents: every route, in the order of the contract.

use std::sync::Arc;

use axum::Router;

use super::{
    body::LARGE_BODY_MAX,
    endpoint::{Operation, Routes},
    health, license, license_keys, license_meta, lists, product, product_meta,
};
use crate::app::App;

/// The service. Metrics are counted by the recorder that is installed when this is called.
pub fn router(app: Arc<App>) -> Router {
    let (get, post) = (Operation::get, Operation::post);
    Routes::new(app)
        .signed(post("/api/v1/verify"), license::verify)
        .signed(post("/api/v1/activate"), license::activate)
        .signed(post("/api/v1/assign-license-key"), license::assign)
        .signed(post("/api/v1/assign-and-activate-license-key"), license::assign_and_activate)
        .signed(post("/api/v1/deactivate"), license::deactivate)
        .signed(post("/api/v1/get-license-key-details"), license::details)
        .signed(post("/api/v1/create-license-keys").body_max(LARGE_BODY_MAX), license_keys::create)
        .signed(post("/api/v1/update-license-key"), license_keys::update)
        .signed(post("/api/v1/delete-license-key"), license_keys::delete)
        .signed(post("/api/v1/create-product"), product::create)
        .signed(post("/api/v1/update-product"), product::update)
        .signed(post("/api/v1/delete-product"), product::delete)
        .signed(post("/api/v1/create-license-key-meta"), license_meta::create)
        .signed(post("/api/v1/update-license-key-meta"), license_meta::update)
        .signed(post("/api/v1/delete-license-key-meta"), license_meta::delete)
        .signed(post("/api/v1/create-product-meta"), product_meta::create)
        .signed(post("/api/v1/update-product-meta"), product_meta::update)
        .signed(post("/api/v1/delete-product-meta"), product_meta::delete)
        .signed(get("/api/v1/get-all-products"), lists::products)
        .signed(get("/api/v1/get-license-keys"), lists::license_keys)
        .signed(get("/api/v1/get-available-license-keys-count"), lists::available_count)
        .plain("/health/live", health::live)
        .plain("/health/ready", health::ready)
        .plain("/metrics", health::metrics)
        .finish()
}
