-- What the ledger can't lose: the log, its end, and the keys. Times are microseconds since 1970, UUIDs are 16 bytes.

CREATE TABLE head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    ledger_id BLOB NOT NULL,
    next_position INTEGER NOT NULL CHECK (next_position >= 0),
    recorded_at INTEGER NOT NULL,
    tree_edge BLOB NOT NULL,
    projections TEXT NOT NULL
) STRICT;

CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    aggregate_type TEXT NOT NULL,
    aggregate_id BLOB NOT NULL CHECK (length(aggregate_id) = 16),
    sequence INTEGER NOT NULL CHECK (sequence >= 0),
    event_id BLOB NOT NULL CHECK (length(event_id) = 16),
    event_type TEXT NOT NULL,
    event_version TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    payload TEXT NOT NULL,
    metadata TEXT NOT NULL,
    leaf_hash BLOB NOT NULL CHECK (length(leaf_hash) = 32)
) STRICT;

CREATE UNIQUE INDEX events_by_stream ON events (aggregate_type, aggregate_id, sequence);

CREATE TABLE subject (
    kind TEXT NOT NULL,
    number INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    sealed_key BLOB NOT NULL,
    email_index BLOB,
    PRIMARY KEY (kind, number)
) STRICT;

CREATE UNIQUE INDEX subject_by_email_index ON subject (email_index) WHERE email_index IS NOT NULL;

CREATE TABLE request (
    id BLOB PRIMARY KEY NOT NULL,
    parameters BLOB NOT NULL,
    outcome TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX request_by_expiry ON request (expires_at);

CREATE TABLE api_key_secret (
    hmac BLOB PRIMARY KEY NOT NULL,
    api_key INTEGER NOT NULL
) STRICT;

CREATE TABLE key_pair_secret (
    key_pair INTEGER PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT;

CREATE TABLE ledger_secret (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    sealed BLOB NOT NULL
) STRICT;

-- The log only grows, at its end. The first trigger also takes the power from INSERT OR REPLACE and INSERT OR IGNORE.

CREATE TRIGGER events_in_order BEFORE INSERT ON events
WHEN NEW.position IS NOT (SELECT coalesce(max(position), -1) + 1 FROM events)
    OR EXISTS (
        SELECT 1 FROM events
        WHERE aggregate_type = NEW.aggregate_type AND aggregate_id = NEW.aggregate_id AND sequence = NEW.sequence
    )
BEGIN
    SELECT raise(ABORT, 'the event log is append-only: an event must take the next position and a new sequence');
END;

CREATE TRIGGER events_not_updated BEFORE UPDATE ON events
BEGIN
    SELECT raise(ABORT, 'the event log is append-only');
END;

CREATE TRIGGER events_not_deleted BEFORE DELETE ON events
BEGIN
    SELECT raise(ABORT, 'the event log is append-only');
END;

CREATE TRIGGER head_inserted_once BEFORE INSERT ON head
WHEN EXISTS (SELECT 1 FROM head)
BEGIN
    SELECT raise(ABORT, 'the ledger has a head already');
END;

CREATE TRIGGER head_moves_forward BEFORE UPDATE ON head
WHEN NEW.next_position < OLD.next_position OR NEW.ledger_id IS NOT OLD.ledger_id
BEGIN
    SELECT raise(ABORT, 'the head never moves back and never changes its ledger');
END;

CREATE TRIGGER head_not_deleted BEFORE DELETE ON head
BEGIN
    SELECT raise(ABORT, 'the head is never deleted');
END;
