-- What proofs are made of, folded from the log off the append path, and the checkpoints that were signed.

-- How many events are folded into the tiles, and how many licenses they tell of.
CREATE TABLE evidence (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    size INTEGER NOT NULL CHECK (size >= 0),
    licenses INTEGER NOT NULL CHECK (licenses >= 0)
) STRICT;

INSERT INTO evidence (id, size, licenses) VALUES (1, 0, 0);

-- Up to 256 entries of 32 bytes. Tree 0 is the log's, tree 1 the stream map; the entries of a level are the roots of the full
-- tiles of the level below.
CREATE TABLE tile (
    tree INTEGER NOT NULL,
    level INTEGER NOT NULL,
    number INTEGER NOT NULL,
    entries BLOB NOT NULL,
    PRIMARY KEY (tree, level, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoint (
    size INTEGER PRIMARY KEY,
    root BLOB NOT NULL CHECK (length(root) = 32),
    made_at INTEGER NOT NULL,
    note TEXT NOT NULL
) STRICT;

-- What those outside gave back for a checkpoint: a witness's cosignature, a time-stamp.
CREATE TABLE hand_out (
    destination TEXT NOT NULL,
    size INTEGER NOT NULL,
    made_at INTEGER NOT NULL,
    answer BLOB NOT NULL,
    PRIMARY KEY (destination, size)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER checkpoint_grows BEFORE INSERT ON checkpoint
WHEN NEW.size <= (SELECT coalesce(max(size), -1) FROM checkpoint)
BEGIN
    SELECT raise(ABORT, 'a checkpoint is of more events than the one before');
END;

CREATE TRIGGER checkpoint_not_updated BEFORE UPDATE ON checkpoint
BEGIN
    SELECT raise(ABORT, 'checkpoints are append-only');
END;

CREATE TRIGGER checkpoint_not_deleted BEFORE DELETE ON checkpoint
BEGIN
    SELECT raise(ABORT, 'checkpoints are append-only');
END;
