-- Changes with what a subscription is of: who looked for the events of an earlier filter can neither hand them out nor move on.
ALTER TABLE subscription_partition ADD COLUMN revision bigint NOT NULL DEFAULT 0;
