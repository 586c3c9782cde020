-- What proofs are made of, folded from the log off the append path, and the checkpoints that were signed.

-- How many events are folded into the tiles, and how many licenses they tell of.
CREATE TABLE evidence (
    id bigint PRIMARY KEY CHECK (id = 1),
    size bigint NOT NULL CHECK (size >= 0),
    licenses bigint NOT NULL CHECK (licenses >= 0)
) WITH (fillfactor = 10);

INSERT INTO evidence (id, size, licenses) VALUES (1, 0, 0);

-- Up to 256 entries of 32 bytes, which no compression makes smaller. Tree 0 is the log's, tree 1 the stream map; the entries of
-- a level are the roots of the full tiles of the level below.
CREATE TABLE tile (
    tree bigint NOT NULL,
    level bigint NOT NULL,
    number bigint NOT NULL,
    entries bytea NOT NULL,
    PRIMARY KEY (tree, level, number)
);

ALTER TABLE tile ALTER COLUMN entries SET STORAGE EXTERNAL;

CREATE TABLE checkpoint (
    size bigint PRIMARY KEY,
    root bytea NOT NULL CHECK (octet_length(root) = 32),
    made_at timestamptz NOT NULL,
    note text COLLATE "C" NOT NULL
);

-- What those outside gave back for a checkpoint: a witness's cosignature, a time-stamp.
CREATE TABLE hand_out (
    destination text COLLATE "C" NOT NULL,
    size bigint NOT NULL,
    made_at timestamptz NOT NULL,
    answer bytea NOT NULL,
    PRIMARY KEY (destination, size)
);

CREATE FUNCTION checkpoint_append_only() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RAISE EXCEPTION 'checkpoints are append-only' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER checkpoint_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION checkpoint_append_only();

ALTER TABLE checkpoint ENABLE ALWAYS TRIGGER checkpoint_append_only;
