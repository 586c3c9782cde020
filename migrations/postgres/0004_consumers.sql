-- What the ledger keeps for those who read its log. None of it is a fact: the log goes on without it.

-- Places in the log that one server at a time moves on: of what a server itself makes of the events.
CREATE TABLE consumer (
    name text COLLATE "C" PRIMARY KEY,
    -- The last event that is done with; -1 before the first.
    position bigint NOT NULL CHECK (position >= -1),
    holder uuid NOT NULL,
    held_until timestamptz NOT NULL
);

-- Subscriptions of others.
CREATE TABLE subscription (
    name text COLLATE "C" PRIMARY KEY,
    filter text COLLATE "C" NOT NULL,
    partitions bigint NOT NULL CHECK (partitions > 0),
    made_at timestamptz NOT NULL
);

-- A license's events are all in one partition; a partition is handed out to one worker at a time.
CREATE TABLE subscription_partition (
    subscription text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    -- The last event that is acknowledged, or was no event of it.
    position bigint NOT NULL CHECK (position >= -1),
    lease uuid,
    leased_until timestamptz,
    -- The last event that the lease is of.
    leased_through bigint,
    PRIMARY KEY (subscription, number)
);
