-- The projections' tables in their present shape. Nothing is lost when they are: a rebuild makes them afresh from the log.
-- A rebuild fills tables whose names end in {suffix} beside the ones in use; index names, which are global here, end in
-- {generation}, which alternates.

CREATE TABLE counters{suffix} (
    id INTEGER PRIMARY KEY,
    next_license INTEGER NOT NULL,
    next_activation INTEGER NOT NULL,
    next_license_meta INTEGER NOT NULL,
    next_product INTEGER NOT NULL,
    next_product_meta INTEGER NOT NULL,
    next_owner INTEGER NOT NULL,
    next_api_key INTEGER NOT NULL,
    next_block INTEGER NOT NULL,
    next_key_pair INTEGER NOT NULL,
    next_telemetry INTEGER NOT NULL,
    next_release INTEGER NOT NULL,
    next_download_token INTEGER NOT NULL,
    next_generator INTEGER NOT NULL,
    next_contract INTEGER NOT NULL,
    next_assignment_job INTEGER NOT NULL,
    next_delivery INTEGER NOT NULL,
    next_webhook_endpoint INTEGER NOT NULL,
    access_changes INTEGER NOT NULL,
    webhook_endpoints INTEGER NOT NULL
) STRICT;

CREATE TABLE key_pair{suffix} (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    product INTEGER,
    algorithm TEXT NOT NULL,
    public_key TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    retired_at INTEGER
) STRICT;

CREATE TABLE api_key{suffix} (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    name TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    allow_ips TEXT NOT NULL,
    expires_at INTEGER,
    bootstrap INTEGER NOT NULL,
    disabled INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE block{suffix} (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    kind TEXT NOT NULL,
    value TEXT,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE product{suffix} (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    source TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    external_reference TEXT NOT NULL,
    post_url TEXT NOT NULL,
    require_non_expired INTEGER NOT NULL,
    status TEXT NOT NULL,
    key_pair INTEGER,
    slug TEXT,
    changelog INTEGER NOT NULL,
    api_download INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE product_meta{suffix} (
    number INTEGER PRIMARY KEY,
    product INTEGER NOT NULL,
    meta_key TEXT NOT NULL,
    value TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE license_count{suffix} (
    product INTEGER PRIMARY KEY,
    available INTEGER NOT NULL,
    assigned INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    blocked INTEGER NOT NULL
) STRICT;

CREATE TABLE license{suffix} (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    license_key TEXT NOT NULL,
    key_replaced_at INTEGER,
    product INTEGER NOT NULL,
    status TEXT NOT NULL,
    activation_limit INTEGER NOT NULL,
    validity_days INTEGER NOT NULL,
    assigned_at INTEGER,
    owner INTEGER,
    owner_name TEXT,
    owner_email TEXT,
    active_count INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    refusal_minute INTEGER NOT NULL,
    refusal_reasons INTEGER NOT NULL,
    contract INTEGER,
    job INTEGER,
    deleted INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE activation{suffix} (
    number INTEGER PRIMARY KEY,
    license INTEGER NOT NULL,
    identifier TEXT,
    domain TEXT,
    post_url TEXT,
    active INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    activated_at INTEGER NOT NULL,
    deactivated_at INTEGER
) STRICT;

CREATE TABLE license_meta{suffix} (
    number INTEGER PRIMARY KEY,
    license INTEGER NOT NULL,
    meta_key TEXT NOT NULL,
    value TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE settings{suffix} (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    changelog INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE telemetry{suffix} (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    license INTEGER,
    user_identifier TEXT,
    license_key TEXT,
    activation_identifier TEXT,
    product INTEGER,
    product_version TEXT,
    data_type TEXT,
    data_group TEXT,
    data TEXT,
    is_correct_format INTEGER NOT NULL,
    license_key_exists INTEGER NOT NULL,
    product_exists INTEGER NOT NULL,
    product_version_exists INTEGER NOT NULL,
    has_red_flags INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE product_release{suffix} (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    product INTEGER NOT NULL,
    version TEXT NOT NULL,
    numeric_version INTEGER NOT NULL,
    update_summary TEXT NOT NULL,
    changelog TEXT NOT NULL,
    file_name TEXT NOT NULL,
    content_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    object BLOB NOT NULL,
    published INTEGER NOT NULL,
    release_date INTEGER,
    withdrawn INTEGER NOT NULL,
    downloads INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE download_token{suffix} (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    hash TEXT NOT NULL,
    license INTEGER NOT NULL,
    product INTEGER NOT NULL,
    product_release INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    claims INTEGER NOT NULL,
    claimed_until INTEGER,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE generator{suffix} (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    product INTEGER NOT NULL,
    method TEXT NOT NULL,
    prefix TEXT NOT NULL,
    suffix TEXT NOT NULL,
    number_of_chunks INTEGER NOT NULL,
    chunk_length INTEGER NOT NULL,
    charset TEXT NOT NULL,
    function_name TEXT NOT NULL,
    pattern TEXT NOT NULL,
    activation_limit INTEGER NOT NULL,
    validity_days INTEGER NOT NULL,
    active INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE contract{suffix} (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    contract_key TEXT NOT NULL,
    name TEXT NOT NULL,
    information TEXT NOT NULL,
    product INTEGER NOT NULL,
    license_keys_quantity INTEGER NOT NULL,
    active INTEGER NOT NULL,
    can_get_info INTEGER NOT NULL,
    can_generate INTEGER NOT NULL,
    can_destroy INTEGER NOT NULL,
    can_destroy_all INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE contract_count{suffix} (
    contract INTEGER PRIMARY KEY,
    license_keys INTEGER NOT NULL
) STRICT;

CREATE TABLE assignment_job{suffix} (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    product INTEGER NOT NULL,
    quantity INTEGER NOT NULL,
    generate INTEGER NOT NULL,
    owner INTEGER,
    owner_name TEXT,
    owner_email TEXT,
    identifier TEXT,
    webhook_url TEXT,
    result TEXT,
    assigned INTEGER NOT NULL,
    available INTEGER,
    created_at INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;

CREATE TABLE delivery{suffix} (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    kind TEXT NOT NULL,
    job INTEGER,
    license INTEGER,
    activation INTEGER,
    product INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    last_status INTEGER,
    last_error TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE webhook_endpoint{suffix} (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    url TEXT NOT NULL,
    types TEXT NOT NULL,
    product INTEGER,
    license INTEGER,
    license_keys INTEGER NOT NULL,
    personal_data INTEGER NOT NULL,
    salt TEXT NOT NULL,
    old_salt TEXT,
    old_salt_until INTEGER,
    paused TEXT,
    begun_after INTEGER NOT NULL,
    replays INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- indexes: made last by a rebuild, once the rows are there

CREATE UNIQUE INDEX license_by_key{generation} ON license{suffix} (license_key) WHERE NOT deleted;
CREATE INDEX license_deleted_by_key{generation} ON license{suffix} (license_key) WHERE deleted;
CREATE INDEX license_by_product{generation} ON license{suffix} (product, status, number) WHERE NOT deleted;
CREATE INDEX license_by_product_and_number{generation} ON license{suffix} (product, number) WHERE NOT deleted;
CREATE INDEX license_by_owner_name{generation} ON license{suffix} (owner_name) WHERE owner_name IS NOT NULL;
CREATE INDEX license_by_owner_email{generation} ON license{suffix} (owner_email) WHERE owner_email IS NOT NULL;
CREATE UNIQUE INDEX activation_by_identifier{generation} ON activation{suffix} (license, identifier);
CREATE UNIQUE INDEX license_meta_by_key{generation} ON license_meta{suffix} (license, meta_key);
CREATE UNIQUE INDEX product_meta_by_key{generation} ON product_meta{suffix} (product, meta_key);
CREATE UNIQUE INDEX block_by_value{generation} ON block{suffix} (kind, value);
CREATE UNIQUE INDEX product_by_id{generation} ON product{suffix} (id);
CREATE UNIQUE INDEX product_by_slug{generation} ON product{suffix} (slug) WHERE NOT deleted;
CREATE INDEX product_by_external_reference{generation} ON product{suffix} (external_reference) WHERE external_reference <> '';
CREATE INDEX telemetry_by_group{generation} ON telemetry{suffix} (data_group, data_type, number);
CREATE INDEX key_pair_by_product{generation} ON key_pair{suffix} (product);
CREATE INDEX activation_by_domain{generation} ON activation{suffix} (license, domain) WHERE domain IS NOT NULL;
CREATE UNIQUE INDEX product_release_by_version{generation} ON product_release{suffix} (product, numeric_version) WHERE NOT withdrawn;
CREATE INDEX product_release_by_text{generation} ON product_release{suffix} (product, version) WHERE NOT withdrawn;
CREATE UNIQUE INDEX download_token_by_hash{generation} ON download_token{suffix} (hash);
CREATE INDEX license_by_contract{generation} ON license{suffix} (contract, number) WHERE contract IS NOT NULL AND NOT deleted;
CREATE INDEX license_by_job{generation} ON license{suffix} (job, number) WHERE job IS NOT NULL;
CREATE INDEX generator_by_product{generation} ON generator{suffix} (product, number) WHERE NOT deleted;
CREATE UNIQUE INDEX contract_by_key{generation} ON contract{suffix} (contract_key) WHERE NOT deleted;
CREATE INDEX assignment_job_waiting{generation} ON assignment_job{suffix} (number) WHERE result IS NULL;
CREATE INDEX delivery_pending{generation} ON delivery{suffix} (due_at) WHERE state = 'pending';
CREATE INDEX delivery_given_up{generation} ON delivery{suffix} (number) WHERE state = 'given_up';
CREATE INDEX webhook_endpoint_active{generation} ON webhook_endpoint{suffix} (number) WHERE NOT deleted AND paused IS NULL;
