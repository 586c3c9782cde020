-- The projections' tables in their present shape. Nothing is lost when they are: a rebuild makes them afresh from the log.
-- A rebuild fills such tables in a schema of its own beside the ones in use. Rows that are updated all the time have room
-- on their page for the next version, so that no index is touched.

CREATE TABLE counters (
    id bigint PRIMARY KEY,
    next_license bigint NOT NULL,
    next_activation bigint NOT NULL,
    next_license_meta bigint NOT NULL,
    next_product bigint NOT NULL,
    next_product_meta bigint NOT NULL,
    next_owner bigint NOT NULL,
    next_api_key bigint NOT NULL,
    next_block bigint NOT NULL,
    next_key_pair bigint NOT NULL,
    next_telemetry bigint NOT NULL,
    next_release bigint NOT NULL,
    next_download_token bigint NOT NULL,
    next_generator bigint NOT NULL,
    next_contract bigint NOT NULL,
    next_assignment_job bigint NOT NULL,
    next_delivery bigint NOT NULL,
    next_webhook_endpoint bigint NOT NULL,
    access_changes bigint NOT NULL,
    webhook_endpoints bigint NOT NULL
) WITH (fillfactor = 10);

CREATE TABLE key_pair (
    number bigint PRIMARY KEY,
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    product bigint,
    algorithm text COLLATE "C" NOT NULL,
    public_key text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    retired_at timestamptz
);

CREATE TABLE api_key (
    number bigint PRIMARY KEY,
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    capabilities text COLLATE "C" NOT NULL,
    allow_ips text COLLATE "C" NOT NULL,
    expires_at timestamptz,
    bootstrap boolean NOT NULL,
    disabled boolean NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE block (
    number bigint PRIMARY KEY,
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    value text COLLATE "C",
    created_at timestamptz NOT NULL
);

CREATE TABLE product (
    number bigint PRIMARY KEY,
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    description text COLLATE "C" NOT NULL,
    external_reference text COLLATE "C" NOT NULL,
    post_url text COLLATE "C" NOT NULL,
    require_non_expired boolean NOT NULL,
    status text COLLATE "C" NOT NULL,
    key_pair bigint,
    slug text COLLATE "C",
    changelog boolean NOT NULL,
    api_download boolean NOT NULL,
    deleted boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE product_meta (
    number bigint PRIMARY KEY,
    product bigint NOT NULL,
    meta_key text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE license_count (
    product bigint PRIMARY KEY,
    available bigint NOT NULL,
    assigned bigint NOT NULL,
    reserved bigint NOT NULL,
    blocked bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE license (
    number bigint PRIMARY KEY,
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    license_key text COLLATE "C" NOT NULL,
    key_replaced_at timestamptz,
    product bigint NOT NULL,
    status text COLLATE "C" NOT NULL,
    activation_limit bigint NOT NULL,
    validity_days bigint NOT NULL,
    assigned_at timestamptz,
    owner bigint,
    owner_name text COLLATE "C",
    owner_email text COLLATE "C",
    active_count bigint NOT NULL,
    epoch bigint NOT NULL,
    refusal_minute bigint NOT NULL,
    refusal_reasons bigint NOT NULL,
    contract bigint,
    job bigint,
    deleted boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 80);

CREATE TABLE activation (
    number bigint PRIMARY KEY,
    license bigint NOT NULL,
    identifier text COLLATE "C",
    domain text COLLATE "C",
    post_url text COLLATE "C",
    active boolean NOT NULL,
    epoch bigint NOT NULL,
    activated_at timestamptz NOT NULL,
    deactivated_at timestamptz
) WITH (fillfactor = 80);

CREATE TABLE license_meta (
    number bigint PRIMARY KEY,
    license bigint NOT NULL,
    meta_key text COLLATE "C" NOT NULL,
    value text COLLATE "C",
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE settings (
    number bigint PRIMARY KEY,
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    changelog boolean NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE telemetry (
    number bigint PRIMARY KEY,
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    license bigint,
    user_identifier text COLLATE "C",
    license_key text COLLATE "C",
    activation_identifier text COLLATE "C",
    product bigint,
    product_version text COLLATE "C",
    data_type text COLLATE "C",
    data_group text COLLATE "C",
    data text COLLATE "C",
    is_correct_format boolean NOT NULL,
    license_key_exists boolean NOT NULL,
    product_exists boolean NOT NULL,
    product_version_exists boolean NOT NULL,
    has_red_flags boolean NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE product_release (
    number bigint PRIMARY KEY,
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    product bigint NOT NULL,
    version text COLLATE "C" NOT NULL,
    numeric_version bigint NOT NULL,
    update_summary text COLLATE "C" NOT NULL,
    changelog text COLLATE "C" NOT NULL,
    file_name text COLLATE "C" NOT NULL,
    content_type text COLLATE "C" NOT NULL,
    size bigint NOT NULL,
    sha256 text COLLATE "C" NOT NULL,
    object uuid NOT NULL,
    published boolean NOT NULL,
    release_date timestamptz,
    withdrawn boolean NOT NULL,
    downloads bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE download_token (
    number bigint PRIMARY KEY,
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    hash text COLLATE "C" NOT NULL,
    license bigint NOT NULL,
    product bigint NOT NULL,
    product_release bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    claims bigint NOT NULL,
    claimed_until timestamptz,
    created_at timestamptz NOT NULL
);

CREATE TABLE generator (
    number bigint PRIMARY KEY,
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    product bigint NOT NULL,
    method text COLLATE "C" NOT NULL,
    prefix text COLLATE "C" NOT NULL,
    suffix text COLLATE "C" NOT NULL,
    number_of_chunks bigint NOT NULL,
    chunk_length bigint NOT NULL,
    charset text COLLATE "C" NOT NULL,
    function_name text COLLATE "C" NOT NULL,
    pattern text COLLATE "C" NOT NULL,
    activation_limit bigint NOT NULL,
    validity_days bigint NOT NULL,
    active boolean NOT NULL,
    deleted boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE contract (
    number bigint PRIMARY KEY,
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    contract_key text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    information text COLLATE "C" NOT NULL,
    product bigint NOT NULL,
    license_keys_quantity bigint NOT NULL,
    active boolean NOT NULL,
    can_get_info boolean NOT NULL,
    can_generate boolean NOT NULL,
    can_destroy boolean NOT NULL,
    can_destroy_all boolean NOT NULL,
    deleted boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE contract_count (
    contract bigint PRIMARY KEY,
    license_keys bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE assignment_job (
    number bigint PRIMARY KEY,
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    product bigint NOT NULL,
    quantity bigint NOT NULL,
    generate boolean NOT NULL,
    owner bigint,
    owner_name text COLLATE "C",
    owner_email text COLLATE "C",
    identifier text COLLATE "C",
    webhook_url text COLLATE "C",
    result text COLLATE "C",
    assigned bigint NOT NULL,
    available bigint,
    created_at timestamptz NOT NULL,
    finished_at timestamptz
);

CREATE TABLE delivery (
    number bigint PRIMARY KEY,
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    job bigint,
    license bigint,
    activation bigint,
    product bigint NOT NULL,
    state text COLLATE "C" NOT NULL,
    attempts bigint NOT NULL,
    due_at timestamptz NOT NULL,
    last_status bigint,
    last_error text COLLATE "C",
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE webhook_endpoint (
    number bigint PRIMARY KEY,
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    url text COLLATE "C" NOT NULL,
    types text COLLATE "C" NOT NULL,
    product bigint,
    license bigint,
    license_keys boolean NOT NULL,
    personal_data boolean NOT NULL,
    salt text COLLATE "C" NOT NULL,
    old_salt text COLLATE "C",
    old_salt_until timestamptz,
    paused text COLLATE "C",
    begun_after bigint NOT NULL,
    replays bigint NOT NULL,
    deleted boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- indexes: made last by a rebuild, once the rows are there

CREATE UNIQUE INDEX license_by_key ON license (license_key) WHERE NOT deleted;
CREATE INDEX license_deleted_by_key ON license (license_key) WHERE deleted;
CREATE INDEX license_by_product ON license (product, status, number) WHERE NOT deleted;
CREATE INDEX license_by_product_and_number ON license (product, number) WHERE NOT deleted;
CREATE INDEX license_by_owner_name ON license (owner_name) WHERE owner_name IS NOT NULL;
CREATE INDEX license_by_owner_email ON license (owner_email) WHERE owner_email IS NOT NULL;
CREATE UNIQUE INDEX activation_by_identifier ON activation (license, identifier);
CREATE UNIQUE INDEX license_meta_by_key ON license_meta (license, meta_key);
CREATE UNIQUE INDEX product_meta_by_key ON product_meta (product, meta_key);
CREATE UNIQUE INDEX block_by_value ON block (kind, value);
CREATE UNIQUE INDEX product_by_id ON product (id);
CREATE UNIQUE INDEX product_by_slug ON product (slug) WHERE NOT deleted;
CREATE INDEX product_by_external_reference ON product (external_reference) WHERE external_reference <> '';
CREATE INDEX telemetry_by_group ON telemetry (data_group, data_type, number);
CREATE INDEX key_pair_by_product ON key_pair (product);
CREATE INDEX activation_by_domain ON activation (license, domain) WHERE domain IS NOT NULL;
CREATE UNIQUE INDEX product_release_by_version ON product_release (product, numeric_version) WHERE NOT withdrawn;
CREATE INDEX product_release_by_text ON product_release (product, version) WHERE NOT withdrawn;
CREATE UNIQUE INDEX download_token_by_hash ON download_token (hash);
CREATE INDEX license_by_contract ON license (contract, number) WHERE contract IS NOT NULL AND NOT deleted;
CREATE INDEX license_by_job ON license (job, number) WHERE job IS NOT NULL;
CREATE INDEX generator_by_product ON generator (product, number) WHERE NOT deleted;
CREATE UNIQUE INDEX contract_by_key ON contract (contract_key) WHERE NOT deleted;
CREATE INDEX assignment_job_waiting ON assignment_job (number) WHERE result IS NULL;
CREATE INDEX delivery_pending ON delivery (due_at) WHERE state = 'pending';
CREATE INDEX delivery_given_up ON delivery (number) WHERE state = 'given_up';
CREATE INDEX webhook_endpoint_active ON webhook_endpoint (number) WHERE NOT deleted AND paused IS NULL;
