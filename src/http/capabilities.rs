//! What an API key can be allowed: one capability for each operation, named after the end of its path.

/// All capabilities there are; `*` stands for every one of them.
pub const CAPABILITIES: &[&str] = &[
    "verify",
    "activate",
    "assign-license-key",
    "assign-and-activate-license-key",
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
    "get-license-keys",
    "get-available-license-keys-count",
];
