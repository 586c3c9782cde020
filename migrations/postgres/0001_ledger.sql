-- What the ledger can't lose: the log, its end, and the keys.
-- Text is compared bytewise: indexes stay right when the operating system's collations change.

CREATE TABLE head (
    id bigint PRIMARY KEY CHECK (id = 1),
    ledger_id uuid NOT NULL,
    next_position bigint NOT NULL CHECK (next_position >= 0),
    recorded_at timestamptz NOT NULL,
    tree_edge bytea NOT NULL,
    projections text COLLATE "C" NOT NULL
) WITH (fillfactor = 10);

-- The columns and the key of postgres-es, and ours. `json` and not `jsonb`: what was hashed is kept byte for byte.
CREATE TABLE events (
    aggregate_type text COLLATE "C" NOT NULL,
    aggregate_id text COLLATE "C" NOT NULL,
    sequence bigint CHECK (sequence >= 0) NOT NULL,
    event_type text COLLATE "C" NOT NULL,
    event_version text COLLATE "C" NOT NULL,
    payload json NOT NULL,
    metadata json NOT NULL,
    position bigint NOT NULL UNIQUE,
    event_id uuid NOT NULL,
    recorded_at timestamptz NOT NULL,
    leaf_hash bytea NOT NULL CHECK (octet_length(leaf_hash) = 32),
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
);

CREATE TABLE subject (
    kind text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    id uuid NOT NULL UNIQUE,
    sealed_key bytea NOT NULL,
    email_index bytea,
    PRIMARY KEY (kind, number)
);

CREATE UNIQUE INDEX subject_by_email_index ON subject (email_index) WHERE email_index IS NOT NULL;

CREATE TABLE request (
    id bytea PRIMARY KEY,
    parameters bytea NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX request_by_expiry ON request (expires_at);

CREATE TABLE api_key_secret (
    hmac bytea PRIMARY KEY,
    api_key bigint NOT NULL
);

CREATE TABLE key_pair_secret (
    key_pair bigint PRIMARY KEY,
    sealed bytea NOT NULL
);

CREATE TABLE ledger_secret (
    id bigint PRIMARY KEY CHECK (id = 1),
    sealed bytea NOT NULL
);

-- The log only grows, at its end. The functions keep this schema's search path, whoever fires them; the triggers fire in
-- sessions too that pretend to be a replica.

CREATE FUNCTION events_append_only() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RAISE EXCEPTION 'the event log is append-only' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE FUNCTION events_in_order() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    inserted_count bigint;
    first_position bigint;
    last_position bigint;
    due bigint;
BEGIN
    SELECT count(*), min(position), max(position) INTO inserted_count, first_position, last_position FROM inserted;
    SELECT next_position INTO due FROM head;
    IF inserted_count > 0
        AND (first_position IS DISTINCT FROM due OR last_position IS DISTINCT FROM due + inserted_count - 1)
    THEN
        RAISE EXCEPTION 'the event log is append-only: events must take the next positions'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION head_moves_forward() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RAISE EXCEPTION 'the head never moves back, never changes its ledger and is never deleted'
        USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_append_only();
CREATE TRIGGER events_in_order AFTER INSERT ON events REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION events_in_order();
CREATE TRIGGER head_moves_forward BEFORE UPDATE ON head
    FOR EACH ROW
    WHEN (NEW.next_position < OLD.next_position OR NEW.ledger_id IS DISTINCT FROM OLD.ledger_id)
    EXECUTE FUNCTION head_moves_forward();
CREATE TRIGGER head_not_deleted BEFORE DELETE OR TRUNCATE ON head
    FOR EACH STATEMENT EXECUTE FUNCTION head_moves_forward();

ALTER TABLE events ENABLE ALWAYS TRIGGER events_append_only;
ALTER TABLE events ENABLE ALWAYS TRIGGER events_in_order;
ALTER TABLE head ENABLE ALWAYS TRIGGER head_moves_forward;
ALTER TABLE head ENABLE ALWAYS TRIGGER head_not_deleted;
