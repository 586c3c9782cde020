-- Changes with what a subscription is of: who looked for the events of an earlier filter can neither hand them out nor move on.
ALTER TABLE subscription_partition ADD COLUMN revision bigint NOT NULL DEFAULT 0;

-- In which of the endpoint's beginnings a call was made: behind a replay, what was taken before it doesn't count.
ALTER TABLE webhook_attempt ADD COLUMN replays bigint NOT NULL DEFAULT 0;
