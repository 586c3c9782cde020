-- Calls of web hook endpoints: of each the newest thousand, and the newest thousand that failed. Like all that is kept for those who read
-- the log, none of it is a fact.
CREATE TABLE webhook_attempt (
    endpoint INTEGER NOT NULL,
    number INTEGER NOT NULL,
    -- The event, and which attempt to deliver it.
    position INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at INTEGER NOT NULL,
    took_ms INTEGER NOT NULL,
    status INTEGER,
    -- A class of errors; none where it was taken.
    error TEXT,
    -- When the event's first attempt failed.
    failing_since INTEGER,
    PRIMARY KEY (endpoint, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX webhook_attempt_failed ON webhook_attempt (endpoint, number) WHERE error IS NOT NULL;
