-- Calls of web hook endpoints: of each the newest thousand, and the newest thousand that failed. Like all that is kept for those who read
-- the log, none of it is a fact.
CREATE TABLE webhook_attempt (
    endpoint bigint NOT NULL,
    number bigint NOT NULL,
    -- The event, and which attempt to deliver it.
    position bigint NOT NULL,
    attempt bigint NOT NULL,
    at timestamptz NOT NULL,
    took_ms bigint NOT NULL,
    status bigint,
    -- A class of errors; none where it was taken.
    error text COLLATE "C",
    -- When the event's first attempt failed.
    failing_since timestamptz,
    PRIMARY KEY (endpoint, number)
);
CREATE INDEX webhook_attempt_failed ON webhook_attempt (endpoint, number) WHERE error IS NOT NULL;
