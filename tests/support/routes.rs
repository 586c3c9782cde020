//! The routes under test.

/// The routes of interface A that this server has, in the order of the contract.
pub const ROUTES: [&str; 39] = [
    "verify",
    "activate",
    "assign-license-key",
    "assign-and-activate-license-key",
    "random-assign-license-keys",
    "random-assign-license-keys-queued",
    "deactivate",
    "get-license-key-details",
    "create-license-keys",
    "update-license-key",
    "delete-license-key",
    "create-product",
    "update-product",
    "delete-product",
    "create-license-key-meta",
    "update-license-key-meta",
    "delete-license-key-meta",
    "create-product-meta",
    "update-product-meta",
    "delete-product-meta",
    "get-all-products",
    "get-all-generators",
    "generate",
    "get-license-keys",
    "get-available-license-keys-count",
    "get-product",
    "get-product-public-key",
    "get-product-meta",
    "send-telemetry-data",
    "get-telemetry-data",
    "access-downloadables",
    "get-all-contracts",
    "create-contract",
    "update-contract",
    "delete-contract",
    "contracts/get-info",
    "contracts/generate",
    "contracts/destroy",
    "contracts/destroy-all",
];

/// Whether the contract asks for that route with GET; all others are POST.
pub fn is_get(route: &str) -> bool {
    matches!(
        route,
        "get-all-products"
            | "get-all-generators"
            | "get-license-keys"
            | "get-available-license-keys-count"
            | "get-all-contracts"
            | "contracts/get-info"
            | "get-product"
            | "get-product-public-key"
            | "get-product-meta"
            | "get-telemetry-data"
    )
}
