-- What the ledger keeps for those who read its log. None of it is a fact: the log goes on without it.

-- Places in the log that one server at a time moves on: of what a server itself makes of the events.
CREATE TABLE consumer (
    name TEXT PRIMARY KEY,
    -- The last event that is done with; -1 before the first.
    position INTEGER NOT NULL CHECK (position >= -1),
    holder BLOB NOT NULL CHECK (length(holder) = 16),
    held_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Subscriptions of others.
CREATE TABLE subscription (
    name TEXT PRIMARY KEY,
    filter TEXT NOT NULL,
    partitions INTEGER NOT NULL CHECK (partitions > 0),
    made_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A license's events are all in one partition; a partition is handed out to one worker at a time.
CREATE TABLE subscription_partition (
    subscription TEXT NOT NULL,
    number INTEGER NOT NULL,
    -- The last event that is acknowledged, or was no event of it.
    position INTEGER NOT NULL CHECK (position >= -1),
    lease BLOB CHECK (length(lease) = 16),
    leased_until INTEGER,
    -- The last event that the lease is of.
    leased_through INTEGER,
    PRIMARY KEY (subscription, number)
) STRICT, WITHOUT ROWID;
